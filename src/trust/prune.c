/*
 * prune.c
 *		Expired events are taken out of a full segment, which is written anew without
 *		them and swapped in, as VACUUM FULL does: same table, same guards, a part of
 *		the log all the while.
 *
 * A stream loses its first events alone, so what is left of it is its end: versions
 * follow each other, and its chain begins with the hash of the last event that went
 * (log/pruned.h).  Of a category that is not disposable it loses all or nothing.  The
 * hash of each event that goes is kept with its position.
 *
 * Locks: who takes events away is alone (es_retention_lock()); erasure takes that
 * lock, too, as nothing may change in the segment while it is copied.  SHARE UPDATE
 * EXCLUSIVE on the segment meanwhile: readers go on, and appenders that look for a
 * head in it.  For the swap ACCESS EXCLUSIVE on this one segment, which is not waited
 * for long, to the end of the transaction.  Rows keep their xmin, so that an older
 * snapshot sees what is left; what has gone is gone for it, too.
 *
 * An append to a stream at rest, between our look at it and its end, goes on from
 * the last event, whether that is there or was taken away.
 *
 * Memory: a bit for each position of the segment.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/rewriteheap.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "commands/cluster.h"
#include "commands/tablecmds.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/idempotency.h"
#include "log/progress.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/stream.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "trust/archive.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Prune
{
	const EsArchiveRun *run;
	const EsSegment *segment;
	uint8	   *gone;			/* a bit for each position */
	int64		count;
	Oid			new_heap;

	/* Of the segment as it is written anew. */
	TransactionId frozen_xid;
	MultiXactId min_multi;
	EsPrunedLeaves leaves;
} Prune;

/* The stream that is being looked at. */
typedef struct Candidate
{
	int64		stream_id;		/* 0: none */
	const text *name;

	int64		last_version;	/* that may go; 0: none */
	bool		as_a_whole;
	bool		is_open;		/* the next one may go, too */
	int64	   *positions;
	int			n_positions;
	int			max_positions;
} Candidate;

typedef void (*RowVisit) (Prune *prune, HeapTuple row, void *arg);

static void choose(Prune *prune, int32 category, const EsRetention *retention);
static void visit_category(Prune *prune, int32 category, RowVisit visit, void *arg);
static void look_at_row(Prune *prune, HeapTuple row, void *arg);
static void begin_candidate(Prune *prune, Candidate *candidate, HeapTuple row);
static void end_candidate(Prune *prune, Candidate *candidate, const EsRetention *retention);
static bool goes_whole(const Prune *prune, const Candidate *candidate, const EsRetention *retention);
static bool is_held(const Prune *prune, HeapTuple row);
static void write_heads(Prune *prune, int32 category);
static void copy_segment(void *arg);
static void swap_segment(void *arg);
static void drop_snapshots(int64 stream_id);

static inline bool
is_gone(const Prune *prune, int64 position)
{
	int64		i = position - prune->segment->lower;

	return (prune->gone[i / 8] & (1 << (i % 8))) != 0;
}

static inline void
note_gone(Prune *prune, int64 position)
{
	int64		i = position - prune->segment->lower;

	prune->gone[i / 8] |= 1 << (i % 8);
	prune->count++;
}

/* Can anything of it have expired?  The policy in force is among those that count. */
static bool
may_have_expired(const EsArchiveRun *run, const EsSegmentFact *fact, const EsRetention *retention)
{
	const EsRetentionTerm *now = es_retention_now(retention);

	return now->class != ES_RETENTION_KEPT && now->total != NULL && !retention->is_tracked &&
		es_retention_is_past(fact->first_recorded_at, now->total, run->now);
}

int64
es_prune_segment(const EsArchiveRun *run, const EsSegment *segment, List **categories)
{
	Prune		prune = {.run = run,.segment = segment};
	List	   *facts = NIL;
	EsArchived	before;
	EsArchived	after;
	ListCell   *lc;

	foreach(lc, es_archive_survey(run, segment))
	{
		EsSegmentFact *fact = lfirst(lc);
		const EsRetention *retention = es_archive_retention(run, fact->category);

		if (retention != NULL && may_have_expired(run, fact, retention))
			facts = lappend(facts, fact);
	}
	if (facts == NIL)
		return 0;
	prune.gone = MemoryContextAllocExtended(CurrentMemoryContext, (segment->upper - segment->lower) / 8 + 1,
											MCXT_ALLOC_ZERO | MCXT_ALLOC_HUGE);
	foreach(lc, facts)
	{
		int32		category = ((EsSegmentFact *) lfirst(lc))->category;
		int64		count = prune.count;

		choose(&prune, category, es_archive_retention(run, category));
		if (prune.count > count)
			*categories = list_append_unique_int(*categories, category);
	}
	if (prune.count > 0)
	{
		LockRelationOid(segment->table, ShareUpdateExclusiveLock);
		es_archive_summarise(run, segment);
		es_archive_digest(run, segment, true, &before);
		es_catalog_as_owner(copy_segment, &prune);
		foreach(lc, facts)
			write_heads(&prune, ((EsSegmentFact *) lfirst(lc))->category);
		es_archive_briefly(swap_segment, &prune);
		es_archive_forget_survey(segment);
		es_archive_digest(run, segment, true, &after);
		if (after.events != before.events - prune.count)
			elog(ERROR, "segment at position " INT64_FORMAT " has " INT64_FORMAT " events left, not " INT64_FORMAT,
				 segment->lower, after.events, before.events - prune.count);
		(void) es_archive_read(segment, &before);
		after.pruned = before.pruned + prune.count;
		after.archived_at = before.archived_at;
		after.pruned_at = GetCurrentTimestamp();
		es_archive_write(segment, &after);
		CommandCounterIncrement();
	}
	pfree(prune.gone);
	return prune.count;
}

/* ---- what goes ---- */

typedef struct Look
{
	const EsRetention *retention;
	Candidate	candidate;
	MemoryContext context;
} Look;

static void
choose(Prune *prune, int32 category, const EsRetention *retention)
{
	Look		look = {.retention = retention};

	look.context = AllocSetContextCreate(CurrentMemoryContext, "eventsource prune stream", ALLOCSET_DEFAULT_SIZES);
	visit_category(prune, category, look_at_row, &look);
	end_candidate(prune, &look.candidate, retention);
	if (look.candidate.positions != NULL)
		pfree(look.candidate.positions);
	MemoryContextDelete(look.context);
}

/* The rows of a category, in order of stream and version. */
static void
visit_category(Prune *prune, int32 category, RowVisit visit, void *arg)
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

static void
look_at_row(Prune *prune, HeapTuple row, void *arg)
{
	Look	   *look = arg;
	Candidate  *candidate = &look->candidate;
	bool		as_a_whole;
	MemoryContext caller;

	if (es_event_stream_id(row) != candidate->stream_id)
	{
		end_candidate(prune, candidate, look->retention);
		MemoryContextReset(look->context);
		caller = MemoryContextSwitchTo(look->context);
		begin_candidate(prune, candidate, row);
		MemoryContextSwitchTo(caller);
	}
	if (!candidate->is_open)
		return;
	caller = MemoryContextSwitchTo(look->context);
	candidate->is_open = es_event_version(row) == candidate->last_version + 1 &&
		es_retention_is_expired(look->retention, es_event_position(row), es_event_recorded_at(row),
								es_event_type_id(row), prune->run->now, &as_a_whole) &&
		!is_held(prune, row);
	MemoryContextSwitchTo(caller);
	if (!candidate->is_open)
		return;
	candidate->last_version = es_event_version(row);
	candidate->as_a_whole |= as_a_whole;
	if (candidate->n_positions == candidate->max_positions)
	{
		candidate->max_positions = Max(64, candidate->max_positions * 2);
		candidate->positions = candidate->positions == NULL ?
			palloc(candidate->max_positions * sizeof(int64)) :
			repalloc_huge(candidate->positions, candidate->max_positions * sizeof(int64));
	}
	candidate->positions[candidate->n_positions++] = es_event_position(row);
}

static void
begin_candidate(Prune *prune, Candidate *candidate, HeapTuple row)
{
	EsHead		head = {0};

	candidate->stream_id = es_event_stream_id(row);
	candidate->name = es_stream_find_name(candidate->stream_id);
	(void) es_pruned_head(candidate->stream_id, &head);
	candidate->last_version = head.version;
	candidate->n_positions = 0;
	candidate->as_a_whole = false;
	candidate->is_open = candidate->name != NULL && !es_holds_stream(prune->run->holds, candidate->name) &&
		!es_holds_owed(prune->run->holds, candidate->stream_id);
}

static void
end_candidate(Prune *prune, Candidate *candidate, const EsRetention *retention)
{
	if (candidate->n_positions == 0 ||
		(candidate->as_a_whole && !goes_whole(prune, candidate, retention)))
		return;
	for (int i = 0; i < candidate->n_positions; i++)
		note_gone(prune, candidate->positions[i]);
	candidate->n_positions = 0;
}

/* Has all expired that follows in the stream, up to its end? */
static bool
goes_whole(const Prune *prune, const Candidate *candidate, const EsRetention *retention)
{
	EsScan	   *scan = es_scan_stream(candidate->name, candidate->last_version + 1, false,
									  es_final_snapshot(prune->run->final));
	bool		result = candidate->is_open;
	HeapTuple	row;

	while (result && (row = es_scan_next_tuple(scan)) != NULL)
	{
		bool		as_a_whole;

		result = es_event_position(row) <= prune->run->upto &&
			es_retention_is_expired(retention, es_event_position(row), es_event_recorded_at(row),
									es_event_type_id(row), prune->run->now, &as_a_whole) &&
			!is_held(prune, row);
	}
	es_scan_end(scan);
	return result;
}

/* Is it about somebody who is held? */
static bool
is_held(const Prune *prune, HeapTuple row)
{
	EsEvent		event;

	if (!es_holds_any_subject(prune->run->holds))
		return false;
	es_event_deform(row, true, &event);
	return es_holds_subject(prune->run->holds, es_event_text(&event, ES_EVENT_SUBJECT));
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
look_for_head(Prune *prune, HeapTuple row, void *arg)
{
	HeadLook   *look = arg;

	if (!is_gone(prune, es_event_position(row)))
		return;
	if (look->stream_id != es_event_stream_id(row))
		write_head(look);
	look->stream_id = es_event_stream_id(row);
	es_event_read_head(row, &look->head);
}

/* How far each stream is gone; what was kept of it besides goes as well. */
static void
write_heads(Prune *prune, int32 category)
{
	HeadLook	look = {0};

	visit_category(prune, category, look_for_head, &look);
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
flush_leaves(Prune *prune)
{
	if (prune->leaves.present != 0)
		es_pruned_add_leaves(&prune->leaves);
	prune->leaves.present = 0;
}

static void
keep_leaf(Prune *prune, HeapTuple row)
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

/* By position, so that what is left lies in that order. */
static void
copy_rows(Prune *prune, Relation old, RewriteState rewrite)
{
	Relation	index = es_event_open_index(old, ES_INDEX_POSITION, AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(old, index, es_final_snapshot(prune->run->final), 0, NULL);
	EsProgress	progress;
	HeapTuple	row;

	es_progress_begin(&progress, "writing a segment anew", ES_PROGRESS_UNKNOWN);
	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_gone(prune, es_event_position(row)))
			keep_leaf(prune, row);
		else
		{
			HeapTuple	copy = heap_copytuple(row);

			rewrite_heap_tuple(rewrite, row, copy);
			heap_freetuple(copy);
		}
		es_progress_step(&progress, 1);
	}
	es_progress_end(&progress);
	flush_leaves(prune);
	systable_endscan_ordered(scan);
	index_close(index, NoLock);
}

static void
copy_segment(void *arg)
{
	Prune	   *prune = arg;
	Relation	old = table_open(prune->segment->table, ShareUpdateExclusiveLock);
	Relation	new;
	RewriteState rewrite;

	prune->frozen_xid = old->rd_rel->relfrozenxid;
	prune->min_multi = old->rd_rel->relminmxid;
	prune->new_heap = make_new_heap(prune->segment->table, old->rd_rel->reltablespace, old->rd_rel->relam,
									RELPERSISTENCE_PERMANENT, ShareUpdateExclusiveLock);
	new = table_open(prune->new_heap, AccessExclusiveLock);
	rewrite = begin_heap_rewrite(old, new, GetOldestNonRemovableTransactionId(old), prune->frozen_xid,
								 prune->min_multi);
	copy_rows(prune, old, rewrite);
	end_heap_rewrite(rewrite);
	table_close(new, NoLock);
	table_close(old, NoLock);
	CommandCounterIncrement();
}

static void
swap_as_owner(void *arg)
{
	Prune	   *prune = arg;
	Relation	rel = table_open(prune->segment->table, AccessExclusiveLock);

	CheckTableNotInUse(rel, "archive_due");
	TransferPredicateLocksToHeapRelation(rel);
	table_close(rel, NoLock);
	finish_heap_swap(prune->segment->table, prune->new_heap, false, false, false, true, prune->frozen_xid,
					 prune->min_multi, RELPERSISTENCE_PERMANENT);
	CommandCounterIncrement();
}

static void
swap_segment(void *arg)
{
	es_catalog_as_owner(swap_as_owner, arg);
}
