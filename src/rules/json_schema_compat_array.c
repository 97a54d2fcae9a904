/*
 * json_schema_compat_array.c
 *		What is known of elements, and what a node asks of them.
 *
 * Elements beyond all prefixes are alike, so that the first of them stands for all.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rules/json_schema_compat_parts.h"

static List *add_elements(List *list, const EsNode *node, int number);
static bool may_evaluate(const EsNode *node, int number);
static bool surely_evaluates(const EsNode *goal, int number);
static bool prove_elements(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_contains(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool has_contains(EsCompat *c, const EsFacts *facts, const EsArrayRules *asked);
static bool has_limit(EsCompat *c, const EsFacts *facts, const EsArrayRules *asked);

bool
es_compat_prove_array(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsArrayRules *rules = goal->array;
	bool		result = true;

	result &= es_compat_prove_count(c, goal, "minItems", es_facts_min_items(facts), rules->min_items, false);
	result &= es_compat_prove_count(c, goal, "maxItems", es_facts_max_items(facts), rules->max_items, true);
	if (rules->is_unique && es_facts_max_items(facts) > 1)
	{
		bool		is_unique = false;
		ListCell   *lc;

		foreach(lc, facts->nodes)
		{
			const EsArrayRules *known = ((const EsNode *) lfirst(lc))->array;

			is_unique |= known != NULL && known->is_unique;
		}
		if (!is_unique)
			es_compat_changed(c, goal, "uniqueItems", NULL, "true");
		result &= is_unique;
	}
	if (result || c->silent == 0)
		result &= prove_elements(c, facts, goal);
	if (rules->contains != NULL)
		result &= prove_contains(c, facts, goal);
	return result;
}

/* What is known of the element with that number. */
EsFacts *
es_facts_element(const EsFacts *facts, int number)
{
	List	   *nodes = NIL;
	List	   *declared = NIL;
	ListCell   *lc;

	foreach(lc, facts->nodes)
		nodes = add_elements(nodes, lfirst(lc), number);
	foreach(lc, facts->declared)
		declared = add_elements(declared, lfirst(lc), number);
	return es_facts_of(nodes, list_concat_unique_ptr(declared, nodes));
}

int64
es_facts_min_items(const EsFacts *facts)
{
	int64		min = 0;
	ListCell   *lc;

	foreach(lc, facts->nodes)
	{
		const EsArrayRules *rules = ((const EsNode *) lfirst(lc))->array;

		if (rules != NULL)
			min = Max(min, rules->min_items);
		if (rules != NULL && rules->contains != NULL)
			min = Max(min, rules->min_contains);
	}
	return min;
}

int64
es_facts_max_items(const EsFacts *facts)
{
	int64		max = PG_INT64_MAX;
	ListCell   *lc;

	foreach(lc, facts->nodes)
	{
		const EsNode *node = lfirst(lc);
		const EsArrayRules *rules = node->array;
		List	   *beyond = add_elements(NIL, node, rules == NULL ? 0 : rules->prefix.count);

		if (rules != NULL)
			max = Min(max, rules->max_items);
		if (beyond != NIL && ((const EsNode *) linitial(beyond))->is_never)
			max = Min(max, rules->prefix.count);
	}
	return max;
}

/* The list, and what a node that holds for an array says of its element. */
static List *
add_elements(List *list, const EsNode *node, int number)
{
	const EsArrayRules *rules = node->array;

	if (rules == NULL)
		return list;
	if (number < rules->prefix.count)
		return list_append_unique_ptr(list, rules->prefix.node[number]);
	if (rules->rest != NULL)
		return list_append_unique_ptr(list, rules->rest);
	if (rules->unevaluated != NULL && !may_evaluate(node, number))
		return list_append_unique_ptr(list, rules->unevaluated);
	return list;
}

/* Can it be that the element is none of those that are unevaluated? */
static bool
may_evaluate(const EsNode *node, int number)
{
	ListCell   *lc;

	foreach(lc, es_compat_closure(list_make1((void *) node)))
	{
		const EsNode *other = lfirst(lc);
		const EsArrayRules *rules = other->array;

		if (rules != NULL &&
			(number < rules->prefix.count || rules->rest != NULL || rules->contains != NULL ||
			 (other != node && rules->unevaluated != NULL)))
			return true;
	}
	return false;
}

/* Does a value that matches the goal surely have that element evaluated? */
static bool
surely_evaluates(const EsNode *goal, int number)
{
	ListCell   *lc;

	foreach(lc, es_compat_conjuncts(goal))
	{
		const EsArrayRules *rules = ((const EsNode *) lfirst(lc))->array;

		if (rules != NULL && (number < rules->prefix.count || rules->rest != NULL))
			return true;
	}
	return false;
}

static bool
prove_elements(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsArrayRules *rules = goal->array;
	int			last = rules->prefix.count;
	bool		result = true;
	ListCell   *lc;

	if (rules->prefix.count == 0 && rules->rest == NULL && rules->unevaluated == NULL)
		return true;
	foreach(lc, list_concat(es_compat_closure(list_make1((void *) goal)), facts->nodes))
	{
		const EsArrayRules *other = ((const EsNode *) lfirst(lc))->array;

		if (other != NULL)
			last = Max(last, other->prefix.count);
	}
	for (int i = 0; i <= last && i < es_facts_max_items(facts) && (result || c->silent == 0); i++)
	{
		const EsNode *asked = i < rules->prefix.count ? rules->prefix.node[i] : rules->rest;
		EsFacts    *element;

		if (!es_compat_step(c, goal))
			return false;
		element = es_facts_element(facts, i);
		if (asked != NULL)
			result &= es_compat_prove_below(c, element, asked);
		if (rules->unevaluated != NULL && !surely_evaluates(goal, i))
			result &= es_compat_prove_below(c, element, rules->unevaluated);
	}
	return result;
}

static bool
prove_contains(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsArrayRules *rules = goal->array;
	bool		has = has_contains(c, facts, rules);
	bool		is_limited = has_limit(c, facts, rules);

	if (!has)
		es_compat_problem(c, goal, "contains", c->is_forward ? "is gone, or asks for less" : "is new, or asks for more");
	if (!is_limited)
		es_compat_problem(c, goal, "maxContains", c->is_forward ? "is gone, or larger" : "is new, or smaller");
	return has && is_limited;
}

/*
 * Are there surely as many elements that match as are asked for?  Which ones match
 * is not known, so that their fields may be any that some element may have.
 */
static bool
has_contains(EsCompat *c, const EsFacts *facts, const EsArrayRules *asked)
{
	bool		was_strict = c->is_strict;
	bool		result = asked->min_contains == 0;
	ListCell   *lc;

	c->silent++;
	c->is_strict = true;
	foreach(lc, facts->nodes)
	{
		const EsArrayRules *known = ((const EsNode *) lfirst(lc))->array;

		if (!result && known != NULL && known->contains != NULL && known->min_contains >= asked->min_contains)
		{
			List	   *contained = list_make1(known->contains);

			result = es_compat_prove_below(c, es_facts_of(contained, contained), asked->contains);
		}
	}
	c->is_strict = was_strict;
	/* Or all of the first so many do. */
	if (!result && asked->min_contains <= 8 && es_facts_min_items(facts) >= asked->min_contains)
	{
		result = true;
		for (int i = 0; i < asked->min_contains && result; i++)
			result = es_compat_prove_below(c, es_facts_element(facts, i), asked->contains);
	}
	c->silent--;
	return result;
}

/* Are there surely not more elements that match than are allowed? */
static bool
has_limit(EsCompat *c, const EsFacts *facts, const EsArrayRules *asked)
{
	bool		was_strict = c->is_strict;
	bool		result = es_facts_max_items(facts) <= asked->max_contains;
	ListCell   *lc;

	c->silent++;
	c->is_strict = true;
	foreach(lc, facts->nodes)
	{
		const EsArrayRules *known = ((const EsNode *) lfirst(lc))->array;

		if (!result && known != NULL && known->contains != NULL && known->max_contains <= asked->max_contains)
		{
			List	   *counted = list_make1(asked->contains);

			result = es_compat_prove_below(c, es_facts_of(counted, counted), known->contains);
		}
	}
	c->is_strict = was_strict;
	c->silent--;
	return result;
}
