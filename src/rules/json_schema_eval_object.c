/*
 * json_schema_eval_object.c
 *		What applies to objects.  Members and the properties of the schema stand in
 *		the same order, so that one walk over both finds what belongs together.
 */
#include "postgres.h"

#include "log/json.h"
#include "miscadmin.h"
#include "rules/json_schema_parts.h"

/* A member on its walk past the rules. */
typedef struct Member
{
	JsonbValue	key;
	JsonbValue	value;
	int			number;
	EsPlace		place;
} Member;

static bool eval_size(EsEval *eval, const EsObjectRules *rules, int size, const EsPlace *place);
static bool eval_member(EsEval *eval, const EsObjectRules *rules, const EsNode *property,
						const Member *member, EsSeen *seen);
static bool eval_required(EsEval *eval, const EsObjectRules *rules, const JsonbValue *value,
						  const EsPlace *place);
static bool has_member(const JsonbValue *value, const char *name, int length);

bool
es_schema_eval_object(EsEval *eval, const EsNode *node, const JsonbValue *value,
					  const EsPlace *place, EsSeen *seen)
{
	const EsObjectRules *rules = node->object;
	const EsProperty *property = rules->properties;
	const EsProperty *end = property + rules->nproperties;
	bool		is_about_all = rules->npatterns > 0 || rules->additional != NULL || rules->names != NULL;
	bool		is_plain = rules->npatterns == 0 && rules->names == NULL && seen == NULL;
	int			nrequired = 0;
	bool		valid = true;
	EsJsonWalk	walk;
	Member		member;

	es_json_walk_begin(&walk, value->val.binary.data);
	if (!eval_size(eval, rules, walk.count, place))
		ES_REFUSE_SILENTLY(eval);
	member.place.up = place;
	while ((property < end || is_about_all) && es_json_walk_member(&walk, &member.key, &member.value))
	{
		const EsNode *schema = NULL;
		int			order = -1;

		while (property < end &&
			   (order = es_json_compare_keys(property->name, property->length,
											 member.key.val.string.val, member.key.val.string.len)) < 0)
			property++;
		if (property < end && order == 0)
		{
			schema = property->node;
			nrequired += property->is_required;
			property++;
		}
		if (schema == NULL && !is_about_all)
			continue;
		member.number = walk.next - 1;
		member.place.key = member.key.val.string.val;
		member.place.number = member.key.val.string.len;
		if (is_plain && schema != NULL ?
			!es_schema_eval(eval, schema, &member.value, &member.place, NULL) :
			!eval_member(eval, rules, schema, &member, seen))
			ES_REFUSE_SILENTLY(eval);
	}
	if (nrequired < rules->nrequired && !eval_required(eval, rules, value, place))
		ES_REFUSE_SILENTLY(eval);
	return valid;
}

/* dependentRequired, dependentSchemas, dependencies */
bool
es_schema_eval_dependents(EsEval *eval, const EsNode *node, const JsonbValue *value,
						  const EsPlace *place, EsSeen *seen)
{
	const EsObjectRules *rules = node->object;
	bool		valid = true;

	for (int i = 0; i < rules->ndependents; i++)
	{
		const EsDependent *dependent = &rules->dependents[i];

		CHECK_FOR_INTERRUPTS();
		if (!has_member(value, dependent->name, dependent->length))
			continue;
		for (int n = 0; n < dependent->nrequired; n++)
		{
			const JsonbValue *name = &dependent->required[n];

			if (!has_member(value, name->val.string.val, name->val.string.len))
				ES_REFUSE(eval, place, dependent->keyword, "must have the property %s beside %s",
						  es_json_quote(name), es_json_quote_bytes(dependent->name, dependent->length));
		}
		if (dependent->node != NULL && !es_schema_eval(eval, dependent->node, value, place, seen))
			ES_REFUSE_SILENTLY(eval);
	}
	return valid;
}

/* unevaluatedProperties: what nobody has seen */
bool
es_schema_eval_rest_object(EsEval *eval, const EsNode *node, const JsonbValue *value,
						   const EsPlace *place, EsSeen *seen)
{
	EsPlace		below = {.up = place};
	bool		valid = true;
	EsJsonWalk	walk;
	JsonbValue	key;
	JsonbValue	member;

	es_json_walk_begin(&walk, value->val.binary.data);
	while (!seen->all && es_json_walk_member(&walk, &key, &member))
	{
		if (es_seen_has(seen, walk.next - 1))
			continue;
		below.key = key.val.string.val;
		below.number = key.val.string.len;
		if (!es_schema_eval(eval, node->object->unevaluated, &member, &below, NULL))
			ES_REFUSE_SILENTLY(eval);
	}
	return valid;
}

static bool
eval_size(EsEval *eval, const EsObjectRules *rules, int size, const EsPlace *place)
{
	bool		valid = true;

	if (size < rules->min_properties)
		ES_REFUSE(eval, place, "minProperties", "must have at least %lld properties",
				  (long long) rules->min_properties);
	if (size > rules->max_properties)
		ES_REFUSE(eval, place, "maxProperties", "must have at most %lld properties",
				  (long long) rules->max_properties);
	return valid;
}

/* property: the schema that "properties" has for it, or NULL */
static bool
eval_member(EsEval *eval, const EsObjectRules *rules, const EsNode *property,
			const Member *member, EsSeen *seen)
{
	bool		is_additional = property == NULL;
	bool		valid = true;

	CHECK_FOR_INTERRUPTS();
	if (rules->names != NULL && !es_schema_try(eval, rules->names, &member->key, member->place.up, NULL))
		ES_REFUSE(eval, member->place.up, "propertyNames", "must not have a property of the name %s",
				  es_json_quote(&member->key));
	if (property != NULL && !es_schema_eval(eval, property, &member->value, &member->place, NULL))
		ES_REFUSE_SILENTLY(eval);
	for (int i = 0; i < rules->npatterns; i++)
	{
		if (!es_pattern_matches(rules->patterns[i].pattern, member->key.val.string.val,
								member->key.val.string.len))
			continue;
		is_additional = false;
		if (!es_schema_eval(eval, rules->patterns[i].node, &member->value, &member->place, NULL))
			ES_REFUSE_SILENTLY(eval);
	}
	if (is_additional && rules->additional != NULL &&
		!es_schema_eval(eval, rules->additional, &member->value, &member->place, NULL))
		ES_REFUSE_SILENTLY(eval);
	if (seen != NULL && (!is_additional || rules->additional != NULL))
		es_seen_add(seen, member->number);
	return valid;
}

/* Something is missing. */
static bool
eval_required(EsEval *eval, const EsObjectRules *rules, const JsonbValue *value, const EsPlace *place)
{
	bool		valid = true;

	for (int i = 0; i < rules->nproperties; i++)
	{
		const EsProperty *property = &rules->properties[i];

		if (property->is_required && !has_member(value, property->name, property->length))
			ES_REFUSE(eval, place, "required", "must have the property %s",
					  es_json_quote_bytes(property->name, property->length));
	}
	return valid;
}

static bool
has_member(const JsonbValue *value, const char *name, int length)
{
	JsonbValue	buffer;

	return getKeyJsonValueFromContainer(value->val.binary.data, name, length, &buffer) != NULL;
}
