/*
 * definition.c
 *		What the definitions of subscriptions and handlers have in common.
 */
#include "feed/definition.h"

#include "catalog/pg_type.h"
#include "errors.h"
#include "funcapi.h"
#include "log/config.h"
#include "miscadmin.h"
#include "rules/category_list.h"
#include "rules/expr.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"

static const char *name_problem(const char *name);
static const char *personal_problem(const char *filter);
static void compile_filter(void *arg);

void
es_definition_check(const char *name, ArrayType *category, const char *filter, List **problems)
{
	const char *problem = name_problem(name);

	if (problem != NULL)
		*problems = lappend(*problems, psprintf("name: %s", problem));
	if (category != NULL)
		*problems = list_concat(*problems, es_category_list_check(category));
	problem = filter == NULL ? NULL : es_expr_problem(compile_filter, unconstify(char *, filter));
	if (problem != NULL)
		*problems = lappend(*problems, psprintf("filter: %s", problem));
	else if (filter != NULL && (problem = personal_problem(filter)) != NULL)
		*problems = lappend(*problems, psprintf("filter: %s", problem));
}

/* What is delivered must be the same for whoever asks, and after an erasure. */
static const char *
personal_problem(const char *filter)
{
	EsExprScope scope = {.owner = GetUserId()};
	EsExpr	   *expr = es_expr_compile(&scope, filter, BOOLOID, -1);
	EsPiiUse	use = {0};
	ListCell   *lc;

	foreach(lc, es_pii_declared(NIL, NULL))
		es_pii_find_use(expr, lfirst(lc), &use);
	return use.names == NULL ? NULL : psprintf("cannot ask for personal field \"%s\"", use.names);
}

void
es_definition_refuse(const List *problems, const char *what, const char *hint)
{
	StringInfoData lines;
	ListCell   *lc;

	if (problems == NIL)
		return;
	initStringInfo(&lines);
	foreach(lc, problems)
		appendStringInfo(&lines, "%s%s", lines.len == 0 ? "" : "\n", (char *) lfirst(lc));
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("invalid definition of %s", what),
			 errdetail_internal("%s", lines.data),
			 errhint("%s", hint)));
}

void
es_definition_list(FunctionCallInfo fcinfo, const char *kind, const char *type)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_config_list(kind))
	{
		EsDefinition *definition = lfirst(lc);
		Datum		values[4];
		bool		nulls[4] = {false};

		if (strcmp(definition->type, type) != 0)
			continue;
		values[0] = CStringGetTextDatum(definition->name);
		values[1] = Int64GetDatum(definition->version);
		values[2] = Int64GetDatum(definition->position);
		values[3] = JsonbPGetDatum(definition->data);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* It is part of a stream's name. */
static const char *
name_problem(const char *name)
{
	size_t		length = strlen(name);

	if (length == 0 || length > ES_MAX_WORD)
		return psprintf("must have 1 to %d bytes", ES_MAX_WORD);
	for (const char *byte = name; *byte != '\0'; byte++)
		if ((unsigned char) *byte < ' ' || *byte == 0x7f)
			return "must not contain control characters";
	return NULL;
}

static void
compile_filter(void *arg)
{
	EsExprScope scope = {.owner = GetUserId()};

	(void) es_expr_compile(&scope, arg, BOOLOID, -1);
}
