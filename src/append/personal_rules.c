/*
 * personal_rules.c
 *		What is defined already, and personal fields.
 *
 * Whichever comes last is refused: a field that becomes personal, or who reads it.
 * A guard that reads a column which is made of such a field would say something else
 * once that is erased, and fill would put it into data for good. A subject is found on
 * data without such fields: it would be another one than was meant.
 */
#include "postgres.h"

#include "access/table.h"
#include "append/personal_rules.h"
#include "catalog/pg_type.h"
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

/* For es_expr_problem(). */
typedef struct SubjectTask
{
	const char *category;
	const char *subject;
	EsPiiUse	use;
} SubjectTask;

static void find_in_subject(void *arg);
static List *category_problems(void);
static List *reaction_problems(const EsProjection *proposed);
static void find_in_reaction(const char *what, EsExpr *expr, void *arg);
static List *prefixed(const char *what, const char *name, List *lines);
static List *machine_problems(void);
static List *projection_problems(void);

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
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list("category"))
	{
		const EsDefinition *stored = lfirst(lc);
		EsDefinition *machine;
		EsCategoryText category;
		List	   *lines;

		CHECK_FOR_INTERRUPTS();
		es_category_read(stored->data, &category);
		if (category.context == NULL || category.state_machine == NULL ||
			(proposed != NULL && strcmp(category.context, proposed->name) != 0))
			continue;
		machine = es_config_read("state_machine", category.state_machine, 0);
		if (machine == NULL)
			continue;
		lines = es_personal_context_problems(&category, es_machine_definition(machine->name, machine->data),
											 proposed);
		problems = list_concat(problems, prefixed("category", stored->name, lines));
	}
	return list_concat(problems, reaction_problems(proposed));
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

List *
es_personal_problems(void)
{
	List	   *problems = list_concat(machine_problems(), category_problems());

	return list_concat(problems, list_concat(projection_problems(), es_personal_contexts_problems(NULL)));
}

static List *
category_problems(void)
{
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list("category"))
	{
		const EsDefinition *stored = lfirst(lc);
		EsCategoryText category;
		List	   *lines;

		CHECK_FOR_INTERRUPTS();
		es_category_read(stored->data, &category);
		if (category.subject == NULL)
			continue;
		lines = es_personal_subject_problems(stored->name, category.subject);
		problems = list_concat(problems, prefixed("category", stored->name, lines));
	}
	return problems;
}

static List *
machine_problems(void)
{
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list("state_machine"))
	{
		const EsDefinition *machine = lfirst(lc);
		Jsonb	   *definition = es_machine_definition(machine->name, machine->data);

		CHECK_FOR_INTERRUPTS();
		problems = list_concat(problems, prefixed("state machine", machine->name,
												  es_machine_check_personal(machine->name, definition)));
	}
	return problems;
}

/* One that cannot be compiled any more folds nothing. */
static List *
projection_problems(void)
{
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list("projection"))
	{
		EsDefinition *definition = lfirst(lc);
		EsPersonalColumns personal;
		EsProjection *projection;
		List	   *others = NIL;
		Oid			relid;
		Relation	rel;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(definition->type, "projection_defined") != 0)
			continue;
		relid = es_guarded_relid(definition->name);
		rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;
		if (rel == NULL)
			continue;
		projection = es_projection_compile(definition, relid, &others);
		table_close(rel, NoLock);
		if (projection == NULL)
			continue;
		es_personal_columns_find(projection, &personal);
		problems = list_concat(problems, prefixed("projection", definition->name, personal.problems));
	}
	return problems;
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

/* One that cannot be compiled any more is found wanting elsewhere. */
static List *
reaction_problems(const EsProjection *proposed)
{
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(ES_REACTION_KIND))
	{
		const EsDefinition *definition = lfirst(lc);
		EsReaction *reaction;
		List	   *others = NIL;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(definition->type, ES_REACTION_DEFINED) != 0)
			continue;
		reaction = es_reaction_compile(definition->name, definition->data, definition->owner, &others);
		if (reaction != NULL && (proposed == NULL || reaction->context == proposed->target->relid))
			problems = list_concat(problems, prefixed("reaction", definition->name,
													  es_personal_reaction_problems(reaction, proposed)));
	}
	return problems;
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
