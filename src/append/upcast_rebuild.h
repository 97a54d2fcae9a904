/*
 * upcast_rebuild.h
 *		Projections whose rows follow from how events of a type are read, folded
 *		anew as that changes.
 */
#ifndef ES_APPEND_UPCAST_REBUILD_H
#define ES_APPEND_UPCAST_REBUILD_H

#include "eventsource.h"
#include "nodes/pg_list.h"

/*
 * Folds history as this backend reads it by now; before, nobody else may begin to
 * define a projection (es_rebuild_lock_reading).
 */
extern List *es_upcast_rebuild_begin(const char *category, const char *type);

/* Keeps appends and followers away from them, to the end of the transaction. */
extern void es_upcast_rebuild_lock(List *rebuilds);

/* Writes the rows that differ. */
extern void es_upcast_rebuild_finish(List *rebuilds);

#endif							/* ES_APPEND_UPCAST_REBUILD_H */
