/*
 * json.c
 *		Reading jsonb by its members, and building it member by member.
 *
 * Everything is palloc'd in the current memory context, and what is read points
 * into the jsonb that it was read from.
 */
#include "log/json.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* Bytes of a string that a message shows. */
#define SHOWN	64

static void set_string(JsonbValue *value, const char *bytes, int length);

/* ---- reading ---- */

JsonbValue *
es_json_find(JsonbContainer *container, const char *key, JsonbValue *buffer)
{
	return !JsonContainerIsObject(container) ? NULL :
		getKeyJsonValueFromContainer(container, key, strlen(key), buffer);
}

char *
es_json_find_string(JsonbContainer *container, const char *key)
{
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(container, key, &buffer);

	return value == NULL || value->type != jbvString ? NULL : es_json_string(value);
}

bool
es_json_find_number(JsonbContainer *container, const char *key, int64 *number)
{
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(container, key, &buffer);

	if (value == NULL || value->type != jbvNumeric)
		return false;
	*number = es_json_number(value);
	return true;
}

void
es_json_value(Jsonb *jsonb, JsonbValue *value)
{
	if (jsonb == NULL)
		value->type = jbvNull;
	else if (!JsonbExtractScalar(&jsonb->root, value))
		JsonbToJsonbValue(jsonb, value);
}

int
es_json_pairs(const JsonbValue *value, EsJsonPair **pairs)
{
	JsonbContainer *container = value->val.binary.data;
	int			size = JsonContainerSize(container);
	int			n = 0;
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	v;

	*pairs = palloc(sizeof(EsJsonPair) * Max(size, 1));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			(*pairs)[n].key = v;
		else if (token == WJB_VALUE)
			(*pairs)[n++].value = v;
	}
	return n;
}

int
es_json_elements(const JsonbValue *value, JsonbValue **elements)
{
	JsonbContainer *container = value->val.binary.data;
	int			n = 0;
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	v;

	*elements = palloc(sizeof(JsonbValue) * Max(JsonContainerSize(container), 1));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			(*elements)[n++] = v;
	}
	return n;
}

bool
es_json_is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

bool
es_json_is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) &&
		!JsonContainerIsScalar(value->val.binary.data);
}

const char *
es_json_kind(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		default:
			if (es_json_is_object(value))
				return "an object";
			return es_json_is_array(value) ? "an array" : "a scalar";
	}
}

char *
es_json_string(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

char *
es_json_quote(const JsonbValue *value)
{
	return es_json_quote_bytes(value->val.string.val, value->val.string.len);
}

char *
es_json_quote_bytes(const char *bytes, int length)
{
	if (length <= SHOWN)
		return psprintf("\"%.*s\"", length, bytes);
	return psprintf("\"%.*s...\"", pg_mbcliplen(bytes, length, SHOWN), bytes);
}

int64
es_json_number(const JsonbValue *value)
{
	return value->type != jbvNumeric ? 0 :
		DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

/* ---- building ---- */

void
es_json_push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	label;

	set_string(&label, key, strlen(key));
	pushJsonbValue(state, WJB_KEY, &label);
}

void
es_json_push_value(JsonbParseState **state, const char *key, JsonbValue *value)
{
	es_json_push_key(state, key);
	pushJsonbValue(state, WJB_VALUE, value);
}

void
es_json_push_string(JsonbParseState **state, const char *key, const char *string)
{
	JsonbValue	value = {.type = jbvNull};

	if (string != NULL)
		set_string(&value, string, strlen(string));
	es_json_push_value(state, key, &value);
}

void
es_json_push_text(JsonbParseState **state, const char *key, const text *string)
{
	JsonbValue	value = {.type = jbvNull};

	if (string != NULL)
		set_string(&value, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
	es_json_push_value(state, key, &value);
}

void
es_json_push_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric,.val.numeric = int64_to_numeric(number)};

	es_json_push_value(state, key, &value);
}

void
es_json_push_bool(JsonbParseState **state, const char *key, bool boolean)
{
	JsonbValue	value = {.type = jbvBool,.val.boolean = boolean};

	es_json_push_value(state, key, &value);
}

void
es_json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *jsonb)
{
	JsonbValue	value;

	es_json_value(jsonb, &value);
	es_json_push_value(state, key, &value);
}

void
es_json_push_members(JsonbParseState **state, Jsonb *object)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;

	if (object == NULL)
		return;
	it = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while ((token = JsonbIteratorNext(&it, &v, true)) == WJB_KEY || token == WJB_VALUE)
		pushJsonbValue(state, token, &v);
}

void
es_json_push_element(JsonbParseState **state, const char *string)
{
	JsonbValue	value;

	set_string(&value, string, strlen(string));
	pushJsonbValue(state, WJB_ELEM, &value);
}

static void
set_string(JsonbValue *value, const char *bytes, int length)
{
	value->type = jbvString;
	value->val.string.val = unconstify(char *, bytes);
	value->val.string.len = length;
}

List *
es_json_find_strings(Jsonb *data, const char *key)
{
	JsonbValue	buffer;
	JsonbValue *list = es_json_find(&data->root, key, &buffer);
	List	   *result = NIL;
	JsonbValue *elements;
	int			count;

	if (list == NULL || !es_json_is_array(list))
		return NIL;
	count = es_json_elements(list, &elements);
	for (int i = 0; i < count; i++)
		if (elements[i].type == jbvString)
			result = lappend(result, es_json_string(&elements[i]));
	return result;
}
