/*
 * define_upcaster.c
 *		create_upcaster and drop_upcaster.
 *
 * While one is created, this backend reads events as if it were in force already:
 * so it is tried on a sample of them, and projections with rules for the type are
 * folded by it.  It comes into force, for everybody, in one transaction with what
 * those projections become.
 *
 * Locks: nobody begins to define a projection meanwhile; the type's registration
 * and its chain stay as they are; then those of upcast_rebuild.c.
 */
#include "postgres.h"

#include "append/define.h"
#include "append/upcast_rebuild.h"
#include "errors.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "log/reading.h"
#include "project/rebuild.h"
#include "rules/category_list.h"
#include "rules/event_type.h"
#include "rules/known.h"
#include "rules/machine.h"
#include "rules/pii_use.h"
#include "rules/upcast.h"
#include "rules/upcast_verify.h"
#include "utils/builtins.h"
#include "utils/regproc.h"

typedef struct Proposal
{
	char	   *type;
	char	   *category;		/* NULL: the general scope */
	int32		from;
	int32		to;
	char	   *source;			/* NULL: it is to be dropped */
	const EsUpcastChain *chain; /* that there is now, or NULL */
} Proposal;

/* An expression to be compiled, for es_expr_problem(). */
typedef struct Task
{
	const char *source;
} Task;

PG_FUNCTION_INFO_V1(eventsource_create_upcaster);
PG_FUNCTION_INFO_V1(eventsource_drop_upcaster);

static void expect_trusted(const Proposal *proposal);
static void expect_argument(FunctionCallInfo fcinfo, int number, const char *name, const char *example);
static void lock_scope(Proposal *proposal);
static List *check_names(const Proposal *proposal);
static List *check_versions(const Proposal *proposal);
static int32 next_version(const Proposal *proposal, const EsEventType *type);
static List *check_chain(const Proposal *proposal);
static List *check_expression(const Proposal *proposal);
static void compile(void *arg);
static const EsUpcaster *same_step(const Proposal *proposal);
static void notice_unknown(const Proposal *proposal);
static int64 put_in_force(Proposal *proposal, const char *event_type, Jsonb *data);
static void describe_rebuild(void *arg);
static const char *title(const Proposal *proposal);

/* create_upcaster(type, from_version, to_version, expression, category): its version */
Datum
eventsource_create_upcaster(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"type", "from_version", "to_version", "expression"};
	Proposal	proposal = {0};
	const EsUpcaster *same;
	List	   *problems;

	PreventCommandIfReadOnly("eventsource.create_upcaster()");
	for (int i = 0; i < (int) lengthof(names); i++)
		expect_argument(fcinfo, i, names[i],
						"SELECT eventsource.create_upcaster('order_placed', 1, 2, 'event.data || ''{\"currency\": \"EUR\"}''').");
	proposal.type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	proposal.from = PG_GETARG_INT32(1);
	proposal.to = PG_GETARG_INT32(2);
	proposal.source = text_to_cstring(PG_GETARG_TEXT_PP(3));
	proposal.category = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));

	problems = check_names(&proposal);
	if (problems == NIL)
	{
		lock_scope(&proposal);
		problems = list_concat(check_versions(&proposal), check_chain(&proposal));
	}
	problems = list_concat(problems, check_expression(&proposal));
	if (problems != NIL)
		es_machine_refuse(title(&proposal), problems);
	expect_trusted(&proposal);
	same = same_step(&proposal);
	if (same != NULL)
		PG_RETURN_INT64(same->version);
	notice_unknown(&proposal);
	PG_RETURN_INT64(put_in_force(&proposal, ES_UPCASTER_CREATED,
								 es_upcast_write(proposal.category, proposal.type, proposal.from, proposal.to,
												 proposal.source)));
}

/* drop_upcaster(type, from_version, category) */
Datum
eventsource_drop_upcaster(PG_FUNCTION_ARGS)
{
	Proposal	proposal = {0};
	const EsUpcastChain *chain;
	const EsUpcaster *step;

	PreventCommandIfReadOnly("eventsource.drop_upcaster()");
	expect_argument(fcinfo, 0, "type", "SELECT eventsource.drop_upcaster('order_placed', 1).");
	expect_argument(fcinfo, 1, "from_version", "SELECT eventsource.drop_upcaster('order_placed', 1).");
	proposal.type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	proposal.from = PG_GETARG_INT32(1);
	proposal.category = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	lock_scope(&proposal);
	chain = proposal.chain;
	step = chain == NULL ? NULL : es_upcast_first(chain, proposal.from);
	if (step == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no upcaster of event type \"%s\" from version %d", proposal.type, proposal.from),
				 proposal.category == NULL ? errdetail("None was created for all categories.") :
				 errdetail("None was created for category \"%s\".", proposal.category),
				 errhint("The view eventsource.upcasters lists those there are.")));
	if (step != &chain->step[0] && step != &chain->step[chain->n_steps - 1])
		es_machine_refuse(title(&proposal),
						  list_make1(psprintf("from_version: versions before %d are read through it; drop the first "
											  "or the last of the chain", proposal.from)));
	proposal.to = step->to;
	(void) put_in_force(&proposal, ES_UPCASTER_DROPPED,
						es_upcast_write(proposal.category, proposal.type, proposal.from, step->to, NULL));
	PG_RETURN_VOID();
}

/* The expression sees personal fields as they are, and so may whoever makes it. */
static void
expect_trusted(const Proposal *proposal)
{
	List	   *categories = proposal->category == NULL ? NIL : list_make1(proposal->category);

	if (es_pii_declared(categories, proposal->type) == NIL || es_reading_is_trusted(GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("data of event type \"%s\" has personal fields", proposal->type),
			 errdetail("The upcaster would see them as they are, and you may not."),
			 errhint("Let the owner of the extension call eventsource.grant_personal_data() for your role.")));
}

static void
expect_argument(FunctionCallInfo fcinfo, int number, const char *name, const char *example)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name),
				 errdetail("An upcaster takes data of one version of an event type and makes data of the next."),
				 errhint("For example: %s", example)));
}

static void
lock_scope(Proposal *proposal)
{
	char	   *name = es_event_type_definition_name(proposal->category, proposal->type);

	es_rebuild_lock_reading(true);
	es_define_lock(ES_EVENT_TYPE_KIND, name);
	es_define_lock(ES_UPCASTER_KIND, name);
	proposal->chain = es_upcast_chain_of_scope(es_reading_begin(), proposal->category, proposal->type);
}

/* ---- what is wrong with it ---- */

static List *
check_names(const Proposal *proposal)
{
	List	   *problems = NIL;
	char	   *problem;

	if (proposal->type[0] == '\0' || strlen(proposal->type) > ES_MAX_WORD)
		problems = lappend(problems, psprintf("type: must have 1 to %d bytes", ES_MAX_WORD));
	if (proposal->category != NULL &&
		(problem = es_category_name_problem(proposal->category, strlen(proposal->category))) != NULL)
		problems = lappend(problems, psprintf("category: %s", problem));
	return problems;
}

/* Both must be there, one right after the other. */
static List *
check_versions(const Proposal *proposal)
{
	EsEventType *type = es_event_type_read(proposal->category, proposal->type);
	int32		next;

	if (type == NULL && proposal->category != NULL && es_event_type_read(NULL, proposal->type) != NULL)
		return list_make1(psprintf("category: events of category \"%s\" have the versions of the registration for "
								   "all categories; leave category out, or register the type for this one first",
								   proposal->category));
	if (proposal->from < 1 || proposal->to < 1 || proposal->from > ES_MAX_SCHEMA_VERSION ||
		proposal->to > ES_MAX_SCHEMA_VERSION)
		return list_make1(psprintf("versions must be between 1 and %d", ES_MAX_SCHEMA_VERSION));
	if (proposal->to <= proposal->from)
		return list_make1(pstrdup("to_version: must be greater than from_version"));
	if (type != NULL && es_event_type_version(type, proposal->from) == NULL)
		return list_make1(psprintf("from_version: version %d is not registered", proposal->from));
	if (type != NULL && es_event_type_version(type, proposal->to) == NULL)
		return list_make1(psprintf("to_version: version %d is not registered", proposal->to));
	next = next_version(proposal, type);
	if (proposal->to != next)
		return list_make1(psprintf("to_version: the version after %d is %d; an upcaster goes one step, "
								   "further ones follow it", proposal->from, next));
	return NIL;
}

static int32
next_version(const Proposal *proposal, const EsEventType *type)
{
	for (int i = 0; type != NULL && i < type->n_versions; i++)
		if (type->version[i].number > proposal->from)
			return type->version[i].number;
	return proposal->from + 1;
}

/* It takes the place of a step, or goes before the first or after the last. */
static List *
check_chain(const Proposal *proposal)
{
	const EsUpcastChain *chain = proposal->chain;
	int32		first;
	int32		end;

	if (chain == NULL || es_upcast_first(chain, proposal->from) != NULL)
		return NIL;
	first = chain->step[0].from;
	end = chain->step[chain->n_steps - 1].to;
	if (proposal->to == first || proposal->from == end)
		return NIL;
	return list_make1(psprintf("from_version: there would be a gap; the chain goes from version %d to %d, "
							   "and grows by a step that ends at %d or begins at %d", first, end, first, end));
}

static List *
check_expression(const Proposal *proposal)
{
	Task		task = {proposal->source};
	char	   *problem = es_expr_problem(compile, &task);

	return problem == NULL ? NIL : list_make1(psprintf("expression: %s", problem));
}

/* Whoever reads events may do it in parallel; the planner asks the view alone whether he may. */
static void
compile(void *arg)
{
	EsExpr	   *expr = es_upcast_compile(((Task *) arg)->source, GetUserId());
	Oid			serial = es_expr_serial_function(expr);

	if (OidIsValid(serial))
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("function %s is not PARALLEL SAFE", format_procedure(serial)),
				 errdetail("Events are read by parallel workers, too."),
				 errhint("ALTER FUNCTION ... PARALLEL SAFE, if it is; PL/pgSQL with EXCEPTION is not.")));
}

/* ---- in force ---- */

/* What is said again, as by every deployment, folds nothing anew; but who is gone has no rights. */
static const EsUpcaster *
same_step(const Proposal *proposal)
{
	const EsUpcastChain *chain = proposal->chain;
	const EsUpcaster *step = chain == NULL ? NULL : es_upcast_first(chain, proposal->from);

	return step != NULL && step->to == proposal->to &&
		strcmp(step->source, proposal->source) == 0 && OidIsValid(step->owner) ? step : NULL;
}

/* It may be there before all events that it is for; or be mistyped. */
static void
notice_unknown(const Proposal *proposal)
{
	char	   *near;

	if (proposal->category != NULL && !es_category_is_known(proposal->category))
	{
		near = es_category_near(proposal->category);
		ereport(NOTICE,
				(errmsg("there are no events yet of category \"%s\", nor is it declared", proposal->category),
				 near != NULL ? errhint("There are: %s.", near) : 0));
	}
	if (!es_type_is_known(proposal->type))
	{
		near = es_type_near(NULL, proposal->type);
		ereport(NOTICE,
				(errmsg("there are no events yet of type \"%s\", nor is it registered", proposal->type),
				 near != NULL ? errhint("Registered are: %s.", near) : 0));
	}
}

static int64
put_in_force(Proposal *proposal, const char *event_type, Jsonb *data)
{
	EsDefinition definition = {
		.name = es_upcast_definition_name(proposal->category, proposal->type, proposal->from),
		.type = unconstify(char *, event_type),
		.data = data,
		.owner = GetUserId()
	};
	List	   *problems;
	List	   *rebuilds;
	ErrorContextCallback context = {error_context_stack, describe_rebuild, proposal};
	int64		version = 0;

	PG_TRY();
	{
		es_upcast_propose(&definition);
		problems = proposal->source == NULL ? NIL : es_upcast_sample(proposal->category, proposal->type);
		if (problems != NIL)
			es_machine_refuse(title(proposal), problems);
		error_context_stack = &context;
		rebuilds = es_upcast_rebuild_begin(proposal->category, proposal->type);
		es_upcast_rebuild_lock(rebuilds);
		version = es_define(ES_UPCASTER_KIND, definition.name, event_type, data);
		es_upcast_rebuild_finish(rebuilds);
		error_context_stack = context.previous;
	}
	PG_FINALLY();
	{
		es_upcast_propose(NULL);
	}
	PG_END_TRY();
	return version;
}

/* Rules that know the older form alone may fail. */
static void
describe_rebuild(void *arg)
{
	errcontext("projections folded anew by the %s", title(arg));
}

static const char *
title(const Proposal *proposal)
{
	return psprintf("upcaster of event type \"%s\" from version %d", proposal->type, proposal->from);
}
