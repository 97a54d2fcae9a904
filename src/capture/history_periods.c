/*
 * history_periods.c
 *		attribute_periods: what a column said, from when to when.
 *
 * Consecutive events that leave the column as it is belong to one period.  A
 * period ends with the next value or with the row.  Memory: one period, besides
 * the sort of a whole category's events.
 */
#include "postgres.h"

#include "capture/history.h"
#include "capture/value.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_attribute_periods);

/* Columns of the result. */
enum
{
	COL_KEY,
	COL_VALUE,
	COL_VALID_FROM,
	COL_VALID_TO,
	COL_ACTOR,
	COL_REASON,
	COL_TYPE,
	COL_VERSION,
	COL_POSITION,
	COL_IS_CURRENT,
	COL_BEGINS_SYNTHETIC,
	COL_COUNT
};

typedef struct Periods
{
	const EsHistory *history;
	AttrNumber	column;
	ReturnSetInfo *result;
	MemoryContext context;		/* holds what follows */
	bool		is_open;
	Datum		value;			/* of the column */
	bool		isnull;
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
} Periods;

static AttrNumber find_column(FunctionCallInfo fcinfo);
static void walk_events(Periods *periods, EsPast *past);
static void see_row(Periods *periods, const EsPast *past, const EsEvent *event, EsPastRows *rows);
static bool is_same(Periods *periods, Datum value, bool isnull);
static void open_period(Periods *periods, const EsPast *past, const EsEvent *event, Datum value, bool isnull);
static void close_period(Periods *periods, const TimestampTz *at);

Datum
eventsource_attribute_periods(PG_FUNCTION_ARGS)
{
	EsMoment	moment = {.at = DT_NOEND,.basis = es_history_get_basis(fcinfo, 3)};
	Periods		periods = {.result = (ReturnSetInfo *) fcinfo->resultinfo,.column = find_column(fcinfo)};
	EsHistory  *history = es_history_open(PG_GETARG_OID(0), periods.column, "attribute_periods");
	Snapshot	snapshot;
	ListCell   *lc;

	es_history_expect_single(history, "attribute_periods");
	InitMaterializedSRF(fcinfo, 0);
	moment.reader = es_history_reader(history);
	periods.history = history;
	periods.context = AllocSetContextCreate(CurrentMemoryContext, "eventsource period", ALLOCSET_SMALL_SIZES);
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	if (PG_ARGISNULL(2))
		walk_events(&periods, es_past_begin(history->categories, &moment, snapshot));
	else
	{
		foreach(lc, es_history_streams(history, text_to_cstring(PG_GETARG_TEXT_PP(2))))
			walk_events(&periods, es_past_begin_stream(lfirst(lc), &moment, snapshot));
	}
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

static AttrNumber
find_column(FunctionCallInfo fcinfo)
{
	AttrNumber	column;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("attribute_periods needs a table and a column"),
				 errdetail("Argument \"%s\" is null.", PG_ARGISNULL(0) ? "target" : "column_name"),
				 errhint("Name them: eventsource.attribute_periods('my_table', 'my_column').")));
	column = get_attnum(PG_GETARG_OID(0), NameStr(*PG_GETARG_NAME(1)));
	if (column <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" does not exist", NameStr(*PG_GETARG_NAME(1))),
				 errdetail("The table has no such column now."),
				 errhint("A column that was renamed is found under the name that it has today.")));
	return column;
}

static void
walk_events(Periods *periods, EsPast *past)
{
	EsPastRows *rows = es_past_rows_begin(periods->history);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource period event",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	EsEvent		event;

	while (es_past_next(past, &event))
	{
		if (past->is_first)
		{
			close_period(periods, NULL);
			es_past_rows_reset(rows);
		}
		if (es_past_rows_apply(rows, &event))
			see_row(periods, past, &event, rows);
		MemoryContextReset(scratch);
	}
	close_period(periods, NULL);
	es_past_end(past);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
}

static void
see_row(Periods *periods, const EsPast *past, const EsEvent *event, EsPastRows *rows)
{
	TimestampTz now = past->time;
	bool		isnull;
	Datum		value;

	if (!es_past_rows_own_column(rows, periods->column, &value, &isnull))
	{
		close_period(periods, &now);
		return;
	}
	if (periods->is_open && is_same(periods, value, isnull))
		return;
	close_period(periods, &now);
	open_period(periods, past, event, value, isnull);
}

/* By image, and where that differs as the type prints it. */
static bool
is_same(Periods *periods, Datum value, bool isnull)
{
	Form_pg_attribute att = TupleDescAttr(periods->history->desc, periods->column - 1);
	text	   *printed;
	text	   *known = (text *) DatumGetPointer(periods->values[COL_VALUE]);

	if (isnull || periods->isnull)
		return isnull && periods->isnull;
	if (datum_image_eq(value, periods->value, att->attbyval, att->attlen))
		return true;
	printed = es_value_text(value, att->atttypid);
	return VARSIZE_ANY_EXHDR(printed) == VARSIZE_ANY_EXHDR(known) &&
		memcmp(VARDATA_ANY(printed), VARDATA_ANY(known), VARSIZE_ANY_EXHDR(known)) == 0;
}

static void
open_period(Periods *periods, const EsPast *past, const EsEvent *event, Datum value, bool isnull)
{
	static const struct
	{
		int			to;
		EsEventColumn from;
	}			texts[] = {
		{COL_ACTOR, ES_EVENT_ACTOR},
		{COL_REASON, ES_EVENT_REASON},
		{COL_TYPE, ES_EVENT_TYPE},
	};
	Form_pg_attribute att = TupleDescAttr(periods->history->desc, periods->column - 1);
	MemoryContext caller = MemoryContextSwitchTo(periods->context);

	memset(periods->nulls, 0, sizeof(periods->nulls));
	for (int i = 0; i < (int) lengthof(texts); i++)
	{
		periods->nulls[texts[i].to] = event->isnull[texts[i].from];
		if (!event->isnull[texts[i].from])
			periods->values[texts[i].to] = PointerGetDatum(DatumGetTextPCopy(event->value[texts[i].from]));
	}
	periods->isnull = isnull;
	if (!isnull)
	{
		periods->value = datumCopy(value, att->attbyval, att->attlen);
		periods->values[COL_VALUE] = PointerGetDatum(es_value_text(value, att->atttypid));
	}
	periods->nulls[COL_VALUE] = isnull;
	periods->values[COL_KEY] = PointerGetDatum(es_history_key(periods->history, event));
	periods->values[COL_KEY] = PointerGetDatum(DatumGetTextPCopy(periods->values[COL_KEY]));
	periods->values[COL_VALID_FROM] = TimestampTzGetDatum(past->time);
	periods->values[COL_VERSION] = event->value[ES_EVENT_VERSION];
	periods->values[COL_POSITION] = event->value[ES_EVENT_POSITION];
	periods->values[COL_BEGINS_SYNTHETIC] = event->value[ES_EVENT_IS_SYNTHETIC];
	periods->is_open = true;
	MemoryContextSwitchTo(caller);
}

/* at: when it ended; NULL: it lasts. */
static void
close_period(Periods *periods, const TimestampTz *at)
{
	if (periods->is_open)
	{
		periods->nulls[COL_VALID_TO] = at == NULL;
		if (at != NULL)
			periods->values[COL_VALID_TO] = TimestampTzGetDatum(*at);
		periods->values[COL_IS_CURRENT] = BoolGetDatum(at == NULL);
		tuplestore_putvalues(periods->result->setResult, periods->result->setDesc,
							 periods->values, periods->nulls);
	}
	periods->is_open = false;
	MemoryContextReset(periods->context);
}
