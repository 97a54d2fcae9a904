/*
 * history_as_of.c
 *		as_of: the rows of a table as they were.
 *
 * Where rows belong to streams, events are folded stream by stream, so that
 * memory holds the rows of one; the events of a whole category are sorted for
 * that in work_mem, and beyond it on disk.  Rows that streams share are all in
 * memory until the end.  The result is a tuplestore, which spills likewise.
 */
#include "postgres.h"

#include "capture/history.h"
#include "capture/snapshot.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "project/replay.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_as_of);

static Oid	relation_of(FunctionCallInfo fcinfo);
static void put_stream(EsHistory *history, const text *stream, const EsMoment *moment,
					   Snapshot snapshot, Tuplestorestate *result);
static void put_by_stream(EsPast *past, EsPastRows *rows, Tuplestorestate *result);
static void put_shared(EsHistory *history, const char *key, const EsMoment *moment,
					   Snapshot snapshot, Tuplestorestate *result);
static void put_rows(EsPastRows *rows, Tuplestorestate *result);

Datum
eventsource_as_of(PG_FUNCTION_ARGS)
{
	EsMoment	moment = {.at = es_history_get_at(fcinfo, 1, "as_of"),.basis = es_history_get_basis(fcinfo, 3)};
	char	   *key = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	EsHistory  *history = es_history_open(relation_of(fcinfo), 0, "as_of");
	Snapshot	snapshot = RegisterSnapshot(GetActiveSnapshot());
	Tuplestorestate *result;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	moment.reader = es_history_reader(history);
	result = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;
	if (!es_history_is_by_stream(history, key != NULL))
		put_shared(history, key, &moment, snapshot, result);
	else if (key == NULL && history->tracking != NULL)
		es_history_put_table(history, &moment, snapshot, result);
	else if (key == NULL)
		put_by_stream(es_past_begin(history->categories, &moment, snapshot),
					  es_past_rows_begin(history), result);
	else
	{
		foreach(lc, es_history_streams(history, key))
			put_stream(history, lfirst(lc), &moment, snapshot, result);
	}
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/* The table whose row type the first argument has. */
static Oid
relation_of(FunctionCallInfo fcinfo)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("as_of needs to know the table"),
				 OidIsValid(type) ?
				 errdetail("Its first argument is of type %s, which is no table's.", format_type_be(type)) :
				 errdetail("Its first argument has no type."),
				 errhint("Give it a row of the table: eventsource.as_of(NULL::schema.table, at).")));
	return relid;
}

static void
put_stream(EsHistory *history, const text *stream, const EsMoment *moment,
		   Snapshot snapshot, Tuplestorestate *result)
{
	EsPast	   *past = es_past_begin_stream(stream, moment, snapshot);
	EsPastRows *rows = es_past_rows_begin(history);

	(void) es_snapshot_resume(past, history, rows);
	put_by_stream(past, rows, result);
}

static void
put_by_stream(EsPast *past, EsPastRows *rows, Tuplestorestate *result)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource past event",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	EsEvent		event;

	while (es_past_next(past, &event))
	{
		if (past->is_first)
		{
			put_rows(rows, result);
			es_past_rows_reset(rows);
		}
		(void) es_past_rows_apply(rows, &event);
		MemoryContextReset(scratch);
	}
	put_rows(rows, result);
	es_past_end(past);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
}

static void
put_shared(EsHistory *history, const char *key, const EsMoment *moment,
		   Snapshot snapshot, Tuplestorestate *result)
{
	EsPast	   *past = es_past_begin_log(history->categories, moment, snapshot);
	EsPastRows *rows = es_past_rows_begin(history);
	EsEvent		event;

	if (key != NULL)
	{
		Datum		values[INDEX_MAX_KEYS];

		es_replay_read_text_key(history->projection->target, key, values);
		es_past_rows_restrict(rows, values);
	}
	while (es_past_next(past, &event))
		(void) es_past_rows_apply(rows, &event);
	put_rows(rows, result);
	es_past_end(past);
}

static void
put_rows(EsPastRows *rows, Tuplestorestate *result)
{
	uint32		next = 0;
	HeapTuple	row;

	while ((row = es_past_rows_next(rows, &next)) != NULL)
		tuplestore_puttuple(result, row);
}
