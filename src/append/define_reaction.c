/*
 * define_reaction.c
 *		create_reaction, drop_reaction, and the list of definitions for views.
 *
 * Locks: how events are read, as all whose definitions read them (project/rebuild.h); then all
 * reactions, so that no two that are defined at once lead to each other; then the category, whose
 * context stays.
 */
#include "postgres.h"

#include "append/call.h"
#include "append/define.h"
#include "append/job_finish.h"
#include "append/personal_rules.h"
#include "append/react.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/config.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "project/rebuild.h"
#include "rules/pii_use.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(eventsource_create_reaction);
PG_FUNCTION_INFO_V1(eventsource_drop_reaction);
PG_FUNCTION_INFO_V1(eventsource_reaction_definitions);

/* Does an expression name "row"? */
typedef struct RowUse
{
	bool		found;
} RowUse;

static Jsonb *proposal_to_jsonb(FunctionCallInfo fcinfo);
static void push_argument(JsonbParseState **state, FunctionCallInfo fcinfo, int arg, const char *name);
static void refuse_null(const char *argument);
static const char *name_problem(const char *name);
static void expect_owner(const EsDefinition *stored);
static List *check_cancel(const EsReaction *reaction, const char *name);
static List *check_reaction(const EsReaction *reaction);
static List *check_action(const EsReaction *reaction, const EsReactionAction *action);
static List *check_type(const char *what, const char *category, const char *type);
static void expect_row(const EsReaction *reaction);
static void find_row(const char *what, EsExpr *expr, void *arg);
static Jsonb *with_appends(Jsonb *definition, const EsReaction *reaction);
static void cancel_jobs(const char *name);

/* create_reaction(name, category, type, condition, action, run_at, key, settings): its version */
Datum
eventsource_create_reaction(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *what;
	Jsonb	   *definition;
	EsReaction *reaction;
	List	   *problems = NIL;
	const char *problem;

	PreventCommandIfReadOnly("eventsource.create_reaction()");
	for (int i = 0; i < 3; i++)
		if (PG_ARGISNULL(i))
			refuse_null(i == 0 ? "name" : i == 1 ? "category" : "type");
	if (PG_ARGISNULL(4))
		refuse_null("action");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	what = psprintf("definition of reaction \"%s\"", name);
	problem = name_problem(name);
	if (problem != NULL)
		es_machine_refuse("name of a reaction", list_make1(pstrdup(problem)));

	es_rebuild_lock_reading(false);
	es_define_lock(ES_REACTION_KIND, "");
	es_define_lock("category", text_to_cstring(PG_GETARG_TEXT_PP(1)));
	expect_owner(es_config_read(ES_REACTION_KIND, name, 0));
	definition = proposal_to_jsonb(fcinfo);
	reaction = es_reaction_compile(name, definition, GetUserId(), &problems);
	if (reaction == NULL)
		es_machine_refuse(what, problems);
	es_rights_expect_read(reaction->category);
	expect_row(reaction);
	problems = check_reaction(reaction);
	if (problems != NIL)
		es_machine_refuse(what, problems);
	definition = with_appends(definition, reaction);
	PG_RETURN_INT64(es_define(ES_REACTION_KIND, name, ES_REACTION_DEFINED, definition));
}

/* drop_reaction(name, cancel_jobs) */
Datum
eventsource_drop_reaction(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	JsonbParseState *state = NULL;
	const EsDefinition *stored;

	PreventCommandIfReadOnly("eventsource.drop_reaction()");
	es_define_lock(ES_REACTION_KIND, "");
	stored = es_config_read(ES_REACTION_KIND, name, 0);
	if (stored == NULL || strcmp(stored->type, ES_REACTION_DEFINED) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no reaction \"%s\"", name),
				 errdetail("It was never defined, or was dropped."),
				 errhint("eventsource.reactions lists them; create_reaction makes one.")));
	expect_owner(stored);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) es_define(ES_REACTION_KIND, name, ES_REACTION_DROPPED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	if (PG_GETARG_BOOL(1))
		cancel_jobs(name);
	PG_RETURN_VOID();
}

/* What the view eventsource.reactions shows. */
Datum
eventsource_reaction_definitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_config_list(ES_REACTION_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		Datum		values[4];
		bool		nulls[4] = {false};

		if (strcmp(definition->type, ES_REACTION_DEFINED) != 0)
			continue;
		values[0] = CStringGetTextDatum(definition->name);
		values[1] = Int64GetDatum(definition->version);
		values[2] = Int64GetDatum(definition->position);
		values[3] = JsonbPGetDatum(definition->data);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- the arguments ---- */

static Jsonb *
proposal_to_jsonb(FunctionCallInfo fcinfo)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_argument(&state, fcinfo, 1, "category");
	push_argument(&state, fcinfo, 2, "type");
	push_argument(&state, fcinfo, 3, "condition");
	es_json_push_jsonb(&state, "action", PG_GETARG_JSONB_P(4));
	push_argument(&state, fcinfo, 5, "run_at");
	push_argument(&state, fcinfo, 6, "key");
	if (!PG_ARGISNULL(7))
		es_json_push_jsonb(&state, "settings", PG_GETARG_JSONB_P(7));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
push_argument(JsonbParseState **state, FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (!PG_ARGISNULL(arg))
		es_json_push_string(state, name, text_to_cstring(PG_GETARG_TEXT_PP(arg)));
}

static void
refuse_null(const char *argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", argument),
			 errdetail("A reaction needs a name, a category, a type and an action."),
			 errhint("SELECT eventsource.create_reaction('welcome', 'user', 'signed_up', "
					 "action => '{\"enqueue\": \"mail\"}').")));
}

/* It is part of a stream's name, of actors and of keys. */
static const char *
name_problem(const char *name)
{
	size_t		length = strlen(name);

	if (length == 0 || length > ES_REACTION_MAX_NAME)
		return psprintf("must have 1 to %d bytes", ES_REACTION_MAX_NAME);
	for (const char *byte = name; *byte != '\0'; byte++)
		if ((unsigned char) *byte < ' ' || *byte == 0x7f || *byte == ':')
			return "must not contain control characters or colons";
	return NULL;
}

/* ---- checks ---- */

/* Everything that only the whole of it shows; rights raise errors of their own. */
static List *
check_reaction(const EsReaction *reaction)
{
	List	   *problems = check_type("type", reaction->category, reaction->type);
	char	   *cycle;

	for (int i = 0; i < reaction->n_steps; i++)
	{
		problems = list_concat(problems, check_action(reaction, &reaction->step[i].action));
		if (reaction->step[i].compensate != NULL)
			problems = list_concat(problems, check_action(reaction, reaction->step[i].compensate));
	}
	problems = list_concat(problems, es_personal_reaction_problems(reaction, NULL));
	cycle = reaction->is_allowed_cycle ? NULL : es_reaction_cycle(reaction);
	if (cycle != NULL)
		problems = lappend(problems, psprintf("action: what it appends leads back to it: %s; if conditions end "
											  "that, say settings {\"allow_cycle\": true}", cycle));
	return problems;
}

static List *
check_action(const EsReaction *reaction, const EsReactionAction *action)
{
	List	   *problems = NIL;
	ListCell   *lc;

	switch (action->act)
	{
		case ES_REACT_ENQUEUE:
			es_react_expect_sender(reaction->definer, action->queue);
			break;
		case ES_REACT_APPEND:
			if (action->category == NULL)
				break;
			if (action->category[0] == '$' || action->category[0] == '\0')
				return list_make1(psprintf("stream: \"%s\" is not a category to append to", action->category));
			es_react_expect_writer(reaction->definer, cstring_to_text(psprintf("%s-", action->category)));
			problems = check_type("append", action->category, text_to_cstring(action->type));
			break;
		case ES_REACT_CANCEL:
			foreach(lc, action->reactions)
				problems = list_concat(problems, check_cancel(reaction, lfirst(lc)));
			break;
		case ES_REACT_CALL:
			(void) es_call_find(&es_call_reaction, action->function, reaction->definer);
			break;
	}
	return problems;
}

/* What others have scheduled is theirs. */
static List *
check_cancel(const EsReaction *reaction, const char *name)
{
	const EsDefinition *stored;

	if (strcmp(name, reaction->name) == 0)
		return NIL;
	stored = es_config_read(ES_REACTION_KIND, name, 0);
	if (stored == NULL)
		return list_make1(psprintf("cancel: there is no reaction \"%s\"", name));
	expect_owner(stored);
	if (strcmp(stored->type, ES_REACTION_DEFINED) == 0 && es_json_find(&stored->data->root, "key", NULL) == NULL)
		return list_make1(psprintf("cancel: reaction \"%s\" has no key, and what is cancelled is what has the same key; "
								   "define it with a key first", name));
	return NIL;
}

/* Of what is in force, or nothing. */
static void
expect_owner(const EsDefinition *stored)
{
	if (stored != NULL && strcmp(stored->type, ES_REACTION_DEFINED) == 0)
		es_react_expect_owner(stored->name, stored->owner, GetUserId());
}

/* One that a machine does not know never comes. */
static List *
check_type(const char *what, const char *category, const char *type)
{
	EsMachine  *machine = es_category_get(category)->machine;

	if (machine == NULL || strcmp(type, ES_REACTION_ANY_TYPE) == 0 ||
		es_machine_knows_type(machine, cstring_to_text(type)))
		return NIL;
	return list_make1(psprintf("%s: the state machine of category \"%s\" does not know type \"%s\"",
							   what, category, type));
}

/* What is made of the rows of a table leaves it. */
static void
expect_row(const EsReaction *reaction)
{
	RowUse		use = {false};

	es_reaction_each_expr(reaction, find_row, &use);
	if (!use.found || pg_class_aclcheck(reaction->context, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", get_rel_name(reaction->context)),
			 errdetail("Expressions of the reaction look at its rows, as \"row\"."),
			 errhint("GRANT SELECT on it.")));
}

static void
find_row(const char *what, EsExpr *expr, void *arg)
{
	bool		uses_item;

	if (!bms_is_empty(es_pii_row_columns(expr, &uses_item)))
		((RowUse *) arg)->found = true;
}

/* ---- writing ---- */

/* For who looks for ways round later. */
static Jsonb *
with_appends(Jsonb *definition, const EsReaction *reaction)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_members(&state, definition);
	es_json_push_jsonb(&state, ES_REACTION_APPENDS, es_reaction_appends(reaction));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * What it has scheduled, but for what makes up for steps that are done; what others have claimed,
 * they finish.
 */
static void
cancel_jobs(const char *name)
{
	static EsOwnSql cancel = {
		.text = "UPDATE eventsource.job AS j SET state = 'cancelled', waits = false,"
		" finished_at = clock_timestamp(), finish_reason = $2"
		" WHERE reaction = $1 AND step > 0 AND state IN ('scheduled', 'available')"
		" RETURNING " ES_JOB_COLUMNS,
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}
	};
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum("the reaction was dropped")};
	List	   *jobs = NIL;

	(void) es_own_sql(&cancel, values, NULL, es_job_collect, &jobs);
	es_job_finished(jobs);
}
