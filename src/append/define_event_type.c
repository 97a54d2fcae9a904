/*
 * define_event_type.c
 *		register_event_type: versions of event types, with their schemas; and
 *		withdraw_event_type, which ends them for new events.
 *
 * A version is its schema, and never changes: the same schema again is the same
 * version, whose description and the like may be said anew; another schema is a new
 * version, which must be compatible with the earlier ones as it says itself.
 *
 * Locks the definition's stream, so that of two who register a type one waits until
 * the other's transaction has ended; nothing that appends of events wait for.  Who says
 * what is personal locks how events are read before (project/rebuild.h), and so do all
 * whose definitions read events: whoever comes second sees the first.
 */
#include "postgres.h"

#include "append/define.h"
#include "append/personal_rules.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "log/config.h"
#include "log/json.h"
#include "miscadmin.h"
#include "project/rebuild.h"
#include "rules/category_list.h"
#include "rules/event_type.h"
#include "rules/json_schema_compat.h"
#include "rules/machine.h"
#include "rules/pii_use.h"
#include "rules/upcast.h"
#include "utils/builtins.h"

#define MAX_DESCRIPTION	10000	/* bytes */

typedef struct Proposal
{
	char	   *type;
	char	   *category;		/* NULL: all */
	bool		has_number;
	EsTypeVersion version;
} Proposal;

PG_FUNCTION_INFO_V1(eventsource_register_event_type);
PG_FUNCTION_INFO_V1(eventsource_withdraw_event_type);

static void read_proposal(FunctionCallInfo fcinfo, Proposal *proposal);
static void expect_type(const char *type, const char *example);
static char *get_text(FunctionCallInfo fcinfo, int arg);
static List *check_proposal(const Proposal *proposal);
static List *check_schema(const EsTypeVersion *version);
static void compile_subject(void *arg);
static List *check_subject(const char *subject, const EsPii *pii);
static void inherit_pii(Proposal *proposal, const EsEventType *stored);
static const EsTypeVersion *find_version(const Proposal *proposal, const EsEventType *stored);
static bool same_words(const EsTypeVersion *a, const EsTypeVersion *b);
static bool same_string(const char *a, const char *b);
static bool same_schema(Jsonb *a, Jsonb *b);
static List *check_number(const Proposal *proposal, const EsEventType *stored);
static List *check_compatibility(const Proposal *proposal, const EsEventType *stored);
static EsSchema *compile_schema(const EsTypeVersion *version);
static void warn_of_lost_schema(const Proposal *proposal, const EsEventType *stored);
static void check_readers(const Proposal *proposal);
static const char *title(const Proposal *proposal);

/*
 * register_event_type(type, category, schema, version, compatibility, subject,
 * description, phase, pii): the version
 */
Datum
eventsource_register_event_type(PG_FUNCTION_ARGS)
{
	Proposal	proposal;
	EsTypeVersion *version = &proposal.version;
	char	   *name;
	EsEventType *stored;
	const EsTypeVersion *same;
	char	   *problem;
	List	   *problems;

	PreventCommandIfReadOnly("eventsource.register_event_type()");
	read_proposal(fcinfo, &proposal);
	problems = check_proposal(&proposal);
	if (problems != NIL)
		es_machine_refuse(title(&proposal), problems);

	name = es_event_type_definition_name(proposal.category, proposal.type);
	es_rebuild_lock_reading(proposal.version.pii != NULL);
	es_define_lock(ES_EVENT_TYPE_KIND, name);
	stored = es_event_type_read(proposal.category, proposal.type);
	inherit_pii(&proposal, stored);
	/* Said again, an expression whose owner is gone has a new one. */
	if (stored == NULL &&
		(problem = es_upcast_registration_problem(proposal.category, proposal.type)) != NULL)
		es_machine_refuse(title(&proposal), list_make1(problem));
	same = stored == NULL ? NULL : find_version(&proposal, stored);
	if (same != NULL)
	{
		version->number = same->number;
		version->asserts_formats = same->asserts_formats;
		if (same_words(version, same) && !stored->is_withdrawn &&
			(version->subject == NULL || OidIsValid(stored->owner)))
			PG_RETURN_INT32(same->number);
	}
	else if (stored != NULL)
	{
		if (!proposal.has_number)
			version->number = es_event_type_latest(stored)->number + 1;
		problems = check_number(&proposal, stored);
	}
	if (problems == NIL && stored != NULL &&
		(same == NULL || !same_string(version->compatibility, same->compatibility)))
		problems = check_compatibility(&proposal, stored);
	if (problems != NIL)
		es_machine_refuse(title(&proposal), problems);
	if (stored != NULL && same == NULL)
		warn_of_lost_schema(&proposal, stored);
	es_define(ES_EVENT_TYPE_KIND, name, ES_EVENT_TYPE_REGISTERED,
			  es_event_type_write(proposal.category, proposal.type, version));
	if (version->pii != NULL && (same == NULL || !same_schema(version->pii, same->pii)))
		check_readers(&proposal);
	PG_RETURN_INT32(version->number);
}

/*
 * withdraw_event_type(type, category): what is stored stays of its versions, and what
 * is read of it does not change, so that only the type's name is locked
 */
Datum
eventsource_withdraw_event_type(PG_FUNCTION_ARGS)
{
	char	   *type = get_text(fcinfo, 0);
	char	   *category = get_text(fcinfo, 1);
	char	   *name;
	EsEventType *stored;
	JsonbParseState *state = NULL;

	PreventCommandIfReadOnly("eventsource.withdraw_event_type()");
	expect_type(type, "SELECT eventsource.withdraw_event_type('note_added')");
	name = es_event_type_definition_name(category, type);
	es_define_lock(ES_EVENT_TYPE_KIND, name);
	stored = es_event_type_read(category, type);
	if (stored == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("event type \"%s\" is not registered", type),
				 category == NULL ? errdetail("Nobody registered it for all categories.") :
				 errdetail("Nobody registered it for category \"%s\".", category),
				 errhint("The view eventsource.event_types lists what is registered, and for which category.")));
	if (stored->is_withdrawn)
	{
		ereport(NOTICE, (errmsg("event type \"%s\" is withdrawn already", type)));
		PG_RETURN_VOID();
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "type", type);
	es_json_push_string(&state, "category", category);
	(void) es_define(ES_EVENT_TYPE_KIND, name, ES_EVENT_TYPE_WITHDRAWN,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* ---- the arguments ---- */

static void
read_proposal(FunctionCallInfo fcinfo, Proposal *proposal)
{
	EsTypeVersion *version = &proposal->version;

	memset(proposal, 0, sizeof(*proposal));
	proposal->type = get_text(fcinfo, 0);
	proposal->category = get_text(fcinfo, 1);
	version->schema = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	version->asserts_formats = es_guc_assert_formats;
	proposal->has_number = !PG_ARGISNULL(3);
	version->number = proposal->has_number ? PG_GETARG_INT32(3) : 1;
	version->compatibility = get_text(fcinfo, 4);
	version->subject = get_text(fcinfo, 5);
	version->description = get_text(fcinfo, 6);
	version->phase = get_text(fcinfo, 7);
	version->pii = PG_ARGISNULL(8) ? NULL : PG_GETARG_JSONB_P(8);
	if (version->compatibility == NULL)
		version->compatibility = "backward";
	expect_type(proposal->type, "SELECT eventsource.register_event_type('note_added', schema => '{\"type\": \"object\"}')");
}

static void
expect_type(const char *type, const char *example)
{
	if (type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("type must not be null"),
				 errdetail("A registration is of an event type."),
				 errhint("For example: %s.", example)));
}

static char *
get_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* Everything that is wrong with the arguments by themselves. */
static List *
check_proposal(const Proposal *proposal)
{
	static const char *const modes[] = {
		"none", "backward", "forward", "full", "backward_transitive", "forward_transitive", "full_transitive"
	};
	const EsTypeVersion *version = &proposal->version;
	List	   *problems = NIL;
	const EsPii *pii;
	List	   *pii_problems = NIL;
	ListCell   *lc;
	char	   *problem;
	bool		is_mode = false;

	if (proposal->type[0] == '\0' || strlen(proposal->type) > ES_MAX_WORD)
		problems = lappend(problems, psprintf("type: must have 1 to %d bytes", ES_MAX_WORD));
	if (proposal->category != NULL &&
		(problem = es_category_name_problem(proposal->category, strlen(proposal->category))) != NULL)
		problems = lappend(problems, psprintf("category: %s", problem));
	if (version->number < 1 || version->number > ES_MAX_SCHEMA_VERSION)
		problems = lappend(problems, psprintf("version: must be between 1 and %d", ES_MAX_SCHEMA_VERSION));
	for (int i = 0; i < (int) lengthof(modes); i++)
		is_mode = is_mode || strcmp(modes[i], version->compatibility) == 0;
	if (!is_mode)
		problems = lappend(problems, pstrdup("compatibility: must be none, backward, forward, full, "
											 "backward_transitive, forward_transitive or full_transitive"));
	if (version->schema != NULL)
		problems = list_concat(problems, check_schema(version));
	if (version->subject != NULL &&
		(problem = es_expr_problem(compile_subject, version->subject)) != NULL)
		problems = lappend(problems, psprintf("subject: %s", problem));
	if (version->description != NULL && strlen(version->description) > MAX_DESCRIPTION)
		problems = lappend(problems, psprintf("description: has more than %d bytes", MAX_DESCRIPTION));
	if (version->phase != NULL && (version->phase[0] == '\0' || strlen(version->phase) > ES_MAX_WORD))
		problems = lappend(problems, psprintf("phase: must have 1 to %d bytes", ES_MAX_WORD));
	pii = es_pii_parse(version->pii, &pii_problems);
	foreach(lc, pii_problems)
		problems = lappend(problems, psprintf("pii: %s", (char *) lfirst(lc)));
	if (pii != NULL && version->subject != NULL && problems == NIL)
		problems = check_subject(version->subject, pii);
	return problems;
}

static List *
check_schema(const EsTypeVersion *version)
{
	List	   *problems = NIL;
	List	   *lines = NIL;
	EsSchema   *program = es_schema_compile(version->schema, version->asserts_formats, &problems);
	ListCell   *lc;

	if (program != NULL)
		es_schema_free(program);
	else
		foreach(lc, problems)
			lines = lappend(lines, psprintf("schema: %s", (char *) lfirst(lc)));
	return lines;
}

static void
compile_subject(void *arg)
{
	EsExprScope scope = {.owner = GetUserId()};

	(void) es_expr_compile(&scope, arg, TEXTOID, -1);
}

/* It is stored beside the event, and stays. */
static List *
check_subject(const char *subject, const EsPii *pii)
{
	EsExprScope scope = {.owner = GetUserId()};
	EsPiiUse	use = {0};

	es_pii_find_use(es_expr_compile(&scope, subject, TEXTOID, -1), pii, &use);
	return use.names == NULL ? NIL :
		list_make1(psprintf("subject: cannot see personal field \"%s\"; use an identifier that stays",
							use.names));
}

/* ---- beside what is registered ---- */

/*
 * Who says nothing about personal fields leaves them personal: those of the version
 * that he names, else of the latest.
 */
static void
inherit_pii(Proposal *proposal, const EsEventType *stored)
{
	EsTypeVersion *version = &proposal->version;
	const EsTypeVersion *before = NULL;

	if (version->pii != NULL || stored == NULL)
		return;
	if (proposal->has_number)
		before = es_event_type_version(stored, version->number);
	if (before == NULL)
		before = es_event_type_latest(stored);
	version->pii = before->pii;
}

/* The version that the proposal is about, if it has the same schema. */
static const EsTypeVersion *
find_version(const Proposal *proposal, const EsEventType *stored)
{
	const EsTypeVersion *version = proposal->has_number ?
		es_event_type_version(stored, proposal->version.number) : es_event_type_latest(stored);

	return version != NULL && same_schema(version->schema, proposal->version.schema) ? version : NULL;
}

static bool
same_words(const EsTypeVersion *a, const EsTypeVersion *b)
{
	return same_string(a->compatibility, b->compatibility) && same_string(a->subject, b->subject) &&
		same_string(a->description, b->description) && same_string(a->phase, b->phase) &&
		same_schema(a->pii, b->pii);
}

static bool
same_string(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* jsonb is in one form, but for the scale of numbers. */
static bool
same_schema(Jsonb *a, Jsonb *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

/* Is the number of a new version, whose schema is another, a good one? */
static List *
check_number(const Proposal *proposal, const EsEventType *stored)
{
	int32		number = proposal->version.number;
	int32		latest = es_event_type_latest(stored)->number;

	if (es_event_type_version(stored, number) != NULL)
		return list_make1(psprintf("version: %d is registered with another schema; "
								   "a version never changes, leave version out for a new one", number));
	if (number < latest)
		return list_make1(psprintf("version: must be greater than the latest, which is %d", latest));
	if (number > ES_MAX_SCHEMA_VERSION)
		return list_make1(psprintf("version: there are no more than %d", ES_MAX_SCHEMA_VERSION));
	return NIL;
}

/* With the version before, or with all before. */
static List *
check_compatibility(const Proposal *proposal, const EsEventType *stored)
{
	const EsTypeVersion *version = &proposal->version;
	EsCompatMode mode = es_compat_mode(version->compatibility);
	EsSchema   *newer;
	List	   *problems = NIL;
	int			before = stored->n_versions;

	while (before > 0 && stored->version[before - 1].number >= version->number)
		before--;
	if (mode == ES_COMPAT_NONE || before == 0)
		return NIL;
	newer = compile_schema(version);
	for (int i = es_compat_mode_is_transitive(mode) ? 0 : before - 1; i < before; i++)
	{
		EsSchema   *older = compile_schema(&stored->version[i]);
		ListCell   *lc;

		CHECK_FOR_INTERRUPTS();
		foreach(lc, es_schema_compat_problems(older, newer, mode))
			problems = lappend(problems, psprintf("not %s compatible with version %d: %s",
												  version->compatibility, stored->version[i].number,
												  (char *) lfirst(lc)));
		if (older != NULL)
			es_schema_free(older);
	}
	if (newer != NULL)
		es_schema_free(newer);
	return problems;
}

/* NULL where there is none. */
static EsSchema *
compile_schema(const EsTypeVersion *version)
{
	List	   *problems = NIL;
	EsSchema   *schema;

	if (version->schema == NULL)
		return NULL;
	schema = es_schema_compile(version->schema, version->asserts_formats, &problems);
	if (schema == NULL)
		es_schema_raise(problems);
	return schema;
}

/* Who says something else about a type may not know that the schema goes by the way. */
static void
warn_of_lost_schema(const Proposal *proposal, const EsEventType *stored)
{
	const EsTypeVersion *latest = es_event_type_latest(stored);

	if (proposal->version.schema == NULL && latest->schema != NULL)
		ereport(WARNING,
				(errmsg("%s takes any data from version %d on", title(proposal), proposal->version.number),
				 errdetail("Version %d has a schema; this call gave none.", latest->number),
				 errhint("Give the schema each time; the same one again makes no new version.")));
}

/* Nobody may decide by what has just become personal, or break once it is erased. */
static void
check_readers(const Proposal *proposal)
{
	List	   *problems = es_personal_problems();

	if (problems != NIL)
		es_machine_refuse(title(proposal), problems);
}

static const char *
title(const Proposal *proposal)
{
	return psprintf("registration of event type \"%s\"", proposal->type);
}
