/*
 * filter.c
 *		Which events a question is about: those of a time, those for which an
 *		expression holds.
 *
 * The expression is compiled as the rules are, and so is deterministic.
 */
#include "rules/filter.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

static EsEventColumn read_basis(FunctionCallInfo fcinfo, int arg);

void
es_filter_read(EsFilter *filter, FunctionCallInfo fcinfo, int first)
{
	EsExprScope scope = {.owner = GetUserId()};

	filter->expr = PG_ARGISNULL(first) ? NULL :
		es_expr_compile_argument(&scope, "filter", text_to_cstring(PG_GETARG_TEXT_PP(first)), BOOLOID);
	filter->since = PG_ARGISNULL(first + 1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(first + 1);
	filter->until = PG_ARGISNULL(first + 2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(first + 2);
	filter->clock = read_basis(fcinfo, first + 3);
}

bool
es_filter_takes(const EsFilter *filter, const EsEvent *event)
{
	TimestampTz time = DatumGetTimestampTz(event->value[filter->clock]);
	EsBinding	binding = {.event = event};

	/* A business time may be infinite itself. */
	if (time < filter->since || (time >= filter->until && filter->until != DT_NOEND))
		return false;
	return filter->expr == NULL || es_expr_eval_bool(filter->expr, &binding);
}

static EsEventColumn
read_basis(FunctionCallInfo fcinfo, int arg)
{
	char	   *basis = PG_ARGISNULL(arg) ? "recorded" : text_to_cstring(PG_GETARG_TEXT_PP(arg));

	if (strcmp(basis, "recorded") == 0)
		return ES_EVENT_RECORDED_AT;
	if (strcmp(basis, "occurred") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown basis \"%s\"", basis),
				 errdetail("The basis says which time of an event counts."),
				 errhint("It is 'recorded' or 'occurred'.")));
	return ES_EVENT_OCCURRED_AT;
}
