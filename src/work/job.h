/*
 * job.h
 *		Jobs at work: what workers claim, and what becomes of it.
 *
 *		What a job's row says, and es_job_finish(), through which each of them ends, is in
 *		append/job_finish.h, as writers cancel jobs, too.
 */
#ifndef ES_WORK_JOB_H
#define ES_WORK_JOB_H

#include "append/job_finish.h"
#include "append/queue.h"
#include "fmgr.h"
#include "utils/array.h"

#define ES_JOB_MAX_TEXT		1024	/* bytes: keys, workers, subjects */
#define ES_JOB_MAX_MESSAGE	1000	/* characters of an error; the rest is cut */
#define ES_JOB_MAX_LENT		10000	/* jobs of one claim */

#define ES_JOB_LEASE_EXPIRED	"LEASE_EXPIRED"

/* ---- job_claim.c ---- */

/*
 * Lends jobs of a queue to a worker: at most so many, the first ones first, until then;
 * of these ids alone, unless it is NULL.  List of EsJob.  Rights are the caller's concern.
 */
extern List *es_job_claim(const text *queue, int max_jobs, int64 lease, const text *worker, ArrayType *ids);

/*
 * What a queue owes to the clock, at most so many of each: jobs that are due become
 * available, and those whose lease has ended are available again or given up.  Who is
 * at one of them, or at the next one of its order key, is not waited for.  Returns how many
 * leases ended.
 */
extern int64 es_job_look_at_clock(const text *queue, int max_jobs);

/* Who a worker is: the name that was given, or this session.  22023. */
extern const text *es_job_worker(const text *argument);

/* ---- job_fail.c ---- */

/* What is said about a failure; pointers may be NULL but for the code. */
typedef struct EsJobFailure
{
	const text *code;
	const text *message;
	bool		has_retry_at;
	TimestampTz retry_at;		/* else the queue's policy says when */
} EsJobFailure;

/*
 * A claimed job, locked, failed: it is to be tried again, or is given up if its attempts
 * are used up or the code says that trying is no use.  Returns the job as it is then.
 */
extern EsJob *es_job_fail(const EsJob *job, const EsJobFailure *failure);

/* Is that what a failure with this code would come to? */
extern bool es_job_is_given_up(const EsJob *job, const text *code);

/* How many claims it may have, of those that count. */
extern int32 es_job_max_attempts(const EsJob *job);

/* ---- error_code.c ---- */

/* Is it worth to try again after an error with this code?  One that nobody knows is. */
extern bool es_error_code_is_retryable(const text *code);

/* ---- arguments, for the files of work ---- */

/* 22023 for what is longer than so many bytes, or empty; NULL passes. */
extern const text *es_job_text_argument(FunctionCallInfo fcinfo, int n, const char *name, int max_bytes);

/* 22004 if an argument that must be given is null. */
extern void es_job_expect_argument(FunctionCallInfo fcinfo, int n, const char *name, const char *example);

#endif							/* ES_WORK_JOB_H */
