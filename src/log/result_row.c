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

struct EsResultRow
{
	MemoryContext context;
	TupleDesc	desc;
	int			header_size;
	Size		fixed_size;		/* of a row but for values of variable length */
	Size		size;			/* of the buffer */
	HeapTupleData tuple;		/* over the buffer */
	int16		lengths[FLEXIBLE_ARRAY_MEMBER]; /* of the columns' types */
};

EsResultRow *
es_result_row_begin(TupleDesc desc)
{
	EsResultRow *result = palloc0(offsetof(EsResultRow, lengths) + desc->natts * sizeof(int16));

	result->context = CurrentMemoryContext;
	result->desc = desc;
	result->header_size = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));
	/* With padding. */
	result->fixed_size = result->header_size + desc->natts * 2 * sizeof(int64);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attlen != -1 && !att->attbyval)
			elog(ERROR, "cannot return values of type %u", att->atttypid);
		result->lengths[i] = att->attlen;
	}
	return result;
}

/* An upper bound of the row's size. */
static Size
measure(const EsResultRow *result, const Datum *values, const bool *nulls)
{
	Size		size = result->fixed_size;

	for (int i = 0; i < result->desc->natts; i++)
		if (result->lengths[i] == -1 && !nulls[i])
			size += VARSIZE_ANY(DatumGetPointer(values[i]));
	return size;
}

static void
reserve(EsResultRow *result, Size size)
{
	HeapTupleHeader header;

	if (size <= result->size)
		return;
	if (result->tuple.t_data != NULL)
		pfree(result->tuple.t_data);
	result->size = Max(2 * size, 4096);
	header = MemoryContextAllocHuge(result->context, result->size);
	memset(header, 0, result->header_size);
	HeapTupleHeaderSetNatts(header, result->desc->natts);
	header->t_infomask = HEAP_HASNULL | HEAP_HASVARWIDTH;
	header->t_hoff = result->header_size;
	result->tuple.t_data = header;
}

/* Padding is zero, as everywhere. */
static inline char *
align(char *place, int alignment)
{
	char	   *aligned = (char *) TYPEALIGN(alignment, place);

	while (place < aligned)
		*place++ = 0;
	return place;
}

static inline char *
put_varlena(char *place, const struct varlena *value)
{
	Size		size = VARSIZE_ANY(value);

	if (VARATT_IS_4B_U(value) && VARATT_CAN_MAKE_SHORT(value))
	{
		size = VARATT_CONVERTED_SHORT_SIZE(value);
		SET_VARSIZE_SHORT(place, size);
		memcpy(place + 1, VARDATA(value), size - 1);
		return place + size;
	}
	Assert(VARATT_IS_SHORT(value) || VARATT_IS_4B_U(value));
	if (!VARATT_IS_SHORT(value))
		place = align(place, ALIGNOF_INT);
	memcpy(place, value, size);
	return place + size;
}

/* What is passed by value is aligned to its length. */
static inline char *
put_value(char *place, int length, Datum value)
{
	if (length == -1)
		return put_varlena(place, (const struct varlena *) DatumGetPointer(value));
	place = align(place, length);
	store_att_byval(place, value, length);
	return place + length;
}

HeapTuple
es_result_row_form(EsResultRow *result, const Datum *values, const bool *nulls)
{
	HeapTuple	tuple = &result->tuple;
	char	   *place;
	bits8	   *bitmap;

	reserve(result, measure(result, values, nulls));
	place = (char *) tuple->t_data + result->header_size;
	bitmap = tuple->t_data->t_bits;
	memset(bitmap, 0, BITMAPLEN(result->desc->natts));
	for (int i = 0; i < result->desc->natts; i++)
	{
		if (nulls[i])
			continue;
		bitmap[i >> 3] |= 1 << (i & 7);
		place = put_value(place, result->lengths[i], values[i]);
	}
	tuple->t_len = place - (char *) tuple->t_data;
	return tuple;
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
