/*
 * gather.c
 *		Rows of a segment in order of position, many at a time.
 *
 * Neighbours in the log lie on the same page of the heap, so a batch of entries
 * is taken from the index first and each page visited once: rows that nobody
 * wants are passed by without a look at their visibility, the others copied,
 * and the names of their streams read together.  It is what an index scan does,
 * for less; that rows may go and their places be used again between the index
 * and the heap is no matter under an MVCC snapshot, as with any bitmap scan.
 *
 * Memory: a batch of rows, at most MAX_BATCH.  A page is pinned only while it is
 * looked at.
 */
#include "log/gather.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "compat.h"
#include "log/event.h"
#include "log/stream_name.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MIN_BATCH	64
#define MAX_BATCH	1024

/* Blocks of the batch's memory: the first is kept from batch to batch. */
#define FIRST_BLOCK	(64 * 1024)

StaticAssertDecl(MAX_BATCH <= ES_STREAM_NAMES_AT_ONCE, "a batch's names are read at once");

typedef struct Entry
{
	ItemPointerData tid;
	uint16		place;			/* in the order of the index */
} Entry;

struct EsGather
{
	Relation	rel;
	Snapshot	snapshot;
	EsGatherFilter filter;
	void	   *arg;
	bool		trust_pages;	/* that say that all on them is visible */

	IndexScanDesc scan;			/* one of these says where rows are */
	EsPick	   *pick;
	bool		scan_done;
	bool		nameless;
	int			batch_size;

	MemoryContext batch_context;
	int			count;
	int			next;
	Entry		entries[MAX_BATCH];
	HeapTupleData rows[MAX_BATCH];	/* by place; t_data NULL: not wanted */
	int64		ids[MAX_BATCH];
};

static EsGather *
new_gather(Relation rel, Snapshot snapshot, int64 first)
{
	EsGather   *gather = palloc(sizeof(EsGather));

	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID || !IsMVCCSnapshot(snapshot))
		elog(ERROR, "cannot gather rows of \"%s\"", RelationGetRelationName(rel));
	gather->rel = rel;
	gather->snapshot = snapshot;
	/* A primary may know more than a standby's snapshot; locks are by row. */
	gather->trust_pages = !snapshot->takenDuringRecovery && !IsolationIsSerializable();
	gather->filter = NULL;
	gather->arg = NULL;
	gather->scan = NULL;
	gather->pick = NULL;
	gather->scan_done = false;
	gather->nameless = false;
	gather->batch_size = Max(MIN_BATCH, Min(first, MAX_BATCH));
	gather->batch_context = AllocSetContextCreate(CurrentMemoryContext, "eventsource batch of rows",
												  0, FIRST_BLOCK, 16 * FIRST_BLOCK);
	gather->count = gather->next = 0;
	return gather;
}

EsGather *
es_gather_begin(Relation rel, Relation index, Snapshot snapshot, int64 after, int64 upto, int64 first,
				EsGatherFilter filter, void *arg)
{
	EsGather   *gather = new_gather(rel, snapshot, first);
	ScanKeyData keys[2];

	gather->filter = filter;
	gather->arg = arg;
	es_event_key_position(&keys[0], BTGreaterStrategyNumber, after);
	es_event_key_position(&keys[1], BTLessEqualStrategyNumber, upto);
	/* Keys of an index count its own columns. */
	keys[0].sk_attno = keys[1].sk_attno = 1;
	gather->scan = es_compat_index_beginscan(rel, index, snapshot, 2);
	index_rescan(gather->scan, keys, 2, NULL, 0);
	return gather;
}

EsGather *
es_gather_begin_picked(Relation rel, Snapshot snapshot, EsPick *pick)
{
	EsGather   *gather = new_gather(rel, snapshot, MAX_BATCH);

	gather->pick = pick;
	return gather;
}

static int
compare_entries(const void *a, const void *b)
{
	return ItemPointerCompare(&unconstify(Entry *, (const Entry *) a)->tid,
							  &unconstify(Entry *, (const Entry *) b)->tid);
}

static bool
next_place(EsGather *gather, ItemPointer place)
{
	ItemPointer tid;

	if (gather->pick != NULL)
		return es_pick_next(gather->pick, place);
	tid = index_getnext_tid(gather->scan, ForwardScanDirection);
	if (tid == NULL)
		return false;
	*place = *tid;
	return true;
}

/* Entries by their place in the heap, which most often is their order. */
static void
read_entries(EsGather *gather)
{
	bool		in_order = true;

	gather->count = gather->next = 0;
	while (gather->count < gather->batch_size)
	{
		Entry	   *entry = &gather->entries[gather->count];

		if (!next_place(gather, &entry->tid))
		{
			gather->scan_done = true;
			break;
		}
		entry->place = gather->count;
		if (gather->count > 0 && compare_entries(entry - 1, entry) > 0)
			in_order = false;
		gather->rows[gather->count++].t_data = NULL;
	}
	if (!in_order)
		qsort(gather->entries, gather->count, sizeof(Entry), compare_entries);
	gather->batch_size = Min(2 * gather->batch_size, MAX_BATCH);
}

static bool
is_wanted(EsGather *gather, HeapTuple row, bool may_look_up)
{
	return gather->filter == NULL || gather->filter(gather->arg, row, may_look_up);
}

/*
 * The entry's row on the page, if it is visible and wanted.
 */
static bool
find_row(EsGather *gather, const Entry *entry, Buffer buffer, HeapTuple row)
{
	ItemPointerData tid = entry->tid;
	OffsetNumber offset = ItemPointerGetOffsetNumber(&tid);
	Page		page = BufferGetPage(buffer);

	if (offset <= PageGetMaxOffsetNumber(page))
	{
		ItemId		item = PageGetItemId(page, offset);

		if (ItemIdIsNormal(item))
		{
			row->t_data = (HeapTupleHeader) PageGetItem(page, item);
			row->t_len = ItemIdGetLength(item);
			if (!is_wanted(gather, row, false))
				return false;
			if (gather->trust_pages && PageIsAllVisible(page))
				return true;
		}
	}
	return heap_hot_search_buffer(&tid, gather->rel, buffer, gather->snapshot, row, NULL, true) &&
		is_wanted(gather, row, false);
}

/*
 * That a row is hinted does not say that its commit is on disk: the page may be
 * newer than that, and is not written before its own WAL is.
 */
static bool
is_hint_early(EsGather *gather, HeapTuple copy, Buffer buffer)
{
	return HeapTupleHeaderXminCommitted(copy->t_data) && !HeapTupleHeaderXminFrozen(copy->t_data) &&
		!gather->snapshot->takenDuringRecovery && XLogNeedsFlush(BufferGetLSNAtomic(buffer));
}

/* The copy is hinted only if its commit is on disk. */
static void
keep_row(EsGather *gather, const Entry *entry, Buffer buffer, HeapTuple row)
{
	HeapTuple	copy = &gather->rows[entry->place];

	copy->t_len = row->t_len;
	copy->t_self = entry->tid;
	copy->t_tableOid = RelationGetRelid(gather->rel);
	copy->t_data = MemoryContextAlloc(gather->batch_context, row->t_len);
	memcpy(copy->t_data, row->t_data, row->t_len);
	if (is_hint_early(gather, copy, buffer))
		copy->t_data->t_infomask &= ~HEAP_XMIN_COMMITTED;
}

static void
read_rows(EsGather *gather)
{
	Buffer		buffer = InvalidBuffer;
	int			i = 0;

	while (i < gather->count)
	{
		BlockNumber block = ItemPointerGetBlockNumber(&gather->entries[i].tid);
		HeapTupleData row;

		CHECK_FOR_INTERRUPTS();
		buffer = ReleaseAndReadBuffer(buffer, gather->rel, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		for (; i < gather->count && ItemPointerGetBlockNumber(&gather->entries[i].tid) == block; i++)
			if (find_row(gather, &gather->entries[i], buffer, &row))
				keep_row(gather, &gather->entries[i], buffer, &row);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
}

static void
drop_unwanted(EsGather *gather)
{
	for (int i = 0; i < gather->count; i++)
		if (gather->rows[i].t_data != NULL && !is_wanted(gather, &gather->rows[i], true))
			gather->rows[i].t_data = NULL;
}

/* Rows of a stream often stand together. */
static void
load_names(EsGather *gather)
{
	int			n = 0;

	for (int i = 0; i < gather->count; i++)
	{
		int64		id;

		if (gather->rows[i].t_data == NULL)
			continue;
		id = es_event_stream_id(&gather->rows[i]);
		if (n == 0 || gather->ids[n - 1] != id)
			gather->ids[n++] = id;
	}
	es_stream_load_names(gather->ids, n);
}

void
es_gather_spare_names(EsGather *gather)
{
	gather->nameless = true;
}

HeapTuple
es_gather_next(EsGather *gather)
{
	for (;;)
	{
		while (gather->next < gather->count)
		{
			HeapTuple	row = &gather->rows[gather->next++];

			if (row->t_data != NULL)
				return row;
		}
		if (gather->scan_done)
			return NULL;
		MemoryContextReset(gather->batch_context);
		read_entries(gather);
		read_rows(gather);
		if (gather->filter != NULL)
			drop_unwanted(gather);
		if (!gather->nameless)
			load_names(gather);
	}
}

void
es_gather_end(EsGather *gather)
{
	if (gather->pick != NULL)
		es_pick_end(gather->pick);
	else
		index_endscan(gather->scan);
	MemoryContextDelete(gather->batch_context);
	pfree(gather);
}
