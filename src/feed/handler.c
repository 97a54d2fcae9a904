/*
 * handler.c
 *		Calling handlers.
 *
 * They are called as append/call.h says, with the rights of their definer.
 *
 * What it writes and its cursor are one transaction.  What it does elsewhere may
 * be done again, but never for an event that a crash could undo.
 *
 * Memory: a context per event.
 */
#include "feed/handler.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "append/call.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "log/json.h"
#include "log/reading.h"
#include "rules/category_list.h"
#include "rules/expr.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* A handler that is being called. */
typedef struct Call
{
	const EsHandler *handler;
	FmgrInfo	function;
	EsExpr	   *filter;			/* or NULL */
	int64		position;		/* of the event at hand */
} Call;

static EsHandler *read_definition(const EsDefinition *definition);
static void apply_stretch(const EsFollower *follower, EsStretch *stretch);
static bool sees_personal(const EsFollower *follower);
static void expect_current(const EsHandler *handler);
static void begin_calls(Call *call, const EsHandler *handler);
static void call_apart(Call *call, const EsEvent *event);
static void call_function(Call *call, const EsEvent *event);
static void describe_call(void *arg);

List *
es_handler_list(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(ES_HANDLER_KIND))
	{
		EsHandler  *handler = read_definition(lfirst(lc));

		if (handler != NULL)
			result = lappend(result, handler);
	}
	return result;
}

EsHandler *
es_handler_find(const char *name)
{
	EsDefinition *definition = es_config_read(ES_HANDLER_KIND, name, 0);

	return definition == NULL ? NULL : read_definition(definition);
}

void
es_handler_run(const EsHandler *handler, const EsFinal *final, int64 max_events, EsFollowed *result)
{
	EsFollower	follower = {
		.name = handler->follower,
		.size = handler->pace.max_batch,
		.max_size = handler->pace.max_batch,
		.arg = unconstify(EsHandler *, handler),
		.apply = apply_stretch,
		.sees_personal = sees_personal
	};

	es_follow_run(&follower, final, max_events, result);
}

/* NULL if it was dropped. */
static EsHandler *
read_definition(const EsDefinition *definition)
{
	EsHandler  *handler;

	if (strcmp(definition->type, ES_HANDLER_DEFINED) != 0)
		return NULL;
	handler = palloc0(sizeof(EsHandler));
	handler->name = definition->name;
	handler->version = definition->version;
	handler->follower = es_cursor_name(ES_HANDLER_KIND, definition->name);
	handler->definer = definition->owner;
	handler->categories = es_category_list_read(definition->data);
	handler->function = es_json_find_string(&definition->data->root, "handler");
	handler->filter = es_json_find_string(&definition->data->root, "filter");
	es_pace_read(definition->data, ES_HANDLER_FROM, &handler->pace, NULL);
	return handler;
}

/* It is shown masks, unless who defined it has the right. */
static bool
sees_personal(const EsFollower *follower)
{
	const EsHandler *handler = follower->arg;

	return OidIsValid(handler->definer) && es_reading_is_trusted(handler->definer) &&
		es_pii_declared(handler->categories, NULL) != NIL;
}

static void
apply_stretch(const EsFollower *follower, EsStretch *stretch)
{
	const EsHandler *handler = follower->arg;
	MemoryContext per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource handler event",
													ALLOCSET_DEFAULT_SIZES);
	Call		call;
	EsScan	   *scan;
	EsEvent		event;

	expect_current(handler);
	begin_calls(&call, handler);
	scan = es_scan_log(stretch->after, stretch->upto, handler->categories, stretch->snapshot);
	es_scan_expect(scan, stretch->size);
	es_scan_as_stored(scan);	/* an upcaster that fails blames its event,
								 * below */
	stretch->reached = stretch->upto;
	while (stretch->reached == stretch->upto && es_scan_next(scan, &event))
	{
		MemoryContext caller = MemoryContextSwitchTo(per_event);
		XLogRecPtr	commit = es_scan_commit_lsn(scan);

		stretch->at = call.position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		if (!XLogRecPtrIsInvalid(commit))
			XLogFlush(commit);
		if (++stretch->events == stretch->size)
			stretch->reached = stretch->at;
		es_reading_restore(&event, handler->definer, stretch->snapshot);
		es_reading_upcast(es_reading_begin(), &event);
		call_apart(&call, &event);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_event);
	}
	es_scan_end(scan);
}

/* Who runs it read the definition before the lock was his. */
static void
expect_current(const EsHandler *handler)
{
	EsDefinition *now = es_config_read(ES_HANDLER_KIND, handler->name, 0);

	if (now != NULL && now->version == handler->version)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("handler \"%s\" is not the one any more that was to be called", handler->name),
			 errdetail("It was dropped, or defined anew, meanwhile."),
			 errhint("Nothing is to be done.")));
}

static void
begin_calls(Call *call, const EsHandler *handler)
{
	EsExprScope scope = {.owner = handler->definer};

	*call = (Call)
	{
		.handler = handler
	};
	if (!OidIsValid(handler->definer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that defined handler \"%s\" is gone", handler->name),
				 errdetail("A handler has the rights of who defined it."),
				 errhint("Define it again: SELECT eventsource.create_handler(%s, ...).",
						 quote_literal_cstr(handler->name))));
	fmgr_info(es_call_find(&es_call_handler, handler->function, handler->definer), &call->function);
	if (handler->filter != NULL)
		call->filter = es_expr_compile(&scope, handler->filter, BOOLOID, -1);
}

/* In a memory context that lasts for the event. */
static void
call_apart(Call *call, const EsEvent *event)
{
	ErrorContextCallback context = {.previous = error_context_stack,.callback = describe_call,.arg = call};
	EsBinding	binding = {.event = event};
	EsCallRoom	room;

	error_context_stack = &context;
	if (call->filter == NULL || es_expr_eval_bool(call->filter, &binding))
	{
		es_call_enter(&room, call->handler->definer);
		PG_TRY();
		{
			call_function(call, event);
		}
		PG_FINALLY();
		{
			es_call_leave(&room);
		}
		PG_END_TRY();
		CommandCounterIncrement();
	}
	error_context_stack = context.previous;
}

static void
call_function(Call *call, const EsEvent *event)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &call->function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = es_call_event(event);
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
}

static void
describe_call(void *arg)
{
	Call	   *call = arg;

	errcontext("handler \"%s\", event at position " INT64_FORMAT, call->handler->name, call->position);
}
