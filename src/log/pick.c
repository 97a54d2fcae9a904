/*
 * pick.c
 *		Where in a segment the rows of a few categories are.
 *
 * A replay wants the events of one category in order of position, out of a log
 * that may hold a hundred times as many others.  The index of (stream, version)
 * has the rows of a category together, since its word is the upper part of a
 * stream's id: it tells which pages to look at.  These are read once in the order
 * of the heap, and what was found is sorted by position.
 *
 * Memory: a bit per page of the segment; position and place of a row are sorted
 * as one integer, in work_mem and then in temporary files.
 */
#include "log/pick.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "log/event.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

/*
 * More rows per page than this, on the average of the segment, are most of what
 * there is.
 */
#define MAX_ROWS_PER_PAGE	5

/* An offset on a page takes so many bits. */
#define OFFSET_BITS			13

StaticAssertDecl(MaxOffsetNumber < (1 << OFFSET_BITS), "offsets fit");

struct EsPick
{
	Relation	rel;
	Snapshot	snapshot;
	int64		lower;			/* of the segment */
	int64		upto;
	const int32 *categories;
	int			n_categories;

	BlockNumber n_blocks;
	int			block_bits;
	uint8	   *blocks;			/* a bit for each */
	int64		max_rows;
	int64		n_rows;
	Tuplesortstate *sort;
};

/* Marks the blocks that have rows of a category; false if they are too many. */
static bool
mark_blocks(EsPick *pick, Relation index, int32 category)
{
	IndexScanDesc scan = es_compat_index_beginscan(pick->rel, index, pick->snapshot, 2);
	ScanKeyData keys[2];
	ItemPointer tid;

	es_event_key_category(keys, category);
	index_rescan(scan, keys, 2, NULL, 0);
	while (pick->n_rows <= pick->max_rows &&
		   (tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		BlockNumber block = ItemPointerGetBlockNumber(tid);

		/* What was added since belongs to others than the snapshot sees. */
		if (block < pick->n_blocks)
			pick->blocks[block / 8] |= 1 << (block % 8);
		pick->n_rows++;
		if (pick->n_rows % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	index_endscan(scan);
	return pick->n_rows <= pick->max_rows;
}

static bool
is_wanted(const EsPick *pick, HeapTuple row)
{
	int32		category = ES_STREAM_CATEGORY(es_event_stream_id(row));

	for (int i = 0; i < pick->n_categories; i++)
		if (pick->categories[i] == category)
			return true;
	return false;
}

/*
 * The row at a place of the page, if it is visible and wanted.  Chains of updated
 * rows are followed from their first place, which is what an index knows.
 */
static bool
find_row(EsPick *pick, Buffer buffer, BlockNumber block, OffsetNumber offset, HeapTuple row)
{
	Page		page = BufferGetPage(buffer);
	ItemId		item = PageGetItemId(page, offset);
	ItemPointerData tid;

	if (ItemIdIsNormal(item))
	{
		row->t_data = (HeapTupleHeader) PageGetItem(page, item);
		if (!is_wanted(pick, row))
			return false;
	}
	else if (!ItemIdIsRedirected(item))
		return false;
	ItemPointerSet(&tid, block, offset);
	return heap_hot_search_buffer(&tid, pick->rel, buffer, pick->snapshot, row, NULL, true) &&
		is_wanted(pick, row);
}

static void
put_row(EsPick *pick, BlockNumber block, OffsetNumber offset, int64 position)
{
	int64		value = position - pick->lower;

	value = (value << pick->block_bits) | block;
	value = (value << OFFSET_BITS) | offset;
	tuplesort_putdatum(pick->sort, Int64GetDatum(value), false);
}

static void
read_block(EsPick *pick, Buffer buffer, BlockNumber block)
{
	struct
	{
		OffsetNumber offset;
		int64		position;
	}			found[MaxHeapTuplesPerPage];
	int			n = 0;
	OffsetNumber last;

	/* Sorting may write files: not while the page is locked. */
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		HeapTupleData row;

		if (!find_row(pick, buffer, block, offset, &row))
			continue;
		found[n].offset = offset;
		found[n++].position = es_event_position(&row);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	for (int i = 0; i < n; i++)
		if (found[i].position <= pick->upto)
			put_row(pick, block, found[i].offset, found[i].position);
}

static void
read_blocks(EsPick *pick)
{
	Buffer		buffer = InvalidBuffer;

	for (BlockNumber block = 0; block < pick->n_blocks; block++)
	{
		if ((pick->blocks[block / 8] & (1 << (block % 8))) == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		buffer = ReleaseAndReadBuffer(buffer, pick->rel, block);
		read_block(pick, buffer, block);
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
}

/* Position, block and offset must fit one integer. */
static bool
fits(const EsPick *pick, const EsSegment *segment)
{
	return pg_leftmost_one_pos64((uint64) (segment->upper - segment->lower)) + 1 +
		pick->block_bits + OFFSET_BITS < 64;
}

EsPick *
es_pick_begin(const EsSegment *segment, Relation rel, Snapshot snapshot, int64 upto,
			  const int32 *categories, int count)
{
	EsPick	   *pick = palloc0(sizeof(EsPick));
	Relation	index;
	bool		few = true;

	pick->rel = rel;
	pick->snapshot = snapshot;
	pick->lower = segment->lower;
	pick->upto = upto;
	pick->categories = categories;
	pick->n_categories = count;
	pick->n_blocks = RelationGetNumberOfBlocks(rel);
	pick->block_bits = pg_leftmost_one_pos32(Max(pick->n_blocks, 1)) + 1;
	pick->max_rows = (int64) pick->n_blocks * MAX_ROWS_PER_PAGE;
	if (!fits(pick, segment))
	{
		pfree(pick);
		return NULL;
	}
	pick->blocks = palloc0(pick->n_blocks / 8 + 1);
	index = es_event_open_index(rel, ES_INDEX_STREAM, AccessShareLock);
	for (int i = 0; few && i < count; i++)
		few = mark_blocks(pick, index, categories[i]);
	index_close(index, NoLock);
	if (few)
	{
		pick->sort = tuplesort_begin_datum(INT8OID, Int8LessOperator, InvalidOid, false, work_mem, NULL,
										   TUPLESORT_NONE);
		read_blocks(pick);
		tuplesort_performsort(pick->sort);
	}
	pfree(pick->blocks);
	if (few)
		return pick;
	pfree(pick);
	return NULL;
}

bool
es_pick_next(EsPick *pick, ItemPointer tid)
{
	Datum		value;
	bool		isnull;
	int64		place;

	if (!es_compat_tuplesort_getdatum(pick->sort, &value, &isnull))
		return false;
	place = DatumGetInt64(value);
	ItemPointerSet(tid, (BlockNumber) ((place >> OFFSET_BITS) & ((INT64CONST(1) << pick->block_bits) - 1)),
				   (OffsetNumber) (place & ((1 << OFFSET_BITS) - 1)));
	return true;
}

void
es_pick_end(EsPick *pick)
{
	tuplesort_end(pick->sort);
	pfree(pick);
}
