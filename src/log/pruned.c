/*
 * pruned.c
 *		What is left of events that were taken out of the log: the end of each
 *		stream's part that is gone, and the hashes of all that are.
 *
 * A stream loses its first events alone, so one row says all there is to say about
 * it: appends go on from it, and the chain of what is left begins with it.
 */
#include "log/pruned.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "log/catalog.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define HEAD_COLUMNS	6		/* stream, version, position, recorded_at,
								 * state, hash */
#define LEAF_COLUMNS	3		/* bucket, present, hashes */

static bytea *make_bytea(const uint8 *data, int len);

bool
es_pruned_head(int64 stream_id, EsHead *head)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PRUNED_HEAD), AccessShareLock);
	HeapTuple	row;
	Datum		values[HEAD_COLUMNS];
	bool		nulls[HEAD_COLUMNS];

	/* Most logs have lost nothing. */
	row = RelationGetNumberOfBlocks(rel) == 0 ? NULL :
		es_catalog_find(rel, ES_REL_PRUNED_HEAD_PKEY, stream_id, SnapshotSelf);
	if (row != NULL)
	{
		bytea	   *hash;

		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		head->version = DatumGetInt64(values[1]);
		head->position = DatumGetInt64(values[2]);
		head->recorded_at = DatumGetTimestampTz(values[3]);
		head->to_state = DatumGetInt32(values[4]);
		hash = DatumGetByteaPP(values[5]);
		memset(head->hash, 0, ES_HASH_SIZE);
		memcpy(head->hash, VARDATA_ANY(hash), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(hash)));
		heap_freetuple(row);
	}
	table_close(rel, AccessShareLock);
	return row != NULL;
}

bool
es_pruned_head_of(const text *stream, EsHead *head)
{
	EsStream	found;

	return es_stream_find(stream, &found) && es_pruned_head(found.id, head);
}

void
es_pruned_set_head(int64 stream_id, const EsHead *head)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PRUNED_HEAD), RowExclusiveLock);
	HeapTuple	old = es_catalog_find(rel, ES_REL_PRUNED_HEAD_PKEY, stream_id, SnapshotSelf);
	Datum		values[HEAD_COLUMNS] = {Int64GetDatum(stream_id), Int64GetDatum(head->version),
		Int64GetDatum(head->position), TimestampTzGetDatum(head->recorded_at), Int32GetDatum(head->to_state),
	PointerGetDatum(make_bytea(head->hash, ES_HASH_SIZE))};
	bool		nulls[HEAD_COLUMNS] = {false};

	if (old == NULL)
		es_catalog_insert(rel, values, nulls);
	else
	{
		es_catalog_update(rel, old, values, nulls);
		heap_freetuple(old);
	}
	pfree(DatumGetPointer(values[5]));
	table_close(rel, NoLock);
}

static bytea *
make_bytea(const uint8 *data, int len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return result;
}

/* ---- leaves ---- */

static void
read_leaves(Relation rel, HeapTuple row, EsPrunedLeaves *leaves)
{
	Datum		values[LEAF_COLUMNS];
	bool		nulls[LEAF_COLUMNS];
	bytea	   *hashes;
	int			n = 0;

	heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
	leaves->bucket = DatumGetInt64(values[0]);
	leaves->present = (uint32) DatumGetInt32(values[1]);
	hashes = DatumGetByteaPP(values[2]);
	for (int i = 0; i < ES_PRUNED_BUCKET; i++)
		if ((leaves->present & ((uint32) 1 << i)) != 0 &&
			(n + 1) * ES_HASH_SIZE <= (int) VARSIZE_ANY_EXHDR(hashes))
			memcpy(leaves->hashes[i], VARDATA_ANY(hashes) + n++ * ES_HASH_SIZE, ES_HASH_SIZE);
	if (PointerGetDatum(hashes) != values[2])
		pfree(hashes);
}

static void
write_leaves(Relation rel, HeapTuple old, const EsPrunedLeaves *leaves)
{
	uint8		hashes[ES_PRUNED_BUCKET * ES_HASH_SIZE];
	int			n = 0;
	Datum		values[LEAF_COLUMNS];
	bool		nulls[LEAF_COLUMNS] = {false};

	for (int i = 0; i < ES_PRUNED_BUCKET; i++)
		if ((leaves->present & ((uint32) 1 << i)) != 0)
			memcpy(hashes + n++ * ES_HASH_SIZE, leaves->hashes[i], ES_HASH_SIZE);
	values[0] = Int64GetDatum(leaves->bucket);
	values[1] = Int32GetDatum((int32) leaves->present);
	values[2] = PointerGetDatum(make_bytea(hashes, n * ES_HASH_SIZE));
	if (old == NULL)
		es_catalog_insert(rel, values, nulls);
	else
		es_catalog_update(rel, old, values, nulls);
	pfree(DatumGetPointer(values[2]));
}

void
es_pruned_add_leaves(const EsPrunedLeaves *leaves)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PRUNED_LEAF), RowExclusiveLock);
	EsPrunedLeaves all;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	old;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(leaves->bucket));
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_PRUNED_LEAF_PKEY), true, SnapshotSelf, 1, &key);
	old = systable_getnext(scan);
	if (HeapTupleIsValid(old))
	{
		read_leaves(rel, old, &all);
		for (int i = 0; i < ES_PRUNED_BUCKET; i++)
			if ((leaves->present & ((uint32) 1 << i)) != 0)
				memcpy(all.hashes[i], leaves->hashes[i], ES_HASH_SIZE);
		all.present |= leaves->present;
		write_leaves(rel, old, &all);
	}
	else
		write_leaves(rel, NULL, leaves);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

struct EsPrunedScan
{
	Relation	rel;
	Relation	index;			/* NULL: nothing is gone */
	SysScanDesc scan;
	int64		after;
	int64		upto;
	EsPrunedLeaves leaves;		/* those that are still to be returned */
};

EsPrunedScan *
es_pruned_begin(int64 after, int64 upto)
{
	EsPrunedScan *scan = palloc0(sizeof(EsPrunedScan));
	ScanKeyData keys[2];

	scan->after = after;
	scan->upto = upto;
	scan->rel = table_open(es_catalog_oid(ES_REL_PRUNED_LEAF), AccessShareLock);
	if (RelationGetNumberOfBlocks(scan->rel) == 0)
		return scan;
	scan->index = index_open(es_catalog_oid(ES_REL_PRUNED_LEAF_PKEY), AccessShareLock);
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(after / ES_PRUNED_BUCKET));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(upto / ES_PRUNED_BUCKET));
	scan->scan = systable_beginscan_ordered(scan->rel, scan->index, SnapshotSelf, 2, keys);
	return scan;
}

bool
es_pruned_next(EsPrunedScan *scan, int64 *position, uint8 *hash)
{
	EsPrunedLeaves *leaves = &scan->leaves;

	if (scan->index == NULL)
		return false;
	for (;;)
	{
		HeapTuple	row;

		for (int i = 0; i < ES_PRUNED_BUCKET && leaves->present != 0; i++)
		{
			uint32		bit = (uint32) 1 << i;

			if ((leaves->present & bit) == 0)
				continue;
			leaves->present &= ~bit;
			*position = leaves->bucket * ES_PRUNED_BUCKET + i;
			memcpy(hash, leaves->hashes[i], ES_HASH_SIZE);
			if (*position > scan->after && *position <= scan->upto)
				return true;
		}
		row = systable_getnext_ordered(scan->scan, ForwardScanDirection);
		if (!HeapTupleIsValid(row))
			return false;
		read_leaves(scan->rel, row, leaves);
	}
}

void
es_pruned_end(EsPrunedScan *scan)
{
	if (scan->index != NULL)
	{
		systable_endscan_ordered(scan->scan);
		index_close(scan->index, AccessShareLock);
	}
	table_close(scan->rel, AccessShareLock);
	pfree(scan);
}

/* ---- since when ---- */

bool
es_pruned_is_seen(Snapshot snapshot)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ARCHIVE), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	HeapTuple	row;
	bool		result = true;

	while (result && HeapTupleIsValid(row = systable_getnext(scan)))
		result = !es_catalog_is_hidden(row, snapshot);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}
