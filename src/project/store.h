/*
 * store.h
 *		The rows of one projection, folded in bounded memory.
 */
#ifndef ES_PROJECT_STORE_H
#define ES_PROJECT_STORE_H

#include "access/htup.h"
#include "log/correction.h"
#include "project/fold_row.h"

typedef struct EsStore EsStore;

/* Empty; lives below "parent".  The projection must outlive it. */
extern EsStore *es_store_begin(MemoryContext parent, EsProjection *projection);

/*
 * Of an empty store: events will leave rows alone that were not put into it; or
 * rows that are not in it begin as the table's are under a registered snapshot.
 */
extern void es_store_restrict(EsStore *store);
extern void es_store_read_base(EsStore *store, Snapshot base);

/*
 * How events are corrected from now on, also those that wait in a file; as long
 * as the store is in use.
 */
extern void es_store_use_corrections(EsStore *store, const EsCorrections *corrections);

/* Folds an event, in order, as it is logged; row: the log's row of it. */
extern void es_store_fold(EsStore *store, const EsEvent *event, HeapTuple row);

/* Puts a copy of a row in place of the one it has. */
extern void es_store_put(EsStore *store, const EsRow *row);

/* Compares a row of the table with the one that the store has in the end. */
extern void es_store_compare(EsStore *store, HeapTuple row);

/* After es_store_compare() of all: is it not what the table has?  "found" is that. */
extern bool es_store_row_differs(const EsRow *row);

/* Are all rows in memory? */
extern bool es_store_is_whole(const EsStore *store);

/*
 * The rows, many at a time: a fold that holds some, valid until the next call;
 * NULL at the end.  They are gone by then.
 */
extern EsFold *es_store_next(EsStore *store);

extern void es_store_end(EsStore *store);

#endif							/* ES_PROJECT_STORE_H */
