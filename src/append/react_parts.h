/*
 * react_parts.h
 *		What react.c (what follows from a batch), react_step.c (a step when it is due)
 *		and react_value.c (what a step says) share.
 */
#ifndef ES_APPEND_REACT_PARTS_H
#define ES_APPEND_REACT_PARTS_H

#include "append/job.h"
#include "append/react.h"
#include "compat.h"

/* While it is in force, an error says in its CONTEXT what of which reaction it met. */
typedef struct EsReactUse
{
	ErrorContextCallback callback;
	const char *reaction;
	const char *what;			/* "condition"; NULL: all of it */
	int64		position;		/* of the event; 0: it has none yet */
	bool		hides;			/* what an error says is not for the current
								 * user */
	bool		is_far;			/* nor that there is such a reaction: it is
								 * not his event that it is about */
} EsReactUse;

extern void es_react_begin_use(EsReactUse *use, const EsReaction *reaction, const EsEvent *event);
extern void es_react_end_use(const EsReactUse *use);

/* What an append of the use is to write to may be more than the current user may see. */
extern void es_react_hide(EsReactUse *use, const text *stream);

/*
 * In PG_CATCH, within the use: raises the error again; one that hides as another, of which no more
 * than the SQLSTATE is left.
 */
ES_NORETURN extern void es_react_rethrow(const EsReactUse *use, MemoryContext caller);

/* Is it done in the writer's transaction that an event is appended, and nothing else? */
static inline bool
es_react_appends_at_once(const EsReaction *reaction)
{
	return reaction->is_immediate && reaction->step[0].action.act == ES_REACT_APPEND;
}

/* Does the event say that it happened elsewhere, or long ago? */
extern bool es_react_is_import(const EsEvent *event);

/* What a reaction's expressions are evaluated with: the rows that are asked for are read once. */
typedef struct EsReactValues
{
	const EsReaction *reaction;
	EsBinding	binding;
	EsReactUse *use;
} EsReactValues;

/*
 * Values for the use's CONTEXT, in the current memory context, never toasted; NULL for NULL.
 * Those that become keys are refused if they are too long for one.
 */
extern text *es_react_text(EsReactValues *values, EsExpr *expr, const char *what, int max);
extern Jsonb *es_react_jsonb(EsReactValues *values, EsExpr *expr, const char *what);

/* What an action enqueues or appends; the key is the reaction's, or NULL.  All is palloc'd. */
extern void es_react_job(EsReactValues *values, const EsReactionAction *action, int step, const text *key,
						 EsJobDraft *job);
extern void es_react_draft(EsReactValues *values, const EsReactionAction *action, int step, EsDraft *draft);

/*
 * Cancels what the reactions have scheduled for the key, or one of them under the job key that it has
 * there; how many jobs.
 */
extern int64 es_react_cancel(const EsReaction *reaction, const EsReactionAction *action, const text *key);
extern int64 es_react_cancel_one(const EsReaction *reaction, const char *name, const text *job_key);

/* The order in which job keys are locked. */
extern int	es_react_compare_keys(const text *a, const text *b);

/* Adds the draft to the batch, as the definer's. */
extern void es_react_add(EsBatch *batch, const EsReaction *reaction, const EsDraft *draft,
						 EsAppended *result);

#endif							/* ES_APPEND_REACT_PARTS_H */
