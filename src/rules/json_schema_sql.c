/*
 * json_schema_sql.c
 *		JSON Schema for SQL.  Each call site keeps the program of the schema that it
 *		saw last.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "log/json_walk.h"
#include "rules/json_schema.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What a call site keeps, in its own memory. */
typedef struct CallSite
{
	Jsonb	   *text;			/* the schema as it was given */
	EsSchema   *schema;
} CallSite;

static EsSchema *schema_of_call(FunctionCallInfo fcinfo, Jsonb *text);

PG_FUNCTION_INFO_V1(eventsource_jsonb_matches_schema);
PG_FUNCTION_INFO_V1(eventsource_jsonschema_is_valid);
PG_FUNCTION_INFO_V1(eventsource_jsonschema_validation_errors);

Datum
eventsource_jsonb_matches_schema(PG_FUNCTION_ARGS)
{
	EsSchema   *schema = schema_of_call(fcinfo, PG_GETARG_JSONB_P(0));
	Jsonb	   *data = PG_GETARG_JSONB_P(1);
	JsonbValue	value;
	bool		result;

	es_json_root(data, &value);
	result = es_schema_valid(schema, &value);
	PG_FREE_IF_COPY(data, 1);
	PG_RETURN_BOOL(result);
}

Datum
eventsource_jsonschema_is_valid(PG_FUNCTION_ARGS)
{
	List	   *problems;
	EsSchema   *schema = es_schema_compile(PG_GETARG_JSONB_P(0), &problems);

	if (schema != NULL)
		es_schema_free(schema);
	PG_RETURN_BOOL(schema != NULL);
}

Datum
eventsource_jsonschema_validation_errors(PG_FUNCTION_ARGS)
{
	EsSchema   *schema = schema_of_call(fcinfo, PG_GETARG_JSONB_P(0));
	JsonbValue	value;
	List	   *errors;
	ListCell   *lc;
	Datum	   *lines;
	int			count = 0;

	es_json_root(PG_GETARG_JSONB_P(1), &value);
	errors = es_schema_errors(schema, &value);
	lines = palloc(sizeof(Datum) * Max(list_length(errors), 1));
	foreach(lc, errors)
		lines[count++] = CStringGetTextDatum(es_schema_error_line(lfirst(lc)));
	PG_RETURN_ARRAYTYPE_P(construct_array(lines, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The program of a schema, from the call before if that had the same. */
static EsSchema *
schema_of_call(FunctionCallInfo fcinfo, Jsonb *text)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;
	MemoryContext caller;
	List	   *problems;
	EsSchema   *schema;

	if (site != NULL && site->text !=NULL && VARSIZE(site->text) == VARSIZE(text) &&
		memcmp(site->text, text, VARSIZE(text)) == 0)
	{
		PG_FREE_IF_COPY(text, 0);
		return site->schema;
	}

	/* An error leaves the program to the caller's short-lived memory. */
	schema = es_schema_compile(text, &problems);
	if (schema == NULL)
		es_schema_raise(problems);
	caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	if (site == NULL)
		fcinfo->flinfo->fn_extra = site = palloc0(sizeof(CallSite));
	if (site->text !=NULL)
	{
		es_schema_free(site->schema);
		pfree(site->text);
		site->text = NULL;
	}
	es_schema_keep(schema, fcinfo->flinfo->fn_mcxt);
	site->schema = schema;
	site->text = palloc(VARSIZE(text));
	memcpy(site->text, text, VARSIZE(text));
	MemoryContextSwitchTo(caller);
	return schema;
}
