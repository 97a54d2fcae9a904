/*
 * erasing.c
 *		Who takes part when a subject is erased; and the log's own part.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "log/catalog.h"
#include "log/cursor.h"
#include "log/erasing.h"
#include "log/idempotency.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static List *erasers;

void
es_eraser_register(const EsEraser *eraser)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	erasers = lappend(erasers, unconstify(EsEraser *, eraser));
	MemoryContextSwitchTo(caller);
}

List *
es_eraser_list(void)
{
	return erasers;
}

const EsAbout *
es_erasing_find(const EsErasing *erasing, int64 position)
{
	int64		low = 0;
	int64		high = erasing->count;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (erasing->events[middle].position < position)
			low = middle + 1;
		else
			high = middle;
	}
	return low < erasing->count && erasing->events[low].position == position ? &erasing->events[low] : NULL;
}

void
es_erasing_touch(const EsErasing *erasing, Oid table)
{
	*erasing->touched = list_append_unique_oid(*erasing->touched, table);
}

void
es_erasing_touch_used(const EsErasing *erasing, Oid table)
{
	Relation	rel;

	if (!es_erasing_is_final(erasing) || erasing->count == 0)
		return;
	rel = table_open(table, AccessShareLock);
	if (RelationGetNumberOfBlocks(rel) > 0)
		es_erasing_touch(erasing, table);
	table_close(rel, AccessShareLock);
}

/* ---- the log's own part ---- */

static int64
erase_events(const EsErasing *erasing, void *state)
{
	return !es_erasing_is_hard(erasing) ? 0 :
		es_tombstone_write(erasing->events, erasing->count, erasing->touched);
}

/* A key may name a person, and so may what its digest is of. */
static int64
erase_idempotency(const EsErasing *erasing, void *state)
{
	int64		count = 0;

	for (int64 i = 0; es_erasing_is_final(erasing) && i < erasing->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((erasing->events[i].flags & ES_EVENT_HAS_KEY) != 0 &&
			es_idempotency_delete(erasing->events[i].stream_id, erasing->events[i].version))
			count++;
	}
	if (count > 0)
		es_erasing_touch(erasing, es_catalog_oid(ES_REL_IDEMPOTENCY));
	return count;
}

/* An error may quote the event that it was raised by.  Nobody else follows now. */
static int64
erase_failures(const EsErasing *erasing, void *state)
{
	int64		count = 0;
	ListCell   *lc;

	foreach(lc, es_erasing_is_final(erasing) ? es_cursor_list_failures() : NIL)
	{
		const char *follower = lfirst(lc);
		EsFailure	failure;

		if (!es_cursor_read_failure(follower, SnapshotSelf, &failure) ||
			es_erasing_find(erasing, failure.position) == NULL)
			continue;
		es_cursor_silence(follower);
		count++;
	}
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_PROJECTION_FAILURE));
	return count;
}

/* None is ever needed, so none is kept: not of a stream that is restored, either. */
static int64
erase_snapshots(const EsErasing *erasing, void *state)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SNAPSHOT), ShareUpdateExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int64		count = 0;

	for (int i = 0; i < erasing->n_streams; i++)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	row;

		CHECK_FOR_INTERRUPTS();
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(erasing->streams[i]));
		scan = systable_beginscan(rel, es_catalog_oid(ES_REL_SNAPSHOT_PKEY), true, snapshot, 1, &key);
		while (HeapTupleIsValid(row = systable_getnext(scan)))
		{
			es_catalog_delete(rel, row);
			count++;
		}
		systable_endscan(scan);
	}
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_SNAPSHOT));
	return count;
}

void
es_erasing_init(void)
{
	static const EsEraser own[] = {
		{"events", NULL, erase_events},
		{"idempotency keys", NULL, erase_idempotency},
		{"snapshots", NULL, erase_snapshots},
		{"errors of followers", NULL, erase_failures},
	};

	for (int i = 0; i < (int) lengthof(own); i++)
		es_eraser_register(&own[i]);
}
