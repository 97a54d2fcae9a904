/*
 * run.c
 *		run_projections(), resume_projection(), and what is due.
 *
 * One after the other, each in a subtransaction of its own: one that fails
 * hinders no other.
 */
#include "feed/run.h"

#include "access/xact.h"
#include "append/call.h"
#include "errors.h"
#include "feed/handler.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/position.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* Columns of run_projections() */
#define RUN_COLUMNS	6

PG_FUNCTION_INFO_V1(eventsource_run_projections);
PG_FUNCTION_INFO_V1(eventsource_resume_projection);

static void run_projection(const EsAsync *async, const EsFinal *final, int64 max_events,
						   ReturnSetInfo *result);
static void put_off(const EsHandler *handler, EsFollowed *followed);
static void put_result(ReturnSetInfo *result, Oid target, const char *handler, const EsFollowed *followed);
static void expect_async(Oid relid);
static bool is_due(const char *follower, const EsPace *pace, int64 watermark);

/* run_projections(target regclass, max_events bigint) */
Datum
eventsource_run_projections(PG_FUNCTION_ARGS)
{
	int64		max_events = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		triggers_wait = es_call_triggers_wait();
	EsFinal    *final;
	ListCell   *lc;

	PreventCommandIfReadOnly("eventsource.run_projections()");
	if (!PG_ARGISNULL(1) && max_events < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be 1 at least"),
				 errdetail("Given is " INT64_FORMAT ".", max_events),
				 errhint("Leave it out to go on to the watermark.")));
	if (!PG_ARGISNULL(0))
		expect_async(PG_GETARG_OID(0));
	InitMaterializedSRF(fcinfo, 0);
	final = es_final_begin();
	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);

		if (PG_ARGISNULL(0) || async->relid == PG_GETARG_OID(0))
			run_projection(async, final, max_events, result);
	}
	foreach(lc, PG_ARGISNULL(0) ? es_handler_list() : NIL)
	{
		EsFollowed	followed;

		if (triggers_wait)
			put_off(lfirst(lc), &followed);
		else
			es_handler_run(lfirst(lc), final, max_events, &followed);
		put_result(result, InvalidOid, ((EsHandler *) lfirst(lc))->name, &followed);
	}
	es_final_end(final);
	return (Datum) 0;
}

/* resume_projection(target regclass) */
Datum
eventsource_resume_projection(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	PreventCommandIfReadOnly("eventsource.resume_projection()");
	expect_async(PG_GETARG_OID(0));
	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);

		if (async->relid != PG_GETARG_OID(0))
			continue;
		(void) es_apply_lock(async->name, true);
		PG_RETURN_BOOL(es_cursor_mend(es_cursor_name("projection", async->name)));
	}
	PG_RETURN_BOOL(false);
}

List *
es_run_list_due(int64 watermark)
{
	List	   *due = NIL;
	ListCell   *lc;

	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);
		char	   *follower = es_cursor_name("projection", async->name);

		if (is_due(follower, &async->pace, watermark))
			due = lappend(due, follower);
	}
	foreach(lc, es_handler_list())
	{
		EsHandler  *handler = lfirst(lc);

		if (is_due(handler->follower, &handler->pace, watermark))
			due = lappend(due, unconstify(char *, handler->follower));
	}
	return due;
}

/*
 * A handler goes a batch at a time: from its first append on its transaction holds
 * the watermark back.
 */
bool
es_run_one(const char *follower, int64 max_events, EsFollowed *result)
{
	EsFinal    *final = es_final_begin();
	bool		found = false;
	ListCell   *lc;

	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);

		if (strcmp(es_cursor_name("projection", async->name), follower) != 0)
			continue;
		es_apply_run(async, final, max_events, result);
		found = true;
	}
	foreach(lc, found ? NIL : es_handler_list())
	{
		EsHandler  *handler = lfirst(lc);

		if (strcmp(handler->follower, follower) != 0)
			continue;
		es_handler_run(handler, final, Min(max_events, handler->pace.max_batch), result);
		found = true;
	}
	es_final_end(final);
	return found;
}

static void
run_projection(const EsAsync *async, const EsFinal *final, int64 max_events, ReturnSetInfo *result)
{
	EsFollowed	followed;

	es_apply_run(async, final, max_events, &followed);
	put_result(result, async->relid, NULL, &followed);
}

static void
put_off(const EsHandler *handler, EsFollowed *followed)
{
	EsCursor	cursor = {0};

	(void) es_cursor_read(handler->follower, SnapshotSelf, &cursor);
	*followed = (EsFollowed)
	{
		.status = ES_FOLLOW_RETRY,
			.position = cursor.position,
			.error = pstrdup("deferred triggers of this transaction are still to be run")
	};
}

static void
put_result(ReturnSetInfo *result, Oid target, const char *handler, const EsFollowed *followed)
{
	Datum		values[RUN_COLUMNS];
	bool		nulls[RUN_COLUMNS] = {false};

	values[0] = ObjectIdGetDatum(target);
	nulls[0] = !OidIsValid(target);
	nulls[1] = handler == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(handler);
	values[2] = Int64GetDatum(followed->events);
	values[3] = Int64GetDatum(followed->position);
	nulls[3] = followed->status == ES_FOLLOW_BUSY;
	values[4] = CStringGetTextDatum(es_follow_status_name(followed->status));
	nulls[5] = followed->error == NULL;
	values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(followed->error);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
expect_async(Oid relid)
{
	EsProjection *projection = es_projection_expect(relid);

	if (!projection->is_async)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("projection %s is inline", projection->target->name),
				 errdetail("Its rows are written by the transactions that append."),
				 errhint("create_projection with mode => 'async' defines it anew.")));
}

static bool
is_due(const char *follower, const EsPace *pace, int64 watermark)
{
	EsCursor	cursor = {0};
	EsFailure	failure;
	int64		waited;

	(void) es_cursor_read(follower, GetActiveSnapshot(), &cursor);
	if (cursor.position >= watermark || es_cursor_read_failure(follower, GetActiveSnapshot(), &failure))
		return false;
	waited = GetCurrentTimestamp() - cursor.applied_at;
	/* Less than nothing: the clock was set back. */
	return watermark - cursor.position >= pace->max_batch || waited >= pace->interval || waited < 0;
}
