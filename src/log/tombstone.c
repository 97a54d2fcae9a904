/*
 * tombstone.c
 *		Events whose data are gone for good.
 *
 * A tombstone is the event's row written anew without data and metadata, in its
 * place in the log: position, version, type, states, subject and hash stay, so that
 * the chain goes on over it.  It is the one change that a row of the log ever sees.
 *
 * A subject may have events in any stream, so all of the log is looked through once,
 * at rows only.
 *
 * Locks: the caller has locked the streams, whose writers read heads from these
 * rows; ROW EXCLUSIVE on the segments written.  Memory: 32 bytes per event found.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "errors.h"
#include "log/event.h"
#include "log/read.h"
#include "log/rows.h"
#include "log/segment.h"
#include "log/stream.h"
#include "log/stream_name.h"
#include "log/tombstone.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

static bool is_own(int64 stream_id);
static bool write_one(EsRows *rows, Relation index, int64 position, Snapshot snapshot);

EsAbout *
es_tombstone_find(const text *subject, Snapshot snapshot, int64 *count)
{
	EsScan	   *scan = es_scan_whole_log(0, PG_INT64_MAX, snapshot);
	EsAbout    *found = NULL;
	int64		max = 0;
	EsStream	stream = {0};
	HeapTuple	row;

	*count = 0;
	(void) es_stream_find(subject, &stream);
	es_scan_spare_names(scan);
	es_scan_about(scan, subject, stream.id);
	while ((row = es_scan_next_tuple(scan)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_own(es_event_stream_id(row)))
			continue;
		if (*count == max)
		{
			max = Max(64, max * 2);
			found = found == NULL ? palloc(max * sizeof(EsAbout)) :
				repalloc_huge(found, max * sizeof(EsAbout));
		}
		found[(*count)++] = (EsAbout)
		{
			es_event_position(row), es_event_stream_id(row), es_event_version(row), es_event_flags(row)
		};
	}
	es_scan_end(scan);
	return found;
}

static bool
is_own(int64 stream_id)
{
	return VARDATA_ANY(es_stream_name(stream_id))[0] == '$';
}

int64
es_tombstone_write(const EsAbout *events, int64 count, List **segments)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource tombstones",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	Snapshot	snapshot;
	int64		written = 0;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int64 i = 0; i < count;)
	{
		const EsSegment *at = es_segment_at(events[i].position);
		int64		upper;
		EsRows		rows;
		Relation	index;

		if (at == NULL)
			elog(ERROR, "no segment has position " INT64_FORMAT, events[i].position);
		upper = at->upper;
		*segments = list_append_unique_oid(*segments, at->table);
		es_rows_open(&rows, at->table);
		(void) es_rows_slots(&rows, 1);
		index = es_event_open_index(rows.rel, ES_INDEX_POSITION, AccessShareLock);
		MemoryContextSwitchTo(work);
		for (; i < count && events[i].position < upper; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (write_one(&rows, index, events[i].position, snapshot))
				written++;
			MemoryContextReset(work);
		}
		MemoryContextSwitchTo(caller);
		index_close(index, NoLock);
		es_rows_close(&rows);
	}
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(work);
	CommandCounterIncrement();
	return written;
}

/* False: it is a tombstone. */
static bool
write_one(EsRows *rows, Relation index, int64 position, Snapshot snapshot)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	HeapTuple	tombstone = NULL;

	es_event_key_position(&key, BTEqualStrategyNumber, position);
	scan = systable_beginscan_ordered(rows->rel, index, snapshot, 1, &key);
	row = systable_getnext_ordered(scan, ForwardScanDirection);
	if (!HeapTupleIsValid(row))
		elog(ERROR, "no event at position " INT64_FORMAT, position);
	if ((es_event_flags(row) & ES_EVENT_ERASED) == 0)
	{
		tombstone = es_event_form_tombstone(row, RelationGetDescr(rows->rel));
		es_rows_update(rows, &row->t_self, tombstone);
	}
	systable_endscan_ordered(scan);
	return tombstone != NULL;
}
