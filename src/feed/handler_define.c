/*
 * handler_define.c
 *		create_handler, drop_handler, resume_handler, and the list of definitions
 *		for views.
 *
 * Locks: the progress of the handler, so that nobody calls it meanwhile.
 */
#include "feed/definition.h"
#include "feed/handler.h"

#include "append/call.h"
#include "append/define.h"
#include "fmgr.h"
#include "log/json.h"
#include "log/position.h"
#include "miscadmin.h"
#include "project/rebuild.h"
#include "rules/category_list.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_create_handler);
PG_FUNCTION_INFO_V1(eventsource_drop_handler);
PG_FUNCTION_INFO_V1(eventsource_resume_handler);
PG_FUNCTION_INFO_V1(eventsource_handler_definitions);

/* The arguments of create_handler; pointers are NULL for null. */
typedef struct Proposal
{
	char	   *name;
	ArrayType  *category;
	char	   *function;
	char	   *filter;
	Jsonb	   *settings;
	int64		from;			/* where it begins if it is new */
} Proposal;

static void read_proposal(FunctionCallInfo fcinfo, Proposal *proposal);
static void check_proposal(Proposal *proposal, Jsonb *definition);
static void read_from(Proposal *proposal, List **problems);
static Jsonb *proposal_to_jsonb(const Proposal *proposal);
static EsHandler *lock_handler(const text *name);

/* create_handler(name, category, handler, filter, settings): version of the definition */
Datum
eventsource_create_handler(PG_FUNCTION_ARGS)
{
	Proposal	proposal;
	Jsonb	   *definition;
	char	   *follower;
	EsCursor	cursor;
	bool		is_new;
	int64		version;

	PreventCommandIfReadOnly("eventsource.create_handler()");
	read_proposal(fcinfo, &proposal);
	definition = proposal_to_jsonb(&proposal);
	es_rebuild_lock_reading(false);
	check_proposal(&proposal, definition);
	(void) es_call_find(&es_call_handler, proposal.function, GetUserId());

	follower = es_cursor_name(ES_HANDLER_KIND, proposal.name);
	(void) es_cursor_lock(follower, true);
	is_new = es_handler_find(proposal.name) == NULL;
	version = es_define(ES_HANDLER_KIND, proposal.name, ES_HANDLER_DEFINED, definition);
	/* One that dropped itself has left its cursor. */
	if (is_new || !es_cursor_read(follower, SnapshotSelf, &cursor))
		es_cursor_set(follower, proposal.from);
	(void) es_cursor_mend(follower);
	PG_RETURN_INT64(version);
}

/* drop_handler(name) */
Datum
eventsource_drop_handler(PG_FUNCTION_ARGS)
{
	EsHandler  *handler;
	JsonbParseState *state = NULL;

	PreventCommandIfReadOnly("eventsource.drop_handler()");
	handler = lock_handler(PG_GETARG_TEXT_PP(0));
	es_cursor_drop(handler->follower);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) es_define(ES_HANDLER_KIND, handler->name, ES_HANDLER_DROPPED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* resume_handler(name, skip): was it parked? */
Datum
eventsource_resume_handler(PG_FUNCTION_ARGS)
{
	EsHandler  *handler;
	EsFailure	failure;

	PreventCommandIfReadOnly("eventsource.resume_handler()");
	handler = lock_handler(PG_GETARG_TEXT_PP(0));
	if (!es_cursor_read_failure(handler->follower, SnapshotSelf, &failure))
		PG_RETURN_BOOL(false);
	if (PG_GETARG_BOOL(1) && failure.position > 0)
		es_cursor_set(handler->follower, failure.position);
	PG_RETURN_BOOL(es_cursor_mend(handler->follower));
}

/* What the view eventsource.handlers shows. */
Datum
eventsource_handler_definitions(PG_FUNCTION_ARGS)
{
	es_definition_list(fcinfo, ES_HANDLER_KIND, ES_HANDLER_DEFINED);
	return (Datum) 0;
}

static void
read_proposal(FunctionCallInfo fcinfo, Proposal *proposal)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a handler needs a name and a function"),
				 errdetail("Argument \"%s\" of create_handler is null.", PG_ARGISNULL(0) ? "name" : "handler"),
				 errhint("SELECT eventsource.create_handler('mailer', '{order}', 'send_mail(eventsource.events)').")));
	proposal->name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	proposal->category = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	proposal->function = format_procedure_qualified(PG_GETARG_OID(2));
	proposal->filter = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	proposal->settings = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	proposal->from = 0;
}

/* Lists all that is wrong in one error. */
static void
check_proposal(Proposal *proposal, Jsonb *definition)
{
	List	   *problems = NIL;
	EsPace		pace;

	es_definition_check(proposal->name, proposal->category, proposal->filter, &problems);
	es_pace_read(definition, ES_HANDLER_FROM, &pace, &problems);
	read_from(proposal, &problems);
	es_definition_refuse(problems, psprintf("handler \"%s\"", proposal->name),
						 "Nothing was changed. Mend all of it and try again.");
}

/* A number, or null for the watermark. */
static void
read_from(Proposal *proposal, List **problems)
{
	JsonbValue	buffer;
	JsonbValue *from = proposal->settings == NULL ? NULL :
		es_json_find(&proposal->settings->root, ES_HANDLER_FROM, &buffer);
	int64		watermark;

	if (from == NULL)
		return;
	watermark = es_position_watermark();
	if (from->type == jbvNull)
		proposal->from = watermark;
	else if (from->type == jbvNumeric)
		proposal->from = es_json_number(from);
	else
		proposal->from = -1;
	if (proposal->from < 0 || proposal->from > watermark)
		*problems = lappend(*problems, psprintf("settings: from_position must be a position up to the watermark, "
												INT64_FORMAT ", or null for that", watermark));
}

static Jsonb *
proposal_to_jsonb(const Proposal *proposal)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (proposal->category != NULL)
		es_category_list_push(&state, proposal->category);
	es_json_push_string(&state, "handler", proposal->function);
	if (proposal->filter != NULL)
		es_json_push_string(&state, "filter", proposal->filter);
	if (proposal->settings != NULL)
		es_json_push_jsonb(&state, "settings", proposal->settings);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Defined, and called by nobody else until the end of the transaction. */
static EsHandler *
lock_handler(const text *name)
{
	char	   *string = text_to_cstring(name);
	EsHandler  *handler;

	(void) es_cursor_lock(es_cursor_name(ES_HANDLER_KIND, string), true);
	handler = es_handler_find(string);
	if (handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no handler \"%s\"", string),
				 errdetail("It was never defined, or was dropped."),
				 errhint("eventsource.handlers lists them; create_handler makes one.")));
	return handler;
}
