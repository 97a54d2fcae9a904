/*
 * queue_sql.c
 *		What views ask about queues.
 */
#include "append/queue.h"

#include "fmgr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(eventsource_may_work_in);
PG_FUNCTION_INFO_V1(eventsource_queue_attempts);

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
