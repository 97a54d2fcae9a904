/*
 * refold.h
 *		Projection rows after a correction: those that the corrected events
 *		touched, and touch now, folded anew.
 */
#ifndef ES_PROJECT_REFOLD_H
#define ES_PROJECT_REFOLD_H

#include "log/correction.h"
#include "log/read.h"
#include "project/fold_row.h"

typedef struct EsRefold EsRefold;

/*
 * Begins with no rows.  The stream is locked by the caller; locks the tables of
 * the category's projections.
 */
extern EsRefold *es_refold_begin(const text *category);

/* The same for one projection alone, whose table the caller keeps others from. */
extern EsRefold *es_refold_begin_one(EsProjection *projection);

/* Notes the rows that an event touches: as it was, or as it is corrected. */
extern void es_refold_note(EsRefold *refold, const EsEvent *event);

/* Were none noted? */
extern bool es_refold_is_empty(const EsRefold *refold);

/* Locks them where streams share them; before the correction's position is drawn. */
extern void es_refold_lock(EsRefold *refold);

/* The same of several (EsRefold), in one order. */
extern void es_refold_lock_all(List *refolds);

/* Folds history into them, the correction included, and writes what differs. */
extern void es_refold_write(EsRefold *refold, const text *stream);

/* The history that rows are folded from. */
typedef struct EsRefoldHistory
{
	Snapshot	snapshot;		/* registered */
	const text *stream;			/* to which all rows belong that are not
								 * shared */
	int64		upto;			/* events at or below */
	int64		corrected_upto; /* by corrections at or below */
	bool		(*is_gone) (void *arg, int64 position); /* events left out; or
														 * NULL */
	void	   *arg;
} EsRefoldHistory;

/* Returns how many rows were written. */
extern int64 es_refold_write_from(EsRefold *refold, const EsRefoldHistory *history);

/*
 * Enters the rows of one projection that an event touches, as it is given, into a
 * replay.  What is computed for that stays in "scratch".
 */
extern void es_refold_enter_rows(EsFold *fold, const EsProjection *projection, const EsEvent *event,
								 MemoryContext scratch);

/* Folds the events of a scan up to a position, and ends it. */
extern void es_refold_scan(EsFold *fold, EsScan *scan, const EsCorrections *corrections, int64 upto);

#endif							/* ES_PROJECT_REFOLD_H */
