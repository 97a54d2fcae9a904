/*
 * json_schema_compat_facts.c
 *		What is known of a value: the nodes that it matches, with all that these say
 *		of the same value.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rules/json_schema_compat_parts.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* How far what is required leads to what else is required. */
#define PATIENCE	8

static void add_choice(EsFacts *facts, const EsNode *node, EsChoiceKind kind);
static List *add_nodes(List *list, const EsNodes *nodes);
static List *add_node(List *list, const EsNode *node);
static bool is_whole(Numeric number);

/* A value that matches all of those nodes, while declared are all that stand at its place. */
EsFacts *
es_facts_of(List *nodes, List *declared)
{
	EsFacts    *facts = palloc0(sizeof(EsFacts));
	ListCell   *lc;

	facts->types = ES_TYPES_ALL;
	facts->declared = es_compat_closure(declared);
	foreach(lc, nodes)
		es_facts_add(facts, lfirst(lc));
	es_facts_settle(facts);
	return facts;
}

/* One may add to the copy; it has only those types. */
EsFacts *
es_facts_copy(const EsFacts *facts, int types)
{
	EsFacts    *copy = palloc(sizeof(EsFacts));

	*copy = *facts;
	copy->types &= types;
	copy->nodes = list_copy(facts->nodes);
	copy->nots = list_copy(facts->nots);
	copy->choices = list_copy(facts->choices);
	return copy;
}

void
es_facts_add(EsFacts *facts, const EsNode *node)
{
	EsInPlace  *in_place;

	if (node == NULL || node->is_always || list_member_ptr(facts->nodes, node))
		return;
	facts->nodes = lappend(facts->nodes, (void *) node);
	facts->types &= es_compat_types(node);
	in_place = node->in_place;
	if (in_place == NULL)
		return;
	es_facts_add(facts, in_place->ref);
	es_facts_add(facts, in_place->dynamic_ref);
	for (int i = 0; i < in_place->all.count; i++)
		es_facts_add(facts, in_place->all.node[i]);
	if (in_place->not != NULL)
		facts->nots = lappend(facts->nots, in_place->not);
	if (in_place->any.count > 0)
		add_choice(facts, node, ES_CHOICE_ANY);
	if (in_place->one.count > 0)
		add_choice(facts, node, ES_CHOICE_ONE);
	if (in_place->condition != NULL)
		add_choice(facts, node, ES_CHOICE_IF);
}

/* Adds what follows from all of it: for callers that added to it. */
void
es_facts_settle(EsFacts *facts)
{
	ListCell   *lc;

	/* The list may grow below. */
	for (int i = 0; i < list_length(facts->nodes); i++)
	{
		const EsNode *node = list_nth(facts->nodes, i);

		for (int n = 0; node->object != NULL && n < node->object->ndependents; n++)
		{
			const EsDependent *dependent = &node->object->dependents[n];
			EsName		name = {dependent->name, dependent->length};

			if (dependent->node != NULL && facts->types == ES_TYPE_OBJECT &&
				es_facts_have_member(facts, name, PATIENCE))
				es_facts_add(facts, dependent->node);
		}
	}
	foreach(lc, facts->nodes)
	{
		const EsNode *node = lfirst(lc);

		if (node->number != NULL && node->number->multiple_of != NULL && is_whole(node->number->multiple_of))
			facts->types &= ~ES_TYPE_NUMBER;
	}
}

/* The types that a node allows; a number may be an integer. */
int
es_compat_types(const EsNode *node)
{
	if (node->is_never)
		return 0;
	return (node->types & ES_TYPE_NUMBER) != 0 ? node->types | ES_TYPE_INTEGER : node->types;
}

/* The nodes, and all that say something of the same value in some case. */
List *
es_compat_closure(List *nodes)
{
	List	   *result = list_copy(nodes);

	for (int i = 0; i < list_length(result); i++)
	{
		const EsNode *node = list_nth(result, i);
		const EsInPlace *in_place = node->in_place;

		CHECK_FOR_INTERRUPTS();
		for (int n = 0; node->object != NULL && n < node->object->ndependents; n++)
			result = add_node(result, node->object->dependents[n].node);
		if (in_place == NULL)
			continue;
		result = add_node(result, in_place->ref);
		result = add_node(result, in_place->dynamic_ref);
		result = add_node(result, in_place->not);
		result = add_node(result, in_place->condition);
		result = add_node(result, in_place->then);
		result = add_node(result, in_place->otherwise);
		result = add_nodes(result, &in_place->all);
		result = add_nodes(result, &in_place->any);
		result = add_nodes(result, &in_place->one);
	}
	return result;
}

/* The node, and all that a value must match to match it. */
List *
es_compat_conjuncts(const EsNode *node)
{
	List	   *result = list_make1((void *) node);

	for (int i = 0; i < list_length(result); i++)
	{
		const EsInPlace *in_place = ((const EsNode *) list_nth(result, i))->in_place;

		CHECK_FOR_INTERRUPTS();
		if (in_place == NULL)
			continue;
		result = add_node(result, in_place->ref);
		result = add_node(result, in_place->dynamic_ref);
		result = add_nodes(result, &in_place->all);
	}
	return result;
}

static void
add_choice(EsFacts *facts, const EsNode *node, EsChoiceKind kind)
{
	EsChoice   *choice = palloc(sizeof(EsChoice));

	choice->node = node;
	choice->kind = kind;
	facts->choices = lappend(facts->choices, choice);
}

static List *
add_nodes(List *list, const EsNodes *nodes)
{
	for (int i = 0; i < nodes->count; i++)
		list = add_node(list, nodes->node[i]);
	return list;
}

static List *
add_node(List *list, const EsNode *node)
{
	return node == NULL ? list : list_append_unique_ptr(list, (void *) node);
}

static bool
is_whole(Numeric number)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(number))) == 0;
}
