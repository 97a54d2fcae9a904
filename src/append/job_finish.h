/*
 * job_finish.h
 *		A job as its row says, and how jobs come to an end: done, discarded, cancelled.
 *		Timeouts that are not wanted any more (append/timer.c) and jobs about whom is
 *		erased (work/job_erase.c) are cancelled by statements of their own.
 *
 *		Locks: the row, then, where it had an order key, the first row of those that
 *		wait behind it (job_order.h).
 */
#ifndef ES_APPEND_JOB_FINISH_H
#define ES_APPEND_JOB_FINISH_H

#include "append/job.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"

/* A row of eventsource.job.  Pointers are NULL and numbers 0 where it has null. */
typedef struct EsJob
{
	int64		id;
	int64		turn;
	const text *queue;
	const text *state;
	int32		priority;
	TimestampTz run_at;
	const text *order_key;
	const text *job_key;
	Jsonb	   *payload;
	int32		attempts;		/* claims ever, which tell one lease from
								 * another */
	int32		attempts_before;	/* of them, those that do not count */
	int32		max_attempts;	/* its own; 0: as the queue says */
	TimestampTz lease_until;	/* 0: it is not claimed */
	const text *worker;			/* who has it, or had it as it was finished */
	const text *claimed_by;
	const text *error_code;
	const text *error;
	Jsonb	   *result;
	const text *reaction;
	int64		reaction_version;
	int32		step;
	int64		event_position;
	const text *stream;
	const text *subject;
	TimestampTz created_at;
	TimestampTz finished_at;	/* 0: it is not */
	const text *finish_reason;
} EsJob;

/* These columns of eventsource.job AS j, as es_job_read() expects them. */
#define ES_JOB_COLUMNS \
	" j.id, j.turn, j.queue, j.state, j.priority, j.run_at, j.order_key, j.job_key, j.payload, j.attempts," \
	" j.attempts_before, j.max_attempts, j.lease_until, j.worker, j.claimed_by, j.error_code, j.error, j.result," \
	" j.reaction, j.reaction_version, j.step, j.event_position, j.stream, j.subject, j.created_at, j.finished_at," \
	" j.finish_reason "

/* A row of these columns as a job, in the current memory context. */
extern EsJob *es_job_read(HeapTuple row, TupleDesc desc);

/* For es_own_sql(): adds each row to a List of EsJob, which arg points to. */
extern void es_job_collect(HeapTuple row, TupleDesc desc, void *arg);

/* Locks the row and returns it; NULL if there is none, or it is finished and must not be. */
extern EsJob *es_job_lock(int64 id, bool is_unfinished);

/* How a job ends. */
typedef enum EsJobEnd
{
	ES_JOB_DONE,
	ES_JOB_DISCARDED,			/* given up: a dead letter */
	ES_JOB_CANCELLED			/* not wanted any more */
} EsJobEnd;

/* Pointers may be NULL, numbers 0, where nothing is to be said. */
typedef struct EsJobFinish
{
	EsJobEnd	end;
	Jsonb	   *result;
	const text *error_code;
	const text *error;
	const text *reason;
	const text *worker;			/* only if it is lent to this one; who calls
								 * must have the rights of a worker then */
	int32		attempt;		/* only in this one of its claims */
} EsJobFinish;

/*
 * Finishes a job and does all that follows from that; waits for who is changing it.
 * Returns the row as it is then; NULL if it is finished already, is not there, or not
 * lent so.
 */
extern EsJob *es_job_finish(int64 id, const EsJobFinish *finish);

/* Does what follows from the end of jobs that a statement has finished; List of EsJob. */
extern void es_job_finished(List *jobs);

/*
 * Called for each job that is finished, in the transaction that does it, but for those
 * that the erasure of a subject took away.  It may enqueue and finish others.
 */
typedef void (*EsJobOnFinished) (const EsJob *job);
extern void es_job_on_finished(EsJobOnFinished callback);

#endif							/* ES_APPEND_JOB_FINISH_H */
