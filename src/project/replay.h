/*
 * replay.h
 *		History folded anew, and compared with what a projection's table holds.
 */
#ifndef ES_PROJECT_REPLAY_H
#define ES_PROJECT_REPLAY_H

#include "project/fold.h"
#include "project/projection.h"
#include "project/store.h"

/* Compares a store with the rows of its table that a snapshot sees (es_store_compare). */
extern void es_replay_compare(EsStore *store, EsProjection *projection, Snapshot snapshot);

/* Checks the constraints of the rows that changed, before they are written. */
extern void es_replay_check_rows(EsFold *fold);

/*
 * The key that a text names: the value of a single key column, or a JSON object
 * with a value for each.
 */
extern void es_replay_read_text_key(const EsTarget *target, const char *text, Datum *key);

/* The key that an object names: {"column": value}. */
extern void es_replay_read_key(const EsTarget *target, Jsonb *given, Datum *key);

#endif							/* ES_PROJECT_REPLAY_H */
