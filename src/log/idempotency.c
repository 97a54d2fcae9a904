/*
 * idempotency.c
 *		Keys under which a repeated append returns the first one's result.
 *
 * The scope of a key is its stream, so the stream's lock covers it: no lock of
 * its own, and nothing that must be unique over the whole log.
 */
#include "log/idempotency.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "log/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

enum
{
	COL_STREAM = 1,
	COL_VERSION,
	COL_DIGEST,
	COL_KEY
};

int64
es_idempotency_find(int64 stream_id, const text *key, uint8 *digest)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_IDEMPOTENCY), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		version = 0;

	ScanKeyInit(&keys[0], COL_STREAM, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
	ScanKeyInit(&keys[1], COL_KEY, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(key));
	keys[1].sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_IDEMPOTENCY_PKEY), true, SnapshotSelf, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		bytea	   *stored = DatumGetByteaPP(heap_getattr(tuple, COL_DIGEST, RelationGetDescr(rel), &isnull));

		version = DatumGetInt64(heap_getattr(tuple, COL_VERSION, RelationGetDescr(rel), &isnull));
		memset(digest, 0, ES_HASH_SIZE);
		memcpy(digest, VARDATA_ANY(stored), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(stored)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

void
es_idempotency_insert(int64 stream_id, const text *key, int64 version, const uint8 *digest)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_IDEMPOTENCY), RowExclusiveLock);
	bytea	   *stored = palloc(VARHDRSZ + ES_HASH_SIZE);
	Datum		values[4] = {Int64GetDatum(stream_id), Int64GetDatum(version),
	PointerGetDatum(stored), PointerGetDatum(key)};
	bool		nulls[4] = {false, false, false, false};

	SET_VARSIZE(stored, VARHDRSZ + ES_HASH_SIZE);
	memcpy(VARDATA(stored), digest, ES_HASH_SIZE);
	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
}

/* By version; the scan ends with the one row there may be. */
static SysScanDesc
begin_version_scan(Relation rel, int64 stream_id, int64 version, ScanKey keys)
{
	ScanKeyInit(&keys[0], COL_STREAM, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
	ScanKeyInit(&keys[1], COL_VERSION, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(version));
	return systable_beginscan(rel, es_catalog_oid(ES_REL_IDEMPOTENCY_VERSION_IDX), true,
							  SnapshotSelf, 2, keys);
}

const text *
es_idempotency_key(int64 stream_id, int64 version)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_IDEMPOTENCY), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan = begin_version_scan(rel, stream_id, version, keys);
	HeapTuple	tuple = systable_getnext(scan);
	const text *key = NULL;

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		key = DatumGetTextPCopy(heap_getattr(tuple, COL_KEY, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return key;
}

void
es_idempotency_forget(int64 stream_id, int64 upto_version)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_IDEMPOTENCY), RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], COL_STREAM, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
	ScanKeyInit(&keys[1], COL_VERSION, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(upto_version));
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_IDEMPOTENCY_VERSION_IDX), true,
							  SnapshotSelf, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		es_catalog_delete(rel, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

bool
es_idempotency_delete(int64 stream_id, int64 version)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_IDEMPOTENCY), RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan = begin_version_scan(rel, stream_id, version, keys);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
		es_catalog_delete(rel, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
	return found;
}
