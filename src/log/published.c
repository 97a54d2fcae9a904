/*
 * published.c
 *		The watermark that is written down, for readers on standby servers.
 *
 * A standby sees neither the bounds of open appenders nor the true value of the
 * sequence, but commits become visible there in the order of their records in the
 * WAL.  The row is written after the watermark was determined, hence after every
 * transaction below it had written its commit record (the bound goes after that),
 * or had been rolled back: a snapshot that sees the row sees all of them.
 *
 * One row, written under an advisory lock that is held to the end of the
 * transaction and never waited for.  Not dumped: a copy publishes its own.
 */
#include "log/published.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/position.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define COLUMNS		2			/* position, published_at */

PG_FUNCTION_INFO_V1(eventsource_publish_watermark);
PG_FUNCTION_INFO_V1(eventsource_published_row);

/* A copy of the row; NULL if there is none. */
static HeapTuple
read_row(Relation rel, Snapshot snapshot)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	row = systable_getnext(scan);

	if (HeapTupleIsValid(row))
		row = heap_copytuple(row);
	systable_endscan(scan);
	return row;
}

static int64
get_position(Relation rel, HeapTuple row)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];

	heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
	return DatumGetInt64(values[0]);
}

int64
es_published_position(TimestampTz *published_at)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PUBLISHED_WATERMARK), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	HeapTuple	row = read_row(rel, snapshot);
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS];

	UnregisterSnapshot(snapshot);
	if (row != NULL)
		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
	table_close(rel, AccessShareLock);
	*published_at = DatumGetTimestampTz(values[1]);
	return DatumGetInt64(values[0]);
}

int64
es_published_advance(void)
{
	Oid			table = es_catalog_oid(ES_REL_PUBLISHED_WATERMARK);
	int64		mark = es_position_watermark();
	TimestampTz published_at;
	LOCKTAG		tag;
	Relation	rel;
	HeapTuple	row;
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false, false};

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, table, 0, ES_LOCK_READER);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return es_published_position(&published_at);

	rel = table_open(table, RowExclusiveLock);
	row = read_row(rel, SnapshotSelf);
	values[0] = Int64GetDatum(mark);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (row == NULL)
		es_catalog_insert(rel, values, nulls);
	else if (get_position(rel, row) < mark)
		es_catalog_update(rel, row, values, nulls);
	else
	{
		mark = get_position(rel, row);
		es_position_expect_drawn(mark);
	}
	table_close(rel, NoLock);
	return mark;
}

Datum
eventsource_publish_watermark(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("eventsource.publish_watermark()");
	PreventCommandDuringRecovery("eventsource.publish_watermark()");
	PG_RETURN_INT64(es_published_advance());
}

/* For the view: position and time of the row, nulls if there is none. */
Datum
eventsource_published_row(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	TimestampTz published_at;
	int64		position = es_published_position(&published_at);
	Datum		values[COLUMNS] = {Int64GetDatum(position), TimestampTzGetDatum(published_at)};
	bool		nulls[COLUMNS] = {position == 0, position == 0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
