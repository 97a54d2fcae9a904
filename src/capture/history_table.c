/*
 * history_table.c
 *		All rows of a tracked table as they were.
 *
 * Events are read in order of position, and folded into a hash table of streams
 * as long as work_mem (times hash_mem_multiplier) has room for another one.
 * Events of streams that came too late for that are sorted, in work_mem and on
 * disk, and folded stream by stream when the others are told.
 */
#include "postgres.h"

#include "access/table.h"
#include "capture/history_tracked.h"
#include "catalog/pg_operator.h"
#include "executor/executor.h"
#include "executor/nodeHash.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/read.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

/* A stream in the hash table. */
typedef struct StreamRow
{
	EsPastClock clock;			/* begins with the key */
	EsTrackedRow *row;
} StreamRow;

typedef struct TableFold
{
	const EsHistory *history;
	const EsMoment *moment;
	struct EsCorrections *corrections;
	Tuplestorestate *result;
	EsTrackedReader *reader;
	MemoryContext scratch;		/* of the event at hand */
	MemoryContext rows;			/* of the hash table */
	HTAB	   *streams;
	bool		is_full;
	Relation	log;			/* the parent, for its columns */
	TupleTableSlot *slot;
	Tuplesortstate *sort;		/* NULL: none is needed */
} TableFold;

static void fold_log(TableFold *fold, EsScan *scan);
static StreamRow *find_stream(TableFold *fold, int64 stream_id);
static void fold_event(TableFold *fold, StreamRow *stream, HeapTuple tuple);
static void put_off(TableFold *fold, HeapTuple tuple);
static void put_streams(TableFold *fold);
static void put_row(TableFold *fold, const EsTrackedRow *row);
static void fold_rest(TableFold *fold);

void
es_history_put_table(const EsHistory *history, const EsMoment *moment, Snapshot snapshot,
					 Tuplestorestate *result)
{
	TableFold	fold = {.history = history,.moment = moment,.result = result};
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(StreamRow)};
	EsScan	   *scan = es_scan_log(0, PG_INT64_MAX, history->categories, snapshot);

	es_scan_spare_names(scan);
	fold.corrections = es_past_corrections(moment, snapshot);
	fold.reader = es_tracked_begin(history);
	fold.scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource table event", ALLOCSET_DEFAULT_SIZES);
	fold.rows = AllocSetContextCreate(CurrentMemoryContext, "eventsource table rows", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = fold.rows;
	fold.streams = hash_create("eventsource table streams", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	fold_log(&fold, scan);
	es_scan_end(scan);
	put_streams(&fold);
	MemoryContextDelete(fold.rows);
	if (fold.sort != NULL)
		fold_rest(&fold);
	MemoryContextDelete(fold.scratch);
}

static void
fold_log(TableFold *fold, EsScan *scan)
{
	HeapTuple	tuple;

	while ((tuple = es_scan_next_tuple(scan)) != NULL)
	{
		StreamRow  *stream;

		CHECK_FOR_INTERRUPTS();
		if (fold->moment->basis == ES_BASIS_RECORDED && es_event_recorded_at(tuple) > fold->moment->at)
			continue;
		stream = find_stream(fold, es_event_stream_id(tuple));
		if (stream != NULL)
			fold_event(fold, stream, tuple);
		else
			put_off(fold, tuple);
	}
}

/* NULL if there is no room for it. */
static StreamRow *
find_stream(TableFold *fold, int64 stream_id)
{
	bool		found;
	HASHACTION	action = fold->is_full ? HASH_FIND : HASH_ENTER;
	StreamRow  *stream = hash_search(fold->streams, &stream_id, action, &found);

	if (found || fold->is_full)
		return stream;
	stream->clock = es_past_clock(stream_id);
	stream->row = MemoryContextAllocZero(fold->rows, es_tracked_size(fold->reader));
	fold->is_full = MemoryContextMemAllocated(fold->rows, true) > get_hash_memory_limit();
	return stream;
}

static void
fold_event(TableFold *fold, StreamRow *stream, HeapTuple tuple)
{
	MemoryContext caller;
	EsEvent		event;

	if (stream->clock.is_over)
		return;
	MemoryContextReset(fold->scratch);
	caller = MemoryContextSwitchTo(fold->scratch);
	/* By its words it is known how to mask it. */
	if (OidIsValid(fold->moment->reader))
		es_event_deform(tuple, false, &event);
	else
		es_event_deform_lean(tuple, &event);
	if (es_past_count(&stream->clock, fold->moment, fold->corrections, &event) &&
		(event.flags & ES_EVENT_CAPTURED) != 0)
		es_tracked_apply(fold->reader, stream->row, fold->rows, &event);
	MemoryContextSwitchTo(caller);
}

static void
put_off(TableFold *fold, HeapTuple tuple)
{
	if (fold->sort == NULL)
	{
		AttrNumber	columns[ES_EVENT_SORT_COLUMNS];
		Oid			operators[ES_EVENT_SORT_COLUMNS] = {Int8LessOperator, Int8LessOperator};
		Oid			collations[ES_EVENT_SORT_COLUMNS] = {InvalidOid, InvalidOid};
		bool		nulls_first[ES_EVENT_SORT_COLUMNS] = {false, false};

		es_event_sort_columns(columns);
		fold->log = table_open(es_catalog_oid(ES_REL_EVENT), AccessShareLock);
		fold->slot = MakeSingleTupleTableSlot(RelationGetDescr(fold->log), &TTSOpsHeapTuple);
		fold->sort = tuplesort_begin_heap(RelationGetDescr(fold->log), ES_EVENT_SORT_COLUMNS, columns,
										  operators, collations, nulls_first, work_mem, NULL, TUPLESORT_NONE);
	}
	tuplesort_puttupleslot(fold->sort, ExecStoreHeapTuple(tuple, fold->slot, false));
}

static void
put_streams(TableFold *fold)
{
	HASH_SEQ_STATUS status;
	StreamRow  *stream;

	hash_seq_init(&status, fold->streams);
	while ((stream = hash_seq_search(&status)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		put_row(fold, stream->row);
	}
}

static void
put_row(TableFold *fold, const EsTrackedRow *row)
{
	MemoryContext caller;

	if (!row->exists)
		return;
	MemoryContextReset(fold->scratch);
	caller = MemoryContextSwitchTo(fold->scratch);
	tuplestore_puttuple(fold->result, es_tracked_read(fold->reader, row));
	MemoryContextSwitchTo(caller);
}

/* Stream by stream, in order of version. */
static void
fold_rest(TableFold *fold)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(fold->log), &TTSOpsMinimalTuple);
	StreamRow	stream = {.row = palloc0(es_tracked_size(fold->reader))};

	fold->rows = CurrentMemoryContext;
	tuplesort_performsort(fold->sort);
	while (tuplesort_gettupleslot(fold->sort, true, false, slot, NULL))
	{
		HeapTuple	tuple = ((MinimalTupleTableSlot *) slot)->tuple;
		int64		stream_id = es_event_stream_id(tuple);

		CHECK_FOR_INTERRUPTS();
		if (stream_id != stream.clock.stream_id)
		{
			put_row(fold, stream.row);
			es_tracked_clear(fold->reader, stream.row);
			stream.clock = es_past_clock(stream_id);
		}
		fold_event(fold, &stream, tuple);
	}
	put_row(fold, stream.row);
	tuplesort_end(fold->sort);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(fold->slot);
	table_close(fold->log, NoLock);
}
