/*
 * json_schema_keyword.c
 *		The table of keywords, and what each makes of its value.
 *
 * A keyword that the dialect does not have is ignored; so is one whose value only
 * describes.  A value of the wrong shape is a problem, and never read further.
 */
#include "postgres.h"

#include "log/json.h"
#include "rules/json_schema_parts.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

static void read_keyword(EsCompile *c, EsNode *node, JsonbValue *key, JsonbValue *value);
static int	compare_keyword(const void *key, const void *keyword);
static void finish(EsNode *node, bool is_alone);
static int	compare_values(const void *a, const void *b);
static int	sign_of(Numeric number);

/* All readers look alike. */
#define READER(name) \
	static void name(EsCompile *c, EsNode *node, const EsKeyword *keyword, JsonbValue *value)

READER(read_schema);
READER(read_schemas);
READER(read_definitions);
READER(read_items);
READER(read_type);
READER(read_const);
READER(read_enum);
READER(read_number);
READER(read_count);
READER(read_pattern);
READER(read_format);
READER(read_unique);
READER(check_schema);
READER(check_boolean);
READER(check_string);
READER(check_array);
READER(check_object);

/*
 * Sorted by name, as strcmp() does.  $schema, $id and the anchors are read when a
 * node is entered, before all others.
 */
static const EsKeyword keywords[] = {
	{"$comment", ES_DRAFTS, ES_VOCABULARY_CORE, check_string, ES_PART_NODE, 0},
	{"$defs", ES_DRAFT_2020_12, ES_VOCABULARY_CORE, read_definitions, ES_PART_NODE, 0},
	{"$dynamicRef", ES_DRAFT_2020_12, ES_VOCABULARY_CORE, es_schema_add_reference, ES_PART_IN_PLACE, offsetof(EsInPlace, dynamic_ref)},
	{"$ref", ES_DRAFTS, ES_VOCABULARY_CORE, es_schema_add_reference, ES_PART_IN_PLACE, offsetof(EsInPlace, ref)},
	{"$vocabulary", ES_DRAFT_2020_12, ES_VOCABULARY_CORE, check_object, ES_PART_NODE, 0},
	{"additionalItems", ES_DRAFT_7, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_ARRAY, offsetof(EsArrayRules, additional)},
	{"additionalProperties", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_OBJECT, offsetof(EsObjectRules, additional)},
	{"allOf", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schemas, ES_PART_IN_PLACE, offsetof(EsInPlace, all)},
	{"anyOf", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schemas, ES_PART_IN_PLACE, offsetof(EsInPlace, any)},
	{"const", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_const, ES_PART_NODE, offsetof(EsNode, constant)},
	{"contains", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_ARRAY, offsetof(EsArrayRules, contains)},
	{"contentEncoding", ES_DRAFTS, ES_VOCABULARY_CORE, check_string, ES_PART_NODE, 0},
	{"contentMediaType", ES_DRAFTS, ES_VOCABULARY_CORE, check_string, ES_PART_NODE, 0},
	{"contentSchema", ES_DRAFT_2020_12, ES_VOCABULARY_CORE, check_schema, ES_PART_NODE, 0},
	{"definitions", ES_DRAFTS, ES_VOCABULARY_CORE, read_definitions, ES_PART_NODE, 0},
	{"dependencies", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, es_schema_read_dependents, ES_PART_OBJECT, offsetof(EsObjectRules, dependents)},
	{"dependentRequired", ES_DRAFT_2020_12, ES_VOCABULARY_VALIDATION, es_schema_read_dependents, ES_PART_OBJECT, offsetof(EsObjectRules, dependents)},
	{"dependentSchemas", ES_DRAFT_2020_12, ES_VOCABULARY_APPLICATOR, es_schema_read_dependents, ES_PART_OBJECT, offsetof(EsObjectRules, dependents)},
	{"deprecated", ES_DRAFT_2020_12, ES_VOCABULARY_CORE, check_boolean, ES_PART_NODE, 0},
	{"description", ES_DRAFTS, ES_VOCABULARY_CORE, check_string, ES_PART_NODE, 0},
	{"else", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_IN_PLACE, offsetof(EsInPlace, otherwise)},
	{"enum", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_enum, ES_PART_NODE, offsetof(EsNode, values)},
	{"examples", ES_DRAFTS, ES_VOCABULARY_CORE, check_array, ES_PART_NODE, 0},
	{"exclusiveMaximum", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_number, ES_PART_NUMBER, offsetof(EsNumberRules, exclusive_maximum)},
	{"exclusiveMinimum", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_number, ES_PART_NUMBER, offsetof(EsNumberRules, exclusive_minimum)},
	{"format", ES_DRAFTS, ES_VOCABULARY_FORMAT, read_format, ES_PART_STRING, offsetof(EsStringRules, format)},
	{"if", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_IN_PLACE, offsetof(EsInPlace, condition)},
	{"items", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_items, ES_PART_ARRAY, offsetof(EsArrayRules, rest)},
	{"maxContains", ES_DRAFT_2020_12, ES_VOCABULARY_VALIDATION, read_count, ES_PART_ARRAY, offsetof(EsArrayRules, max_contains)},
	{"maxItems", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_count, ES_PART_ARRAY, offsetof(EsArrayRules, max_items)},
	{"maxLength", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_count, ES_PART_STRING, offsetof(EsStringRules, max_length)},
	{"maxProperties", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_count, ES_PART_OBJECT, offsetof(EsObjectRules, max_properties)},
	{"maximum", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_number, ES_PART_NUMBER, offsetof(EsNumberRules, maximum)},
	{"minContains", ES_DRAFT_2020_12, ES_VOCABULARY_VALIDATION, read_count, ES_PART_ARRAY, offsetof(EsArrayRules, min_contains)},
	{"minItems", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_count, ES_PART_ARRAY, offsetof(EsArrayRules, min_items)},
	{"minLength", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_count, ES_PART_STRING, offsetof(EsStringRules, min_length)},
	{"minProperties", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_count, ES_PART_OBJECT, offsetof(EsObjectRules, min_properties)},
	{"minimum", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_number, ES_PART_NUMBER, offsetof(EsNumberRules, minimum)},
	{"multipleOf", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_number, ES_PART_NUMBER, offsetof(EsNumberRules, multiple_of)},
	{"not", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_IN_PLACE, offsetof(EsInPlace, not)},
	{"oneOf", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schemas, ES_PART_IN_PLACE, offsetof(EsInPlace, one)},
	{"pattern", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_pattern, ES_PART_STRING, offsetof(EsStringRules, pattern)},
	{"patternProperties", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, es_schema_read_patterns, ES_PART_OBJECT, offsetof(EsObjectRules, patterns)},
	{"prefixItems", ES_DRAFT_2020_12, ES_VOCABULARY_APPLICATOR, read_schemas, ES_PART_ARRAY, offsetof(EsArrayRules, prefix)},
	{"properties", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, es_schema_read_properties, ES_PART_OBJECT, offsetof(EsObjectRules, properties)},
	{"propertyNames", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_OBJECT, offsetof(EsObjectRules, names)},
	{"readOnly", ES_DRAFTS, ES_VOCABULARY_CORE, check_boolean, ES_PART_NODE, 0},
	{"required", ES_DRAFTS, ES_VOCABULARY_VALIDATION, es_schema_read_required, ES_PART_OBJECT, offsetof(EsObjectRules, properties)},
	{"then", ES_DRAFTS, ES_VOCABULARY_APPLICATOR, read_schema, ES_PART_IN_PLACE, offsetof(EsInPlace, then)},
	{"title", ES_DRAFTS, ES_VOCABULARY_CORE, check_string, ES_PART_NODE, 0},
	{"type", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_type, ES_PART_NODE, offsetof(EsNode, types)},
	{"unevaluatedItems", ES_DRAFT_2020_12, ES_VOCABULARY_UNEVALUATED, read_schema, ES_PART_ARRAY, offsetof(EsArrayRules, unevaluated)},
	{"unevaluatedProperties", ES_DRAFT_2020_12, ES_VOCABULARY_UNEVALUATED, read_schema, ES_PART_OBJECT, offsetof(EsObjectRules, unevaluated)},
	{"uniqueItems", ES_DRAFTS, ES_VOCABULARY_VALIDATION, read_unique, ES_PART_ARRAY, offsetof(EsArrayRules, is_unique)},
	{"writeOnly", ES_DRAFT_2020_12, ES_VOCABULARY_CORE, check_boolean, ES_PART_NODE, 0},
};

static const struct
{
	const char *name;
	int			bit;
}			types[] = {
	{"null", ES_TYPE_NULL}, {"boolean", ES_TYPE_BOOLEAN}, {"object", ES_TYPE_OBJECT},
	{"array", ES_TYPE_ARRAY}, {"number", ES_TYPE_NUMBER}, {"string", ES_TYPE_STRING},
	{"integer", ES_TYPE_INTEGER},
};

void
es_schema_read_keywords(EsCompile *c, EsNode *node)
{
	EsJsonWalk	walk;
	JsonbValue	key;
	JsonbValue	value;

	es_json_walk_begin(&walk, node->source);
	while (es_json_walk_member(&walk, &key, &value))
		read_keyword(c, node, &key, &value);
	finish(node, node->resource->draft == ES_DRAFT_7 && es_json_find(node->source, "$ref", &value) != NULL);
}

/* False after noting a problem, unless a value has one of those types. */
bool
es_schema_expect(EsCompile *c, EsNode *node, const char *keyword, const JsonbValue *value,
				 int type, const char *what)
{
	if (es_schema_has_type(type, value))
		return true;
	es_schema_problem(c, node, keyword, "must be %s, not %s", what, es_json_kind(value));
	return false;
}

void *
es_schema_part(EsNode *node, EsPart part)
{
	switch (part)
	{
		case ES_PART_NUMBER:
			if (node->number == NULL)
				node->number = palloc0(sizeof(EsNumberRules));
			return node->number;
		case ES_PART_STRING:
			if (node->string == NULL)
			{
				node->string = palloc0(sizeof(EsStringRules));
				node->string->max_length = PG_INT64_MAX;
			}
			return node->string;
		case ES_PART_ARRAY:
			if (node->array == NULL)
			{
				node->array = palloc0(sizeof(EsArrayRules));
				node->array->max_items = PG_INT64_MAX;
				node->array->min_contains = 1;
				node->array->max_contains = PG_INT64_MAX;
				node->array->contains_evaluates = node->resource->draft != ES_DRAFT_7;
			}
			return node->array;
		case ES_PART_OBJECT:
			if (node->object == NULL)
			{
				node->object = palloc0(sizeof(EsObjectRules));
				node->object->max_properties = PG_INT64_MAX;
			}
			return node->object;
		case ES_PART_IN_PLACE:
			if (node->in_place == NULL)
				node->in_place = palloc0(sizeof(EsInPlace));
			return node->in_place;
		default:
			return node;
	}
}

void *
es_schema_slot(EsNode *node, const EsKeyword *keyword)
{
	return (char *) es_schema_part(node, keyword->part) + keyword->offset;
}

EsPattern *
es_schema_pattern(EsCompile *c, EsNode *node, const char *keyword, const JsonbValue *value)
{
	const char *text = es_json_string(value);
	bool		found;
	EsPatternEntry *entry = hash_search(c->patterns, &text, HASH_ENTER, &found);

	if (!found)
		entry->pattern = es_pattern_compile(text, strlen(text), &entry->problem);
	if (entry->pattern == NULL)
		es_schema_problem(c, node, keyword, "%s: %s", es_json_quote(value), entry->problem);
	return entry->pattern;
}

static void
read_keyword(EsCompile *c, EsNode *node, JsonbValue *key, JsonbValue *value)
{
	const EsKeyword *keyword = bsearch(key, keywords, lengthof(keywords), sizeof(EsKeyword), compare_keyword);

	if (keyword != NULL && (keyword->drafts & node->resource->draft) != 0 &&
		(keyword->vocabulary & node->resource->vocabularies) != 0)
		keyword->read(c, node, keyword, value);
}

static int
compare_keyword(const void *key, const void *keyword)
{
	const JsonbValue *name = key;
	const char *other = ((const EsKeyword *) keyword)->name;
	int			result = strncmp(name->val.string.val, other, name->val.string.len);

	return result != 0 || other[name->val.string.len] == '\0' ? result : -1;
}

/*
 * What depends on several keywords.  A $ref of draft-07 stands alone: what is
 * beside it was read for the names in it.
 */
static void
finish(EsNode *node, bool is_alone)
{
	if (is_alone)
	{
		node->types = ES_TYPE_ANY;
		node->constant = NULL;
		node->values = NULL;
		node->number = NULL;
		node->string = NULL;
		node->array = NULL;
		node->object = NULL;
		memset(node->in_place, 0, sizeof(EsInPlace));
	}
	if (node->array != NULL && node->array->is_list)
		node->array->rest = node->array->additional;
	if (node->in_place != NULL && node->in_place->condition == NULL)
		node->in_place->then = node->in_place->otherwise = NULL;
}

/* ---- readers ---- */

READER(read_schema)
{
	*(EsNode **) es_schema_slot(node, keyword) = es_schema_build(c, value, node, keyword->name, NULL);
}

READER(read_schemas)
{
	EsNodes    *nodes = es_schema_slot(node, keyword);
	EsJsonWalk	walk;
	JsonbValue	element;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_ARRAY, "an array of schemas"))
		return;
	es_json_walk_begin(&walk, value->val.binary.data);
	if (walk.count == 0)
		es_schema_problem(c, node, keyword->name, "must not be empty");
	nodes->node = palloc(sizeof(EsNode *) * Max(walk.count, 1));
	while (es_json_walk_element(&walk, &element))
	{
		nodes->node[nodes->count] = es_schema_build(c, &element, node, keyword->name,
													psprintf("%d", nodes->count));
		nodes->count++;
	}
}

READER(read_definitions)
{
	EsJsonWalk	walk;
	JsonbValue	name;
	JsonbValue	schema;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_OBJECT, "an object of schemas"))
		return;
	es_json_walk_begin(&walk, value->val.binary.data);
	while (es_json_walk_member(&walk, &name, &schema))
		(void) es_schema_build(c, &schema, node, keyword->name, es_json_string(&name));
}

/* In draft-07 an array of items is what prefixItems is now. */
READER(read_items)
{
	EsArrayRules *rules = es_schema_part(node, ES_PART_ARRAY);

	if (node->resource->draft != ES_DRAFT_7 || !es_json_is_array(value))
	{
		read_schema(c, node, keyword, value);
		return;
	}
	rules->is_list = true;
	if (JsonContainerSize(value->val.binary.data) > 0)
	{
		EsKeyword	prefix = *keyword;

		prefix.offset = offsetof(EsArrayRules, prefix);
		read_schemas(c, node, &prefix, value);
	}
}

READER(read_type)
{
	EsJsonWalk	walk = {.count = 1};
	JsonbValue	name = *value;
	int			allowed = 0;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_STRING | ES_TYPE_ARRAY,
						  "a type or an array of types"))
		return;
	if (value->type == jbvBinary)
		es_json_walk_begin(&walk, value->val.binary.data);
	if (walk.count == 0)
		es_schema_problem(c, node, keyword->name, "must not be empty");
	for (int n = walk.count; n > 0; n--)
	{
		int			bit = 0;

		if (value->type == jbvBinary)
			(void) es_json_walk_element(&walk, &name);
		for (int i = 0; i < (int) lengthof(types) && name.type == jbvString; i++)
		{
			if (es_json_compare_keys(types[i].name, strlen(types[i].name),
									 name.val.string.val, name.val.string.len) == 0)
				bit = types[i].bit;
		}
		if (bit == 0)
			es_schema_problem(c, node, keyword->name, "%s is no type of JSON",
							  name.type == jbvString ? es_json_quote(&name) : es_json_kind(&name));
		else if ((allowed & bit) != 0)
			es_schema_problem(c, node, keyword->name, "has %s twice", es_json_quote(&name));
		allowed |= bit;
	}
	node->types = (allowed & ES_TYPE_NUMBER) != 0 ? allowed & ~ES_TYPE_INTEGER : allowed;
}

READER(read_const)
{
	node->constant = palloc(sizeof(JsonbValue));
	*node->constant = *value;
}

READER(read_enum)
{
	EsValues   *values = palloc0(sizeof(EsValues));
	EsJsonWalk	walk;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_ARRAY, "an array of values"))
		return;
	es_json_walk_begin(&walk, value->val.binary.data);
	values->value = palloc(sizeof(JsonbValue) * Max(walk.count, 1));
	values->count = walk.count;
	for (int i = 0; i < walk.count; i++)
		(void) es_json_walk_element(&walk, &values->value[i]);
	qsort(values->value, values->count, sizeof(JsonbValue), compare_values);
	node->values = values;
}

READER(read_number)
{
	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_NUMBER, "a number"))
		return;
	if (keyword->offset == offsetof(EsNumberRules, multiple_of) && sign_of(value->val.numeric) <= 0)
	{
		es_schema_problem(c, node, keyword->name, "must be greater than 0");
		return;
	}
	*(Numeric *) es_schema_slot(node, keyword) = value->val.numeric;
	node->number->zero = int64_to_numeric(0);
}

/* What is larger than any count has no limit. */
READER(read_count)
{
	int64	   *count = es_schema_slot(node, keyword);
	Datum		largest = NumericGetDatum(int64_to_numeric(PG_INT64_MAX));

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_INTEGER, "an integer"))
		return;
	if (sign_of(value->val.numeric) < 0)
		es_schema_problem(c, node, keyword->name, "must not be negative");
	else if (DatumGetBool(DirectFunctionCall2(numeric_ge, NumericGetDatum(value->val.numeric), largest)))
		*count = PG_INT64_MAX;
	else
		*count = es_json_number(value);
}

READER(read_pattern)
{
	if (es_schema_expect(c, node, keyword->name, value, ES_TYPE_STRING, "a regular expression"))
		*(EsPattern **) es_schema_slot(node, keyword) = es_schema_pattern(c, node, keyword->name, value);
}

/* Formats are asserted by those who were asked to; of those not known nothing is asked. */
READER(read_format)
{
	EsStringRules *rules;
	char	   *name;

	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_STRING, "a string"))
		return;
	name = es_json_string(value);
	if (es_format_find(name) == NULL ||
		!(c->assert_formats || (node->resource->vocabularies & ES_VOCABULARY_ASSERTED) != 0))
		return;
	rules = es_schema_part(node, ES_PART_STRING);
	rules->format = name;
	rules->check_format = es_format_find(name);
}

READER(read_unique)
{
	if (es_schema_expect(c, node, keyword->name, value, ES_TYPE_BOOLEAN, "true or false"))
		*(bool *) es_schema_slot(node, keyword) = value->val.boolean;
}

/* ---- readers of what only describes ---- */

READER(check_schema)
{
	(void) es_schema_build(c, value, node, keyword->name, NULL);
}

READER(check_boolean)
{
	(void) es_schema_expect(c, node, keyword->name, value, ES_TYPE_BOOLEAN, "true or false");
}

READER(check_string)
{
	(void) es_schema_expect(c, node, keyword->name, value, ES_TYPE_STRING, "a string");
}

READER(check_array)
{
	(void) es_schema_expect(c, node, keyword->name, value, ES_TYPE_ARRAY, "an array");
}

READER(check_object)
{
	(void) es_schema_expect(c, node, keyword->name, value, ES_TYPE_OBJECT, "an object");
}

static int
compare_values(const void *a, const void *b)
{
	return es_json_compare(a, b);
}

static int
sign_of(Numeric number)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(number),
											 NumericGetDatum(int64_to_numeric(0))));
}
