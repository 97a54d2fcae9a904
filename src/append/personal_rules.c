/*
 * personal_rules.c
 *		What is defined already, and personal fields.
 *
 * Whichever comes last is refused: a field that becomes personal, or who reads it.
 * A guard that reads a column which is made of such a field would say something else
 * once that is erased, and fill would put it into data for good.
 */
#include "postgres.h"

#include "access/table.h"
#include "append/personal_rules.h"
#include "log/config.h"
#include "log/guarded.h"
#include "miscadmin.h"
#include "project/personal_columns.h"
#include "rules/machine.h"
#include "utils/rel.h"

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
	return problems;
}

List *
es_personal_problems(void)
{
	return list_concat(machine_problems(),
					   list_concat(projection_problems(), es_personal_contexts_problems(NULL)));
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

static List *
prefixed(const char *what, const char *name, List *lines)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, lines)
		result = lappend(result, psprintf("pii: %s \"%s\", %s", what, name, (char *) lfirst(lc)));
	return result;
}
