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
#include "utils/fmgrprotos.h"
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

/* As create_queue() names what can be said of a queue. */
static const char *const settings_of_queue[] = {
	"max_attempts", "backoff", "strategy", "jitter", "max_backoff", "lease", "workers", "senders", "keep",
	"max_dead_per_hour"
};

#define N_SETTINGS	((int) lengthof(settings_of_queue))

static const char example[] = "SELECT eventsource.create_queue('mail', max_attempts => 5)";

static void read_proposal(FunctionCallInfo fcinfo, Proposal *proposal);
static void check_proposal(const Proposal *proposal);
static void expect_role(Oid role, const char *what, List **problems);
static Jsonb *proposal_to_jsonb(const Proposal *proposal);
static void push_role(JsonbParseState **state, const char *member, Oid role);
static void expect_owner(const char *name, bool is_there);
static void mention_loss(const EsQueue *before, const EsQueue *after);
static void tell_settings(const EsQueue *queue, char **settings);
static char *tell_number(double number, double usual);
static char *tell_length(int64 length, int64 usual);
static char *tell_role(Oid role);
static void append_arguments(StringInfo list, char *const *settings, char *const *others);

/* create_queue(name, max_attempts, backoff, strategy, ...): version of the definition */
Datum
eventsource_create_queue(PG_FUNCTION_ARGS)
{
	Proposal	proposal;
	EsQueue		before;
	int64		version;

	PreventCommandIfReadOnly("eventsource.create_queue()");
	read_proposal(fcinfo, &proposal);
	check_proposal(&proposal);
	es_define_lock(ES_QUEUE_KIND, proposal.name);
	expect_owner(proposal.name, false);
	before = *es_queue_get(cstring_to_text(proposal.name));
	version = es_define(ES_QUEUE_KIND, proposal.name, ES_QUEUE_DEFINED, proposal_to_jsonb(&proposal));
	mention_loss(&before, es_queue_get(cstring_to_text(proposal.name)));
	PG_RETURN_INT64(version);
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
	if (proposal->max_dead_per_hour < 0)
		problems = lappend(problems, psprintf("max_dead_per_hour: must be at least 0, not %d", proposal->max_dead_per_hour));
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

/* ---- what was there before ---- */

/* What a new definition leaves out is as by default again, which is seldom what was meant. */
static void
mention_loss(const EsQueue *before, const EsQueue *after)
{
	char	   *old[N_SETTINGS];
	char	   *new[N_SETTINGS];
	char	   *lost[N_SETTINGS] = {0};
	StringInfoData names;
	StringInfoData was;
	StringInfoData call;

	if (before->version == 0)
		return;
	tell_settings(before, old);
	tell_settings(after, new);
	initStringInfo(&names);
	for (int i = 0; i < N_SETTINGS; i++)
	{
		if (old[i] == NULL || new[i] != NULL)
			continue;
		lost[i] = old[i];
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", settings_of_queue[i]);
	}
	if (names.len == 0)
		return;
	initStringInfo(&was);
	append_arguments(&was, lost, NULL);
	initStringInfo(&call);
	append_arguments(&call, new, lost);
	ereport(NOTICE,
			(errmsg("queue \"%s\" loses its %s", before->name, names.data),
			 errdetail("What a definition leaves out is as by default again; before, there was%s.", was.data + strlen(",")),
			 errhint("To keep it: SELECT eventsource.create_queue(%s%s).", quote_literal_cstr(before->name), call.data)));
}

/* As create_queue() takes them; NULL: as by default. */
static void
tell_settings(const EsQueue *queue, char **settings)
{
	int			i = 0;

	settings[i++] = tell_number(queue->max_attempts, ES_QUEUE_MAX_ATTEMPTS);
	settings[i++] = tell_length(queue->backoff, ES_QUEUE_BACKOFF);
	settings[i++] = queue->is_fixed ? "'fixed'" : NULL;
	settings[i++] = tell_number(queue->jitter, ES_QUEUE_JITTER);
	settings[i++] = tell_length(queue->max_backoff, ES_QUEUE_MAX_BACKOFF);
	settings[i++] = tell_length(queue->lease, ES_QUEUE_LEASE);
	settings[i++] = tell_role(queue->workers);
	settings[i++] = tell_role(queue->senders);
	settings[i++] = tell_length(queue->keep, ES_QUEUE_KEEP);
	settings[i++] = tell_number(queue->max_dead_per_hour, ES_QUEUE_MAX_DEAD);
	Assert(i == N_SETTINGS);
}

static char *
tell_number(double number, double usual)
{
	return number == usual ? NULL : psprintf("%.15g", number);
}

static char *
tell_length(int64 length, int64 usual)
{
	Interval	interval = {.time = length};

	return length == usual ? NULL :
		quote_literal_cstr(DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(&interval))));
}

/* NULL, too, if it is gone. */
static char *
tell_role(Oid role)
{
	char	   *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	return name == NULL ? NULL : quote_literal_cstr(quote_identifier(name));
}

/* Each after a comma; of the others what the settings do not say. */
static void
append_arguments(StringInfo list, char *const *settings, char *const *others)
{
	for (int i = 0; i < N_SETTINGS; i++)
	{
		const char *value = settings[i] != NULL || others == NULL ? settings[i] : others[i];

		if (value != NULL)
			appendStringInfo(list, ", %s => %s", settings_of_queue[i], value);
	}
}
