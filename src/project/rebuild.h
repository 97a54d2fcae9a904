/*
 * rebuild.h
 *		A projection's table made what history makes of it, while others append.
 */
#ifndef ES_PROJECT_REBUILD_H
#define ES_PROJECT_REBUILD_H

#include "project/projection.h"

typedef struct EsRebuild EsRebuild;

typedef enum EsRebuildKind
{
	ES_REBUILD_REPAIR,			/* by the rules in force: what differs */
	ES_REBUILD_REPLACE,			/* by rules that are not in force yet */
	ES_REBUILD_FILL				/* likewise, of a table that nobody else
								 * writes or folds into, and that is locked
								 * against it */
} EsRebuildKind;

/*
 * Serialises whoever computes a table's rows anew, to the end of the
 * transaction; before es_rebuild_begin().  Appends do not wait for it.
 */
extern void es_rebuild_lock(Oid relid);

/*
 * To the end of the transaction, how events are read, and what of them is personal,
 * stays as it is (changes: false), or is changed by us alone; before any other lock
 * of this file, of tables and of definitions.
 */
extern void es_rebuild_lock_reading(bool changes);

/*
 * Folds history.  The caller holds ACCESS SHARE on the table at least, so that its
 * columns stay.  Lives below the current memory context.
 */
extern EsRebuild *es_rebuild_begin(EsProjection *projection, EsRebuildKind kind);

/* Unless it is to be replaced: how many rows of the table and of history differ. */
extern int64 es_rebuild_differences(const EsRebuild *rebuild);

/*
 * Folds what was appended meanwhile, again while that is much.  A table that is
 * filled is written by that.
 */
extern void es_rebuild_catch_up(EsRebuild *rebuild);

/*
 * Folds the rest and writes the rows that differ; how many.  The caller holds, in
 * this order, the applier's lock of an async projection, SHARE ROW EXCLUSIVE on the
 * log where an inline one was not in force, the same on the table; and has looked
 * that the definition is still the same.  now: it, compiled under these locks.
 */
extern int64 es_rebuild_finish(EsRebuild *rebuild, EsProjection *now);

/* Without es_rebuild_finish(): nothing is to be written. */
extern void es_rebuild_end(EsRebuild *rebuild);

/*
 * The row of one key alone: how many were written.  Locks the row's stream or key,
 * the table only where there are none.
 */
extern int64 es_rebuild_key(EsProjection *projection, const Datum *key);

/*
 * Under the lock of its table: the projection, compiled anew if need be.  An error
 * (40001) if its definition is another one by now.
 */
extern EsProjection *es_rebuild_expect_same(const EsProjection *projection);

#endif							/* ES_PROJECT_REBUILD_H */
