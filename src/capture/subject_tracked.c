/*
 * subject_tracked.c
 *		subject_tracked_rows: rows of tracked tables that are about a subject.
 *
 * A row is about whom the last event says that was captured of it.  It is read from
 * the table itself, as columns that are not captured are there alone.
 *
 * What types of the table have of their own (casts to json, operators of the key) runs
 * with the rights of the table's owner; whether the caller may read the table is asked
 * before.
 */
#include "postgres.h"

#include "capture/row_by_key.h"
#include "capture/track_personal.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/reading.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/subject_rows.h"
#include "rules/expr_parts.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

enum
{
	COL_TARGET,
	COL_STREAM,
	COL_ROW_DATA,
	COL_WITHHELD,
	COLUMNS
};

PG_FUNCTION_INFO_V1(eventsource_subject_tracked_rows);

static void put_row(ReturnSetInfo *result, const text *stream, const text *subject, Snapshot snapshot);
static Jsonb *read_row(const EsTracking *tracking, const text *stream);
static Bitmapset *masked_columns(const EsTracking *tracking);

/* subject_tracked_rows(subject, streams): target, stream, row_data, withheld */
Datum
eventsource_subject_tracked_rows(PG_FUNCTION_ARGS)
{
	const text *subject = PG_GETARG_TEXT_PP(0);
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource subject's tracked row",
											   ALLOCSET_DEFAULT_SIZES);
	Snapshot	snapshot = RegisterSnapshot(GetActiveSnapshot());
	Datum	   *streams;
	bool	   *nulls;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &streams, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(work);

		CHECK_FOR_INTERRUPTS();
		if (!nulls[i])
			put_row((ReturnSetInfo *) fcinfo->resultinfo, DatumGetTextPP(streams[i]), subject, snapshot);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
	}
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(work);
	return (Datum) 0;
}

static void
put_row(ReturnSetInfo *result, const text *stream, const text *subject, Snapshot snapshot)
{
	const EsTracking *tracking = es_track_personal_row(stream, subject, snapshot);
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS] = {0};
	const char *withheld;
	Jsonb	   *row = NULL;

	if (tracking == NULL)
		return;
	withheld = es_subject_withheld(tracking->relid);
	if (withheld == NULL && (row = read_row(tracking, stream)) == NULL)
		return;
	values[COL_TARGET] = ObjectIdGetDatum(tracking->relid);
	values[COL_STREAM] = PointerGetDatum(stream);
	nulls[COL_ROW_DATA] = row == NULL;
	values[COL_ROW_DATA] = row == NULL ? (Datum) 0 : JsonbPGetDatum(row);
	nulls[COL_WITHHELD] = withheld == NULL;
	values[COL_WITHHELD] = withheld == NULL ? (Datum) 0 : CStringGetTextDatum(withheld);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* NULL: it is gone, by a change that was not captured. */
static Jsonb *
read_row(const EsTracking *tracking, const text *stream)
{
	int			category = es_stream_category_length(stream) + 1;
	const text *key = cstring_to_text_with_len(VARDATA_ANY(stream) + category,
											   VARSIZE_ANY_EXHDR(stream) - category);
	MemoryContext caller = CurrentMemoryContext;
	EsExprTraits traits = {.foreign = true};
	Jsonb	   *result = NULL;
	TupleDesc	desc;
	HeapTuple	row;
	EsRoom		room;

	es_expr_enter_room(&room, es_catalog_relation_owner(tracking->relid), false, &traits);
	SPI_connect();
	MemoryContextSwitchTo(caller);
	row = es_row_by_key_read(es_row_by_key_prepare(tracking), tracking, key, true, &desc);
	if (row != NULL)
	{
		Datum		whole = heap_copy_tuple_as_datum(row, BlessTupleDesc(desc));
		text	   *json = DatumGetTextPP(DirectFunctionCall1(row_to_json, whole));

		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(json))));
	}
	SPI_finish();
	MemoryContextSwitchTo(caller);
	es_expr_leave_room(&room);
	return result == NULL ? NULL : es_subject_mask(result, desc, masked_columns(tracking));
}

/* By their numbers; NULL: the current user sees all of them. */
static Bitmapset *
masked_columns(const EsTracking *tracking)
{
	Bitmapset  *columns = NULL;

	if (es_reading_is_trusted(GetUserId()))
		return NULL;
	for (int i = 0; i < tracking->ncolumns; i++)
		if (tracking->columns[i].is_personal)
			columns = bms_add_member(columns, tracking->columns[i].attno);
	return columns;
}
