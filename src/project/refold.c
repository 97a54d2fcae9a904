/*
 * refold.c
 *		Projection rows after a correction.
 *
 * A correction changes what events of the past did.  The rows that they touched,
 * and those that they touch now, are folded anew from history as corrected and
 * written where they differ, in the correcting transaction.
 *
 * Locks: the stream's lock covers rows of the stream.  Rows that streams share
 * are covered by the locks of their keys, which are taken before the correction
 * is appended: whoever has appended an event that folds into such a row holds
 * its key to the end of his transaction, so a snapshot taken later sees every
 * such event, and no other can come.  A projection in mode async has one writer,
 * who refolds as he comes by the correction, from the history up to there.
 *
 * Memory: the keys that changed, and their rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "log/correction.h"
#include "log/read.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/fold_row.h"
#include "project/refold.h"
#include "project/replay.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* The rows of one projection. */
typedef struct Part
{
	EsProjection *projection;
	EsFold	   *fold;
} Part;

/* Where keys are entered. */
typedef struct Keys
{
	EsFold	   *fold;
	const EsTarget *target;
} Keys;

struct EsRefold
{
	List	   *parts;			/* of Part */
	MemoryContext scratch;
};

static void lock_targets(const text *category);
static void enter_key(const Datum *key, void *arg);
static EsRefold *make_refold(List *projections);
static int64 refold(Part *part, const EsRefoldHistory *history);
static void fold_scan(EsFold *fold, EsScan *scan, const EsCorrections *corrections,
					  const EsRefoldHistory *history);
static int64 compare_rows(EsFold *fold);

EsRefold *
es_refold_begin(const text *category)
{
	lock_targets(category);
	return make_refold(es_projection_list(category));
}

EsRefold *
es_refold_begin_one(EsProjection *projection)
{
	return make_refold(list_make1(projection));
}

void
es_refold_note(EsRefold *refold, const EsEvent *event)
{
	ListCell   *lc;

	foreach(lc, refold->parts)
	{
		Part	   *part = lfirst(lc);

		MemoryContextReset(refold->scratch);
		es_refold_enter_rows(part->fold, part->projection, event, refold->scratch);
	}
}

void
es_refold_enter_rows(EsFold *fold, const EsProjection *projection, const EsEvent *event,
					 MemoryContext scratch)
{
	const EsRule *rule = es_projection_rule(projection, es_event_text(event, ES_EVENT_TYPE));
	Keys		keys = {fold, projection->target};
	MemoryContext caller;

	if (rule == NULL)
		return;
	caller = MemoryContextSwitchTo(scratch);
	es_fold_each_key(projection, rule, event, enter_key, &keys);
	MemoryContextSwitchTo(caller);
}

bool
es_refold_is_empty(const EsRefold *refold)
{
	ListCell   *lc;

	foreach(lc, refold->parts)
	{
		EsRowScan	rows = {0};

		if (es_fold_next_row(((Part *) lfirst(lc))->fold, &rows) != NULL)
			return false;
	}
	return true;
}

void
es_refold_lock(EsRefold *refold)
{
	es_refold_lock_all(list_make1(refold));
}

void
es_refold_lock_all(List *refolds)
{
	List	   *shared = NIL;
	ListCell   *refold;
	ListCell   *lc;

	foreach(refold, refolds)
		foreach(lc, ((EsRefold *) lfirst(refold))->parts)
	{
		Part	   *part = lfirst(lc);

		if (part->projection->sharing == ES_ROW_SHARED)
			shared = lappend(shared, part->fold);
	}
	es_fold_lock_rows(shared);
	list_free(shared);
}

void
es_refold_write(EsRefold *refolded, const text *stream)
{
	EsRefoldHistory history = {.stream = stream,.upto = PG_INT64_MAX,.corrected_upto = PG_INT64_MAX};

	CommandCounterIncrement();
	history.snapshot = RegisterSnapshot(GetLatestSnapshot());
	(void) es_refold_write_from(refolded, &history);
	UnregisterSnapshot(history.snapshot);
}

int64
es_refold_write_from(EsRefold *refolded, const EsRefoldHistory *history)
{
	int64		written = 0;
	ListCell   *lc;

	foreach(lc, refolded->parts)
		written += refold(lfirst(lc), history);
	return written;
}

static EsRefold *
make_refold(List *projections)
{
	EsRefold   *result = palloc0(sizeof(EsRefold));
	ListCell   *lc;

	foreach(lc, projections)
	{
		Part	   *part = palloc0(sizeof(Part));

		part->projection = lfirst(lc);
		part->fold = es_fold_begin_replay(CurrentMemoryContext, part->projection);
		result->parts = lappend(result->parts, part);
	}
	result->scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource refold scratch",
											ALLOCSET_DEFAULT_SIZES);
	return result;
}

/* A table may change until its lock is ours: its projection is looked up then. */
static void
lock_targets(const text *category)
{
	for (int pass = 0; pass < 2; pass++)
	{
		uint64		generation = es_config_generation();
		ListCell   *lc;

		foreach(lc, es_projection_list(category))
			LockRelationOid(((EsProjection *) lfirst(lc))->target->relid, RowExclusiveLock);
		if (generation == es_config_generation())
			break;
	}
}

static void
enter_key(const Datum *key, void *arg)
{
	Keys	   *keys = arg;

	(void) es_fold_enter(keys->fold, keys->target, key);
}

/* Only the stream's own events fold into rows that are not shared. */
static int64
refold(Part *part, const EsRefoldHistory *history)
{
	EsRowScan	rows = {0};
	int64		changed;
	EsStream	found;
	EsScan	   *scan;
	EsCorrections *corrections;

	if (es_fold_next_row(part->fold, &rows) == NULL)
		return 0;
	es_fold_restrict(part->fold);
	if (part->projection->sharing == ES_ROW_SHARED)
	{
		scan = es_scan_log(0, history->upto, part->projection->categories, history->snapshot);
		corrections = es_corrections_load_upto(history->corrected_upto, history->snapshot);
	}
	else
	{
		(void) es_stream_find(history->stream, &found);
		scan = es_scan_stream(history->stream, 1, false, history->snapshot);
		corrections = es_corrections_load_stream_upto(found.id, history->corrected_upto, history->snapshot);
	}
	fold_scan(part->fold, scan, corrections, history);
	changed = compare_rows(part->fold);
	es_replay_check_rows(part->fold);
	es_fold_flush(part->fold);
	return changed;
}

void
es_refold_scan(EsFold *fold, EsScan *scan, const EsCorrections *corrections, int64 upto)
{
	EsRefoldHistory history = {.upto = upto};

	fold_scan(fold, scan, corrections, &history);
}

static void
fold_scan(EsFold *fold, EsScan *scan, const EsCorrections *corrections, const EsRefoldHistory *history)
{
	EsEvent		event;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		int64		position = DatumGetInt64(event.value[ES_EVENT_POSITION]);

		CHECK_FOR_INTERRUPTS();
		if (position > history->upto)
			break;
		if (history->is_gone != NULL && history->is_gone(history->arg, position))
			continue;
		if (es_corrections_apply(corrections, &event))
			es_fold_apply(fold, &event);
	}
	es_scan_end(scan);
}

/* Marks the rows that are not what the table has, and counts them. */
static int64
compare_rows(EsFold *fold)
{
	int64		changed = 0;
	EsRowScan	scan = {0};
	EsRow	   *row;

	while ((row = es_fold_next_row(fold, &scan)) != NULL)
	{
		HeapTuple	found = es_target_read(row->target, row->key);

		CHECK_FOR_INTERRUPTS();
		if (found == NULL || row->now == NULL)
			row->changed = found != row->now;
		else
			row->changed = !es_target_same_row(row->target, row->now, found);
		row->found = found == NULL ? NULL : es_fold_keep(fold, found);
		changed += row->changed;
	}
	return changed;
}
