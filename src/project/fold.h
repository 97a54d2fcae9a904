/*
 * fold.h
 *		Applies events to projection rows: in memory while a batch is open,
 *		written to the target tables when it is flushed.
 */
#ifndef ES_PROJECT_FOLD_H
#define ES_PROJECT_FOLD_H

#include "eventsource.h"
#include "executor/tuptable.h"

/* The rows that the open batch has read or changed, of all projections. */
typedef struct EsFold EsFold;

/* Everything is allocated below "parent"; deleting it forgets all unflushed. */
extern EsFold *es_fold_begin(MemoryContext parent);

/*
 * Row of projection "target" (one keyed by the stream) as it stands before the
 * event, unflushed changes included; NULL if there is none.  Valid until the
 * next call for this fold.
 */
extern TupleTableSlot *es_fold_context_row(EsFold *fold, Oid target, const EsEvent *event);

/*
 * Takes the transaction-level locks on the keys that the event changes in
 * projections shared between streams, in a fixed order.  Before the position
 * is drawn; all else that rules may name is known by now.
 */
extern void es_fold_lock(const EsEvent *event);

/*
 * Folds a complete event into the inline projections of its category.  Not a
 * correction, which changes what another event did (project/refold.h).
 */
extern void es_fold_apply(EsFold *fold, const EsEvent *event);

/* Writes what changed; the fold is empty afterwards and can be used on. */
extern void es_fold_flush(EsFold *fold);

extern void es_fold_init(void);

#endif							/* ES_PROJECT_FOLD_H */
