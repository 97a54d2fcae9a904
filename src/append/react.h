/*
 * react.h
 *		What follows from an event by reactions.
 *
 * While an event is decided, es_react_decide() finds out what follows (append/hall.c); once its row
 * is written, es_react_perform() does it, outside of the hall (append/batch.c).  What is due later is a
 * job of the queue "$reaction", whose steps work/due*.c performs with es_react_step().
 */
#ifndef ES_APPEND_REACT_H
#define ES_APPEND_REACT_H

#include "append/hall.h"
#include "rules/reaction.h"

/* The queue of what run_due() performs, and the keys of its jobs: "reaction:<name>:<key>". */
#define ES_REACT_QUEUE		"$reaction"
#define ES_REACT_KEY_PREFIX	"reaction:"

/* The job key of a reaction's jobs for a key; NULL for NULL.  palloc'd. */
extern char *es_react_job_key(const char *reaction, const text *key);

/* What a step is performed for. */
typedef struct EsReactOccasion
{
	const EsReaction *reaction;
	int			step;			/* 1 and up; -k: the compensation of step k */
	const EsEvent *event;		/* complete, as readers see it; personal
								 * fields are left out */
	const text *job_key;		/* of the job that this is a step of, or NULL */
	bool		is_due;			/* by run_due(): what it enqueues has no job_key
								 * (the run's own job holds it) */
} EsReactOccasion;

/* What a step did. */
typedef struct EsReactDone
{
	int64		job_id;			/* enqueued, or 0 */
	int64		position;		/* appended, or 0 */
	int			cancelled;		/* jobs */
} EsReactDone;

/*
 * Evaluates and performs one step that is not a call, with the definer's rights, and all that
 * follows from what it appends.  Outside of the hall; no batch may be open.  An append
 * that was done before is not done again: its idempotency key is made of the reaction's name,
 * the event's position and the step.
 */
extern void es_react_step(const EsReactOccasion *occasion, EsReactDone *done);

/*
 * From enter to leave, the current user is the definer, settings are as expressions have
 * them, what is appended is recorded by him, and errors name the reaction.  For calls; the caller
 * leaves in PG_FINALLY.
 */
typedef struct EsReactRoom EsReactRoom;
extern EsReactRoom *es_react_enter(const EsReactOccasion *occasion);
extern void es_react_leave(EsReactRoom *room);

#endif							/* ES_APPEND_REACT_H */
