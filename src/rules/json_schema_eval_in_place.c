/*
 * json_schema_eval_in_place.c
 *		What applies further schemas to the same value.
 *
 * What a branch has seen counts only if the value matches it; so where somebody
 * wants to know, each branch writes into its own.
 */
#include "postgres.h"

#include "rules/json_schema_parts.h"

static bool eval_any(EsEval *eval, const EsNodes *nodes, const JsonbValue *value,
					 const EsPlace *place, EsSeen *seen);
static bool eval_one(EsEval *eval, const EsNodes *nodes, const JsonbValue *value,
					 const EsPlace *place, EsSeen *seen);
static bool eval_condition(EsEval *eval, const EsInPlace *rules, const JsonbValue *value,
						   const EsPlace *place, EsSeen *seen);
static bool try_branch(EsEval *eval, const EsNode *node, const JsonbValue *value,
					   const EsPlace *place, EsSeen *seen);
static void explain(EsEval *eval, const EsNodes *nodes, const JsonbValue *value, const EsPlace *place);

bool
es_schema_eval_in_place(EsEval *eval, const EsNode *node, const JsonbValue *value,
						const EsPlace *place, EsSeen *seen)
{
	const EsInPlace *rules = node->in_place;
	bool		valid = true;

	if (rules->ref != NULL && !es_schema_eval_reference(eval, rules->ref, value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	if (rules->dynamic_ref != NULL &&
		!es_schema_eval_reference(eval, es_schema_dynamic_target(eval, rules), value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	for (int i = 0; i < rules->all.count; i++)
	{
		if (!es_schema_eval(eval, rules->all.node[i], value, place, seen))
			ES_REFUSE_SILENTLY(eval);
	}
	if (rules->any.count > 0 && !eval_any(eval, &rules->any, value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	if (rules->one.count > 0 && !eval_one(eval, &rules->one, value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	if (rules->not != NULL && es_schema_try(eval, rules->not, value, place, NULL))
		ES_REFUSE(eval, place, "not", "must not match the schema under \"not\"");
	if (rules->condition != NULL && !eval_condition(eval, rules, value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	return valid;
}

static bool
eval_any(EsEval *eval, const EsNodes *nodes, const JsonbValue *value,
		 const EsPlace *place, EsSeen *seen)
{
	bool		matched = false;
	bool		valid = true;

	for (int i = 0; i < nodes->count && (!matched || seen != NULL); i++)
		matched |= try_branch(eval, nodes->node[i], value, place, seen);
	if (!matched)
	{
		ES_REFUSE(eval, place, "anyOf", "must match at least one of %d schemas", nodes->count);
		explain(eval, nodes, value, place);
	}
	return valid;
}

static bool
eval_one(EsEval *eval, const EsNodes *nodes, const JsonbValue *value,
		 const EsPlace *place, EsSeen *seen)
{
	int			count = 0;
	bool		valid = true;

	for (int i = 0; i < nodes->count && count < 2; i++)
		count += try_branch(eval, nodes->node[i], value, place, seen);
	if (count == 0)
	{
		ES_REFUSE(eval, place, "oneOf", "must match one of %d schemas", nodes->count);
		explain(eval, nodes, value, place);
	}
	else if (count > 1)
		ES_REFUSE(eval, place, "oneOf", "must match only one of %d schemas", nodes->count);
	return valid;
}

static bool
eval_condition(EsEval *eval, const EsInPlace *rules, const JsonbValue *value,
			   const EsPlace *place, EsSeen *seen)
{
	const EsNode *then = rules->then;

	if (then == NULL && rules->otherwise == NULL && seen == NULL)
		return true;
	if (!try_branch(eval, rules->condition, value, place, seen))
		then = rules->otherwise;
	return then == NULL || es_schema_eval(eval, then, value, place, seen);
}

/* Keeps what a branch has seen only if the value matches it. */
static bool
try_branch(EsEval *eval, const EsNode *node, const JsonbValue *value,
		   const EsPlace *place, EsSeen *seen)
{
	EsSeen		own;
	bool		valid;

	if (seen == NULL)
		return es_schema_try(eval, node, value, place, NULL);
	es_seen_init(&own, value);
	valid = es_schema_try(eval, node, value, place, &own);
	if (valid)
		es_seen_merge(seen, &own);
	es_seen_free(&own);
	return valid;
}

/* Where the type leaves one branch only, its failures are what one wants to read. */
static void
explain(EsEval *eval, const EsNodes *nodes, const JsonbValue *value, const EsPlace *place)
{
	const EsNode *only = NULL;
	int			count = 0;

	for (int i = 0; i < nodes->count; i++)
	{
		const EsNode *node = nodes->node[i];

		while (node->in_place != NULL && node->in_place->ref != NULL && node->types == ES_TYPE_ANY)
			node = node->in_place->ref;
		if (!node->is_never && es_schema_has_type(node->types, value))
		{
			only = nodes->node[i];
			count++;
		}
	}
	if (count == 1)
		(void) es_schema_eval(eval, only, value, place, NULL);
}
