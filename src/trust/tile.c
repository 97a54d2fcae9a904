/*
 * tile.c
 *		What is stored of the tree over the log: tiles and seals.
 *
 * Both tables are append-only.  Only full tiles are stored; what is not full is
 * computed from the level below, that of leaves from the log.  The root of a tile
 * stands beside its hashes, so that the level above is made without reading
 * them.
 *
 * Rows are written under the lock of seal.c and read under any snapshot.
 */
#include "trust/tile.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "log/catalog.h"
#include "trust/merkle.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

typedef enum TileColumn
{
	TILE_LEVEL,
	TILE_INDEX,
	TILE_FIRST_POSITION,
	TILE_LAST_POSITION,
	TILE_ROOT,
	TILE_HASHES,
	TILE_COLUMNS
} TileColumn;

typedef enum SealColumn
{
	SEAL_SIZE,
	SEAL_POSITION,
	SEAL_ROOT,
	SEAL_SEALED_AT,
	SEAL_COLUMNS
} SealColumn;

struct EsSealScan
{
	MemoryContext context;		/* in which indexes keep things between two
								 * rows */
	Relation	rel;
	Relation	index;
	SysScanDesc scan;
};

static Datum
bytes_datum(const uint8 *data, int len)
{
	bytea	   *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return PointerGetDatum(value);
}

/* As many bytes, padded with zeros: a value of another length is a wrong one. */
static void
copy_bytes(Datum value, uint8 *to, int len)
{
	bytea	   *from = DatumGetByteaPP(value);

	memset(to, 0, len);
	memcpy(to, VARDATA_ANY(from), Min(len, VARSIZE_ANY_EXHDR(from)));
	if ((Pointer) from != DatumGetPointer(value))
		pfree(from);
}

static void
insert_row(EsRelation which, Datum *values, bool *nulls)
{
	Relation	rel = table_open(es_catalog_oid(which), RowExclusiveLock);

	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
}

/* ---- seals ---- */

static void
deform_seal(Relation rel, HeapTuple row, EsSeal *seal)
{
	Datum		values[SEAL_COLUMNS];
	bool		nulls[SEAL_COLUMNS];

	heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
	seal->size = DatumGetInt64(values[SEAL_SIZE]);
	seal->position = DatumGetInt64(values[SEAL_POSITION]);
	copy_bytes(values[SEAL_ROOT], seal->root, ES_HASH_SIZE);
	seal->sealed_at = DatumGetTimestampTz(values[SEAL_SEALED_AT]);
}

static EsSealScan *
open_seals(Snapshot snapshot)
{
	EsSealScan *scan = palloc(sizeof(EsSealScan));

	scan->context = CurrentMemoryContext;
	scan->rel = table_open(es_catalog_oid(ES_REL_SEAL), AccessShareLock);
	scan->index = index_open(es_catalog_oid(ES_REL_SEAL_PKEY), AccessShareLock);
	scan->scan = systable_beginscan_ordered(scan->rel, scan->index, snapshot, 0, NULL);
	return scan;
}

static bool
next_seal(EsSealScan *scan, ScanDirection direction, EsSeal *seal)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->context);
	HeapTuple	row = systable_getnext_ordered(scan->scan, direction);

	MemoryContextSwitchTo(caller);
	if (HeapTupleIsValid(row))
		deform_seal(scan->rel, row, seal);
	return HeapTupleIsValid(row);
}

EsSealScan *
es_seal_scan_begin(Snapshot snapshot)
{
	return open_seals(snapshot);
}

bool
es_seal_scan_next(EsSealScan *scan, EsSeal *seal)
{
	return next_seal(scan, ForwardScanDirection, seal);
}

void
es_seal_scan_end(EsSealScan *scan)
{
	systable_endscan_ordered(scan->scan);
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, AccessShareLock);
	pfree(scan);
}

bool
es_seal_last(Snapshot snapshot, EsSeal *seal)
{
	EsSealScan *scan = open_seals(snapshot);
	bool		found = next_seal(scan, BackwardScanDirection, seal);

	es_seal_scan_end(scan);
	if (!found)
	{
		memset(seal, 0, sizeof(EsSeal));
		es_merkle_root(NULL, 0, seal->root);
	}
	return found;
}

void
es_seal_insert(const EsSeal *seal)
{
	Datum		values[SEAL_COLUMNS];
	bool		nulls[SEAL_COLUMNS] = {0};

	values[SEAL_SIZE] = Int64GetDatum(seal->size);
	values[SEAL_POSITION] = Int64GetDatum(seal->position);
	values[SEAL_ROOT] = bytes_datum(seal->root, ES_HASH_SIZE);
	values[SEAL_SEALED_AT] = TimestampTzGetDatum(seal->sealed_at);
	insert_row(ES_REL_SEAL, values, nulls);
}

/* ---- tiles ---- */

void
es_tile_insert(const EsTile *tile)
{
	Datum		values[TILE_COLUMNS];
	bool		nulls[TILE_COLUMNS] = {0};

	values[TILE_LEVEL] = Int16GetDatum(tile->level);
	values[TILE_INDEX] = Int64GetDatum(tile->index);
	values[TILE_FIRST_POSITION] = Int64GetDatum(tile->first_position);
	values[TILE_LAST_POSITION] = Int64GetDatum(tile->last_position);
	values[TILE_ROOT] = bytes_datum(tile->root, ES_HASH_SIZE);
	values[TILE_HASHES] = bytes_datum(tile->hashes, sizeof(tile->hashes));
	insert_row(ES_REL_TILE, values, nulls);
}

/* Hashes are out of line, so that reading them is most of the work. */
static void
deform_tile(Relation rel, HeapTuple row, bool with_hashes, EsTile *tile)
{
	Datum		values[TILE_COLUMNS];
	bool		nulls[TILE_COLUMNS];

	heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
	tile->level = DatumGetInt16(values[TILE_LEVEL]);
	tile->index = DatumGetInt64(values[TILE_INDEX]);
	tile->first_position = DatumGetInt64(values[TILE_FIRST_POSITION]);
	tile->last_position = DatumGetInt64(values[TILE_LAST_POSITION]);
	copy_bytes(values[TILE_ROOT], tile->root, ES_HASH_SIZE);
	if (with_hashes)
		copy_bytes(values[TILE_HASHES], tile->hashes, sizeof(tile->hashes));
}

/* Tiles of a level by an index whose second column is compared with a value. */
static SysScanDesc
begin_tiles(Relation rel, Relation index, int level, TileColumn column, StrategyNumber strategy,
			RegProcedure procedure, int64 value, Snapshot snapshot)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], TILE_LEVEL + 1, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(level));
	ScanKeyInit(&keys[1], column + 1, strategy, procedure, Int64GetDatum(value));
	return systable_beginscan_ordered(rel, index, snapshot, 2, keys);
}

static bool
read_one(EsRelation by, int level, TileColumn column, StrategyNumber strategy, RegProcedure procedure,
		 int64 value, Snapshot snapshot, bool with_hashes, EsTile *tile)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_TILE), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(by), AccessShareLock);
	SysScanDesc scan = begin_tiles(rel, index, level, column, strategy, procedure, value, snapshot);
	HeapTuple	row = systable_getnext_ordered(scan, BackwardScanDirection);

	if (HeapTupleIsValid(row))
		deform_tile(rel, row, with_hashes, tile);
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(row);
}

bool
es_tile_read(int level, int64 index, Snapshot snapshot, EsTile *tile)
{
	return read_one(ES_REL_TILE_PKEY, level, TILE_INDEX, BTEqualStrategyNumber, F_INT8EQ,
					index, snapshot, true, tile);
}

bool
es_tile_read_ends(int level, int64 index, Snapshot snapshot, EsTile *tile)
{
	return read_one(ES_REL_TILE_PKEY, level, TILE_INDEX, BTEqualStrategyNumber, F_INT8EQ,
					index, snapshot, false, tile);
}

bool
es_tile_find(int64 position, Snapshot snapshot, EsTile *tile)
{
	return read_one(ES_REL_TILE_POSITION_IDX, 0, TILE_FIRST_POSITION, BTLessEqualStrategyNumber, F_INT8LE,
					position, snapshot, false, tile);
}

int
es_tile_roots(int level, int64 from, int count, Snapshot snapshot, uint8 *roots)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_TILE), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_TILE_PKEY), AccessShareLock);
	SysScanDesc scan = begin_tiles(rel, index, level, TILE_INDEX, BTGreaterEqualStrategyNumber, F_INT8GE,
								   from, snapshot);
	HeapTuple	row;
	int			found = 0;

	while (found < count && HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;

		if (DatumGetInt64(heap_getattr(row, TILE_INDEX + 1, desc, &isnull)) != from + found)
			break;
		copy_bytes(heap_getattr(row, TILE_ROOT + 1, desc, &isnull),
				   roots + found * ES_HASH_SIZE, ES_HASH_SIZE);
		found++;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return found;
}
