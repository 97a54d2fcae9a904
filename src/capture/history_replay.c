/*
 * history_replay.c
 *		replay: the state and the row that a stream's events make.
 */
#include "postgres.h"

#include "capture/history.h"
#include "capture/snapshot.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/rights.h"
#include "log/stream.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_replay);

/* Columns of the result. */
enum
{
	COL_STREAM,
	COL_VERSION,
	COL_STATE,
	COL_ROW_DATA,
	COL_EVENTS,
	COL_COUNT
};

static EsHistory *tracked_table(const text *stream);
static void expect_category(const EsHistory *history, const text *stream);
static int64 fold_stream(EsPast *past, EsPastRows *rows);

Datum
eventsource_replay(PG_FUNCTION_ARGS)
{
	EsMoment	moment = {.at = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1),
	.basis = es_history_get_basis(fcinfo, 2)};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EsHistory  *history = NULL;
	EsPast	   *past;
	Snapshot	snapshot;
	EsPastRows *rows;
	HeapTuple	row;
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {false};
	int64		events;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("replay needs a stream"),
				 errdetail("Argument \"stream\" is null."),
				 errhint("Name it: eventsource.replay('lead-42').")));
	(void) es_stream_category_length(PG_GETARG_TEXT_PP(0));
	es_rights_expect_read_stream(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(3))
	{
		history = es_history_open(PG_GETARG_OID(3), 0, "replay");
		es_history_expect_single(history, "replay");
		expect_category(history, PG_GETARG_TEXT_PP(0));
	}
	else
		history = tracked_table(PG_GETARG_TEXT_PP(0));
	if (history != NULL)
		moment.reader = es_history_reader(history);
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	past = es_past_begin_stream(PG_GETARG_TEXT_PP(0), &moment, snapshot);
	rows = history == NULL ? NULL : es_past_rows_begin(history);
	events = es_snapshot_resume(past, history, rows);
	events += fold_stream(past, rows);
	row = rows == NULL ? NULL : es_past_rows_own(rows);
	if (past->version > 0)
	{
		values[COL_STREAM] = PG_GETARG_DATUM(0);
		values[COL_VERSION] = Int64GetDatum(past->version);
		values[COL_STATE] = PointerGetDatum(past->state);
		nulls[COL_STATE] = past->state == NULL;
		nulls[COL_ROW_DATA] = row == NULL;
		if (row != NULL)
			values[COL_ROW_DATA] = JsonbPGetDatum(es_history_row_to_jsonb(history, row));
		values[COL_EVENTS] = Int64GetDatum(events);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	es_past_end(past);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/* The table that the stream's category tracks, or NULL. */
static EsHistory *
tracked_table(const text *stream)
{
	const EsTracking *tracking =
		es_tracking_of_category(pnstrdup(VARDATA_ANY(stream), es_stream_category_length(stream)));

	return tracking == NULL || !OidIsValid(tracking->relid) ? NULL :
		es_history_open(tracking->relid, 0, "replay");
}

static void
expect_category(const EsHistory *history, const text *stream)
{
	char	   *category = pnstrdup(VARDATA_ANY(stream), es_stream_category_length(stream));
	ListCell   *lc;

	foreach(lc, history->categories)
	{
		if (strcmp(lfirst(lc), category) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("events of category \"%s\" make no rows of %s", category, history->name),
			 errdetail("Stream \"%s\" belongs to another category.", text_to_cstring(stream)),
			 errhint("Leave target out to replay the state alone.")));
}

/* Returns how many events count. */
static int64
fold_stream(EsPast *past, EsPastRows *rows)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource replayed event",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	EsEvent		event;
	int64		count = 0;

	while (es_past_next(past, &event))
	{
		count++;
		if (rows != NULL)
			(void) es_past_rows_apply(rows, &event);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	return count;
}
