/*
 * job_order.h
 *		Jobs of one order key: one at a time, in the order of their turns.
 */
#ifndef ES_APPEND_JOB_ORDER_H
#define ES_APPEND_JOB_ORDER_H

#include "append/job.h"

/* Is it the turn of a job j that has an order key?  SQL, for conditions. */
#define ES_JOB_ITS_TURN \
	"(j.turn = (SELECT f.turn FROM eventsource.job f WHERE f.queue = j.queue AND f.order_key = j.order_key" \
	" AND f.state IN " ES_JOB_UNFINISHED " ORDER BY f.turn LIMIT 1)" \
	" AND NOT EXISTS (SELECT FROM eventsource.job c WHERE c.queue = j.queue AND c.order_key = j.order_key" \
	" AND c.state = 'claimed' OFFSET 0))"

/*
 * Is a job j available that is given by its id?  Rows are found by that then: the planner must see no
 * other index that would do.
 */
#define ES_JOB_IS_AVAILABLE	"(j.state || '') = 'available'"

/*
 * Marks available jobs of a queue, given by their ids, that were seen to be behind others,
 * so that claims need not look at them again until it is their turn.  Some of them may be
 * left as they are, and stay locked.
 */
extern void es_job_order_mark(const text *queue, const int64 *ids, int count);

/*
 * A job of this key is not claimed any more, or is finished: who is next need not
 * wait.  was_claimed: it was; else only who was first had others behind it.
 */
extern void es_job_order_wake(const text *queue, const text *order_key, int64 turn, bool was_claimed);

/*
 * The same is about to be: locks who is next, if there is one, so that it need not be waited for.
 * False if somebody else has that one locked.  turn: 0, or that of the job itself if it will be
 * among them again.
 */
extern bool es_job_order_try_next(const text *queue, const text *order_key, int64 turn);

#endif							/* ES_APPEND_JOB_ORDER_H */
