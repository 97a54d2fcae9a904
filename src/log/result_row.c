/*
 * result_row.c
 *		Rows for a tuplestore, formed in one place again and again.
 *
 * What heap_form_tuple() does, for less: readers return events by the thousand,
 * each of twenty columns, and forming the row was a large part of the cost.  The
 * tuplestore copies what it is given, so one buffer serves all rows.  A row
 * always has its null bitmap: most events have no reason.
 */
#include "log/result_row.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "log/idempotency.h"
#include "utils/tuplestore.h"

/* Which columns are not null is gathered in a word. */
#define MAX_COLUMNS	32

struct EsResultRow
{
	MemoryContext context;
	int			n_columns;
	int			header_size;
	Size		fixed_size;		/* of all columns that have a length, and of
								 * padding before each column */
	char	   *limit;			/* end of the buffer but for as much */
	HeapTupleData tuple;		/* over the buffer */
	int16		lengths[MAX_COLUMNS];	/* of the columns' types */
};

/* Makes room for so much from a place on, which moves with the row. */
static char *
enlarge(EsResultRow *result, char *place, Size size)
{
	HeapTupleHeader old = result->tuple.t_data;
	Size		used = place - (char *) old;
	Size		whole = Max(2 * (used + size + result->fixed_size), 4096);

	result->tuple.t_data = old == NULL ? MemoryContextAllocHuge(result->context, whole) :
		repalloc_huge(old, whole);
	result->limit = (char *) result->tuple.t_data + whole - result->fixed_size;
	return (char *) result->tuple.t_data + used;
}

EsResultRow *
es_result_row_begin(TupleDesc desc)
{
	EsResultRow *result = palloc0(sizeof(EsResultRow));
	HeapTupleHeader header;

	if (desc->natts > MAX_COLUMNS)
		elog(ERROR, "cannot return rows of %d columns", desc->natts);
	result->context = CurrentMemoryContext;
	result->n_columns = desc->natts;
	result->header_size = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));
	result->fixed_size = desc->natts * 2 * sizeof(int64);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attlen != -1 && !att->attbyval)
			elog(ERROR, "cannot return values of type %u", att->atttypid);
		result->lengths[i] = att->attlen;
	}
	(void) enlarge(result, NULL, result->header_size);
	header = result->tuple.t_data;
	memset(header, 0, result->header_size);
	HeapTupleHeaderSetNatts(header, desc->natts);
	header->t_infomask = HEAP_HASNULL | HEAP_HASVARWIDTH;
	header->t_hoff = result->header_size;
	return result;
}

/* Padding is zero, as everywhere; what is cleared beyond it is written to next. */
static inline char *
align(char *place, int alignment)
{
	memset(place, 0, sizeof(int64));
	return (char *) TYPEALIGN(alignment, place);
}

static inline char *
put_varlena(EsResultRow *result, char *place, const struct varlena *value)
{
	Size		size = VARATT_IS_SHORT(value) ? VARSIZE_SHORT(value) : VARSIZE(value);

	Assert(!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value));
	if (unlikely(place + size > result->limit))
		place = enlarge(result, place, size);
	if (VARATT_IS_SHORT(value))
		memcpy(place, value, size);
	else if (size - VARHDRSZ + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		size = size - VARHDRSZ + VARHDRSZ_SHORT;
		SET_VARSIZE_SHORT(place, size);
		memcpy(place + VARHDRSZ_SHORT, VARDATA(value), size - VARHDRSZ_SHORT);
	}
	else
	{
		place = align(place, ALIGNOF_INT);
		memcpy(place, value, size);
	}
	return place + size;
}

/* What is passed by value is aligned to its length. */
static inline char *
put_fixed(char *place, int length, Datum value)
{
	if (length == sizeof(char))
	{
		*place = DatumGetChar(value);
		return place + sizeof(char);
	}
	place = align(place, length);
	store_att_byval(place, value, length);
	return place + length;
}

HeapTuple
es_result_row_form(EsResultRow *result, const Datum *values, const bool *nulls)
{
	char	   *place = (char *) result->tuple.t_data + result->header_size;
	int			n = result->n_columns;
	uint32		present = 0;

	for (int i = 0; i < n; i++)
	{
		int			length = result->lengths[i];

		if (nulls[i])
			continue;
		present |= (uint32) 1 << i;
		if (length == -1)
			place = put_varlena(result, place, (const struct varlena *) DatumGetPointer(values[i]));
		else
			place = put_fixed(place, length, values[i]);
	}
	for (int i = 0; i < BITMAPLEN(n); i++)
		result->tuple.t_data->t_bits[i] = (bits8) (present >> (8 * i));
	result->tuple.t_len = place - (char *) result->tuple.t_data;
	return &result->tuple;
}

void
es_result_row_put_event(ReturnSetInfo *rsinfo, EsResultRow *result, const EsEvent *event)
{
	Datum		values[ES_VIEW_NCOLUMNS];
	bool		nulls[ES_VIEW_NCOLUMNS];
	const text *key = (event->flags & ES_EVENT_HAS_KEY) == 0 ? NULL :
		es_idempotency_key(event->stream_id, DatumGetInt64(event->value[ES_EVENT_VERSION]));

	memcpy(values, event->value, sizeof(event->value));
	memcpy(nulls, event->isnull, sizeof(event->isnull));
	values[ES_VIEW_IDEMPOTENCY_KEY] = PointerGetDatum(key);
	nulls[ES_VIEW_IDEMPOTENCY_KEY] = key == NULL;
	values[ES_VIEW_IS_UPCAST] = BoolGetDatum(event->is_upcast);
	nulls[ES_VIEW_IS_UPCAST] = false;
	tuplestore_puttuple(rsinfo->setResult, es_result_row_form(result, values, nulls));
}
