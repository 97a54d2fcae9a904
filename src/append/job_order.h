/*
 * job_order.h
 *		Jobs of one order key: one at a time, in the order of their turns.
 */
#ifndef ES_APPEND_JOB_ORDER_H
#define ES_APPEND_JOB_ORDER_H

#include "eventsource.h"

/*
 * A job of this key is not claimed any more, or is finished: who is next need not
 * wait.  was_claimed: it was; else only who was first had others behind it.
 */
extern void es_job_order_wake(const text *queue, const text *order_key, int64 turn, bool was_claimed);

#endif							/* ES_APPEND_JOB_ORDER_H */
