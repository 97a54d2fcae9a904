/*
 * job.h
 *		Jobs: what must happen because of an event, later or elsewhere, is a row of the
 *		private table eventsource.job, written in the transaction of its cause.
 *
 *		This is where rows come from, and where they are cancelled by key; src/work has
 *		what becomes of them.
 *
 *		Locks: rows, after streams and positions; of a batch in the order of job keys.
 *		Must not be called in the hall.
 */
#ifndef ES_APPEND_JOB_H
#define ES_APPEND_JOB_H

#include "eventsource.h"

#define ES_JOB_REACTION_QUEUE	"$reaction"
#define ES_JOB_TIMEOUT_QUEUE	"$timeout"

/* Keys that begin so are the database's own. */
#define ES_JOB_REACTION_KEY		"reaction:"
#define ES_JOB_TIMEOUT_KEY		"timeout:"

#define ES_JOB_MAX_PAYLOAD		(1024 * 1024)	/* bytes of jsonb */

/* Why a job was cancelled of whose payload nothing is left. */
#define ES_JOB_ERASED			"subject erased"

/* The member of the payload of a run of a reaction: steps that are compensated, should it be given up. */
#define ES_JOB_COMPLETED		"completed"

/* The states of a job that is not finished, in SQL. */
#define ES_JOB_UNFINISHED		"('scheduled', 'available', 'claimed')"

/* What is done where an unfinished job of the queue has the key. */
typedef enum EsJobConflict
{
	ES_JOB_KEEP,				/* that one stays as it is */
	ES_JOB_REPLACE,				/* it becomes what is given; but one that is
								 * claimed, or a run that would have to be
								 * compensated, only loses its key, and one
								 * that was tried is cancelled */
	ES_JOB_REFUSE				/* 23505 */
} EsJobConflict;

/* Pointers may be NULL, numbers 0, where nothing is to be said; but for the queue. */
typedef struct EsJobDraft
{
	int64		id;				/* 0: it is drawn as the job is written */
	const text *queue;
	Jsonb	   *payload;		/* NULL: {} */
	int32		priority;
	bool		has_run_at;		/* else: now */
	TimestampTz run_at;
	const text *job_key;
	EsJobConflict on_conflict;
	const text *order_key;
	int32		max_attempts;	/* 0: as the queue says */
	const text *reaction;
	int64		reaction_version;
	int32		step;
	int64		event_position;
	const text *stream;
	const text *subject;
	int64		run;			/* that will wait for it: what another run
								 * waits for only loses its key, whatever
								 * on_conflict says */
} EsJobDraft;

/*
 * Writes a job, whose queue and names the caller has checked; returns its id, or that
 * of the one that is kept.  Errors: 23505, 40001; ZE009 if the subject (or, without one, the
 * stream) is erased.
 */
extern int64 es_job_enqueue(const EsJobDraft *draft);

/* The same for many, in few statements: those without a key are written as one. */
extern void es_job_enqueue_many(const EsJobDraft *drafts, int count);

/*
 * Draws the ids of jobs, and so their turns.  Those with keys are written in the order of their keys,
 * so that who writes several does not wait for who waits for him; but it is the order in which
 * they were wanted that counts when they are claimed.
 */
extern void es_job_draw(EsJobDraft **drafts, int count);

/*
 * ZE009 if the subject of a job (or, without one, its stream) is erased, 40001 if somebody is
 * about to.  Until the transaction ends an erasure waits for it.
 */
extern void es_job_refuse_erased(const text *subject, const text *stream);

/*
 * Cancels the unfinished jobs with this key, in one queue or (NULL) all; waits for who
 * is changing them.  Returns how many.
 */
extern int64 es_job_cancel_key(const text *queue, const text *job_key, const char *finish_reason);

/* The key of what a reaction schedules under a key of its own. */
extern const text *es_job_reaction_key(const char *reaction, const text *key);

#endif							/* ES_APPEND_JOB_H */
