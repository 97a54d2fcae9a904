/*
 * apply.h
 *		Projections in mode async: tables that follow the log at their own pace.
 *
 * The table holds the fold of the events up to its cursor, with the corrections
 * up to there; both move in one transaction.  Whoever writes the table or moves
 * the cursor goes by these rules:
 *
 *  - es_apply_lock() first, then the lock of the table (a follower holds its
 *    cursor's lock while it waits for the table);
 *  - the rows are the fold of events up to a position at or below the watermark,
 *    read through es_final_begin(); es_apply_set() tells which, in the same
 *    transaction.
 *
 * So a rebuild folds, without any lock, up to some watermark; then es_apply_lock(name,
 * true), SHARE ROW EXCLUSIVE on the table, es_final_begin() and the final catch-up
 * up to es_final_upto(); writes what differs; es_apply_set(name, upto).  Repair of
 * a single key folds up to es_apply_position(name, SnapshotSelf) under the same
 * locks and leaves the cursor where it is.
 *
 * Who wants to run what is due (a worker, a scheduler) asks feed/run.h, which knows
 * handlers as well.
 */
#ifndef ES_PROJECT_APPLY_H
#define ES_PROJECT_APPLY_H

#include "project/follow.h"
#include "project/projection.h"

/*
 * The applier's lock of a projection, by the name of its definition, held to the
 * end of the (sub)transaction; false if another has it and wait is false.
 */
extern bool es_apply_lock(const char *name, bool wait);

/*
 * The same for a table that is about to be locked, if it is an async projection;
 * nothing else if it is not.
 */
extern void es_apply_lock_table(Oid relid);

/* Up to where the table is the fold of events; 0 if it never was. */
extern int64 es_apply_position(const char *name, Snapshot snapshot);

/*
 * Up to which position a snapshot shows the table as the fold of events:
 * PG_INT64_MAX for an inline projection.
 */
extern int64 es_apply_shown(const EsProjection *projection, Snapshot snapshot);

/* Under the lock: now it is up to here.  Also ends its being parked. */
extern void es_apply_set(const char *name, int64 position);

/* Under the lock: it is no longer async. */
extern void es_apply_forget(const char *name);

/* Follows one; see es_follow_run(). */
extern void es_apply_run(const EsAsync *async, const EsFinal *final, int64 max_events, EsFollowed *result);

#endif							/* ES_PROJECT_APPLY_H */
