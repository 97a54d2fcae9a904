/*
 * handler.c
 *		Calling handlers.
 *
 * A handler is called outside the hall, so that it can append.  It has the rights
 * of its definer, under SECURITY_RESTRICTED_OPERATION, with search_path pg_catalog
 * and the other settings that expressions have: it does the same whoever runs it.
 * What it appends is recorded by its definer, and no session's setting says more.
 *
 * What it writes and its cursor are one transaction.  What it does elsewhere may
 * be done again, but never for an event that a crash could undo.
 *
 * Memory: a context per event.
 */
#include "feed/handler.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "append/draft.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/idempotency.h"
#include "log/json.h"
#include "log/reading.h"
#include "miscadmin.h"
#include "rules/category_list.h"
#include "rules/expr_parts.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* A handler that is being called. */
typedef struct Call
{
	const EsHandler *handler;
	FmgrInfo	function;
	TupleDesc	desc;			/* of an event */
	EsExpr	   *filter;			/* or NULL */
	int64		position;		/* of the event at hand */
} Call;

static Oid	find_procedure(const char *function, Oid definer);
static EsHandler *read_definition(const EsDefinition *definition);
static void refuse_function(const char *function, const char *detail);
static void apply_stretch(const EsFollower *follower, EsStretch *stretch);
static bool sees_personal(const EsFollower *follower);
static void expect_current(const EsHandler *handler);
static void begin_calls(Call *call, const EsHandler *handler);
static void call_apart(Call *call, const EsEvent *event);
static void call_function(Call *call, const EsEvent *event);
static Datum form_event(TupleDesc desc, const EsEvent *event);
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

Oid
es_handler_function(const char *function, Oid definer)
{
	Oid			oid = find_procedure(function, definer);
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	Oid			event = get_rel_type_id(es_catalog_oid(ES_REL_EVENTS_VIEW));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		refuse_function(function, "It does not exist.");
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset || proc->pronargs != 1 ||
		proc->proargtypes.values[0] != event)
		refuse_function(function, "It is no function that takes one event, and returns one value or nothing.");
	ReleaseSysCache(tuple);
	if (!es_compat_may_execute(oid, definer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", function),
				 errdetail("The handler would have the rights of role %s, who may not execute it.",
						   GetUserNameFromId(definer, true)),
				 errhint("GRANT EXECUTE ON FUNCTION %s to that role.", function)));
	return oid;
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

/* Its schema must be open to the definer, not to whoever runs it. */
static Oid
find_procedure(const char *function, Oid definer)
{
	LOCAL_FCINFO(fcinfo, 1);
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;
	Datum		oid;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(function);
	fcinfo->args[0].isnull = false;
	es_expr_enter_room(&room, definer, false, &traits);
	oid = to_regprocedure(fcinfo);
	es_expr_leave_room(&room);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(oid);
}

static void
refuse_function(const char *function, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("%s cannot be a handler", function),
			 errdetail_internal("%s", detail),
			 errhint("CREATE FUNCTION my_handler(e eventsource.events) RETURNS void ...")));
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
	ReleaseTupleDesc(call.desc);
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
	fmgr_info(es_handler_function(handler->function, handler->definer), &call->function);
	call->desc = lookup_rowtype_tupdesc(get_rel_type_id(es_catalog_oid(ES_REL_EVENTS_VIEW)), -1);
	if (handler->filter != NULL)
		call->filter = es_expr_compile(&scope, handler->filter, BOOLOID, -1);
}

/* In a memory context that lasts for the event. */
static void
call_apart(Call *call, const EsEvent *event)
{
	ErrorContextCallback context = {.previous = error_context_stack,.callback = describe_call,.arg = call};
	EsBinding	binding = {.event = event};
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;
	Oid			recorded_as;

	error_context_stack = &context;
	if (call->filter == NULL || es_expr_eval_bool(call->filter, &binding))
	{
		es_expr_enter_room(&room, call->handler->definer, false, &traits);
		es_draft_forget_settings();
		recorded_as = es_draft_record_as(call->handler->definer);
		PG_TRY();
		{
			call_function(call, event);
		}
		PG_FINALLY();
		{
			(void) es_draft_record_as(recorded_as);
		}
		PG_END_TRY();
		es_expr_leave_room(&room);
		CommandCounterIncrement();
	}
	error_context_stack = context.previous;
}

static void
call_function(Call *call, const EsEvent *event)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &call->function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = form_event(call->desc, event);
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
}

/* As the view shows it. */
static Datum
form_event(TupleDesc desc, const EsEvent *event)
{
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	const text *key = (event->flags & ES_EVENT_HAS_KEY) == 0 ? NULL :
		es_idempotency_key(event->stream_id, version);
	Datum		values[ES_VIEW_NCOLUMNS];
	bool		nulls[ES_VIEW_NCOLUMNS];

	memcpy(values, event->value, sizeof(event->value));
	memcpy(nulls, event->isnull, sizeof(event->isnull));
	values[ES_VIEW_IDEMPOTENCY_KEY] = PointerGetDatum(key);
	nulls[ES_VIEW_IDEMPOTENCY_KEY] = key == NULL;
	values[ES_VIEW_IS_UPCAST] = BoolGetDatum(event->is_upcast);
	nulls[ES_VIEW_IS_UPCAST] = false;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static void
describe_call(void *arg)
{
	Call	   *call = arg;

	errcontext("handler \"%s\", event at position " INT64_FORMAT, call->handler->name, call->position);
}
