/*
 * fold_context.c
 *		Says in the CONTEXT of an error which row of a projection it met, after the
 *		events were folded: by the last event that did something to it.  What is said
 *		needs no look at catalogs or values, since the error may be anywhere.
 */
#include "postgres.h"

#include "errors.h"
#include "log/attempt.h"
#include "log/reading.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "project/fold_row.h"

static void describe_row(void *arg);

void
es_row_begin_context(EsRowContext *context, const EsTarget *target)
{
	context->hides = (target == NULL || target->sees_personal) && !es_reading_is_trusted(GetUserId());
	context->is_limited = target != NULL && !es_rights_reads_each(target->categories);
	context->row = NULL;
	context->callback.previous = error_context_stack;
	context->callback.callback = describe_row;
	context->callback.arg = context;
	error_context_stack = &context->callback;
}

void
es_row_end_context(EsRowContext *context)
{
	error_context_stack = context->callback.previous;
}

static void
describe_row(void *arg)
{
	const EsRowContext *context = arg;
	const EsRow *row = context->row;

	if (row != NULL && (context->is_limited || (context->hides && row->target->sees_personal)))
		es_row_hide_error();
	if (row != NULL && row->last_position > 0)
		errcontext("row of projection %s as the event at position " INT64_FORMAT " leaves it",
				   row->target->name, row->last_position);
	else if (row != NULL)
		errcontext("row of projection %s", row->target->name);
}

void
es_row_hide_error(void)
{
	int			sqlstate = geterrcode();

	if (!es_error_is_answer(sqlstate) ||
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ES_ERRCODE_INVALID_DEFINITION))
		return;
	if (ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		errmsg("a rule of a projection failed on what you may not see");
	errdetail("What the error says of values is told to who may see all that the row is made of.");
}
