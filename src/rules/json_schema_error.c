/*
 * json_schema_error.c
 *		Failures of an instance, as something one can read.
 *
 * A message says what is expected.  It names properties but no values of the
 * instance, which may be nobody's business but its owner's.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "log/format.h"
#include "log/json.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rules/json_schema_parts.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

/* Bytes of a name in a path, and of a path, that anybody wants to read. */
#define MAX_NAME	200
#define MAX_PATH	2000

/* Of the values of an enum. */
#define MAX_VALUES	300

static bool is_known(const EsEval *eval, const EsSchemaError *error);
static void append_place(StringInfo path, const EsPlace *place);

/* By bit of a type. */
static const char *const type_names[] = {
	"null", "a boolean", "an object", "an array", "a number", "a string", "an integer"
};

void
es_schema_note(EsEval *eval, const EsPlace *place, const char *keyword, const char *format,...)
{
	EsSchemaError *error = palloc(sizeof(EsSchemaError));
	StringInfoData path;
	StringInfoData message;
	va_list		args;

	initStringInfo(&path);
	append_place(&path, place);
	initStringInfo(&message);
	va_start(args, format);
	es_append_va(&message, format, args);
	va_end(args);
	error->path = path.data;
	error->keyword = keyword;
	error->message = message.data;
	if (is_known(eval, error))
		return;
	eval->errors = lappend(eval->errors, error);
	if (++eval->nerrors >= ES_SCHEMA_MAX_ERRORS)
		eval->is_listing = false;
}

char *
es_schema_error_line(const EsSchemaError *error)
{
	return psprintf("%s: %s (%s)", error->path[0] == '\0' ? "(root)" : error->path,
					error->message, error->keyword);
}

/* Several schemas may ask for the same thing; once is enough to read it. */
static bool
is_known(const EsEval *eval, const EsSchemaError *error)
{
	ListCell   *lc;

	foreach(lc, eval->errors)
	{
		const EsSchemaError *other = lfirst(lc);

		if (strcmp(other->path, error->path) == 0 && strcmp(other->message, error->message) == 0 &&
			strcmp(other->keyword, error->keyword) == 0)
			return true;
	}
	return false;
}

/* "a string, a number or null" */
char *
es_schema_types_text(int types)
{
	StringInfoData text;
	int			last = -1;

	initStringInfo(&text);
	for (int i = 0; i < (int) lengthof(type_names); i++)
	{
		if ((types & (1 << i)) != 0)
			last = i;
	}
	for (int i = 0; i <= last; i++)
	{
		if ((types & (1 << i)) != 0)
			appendStringInfo(&text, "%s%s", text.len == 0 ? "" : i == last ? " or " : ", ", type_names[i]);
	}
	return text.data;
}

char *
es_schema_number_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

/* The values of an enum, if they are few and short enough to be read in a message. */
const char *
es_schema_values_text(const EsValues *values)
{
	StringInfoData list;
	bool		is_readable = values->count > 0;

	initStringInfo(&list);
	for (int i = 0; is_readable && i < values->count; i++)
	{
		const JsonbValue *value = &values->value[i];

		appendStringInfoString(&list, i == 0 ? "" : ", ");
		if (value->type == jbvString)
			escape_json(&list, es_json_string(value));
		else if (value->type == jbvNumeric)
			appendStringInfoString(&list, es_schema_number_text(value->val.numeric));
		else if (value->type == jbvBool)
			appendStringInfoString(&list, value->val.boolean ? "true" : "false");
		else if (value->type == jbvNull)
			appendStringInfoString(&list, "null");
		else
			is_readable = false;
		is_readable &= list.len < MAX_VALUES;
	}
	return is_readable ? list.data : "the values that the schema names";
}

/* The JSON pointer of a place; names and paths of no end are cut. */
static void
append_place(StringInfo path, const EsPlace *place)
{
	int			length;

	check_stack_depth();
	if (place == NULL)
		return;
	append_place(path, place->up);
	if (path->len >= MAX_PATH)
		return;
	appendStringInfoChar(path, '/');
	if (place->key == NULL)
		appendStringInfo(path, "%d", place->number);
	length = place->key == NULL ? 0 : pg_mbcliplen(place->key, place->number, MAX_NAME);
	for (int i = 0; i < length; i++)
	{
		if (place->key[i] == '~' || place->key[i] == '/')
			appendStringInfoString(path, place->key[i] == '~' ? "~0" : "~1");
		else
			appendStringInfoChar(path, place->key[i]);
	}
	if (place->key != NULL && length < place->number)
		appendStringInfoString(path, "...");
	if (path->len >= MAX_PATH)
		appendStringInfoString(path, "/...");
}
