/*
 * guard.c
 *		The trigger that keeps the private tables append-only.
 *
 * Our own writes go through the access methods and fire no trigger, so the
 * guard needs no exception for them: there is no flag that could be left set
 * or set by somebody else.  The one exception is a restore: until the log was
 * opened in this database, its owner and superusers may INSERT raw rows.
 *
 * On the tables whose rows come and go (jobs) the trigger has an argument: statements
 * of ours pass (log/own_sql.h), since SQL writes them better than we would.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "errors.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "log/open.h"
#include "log/own_ddl.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(eventsource_guard);

static const char *
operation_name(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_INSERT(event))
		return "INSERT";
	if (TRIGGER_FIRED_BY_UPDATE(event))
		return "UPDATE";
	if (TRIGGER_FIRED_BY_DELETE(event))
		return "DELETE";
	return "TRUNCATE";
}

static bool
is_restoring(TriggerData *trigger)
{
	return TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event) &&
		!es_log_is_open() &&
		has_privs_of_role(GetUserId(), es_catalog_owner());
}

Datum
eventsource_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventsource.guard() is a trigger function"),
				 errdetail("It was called as an ordinary function."),
				 errhint("It stands on the tables of the log by itself.")));
	if (is_restoring(trigger))
		return PointerGetDatum(trigger->tg_trigtuple);
	if (trigger->tg_trigger->tgnargs == 1 && es_own_ddl_is())
		return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple :
							   trigger->tg_trigtuple);
	if (trigger->tg_trigger->tgnargs == 1)
		ereport(ERROR,
				(errcode(ES_ERRCODE_APPEND_ONLY),
				 errmsg("%s on \"%s.%s\" is not allowed", operation_name(trigger->tg_event),
						ES_SCHEMA, RelationGetRelationName(trigger->tg_relation)),
				 errdetail("Jobs and alerts are changed by functions, which record what they do."),
				 errhint("Call enqueue(), claim(), complete(), fail(), redrive(), discard(), cancel_job() or close_alert().")));
	ereport(ERROR,
			(errcode(ES_ERRCODE_APPEND_ONLY),
			 errmsg("%s on \"%s.%s\" is not allowed", operation_name(trigger->tg_event),
					ES_SCHEMA, RelationGetRelationName(trigger->tg_relation)),
			 errdetail("The event log is append-only."),
			 TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ?
			 errhint("Append with eventsource.append(), or INSERT into eventsource.events.") :
			 errhint("What happened stays; append an event that corrects it.")));
}
