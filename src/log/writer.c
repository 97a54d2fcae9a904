/*
 * writer.c
 *		The newest segment, open for reading heads and writing rows.
 *
 * A writer keeps one segment open with its indexes and a scan on (stream,
 * version) that is restarted for each head.  It belongs to the resource owner
 * under which it was opened, which may not be the current one when a nested
 * statement makes it write.  Locks: ROW EXCLUSIVE on segment and indexes, to
 * the end of the transaction.
 */
#include "log/writer.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "log/event.h"
#include "log/position.h"
#include "log/pruned.h"
#include "log/rows.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

struct EsWriter
{
	MemoryContext context;
	ResourceOwner owner;
	EsSegment	segment;
	EsRows		rows;
	int			by_stream;		/* which index is on (stream, version) */
	IndexScanDesc scan;			/* on by_stream; made by the first head */
	TupleTableSlot *read_slot;
};

EsWriter *
es_writer_begin(void)
{
	EsWriter   *writer = palloc0(sizeof(EsWriter));

	writer->context = CurrentMemoryContext;
	return writer;
}

static void
open_segment(EsWriter *writer, const EsSegment *segment)
{
	EsRows	   *rows = &writer->rows;

	if (rows->rel != NULL && writer->segment.table == segment->table)
		return;
	es_writer_close(writer);
	writer->segment = *segment;
	writer->owner = CurrentResourceOwner;
	es_rows_open(rows, segment->table);
	for (int i = 0; i < rows->n_indexes; i++)
		if (es_event_is_index(rows->indexes[i].rel, ES_INDEX_STREAM))
		{
			writer->by_stream = i;
			return;
		}
	(void) es_event_open_index(rows->rel, ES_INDEX_STREAM, AccessShareLock);	/* says so */
}

void
es_writer_close(EsWriter *writer)
{
	ResourceOwner current = CurrentResourceOwner;

	if (writer->rows.rel == NULL)
		return;
	CurrentResourceOwner = writer->owner;
	if (writer->scan != NULL)
	{
		ExecDropSingleTupleTableSlot(writer->read_slot);
		index_endscan(writer->scan);
		writer->scan = NULL;
	}
	es_rows_close(&writer->rows);
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
		writer->read_slot = table_slot_create(writer->rows.rel, NULL);
		writer->scan = es_compat_index_beginscan(writer->rows.rel,
												 writer->rows.indexes[writer->by_stream].rel,
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
		es_event_deform_head(writer->rows.rel, tuple, head);
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
		if ((segment == NULL || !read_head_in(writer, segment, stream, head, &xmin)) &&
			!es_pruned_head(stream->id, head))
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
static int *
order_by_stream(const EsEvent *events, int count)
{
	StreamOrder *order = palloc(count * sizeof(StreamOrder));
	int		   *rows = palloc(count * sizeof(int));

	for (int i = 0; i < count; i++)
	{
		order[i].stream_id = events[i].stream_id;
		order[i].row = i;
	}
	qsort(order, count, sizeof(StreamOrder), compare_stream_order);
	for (int i = 0; i < count; i++)
		rows[i] = order[i].row;
	return rows;
}

static void
insert_rows(EsWriter *writer, const EsEvent *events, int count)
{
	TupleTableSlot **slots = es_rows_slots(&writer->rows, count);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	int		   *order = count > 1 ? order_by_stream(events, count) : NULL;

	for (int i = 0; i < count; i++)
		es_event_form(&events[i], slots[i]);
	es_rows_insert(&writer->rows, count, writer->by_stream, order);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
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
