/*
 * define_rules.c
 *		SQL entries that define state machines and categories.
 *
 * A machine and the categories bound to it must fit each other whoever changes
 * which first, so both entries lock the machine's definition (its stream) until
 * the transaction ends before they look at the other side.  So do a category and the
 * reactions that see the rows of its context, by the lock of the category's definition.
 */
#include "postgres.h"

#include "access/table.h"
#include "append/define.h"
#include "append/personal_rules.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/guarded.h"
#include "log/json.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/rebuild.h"
#include "project/projection.h"
#include "rules/event_type.h"
#include "rules/reaction.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* A subject to be compiled, for es_expr_problem(). */
typedef struct SubjectTask
{
	const char *source;
} SubjectTask;

PG_FUNCTION_INFO_V1(eventsource_create_state_machine);
PG_FUNCTION_INFO_V1(eventsource_create_category);

static List *check_bound_categories(const char *name, Jsonb *definition);
static void warn_of_lost_states(const char *name, Jsonb *definition);
static void check_category_name(const text *name);
static char *context_name(Oid relid);
static void lock_context(Oid relid);
static char *check_context(const char *category, Oid relid);
static void warn_of_loss(const char *name, const EsCategoryText *category);
static void warn_of_unregistered(const char *name);
static char *arguments(const EsCategoryText *category);
static Jsonb *read_machine(const char *name);
static List *check_category(const char *name, const EsCategoryText *category);
static void compile_subject(void *arg);
static TupleDesc context_columns(Oid relid);
static void lock_machine(const char *name);
static Jsonb *wrap_definition(const char *name, Jsonb *definition);
static char *get_text(FunctionCallInfo fcinfo, int arg);
static void refuse_null(const char *argument, const char *example);

/* create_state_machine(name text, definition jsonb): its version */
Datum
eventsource_create_state_machine(PG_FUNCTION_ARGS)
{
	char	   *name = get_text(fcinfo, 0);
	Jsonb	   *definition;
	char	   *problem;
	List	   *problems;

	if (name == NULL || PG_ARGISNULL(1))
		refuse_null(name == NULL ? "name" : "definition",
					"SELECT eventsource.create_state_machine('door', "
					"'{\"initial\": \"OPEN\", \"states\": {...}}').");
	definition = PG_GETARG_JSONB_P(1);
	problem = es_machine_name_problem(name, strlen(name));
	if (problem != NULL)
		es_machine_refuse("name of a state machine", list_make1(problem));

	es_rebuild_lock_reading(false);
	lock_machine(name);
	problems = es_machine_check(name, definition, false, NULL);
	if (problems == NIL)
		problems = check_bound_categories(name, definition);
	if (problems != NIL)
		es_machine_refuse(psprintf("definition of state machine \"%s\"", name), problems);
	warn_of_lost_states(name, definition);
	PG_RETURN_INT64(es_define("state_machine", name, "state_machine_defined",
							  wrap_definition(name, definition)));
}

/* create_category(name, state_machine, context, strict, subject): its version */
Datum
eventsource_create_category(PG_FUNCTION_ARGS)
{
	char	   *name = get_text(fcinfo, 0);
	EsCategoryText category = {
		.state_machine = get_text(fcinfo, 1),
		.strict = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3),
		.subject = get_text(fcinfo, 4)
	};
	List	   *problems;
	int64		version;

	if (name == NULL)
		refuse_null("name", "SELECT eventsource.create_category('lead', state_machine => 'lead').");
	check_category_name(PG_GETARG_TEXT_PP(0));
	es_rebuild_lock_reading(false);
	if (category.state_machine != NULL)
		lock_machine(category.state_machine);
	if (!PG_ARGISNULL(2))
		category.context = check_context(name, PG_GETARG_OID(2));
	problems = check_category(name, &category);
	if (problems != NIL)
		es_machine_refuse(psprintf("definition of category \"%s\"", name), problems);
	es_define_lock("category", name);
	warn_of_loss(name, &category);
	version = es_define("category", name, "category_defined", es_category_write(name, &category));
	problems = es_reaction_problems(name);
	if (problems != NIL)
		es_machine_refuse(psprintf("definition of category \"%s\"", name), problems);
	if (category.strict)
		warn_of_unregistered(name);
	PG_RETURN_INT64(version);
}

/* Would every category that is bound to the machine still work? */
static List *
check_bound_categories(const char *name, Jsonb *definition)
{
	List	   *problems = NIL;
	ListCell   *lc;
	ListCell   *line;

	foreach(lc, es_config_list("category"))
	{
		EsDefinition *stored = lfirst(lc);
		EsCategoryText category;
		TupleDesc	row = NULL;
		List	   *lines;

		CHECK_FOR_INTERRUPTS();
		es_category_read(stored->data, &category);
		if (category.state_machine == NULL || strcmp(category.state_machine, name) != 0)
			continue;
		if (category.context != NULL)
			row = context_columns(es_guarded_relid(category.context));
		lines = es_machine_check(name, definition, true, row);
		if (lines == NIL)
			lines = es_personal_context_problems(&category, definition, NULL);
		foreach(line, lines)
			problems = lappend(problems, psprintf("category %s: %s", stored->name, (char *) lfirst(line)));
	}
	return problems;
}

/* A stream that stands in a state which is gone can only be moved by a new definition. */
static void
warn_of_lost_states(const char *name, Jsonb *definition)
{
	EsDefinition *stored = es_config_read("state_machine", name, 0);
	char	   *lost;

	if (stored == NULL)
		return;
	lost = es_machine_lost_states(es_machine_definition(name, stored->data), definition);
	if (lost != NULL)
		ereport(WARNING,
				(errmsg("state machine \"%s\" no longer has all the states of its version " INT64_FORMAT,
						name, stored->version),
				 errdetail("Missing: %s.", lost),
				 errhint("Streams that stand in them take no more events until the states are back.")));
}

static void
check_category_name(const text *name)
{
	const char *bytes = VARDATA_ANY(name);
	int			length = VARSIZE_ANY_EXHDR(name);
	char	   *problem = es_machine_name_problem(bytes, length);

	if (problem == NULL && memchr(bytes, '-', length) != NULL)
		problem = pstrdup("a category's name must not contain a hyphen, "
						  "which separates it from the key in the names of its streams");
	if (problem == NULL && bytes[0] == '$')
		problem = pstrdup("names that begin with $ are reserved");
	if (problem != NULL)
		es_machine_refuse("name of a category", list_make1(problem));
}

/* As messages tell it. */
static char *
context_name(Oid relid)
{
	char	   *table = get_rel_name(relid);

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errdetail("The context of a category is a projection's table."),
				 errhint("Name it as in 'lead.leads'.")));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), table);
}

/* It stays what it is to the end of the transaction; the log first, as appends do. */
static void
lock_context(Oid relid)
{
	LockRelationOid(es_catalog_oid(ES_REL_EVENT), RowExclusiveLock);
	LockRelationOid(relid, RowExclusiveLock);
}

/* The name of the projection, which its table may have no more. */
static char *
check_context(const char *category, Oid relid)
{
	char	   *context = context_name(relid);
	const EsProjection *projection;
	const char *problem = NULL;
	ListCell   *lc;

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", get_rel_name(relid)),
				 errdetail("The guards of category \"%s\" would look at its rows.", category),
				 errhint("GRANT SELECT on it.")));
	if (es_projection_get(relid) != NULL)
		lock_context(relid);
	projection = es_projection_get(relid);
	if (projection == NULL)
		problem = "It is not a projection.";
	else if (projection->stream_row == NULL)
		problem = "Its rows do not each belong to one stream.";
	else if (projection->is_async)
		problem = "It is async: its rows come later than the events.";
	else
	{
		problem = "It does not fold the events of this category.";
		foreach(lc, projection->categories)
		{
			if (strcmp(lfirst(lc), category) == 0)
				problem = NULL;
		}
	}
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be the context of category \"%s\"", context, category),
				 errdetail_internal("%s", problem),
				 errhint("A context is an inline projection of the category, keyed by the stream: "
						 "make it with eventsource.create_projection() first.")));
	return pstrdup(projection->name);
}

/* Everything that only the whole of the category's definition shows. */
static List *
check_category(const char *name, const EsCategoryText *category)
{
	List	   *problems = NIL;
	SubjectTask task = {category->subject};
	char	   *problem;

	if (category->state_machine != NULL)
	{
		TupleDesc	row = category->context == NULL ? NULL
			: context_columns(es_guarded_relid(category->context));

		Jsonb	   *machine = read_machine(category->state_machine);

		problems = es_machine_check(category->state_machine, machine, true, row);
		if (problems == NIL)
			problems = es_personal_context_problems(category, machine, NULL);
	}
	if (category->subject != NULL && (problem = es_expr_problem(compile_subject, &task)) != NULL)
		problems = lappend(problems, psprintf("subject: %s", problem));
	else if (category->subject != NULL)
		problems = list_concat(problems, es_personal_subject_problems(name, category->subject));
	return problems;
}

/* What a new declaration leaves out is taken away, which is seldom what was meant. */
static void
warn_of_loss(const char *name, const EsCategoryText *category)
{
	EsDefinition *stored = es_config_read("category", name, 0);
	EsCategoryText lost;
	EsCategoryText both = *category;
	StringInfoData what;

	if (stored == NULL)
		return;
	es_category_read(stored->data, &lost);
	initStringInfo(&what);
	if (category->state_machine != NULL)
		lost.state_machine = NULL;
	else if (lost.state_machine != NULL)
	{
		both.state_machine = lost.state_machine;
		appendStringInfoString(&what, ", state machine");
	}
	/* A context whose table is gone is no loss. */
	if (category->context != NULL ||
		(lost.context != NULL && !OidIsValid(es_guarded_relid(lost.context))))
		lost.context = NULL;
	else if (lost.context != NULL)
	{
		both.context = lost.context;
		appendStringInfoString(&what, ", context");
	}
	lost.strict = lost.strict && !category->strict;
	if (lost.strict)
	{
		both.strict = true;
		appendStringInfoString(&what, ", strictness");
	}
	if (category->subject != NULL)
		lost.subject = NULL;
	else if (lost.subject != NULL)
	{
		both.subject = lost.subject;
		appendStringInfoString(&what, ", subject");
	}
	if (what.len > 0)
		ereport(WARNING,
				(errmsg("category \"%s\" loses its %s", name, what.data + strlen(", ")),
				 errdetail("What a declaration leaves out is taken away; before, there was%s.",
						   arguments(&lost) + strlen(",")),
				 errhint("To keep it: SELECT eventsource.create_category(%s%s).",
						 quote_literal_cstr(name), arguments(&both))));
}

/* What its machine expects and a strict category refuses. */
static void
warn_of_unregistered(const char *name)
{
	EsMachine  *machine = es_category_get(name)->machine;
	text	   *category = cstring_to_text(name);
	StringInfoData types;
	ListCell   *lc;

	if (machine == NULL)
		return;
	initStringInfo(&types);
	foreach(lc, es_machine_types(machine))
		if (es_event_type_in_force(es_event_type_get(category, lfirst(lc))) == NULL)
		appendStringInfo(&types, ", \"%s\"", text_to_cstring(lfirst(lc)));
	if (types.len > 0)
		ereport(WARNING,
				(errmsg("category \"%s\" is strict, but not all event types of its state machine are registered", name),
				 errdetail("Appends of these are refused: %s.", types.data + strlen(", ")),
				 errhint("Register them with eventsource.register_event_type().")));
}

/* As create_category() takes them, each after a comma. */
static char *
arguments(const EsCategoryText *category)
{
	StringInfoData list;

	initStringInfo(&list);
	if (category->state_machine != NULL)
		appendStringInfo(&list, ", state_machine => %s", quote_literal_cstr(category->state_machine));
	if (category->context != NULL)
		appendStringInfo(&list, ", context => %s",
						 quote_literal_cstr(context_name(es_guarded_relid(category->context))));
	if (category->strict)
		appendStringInfoString(&list, ", strict => true");
	if (category->subject != NULL)
		appendStringInfo(&list, ", subject => %s", quote_literal_cstr(category->subject));
	return list.data;
}

static Jsonb *
read_machine(const char *name)
{
	EsDefinition *definition = es_config_read("state_machine", name, 0);

	if (definition == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("state machine \"%s\" does not exist", name),
				 errdetail("Nothing of this name was defined in this database."),
				 errhint("Define it first with eventsource.create_state_machine().")));
	return es_machine_definition(name, definition->data);
}

static void
compile_subject(void *arg)
{
	EsExprScope scope = {.owner = GetUserId()};

	(void) es_expr_compile(&scope, ((SubjectTask *) arg)->source, TEXTOID, -1);
}

/* Columns of a context's table; NULL if it is gone. */
static TupleDesc
context_columns(Oid relid)
{
	Relation	rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;
	TupleDesc	row;

	if (rel == NULL)
		return NULL;
	row = CreateTupleDescCopy(RelationGetDescr(rel));
	table_close(rel, AccessShareLock);
	return row;
}

static void
lock_machine(const char *name)
{
	es_define_lock("state_machine", name);
}

/*
 * What is stored: the definition as it was given, under its name, and whether a
 * version before it had timeouts, which may wait for streams.
 */
static Jsonb *
wrap_definition(const char *name, Jsonb *definition)
{
	EsDefinition *before = es_config_read("state_machine", name, 0);
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "name", name);
	es_json_push_jsonb(&state, "definition", definition);
	if (before != NULL && es_machine_stored_timeouts(before->data))
		es_json_push_bool(&state, "had_timeouts", true);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static char *
get_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static void
refuse_null(const char *argument, const char *example)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", argument),
			 errdetail("A definition needs a name and a content."),
			 errhint("For example: %s", example)));
}
