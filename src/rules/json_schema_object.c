/*
 * json_schema_object.c
 *		Reading what a schema says on objects: properties and required, which become
 *		one table in the order of jsonb's keys, patterns of names, dependencies.
 */
#include "postgres.h"

#include "log/json.h"
#include "rules/json_schema_parts.h"

static void merge_properties(EsObjectRules *rules, EsProperty *more, int count);
static int	compare_properties(const void *a, const void *b);
static int	compare_strings(const void *a, const void *b);
static int	read_names(EsCompile *c, EsNode *node, const char *keyword, const JsonbValue *value,
					   JsonbValue **names);

void
es_schema_read_properties(EsCompile *c, EsNode *node, const EsKeyword *keyword, JsonbValue *value)
{
	EsObjectRules *rules = es_schema_part(node, ES_PART_OBJECT);
	EsProperty *properties;
	EsJsonWalk	walk;
	JsonbValue	name;
	JsonbValue	schema;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_OBJECT, "an object of schemas"))
		return;
	es_json_walk_begin(&walk, value->val.binary.data);
	properties = palloc0(sizeof(EsProperty) * Max(walk.count, 1));
	for (EsProperty *property = properties; es_json_walk_member(&walk, &name, &schema); property++)
	{
		property->name = name.val.string.val;
		property->length = name.val.string.len;
		property->node = es_schema_build(c, &schema, node, keyword->name, es_json_string(&name));
	}
	merge_properties(rules, properties, walk.count);
}

void
es_schema_read_required(EsCompile *c, EsNode *node, const EsKeyword *keyword, JsonbValue *value)
{
	EsObjectRules *rules = es_schema_part(node, ES_PART_OBJECT);
	EsProperty *properties;
	JsonbValue *names;
	int			count = read_names(c, node, keyword->name, value, &names);

	properties = palloc0(sizeof(EsProperty) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		properties[i].name = names[i].val.string.val;
		properties[i].length = names[i].val.string.len;
		properties[i].is_required = true;
	}
	rules->nrequired = count;
	merge_properties(rules, properties, count);
}

void
es_schema_read_patterns(EsCompile *c, EsNode *node, const EsKeyword *keyword, JsonbValue *value)
{
	EsObjectRules *rules = es_schema_part(node, ES_PART_OBJECT);
	EsJsonWalk	walk;
	JsonbValue	pattern;
	JsonbValue	schema;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_OBJECT, "an object of schemas"))
		return;
	es_json_walk_begin(&walk, value->val.binary.data);
	rules->patterns = palloc(sizeof(EsPatternProperty) * Max(walk.count, 1));
	while (es_json_walk_member(&walk, &pattern, &schema))
	{
		EsPatternProperty *next = &rules->patterns[rules->npatterns++];

		next->pattern = es_schema_pattern(c, node, keyword->name, &pattern);
		next->node = es_schema_build(c, &schema, node, keyword->name, es_json_string(&pattern));
	}
}

/* dependentRequired, dependentSchemas, and what they were before: dependencies. */
void
es_schema_read_dependents(EsCompile *c, EsNode *node, const EsKeyword *keyword, JsonbValue *value)
{
	EsObjectRules *rules = es_schema_part(node, ES_PART_OBJECT);
	bool		may_be_names = keyword->vocabulary == ES_VOCABULARY_VALIDATION ||
		strcmp(keyword->name, "dependencies") == 0;
	bool		may_be_schema = keyword->vocabulary == ES_VOCABULARY_APPLICATOR;
	EsJsonWalk	walk;
	JsonbValue	name;
	JsonbValue	needed;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_OBJECT,
						  may_be_schema ? "an object of schemas" : "an object of arrays of names"))
		return;
	es_json_walk_begin(&walk, value->val.binary.data);
	if (rules->dependents == NULL)
		rules->dependents = palloc0(sizeof(EsDependent) * Max(walk.count, 1));
	else
		rules->dependents = repalloc(rules->dependents,
									 sizeof(EsDependent) * (rules->ndependents + walk.count + 1));
	while (es_json_walk_member(&walk, &name, &needed))
	{
		EsDependent *dependent = &rules->dependents[rules->ndependents++];

		memset(dependent, 0, sizeof(EsDependent));
		dependent->name = name.val.string.val;
		dependent->length = name.val.string.len;
		dependent->keyword = keyword->name;
		if (may_be_names && (!may_be_schema || es_json_is_array(&needed)))
			dependent->nrequired = read_names(c, node, keyword->name, &needed, &dependent->required);
		else
			dependent->node = es_schema_build(c, &needed, node, keyword->name, es_json_string(&name));
	}
}

/* Adds properties to the table; what is known of one from both sides comes together. */
static void
merge_properties(EsObjectRules *rules, EsProperty *more, int count)
{
	int			total = rules->nproperties + count;
	EsProperty *all = palloc(sizeof(EsProperty) * Max(total, 1));
	int			n = 0;

	if (rules->nproperties > 0)
		memcpy(all, rules->properties, sizeof(EsProperty) * rules->nproperties);
	memcpy(all + rules->nproperties, more, sizeof(EsProperty) * count);
	qsort(all, total, sizeof(EsProperty), compare_properties);
	for (int i = 0; i < total; i++)
	{
		if (n > 0 && compare_properties(&all[n - 1], &all[i]) == 0)
		{
			if (all[i].node != NULL)
				all[n - 1].node = all[i].node;
			all[n - 1].is_required |= all[i].is_required;
		}
		else
			all[n++] = all[i];
	}
	rules->properties = all;
	rules->nproperties = n;
}

static int
compare_properties(const void *a, const void *b)
{
	const EsProperty *pa = a;
	const EsProperty *pb = b;

	return es_json_compare_keys(pa->name, pa->length, pb->name, pb->length);
}

static int
compare_strings(const void *a, const void *b)
{
	return es_json_compare(a, b);
}

/* How many names an array has, each once; 0 after noting a problem. */
static int
read_names(EsCompile *c, EsNode *node, const char *keyword, const JsonbValue *value, JsonbValue **names)
{
	EsJsonWalk	walk;
	int			count;

	if (!es_schema_expect(c, node, keyword, value, ES_TYPE_ARRAY, "an array of names"))
		return 0;
	es_json_walk_begin(&walk, value->val.binary.data);
	count = walk.count;
	*names = palloc(sizeof(JsonbValue) * Max(count, 1));
	for (int i = 0; es_json_walk_element(&walk, &(*names)[i]); i++)
	{
		if (!es_schema_expect(c, node, keyword, &(*names)[i], ES_TYPE_STRING, "an array of names"))
			return 0;
		if (i + 1 == count)
			break;
	}
	qsort(*names, count, sizeof(JsonbValue), compare_strings);
	for (int i = 1; i < count; i++)
	{
		if (es_json_compare(&(*names)[i - 1], &(*names)[i]) == 0)
		{
			es_schema_problem(c, node, keyword, "has %s twice", es_json_quote(&(*names)[i]));
			return 0;
		}
	}
	return count;
}
