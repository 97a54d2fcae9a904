/*
 * rebuild_write.h
 *		Rows of a store, written to the table where it has others.
 */
#ifndef ES_PROJECT_REBUILD_WRITE_H
#define ES_PROJECT_REBUILD_WRITE_H

#include "project/store.h"

/*
 * Empties the store and returns how many rows were written, or deleted.  snapshot:
 * under which the table's rows are looked up; NULL: they were compared with the
 * store (es_store_compare).  The caller keeps everybody else from writing them.
 */
extern int64 es_rebuild_write(EsStore *store, const EsTarget *target, Snapshot snapshot);

#endif							/* ES_PROJECT_REBUILD_WRITE_H */
