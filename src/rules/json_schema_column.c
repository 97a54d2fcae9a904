/*
 * json_schema_column.c
 *		The properties of a schema as columns: their types, and what a column shows of
 *		a value that may not be of its type.
 *
 * A column has a type narrower than jsonb where all that its property may be fits
 * into that type.  A value that does not fit, which events from before the schema
 * may well have, is NULL: nothing here raises an error over one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/json_schema_column.h"
#include "rules/json_schema_compat_parts.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* Types through more references than these are any. */
#define MAX_DEPTH	16

/* Dates and times are not longer, but for fractions that nobody needs. */
#define MAX_TIME	60

/* Formats whose strings have a type of their own. */
static const struct
{
	const char *format;
	Oid			type;
	PGFunction	input;
}			formats[] = {
	{"date-time", TIMESTAMPTZOID, timestamptz_in},
	{"date", DATEOID, date_in},
	{"time", TIMETZOID, timetz_in},
	{"uuid", UUIDOID, uuid_in},
	{"ipv4", INETOID, inet_in},
	{"ipv6", INETOID, inet_in},
};

static List *add_name(List *names, const JsonbValue *name);
static EsSchemaColumn *make_column(List *whole, List *cases, const JsonbValue *name);
static List *schemas_of(List *nodes, EsName name);
static int	types_of(const EsNode *node, int depth);
static int	types_of_branches(const EsNodes *branches, int depth);
static int	types_of_value(const JsonbValue *value);
static Oid	column_type(int types, const char *format);
static char *find_word(List *nodes, const char *keyword);
static bool is_column_type(Oid type);
static bool string_field(Oid type, const char *bytes, int length, Datum *result);
static bool is_in_range(Oid type, const char *bytes, int length);
static bool integer_field(Numeric number, Datum *result);

PG_FUNCTION_INFO_V1(eventsource_event_field);

/* event_field(data, property, NULL::type): the member as that type, NULL where it is not of it */
Datum
eventsource_event_field(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_rettype(fcinfo->flinfo);
	JsonbValue	buffer;
	JsonbValue *value;
	Jsonb	   *data;
	text	   *name;
	Datum		result;

	if (!is_column_type(type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("no property becomes %s", format_type_be(type)),
				 errdetail("The third argument says by its type what the property is wanted as."),
				 errhint("Use NULL of type text, bigint, numeric, boolean, timestamptz, date, timetz, uuid, inet or jsonb.")));
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	data = PG_GETARG_JSONB_P(0);
	name = PG_GETARG_TEXT_PP(1);
	if (!JB_ROOT_IS_OBJECT(data))
		PG_RETURN_NULL();
	value = getKeyJsonValueFromContainer(&data->root, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &buffer);
	if (value == NULL)
		PG_RETURN_NULL();
	if (type == JSONBOID)
		PG_RETURN_JSONB_P(JsonbValueToJsonb(value));
	if (type == BOOLOID && value->type == jbvBool)
		PG_RETURN_BOOL(value->val.boolean);
	if (type == NUMERICOID && value->type == jbvNumeric)
		PG_RETURN_DATUM(datumCopy(NumericGetDatum(value->val.numeric), false, -1));
	if (type == INT8OID && value->type == jbvNumeric && integer_field(value->val.numeric, &result))
		PG_RETURN_DATUM(result);
	if (value->type == jbvString && string_field(type, value->val.string.val, value->val.string.len, &result))
		PG_RETURN_DATUM(result);
	PG_RETURN_NULL();
}

List *
es_schema_columns(const EsSchema *schema)
{
	List	   *root = list_make1(schema->root);
	List	   *whole = es_compat_conjuncts(schema->root);
	List	   *cases = es_compat_closure(root);
	List	   *names = NIL;
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, whole)
	{
		const EsNode *node = lfirst(lc);
		JsonbValue *required = node->source == NULL ? NULL : es_json_find(node->source, "required", NULL);
		EsJsonWalk	walk;
		JsonbValue	name;

		if (required == NULL)
			continue;
		es_json_walk_begin(&walk, required->val.binary.data);
		while (es_json_walk_element(&walk, &name))
			names = add_name(names, &name);
	}
	foreach(lc, cases)
	{
		const EsObjectRules *rules = ((const EsNode *) lfirst(lc))->object;

		for (int i = 0; rules != NULL && i < rules->nproperties; i++)
		{
			JsonbValue	name = {.type = jbvString};

			CHECK_FOR_INTERRUPTS();
			name.val.string.val = (char *) rules->properties[i].name;
			name.val.string.len = rules->properties[i].length;
			names = add_name(names, &name);
		}
	}
	foreach(lc, names)
		columns = lappend(columns, make_column(whole, cases, lfirst(lc)));
	return columns;
}

static List *
add_name(List *names, const JsonbValue *name)
{
	JsonbValue *copy;
	ListCell   *lc;

	foreach(lc, names)
	{
		if (es_json_compare(lfirst(lc), name) == 0)
			return names;
	}
	copy = palloc(sizeof(JsonbValue));
	*copy = *name;
	return lappend(names, copy);
}

/* By what holds in any case; else by all that is said of it in some. */
static EsSchemaColumn *
make_column(List *whole, List *cases, const JsonbValue *name)
{
	EsSchemaColumn *column = palloc0(sizeof(EsSchemaColumn));
	EsName		property = es_name(name->val.string.val, name->val.string.len);
	List	   *schemas = schemas_of(whole, property);
	bool		is_sure = schemas != NIL;
	int			types = is_sure ? ES_TYPES_ALL : 0;
	ListCell   *lc;

	if (!is_sure)
		schemas = schemas_of(cases, property);
	foreach(lc, schemas)
	{
		int			some = types_of(lfirst(lc), 0);

		types = is_sure ? types & some : types | some;
	}
	schemas = es_compat_closure(schemas);
	column->property = es_json_string(name);
	column->type = column_type(types, find_word(schemas, "format"));
	column->description = find_word(schemas, "description");
	return column;
}

/* What the nodes say of a property of that name. */
static List *
schemas_of(List *nodes, EsName name)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, nodes)
	{
		const EsObjectRules *rules = ((const EsNode *) lfirst(lc))->object;

		for (int i = 0; rules != NULL && i < rules->nproperties; i++)
		{
			const EsProperty *property = &rules->properties[i];

			if (property->node != NULL &&
				es_json_compare_keys(property->name, property->length, name.bytes, name.length) == 0)
				result = list_append_unique_ptr(result, property->node);
		}
	}
	return result;
}

/* The types that values of a node can have. */
static int
types_of(const EsNode *node, int depth)
{
	int			types = es_compat_types(node);
	int			listed = 0;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (depth >= MAX_DEPTH)
		return types;
	if (node->constant != NULL)
		types &= types_of_value(node->constant);
	for (int i = 0; node->values != NULL && i < node->values->count; i++)
		listed |= types_of_value(&node->values->value[i]);
	if (node->values != NULL)
		types &= listed;
	if (node->in_place == NULL)
		return types;
	if (node->in_place->ref != NULL)
		types &= types_of(node->in_place->ref, depth + 1);
	for (int i = 0; i < node->in_place->all.count; i++)
		types &= types_of(node->in_place->all.node[i], depth + 1);
	types &= types_of_branches(&node->in_place->any, depth);
	return types & types_of_branches(&node->in_place->one, depth);
}

static int
types_of_branches(const EsNodes *branches, int depth)
{
	int			types = branches->count == 0 ? ES_TYPES_ALL : 0;

	for (int i = 0; i < branches->count; i++)
		types |= types_of(branches->node[i], depth + 1);
	return types;
}

static int
types_of_value(const JsonbValue *value)
{
	static const int all[] = {ES_TYPE_INTEGER, ES_TYPE_NUMBER, ES_TYPE_STRING, ES_TYPE_BOOLEAN, ES_TYPE_NULL,
	ES_TYPE_ARRAY, ES_TYPE_OBJECT};

	for (int i = 0; i < (int) lengthof(all); i++)
	{
		if (es_schema_has_type(all[i], value))
			return all[i] == ES_TYPE_NUMBER ? ES_TYPES_NUMERIC : all[i];
	}
	return 0;
}

static Oid
column_type(int types, const char *format)
{
	types &= ~ES_TYPE_NULL;
	if (types == ES_TYPE_BOOLEAN)
		return BOOLOID;
	if (types == ES_TYPE_INTEGER)
		return INT8OID;
	if (types == ES_TYPES_NUMERIC)
		return NUMERICOID;
	if (types != ES_TYPE_STRING)
		return JSONBOID;
	for (int i = 0; format != NULL && i < (int) lengthof(formats); i++)
	{
		if (strcmp(formats[i].format, format) == 0)
			return formats[i].type;
	}
	return TEXTOID;
}

/* The first of those nodes that has the keyword with a string says what it is. */
static char *
find_word(List *nodes, const char *keyword)
{
	ListCell   *lc;

	foreach(lc, nodes)
	{
		const EsNode *node = lfirst(lc);
		char	   *word = node->source == NULL ? NULL : es_json_find_string(node->source, keyword);

		if (word != NULL)
			return word;
	}
	return NULL;
}

/* Is it one that column_type() gives? */
static bool
is_column_type(Oid type)
{
	for (int i = 0; i < (int) lengthof(formats); i++)
	{
		if (formats[i].type == type)
			return true;
	}
	return type == TEXTOID || type == INT8OID || type == NUMERICOID || type == BOOLOID || type == JSONBOID;
}

/* False where the string is not of that type. */
static bool
string_field(Oid type, const char *bytes, int length, Datum *result)
{
	if (type == TEXTOID)
	{
		*result = PointerGetDatum(cstring_to_text_with_len(bytes, length));
		return true;
	}
	for (int i = 0; i < (int) lengthof(formats); i++)
	{
		EsFormatCheck check;

		if (formats[i].type != type)
			continue;
		check = es_format_find(formats[i].format);
		if (check(bytes, length) && is_in_range(type, bytes, length))
		{
			*result = DirectFunctionCall3(formats[i].input, CStringGetDatum(pnstrdup(bytes, length)),
										  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
			return true;
		}
	}
	return false;
}

/*
 * Of what RFC 3339 allows, the server has no year 0, no offsets of 16 hours, and no
 * fractions of leap seconds.
 */
static bool
is_in_range(Oid type, const char *bytes, int length)
{
	const char *seconds = bytes + (type == TIMETZOID ? strlen("hh:mm:") : strlen("yyyy-mm-ddThh:mm:"));

	if (type == UUIDOID || type == INETOID)
		return true;
	if (length > MAX_TIME || (type != TIMETZOID && strncmp(bytes, "0000", 4) == 0))
		return false;
	if (type == DATEOID)
		return true;
	return (strncmp(seconds, "60", 2) != 0 || seconds[2] != '.') &&
		(pg_tolower(bytes[length - 1]) == 'z' || strncmp(bytes + length - strlen("hh:mm"), "16", 2) < 0);
}

static bool
integer_field(Numeric number, Datum *result)
{
	Datum		value = NumericGetDatum(number);
	Datum		largest = NumericGetDatum(int64_to_numeric(PG_INT64_MAX));
	Datum		smallest = NumericGetDatum(int64_to_numeric(PG_INT64_MIN));

	if (numeric_is_nan(number) || numeric_is_inf(number) ||
		DatumGetInt32(DirectFunctionCall1(numeric_min_scale, value)) != 0 ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, value, largest)) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, value, smallest)))
		return false;
	*result = DirectFunctionCall1(numeric_int8, value);
	return true;
}
