/*
 * insert.c
 *		Writing rows of the log.
 *
 * Straight through the table and index access methods: no plan, no executor
 * state, no triggers (the guards refuse every other way in).  The segment of
 * each position is attached already.  Locks: ROW EXCLUSIVE on segment and
 * indexes, to the end of the transaction.
 */
#include "log/insert.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "log/event.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "utils/rel.h"

/* Above this many rows a ring buffer and kept pages pay. */
#define BULK_ROWS	100

static void
insert_index_entries(Relation rel, Relation index, IndexInfo *info, TupleTableSlot **slots, int count)
{
	for (int i = 0; i < count; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		for (int k = 0; k < info->ii_NumIndexKeyAttrs; k++)
			values[k] = slots[i]->tts_values[info->ii_IndexAttrNumbers[k] - 1];
		(void) index_insert(index, values, nulls, &slots[i]->tts_tid, rel,
							UNIQUE_CHECK_YES, false, info);
	}
}

static void
insert_into(Oid table, Oid position_index, Oid stream_index, EsEvent *events, int count)
{
	Relation	rel = table_open(table, RowExclusiveLock);
	const Oid	indexes[] = {position_index, stream_index};
	TupleTableSlot **slots = palloc(count * sizeof(TupleTableSlot *));
	CommandId	cid = GetCurrentCommandId(true);

	for (int i = 0; i < count; i++)
	{
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
		es_event_form(&events[i], slots[i]);
	}
	if (count == 1)
		table_tuple_insert(rel, slots[0], cid, 0, NULL);
	else
	{
		BulkInsertState bulk = count >= BULK_ROWS ? GetBulkInsertState() : NULL;

		table_multi_insert(rel, slots, count, cid, 0, bulk);
		if (bulk != NULL)
			FreeBulkInsertState(bulk);
	}
	for (int k = 0; k < 2; k++)
	{
		Relation	index = index_open(indexes[k], RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);

		insert_index_entries(rel, index, info, slots, count);
		index_close(index, NoLock);
	}
	for (int i = 0; i < count; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	table_close(rel, NoLock);
}

void
es_event_insert(EsEvent *events, int count)
{
	int			done = 0;

	while (done < count)
	{
		EsSegment	segment = *es_segment_ensure(DatumGetInt64(events[done].value[ES_EVENT_POSITION]));
		int			n = 1;

		CHECK_FOR_INTERRUPTS();
		while (done + n < count &&
			   DatumGetInt64(events[done + n].value[ES_EVENT_POSITION]) < segment.upper)
			n++;
		insert_into(segment.table, segment.position_index, segment.stream_index, events + done, n);
		done += n;
	}
}
