/*
 * by_stream.c
 *		Events of whole categories in order of stream and version: for what is
 *		told stream by stream, so that memory holds one stream's part of it.
 *
 * The log has them in order of position.  Its rows are sorted as they are, by
 * two integers, in work_mem and then in temporary files; values that were
 * moved out of line stay there until their event is returned.
 *
 * Memory: a walk lives in the context it was begun in, each event in one of the
 * walk's that the next event resets.  An error leaves nothing behind.
 */
#include "log/by_stream.h"

#include "access/table.h"
#include "catalog/pg_operator.h"
#include "executor/tuptable.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/progress.h"
#include "log/read.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"

struct EsStreamWalk
{
	MemoryContext context;
	MemoryContext event_context;
	Relation	log;			/* the parent, for its columns */
	TupleTableSlot *slot;
	Tuplesortstate *sort;
	int64		total;
	int64		stream_id;		/* of the event before; 0: none */
};

static void sort_events(EsStreamWalk *walk, EsScan *scan);

EsStreamWalk *
es_walk_streams_begin(int64 after, int64 upto, List *categories, Snapshot snapshot)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource stream walk",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EsStreamWalk *walk = palloc0(sizeof(EsStreamWalk));

	walk->context = context;
	walk->event_context = AllocSetContextCreate(context, "eventsource stream walk event",
												ALLOCSET_DEFAULT_SIZES);
	walk->log = table_open(es_catalog_oid(ES_REL_EVENT), AccessShareLock);
	walk->slot = MakeSingleTupleTableSlot(RelationGetDescr(walk->log), &TTSOpsMinimalTuple);
	sort_events(walk, es_scan_log(after, upto, categories, snapshot));
	MemoryContextSwitchTo(caller);
	return walk;
}

static void
sort_events(EsStreamWalk *walk, EsScan *scan)
{
	TupleDesc	desc = RelationGetDescr(walk->log);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	AttrNumber	columns[ES_EVENT_SORT_COLUMNS];
	Oid			operators[ES_EVENT_SORT_COLUMNS] = {Int8LessOperator, Int8LessOperator};
	Oid			collations[ES_EVENT_SORT_COLUMNS] = {InvalidOid, InvalidOid};
	bool		nulls_first[ES_EVENT_SORT_COLUMNS] = {false, false};
	EsProgress	progress;
	HeapTuple	tuple;

	es_progress_begin(&progress, "sorting events by stream", ES_PROGRESS_UNKNOWN);
	es_event_sort_columns(columns);
	walk->sort = tuplesort_begin_heap(desc, ES_EVENT_SORT_COLUMNS, columns, operators, collations,
									  nulls_first, work_mem, NULL, TUPLESORT_NONE);
	while ((tuple = es_scan_next_tuple(scan)) != NULL)
	{
		tuplesort_puttupleslot(walk->sort, ExecStoreHeapTuple(tuple, slot, false));
		walk->total++;
		es_progress_step(&progress, 1);
	}
	ExecDropSingleTupleTableSlot(slot);
	es_scan_end(scan);
	tuplesort_performsort(walk->sort);
	es_progress_end(&progress);
}

int64
es_walk_streams_total(const EsStreamWalk *walk)
{
	return walk->total;
}

bool
es_walk_streams_next(EsStreamWalk *walk, EsEvent *event, bool *is_first)
{
	MemoryContext caller;
	HeapTuple	tuple;

	CHECK_FOR_INTERRUPTS();
	if (!tuplesort_gettupleslot(walk->sort, true, false, walk->slot, NULL))
		return false;
	tuple = ((MinimalTupleTableSlot *) walk->slot)->tuple;
	MemoryContextReset(walk->event_context);
	caller = MemoryContextSwitchTo(walk->event_context);
	es_event_deform(tuple, false, event);
	MemoryContextSwitchTo(caller);
	*is_first = event->stream_id != walk->stream_id;
	walk->stream_id = event->stream_id;
	return true;
}

void
es_walk_streams_end(EsStreamWalk *walk)
{
	tuplesort_end(walk->sort);
	ExecDropSingleTupleTableSlot(walk->slot);
	table_close(walk->log, NoLock);
	MemoryContextDelete(walk->context);
}
