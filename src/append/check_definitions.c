/*
 * check_definitions.c
 *		Which definitions do not hold any more.
 *
 * What they need can be dropped or changed by who knows nothing of them.  Then they raise errors
 * where they are used, and nowhere else; here each is compiled, as it would be there, and what is
 * said is listed.  Nothing is evaluated.  Locks: ACCESS SHARE on tables that they look at.
 */
#include "postgres.h"

#include "append/call.h"
#include "append/personal_rules.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/attempt.h"
#include "log/config.h"
#include "log/guarded.h"
#include "miscadmin.h"
#include "project/projection.h"
#include "rules/category.h"
#include "rules/event_type.h"
#include "rules/reaction.h"
#include "rules/upcast.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(eventsource_check_definitions);

typedef struct Check
{
	ReturnSetInfo *result;
	const char *kind;
	const char *name;			/* or NULL: of all of them */
	const EsDefinition *stored;
	EsUpcaster *upcaster;
} Check;

/* Kinds of definitions, as the log calls them, and how one is compiled. */
typedef struct Kind
{
	const char *kind;
	const char *title;
	void		(*compile) (void *arg);
} Kind;

static void compile_category(void *arg);
static void compile_event_type(void *arg);
static void compile_projection(void *arg);
static void compile_reaction(void *arg);
static void expect_call(const EsReaction *reaction, const EsReactionAction *action);
static void compile_upcaster(void *arg);
static void check_upcasters(Check *check);
static void check_personal(Check *check);
static void attempt(Check *check, void (*compile) (void *arg));
static void put(Check *check, const char *problem);

static const Kind kinds[] = {
	{"category", "category", compile_category},
	{ES_EVENT_TYPE_KIND, "event type", compile_event_type},
	{"projection", "projection", compile_projection},
	{ES_REACTION_KIND, "reaction", compile_reaction},
};

/* check_definitions(): kind, name, problem */
Datum
eventsource_check_definitions(PG_FUNCTION_ARGS)
{
	Check		check = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		ListCell   *lc;

		check.kind = kinds[i].title;
		foreach(lc, es_config_list(kinds[i].kind))
		{
			check.stored = lfirst(lc);
			check.name = check.stored->name;
			attempt(&check, kinds[i].compile);
		}
	}
	check_upcasters(&check);
	check_personal(&check);
	return (Datum) 0;
}

/* With its machine, its context and its subject. */
static void
compile_category(void *arg)
{
	(void) es_category_get(((Check *) arg)->name);
}

/* Its name is "<category>-<type>"; of every category: "-<type>". */
static void
compile_event_type(void *arg)
{
	const char *name = ((Check *) arg)->name;
	const char *hyphen = strchr(name, '-');

	if (hyphen != NULL)
		(void) es_event_type_get(cstring_to_text_with_len(name, hyphen - name), cstring_to_text(hyphen + 1));
}

/* One whose table was dropped is none any more. */
static void
compile_projection(void *arg)
{
	const EsDefinition *stored = ((Check *) arg)->stored;
	Oid			relid = strcmp(stored->type, "projection_defined") == 0 ? es_guarded_relid(stored->name) : InvalidOid;
	EsProjection *projection = OidIsValid(relid) ? es_projection_get(relid) : NULL;

	if (projection != NULL)
		es_projection_expect_target(projection, false);
}

static void
compile_reaction(void *arg)
{
	const EsDefinition *stored = ((Check *) arg)->stored;
	const EsReaction *reaction = es_reaction_get(stored->name, stored->version);

	for (int i = 0; reaction != NULL && i < reaction->n_steps; i++)
	{
		expect_call(reaction, &reaction->step[i].action);
		if (reaction->step[i].compensate != NULL)
			expect_call(reaction, reaction->step[i].compensate);
	}
}

static void
expect_call(const EsReaction *reaction, const EsReactionAction *action)
{
	if (action->act == ES_REACT_CALL)
		(void) es_call_find(&es_call_reaction, action->function, reaction->definer);
}

static void
check_upcasters(Check *check)
{
	ListCell   *lc;

	check->kind = "upcaster";
	foreach(lc, es_upcast_chains(es_upcasters_known()))
	{
		const EsUpcastChain *chain = lfirst(lc);

		for (int i = 0; i < chain->n_steps; i++)
		{
			check->upcaster = &chain->step[i];
			check->name = psprintf("%s, %s", es_event_type_definition_name(chain->category, chain->type),
								   check->upcaster->name);
			attempt(check, compile_upcaster);
		}
	}
}

static void
compile_upcaster(void *arg)
{
	EsUpcaster *upcaster = ((Check *) arg)->upcaster;

	(void) es_upcast_compile(upcaster->source, upcaster->owner);
}

/* What came to be read while it could not be looked at. */
static void
check_personal(Check *check)
{
	ListCell   *lc;

	check->kind = "personal fields";
	check->name = NULL;
	foreach(lc, es_personal_problems())
		put(check, lfirst(lc));
}

static void
attempt(Check *check, void (*compile) (void *arg))
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource check of a definition",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	ErrorData  *error;

	CHECK_FOR_INTERRUPTS();
	error = es_attempt(compile, check, es_error_is_answer);
	if (error != NULL)
		put(check, error->detail == NULL ? error->message : psprintf("%s: %s", error->message, error->detail));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

static void
put(Check *check, const char *problem)
{
	Datum		values[] = {
		CStringGetTextDatum(check->kind),
		check->name == NULL ? (Datum) 0 : CStringGetTextDatum(check->name),
		CStringGetTextDatum(problem)
	};
	bool		nulls[] = {false, check->name == NULL, false};

	tuplestore_putvalues(check->result->setResult, check->result->setDesc, values, nulls);
}
