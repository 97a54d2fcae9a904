/*
 * queue_define.c
 *		create_queue, drop_queue, and the list of definitions for views.
 *
 * Jobs that wait in a queue go by its definition as it is when they are claimed or
 * fail; what is dropped leaves them there, with what a queue has by default.
 */
#include "append/queue.h"

#include "append/define.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/config.h"
#include "log/json.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "work/job.h"

PG_FUNCTION_INFO_V1(eventsource_create_queue);
PG_FUNCTION_INFO_V1(eventsource_drop_queue);
PG_FUNCTION_INFO_V1(eventsource_queue_definitions);

/* The arguments of create_queue. */
typedef struct Proposal
{
	char	   *name;
	int32		max_attempts;
	int64		backoff;
	char	   *strategy;
	Numeric		jitter;
	int64		max_backoff;
	int64		lease;
	Oid			workers;
	Oid			senders;
	int64		keep;
	int32		max_dead_per_hour;
} Proposal;

static const char example[] = "SELECT eventsource.create_queue('mail', max_attempts => 5)";

static void read_proposal(FunctionCallInfo fcinfo, Proposal *proposal);
static void check_proposal(const Proposal *proposal);
static void expect_role(Oid role, const char *what, List **problems);
static Jsonb *proposal_to_jsonb(const Proposal *proposal);
static void push_role(JsonbParseState **state, const char *member, Oid role);
static void expect_owner(const char *name, bool is_there);

/* create_queue(name, max_attempts, backoff, strategy, ...): version of the definition */
Datum
eventsource_create_queue(PG_FUNCTION_ARGS)
{
	Proposal	proposal;

	PreventCommandIfReadOnly("eventsource.create_queue()");
	read_proposal(fcinfo, &proposal);
	check_proposal(&proposal);
	es_define_lock(ES_QUEUE_KIND, proposal.name);
	expect_owner(proposal.name, false);
	PG_RETURN_INT64(es_define(ES_QUEUE_KIND, proposal.name, ES_QUEUE_DEFINED, proposal_to_jsonb(&proposal)));
}

/* drop_queue(name) */
Datum
eventsource_drop_queue(PG_FUNCTION_ARGS)
{
	JsonbParseState *state = NULL;
	char	   *name;

	PreventCommandIfReadOnly("eventsource.drop_queue()");
	es_job_expect_argument(fcinfo, 0, "name", "SELECT eventsource.drop_queue('mail')");
	name = text_to_cstring(es_job_text_argument(fcinfo, 0, "name", ES_MAX_WORD));
	es_define_lock(ES_QUEUE_KIND, name);
	expect_owner(name, true);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) es_define(ES_QUEUE_KIND, name, ES_QUEUE_DROPPED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* What the view eventsource.queues shows. */
Datum
eventsource_queue_definitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_config_list(ES_QUEUE_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		Datum		values[] = {
			CStringGetTextDatum(definition->name), Int64GetDatum(definition->version),
			Int64GetDatum(definition->position), JsonbPGetDatum(definition->data)
		};
		bool		nulls[lengthof(values)] = {false};

		if (strcmp(definition->type, ES_QUEUE_DEFINED) == 0)
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- what was asked for ---- */

static void
read_proposal(FunctionCallInfo fcinfo, Proposal *proposal)
{
	static const char *const names[] = {
		"name", "max_attempts", "backoff", "strategy", "jitter", "max_backoff", "lease", NULL, NULL, "keep",
		"max_dead_per_hour"
	};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (names[i] != NULL)
			es_job_expect_argument(fcinfo, i, names[i], example);
	proposal->name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	proposal->max_attempts = PG_GETARG_INT32(1);
	proposal->backoff = es_queue_length(PG_GETARG_INTERVAL_P(2), "backoff", 0);
	proposal->strategy = text_to_cstring(PG_GETARG_TEXT_PP(3));
	proposal->jitter = PG_GETARG_NUMERIC(4);
	proposal->max_backoff = es_queue_length(PG_GETARG_INTERVAL_P(5), "max_backoff", 0);
	proposal->lease = es_queue_length(PG_GETARG_INTERVAL_P(6), "lease", 1);
	proposal->workers = PG_ARGISNULL(7) ? InvalidOid : PG_GETARG_OID(7);
	proposal->senders = PG_ARGISNULL(8) ? InvalidOid : PG_GETARG_OID(8);
	proposal->keep = es_queue_length(PG_GETARG_INTERVAL_P(9), "keep", 0);
	proposal->max_dead_per_hour = PG_GETARG_INT32(10);
}

/* Lists all that is wrong in one error. */
static void
check_proposal(const Proposal *proposal)
{
	const char *problem = es_queue_name_problem(proposal->name);
	double		jitter = DatumGetFloat8(DirectFunctionCall1(numeric_float8,
															NumericGetDatum(proposal->jitter)));
	List	   *problems = NIL;
	StringInfoData lines;
	ListCell   *lc;

	if (problem != NULL)
		problems = lappend(problems, psprintf("name: %s", problem));
	if (proposal->max_attempts < 1 || proposal->max_attempts > ES_MAX_ATTEMPTS)
		problems = lappend(problems, psprintf("max_attempts: must be 1 to %d, not %d", ES_MAX_ATTEMPTS,
											  proposal->max_attempts));
	if (strcmp(proposal->strategy, "exponential") != 0 && strcmp(proposal->strategy, "fixed") != 0)
		problems = lappend(problems, psprintf("strategy: must be exponential or fixed, not \"%s\"", proposal->strategy));
	if (!(jitter >= 0 && jitter <= 1))
		problems = lappend(problems, "jitter: must be 0 to 1");
	expect_role(proposal->workers, "workers", &problems);
	expect_role(proposal->senders, "senders", &problems);
	if (proposal->max_dead_per_hour < 1)
		problems = lappend(problems, psprintf("max_dead_per_hour: must be at least 1, not %d", proposal->max_dead_per_hour));
	if (problems == NIL)
		return;
	initStringInfo(&lines);
	foreach(lc, problems)
		appendStringInfo(&lines, "%s%s", lines.len == 0 ? "" : "\n", (char *) lfirst(lc));
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("invalid definition of queue \"%s\"", proposal->name),
			 errdetail_internal("%s", lines.data),
			 errhint("For example: %s.", example)));
}

static void
expect_role(Oid role, const char *what, List **problems)
{
	if (OidIsValid(role) && !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		*problems = lappend(*problems, psprintf("%s: no role has OID %u", what, role));
}

static Jsonb *
proposal_to_jsonb(const Proposal *proposal)
{
	JsonbValue	jitter = {.type = jbvNumeric,.val.numeric = proposal->jitter};
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "max_attempts", proposal->max_attempts);
	es_json_push_number(&state, "backoff", proposal->backoff);
	es_json_push_string(&state, "strategy", proposal->strategy);
	es_json_push_value(&state, "jitter", &jitter);
	es_json_push_number(&state, "max_backoff", proposal->max_backoff);
	es_json_push_number(&state, "lease", proposal->lease);
	push_role(&state, "workers", proposal->workers);
	push_role(&state, "senders", proposal->senders);
	es_json_push_number(&state, "keep", proposal->keep);
	es_json_push_number(&state, "max_dead_per_hour", proposal->max_dead_per_hour);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
push_role(JsonbParseState **state, const char *member, Oid role)
{
	if (!OidIsValid(role))
		return;
	es_json_push_string(state, member, GetUserNameFromId(role, false));
	es_json_push_number(state, psprintf("%s_oid", member), role);
}

/* The definition is locked. */
static void
expect_owner(const char *name, bool is_there)
{
	const EsQueue *queue = es_queue_get(cstring_to_text(name));

	if (queue->version == 0 && is_there)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("queue \"%s\" does not exist", name),
				 errdetail("No definition has this name, or it was dropped."),
				 errhint("The view eventsource.queues lists those that were created; others need not be dropped.")));
	if (queue->version != 0 && OidIsValid(queue->owner) && !has_privs_of_role(GetUserId(), queue->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of queue \"%s\"", name),
				 errdetail("It belongs to role \"%s\".", GetUserNameFromId(queue->owner, false)),
				 errhint("Let that role, or a member of it, do it.")));
}
