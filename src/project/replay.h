/*
 * replay.h
 *		History folded anew, and compared with what a projection's table holds.
 */
#ifndef ES_PROJECT_REPLAY_H
#define ES_PROJECT_REPLAY_H

#include "project/fold.h"
#include "project/projection.h"

/*
 * Folds history and writes the rows of the table that differ; returns how many.
 * The caller holds SHARE ROW EXCLUSIVE on the table, so that nobody folds
 * meanwhile, and the lock of its cursor, if it is async; which comes to stand at
 * the watermark then.  only_key: that row alone, or NULL; the cursor stays.
 */
extern int64 es_replay_rebuild(EsProjection *projection, const Datum *only_key);

/* How many rows of the table differ from history, touching nothing. */
extern int64 es_replay_differences(EsProjection *projection);

/* Checks the constraints of the rows that changed, before they are written. */
extern void es_replay_check_rows(EsFold *fold);

/*
 * The key that a text names: the value of a single key column, or a JSON object
 * with a value for each.
 */
extern void es_replay_read_text_key(const EsTarget *target, const char *text, Datum *key);

#endif							/* ES_PROJECT_REPLAY_H */
