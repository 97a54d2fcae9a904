/*
 * rebuild.c
 *		A projection's table made what history makes of it, while others append.
 *
 * It goes in three phases, in one transaction:
 *
 *	1. Without a lock that an append would wait for, history is folded up to a
 *	   point.
 *	2. Again and again, what came since is folded.
 *	3. Under the caller's locks the rest is folded, and what differs from the table
 *	   is written.
 *
 * Each step folds each event once and in order, whoever commits meanwhile:
 *
 * Repair, inline.  Whoever appends an event that folds into a row holds the lock
 * of its stream or key before the position is drawn, to the end of his
 * transaction.  So of the events of one row a snapshot sees the first ones, up to
 * some event, and the table's row under that snapshot is the fold of just these,
 * as corrected by the corrections it sees.  A step folds all events that its
 * snapshot sees and the one before did not, whoever else has an open append.  (They
 * are above the watermark that was read before the older snapshot.)  History is
 * compared with the table under the first snapshot: a row that is right stays
 * right, as appends go on folding into it, so only those that differ are followed.
 * In the end SHARE ROW EXCLUSIVE on the table comes before the last snapshot:
 * whoever has drawn a position but not folded yet waits for the table, and nobody
 * can have passed him in his rows, which he has locked; all others have ended, and
 * the snapshot sees their events and rows.
 *
 * Repair, async.  The table under a snapshot is the fold of the events up to the
 * cursor under that snapshot, all of them final.  A step folds up to the cursor;
 * the applier keeps right what is right.  In the end, when the applier's lock
 * keeps it out, the rest up to the watermark is folded, from the table's rows where
 * they were right, and the cursor set to it.
 *
 * Rules not in force yet.  Nobody has locked the rows that the new rules make
 * events share, so events of one row may become visible in another order.  A step
 * folds up to the watermark that was read before its snapshot; the last one of an
 * inline projection goes to the end, as SHARE ROW EXCLUSIVE on the log says that
 * nobody has an open append but ourselves.  All rows are kept (the old rules go on
 * changing the table), and compared with the table in the end.  Only a table that
 * is new, and locked from the beginning, is written at once, so that the log need
 * not be locked for that; what comes later goes on from its rows.  (So a row that
 * breaks a constraint then, and which an event of these moments mends, is an error
 * that does not come back.)
 *
 * Corrections.  A step that meets one first folds the rows that events of its
 * stream touch, as corrected before and after, from their beginning to where the
 * step begins; from the stream alone unless rows are shared.  They replace what was
 * folded, whatever it was.
 *
 * The table meanwhile.  ACCESS SHARE keeps ALTER TABLE away from the beginning;
 * what weaker locks allow (an index, a trigger) is looked at again under the last
 * one.  Two that compute rows of one table anew would mistake each other's writes
 * for those of appends: es_rebuild_lock() serialises them.  Snapshots are fresh in
 * every isolation level: what the caller's own shows plays no part.  An error,
 * ROLLBACK TO or a crash leaves the table as it was, as all writing is in this
 * transaction.
 *
 * Memory: that of a store (store.c), twice while rows go from one to another, and
 * rows touched by corrections that come meanwhile.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "log/catalog.h"
#include "log/final.h"
#include "log/position.h"
#include "log/progress.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/rebuild.h"
#include "project/rebuild_write.h"
#include "project/refold.h"
#include "project/replay.h"
#include "project/store.h"
#include "storage/lock.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Steps before the last one, and how few events end them. */
#define MAX_STEPS			10
#define FEW_EVENTS			1000

/* How far history is folded. */
typedef struct Point
{
	EsFinal    *final;
	Snapshot	snapshot;		/* that of "final" */
	int64		upto;			/* what is folded of what it sees */
	int64		after;			/* where the next step begins */
	EsCorrections *corrections;
} Point;

struct EsRebuild
{
	MemoryContext context;
	EsProjection *projection;
	EsRebuildKind kind;
	Point		now;
	EsStore    *rows;			/* all, or those that may have to be written */
	Snapshot	base;			/* where a table is filled: what was written */
	int64		differences;
	int64		waiting;		/* events in the store's journals */
};

/* Streams whose rows are to be folded anew, as they were corrected meanwhile. */
typedef struct Search
{
	const EsProjection *projection;
	const Point *from;
	List	   *streams;		/* of text */
} Search;

static void look(EsRebuild *rebuild, bool is_last, Point *point);
static bool is_by_snapshot(const EsRebuild *rebuild);
static int64 look_upto(const EsRebuild *rebuild, const Point *point, bool is_last);
static void begin_rows(EsRebuild *rebuild);
static void take_differences(EsRebuild *rebuild, EsStore *store);
static void write_ahead(EsRebuild *rebuild);
static void pour(EsRebuild *rebuild);
static void expect_none_erased(const Point *from, const Point *to);
static int64 step(EsRebuild *rebuild, bool is_last);
static void go_on(EsRebuild *rebuild);
static int64 fold_between(EsRebuild *rebuild, EsStore *store, const Point *from, const Point *to);
static List *find_corrected(EsRebuild *rebuild, const Point *from, const Point *to);
static bool note_corrected(const EsCorrection *correction, void *arg);
static void refold_corrected(EsRebuild *rebuild, List *streams, const Point *from, const Point *to);
static void note_keys(EsFold *fold, const EsProjection *projection, const text *stream, const Point *from,
					  const Point *to);

void
es_rebuild_lock(Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, hash_bytes((const unsigned char *) "rebuild", 7), relid,
						 ES_LOCK_READER);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
es_rebuild_lock_reading(bool changes)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, hash_bytes((const unsigned char *) "reading", 7), 0,
						 ES_LOCK_READER);
	(void) LockAcquire(&tag, changes ? ExclusiveLock : ShareLock, false, false);
}

EsRebuild *
es_rebuild_begin(EsProjection *projection, EsRebuildKind kind)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource rebuild",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EsRebuild  *rebuild = palloc0(sizeof(EsRebuild));
	EsStore    *store = es_store_begin(context, projection);
	Point		nothing = {0};
	int64		count;

	rebuild->context = context;
	rebuild->projection = projection;
	rebuild->kind = kind;
	look(rebuild, false, &rebuild->now);
	es_store_use_corrections(store, rebuild->now.corrections);
	count = fold_between(rebuild, store, &nothing, &rebuild->now);
	if (kind == ES_REBUILD_REPLACE)
	{
		rebuild->rows = store;
		if (!es_store_is_whole(store))
			rebuild->waiting = count;
	}
	else
	{
		es_replay_compare(store, projection, rebuild->now.snapshot);
		begin_rows(rebuild);
		take_differences(rebuild, store);
		es_store_end(store);
	}
	MemoryContextSwitchTo(caller);
	return rebuild;
}

int64
es_rebuild_differences(const EsRebuild *rebuild)
{
	return rebuild->differences;
}

void
es_rebuild_catch_up(EsRebuild *rebuild)
{
	MemoryContext caller = MemoryContextSwitchTo(rebuild->context);
	int64		count = FEW_EVENTS;

	if (rebuild->kind == ES_REBUILD_FILL)
		write_ahead(rebuild);
	for (int i = 0; i < MAX_STEPS && count >= FEW_EVENTS; i++)
	{
		count = step(rebuild, false);
		if (rebuild->waiting >= FEW_EVENTS)
			pour(rebuild);
	}
	MemoryContextSwitchTo(caller);
}

int64
es_rebuild_finish(EsRebuild *rebuild, EsProjection *now)
{
	MemoryContext caller = MemoryContextSwitchTo(rebuild->context);
	bool		replace = rebuild->kind == ES_REBUILD_REPLACE;
	int64		count;

	(void) step(rebuild, true);
	if (now != rebuild->projection)
	{
		rebuild->projection = now;
		pour(rebuild);
	}
	if (rebuild->kind == ES_REBUILD_REPAIR && now->is_async)
		go_on(rebuild);
	if (replace)
		es_replay_compare(rebuild->rows, now, rebuild->now.snapshot);
	count = es_rebuild_write(rebuild->rows, now->target, replace ? NULL : rebuild->now.snapshot);
	if (now->is_async)
		es_apply_set(now->name, rebuild->now.upto);
	MemoryContextSwitchTo(caller);
	es_rebuild_end(rebuild);
	return count;
}

void
es_rebuild_end(EsRebuild *rebuild)
{
	es_store_end(rebuild->rows);
	if (rebuild->base != NULL)
		UnregisterSnapshot(rebuild->base);
	es_final_end(rebuild->now.final);
	MemoryContextDelete(rebuild->context);
}

/* ---- phase 1 ---- */

static void
look(EsRebuild *rebuild, bool is_last, Point *point)
{
	/* So that the snapshot shows what this transaction has written. */
	CommandCounterIncrement();
	point->final = es_final_begin();
	point->snapshot = es_final_snapshot(point->final);
	point->upto = look_upto(rebuild, point, is_last);
	point->after = is_by_snapshot(rebuild) ? es_final_upto(point->final) : point->upto;
	point->corrections = es_corrections_load_upto(point->upto, point->snapshot);
}

/* Do steps go by what their snapshots see, rather than up to a position? */
static bool
is_by_snapshot(const EsRebuild *rebuild)
{
	return rebuild->kind == ES_REBUILD_REPAIR && !rebuild->projection->is_async;
}

/* The watermark may step back, what is folded does not. */
static int64
look_upto(const EsRebuild *rebuild, const Point *point, bool is_last)
{
	const EsProjection *projection = rebuild->projection;

	if (rebuild->kind == ES_REBUILD_REPAIR)
		return es_apply_shown(projection, point->snapshot);
	if (is_last && !projection->is_async)
		return PG_INT64_MAX;
	return Max(rebuild->now.upto, es_final_upto(point->final));
}

static void
begin_rows(EsRebuild *rebuild)
{
	rebuild->rows = es_store_begin(rebuild->context, rebuild->projection);
	es_store_use_corrections(rebuild->rows, rebuild->now.corrections);
	if (rebuild->kind == ES_REBUILD_REPAIR)
		es_store_restrict(rebuild->rows);
	else if (rebuild->base != NULL)
		es_store_read_base(rebuild->rows, rebuild->base);
}

static void
take_differences(EsRebuild *rebuild, EsStore *store)
{
	EsFold	   *fold;

	while ((fold = es_store_next(store)) != NULL)
	{
		EsRowScan	scan = {0};
		EsRow	   *row;

		while ((row = es_fold_next_row(fold, &scan)) != NULL)
		{
			EsRow		wanted = *row;

			CHECK_FOR_INTERRUPTS();
			if (!es_store_row_differs(row))
				continue;
			if (rebuild->kind == ES_REBUILD_REPAIR)
			{
				/* Appends may write it until it is looked up again. */
				wanted.found = NULL;
				wanted.compared = false;
			}
			es_store_put(rebuild->rows, &wanted);
			rebuild->differences++;
		}
	}
}

/* What differs so far is written; what comes later goes on from that. */
static void
write_ahead(EsRebuild *rebuild)
{
	(void) es_rebuild_write(rebuild->rows, rebuild->projection->target, NULL);
	es_store_end(rebuild->rows);
	CommandCounterIncrement();
	rebuild->base = RegisterSnapshot(GetLatestSnapshot());
	begin_rows(rebuild);
}

/* What waits in journals is folded, into a store of the projection as it is now. */
static void
pour(EsRebuild *rebuild)
{
	EsStore    *old = rebuild->rows;
	EsFold	   *fold;

	begin_rows(rebuild);
	while ((fold = es_store_next(old)) != NULL)
	{
		EsRowScan	scan = {0};
		EsRow	   *row;

		while ((row = es_fold_next_row(fold, &scan)) != NULL)
		{
			CHECK_FOR_INTERRUPTS();
			es_store_put(rebuild->rows, row);
		}
	}
	es_store_end(old);
	rebuild->waiting = 0;
}

/* ---- phases 2 and 3 ---- */

/*
 * How many events have come.  Rows are corrected before they come, as they may be
 * refused otherwise; events in journals wait for corrections of their own time.
 */
static int64
step(EsRebuild *rebuild, bool is_last)
{
	Point		from = rebuild->now;
	Point		to;
	List	   *corrected;
	int64		count;

	look(rebuild, is_last, &to);
	expect_none_erased(&from, &to);
	corrected = find_corrected(rebuild, &from, &to);
	if (corrected != NIL && rebuild->waiting > 0)
		pour(rebuild);
	rebuild->now = to;
	es_store_use_corrections(rebuild->rows, to.corrections);
	if (corrected != NIL)
		refold_corrected(rebuild, corrected, &from, &to);
	count = fold_between(rebuild, rebuild->rows, &from, &to);
	if (!es_store_is_whole(rebuild->rows))
		rebuild->waiting += count;
	es_final_end(from.final);
	return count;
}

/* Beyond the cursor, to the watermark, from the rows that the table has there. */
static void
go_on(EsRebuild *rebuild)
{
	rebuild->kind = ES_REBUILD_FILL;
	rebuild->base = RegisterSnapshot(rebuild->now.snapshot);
	pour(rebuild);
	(void) step(rebuild, true);
}

/* What was folded before an erasure may be in any row. */
static void
expect_none_erased(const Point *from, const Point *to)
{
	EsScan	   *scan = es_scan_log(0, PG_INT64_MAX, list_make1(ES_ERASURE_CATEGORY), to->snapshot);
	bool		any;

	es_scan_leave_out(scan, from->snapshot);
	es_scan_spare_names(scan);
	any = es_scan_next_tuple(scan) != NULL;
	es_scan_end(scan);
	if (any)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("an erasure was completed during the rebuild"),
				 errdetail("What it took away had been folded already."),
				 errhint("Rebuild again.")));
}

static int64
fold_between(EsRebuild *rebuild, EsStore *store, const Point *from, const Point *to)
{
	EsProjection *projection = rebuild->projection;
	EsScan	   *scan = es_scan_log(from->after, to->upto, projection->categories, to->snapshot);
	int64		done = from->after;
	int64		count = 0;
	EsProgress	progress;
	EsEvent		event;

	if (is_by_snapshot(rebuild) && from->snapshot != NULL)
		es_scan_leave_out(scan, from->snapshot);
	es_scan_pack(scan);
	es_scan_as_stored(scan);
	es_progress_begin(&progress, psprintf("rebuild of %s: %s", projection->target->name,
										  from->snapshot == NULL ? "folding" : "catching up"),
					  Max(0, Min(to->upto, es_position_last()) - done));
	while (es_scan_next(scan, &event))
	{
		int64		position = DatumGetInt64(event.value[ES_EVENT_POSITION]);

		CHECK_FOR_INTERRUPTS();
		if (!es_event_is_correction(&event))
			es_store_fold(store, &event, es_scan_row(scan));
		count++;
		es_progress_step(&progress, position - done);
		done = position;
	}
	es_progress_end(&progress);
	es_scan_end(scan);
	return count;
}

static List *
find_corrected(EsRebuild *rebuild, const Point *from, const Point *to)
{
	Search		search = {.projection = rebuild->projection,.from = from};

	es_corrections_visit(from->after, to->upto, to->snapshot, note_corrected, &search);
	return search.streams;
}

/* Of what is yet to come, and of what was known already, nothing is to be folded anew. */
static bool
note_corrected(const EsCorrection *correction, void *arg)
{
	Search	   *search = arg;
	const EsCorrection *known = es_corrections_find(search->from->corrections, correction->stream_id,
													correction->corrects);
	const text *stream;
	ListCell   *lc;

	if (correction->corrects > search->from->upto ||
		(known != NULL && known->position >= correction->position) ||
		!es_projection_is_of(search->projection, correction->stream_id))
		return true;
	stream = es_stream_name(correction->stream_id);
	foreach(lc, search->streams)
		if (es_text_same(lfirst(lc), stream))
		return true;
	search->streams = lappend(search->streams,
							  DatumGetPointer(datumCopy(PointerGetDatum(stream), false, -1)));
	return true;
}

/*
 * Rows that events of these streams touch, or touched until then, folded anew up
 * to where the others are.
 */
static void
refold_corrected(EsRebuild *rebuild, List *streams, const Point *from, const Point *to)
{
	EsProjection *projection = rebuild->projection;
	EsFold	   *fold = es_fold_begin_replay(rebuild->context, projection);
	EsRowScan	scan = {0};
	EsRow	   *row;
	ListCell   *lc;

	foreach(lc, streams)
		note_keys(fold, projection, lfirst(lc), from, to);
	es_fold_restrict(fold);
	if (projection->sharing == ES_ROW_SHARED)
		es_refold_scan(fold, es_scan_log(0, from->upto, projection->categories, from->snapshot),
					   to->corrections, from->upto);
	else
		foreach(lc, streams)
			es_refold_scan(fold, es_scan_stream(lfirst(lc), 1, false, from->snapshot),
						   to->corrections, from->upto);
	while ((row = es_fold_next_row(fold, &scan)) != NULL)
		es_store_put(rebuild->rows, row);
}

static void
note_keys(EsFold *fold, const EsProjection *projection, const text *stream, const Point *from,
		  const Point *to)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource rebuild keys", ALLOCSET_DEFAULT_SIZES);
	EsScan	   *scan = es_scan_stream(stream, 1, false, from->snapshot);
	EsEvent		event;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		EsEvent		before = event;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt64(event.value[ES_EVENT_POSITION]) > from->upto)
			break;
		MemoryContextReset(work);
		if (es_corrections_apply(from->corrections, &before))
			es_refold_enter_rows(fold, projection, &before, work);
		if (es_corrections_apply(to->corrections, &event))
			es_refold_enter_rows(fold, projection, &event, work);
	}
	es_scan_end(scan);
	MemoryContextDelete(work);
}
