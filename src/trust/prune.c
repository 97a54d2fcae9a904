/*
 * prune.c
 *		Expired events are taken out of a full segment, which is written anew without
 *		them (trust/rewrite.h).
 *
 * A stream loses its first events alone (prune_choose.c), so what is left of it is its
 * end: versions follow each other, and its chain begins with the hash of the last event
 * that went (log/pruned.h).  The hash of each event that goes is kept with its position.
 *
 * Locks: who takes events away is alone (es_retention_lock()); erasure takes that
 * lock, too, as nothing may change in the segment while it is copied.  For the swap
 * ACCESS EXCLUSIVE on this one segment, which is not waited for long, to the end of the
 * transaction.
 *
 * An append to a stream at rest, between our look at it and its end, goes on from
 * the last event, whether that is there or was taken away.
 *
 * Memory: a bit for each position of the segment, where any goes.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/heap.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/idempotency.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/stream.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "trust/prune.h"
#include "trust/prune_account.h"
#include "trust/rewrite.h"
#include "trust/scrub.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static void write_heads(EsPrune *prune, int32 category);
static void hold_all_up(EsPrune *prune, const char *who);
static void take_away(EsPrune *prune);
static bool stays(void *arg, HeapTuple row);
static void flush_leaves(EsPrune *prune);
static void expect_not_needed(const EsPrune *prune);
static void drop_snapshots(int64 stream_id);

/* Can anything of it have expired?  The policy in force is among those that count. */
static bool
may_have_expired(const EsArchiveRun *run, const EsSegmentFact *fact, const EsRetention *retention)
{
	const EsRetentionTerm *now = es_retention_now(retention);

	return now->class != ES_RETENTION_KEPT && now->total != NULL && !retention->is_tracked &&
		es_retention_is_past(fact->first_recorded_at, now->total, run->now);
}

/*
 * Was it, not long ago in proportion to the term?  More may have expired since, or
 * whoever kept it may have let it go; but to look means to go through all of it.
 */
static bool
was_looked_at(const EsArchiveRun *run, const EsSegmentFact *fact, const EsRetention *retention)
{
	const Interval *total = es_retention_now(retention)->total;
	int64		term = total->time + (total->day + total->month * (int64) DAYS_PER_MONTH) * USECS_PER_DAY;
	int64		longest = fact->is_held_up ? USECS_PER_HOUR : USECS_PER_DAY;
	int64		patience = Max(USECS_PER_MINUTE, Min(term / 100, longest));

	return fact->looked_at != 0 && fact->looked_at <= run->now && run->now - fact->looked_at < patience;
}

static int64
count_chunks(const EsSegment *segment)
{
	return (segment->upper - segment->lower) / 8 / ES_PRUNE_CHUNK + 1;
}

static void
begin_gone(EsPrune *prune)
{
	prune->context = CurrentMemoryContext;
	prune->gone = MemoryContextAllocExtended(prune->context, count_chunks(prune->segment) * sizeof(uint8 *),
											 MCXT_ALLOC_ZERO | MCXT_ALLOC_HUGE);
}

void
es_prune_set_gone(EsPrune *prune, int64 position)
{
	int64		i = position - prune->segment->lower;
	uint8	  **chunk = &prune->gone[i / 8 / ES_PRUNE_CHUNK];

	if (*chunk == NULL)
		*chunk = MemoryContextAllocZero(prune->context, ES_PRUNE_CHUNK);
	(*chunk)[i / 8 % ES_PRUNE_CHUNK] |= 1 << (i % 8);
}

static void
end_gone(EsPrune *prune)
{
	for (int64 i = 0; i < count_chunks(prune->segment); i++)
		if (prune->gone[i] != NULL)
			pfree(prune->gone[i]);
	pfree(prune->gone);
}

int64
es_prune_segment(EsArchiveRun *run, const EsSegment *segment)
{
	EsPrune		prune = {.run = run,.segment = segment};
	ListCell   *lc;

	foreach(lc, es_archive_survey(run, segment))
	{
		EsSegmentFact *fact = lfirst(lc);
		const EsRetention *retention = es_archive_retention(run, fact->category);

		if (retention != NULL && may_have_expired(run, fact, retention) &&
			!(run->is_patient && was_looked_at(run, fact, retention)))
			prune.facts = lappend(prune.facts, fact);
	}
	if (prune.facts == NIL)
		return 0;
	begin_gone(&prune);
	foreach(lc, prune.facts)
		es_prune_choose(&prune, lfirst(lc));
	if (prune.count > 0 && es_rewrite_is_early(segment))
		hold_all_up(&prune, "an older snapshot");
	if (prune.count > 0)
		take_away(&prune);
	foreach(lc, prune.facts)
		es_archive_note_look(run, segment, lfirst(lc));
	end_gone(&prune);
	return prune.count;
}

/* Nothing goes, for the time being. */
static void
hold_all_up(EsPrune *prune, const char *who)
{
	ListCell   *lc;

	foreach(lc, prune->facts)
	{
		EsSegmentFact *fact = lfirst(lc);
		EsHeldUp   *held;

		if (fact->due == 0)
			continue;
		held = palloc(sizeof(EsHeldUp));
		held->who = who;
		held->events = fact->due;
		held->since = fact->first_recorded_at;
		fact->held_up = lappend(fact->held_up, held);
	}
	prune->count = 0;
}

static void
take_away(EsPrune *prune)
{
	EsArchiveRun *run = prune->run;
	const EsSegment *segment = prune->segment;
	EsRewrite	rewrite = {.run = run,.members = segment,.count = 1,.keep = stays,.arg = prune,
	.tablespace = get_rel_tablespace(segment->table)};
	EsArchived	before;
	EsArchived	after;
	ListCell   *lc;

	LockRelationOid(segment->table, ShareUpdateExclusiveLock);
	es_archive_summarise(run, segment);
	es_archive_digest(run, segment, &before);
	es_rewrite_copy(&rewrite);
	flush_leaves(prune);
	if (rewrite.copied.events != before.events - prune->count)
		elog(ERROR, "segment at position " INT64_FORMAT " would have " INT64_FORMAT " events left, not " INT64_FORMAT,
			 segment->lower, rewrite.copied.events, before.events - prune->count);
	es_archive_survey_anew(segment, rewrite.new_heap);
	es_scrub_note_pruned(es_prune_refold(prune));
	es_rewrite_lock(&rewrite, es_archive_lock);
	foreach(lc, prune->facts)
		write_heads(prune, ((EsSegmentFact *) lfirst(lc))->category);
	expect_not_needed(prune);
	es_rewrite_swap(&rewrite);
	RemoveStatistics(segment->table, 0);	/* which quote what goes */
	(void) es_archive_read(segment, &after);
	after.events = rewrite.copied.events;
	memcpy(after.digest, rewrite.copied.digest, ES_HASH_SIZE);
	after.pruned += prune->count;
	after.pruned_at = GetCurrentTimestamp();
	es_archive_write(segment, &after);
	CommandCounterIncrement();
	es_prune_account_note(run, segment, prune->count);
}

void
es_prune_visit(EsPrune *prune, int32 category, EsPruneVisit visit, void *arg)
{
	Relation	rel = table_open(prune->segment->table, AccessShareLock);
	Relation	index = es_event_open_index(rel, ES_INDEX_STREAM, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = es_compat_index_beginscan(rel, index, es_final_snapshot(prune->run->final), 2);
	ScanKeyData keys[2];

	es_event_key_category(keys, category);
	index_rescan(scan, keys, 2, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		visit(prune, ExecFetchSlotHeapTuple(slot, false, NULL), arg);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
}

/* ---- what is left of it ---- */

typedef struct HeadLook
{
	int64		stream_id;		/* 0: none */
	EsHead		head;
} HeadLook;

static void
write_head(const HeadLook *look)
{
	if (look->stream_id == 0)
		return;
	es_pruned_set_head(look->stream_id, &look->head);
	es_idempotency_forget(look->stream_id, look->head.version);
	drop_snapshots(look->stream_id);
}

static void
look_for_head(EsPrune *prune, HeapTuple row, void *arg)
{
	HeadLook   *look = arg;

	if (!es_prune_is_gone(prune, es_event_position(row)))
		return;
	if (look->stream_id != es_event_stream_id(row))
		write_head(look);
	look->stream_id = es_event_stream_id(row);
	es_event_read_head(row, &look->head);
}

/* How far each stream is gone; what was kept of it besides goes as well. */
static void
write_heads(EsPrune *prune, int32 category)
{
	HeadLook	look = {0};

	es_prune_visit(prune, category, look_for_head, &look);
	write_head(&look);
	CommandCounterIncrement();
}

/* They stand for events that are gone. */
static void
drop_snapshots(int64 stream_id)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SNAPSHOT), RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_SNAPSHOT_PKEY), true, SnapshotSelf, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
		es_catalog_delete(rel, row);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

/* ---- the segment written anew ---- */

static void
flush_leaves(EsPrune *prune)
{
	if (prune->leaves.present != 0)
		es_pruned_add_leaves(&prune->leaves);
	prune->leaves.present = 0;
}

static void
keep_leaf(EsPrune *prune, HeapTuple row)
{
	int64		position = es_event_position(row);
	int			i = position % ES_PRUNED_BUCKET;
	EsHead		head;

	if (prune->leaves.bucket != position / ES_PRUNED_BUCKET)
		flush_leaves(prune);
	prune->leaves.bucket = position / ES_PRUNED_BUCKET;
	es_event_read_head(row, &head);
	es_vault_forget(position);
	prune->leaves.present |= (uint32) 1 << i;
	memcpy(prune->leaves.hashes[i], head.hash, ES_HASH_SIZE);
}

/* Of an EsPrune: is the row to be in the segment as it is written anew? */
static bool
stays(void *arg, HeapTuple row)
{
	EsPrune    *prune = arg;

	if (!es_prune_is_gone(prune, es_event_position(row)))
		return true;
	keep_leaf(prune, row);
	return false;
}

/*
 * Nobody reads the segment now.  Who has begun to follow the log since we looked, may
 * have been lent what goes.
 */
static void
expect_not_needed(const EsPrune *prune)
{
	EsHolds    *holds = es_holds_load();
	ListCell   *lc;

	foreach(lc, prune->facts)
	{
		const EsSegmentFact *fact = lfirst(lc);
		const char *who;

		if (fact->due == 0 || es_holds_upto(holds, fact->category, &who) >= fact->last_due)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("%s has begun to need what is to be taken away", who),
				 errdetail("It was defined anew, or set back, meanwhile."),
				 errhint("Call eventsource.archive_due() again.")));
	}
}
