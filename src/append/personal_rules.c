/*
 * personal_rules.c
 *		What is defined already, and personal fields.
 *
 * Whichever comes last is refused: a field that becomes personal, or who reads it.
 * A guard that reads a column which is made of such a field would say something else
 * once that is erased, and fill would put it into data for good. A subject is found on
 * data without such fields: it would be another one than was meant.
 *
 * Each that is defined already is looked at by itself: one that is broken (what it needs is
 * gone) raises where it is used, and is no reason to refuse another.
 */
#include "postgres.h"

#include "access/table.h"
#include "append/personal_rules.h"
#include "catalog/pg_type.h"
#include "log/attempt.h"
#include "log/config.h"
#include "log/guarded.h"
#include "miscadmin.h"
#include "project/personal_columns.h"
#include "rules/machine.h"
#include "rules/pii_use.h"
#include "utils/rel.h"

/* What is looked for in the expressions of a reaction. */
typedef struct ReactionTask
{
	List	   *fields;			/* of EsPii */
	const Bitmapset *columns;	/* of row */
	List	   *problems;
} ReactionTask;

/* One that is defined already, for es_attempt(). */
typedef struct Look
{
	EsDefinition *stored;
	const EsProjection *proposed;	/* or NULL: what is there */
	List	   *problems;
} Look;

/* For es_expr_problem(). */
typedef struct SubjectTask
{
	const char *category;
	const char *subject;
	EsPiiUse	use;
} SubjectTask;

static List *look_at_all(const char *kind, const char *what, const EsProjection *proposed,
						 void (*look_at) (void *arg));
static void look_at_context(void *arg);
static void look_at_subject(void *arg);
static void look_at_machine(void *arg);
static void look_at_projection(void *arg);
static void look_at_reaction(void *arg);
static void find_in_subject(void *arg);
static void find_in_reaction(const char *what, EsExpr *expr, void *arg);
static List *prefixed(const char *what, const char *name, List *lines);

List *
es_personal_context_problems(const EsCategoryText *category, Jsonb *machine, const EsProjection *proposed)
{
	const EsProjection *context = proposed;
	EsPersonalColumns personal;

	if (category->context == NULL || category->state_machine == NULL)
		return NIL;
	if (context == NULL)
	{
		Oid			relid = es_guarded_relid(category->context);

		context = OidIsValid(relid) ? es_projection_get(relid) : NULL;
	}
	if (context == NULL)
		return NIL;
	es_personal_columns_find(context, &personal);
	if (bms_is_empty(personal.columns))
		return NIL;
	return es_machine_check_personal_row(category->state_machine, machine, context->target->desc,
										 personal.columns);
}

List *
es_personal_contexts_problems(const EsProjection *proposed)
{
	return list_concat(look_at_all("category", "category", proposed, look_at_context),
					   look_at_all(ES_REACTION_KIND, "reaction", proposed, look_at_reaction));
}

List *
es_personal_problems(void)
{
	List	   *problems = look_at_all("state_machine", "state machine", NULL, look_at_machine);

	problems = list_concat(problems, look_at_all("category", "category", NULL, look_at_subject));
	problems = list_concat(problems, look_at_all("projection", "projection", NULL, look_at_projection));
	return list_concat(problems, es_personal_contexts_problems(NULL));
}

static List *
look_at_all(const char *kind, const char *what, const EsProjection *proposed, void (*look_at) (void *arg))
{
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(kind))
	{
		Look		look = {.stored = lfirst(lc),.proposed = proposed};

		CHECK_FOR_INTERRUPTS();
		if (es_attempt(look_at, &look, es_error_is_answer) == NULL)
			problems = list_concat(problems, prefixed(what, look.stored->name, look.problems));
	}
	return problems;
}

static void
look_at_context(void *arg)
{
	Look	   *look = arg;
	EsDefinition *machine;
	Jsonb	   *definition;
	EsCategoryText category;

	es_category_read(look->stored->data, &category);
	if (category.context == NULL || category.state_machine == NULL ||
		(look->proposed != NULL && strcmp(category.context, look->proposed->name) != 0))
		return;
	machine = es_config_read("state_machine", category.state_machine, 0);
	if (machine == NULL)
		return;
	definition = es_machine_definition(machine->name, machine->data);
	look->problems = es_personal_context_problems(&category, definition, look->proposed);
}

static void
look_at_subject(void *arg)
{
	Look	   *look = arg;
	EsCategoryText category;

	es_category_read(look->stored->data, &category);
	if (category.subject != NULL)
		look->problems = es_personal_subject_problems(look->stored->name, category.subject);
}

static void
look_at_machine(void *arg)
{
	Look	   *look = arg;

	look->problems = es_machine_check_personal(look->stored->name,
											   es_machine_definition(look->stored->name, look->stored->data));
}

static void
look_at_projection(void *arg)
{
	Look	   *look = arg;
	Oid			relid = InvalidOid;
	EsPersonalColumns personal;
	EsProjection *projection;
	List	   *others = NIL;
	Relation	rel;

	if (strcmp(look->stored->type, "projection_defined") == 0)
		relid = es_guarded_relid(look->stored->name);
	rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;
	if (rel == NULL)
		return;
	projection = es_projection_compile(look->stored, relid, &others);
	table_close(rel, NoLock);
	if (projection == NULL)
		return;
	es_personal_columns_find(projection, &personal);
	look->problems = personal.problems;
}

static void
look_at_reaction(void *arg)
{
	Look	   *look = arg;
	EsReaction *reaction = NULL;
	List	   *others = NIL;

	if (strcmp(look->stored->type, ES_REACTION_DEFINED) == 0)
		reaction = es_reaction_compile(look->stored->name, look->stored->data, look->stored->owner, &others);
	if (reaction != NULL && (look->proposed == NULL || reaction->context == look->proposed->target->relid))
		look->problems = es_personal_reaction_problems(reaction, look->proposed);
}

/* One that cannot be compiled is found wanting elsewhere. */
List *
es_personal_subject_problems(const char *category, const char *subject)
{
	SubjectTask task = {.category = category,.subject = subject};

	if (es_expr_problem(find_in_subject, &task) != NULL || task.use.names == NULL)
		return NIL;
	return list_make1(psprintf("subject: cannot see personal field \"%s\"; use an identifier that stays",
							   task.use.names));
}

static void
find_in_subject(void *arg)
{
	SubjectTask *task = arg;
	EsExprScope scope = {.owner = GetUserId()};
	EsExpr	   *subject = es_expr_compile(&scope, task->subject, TEXTOID, -1);
	ListCell   *lc;

	foreach(lc, es_pii_declared_subjectless(task->category))
		es_pii_find_use(subject, lfirst(lc), &task->use);
}

/* What reactions keep is kept in jobs and events, which an erasure would have to find. */
List *
es_personal_reaction_problems(const EsReaction *reaction, const EsProjection *proposed)
{
	const EsProjection *context = proposed;
	ReactionTask task = {
		.fields = es_pii_declared(list_make1(reaction->category),
								  strcmp(reaction->type, ES_REACTION_ANY_TYPE) == 0 ? NULL : reaction->type)
	};
	EsPersonalColumns personal = {.columns = NULL};

	if (context == NULL && OidIsValid(reaction->context))
		context = es_projection_get(reaction->context);
	if (context != NULL)
		es_personal_columns_find(context, &personal);
	task.columns = personal.columns;
	es_reaction_each_expr(reaction, find_in_reaction, &task);
	return task.problems;
}

static void
find_in_reaction(const char *what, EsExpr *expr, void *arg)
{
	ReactionTask *task = arg;
	EsPiiUse	use = {0};
	bool		uses_item;
	ListCell   *lc;

	foreach(lc, task->fields)
		es_pii_find_use(expr, lfirst(lc), &use);
	if (use.names != NULL)
		task->problems = lappend(task->problems,
								 psprintf("%s: cannot see personal field \"%s\"; whoever works off the job "
										  "reads it in the event", what, use.names));
	if (bms_overlap(es_pii_row_columns(expr, &uses_item), task->columns))
		task->problems = lappend(task->problems,
								 psprintf("%s: cannot see columns of row that are made of personal fields", what));
}

static List *
prefixed(const char *what, const char *name, List *lines)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, lines)
		result = lappend(result, psprintf("pii: %s \"%s\", %s", what, name, (char *) lfirst(lc)));
	return result;
}
