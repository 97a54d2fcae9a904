/*
 * worker.h
 *		The background worker: what it is asked to do again and again.
 */
#ifndef ES_FEED_WORKER_H
#define ES_FEED_WORKER_H

#include "postgres.h"

/*
 * A duty is called in a transaction that is committed when it returns; it does
 * one batch of its work.  It returns in how many ms it wants to be called again,
 * if no event comes before: 0 if there is more to do now.  An error rolls its
 * transaction back, is shown in the view eventsource.workers, and puts the duty,
 * not the others, off for a while.
 */
typedef long (*EsDuty) (void);

#define ES_DUTY_IDLE	3600000L	/* nothing to do until an event comes */

/* To be called at load; duties are called in the order in which they came. */
extern void es_worker_add_duty(const char *name, EsDuty duty);

extern void es_worker_init(void);

/* duties.c */
extern void es_duties_init(void);

#endif							/* ES_FEED_WORKER_H */
