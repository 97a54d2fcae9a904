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

#define PLACE_FOR_FIXED		(2 * sizeof(int64)) /* with padding */

struct EsResultRow
{
	MemoryContext context;
	TupleDesc	desc;
	int			header_size;
	Size		size;			/* of the buffer */
	HeapTupleData tuple;		/* over the buffer */
};

EsResultRow *
es_result_row_begin(TupleDesc desc)
{
	EsResultRow *result = palloc0(sizeof(EsResultRow));

	result->context = CurrentMemoryContext;
	result->desc = desc;
	result->header_size = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));
	return result;
}

/* An upper bound of the row's size. */
static Size
measure(const EsResultRow *result, const Datum *values, const bool *nulls)
{
	Size		size = result->header_size;

	for (int i = 0; i < result->desc->natts; i++)
	{
		if (nulls[i])
			continue;
		size += PLACE_FOR_FIXED;
		if (TupleDescAttr(result->desc, i)->attlen == -1)
			size += VARSIZE_ANY(DatumGetPointer(values[i]));
	}
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
static char *
align(char *place, char *aligned)
{
	while (place < aligned)
		*place++ = 0;
	return place;
}

static char *
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
		place = align(place, (char *) INTALIGN(place));
	memcpy(place, value, size);
	return place + size;
}

static char *
put_value(char *place, Form_pg_attribute att, Datum value)
{
	if (att->attlen == -1)
		return put_varlena(place, (const struct varlena *) DatumGetPointer(value));
	place = align(place, (char *) att_align_nominal((uintptr_t) place, att->attalign));
	store_att_byval(place, value, att->attlen);
	return place + att->attlen;
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
		place = put_value(place, TupleDescAttr(result->desc, i), values[i]);
	}
	tuple->t_len = place - (char *) tuple->t_data;
	return tuple;
}
