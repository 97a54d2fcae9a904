/*
 * json_schema_compat_empty.c
 *		Whether what is known of a value contradicts itself, and what values are left
 *		where that can be said.
 *
 * Only what is sure counts: "not empty" may be wrong, "empty" may not.  A node that
 * a value does not match is held against the rest strictly, since fields that no
 * schema names may well be what makes it not match.
 */
#include "postgres.h"

#include "rules/json_schema_compat_parts.h"

/* Contradictions deeper inside are not looked for. */
#define MAX_DEPTH	8

static bool is_empty(EsCompat *c, const EsFacts *facts);
static bool is_refuted(EsCompat *c, const EsFacts *facts);
static bool has_empty_part(EsCompat *c, const EsFacts *facts);
static bool all_empty(EsCompat *c, List *cases);
static List *add_case(List *cases, EsFacts *facts, const EsNode *node);

bool
es_compat_is_empty(EsCompat *c, const EsFacts *facts)
{
	bool		was_strict = c->is_strict;
	bool		result = true;

	if (c->depth >= MAX_DEPTH)
		return facts->types == 0;
	c->depth++;
	c->silent++;
	c->is_strict = true;
	for (int type = 1; type <= ES_TYPE_INTEGER && result; type <<= 1)
	{
		int			types = type == ES_TYPE_NUMBER ? ES_TYPES_NUMERIC : type;

		if ((facts->types & type) != 0 &&
			(type != ES_TYPE_INTEGER || (facts->types & ES_TYPE_NUMBER) == 0))
		{
			EsFacts    *of_type = es_facts_copy(facts, types);

			es_facts_settle(of_type);
			result = is_empty(c, of_type);
		}
	}
	c->is_strict = was_strict;
	c->silent--;
	c->depth--;
	return result;
}

/* The same of values of one type. */
static bool
is_empty(EsCompat *c, const EsFacts *facts)
{
	List	   *values;

	if (facts->types == 0)
		return true;
	if (list_length(facts->nodes) == 0 || !es_compat_step(c, linitial(facts->nodes)))
		return false;
	if (es_compat_values(facts, &values))
		return values == NIL;
	if ((facts->types & ES_TYPES_NUMERIC) != 0 && es_facts_no_number(facts))
		return true;
	if (facts->types == ES_TYPE_STRING && es_facts_no_string(facts))
		return true;
	return has_empty_part(c, facts) || is_refuted(c, facts) ||
		(facts->choices != NIL && all_empty(c, es_compat_cases(facts)));
}

/* Does it match a node that it does not match? */
static bool
is_refuted(EsCompat *c, const EsFacts *facts)
{
	ListCell   *lc;

	foreach(lc, facts->nots)
	{
		EsFacts    *others = es_facts_copy(facts, ES_TYPES_ALL);

		others->nots = list_delete_ptr(others->nots, lfirst(lc));
		if (es_compat_prove(c, others, lfirst(lc)))
			return true;
	}
	return false;
}

/* Is something required that cannot be? */
static bool
has_empty_part(EsCompat *c, const EsFacts *facts)
{
	ListCell   *lc;

	if (facts->types == ES_TYPE_ARRAY)
	{
		int64		min = es_facts_min_items(facts);

		if (min > es_facts_max_items(facts))
			return true;
		for (int i = 0; i < Min(min, MAX_DEPTH); i++)
		{
			if (es_compat_is_empty(c, es_facts_element(facts, i)))
				return true;
		}
	}
	if (facts->types != ES_TYPE_OBJECT)
		return false;
	foreach(lc, facts->nodes)
	{
		const EsObjectRules *rules = ((const EsNode *) lfirst(lc))->object;

		for (int i = 0; rules != NULL && i < rules->nproperties; i++)
		{
			EsName		name = {rules->properties[i].name, rules->properties[i].length};

			if (rules->properties[i].is_required && es_compat_is_empty(c, es_facts_member(facts, name)))
				return true;
		}
	}
	return false;
}

static bool
all_empty(EsCompat *c, List *cases)
{
	ListCell   *lc;

	foreach(lc, cases)
	{
		const EsFacts *facts = lfirst(lc);

		/* A branch may leave fewer types, or other ones of them. */
		if (facts->types != 0 && !is_empty(c, facts))
			return false;
	}
	return true;
}

List *
es_compat_cases(const EsFacts *facts)
{
	const EsChoice *choice = facts->choices == NIL ? NULL : linitial(facts->choices);
	const EsInPlace *in_place;
	const EsNodes *branches;
	EsFacts    *rest;
	EsFacts    *other;
	List	   *cases = NIL;

	if (choice == NULL)
		return NIL;
	in_place = choice->node->in_place;
	rest = es_facts_copy(facts, ES_TYPES_ALL);
	rest->choices = list_delete_first(rest->choices);
	if (choice->kind == ES_CHOICE_IF)
	{
		other = es_facts_copy(rest, ES_TYPES_ALL);
		other->nots = lappend(other->nots, in_place->condition);
		es_facts_add(rest, in_place->condition);
		return add_case(add_case(NIL, rest, in_place->then), other, in_place->otherwise);
	}
	branches = choice->kind == ES_CHOICE_ANY ? &in_place->any : &in_place->one;
	for (int i = 0; i < branches->count; i++)
	{
		other = es_facts_copy(rest, ES_TYPES_ALL);
		for (int n = 0; n < branches->count && choice->kind == ES_CHOICE_ONE; n++)
		{
			if (n != i)
				other->nots = lappend(other->nots, branches->node[n]);
		}
		cases = add_case(cases, other, branches->node[i]);
	}
	return cases;
}

static List *
add_case(List *cases, EsFacts *facts, const EsNode *node)
{
	es_facts_add(facts, node);
	es_facts_settle(facts);
	return lappend(cases, facts);
}

/*
 * Where only a few values can be: those that match all that is known.  True where
 * there are no others.
 */
bool
es_compat_values(const EsFacts *facts, List **values)
{
	static JsonbValue few[] = {
		{.type = jbvNull},
		{.type = jbvBool,.val.boolean = false},
		{.type = jbvBool,.val.boolean = true}
	};
	EsValues	some = {lengthof(few), few};
	const EsValues *from = NULL;
	ListCell   *lc;

	if ((facts->types & ~(ES_TYPE_NULL | ES_TYPE_BOOLEAN)) == 0)
		from = &some;
	foreach(lc, facts->nodes)
	{
		const EsNode *node = lfirst(lc);

		if (from == NULL && node->constant != NULL)
		{
			some.count = 1;
			some.value = node->constant;
			from = &some;
		}
		else if (from == NULL)
			from = node->values;
	}
	*values = NIL;
	for (int i = 0; from != NULL && i < from->count; i++)
	{
		bool		matches = es_schema_has_type(facts->types, &from->value[i]);

		foreach(lc, facts->nodes)
			matches = matches && es_compat_matches(lfirst(lc), &from->value[i]);
		foreach(lc, facts->nots)
			matches = matches && !es_compat_matches(lfirst(lc), &from->value[i]);
		if (matches)
			*values = lappend(*values, &from->value[i]);
	}
	return from != NULL;
}

bool
es_compat_matches(const EsNode *node, const JsonbValue *value)
{
	EsSchema	alone = {.root = (EsNode *) node};

	return es_schema_valid(&alone, value);
}
