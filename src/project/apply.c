/*
 * apply.c
 *		Projections in mode async.
 *
 * A stretch of events is folded into rows read from the table, and written at its
 * end; a correction has the rows folded anew that it touches (apply_correct.c).
 * Nobody else writes the table: the cursor's lock keeps out other appliers, and
 * appends do not fold into it.
 *
 * Locks: the cursor's, then ROW EXCLUSIVE on the table; to the end of the
 * transaction.
 *
 * Memory: that of a hash table; when it is full the stretch ends.
 */
#include "project/apply.h"

#include "executor/nodeHash.h"
#include "log/correction.h"
#include "log/read.h"
#include "miscadmin.h"
#include "project/apply_correct.h"
#include "project/fold_row.h"
#include "project/personal_columns.h"
#include "rules/pii_use.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Events in a stretch at most; positions in one that corrections are in. */
#define MAX_STRETCH		1000000
#define MAX_CORRECTED	10000

/* Events between two looks at the memory in use. */
#define EVENTS_PER_LOOK	1000

static void apply_stretch(const EsFollower *follower, EsStretch *stretch);
static bool sees_personal(const EsFollower *follower);
static void fold_stretch(EsProjection *projection, EsStretch *stretch, int64 end, bool is_whole);

bool
es_apply_lock(const char *name, bool wait)
{
	return es_cursor_lock(es_cursor_name("projection", name), wait);
}

void
es_apply_lock_table(Oid relid)
{
	ListCell   *lc;

	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);

		if (async->relid == relid)
			(void) es_apply_lock(async->name, true);
	}
}

int64
es_apply_position(const char *name, Snapshot snapshot)
{
	EsCursor	cursor;

	return es_cursor_read(es_cursor_name("projection", name), snapshot, &cursor) ? cursor.position : 0;
}

int64
es_apply_shown(const EsProjection *projection, Snapshot snapshot)
{
	return projection->is_async ? es_apply_position(projection->name, snapshot) : PG_INT64_MAX;
}

void
es_apply_set(const char *name, int64 position)
{
	char	   *follower = es_cursor_name("projection", name);

	es_cursor_set(follower, position);
	(void) es_cursor_mend(follower);
}

void
es_apply_forget(const char *name)
{
	es_cursor_drop(es_cursor_name("projection", name));
}

void
es_apply_run(const EsAsync *async, const EsFinal *final, int64 max_events, EsFollowed *result)
{
	EsFollower	follower = {
		.name = es_cursor_name("projection", async->name),
		.size = async->pace.max_batch,
		.max_size = Max(MAX_STRETCH, async->pace.max_batch),
		.arg = unconstify(EsAsync *, async),
		.apply = apply_stretch,
		.sees_personal = sees_personal
	};

	es_follow_run(&follower, final, max_events, result);
}

/* Rows have what earlier events had, so the event at hand does not tell. */
static bool
sees_personal(const EsFollower *follower)
{
	const EsAsync *async = follower->arg;
	EsProjection *projection = es_projection_get(async->relid);
	EsPersonalColumns found;

	if (projection == NULL)
		return es_pii_declared(NIL, NULL) != NIL;
	es_personal_columns_find(projection, &found);
	return found.reads;
}

/*
 * Up to the next correction there is nothing that a correction changes.  A
 * stretch that begins with one is of positions, since what corrects its events
 * must be known before they are folded.
 */
static void
apply_stretch(const EsFollower *follower, EsStretch *stretch)
{
	const EsAsync *async = follower->arg;
	EsProjection *projection = es_projection_open_to_follow(async->relid, async->name);
	int64		correction = es_apply_next_correction(projection, stretch);
	bool		is_corrected = correction == stretch->after + 1;
	int64		end = correction - 1;

	if (is_corrected)
	{
		end = Min(stretch->upto, stretch->after + Min(stretch->size, MAX_CORRECTED));
		stretch->at = correction;
		stretch->events = end - stretch->after;
		es_apply_corrections(projection, stretch, end);
	}
	fold_stretch(projection, stretch, end, is_corrected);
}

/* is_whole: up to the end, which it is known to reach in little memory. */
static void
fold_stretch(EsProjection *projection, EsStretch *stretch, int64 end, bool is_whole)
{
	EsCorrections *corrections = es_corrections_load_between(stretch->after, end, stretch->snapshot);
	MemoryContext rows = AllocSetContextCreate(CurrentMemoryContext, "eventsource followed rows",
											   ALLOCSET_DEFAULT_SIZES);
	EsFold	   *fold = es_fold_begin_follow(rows, projection);
	EsScan	   *scan = es_scan_log(stretch->after, end, projection->categories, stretch->snapshot);
	size_t		limit = get_hash_memory_limit();
	int			events = 0;
	EsEvent		event;

	es_scan_pack(scan);
	es_scan_as_stored(scan);
	es_scan_expect(scan, stretch->size);
	stretch->reached = end;
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		stretch->at = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		events++;
		stretch->events = Max(stretch->events, events);
		if (es_corrections_apply(corrections, &event))
			es_fold_apply(fold, &event);
		if (!is_whole && (events == stretch->size ||
						  (events % EVENTS_PER_LOOK == 0 && MemoryContextMemAllocated(rows, true) > limit)))
		{
			stretch->reached = stretch->at;
			break;
		}
	}
	es_scan_end(scan);
	es_fold_flush(fold);
	stretch->events = events;
}
