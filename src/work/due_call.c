/*
 * due_call.c
 *		Calling the function of a step.
 *
 * It has the rights of who defined the reaction (append/call.h), and sees what is committed
 * when it is called; in REPEATABLE READ what was as its caller's transaction began.  What it is
 * told of the run is an object, so that more can be added; of the job that was waited for last it
 * gets the result, if the job is still kept.
 */
#include "work/due_call.h"

#include "access/xact.h"
#include "append/call.h"
#include "append/draft.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

static Jsonb *call_function(const EsReactOccasion *occasion, Oid function, Jsonb *call);
static Jsonb *describe_run(const EsReactOccasion *occasion, const EsRun *run);
static void push_time(JsonbParseState **state, const char *key, TimestampTz time);
static Jsonb *find_result(int64 job_id);
static void read_result(HeapTuple row, TupleDesc desc, void *arg);

void
es_due_call(const EsReactOccasion *occasion, const char *function, const EsRun *run, EsDecision *decision)
{
	const EsReaction *reaction = occasion->reaction;
	Oid			oid = es_call_find(&es_call_reaction, function, reaction->definer);
	Jsonb	   *answer;

	answer = call_function(occasion, oid, describe_run(occasion, run));
	CommandCounterIncrement();
	es_decision_read(answer, occasion->step > 0 ? reaction->n_steps : 0, decision);
}

/* NULL if it returns null. */
static Jsonb *
call_function(const EsReactOccasion *occasion, Oid function, Jsonb *call)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo	info;
	EsCallRoom	room;
	Jsonb	   *cause = es_react_metadata(occasion->reaction, occasion->event);
	Jsonb	   *cause_before;
	Datum		answer = (Datum) 0;

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = es_call_event(occasion->event);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(call);
	fcinfo->args[1].isnull = false;
	PushActiveSnapshot(GetTransactionSnapshot());
	es_call_enter(&room, occasion->reaction->definer);
	cause_before = es_draft_caused_by(cause);
	PG_TRY();
	{
		answer = FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		(void) es_draft_caused_by(cause_before);
		es_call_leave(&room);
	}
	PG_END_TRY();
	PopActiveSnapshot();
	return fcinfo->isnull ? NULL : DatumGetJsonbPCopy(answer);
}

static Jsonb *
describe_run(const EsReactOccasion *occasion, const EsRun *run)
{
	const EsJob *job = run->job;
	JsonbParseState *state = NULL;
	Jsonb	   *result;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "job_id", job->id);
	es_json_push_string(&state, "reaction", occasion->reaction->name);
	es_json_push_number(&state, "version", occasion->reaction->version);
	es_json_push_number(&state, "step", occasion->step);
	es_json_push_number(&state, "attempt", job->attempts - job->attempts_before + (run->is_counted ? 0 : 1));
	push_time(&state, "due_at", run->due);
	push_time(&state, "scheduled_at", job->created_at);
	if (run->key != NULL)
		es_json_push_text(&state, "key", run->key);
	if (run->sent != 0)
	{
		es_json_push_number(&state, "sent", run->sent);
		result = find_result(run->sent);
		if (result != NULL)
			es_json_push_jsonb(&state, "result", result);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
push_time(JsonbParseState **state, const char *key, TimestampTz time)
{
	char		buffer[MAXDATELEN + 1];

	JsonEncodeDateTime(buffer, TimestampTzGetDatum(time), TIMESTAMPTZOID, NULL);
	es_json_push_string(state, key, pstrdup(buffer));
}

static Jsonb *
find_result(int64 job_id)
{
	static EsOwnSql find = {
		.text = "SELECT result FROM eventsource.job WHERE id = $1 AND state = 'done'",
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		value = Int64GetDatum(job_id);
	Jsonb	   *result = NULL;

	(void) es_own_sql(&find, &value, NULL, read_result, &result);
	return result;
}

static void
read_result(HeapTuple row, TupleDesc desc, void *arg)
{
	*(Jsonb **) arg = es_own_sql_jsonb(row, desc, 1);
}
