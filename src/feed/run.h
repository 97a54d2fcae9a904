/*
 * run.h
 *		All that follows the log by itself: what is due, and doing it.
 *
 * A worker asks es_run_list_due() in one transaction, and calls es_run_one() for
 * each name in a transaction of its own, with an active snapshot, for as long as
 * the answer is ES_FOLLOW_BEHIND.  What is parked is not due.
 */
#ifndef ES_FEED_RUN_H
#define ES_FEED_RUN_H

#include "project/follow.h"

/*
 * Names of the followers ("projection.public.balance", "handler.mailer") that
 * have enough to do below a watermark, or little since long enough.  List of
 * char *, palloc'd.
 */
extern List *es_run_list_due(int64 watermark);

/*
 * Brings one up to the watermark, or so many events at most further; says
 * false if there is none of this name any more.  See es_follow_run() for errors.
 */
extern bool es_run_one(const char *follower, int64 max_events, EsFollowed *result);

#endif							/* ES_FEED_RUN_H */
