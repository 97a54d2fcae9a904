/*
 * due.h
 *		Everything time-driven: run_due(), and the worker's duty.
 */
#ifndef ES_WORK_DUE_H
#define ES_WORK_DUE_H

#include "append/job_finish.h"

/* Kinds of work, as run_due() counts them. */
typedef enum EsDueWork
{
	ES_DUE_STEPS,				/* steps of reactions, performed */
	ES_DUE_TIMEOUTS,			/* timeouts of machines: an event, or none, as
								 * the rules say */
	ES_DUE_FAILED,				/* either, failed: to be tried again, or given
								 * up */
	ES_DUE_POSTPONED,			/* either, for a race was lost: to be tried
								 * again soon */
	ES_DUE_LEASES,				/* of jobs that are lent, ended */
	ES_DUE_ALERTS,				/* raised or closed */
	ES_DUE_FORGOTTEN,			/* finished jobs, deleted */
	ES_DUE_NWORKS
} EsDueWork;

typedef struct EsDueCounts
{
	int64		count[ES_DUE_NWORKS];
} EsDueCounts;

/* A job of the database's own queues that is due. */
typedef struct EsDueItem
{
	int64		id;
	int64		turn;
	TimestampTz run_at;
	bool		is_timeout;
} EsDueItem;

/*
 * The next ones after one of them (NULL: from the first), in order of (run_at, turn), so
 * many at most.  List of EsDueItem, palloc'd.
 */
extern List *es_due_pick(const EsDueItem *after, int max);

/*
 * Performs one, in a subtransaction, and records what becomes of it; what is not due any more is
 * left alone.  Says false where it stays due because others are at it: it is not waited for.
 * claimed: the attempt that the caller has claimed it for, or 0.
 * limit_ms: how long it may take, or 0; for processes that have no statement_timeout of their own.
 */
extern bool es_due_perform(const EsDueItem *item, int32 claimed, int limit_ms, EsDueCounts *counts);

/*
 * In a transaction before: counts an attempt and lends it to this session.  Waits for nobody.  0: others
 * are at it, it is not due, or given up, for its attempts are used up; else the attempt.
 */
extern int32 es_due_claim(const EsDueItem *item, int64 lease);

/* What was lent to a worker that is no more is due after so many microseconds. */
extern void es_due_release_claims(int64 after);

/* Is that what this session is at? */
extern bool es_due_is_performing(void);

/* In how many ms the next one comes due; -1: none does. */
extern long es_due_wait(void);

/*
 * Leases, alerts, and what is to be forgotten; so many rows of each at most.  Says whether
 * there may be more to forget.
 */
extern bool es_due_keep_house(int64 max_rows, int64 max_forgotten, EsDueCounts *counts);

/* due_duty.c: one job, or what else there is to do; its settings, at load. */
extern long es_due_duty(void);
extern void es_due_duty_init(void);

/* At load, before the prefix of settings is reserved. */
extern void es_due_init(void);

#endif							/* ES_WORK_DUE_H */
