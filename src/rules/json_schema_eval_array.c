/*
 * json_schema_eval_array.c
 *		What applies to arrays.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rules/json_schema_parts.h"

static bool eval_elements(EsEval *eval, const EsArrayRules *rules, const JsonbValue *value,
						  const EsPlace *place, EsSeen *seen);
static bool eval_contains(EsEval *eval, const EsArrayRules *rules, const JsonbValue *value,
						  const EsPlace *place, EsSeen *seen);
static bool is_unique(const JsonbValue *value);
static int	compare_elements(const void *a, const void *b);

bool
es_schema_eval_array(EsEval *eval, const EsNode *node, const JsonbValue *value,
					 const EsPlace *place, EsSeen *seen)
{
	const EsArrayRules *rules = node->array;
	int			size = JsonContainerSize(value->val.binary.data);
	bool		valid = true;

	if (size < rules->min_items)
		ES_REFUSE(eval, place, "minItems", "must have at least %lld elements", (long long) rules->min_items);
	if (size > rules->max_items)
		ES_REFUSE(eval, place, "maxItems", "must have at most %lld elements", (long long) rules->max_items);
	if ((rules->prefix.count > 0 || rules->rest != NULL) && !eval_elements(eval, rules, value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	if (rules->contains != NULL && !eval_contains(eval, rules, value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	if (rules->is_unique && size > 1 && !is_unique(value))
		ES_REFUSE(eval, place, "uniqueItems", "must not have the same element twice");
	return valid;
}

/* unevaluatedItems: what nobody has seen */
bool
es_schema_eval_rest_array(EsEval *eval, const EsNode *node, const JsonbValue *value,
						  const EsPlace *place, EsSeen *seen)
{
	EsPlace		below = {.up = place};
	bool		valid = true;
	EsJsonWalk	walk;
	JsonbValue	element;

	es_json_walk_begin(&walk, value->val.binary.data);
	while (!seen->all && es_json_walk_element(&walk, &element))
	{
		below.number = walk.next - 1;
		if (!es_seen_has(seen, below.number) &&
			!es_schema_eval(eval, node->array->unevaluated, &element, &below, NULL))
			ES_REFUSE_SILENTLY(eval);
	}
	return valid;
}

/* prefixItems and items */
static bool
eval_elements(EsEval *eval, const EsArrayRules *rules, const JsonbValue *value,
			  const EsPlace *place, EsSeen *seen)
{
	EsPlace		below = {.up = place};
	bool		valid = true;
	EsJsonWalk	walk;
	JsonbValue	element;

	es_json_walk_begin(&walk, value->val.binary.data);
	while ((walk.next < rules->prefix.count || rules->rest != NULL) && es_json_walk_element(&walk, &element))
	{
		const EsNode *node;

		below.number = walk.next - 1;
		node = below.number < rules->prefix.count ? rules->prefix.node[below.number] : rules->rest;
		if (!es_schema_eval(eval, node, &element, &below, NULL))
			ES_REFUSE_SILENTLY(eval);
		if (seen != NULL)
			es_seen_add(seen, below.number);
	}
	return valid;
}

static bool
eval_contains(EsEval *eval, const EsArrayRules *rules, const JsonbValue *value,
			  const EsPlace *place, EsSeen *seen)
{
	EsPlace		below = {.up = place};
	bool		is_about_all = (seen != NULL && rules->contains_evaluates) ||
		rules->max_contains != PG_INT64_MAX;
	int64		count = 0;
	bool		valid = true;
	EsJsonWalk	walk;
	JsonbValue	element;

	es_json_walk_begin(&walk, value->val.binary.data);
	while ((count < rules->min_contains || is_about_all) && es_json_walk_element(&walk, &element))
	{
		below.number = walk.next - 1;
		if (!es_schema_try(eval, rules->contains, &element, &below, NULL))
			continue;
		count++;
		if (seen != NULL && rules->contains_evaluates)
			es_seen_add(seen, below.number);
	}
	if (count < rules->min_contains)
		ES_REFUSE(eval, place, rules->min_contains == 1 ? "contains" : "minContains",
				  "must have at least %lld elements that match", (long long) rules->min_contains);
	if (count > rules->max_contains)
		ES_REFUSE(eval, place, "maxContains", "must have at most %lld elements that match",
				  (long long) rules->max_contains);
	return valid;
}

/* Sorted, equal elements would be neighbours. */
static bool
is_unique(const JsonbValue *value)
{
	JsonbValue *elements;
	bool		result = true;
	EsJsonWalk	walk;

	es_json_walk_begin(&walk, value->val.binary.data);
	elements = palloc_extended(sizeof(JsonbValue) * walk.count, MCXT_ALLOC_HUGE);
	for (int i = 0; i < walk.count; i++)
		(void) es_json_walk_element(&walk, &elements[i]);
	qsort(elements, walk.count, sizeof(JsonbValue), compare_elements);
	for (int i = 1; i < walk.count && result; i++)
		result = es_json_compare(&elements[i - 1], &elements[i]) != 0;
	pfree(elements);
	return result;
}

static int
compare_elements(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return es_json_compare(a, b);
}
