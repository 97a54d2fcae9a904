/*
 * subscription_rows.c
 *		Rows <-> structs of what subscriptions have come to.
 *
 * Whoever changes the rows of a partition holds an advisory lock whose tag hashes
 * its name, to the end of the (sub)transaction that took it: rows are so written
 * by one transaction at a time, whatever its isolation level, and what a savepoint's
 * rollback undoes it also unlocks.
 *
 * Each write is followed by a command's end, as one command may poll and
 * acknowledge.
 * A partition's row is written anew with each poll and ack, hence looked for where
 * it stood (log/place.h).
 */
#include "feed/subscription.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "log/catalog.h"
#include "log/cursor.h"
#include "log/place.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Columns of eventsource.subscription_cursor. */
enum
{
	PARTITION_SUBSCRIPTION,
	PARTITION_NUMBER,
	PARTITION_POSITION,
	PARTITION_FAILING,
	PARTITION_ATTEMPTS,
	PARTITION_SINGLE_UPTO,
	PARTITION_RETRY_AT,
	PARTITION_LANE,
	PARTITION_DELIVERED,
	PARTITION_SCANNED,
	PARTITION_IS_BEGUN,
	PARTITION_LEASE_UNTIL,
	PARTITION_SERVED_AT,
	PARTITION_SESSION,
	PARTITION_CONSUMER,
	PARTITION_ERROR,
	PARTITION_NCOLUMNS
};

/* Columns of eventsource.subscription_parked. */
enum
{
	LANE_SUBSCRIPTION,
	LANE_PARTITION,
	LANE_IS_IDLE,
	LANE_ORIGIN,
	LANE_IS_PARKED,
	LANE_IS_HOLDING,
	LANE_POSITION,
	LANE_FAILING,
	LANE_ATTEMPTS,
	LANE_SINGLE_UPTO,
	LANE_RETRY_AT,
	LANE_STREAM,
	LANE_VERSION,
	LANE_PARKED_AT,
	LANE_ERROR,
	LANE_NCOLUMNS
};

static bool is_row_of(HeapTuple tuple, TupleDesc desc, const EsSubscription *subscription, int32 partition);
static HeapTuple find_by_index(const EsSubscription *subscription, int32 partition, Snapshot snapshot);
static void set_tag(const EsSubscription *subscription, int32 partition, LOCKTAG *tag);
static SysScanDesc begin_scan(EsRelation table, EsRelation index, const EsSubscription *subscription,
							  int32 partition, bool busy_only, Snapshot snapshot);
static void end_scan(SysScanDesc scan);
static void form_partition(const EsSubscription *subscription, const EsPartition *part,
						   Datum *values, bool *nulls);
static void form_lane(const EsSubscription *subscription, int32 partition, const EsLane *lane,
					  Datum *values, bool *nulls);
static EsLane *deform_lane(HeapTuple tuple, TupleDesc desc);
static text *get_text(Datum value, bool isnull);
static void put_text(const text *value, Datum *column, bool *isnull);

/* ---- locks ---- */

bool
es_partition_try_lock(const EsSubscription *subscription, int32 partition)
{
	LOCKTAG		tag;

	if (!es_followers_enter(false))
		return false;
	set_tag(subscription, partition, &tag);
	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	es_followers_leave();
	return false;
}

void
es_partition_lock(const EsSubscription *subscription, int32 partition)
{
	LOCKTAG		tag;

	(void) es_followers_enter(true);
	set_tag(subscription, partition, &tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
es_partition_unlock(const EsSubscription *subscription, int32 partition)
{
	LOCKTAG		tag;

	set_tag(subscription, partition, &tag);
	(void) LockRelease(&tag, ExclusiveLock, false);
	es_followers_leave();
}

static void
set_tag(const EsSubscription *subscription, int32 partition, LOCKTAG *tag)
{
	char		whose[ES_MAX_WORD + 32];
	int			length = snprintf(whose, sizeof(whose), "s%d.%s", partition, subscription->name);
	uint64		hash = hash_bytes_extended((unsigned char *) whose, length, 0);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, ES_LOCK_READER);
}

/* ---- partitions ---- */

void
es_partition_read(const EsSubscription *subscription, int32 partition, Snapshot snapshot, EsPartition *part)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SUBSCRIPTION_CURSOR), AccessShareLock);
	char	   *place = psprintf("%d.%s", partition, subscription->name);
	HeapTuple	tuple = es_place_read(rel, place, snapshot);
	Datum		values[PARTITION_NCOLUMNS];
	bool		nulls[PARTITION_NCOLUMNS];

	if (tuple == NULL || !is_row_of(tuple, RelationGetDescr(rel), subscription, partition))
		tuple = find_by_index(subscription, partition, snapshot);
	if (tuple == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("progress of subscription \"%s\" is missing", subscription->name),
				 errdetail("There is no row for partition %d: it is being dropped, or was restored without its progress.", partition),
				 errhint("Drop the subscription and create it again.")));
	es_place_note(rel, place, tuple);
	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	part->number = partition;
	part->line.position = DatumGetInt64(values[PARTITION_POSITION]);
	part->line.failing = DatumGetInt64(values[PARTITION_FAILING]);
	part->line.attempts = DatumGetInt32(values[PARTITION_ATTEMPTS]);
	part->line.single_upto = DatumGetInt64(values[PARTITION_SINGLE_UPTO]);
	part->line.retry_at = DatumGetTimestampTz(values[PARTITION_RETRY_AT]);
	part->line.error = get_text(values[PARTITION_ERROR], nulls[PARTITION_ERROR]);
	part->lane = DatumGetInt64(values[PARTITION_LANE]);
	part->delivered = DatumGetInt64(values[PARTITION_DELIVERED]);
	part->scanned = DatumGetInt64(values[PARTITION_SCANNED]);
	part->is_begun = DatumGetBool(values[PARTITION_IS_BEGUN]);
	part->lease_until = DatumGetTimestampTz(values[PARTITION_LEASE_UNTIL]);
	part->served_at = DatumGetTimestampTz(values[PARTITION_SERVED_AT]);
	part->session = DatumGetInt64(values[PARTITION_SESSION]);
	part->consumer = get_text(values[PARTITION_CONSUMER], nulls[PARTITION_CONSUMER]);
	part->tuple = tuple;
	table_close(rel, AccessShareLock);
}

/* The place may have become another row's. */
static bool
is_row_of(HeapTuple tuple, TupleDesc desc, const EsSubscription *subscription, int32 partition)
{
	Datum		values[PARTITION_NCOLUMNS];
	bool		nulls[PARTITION_NCOLUMNS];

	heap_deform_tuple(tuple, desc, values, nulls);
	return DatumGetInt32(values[PARTITION_NUMBER]) == partition &&
		es_text_same(DatumGetTextPP(values[PARTITION_SUBSCRIPTION]), subscription->name_text);
}

static HeapTuple
find_by_index(const EsSubscription *subscription, int32 partition, Snapshot snapshot)
{
	SysScanDesc scan = begin_scan(ES_REL_SUBSCRIPTION_CURSOR, ES_REL_SUBSCRIPTION_CURSOR_PKEY,
								  subscription, partition, false, snapshot);
	HeapTuple	tuple = systable_getnext_ordered(scan, ForwardScanDirection);

	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	end_scan(scan);
	return tuple;
}

void
es_partition_write(const EsSubscription *subscription, EsPartition *part)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SUBSCRIPTION_CURSOR), RowExclusiveLock);
	Datum		values[PARTITION_NCOLUMNS];
	bool		nulls[PARTITION_NCOLUMNS];

	form_partition(subscription, part, values, nulls);
	es_catalog_update(rel, part->tuple, values, nulls);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	es_partition_read(subscription, part->number, SnapshotSelf, part);
}

void
es_partition_create(const EsSubscription *subscription, int32 partition, int64 position)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SUBSCRIPTION_CURSOR), RowExclusiveLock);
	EsPartition part = {.number = partition,.line.position = position};
	Datum		values[PARTITION_NCOLUMNS];
	bool		nulls[PARTITION_NCOLUMNS];

	es_line_forgive(&part.line);
	es_partition_end_lease(&part);
	part.served_at = DT_NOBEGIN;
	form_partition(subscription, &part, values, nulls);
	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
es_partition_delete(const EsSubscription *subscription, int32 partition)
{
	HeapTuple	tuple = find_by_index(subscription, partition, SnapshotSelf);
	Relation	rel;

	if (tuple == NULL)
		return;
	rel = table_open(es_catalog_oid(ES_REL_SUBSCRIPTION_CURSOR), RowExclusiveLock);
	es_catalog_delete(rel, tuple);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
es_partition_end_lease(EsPartition *part)
{
	part->lane = 0;
	part->delivered = 0;
	part->scanned = 0;
	part->is_begun = false;
	part->lease_until = DT_NOBEGIN;
	part->session = 0;
	part->consumer = NULL;
}

bool
es_partition_is_lent_to(const EsPartition *part, const text *consumer)
{
	return part->delivered != 0 && es_text_same(part->consumer, consumer);
}

static void
form_partition(const EsSubscription *subscription, const EsPartition *part, Datum *values, bool *nulls)
{
	memset(nulls, 0, PARTITION_NCOLUMNS * sizeof(bool));
	values[PARTITION_SUBSCRIPTION] = PointerGetDatum(subscription->name_text);
	values[PARTITION_NUMBER] = Int32GetDatum(part->number);
	values[PARTITION_POSITION] = Int64GetDatum(part->line.position);
	values[PARTITION_FAILING] = Int64GetDatum(part->line.failing);
	values[PARTITION_ATTEMPTS] = Int32GetDatum(part->line.attempts);
	values[PARTITION_SINGLE_UPTO] = Int64GetDatum(part->line.single_upto);
	values[PARTITION_RETRY_AT] = TimestampTzGetDatum(part->line.retry_at);
	values[PARTITION_LANE] = Int64GetDatum(part->lane);
	values[PARTITION_DELIVERED] = Int64GetDatum(part->delivered);
	values[PARTITION_SCANNED] = Int64GetDatum(part->scanned);
	values[PARTITION_IS_BEGUN] = BoolGetDatum(part->is_begun);
	values[PARTITION_LEASE_UNTIL] = TimestampTzGetDatum(part->lease_until);
	values[PARTITION_SERVED_AT] = TimestampTzGetDatum(part->served_at);
	values[PARTITION_SESSION] = Int64GetDatum(part->session);
	put_text(part->consumer, &values[PARTITION_CONSUMER], &nulls[PARTITION_CONSUMER]);
	put_text(part->line.error, &values[PARTITION_ERROR], &nulls[PARTITION_ERROR]);
}

/* ---- lanes ---- */

List *
es_lane_list(const EsSubscription *subscription, int32 partition, bool idle_too, Snapshot snapshot)
{
	SysScanDesc scan = begin_scan(ES_REL_SUBSCRIPTION_PARKED, ES_REL_SUBSCRIPTION_PARKED_PKEY,
								  subscription, partition, !idle_too, snapshot);
	List	   *result = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
		result = lappend(result, deform_lane(tuple, RelationGetDescr(scan->heap_rel)));
	end_scan(scan);
	return result;
}

void
es_lane_insert(const EsSubscription *subscription, int32 partition, EsLane *lane)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SUBSCRIPTION_PARKED), RowExclusiveLock);
	Datum		values[LANE_NCOLUMNS];
	bool		nulls[LANE_NCOLUMNS];

	form_lane(subscription, partition, lane, values, nulls);
	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
es_lane_write(const EsSubscription *subscription, int32 partition, EsLane *lane)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SUBSCRIPTION_PARKED), RowExclusiveLock);
	Datum		values[LANE_NCOLUMNS];
	bool		nulls[LANE_NCOLUMNS];

	form_lane(subscription, partition, lane, values, nulls);
	es_catalog_update(rel, lane->tuple, values, nulls);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
es_lane_delete(EsLane *lane)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SUBSCRIPTION_PARKED), RowExclusiveLock);

	es_catalog_delete(rel, lane->tuple);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
es_line_forgive(EsLine *line)
{
	line->failing = 0;
	line->attempts = 0;
	line->retry_at = DT_NOBEGIN;
	line->error = NULL;
}

static void
form_lane(const EsSubscription *subscription, int32 partition, const EsLane *lane, Datum *values, bool *nulls)
{
	memset(nulls, 0, LANE_NCOLUMNS * sizeof(bool));
	values[LANE_SUBSCRIPTION] = PointerGetDatum(subscription->name_text);
	values[LANE_PARTITION] = Int32GetDatum(partition);
	values[LANE_IS_IDLE] = BoolGetDatum(lane->is_parked && !lane->is_holding);
	values[LANE_ORIGIN] = Int64GetDatum(lane->origin);
	values[LANE_IS_PARKED] = BoolGetDatum(lane->is_parked);
	values[LANE_IS_HOLDING] = BoolGetDatum(lane->is_holding);
	values[LANE_POSITION] = Int64GetDatum(lane->line.position);
	values[LANE_FAILING] = Int64GetDatum(lane->line.failing);
	values[LANE_ATTEMPTS] = Int32GetDatum(lane->line.attempts);
	values[LANE_SINGLE_UPTO] = Int64GetDatum(lane->line.single_upto);
	values[LANE_RETRY_AT] = TimestampTzGetDatum(lane->line.retry_at);
	values[LANE_STREAM] = Int64GetDatum(lane->stream_id);
	values[LANE_VERSION] = Int64GetDatum(lane->version);
	values[LANE_PARKED_AT] = TimestampTzGetDatum(lane->parked_at);
	put_text(lane->line.error, &values[LANE_ERROR], &nulls[LANE_ERROR]);
}

static EsLane *
deform_lane(HeapTuple tuple, TupleDesc desc)
{
	EsLane	   *lane = palloc0(sizeof(EsLane));
	Datum		values[LANE_NCOLUMNS];
	bool		nulls[LANE_NCOLUMNS];

	heap_deform_tuple(tuple, desc, values, nulls);
	lane->origin = DatumGetInt64(values[LANE_ORIGIN]);
	lane->is_parked = DatumGetBool(values[LANE_IS_PARKED]);
	lane->is_holding = DatumGetBool(values[LANE_IS_HOLDING]);
	lane->line.position = DatumGetInt64(values[LANE_POSITION]);
	lane->line.failing = DatumGetInt64(values[LANE_FAILING]);
	lane->line.attempts = DatumGetInt32(values[LANE_ATTEMPTS]);
	lane->line.single_upto = DatumGetInt64(values[LANE_SINGLE_UPTO]);
	lane->line.retry_at = DatumGetTimestampTz(values[LANE_RETRY_AT]);
	lane->line.error = get_text(values[LANE_ERROR], nulls[LANE_ERROR]);
	lane->stream_id = DatumGetInt64(values[LANE_STREAM]);
	lane->version = DatumGetInt64(values[LANE_VERSION]);
	lane->parked_at = DatumGetTimestampTz(values[LANE_PARKED_AT]);
	lane->tuple = heap_copytuple(tuple);
	return lane;
}

/* ---- rows ---- */

static SysScanDesc
begin_scan(EsRelation table, EsRelation index, const EsSubscription *subscription, int32 partition,
		   bool busy_only, Snapshot snapshot)
{
	Relation	rel = table_open(es_catalog_oid(table), AccessShareLock);
	Relation	index_rel = index_open(es_catalog_oid(index), AccessShareLock);
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], PARTITION_SUBSCRIPTION + 1, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(subscription->name_text));
	keys[0].sk_collation = C_COLLATION_OID;
	ScanKeyInit(&keys[1], PARTITION_NUMBER + 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(partition));
	ScanKeyInit(&keys[2], LANE_IS_IDLE + 1, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(false));
	return systable_beginscan_ordered(rel, index_rel, snapshot, busy_only ? 3 : 2, keys);
}

/* All rows of a subscription. */
static SysScanDesc
begin_scan_of_all(EsRelation table, EsRelation index, const char *subscription)
{
	Relation	rel = table_open(es_catalog_oid(table), AccessShareLock);
	Relation	index_rel = index_open(es_catalog_oid(index), AccessShareLock);
	ScanKeyData key;

	ScanKeyInit(&key, PARTITION_SUBSCRIPTION + 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(subscription));
	key.sk_collation = C_COLLATION_OID;
	return systable_beginscan_ordered(rel, index_rel, SnapshotSelf, 1, &key);
}

int64
es_partition_slowest(const char *subscription)
{
	SysScanDesc scan = begin_scan_of_all(ES_REL_SUBSCRIPTION_CURSOR, ES_REL_SUBSCRIPTION_CURSOR_PKEY,
										 subscription);
	int64		result = PG_INT64_MAX;
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool		isnull;
		Datum		value = heap_getattr(row, PARTITION_POSITION + 1, RelationGetDescr(scan->heap_rel),
										 &isnull);

		result = Min(result, DatumGetInt64(value));
	}
	end_scan(scan);
	return result == PG_INT64_MAX ? 0 : result;
}

List *
es_lane_streams(const char *subscription)
{
	SysScanDesc scan = begin_scan_of_all(ES_REL_SUBSCRIPTION_PARKED, ES_REL_SUBSCRIPTION_PARKED_PKEY,
										 subscription);
	List	   *result = NIL;
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool		isnull;
		int64	   *stream_id = palloc(sizeof(int64));
		Datum		value = heap_getattr(row, LANE_STREAM + 1, RelationGetDescr(scan->heap_rel), &isnull);

		*stream_id = DatumGetInt64(value);
		result = lappend(result, stream_id);
	}
	end_scan(scan);
	return result;
}

static void
end_scan(SysScanDesc scan)
{
	Relation	rel = scan->heap_rel;
	Relation	index = scan->irel;

	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

static text *
get_text(Datum value, bool isnull)
{
	return isnull ? NULL : DatumGetTextPCopy(value);
}

static void
put_text(const text *value, Datum *column, bool *isnull)
{
	*column = PointerGetDatum(value);
	*isnull = value == NULL;
}
