/*
 * call.c
 *		Calling functions of users with an event.
 *
 * They are called outside the hall, so that they can append: with the rights of
 * whoever defined that they are, under SECURITY_RESTRICTED_OPERATION, with search_path
 * pg_catalog and the other settings that expressions have.  So they do the same
 * whoever's session it is, and whatever is set there.
 */
#include "append/call.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "append/draft.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/idempotency.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

const EsCallKind es_call_handler = {
	.what = "a handler",
	.shape = "It is no function that takes one event, and returns one value or nothing.",
	.example = "CREATE FUNCTION my_handler(e eventsource.events) RETURNS void ...",
	.whose = "The handler"
};

const EsCallKind es_call_reaction = {
	.what = "called by a reaction",
	.has_call = true,
	.shape = "It is no function that takes an event and a jsonb, and returns a jsonb.",
	.example = "CREATE FUNCTION my_call(e eventsource.events, call jsonb) RETURNS jsonb ...",
	.whose = "The call"
};

static Oid	find_procedure(const char *function, Oid definer);
static bool is_of_kind(Form_pg_proc proc, const EsCallKind *kind);
static void refuse_function(const EsCallKind *kind, const char *function, const char *detail);

Oid
es_call_find(const EsCallKind *kind, const char *function, Oid definer)
{
	Oid			oid = find_procedure(function, definer);
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));

	if (!HeapTupleIsValid(tuple))
		refuse_function(kind, function, "It does not exist.");
	if (!is_of_kind((Form_pg_proc) GETSTRUCT(tuple), kind))
		refuse_function(kind, function, kind->shape);
	ReleaseSysCache(tuple);
	if (!es_compat_may_execute(oid, definer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", function),
				 errdetail("%s would have the rights of role %s, who may not execute it.", kind->whose,
						   GetUserNameFromId(definer, true)),
				 errhint("GRANT EXECUTE ON FUNCTION %s to that role.", function)));
	return oid;
}

void
es_call_enter(EsCallRoom *room, Oid definer)
{
	EsExprTraits traits = {.foreign = true};

	es_expr_enter_room(&room->room, definer, false, &traits);
	es_draft_forget_settings();
	room->recorded_as = es_draft_record_as(definer);
}

void
es_call_leave(const EsCallRoom *room)
{
	(void) es_draft_record_as(room->recorded_as);
	es_expr_leave_room(&room->room);
}

Datum
es_call_event(const EsEvent *event)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(get_rel_type_id(es_catalog_oid(ES_REL_EVENTS_VIEW)), -1);
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	const text *key = (event->flags & ES_EVENT_HAS_KEY) == 0 ? NULL :
		es_idempotency_key(event->stream_id, version);
	Datum		values[ES_VIEW_NCOLUMNS];
	bool		nulls[ES_VIEW_NCOLUMNS];
	Datum		row;

	memcpy(values, event->value, sizeof(event->value));
	memcpy(nulls, event->isnull, sizeof(event->isnull));
	values[ES_VIEW_IDEMPOTENCY_KEY] = PointerGetDatum(key);
	nulls[ES_VIEW_IDEMPOTENCY_KEY] = key == NULL;
	values[ES_VIEW_IS_UPCAST] = BoolGetDatum(event->is_upcast);
	nulls[ES_VIEW_IS_UPCAST] = false;
	row = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	ReleaseTupleDesc(desc);
	return row;
}

bool
es_call_triggers_wait(void)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return false;
	rel = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		result = trigger->tgdeferrable && AfterTriggerPendingOnRel(trigger->tgrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
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

static bool
is_of_kind(Form_pg_proc proc, const EsCallKind *kind)
{
	int			nargs = kind->has_call ? 2 : 1;

	if (proc->prokind != PROKIND_FUNCTION || proc->proretset || proc->pronargs != nargs ||
		proc->proargtypes.values[0] != get_rel_type_id(es_catalog_oid(ES_REL_EVENTS_VIEW)))
		return false;
	return !kind->has_call || (proc->proargtypes.values[1] == JSONBOID && proc->prorettype == JSONBOID);
}

static void
refuse_function(const EsCallKind *kind, const char *function, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("%s cannot be %s", function, kind->what),
			 errdetail_internal("%s", detail),
			 errhint("%s", kind->example)));
}
