/*
 * timeout.h
 *		Timeouts of state machines that are due: jobs of the queue $timeout, which
 *		append/timer.c schedules and cancels.
 */
#ifndef ES_WORK_TIMEOUT_H
#define ES_WORK_TIMEOUT_H

#include "eventsource.h"

/* What became of a job. */
typedef enum EsTimeoutOutcome
{
	ES_TIMEOUT_APPENDED,		/* the event is there, the job is done */
	ES_TIMEOUT_PASSED,			/* no event; the job is done, with the reason */
	ES_TIMEOUT_GONE,			/* another one did it, or the state was left:
								 * nothing was written */
	ES_TIMEOUT_BUSY				/* the stream is locked by another
								 * transaction: nothing was written; to be
								 * tried later */
} EsTimeoutOutcome;

/*
 * Does what a timeout that is due says, and finishes its job, in this transaction.
 *
 * Locks the stream first and the job's row then, as writers do: the caller must
 * hold no lock on that row (it picked the id with a plain SELECT).  So of several
 * callers one does it, and the others are told ES_TIMEOUT_GONE or, without waiting,
 * ES_TIMEOUT_BUSY.  To catch up in order, the caller goes by (run_at, turn).
 *
 * What the rules refuse (guard, transition, reason, payload) ends the job with its
 * finish_reason.  Any other error is raised: the caller runs it in a
 * subtransaction, and records the failure as of any other job of its own.
 */
extern EsTimeoutOutcome es_timeout_execute(int64 job_id);

#endif							/* ES_WORK_TIMEOUT_H */
