/*
 * expr_use.c
 *		Says in the CONTEXT of an error which expression of a definition met which
 *		event.  Cheap where there is no error: nothing is formatted before.
 *
 *		Expressions that are arguments of a function: their errors say so.
 */
#include "postgres.h"

#include "errors.h"
#include "rules/expr.h"

typedef struct Argument
{
	const EsExprScope *scope;
	const char *source;
	Oid			type;
	EsExpr	   *expr;
} Argument;

static void describe_use(void *arg);
static void compile_argument(void *arg);

EsExpr *
es_expr_compile_argument(const EsExprScope *scope, const char *name, const char *source, Oid type)
{
	Argument	argument = {.scope = scope,.source = source,.type = type};
	char	   *problem = es_expr_problem(compile_argument, &argument);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("\"%s\" is no valid expression", name),
				 errdetail("%s", problem),
				 errhint("It is an SQL expression over %s.", scope->row != NULL ? "\"row\"" : "\"event\"")));
	return argument.expr;
}

static void
compile_argument(void *arg)
{
	Argument   *argument = arg;

	argument->expr = es_expr_compile(argument->scope, argument->source, argument->type, -1);
}

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
