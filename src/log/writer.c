/*
 * writer.c
 *		The newest segment, open for reading heads and writing rows.
 *
 * Rows go straight through the table and index access methods: no plan, no
 * executor state, no triggers (the guards refuse every other way in).
 *
 * A writer keeps one segment open with its indexes and a scan on (stream,
 * version) that is restarted for each head.  It belongs to the resource owner
 * under which it was opened, which may not be the current one when a nested
 * statement makes it write.  Locks: ROW EXCLUSIVE on segment and indexes, to
 * the end of the transaction.
 */
#include "log/writer.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "log/event.h"
#include "log/position.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Above this many rows a ring buffer and kept pages pay. */
#define BULK_ROWS	100

typedef struct WriterIndex
{
	Relation	rel;
	IndexInfo  *info;
	bool		is_plain;		/* columns alone, every row */
} WriterIndex;

struct EsWriter
{
	MemoryContext context;
	ResourceOwner owner;
	EsSegment	segment;
	Relation	rel;			/* NULL: closed */
	WriterIndex *indexes;		/* all that are ready, not only our two */
	int			n_indexes;
	int			by_stream;		/* which one is on (stream, version) */
	EState	   *estate;			/* for indexes that are not plain, or NULL */
	IndexScanDesc scan;			/* on by_stream; made by the first head */
	TupleTableSlot *read_slot;
	TupleTableSlot **slots;		/* for writing; made as needed */
	int			n_slots;
	int			max_slots;
};

EsWriter *
es_writer_begin(void)
{
	EsWriter   *writer = palloc0(sizeof(EsWriter));

	writer->context = CurrentMemoryContext;
	return writer;
}

/*
 * Every index that is ready gets its entries, valid or not: one that is being
 * built concurrently relies on it.
 */
static void
open_indexes(EsWriter *writer)
{
	List	   *oids = RelationGetIndexList(writer->rel);
	ListCell   *lc;

	writer->indexes = palloc(Max(1, list_length(oids)) * sizeof(WriterIndex));
	writer->n_indexes = 0;
	writer->by_stream = -1;
	foreach(lc, oids)
	{
		WriterIndex *index = &writer->indexes[writer->n_indexes];

		index->rel = index_open(lfirst_oid(lc), RowExclusiveLock);
		index->info = BuildIndexInfo(index->rel);
		if (!index->info->ii_ReadyForInserts)
		{
			index_close(index->rel, NoLock);
			continue;
		}
		index->is_plain = index->info->ii_Expressions == NIL && index->info->ii_Predicate == NIL;
		if (writer->by_stream < 0 && es_event_is_index(index->rel, ES_INDEX_STREAM))
			writer->by_stream = writer->n_indexes;
		writer->n_indexes++;
	}
	list_free(oids);
	if (writer->by_stream < 0)
		(void) es_event_open_index(writer->rel, ES_INDEX_STREAM, AccessShareLock);	/* says so */
}

static void
open_segment(EsWriter *writer, const EsSegment *segment)
{
	if (writer->rel != NULL && writer->segment.table == segment->table)
		return;
	es_writer_close(writer);
	writer->segment = *segment;
	writer->owner = CurrentResourceOwner;
	writer->rel = table_open(writer->segment.table, RowExclusiveLock);
	open_indexes(writer);
}

void
es_writer_close(EsWriter *writer)
{
	ResourceOwner current = CurrentResourceOwner;

	if (writer->rel == NULL)
		return;
	CurrentResourceOwner = writer->owner;
	if (writer->scan != NULL)
	{
		ExecDropSingleTupleTableSlot(writer->read_slot);
		index_endscan(writer->scan);
		writer->scan = NULL;
	}
	for (int i = 0; i < writer->n_slots; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	writer->n_slots = 0;
	if (writer->estate != NULL)
		FreeExecutorState(writer->estate);
	writer->estate = NULL;
	for (int i = 0; i < writer->n_indexes; i++)
		index_close(writer->indexes[i].rel, NoLock);
	table_close(writer->rel, NoLock);
	writer->rel = NULL;
	CurrentResourceOwner = current;
}

/* ---- heads ---- */

/* Newest event of the stream from a version on in the open segment. */
static bool
find_head(EsWriter *writer, int64 stream_id, int64 from_version, EsHead *head, TransactionId *xmin)
{
	ScanKeyData keys[2];
	HeapTuple	tuple;
	bool		found;

	if (writer->scan == NULL)
	{
		writer->read_slot = table_slot_create(writer->rel, NULL);
		writer->scan = es_compat_index_beginscan(writer->rel, writer->indexes[writer->by_stream].rel,
												 SnapshotSelf, 2);
	}
	es_event_key_stream(&keys[0], stream_id);
	es_event_key_version(&keys[1], BTGreaterEqualStrategyNumber, from_version);
	keys[0].sk_attno = 1;		/* columns of the index, not of the table */
	keys[1].sk_attno = 2;
	index_rescan(writer->scan, keys, 2, NULL, 0);
	found = index_getnext_slot(writer->scan, BackwardScanDirection, writer->read_slot);
	if (found)
	{
		tuple = ExecFetchSlotHeapTuple(writer->read_slot, false, NULL);
		es_event_deform_head(writer->rel, tuple, head);
		*xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	}
	ExecClearTuple(writer->read_slot);

	/* Keeps no page pinned while the client of a COPY takes its time. */
	index_rescan(writer->scan, keys, 2, NULL, 0);
	return found;
}

static bool
read_head_in(EsWriter *writer, const EsSegment *segment, const EsStream *stream,
			 EsHead *head, TransactionId *xmin)
{
	MemoryContext old = MemoryContextSwitchTo(writer->context);
	ResourceOwner current = CurrentResourceOwner;
	bool		found;

	open_segment(writer, segment);
	CurrentResourceOwner = writer->owner;

	/*
	 * The version this backend saw last keeps the scan short.  It may never
	 * have been committed, hence the second try.
	 */
	found = (stream->version_hint > 0 &&
			 find_head(writer, stream->id, stream->version_hint, head, xmin)) ||
		find_head(writer, stream->id, 1, head, xmin);
	CurrentResourceOwner = current;
	MemoryContextSwitchTo(old);
	return found;
}

void
es_writer_read_head(EsWriter *writer, const EsStream *stream, EsHead *head)
{
	const EsSegment *segment;
	TransactionId xmin = InvalidTransactionId;

	memset(head, 0, sizeof(*head));
	if (stream->id == 0)
		return;

	/* Most often the stream's last event is in the newest segment. */
	segment = es_segment_at(es_position_last());
	if (segment == NULL || !read_head_in(writer, segment, stream, head, &xmin))
	{
		segment = es_segment_at(es_stream_latest_part(stream));
		if (segment == NULL || !read_head_in(writer, segment, stream, head, &xmin))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("stream \"%s\" has no events where they should be",
							text_to_cstring(es_stream_name(stream->id))),
					 errdetail("A segment is missing or an index is corrupt."),
					 errhint("Attach the segment again, or REINDEX it.")));
	}

	if (IsolationUsesXactSnapshot() && TransactionIdIsNormal(xmin) &&
		!TransactionIdIsCurrentTransactionId(xmin) &&
		XidInMVCCSnapshot(xmin, GetTransactionSnapshot()))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to stream \"%s\" due to a concurrent append",
						text_to_cstring(es_stream_name(stream->id))),
				 errdetail("Version " INT64_FORMAT " was committed after this transaction's snapshot.",
						   head->version),
				 errhint("The transaction might succeed if retried.")));
}

/* ---- rows ---- */

static void
ensure_slots(EsWriter *writer, int count)
{
	if (writer->max_slots < count)
	{
		writer->slots = writer->slots == NULL ?
			palloc(count * sizeof(TupleTableSlot *)) :
			repalloc(writer->slots, count * sizeof(TupleTableSlot *));
		writer->max_slots = count;
	}
	while (writer->n_slots < count)
		writer->slots[writer->n_slots++] =
			MakeSingleTupleTableSlot(RelationGetDescr(writer->rel), &TTSOpsHeapTuple);
}

/* False: the index does not want the row. */
static bool
form_index_entry(EsWriter *writer, WriterIndex *index, TupleTableSlot *slot, Datum *values, bool *nulls)
{
	IndexInfo  *info = index->info;
	ExprContext *econtext;

	if (index->is_plain)
	{
		for (int k = 0; k < info->ii_NumIndexAttrs; k++)
			values[k] = slot_getattr(slot, info->ii_IndexAttrNumbers[k], &nulls[k]);
		return true;
	}
	if (writer->estate == NULL)
		writer->estate = CreateExecutorState();
	econtext = GetPerTupleExprContext(writer->estate);
	econtext->ecxt_scantuple = slot;
	if (info->ii_Predicate != NIL)
	{
		if (info->ii_PredicateState == NULL)
			info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, writer->estate);
		if (!ExecQual(info->ii_PredicateState, econtext))
			return false;
	}
	FormIndexDatum(info, slot, writer->estate, values, nulls);
	return true;
}

static void
insert_index_entry(EsWriter *writer, WriterIndex *index, TupleTableSlot *slot)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (form_index_entry(writer, index, slot, values, nulls))
		(void) index_insert(index->rel, values, nulls, &slot->tts_tid, writer->rel,
							index->info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
							false, index->info);
	if (writer->estate != NULL)
		ResetPerTupleExprContext(writer->estate);
}

/* Row number beside its event's place in the index on (stream, version). */
typedef struct StreamOrder
{
	int64		stream_id;
	int			row;
} StreamOrder;

static int
compare_stream_order(const void *a, const void *b)
{
	const StreamOrder *x = a;
	const StreamOrder *y = b;

	if (x->stream_id != y->stream_id)
		return x->stream_id < y->stream_id ? -1 : 1;
	return x->row - y->row;
}

/* Entries in key order meet the same index pages again while they are warm. */
static void
insert_by_stream(EsWriter *writer, const EsEvent *events, int count)
{
	StreamOrder *order = palloc(count * sizeof(StreamOrder));

	for (int i = 0; i < count; i++)
	{
		order[i].stream_id = events[i].stream_id;
		order[i].row = i;
	}
	qsort(order, count, sizeof(StreamOrder), compare_stream_order);
	for (int i = 0; i < count; i++)
		insert_index_entry(writer, &writer->indexes[writer->by_stream], writer->slots[order[i].row]);
	pfree(order);
}

static void
insert_rows(EsWriter *writer, const EsEvent *events, int count)
{
	CommandId	cid = GetCurrentCommandId(true);

	ensure_slots(writer, count);
	for (int i = 0; i < count; i++)
		es_event_form(&events[i], writer->slots[i]);
	if (count == 1)
		table_tuple_insert(writer->rel, writer->slots[0], cid, 0, NULL);
	else
	{
		BulkInsertState bulk = count >= BULK_ROWS ? GetBulkInsertState() : NULL;

		table_multi_insert(writer->rel, writer->slots, count, cid, 0, bulk);
		if (bulk != NULL)
			FreeBulkInsertState(bulk);
	}
	insert_by_stream(writer, events, count);
	for (int k = 0; k < writer->n_indexes; k++)
		for (int i = 0; i < count && k != writer->by_stream; i++)
			insert_index_entry(writer, &writer->indexes[k], writer->slots[i]);
	for (int i = 0; i < count; i++)
		ExecClearTuple(writer->slots[i]);
}

void
es_writer_insert(EsWriter *writer, EsEvent *events, int count)
{
	MemoryContext old = MemoryContextSwitchTo(writer->context);
	ResourceOwner current = CurrentResourceOwner;

	while (count > 0)
	{
		int			n = 1;

		CHECK_FOR_INTERRUPTS();
		open_segment(writer, es_segment_ensure(DatumGetInt64(events[0].value[ES_EVENT_POSITION])));
		while (n < count &&
			   DatumGetInt64(events[n].value[ES_EVENT_POSITION]) < writer->segment.upper)
			n++;
		CurrentResourceOwner = writer->owner;
		insert_rows(writer, events, n);
		CurrentResourceOwner = current;
		events += n;
		count -= n;
	}
	MemoryContextSwitchTo(old);
}
