/*
 * expr_use.c
 *		Says in the CONTEXT of an error which expression of a definition met which
 *		event.  Cheap where there is no error: nothing is formatted before.
 */
#include "postgres.h"

#include "rules/expr.h"

static void describe_use(void *arg);

void
es_expr_begin_use(EsExprUse *use, const EsEvent *event)
{
	use->event = event;
	use->callback.previous = error_context_stack;
	use->callback.callback = describe_use;
	use->callback.arg = use;
	error_context_stack = &use->callback;
}

void
es_expr_end_use(EsExprUse *use)
{
	error_context_stack = use->callback.previous;
}

static void
describe_use(void *arg)
{
	EsExprUse  *use = arg;
	const text *type = es_event_text(use->event, ES_EVENT_TYPE);
	const text *stream = es_event_text(use->event, ES_EVENT_STREAM);

	errcontext("%s of %s \"%.*s\", on event \"%.*s\" of stream \"%.*s\" (version " INT64_FORMAT ")",
			   use->name == NULL ? use->what : psprintf("%s \"%s\"", use->what, use->name), use->owner_kind,
			   (int) VARSIZE_ANY_EXHDR(use->owner), VARDATA_ANY(use->owner),
			   (int) VARSIZE_ANY_EXHDR(type), VARDATA_ANY(type),
			   (int) VARSIZE_ANY_EXHDR(stream), VARDATA_ANY(stream),
			   DatumGetInt64(use->event->value[ES_EVENT_VERSION]));
}
