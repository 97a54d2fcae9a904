/*
 * fold_context.c
 *		Says in the CONTEXT of an error which row of a projection it met, after the
 *		events were folded: by the last event that did something to it.  What is said
 *		needs no look at catalogs or values, since the error may be anywhere.
 */
#include "postgres.h"

#include "project/fold_row.h"

static void describe_row(void *arg);

void
es_row_begin_context(EsRowContext *context)
{
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
	const EsRow *row = ((EsRowContext *) arg)->row;

	if (row != NULL && row->last_position > 0)
		errcontext("row of projection %s as the event at position " INT64_FORMAT " leaves it",
				   row->target->name, row->last_position);
	else if (row != NULL)
		errcontext("row of projection %s", row->target->name);
}
