/*
 * due_run.h
 *		A run: a job of the queue $reaction, and how far it has come.
 *
 * What it remembers between steps is its job's payload.  Its row is not locked while a step is
 * performed, for who cancels it may hold what the step waits for: es_run_hold() tells
 * afterwards whether it is as it was, and all that the step did is undone if it is not.
 */
#ifndef ES_WORK_DUE_RUN_H
#define ES_WORK_DUE_RUN_H

#include "append/job_finish.h"
#include "rules/reaction.h"

/* What comes after a step that waits for a job of another queue, as a call decided. */
typedef struct EsRunThen
{
	int64		next;			/* the step; 0: the one that follows */
	char	   *wait;			/* an interval; NULL: as the step says */
	bool		is_end;			/* none */
} EsRunThen;

typedef struct EsRun
{
	EsJob	   *job;
	TimestampTz due;			/* when the step was due first */
	bool		is_begun;		/* something of it was tried before */
	const text *key;			/* the reaction's, or NULL */
	List	   *completed;		/* int: steps that have a compensation, in the
								 * order in which they were completed */
	EsRunThen	then;
	int64		waits_for;		/* a job, or 0 */
	int64		sent;			/* the last that was waited for, or 0 */
	char	   *waited;			/* the state in which that one ended; NULL: it
								 * is not waited for any more */
	char	   *waited_reason;	/* or NULL */
	int64		postponed;		/* lost races in a row */
	bool		is_counted;		/* this attempt, as the job is lent */
	bool		has_key;		/* something was enqueued under its key: it
								 * must have it until it is held */
	bool		is_held;
	bool		is_left;		/* its step cannot be performed in this
								 * transaction; nothing was done */
} EsRun;

/* Members of the payload, in SQL, that say how what the run waited for ended. */
#define ES_RUN_WAITED	"{waits_for,waited,reason,next,wait,end,postponed}"

/* Was it given up with steps that are compensated then? */
extern bool es_run_is_compensated(const EsJob *job);

/*
 * The job that a run, locked, waits for; or waited for when it came to its end.  Locked; NULL: there is
 * none, or it is not kept any more.
 */
extern EsJob *es_run_lock_awaited(const EsJob *job);

/* The run that sent a job, locked, if it has sent no other since; or NULL. */
extern EsJob *es_run_lock_sender(int64 job_id);

/* A run that is not finished waits for a job, which it has sent, whatever it was told of it. */
extern void es_run_wait_again(const EsJob *run, int64 job_id);

/* A run that is due goes on from the end of a job that is done. */
extern void es_run_take_done(const EsJob *run, const EsJob *job);

/* The run of a job. */
extern void es_run_read(EsRun *run, EsJob *job);

/*
 * Locks its row and counts the attempt, unless it was; an error (40001) if it is not
 * as it was when it was read, or somebody is about to change it: cancelled, replaced, performed by
 * another.  Waits for nobody.
 */
extern void es_run_hold(EsRun *run);

/*
 * Is the reaction's key its own, now?  A later event with the key takes it away from a run that goes on.
 * What is enqueued under it, while it is, holds only if it still is in the end.
 */
extern bool es_run_has_key(EsRun *run);

/* It goes on with that step, at that time; what was done so far is in run->completed. */
extern void es_run_go_on(EsRun *run, int step, TimestampTz run_at);

/* It goes on when a job, which it enqueued, is finished. */
extern void es_run_wait_for(EsRun *run, int64 job_id);

/* Its step is tried again then; no failure of its own. */
extern void es_run_postpone(EsRun *run, TimestampTz run_at);

/* It ends; reason, error_code and error may be NULL. */
extern void es_run_end(EsRun *run, EsJobEnd end, const char *reason, const char *error_code,
					   const char *error);

/*
 * An attempt failed: it is tried again later; says false, and gives it up, if that was the last.  For
 * any job of the database's own queues.
 */
extern bool es_run_fail(EsRun *run, const char *error_code, const char *error);

/*
 * May its errors quote personal fields?  What is called sees all that its definer may, and may quote
 * other streams than its event's: so it is asked of the whole log.
 */
extern bool es_run_is_personal(const EsJob *job);

/* Who defined that version of a reaction; InvalidOid if it or he is gone. */
extern Oid	es_run_definer(const text *reaction, int64 version);

/* Has it attempts left, as it stands? */
extern bool es_run_may_try(const EsJob *job);

/*
 * Makes runs due whose jobs are finished; so many at most.  Waits for nobody.  Returns of how many
 * jobs.
 */
extern int64 es_run_tell(int64 max_rows);

/* An interval after a time, in UTC; NULL: the time. */
extern TimestampTz es_run_after(TimestampTz time, const Interval *wait);

#endif							/* ES_WORK_DUE_RUN_H */
