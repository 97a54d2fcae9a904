/*
 * queue_sql.c
 *		What views ask about queues, and about runs.
 */
#include "append/queue.h"

#include "fmgr.h"
#include "log/catalog.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "work/due_run.h"

PG_FUNCTION_INFO_V1(eventsource_may_work_in);
PG_FUNCTION_INFO_V1(eventsource_queue_attempts);
PG_FUNCTION_INFO_V1(eventsource_has_rights_of_reaction);

/* may_work_in(queue text) */
Datum
eventsource_may_work_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(es_queue_may_work(PG_GETARG_TEXT_PP(0)));
}

/* queue_attempts(queue text): how many claims a job may have */
Datum
eventsource_queue_attempts(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(es_queue_get(PG_GETARG_TEXT_PP(0))->max_attempts);
}

/*
 * has_rights_of_reaction(reaction text, version bigint): what a run says of itself and of its errors
 * comes from code with these rights
 */
Datum
eventsource_has_rights_of_reaction(PG_FUNCTION_ARGS)
{
	Oid			definer = es_run_definer(PG_GETARG_TEXT_PP(0), PG_GETARG_INT64(1));

	PG_RETURN_BOOL(has_privs_of_role(GetUserId(), es_catalog_owner()) ||
				   (OidIsValid(definer) && has_privs_of_role(GetUserId(), definer)));
}
