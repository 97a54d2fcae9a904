/*
 * react.h
 *		What follows from an event by reactions.
 *
 * While an event is decided, es_react_decide() finds out what follows (append/hall.c); once its row
 * is written, es_react_follow() does it, outside of the hall (append/batch.c).  What is due later is a
 * job of the queue ES_JOB_REACTION_QUEUE, with the reaction's key in its payload; its steps are
 * performed with es_react_step() by who looks for what is due.
 */
#ifndef ES_APPEND_REACT_H
#define ES_APPEND_REACT_H

#include "append/hall.h"
#include "rules/category.h"
#include "rules/reaction.h"

/* The member of such a job's payload that has the reaction's key; it has none where that is NULL. */
#define ES_REACT_KEY		"key"

/* Member of the metadata of what reactions append: which led to it, an array of names. */
#define ES_REACT_PATH		"reactions"

/* What a step is performed for. */
typedef struct EsReactOccasion
{
	const EsReaction *reaction;
	int			step;			/* 1 and up; -k: the compensation of step k */
	const EsEvent *event;		/* complete, as readers see it; personal
								 * fields are left out */
	const text *key;			/* the reaction's, or NULL */
	int64		run;			/* whose step it is, or 0 */
	bool		is_released;	/* another run has the key by now: nothing is
								 * enqueued under it */
} EsReactOccasion;

/* What a step did. */
typedef struct EsReactDone
{
	int64		job_id;			/* enqueued, or 0 */
	int64		position;		/* appended, or 0 */
	int64		cancelled;		/* jobs */
} EsReactDone;

/*
 * Evaluates and performs one step that is not a call, with the definer's rights, and all that
 * follows from what it appends.  Outside of the hall; no batch may be open.  An append
 * that was done before is not done again: its idempotency key is made of the reaction's name,
 * the event's position and the step.  What is enqueued has the job key of the reaction's key, if
 * there is one.
 */
extern void es_react_step(const EsReactOccasion *occasion, EsReactDone *done);

/*
 * Metadata of what is appended because of the event: causation, correlation, and which reactions
 * led to it.  For calls: es_draft_caused_by(), from before to after.  Error (54001) if they are too many.
 */
extern Jsonb *es_react_metadata(const EsReaction *reaction, const EsEvent *event);

/* ---- for append/ alone ---- */

/* Errors (42501) if the definer may not send to the queue, or append to the stream. */
extern void es_react_expect_sender(Oid definer, const char *queue);
extern void es_react_expect_writer(Oid definer, const text *stream);

/* Error (42501) if a role has not the rights of who defined a reaction; one whose role is gone is free. */
extern void es_react_expect_owner(const char *reaction, Oid owner, Oid role);

/*
 * The streams that reactions will append to because of such events, as far as the drafts tell;
 * List of text *, palloc'd.  No errors but what ends the statement.
 */
extern List *es_react_foresee(List *drafts);

/*
 * In the hall, of an event whose category has reactions: es_react_lock() before keys of projections
 * are locked locks the streams that it will lead to; es_react_decide(), when it has its position, finds
 * out what follows.
 */
extern void es_react_lock(EsBatch *batch, const EsCategory *category, const EsEvent *event);
extern void es_react_decide(EsBatch *batch, const EsCategory *category, const EsEvent *event);

/* Does what follows from the events that the batch has written, and from what that appends. */
extern void es_react_follow(EsBatch *batch);

#endif							/* ES_APPEND_REACT_H */
