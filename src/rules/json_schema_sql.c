/*
 * json_schema_sql.c
 *		JSON Schema for SQL.  Each call site keeps the program of the schema that it
 *		saw last.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "log/json_walk.h"
#include "nodes/primnodes.h"
#include "rules/json_schema.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What a call site keeps, in its own memory. */
typedef struct CallSite
{
	bool		is_constant;	/* the schema's argument is */
	bool		assert_formats; /* the setting that it was compiled with */
	Jsonb	   *text;			/* the schema as it was given */
	EsSchema   *schema;			/* NULL: none yet */
} CallSite;

bool		es_guc_assert_formats;

static EsSchema *schema_of_call(FunctionCallInfo fcinfo);
static bool is_constant(Node *call);
static void fill_site(CallSite *site, Jsonb *text, MemoryContext context);

PG_FUNCTION_INFO_V1(eventsource_jsonb_matches_schema);
PG_FUNCTION_INFO_V1(eventsource_jsonschema_is_valid);
PG_FUNCTION_INFO_V1(eventsource_jsonschema_validation_errors);

Datum
eventsource_jsonb_matches_schema(PG_FUNCTION_ARGS)
{
	EsSchema   *schema = schema_of_call(fcinfo);
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
	EsSchema   *schema = es_schema_compile(PG_GETARG_JSONB_P(0), false, &problems);

	if (schema != NULL)
		es_schema_free(schema);
	PG_RETURN_BOOL(schema != NULL);
}

Datum
eventsource_jsonschema_validation_errors(PG_FUNCTION_ARGS)
{
	EsSchema   *schema = schema_of_call(fcinfo);
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

/*
 * The program of a schema, from the call before if that had the same.  A constant
 * always is, and need not be looked at.
 */
static EsSchema *
schema_of_call(FunctionCallInfo fcinfo)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;
	Jsonb	   *text;

	if (site == NULL)
	{
		site = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallSite));
		site->is_constant = is_constant(fcinfo->flinfo->fn_expr);
		fcinfo->flinfo->fn_extra = site;
	}
	if (site->schema != NULL && site->assert_formats == es_guc_assert_formats && site->is_constant)
		return site->schema;
	text = PG_GETARG_JSONB_P(0);

	if (site->schema == NULL || site->assert_formats != es_guc_assert_formats ||
		VARSIZE(site->text) != VARSIZE(text) || memcmp(site->text, text, VARSIZE(text)) != 0)
		fill_site(site, text, fcinfo->flinfo->fn_mcxt);
	PG_FREE_IF_COPY(text, 0);
	return site->schema;
}

/* Is the first argument one? */
static bool
is_constant(Node *call)
{
	return call != NULL && IsA(call, FuncExpr) && IsA(linitial(((FuncExpr *) call)->args), Const);
}

/* An error leaves the site empty, and the program to the caller's short-lived memory. */
static void
fill_site(CallSite *site, Jsonb *text, MemoryContext context)
{
	List	   *problems;
	EsSchema   *schema;

	if (site->schema != NULL)
	{
		es_schema_free(site->schema);
		pfree(site->text);
		site->schema = NULL;
	}
	site->assert_formats = es_guc_assert_formats;
	schema = es_schema_compile(text, site->assert_formats, &problems);
	if (schema == NULL)
		es_schema_raise(problems);
	site->text = MemoryContextAlloc(context, VARSIZE(text));
	memcpy(site->text, text, VARSIZE(text));
	es_schema_keep(schema, context);
	site->schema = schema;
}
