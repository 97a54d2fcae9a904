/*
 * eraser.c
 *		Functions of users that take part when a subject is erased: register_eraser,
 *		drop_eraser.
 *
 * An eraser has the rights of who registered it, under SECURITY_RESTRICTED_OPERATION,
 * whoever erases; it may append.  It is told the subject and the mode, and says how
 * many things it has cleared.  One that fails fails the erasure.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "append/define.h"
#include "append/draft.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/config.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/expr_parts.h"
#include "trust/erase.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#define ERASER_KIND			"eraser"
#define ERASER_DEFINED		"eraser_defined"
#define ERASER_DROPPED		"eraser_dropped"

PG_FUNCTION_INFO_V1(eventsource_register_eraser);
PG_FUNCTION_INFO_V1(eventsource_drop_eraser);
PG_FUNCTION_INFO_V1(eventsource_eraser_definitions);

/* Of an error. */
typedef struct Call
{
	const char *function;
} Call;

static bool is_registered(const char *name);
static char *qualified_name(char *name);
static Jsonb *definition(const char *function);
static void expect_eraser(Oid function);
static Oid	find_function(const EsDefinition *definition);
static int64 call(const EsDefinition *definition, const text *subject, EsErasedMode mode);
static int64 call_function(Oid function, const text *subject, EsErasedMode mode);
static void describe(void *arg);

/* register_eraser(eraser regprocedure): version of the definition */
Datum
eventsource_register_eraser(PG_FUNCTION_ARGS)
{
	Oid			function = PG_GETARG_OID(0);
	char	   *name;

	PreventCommandIfReadOnly("eventsource.register_eraser()");
	expect_eraser(function);
	name = format_procedure_qualified(function);
	PG_RETURN_INT64(es_define(ERASER_KIND, name, ERASER_DEFINED, definition(name)));
}

static bool
is_registered(const char *name)
{
	EsDefinition *known = es_config_read(ERASER_KIND, name, 0);

	return known != NULL && strcmp(known->type, ERASER_DEFINED) == 0;
}

/* The function may be gone: then the name is as it was given. */
static char *
qualified_name(char *name)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		function;

	if (strchr(name, '(') == NULL)
		return name;
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(name);
	fcinfo->args[0].isnull = false;
	function = to_regprocedure(fcinfo);
	return fcinfo->isnull ? name : format_procedure_qualified(DatumGetObjectId(function));
}

/* drop_eraser(eraser text) */
Datum
eventsource_drop_eraser(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PreventCommandIfReadOnly("eventsource.drop_eraser()");
	if (!is_registered(name))
		name = qualified_name(name);
	es_define_lock(ERASER_KIND, name);
	if (!is_registered(name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no eraser \"%s\"", name),
				 errdetail("It was never registered, or was dropped."),
				 errhint("Name it as register_eraser() was given it, with its arguments, or as the view eventsource.erasers has it.")));
	(void) es_define(ERASER_KIND, name, ERASER_DROPPED, definition(name));
	PG_RETURN_VOID();
}

/* What the view eventsource.erasers shows. */
Datum
eventsource_eraser_definitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_config_list(ERASER_KIND))
	{
		EsDefinition *known = lfirst(lc);
		Datum		values[4] = {CStringGetTextDatum(known->name), Int64GetDatum(known->version),
		Int64GetDatum(known->position), JsonbPGetDatum(known->data)};
		bool		nulls[4] = {0};

		if (strcmp(known->type, ERASER_DEFINED) == 0)
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static Jsonb *
definition(const char *function)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "eraser", function);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* That it may be executed is asked of who registers it, who is who it runs as. */
static void
expect_eraser(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc = HeapTupleIsValid(tuple) ? (Form_pg_proc) GETSTRUCT(tuple) : NULL;

	if (proc == NULL || proc->prokind != PROKIND_FUNCTION || proc->proretset ||
		proc->prorettype != INT8OID || proc->pronargs != 2 ||
		proc->proargtypes.values[0] != TEXTOID || proc->proargtypes.values[1] != TEXTOID)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("%s cannot be an eraser", proc == NULL ? "it" : format_procedure_qualified(function)),
				 errdetail("An eraser takes subject and mode, two texts, and returns a bigint: how much it has cleared."),
				 errhint("CREATE FUNCTION forget_in_mailing(subject text, mode text) RETURNS bigint ...")));
	ReleaseSysCache(tuple);
	if (!es_compat_may_execute(function, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", format_procedure_qualified(function)),
				 errdetail("It would have the rights of role \"%s\".", GetUserNameFromId(GetUserId(), false)),
				 errhint("GRANT EXECUTE ON FUNCTION %s to that role.", format_procedure_qualified(function))));
}

List *
es_eraser_call_all(const text *subject, EsErasedMode mode)
{
	List	   *counts = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(ERASER_KIND))
	{
		EsDefinition *known = lfirst(lc);
		EsErasedCount *count;

		if (strcmp(known->type, ERASER_DEFINED) != 0)
			continue;
		count = palloc(sizeof(EsErasedCount));
		count->target = known->name;
		count->count = call(known, subject, mode);
		counts = lappend(counts, count);
	}
	return counts;
}

static int64
call(const EsDefinition *known, const text *subject, EsErasedMode mode)
{
	Call		at = {known->name};
	ErrorContextCallback context = {.previous = error_context_stack,.callback = describe,.arg = &at};
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;
	Oid			recorded_as;
	volatile int64 count = 0;

	if (!OidIsValid(known->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that registered eraser %s is gone", known->name),
				 errdetail("An eraser has the rights of who registered it."),
				 errhint("Register it again, or drop it: SELECT eventsource.drop_eraser(%s).",
						 quote_literal_cstr(known->name))));
	error_context_stack = &context;
	es_expr_enter_room(&room, known->owner, false, &traits);
	es_draft_forget_settings();
	recorded_as = es_draft_record_as(known->owner);
	PG_TRY();
	{
		count = call_function(find_function(known), subject, mode);
	}
	PG_FINALLY();
	{
		(void) es_draft_record_as(recorded_as);
	}
	PG_END_TRY();
	es_expr_leave_room(&room);
	CommandCounterIncrement();
	error_context_stack = context.previous;
	return count;
}

/* By its name, which outlives dump and restore; with the rights it has now. */
static Oid
find_function(const EsDefinition *known)
{
	LOCAL_FCINFO(fcinfo, 1);
	Oid			function;
	Datum		found;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(known->name);
	fcinfo->args[0].isnull = false;
	found = to_regprocedure(fcinfo);
	function = fcinfo->isnull ? InvalidOid : DatumGetObjectId(found);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the function of eraser %s is gone", known->name),
				 errdetail("It was dropped, or has another name or schema now."),
				 errhint("Make it again, or drop the eraser: SELECT eventsource.drop_eraser(%s).",
						 quote_literal_cstr(known->name))));
	expect_eraser(function);
	return function;
}

static int64
call_function(Oid oid, const text *subject, EsErasedMode mode)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo	function;
	Datum		result;

	fmgr_info(oid, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(subject);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = CStringGetTextDatum(es_erased_mode_name(mode));
	fcinfo->args[1].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	return fcinfo->isnull ? 0 : DatumGetInt64(result);
}

static void
describe(void *arg)
{
	errcontext("eraser %s", ((Call *) arg)->function);
}
