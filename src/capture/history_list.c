/*
 * history_list.c
 *		row_history: one row, event by event.
 *
 * An event's row of the result waits for the next event, which says when it
 * ceased to hold.  Memory: two events' worth, and the result's tuplestore.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "capture/history.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/json.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_row_history);

/* Columns of the result. */
enum
{
	COL_VERSION,
	COL_POSITION,
	COL_TYPE,
	COL_ACTOR,
	COL_REASON,
	COL_VALID_FROM,
	COL_VALID_TO,
	COL_OPERATION,
	COL_CHANGED,
	COL_ROW_DATA,
	COL_IS_SYNTHETIC,
	COL_COUNT
};

/* The event told last, to be put when the next one is known. */
typedef struct Story
{
	const EsHistory *history;
	ReturnSetInfo *result;
	MemoryContext before;		/* holds the entry, and the row after it */
	MemoryContext after;		/* likewise of the event at hand */
	bool		has_entry;
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	Jsonb	   *row;			/* after the last event; NULL: not there */
} Story;

static void tell_stream(Story *story, const text *stream, const EsMoment *moment, Snapshot snapshot);
static void tell_event(Story *story, const EsPast *past, const EsEvent *event, HeapTuple row);
static void put_entry(Story *story);
static Jsonb *find_changes(const EsHistory *history, Jsonb *old, Jsonb *new);
static Jsonb *column_of(Jsonb *row, const char *name);

Datum
eventsource_row_history(PG_FUNCTION_ARGS)
{
	EsMoment	moment = {.at = DT_NOEND,.basis = es_history_get_basis(fcinfo, 2)};
	Story		story = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	EsHistory  *history;
	Snapshot	snapshot;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("row_history needs a table and a key"),
				 errdetail("Argument \"%s\" is null.", PG_ARGISNULL(0) ? "target" : "key"),
				 errhint("Name the row: eventsource.row_history('my_table', '42').")));
	history = es_history_open(PG_GETARG_OID(0), 0, "row_history");
	es_history_expect_single(history, "row_history");
	story.history = history;
	moment.reader = es_history_reader(history);
	story.before = AllocSetContextCreate(CurrentMemoryContext, "eventsource row before",
										 ALLOCSET_DEFAULT_SIZES);
	story.after = AllocSetContextCreate(CurrentMemoryContext, "eventsource row after",
										ALLOCSET_DEFAULT_SIZES);
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	foreach(lc, es_history_streams(history, text_to_cstring(PG_GETARG_TEXT_PP(1))))
		tell_stream(&story, lfirst(lc), &moment, snapshot);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

static void
tell_stream(Story *story, const text *stream, const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = es_past_begin_stream(stream, moment, snapshot);
	EsPastRows *rows = es_past_rows_begin(story->history);
	EsEvent		event;

	while (es_past_next(past, &event))
	{
		if (es_past_rows_apply(rows, &event))
			tell_event(story, past, &event, es_past_rows_own(rows));
	}
	put_entry(story);
	story->row = NULL;
	es_past_end(past);
}

static void
tell_event(Story *story, const EsPast *past, const EsEvent *event, HeapTuple row)
{
	static const EsEventColumn columns[] = {
		[COL_VERSION] = ES_EVENT_VERSION,
		[COL_POSITION] = ES_EVENT_POSITION,
		[COL_TYPE] = ES_EVENT_TYPE,
		[COL_ACTOR] = ES_EVENT_ACTOR,
		[COL_REASON] = ES_EVENT_REASON,
	};
	MemoryContext caller = MemoryContextSwitchTo(story->after);
	MemoryContext swap = story->after;
	Jsonb	   *old = story->row;
	Jsonb	   *new = row == NULL ? NULL : es_history_row_to_jsonb(story->history, row);
	Jsonb	   *changed = es_past_changes(story->history, event);
	bool		is_known = old != NULL || new != NULL;

	if (changed == NULL)
		changed = find_changes(story->history, old, new);
	if (is_known && story->has_entry)
	{
		story->values[COL_VALID_TO] = TimestampTzGetDatum(past->time);
		story->nulls[COL_VALID_TO] = false;
		put_entry(story);
	}
	if (is_known)
	{
		memset(story->nulls, 0, sizeof(story->nulls));
		for (int i = 0; i < (int) lengthof(columns); i++)
		{
			bool		is_number = i == COL_VERSION || i == COL_POSITION;

			story->nulls[i] = event->isnull[columns[i]];
			if (!story->nulls[i])
				story->values[i] = is_number ? event->value[columns[i]] :
					PointerGetDatum(DatumGetTextPCopy(event->value[columns[i]]));
		}
		story->values[COL_VALID_FROM] = TimestampTzGetDatum(past->time);
		story->nulls[COL_VALID_TO] = true;
		story->values[COL_OPERATION] = CStringGetTextDatum(old == NULL ? "insert" :
														   new == NULL ? "delete" : "update");
		story->values[COL_CHANGED] = JsonbPGetDatum(changed);
		story->values[COL_ROW_DATA] = JsonbPGetDatum(new);
		story->nulls[COL_ROW_DATA] = new == NULL;
		story->values[COL_IS_SYNTHETIC] = event->value[ES_EVENT_IS_SYNTHETIC];
		story->has_entry = true;
		story->row = new;
		story->after = story->before;
		story->before = swap;
	}
	MemoryContextReset(story->after);
	MemoryContextSwitchTo(caller);
}

static void
put_entry(Story *story)
{
	if (story->has_entry)
		tuplestore_putvalues(story->result->setResult, story->result->setDesc, story->values, story->nulls);
	story->has_entry = false;
}

/* {"column": {"old": value, "new": value}} for the columns that differ. */
static Jsonb *
find_changes(const EsHistory *history, Jsonb *old, Jsonb *new)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < history->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(history->desc, i);
		Jsonb	   *was;
		Jsonb	   *is;

		if (att->attisdropped)
			continue;
		was = column_of(old, NameStr(att->attname));
		is = column_of(new, NameStr(att->attname));
		if (was == NULL ? is == NULL : is != NULL && compareJsonbContainers(&was->root, &is->root) == 0)
			continue;
		es_json_push_key(&state, NameStr(att->attname));
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		if (old != NULL)
			es_json_push_jsonb(&state, "old", was);
		if (new != NULL)
			es_json_push_jsonb(&state, "new", is);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* NULL where there is no row, or no value in it. */
static Jsonb *
column_of(Jsonb *row, const char *name)
{
	JsonbValue *value = NULL;

	if (row != NULL)
		value = es_json_find(&row->root, name, NULL);
	return value == NULL || value->type == jbvNull ? NULL : JsonbValueToJsonb(value);
}
