/*
 * backfill_history.c
 *		Events from an old history or audit table, in front of the image of the
 *		row.
 *
 * The query is the caller's and runs with the caller's rights.  All events of a
 * key are appended together, with the image of its row as it is then, so that a
 * stream is begun as a whole or not at all.  They are no synthetic events: they
 * happened, and their times are known; metadata says where they came from.
 */
#include "capture/backfill.h"
#include "capture/track_personal.h"

#include "append/draft.h"
#include "capture/change.h"
#include "capture/row_by_key.h"
#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define FETCH_COUNT		200

/* Columns of the query, by position. */
enum
{
	COL_KEY = 1,
	COL_AT,
	COL_TYPE,
	COL_DATA,
	COL_ACTOR,
	COL_REASON
};

/* The keys of one call, in order. */
typedef struct History
{
	EsBackfill *backfill;
	SPIPlanPtr	row_plan;		/* finds a row by its key */
	text	   *key;			/* at hand; NULL: none */
	text	   *stream;
	bool		is_ours;		/* its stream is begun here */
	const text *state;			/* in which its events left it; NULL: none */
	const text *subject;		/* of the row as it is now; NULL: none */
	const EsPii *pii;			/* members of data that are called as personal
								 * columns are */
	Jsonb	   *metadata;		/* of its events */
	char		last[ES_MAX_STREAM_NAME + 1];	/* key before the one at hand */
} History;

static Portal open_query(const char *query, const char *after);
static void describe_query(void *arg);
static bool take_line(History *history, HeapTuple row, TupleDesc desc);
static void begin_key(History *history, text *key);
static void end_key(History *history);
static void add_event(History *history, HeapTuple row, TupleDesc desc);
static void add_image(History *history);
static bool read_row(const History *history, Datum **values, bool **nulls);
static void refuse_end(const History *history, const EsDraft *image);

char *
es_backfill_history(EsBackfill *backfill, const char *query, const char *after)
{
	History		history = {.backfill = backfill};
	ErrorContextCallback context = {.callback = describe_query,.previous = error_context_stack};
	MemoryContext caller = CurrentMemoryContext;
	Portal		portal;
	bool		at_limit = false;

	history.metadata = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"backfilled\": true}")));
	history.pii = es_track_personal_members(backfill->tracking->definition);
	SPI_connect();
	history.row_plan = es_row_by_key_prepare(backfill->tracking);
	error_context_stack = &context;
	portal = open_query(query, after);
	do
	{
		SPITupleTable *rows;

		error_context_stack = &context;
		SPI_cursor_fetch(portal, true, FETCH_COUNT);
		error_context_stack = context.previous;
		rows = SPI_tuptable;
		if (rows->numvals == 0)
			break;

		/* What is taken from SPI's memory is copied: the batch outlives it. */
		MemoryContextSwitchTo(backfill->row_context);
		for (uint64 i = 0; i < rows->numvals && !at_limit; i++)
			at_limit = !take_line(&history, rows->vals[i], rows->tupdesc);
		SPI_freetuptable(rows);
	} while (!at_limit);
	error_context_stack = context.previous;
	MemoryContextSwitchTo(backfill->row_context);
	if (!at_limit)
		end_key(&history);
	MemoryContextSwitchTo(caller);
	SPI_cursor_close(portal);
	SPI_finish();
	return at_limit ? MemoryContextStrdup(caller, history.last) : NULL;
}

static void
describe_query(void *arg)
{
	errcontext("query of a history, which must give key, at, type, data, actor and reason");
}

/* One line of the history; false if the limit was reached before its key. */
static bool
take_line(History *history, HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	text	   *key = DatumGetTextPP(SPI_getbinval(row, desc, COL_KEY, &isnull));

	CHECK_FOR_INTERRUPTS();
	if (history->key == NULL || !es_text_same(key, history->key))
	{
		end_key(history);
		if (history->backfill->rows >= history->backfill->limit)
			return false;
		begin_key(history, DatumGetTextPCopy(PointerGetDatum(key)));
	}
	if (history->is_ours)
		add_event(history, row, desc);
	return true;
}

/* The caller's query, its columns by position, in order of keys and time. */
static Portal
open_query(const char *query, const char *after)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {after == NULL ? (Datum) 0 : CStringGetTextDatum(after)};
	char		nulls[1] = {after == NULL ? 'n' : ' '};
	char	   *sql = psprintf("SELECT h.* FROM (SELECT key::pg_catalog.text COLLATE pg_catalog.\"C\", at::pg_catalog.timestamptz,"
							   " type::pg_catalog.text, data::pg_catalog.jsonb, actor::pg_catalog.text, reason::pg_catalog.text"
							   " FROM (\n%s\n) AS q (key, at, type, data, actor, reason)) AS h"
							   " WHERE h.key IS NOT NULL AND (h.key OPERATOR(pg_catalog.>) $1 OR $1 IS NULL)"
							   " ORDER BY h.key, h.at", query);
	SPIPlanPtr	plan = SPI_prepare(sql, 1, types);

	if (plan == NULL || !SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the history of a backfill must be a query"),
				 errdetail("It is: %s", query),
				 errhint("Give a SELECT of key, at, type, data, actor and reason.")));
	return SPI_cursor_open(NULL, plan, values, nulls, false);
}

/* ---- one key ---- */

static void
begin_key(History *history, text *key)
{
	const EsTracking *tracking = history->backfill->tracking;
	const text *category = tracking->category;
	StringInfoData name;
	Datum	   *values;
	bool	   *nulls;

	initStringInfo(&name);
	appendBinaryStringInfo(&name, VARDATA_ANY(category), VARSIZE_ANY_EXHDR(category));
	appendStringInfoChar(&name, '-');
	appendBinaryStringInfo(&name, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	history->key = key;
	history->stream = cstring_to_text_with_len(name.data, name.len);
	history->state = NULL;
	history->subject = NULL;
	history->is_ours = es_backfill_claim(history->backfill, history->stream);
	if (history->is_ours && tracking->subject != NULL && read_row(history, &values, &nulls))
		history->subject = es_tracking_subject(tracking, values, nulls);
}

static void
end_key(History *history)
{
	if (history->key == NULL)
		return;
	if (history->is_ours)
	{
		add_image(history);
		history->backfill->rows++;
	}
	es_progress_step(&history->backfill->progress, 1);
	text_to_cstring_buffer(history->key, history->last, sizeof(history->last));
	history->key = NULL;
	es_backfill_settle(history->backfill);
}

static void
add_event(History *history, HeapTuple row, TupleDesc desc)
{
	EsDraft		draft;
	EsAppended	result;
	Datum		value;
	bool		isnull;

	es_draft_init(&draft);
	draft.stream = history->stream;
	draft.metadata = history->metadata;
	draft.subject = history->subject;
	draft.pii = history->pii;
	value = SPI_getbinval(row, desc, COL_AT, &isnull);
	draft.has_occurred_at = !isnull;
	draft.occurred_at = isnull ? 0 : DatumGetTimestampTz(value);
#define GET(field, column, get) \
	value = SPI_getbinval(row, desc, column, &isnull); \
	draft.field = isnull ? NULL : get(value)
	GET(type, COL_TYPE, DatumGetTextPCopy);
	GET(data, COL_DATA, DatumGetJsonbPCopy);
	GET(actor, COL_ACTOR, DatumGetTextPCopy);
	GET(reason, COL_REASON, DatumGetTextPCopy);
#undef GET
	es_backfill_add(history->backfill, &draft, &result);
	history->state = result.state;
}

/*
 * The row as it is now; it may be gone.  The history must have brought the
 * stream to the state that the row is in, as no event may go there by itself.
 */
static void
add_image(History *history)
{
	const EsTracking *tracking = history->backfill->tracking;
	Datum	   *values;
	bool	   *nulls;
	EsDraft		draft;
	EsAppended	result;

	if (!read_row(history, &values, &nulls))
		return;
	es_change_genesis(tracking, values, nulls, &draft);
	if (history->state != NULL && draft.to_state != NULL && es_text_same(history->state, draft.to_state))
		draft.passage = ES_PASSAGE_STAY;
	else if (history->state != draft.to_state && tracking->records_violations)
		draft.flags |= ES_EVENT_VIOLATION;
	else if (history->state != draft.to_state)
		refuse_end(history, &draft);
	es_backfill_date(history->backfill, values, nulls, &draft);
	es_backfill_add(history->backfill, &draft, &result);
}

/* The row that has the key at hand; false: it is gone. */
static bool
read_row(const History *history, Datum **values, bool **nulls)
{
	TupleDesc	desc;
	HeapTuple	row = es_row_by_key_read(history->row_plan, history->backfill->tracking, history->key, false,
										 &desc);

	if (row == NULL)
		return false;
	*values = palloc(desc->natts * sizeof(Datum));
	*nulls = palloc(desc->natts * sizeof(bool));
	heap_deform_tuple(row, desc, *values, *nulls);
	return true;
}

static void
refuse_end(const History *history, const EsDraft *image)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_ILLEGAL_TRANSITION),
			 errmsg("history of \"%s\" does not end where its row is", text_to_cstring(history->stream)),
			 errdetail("The last event leads to state %s, but the row is in state %s.",
					   history->state == NULL ? "(none)" : text_to_cstring(history->state),
					   image->to_state == NULL ? "(none)" : text_to_cstring(image->to_state)),
			 errhint("Complete the history, leave this key out of it, or track the table with on_violation => 'record'.")));
}
