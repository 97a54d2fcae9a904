/*
 * rows.h
 *		A table of ours that is open for writing rows, with its indexes.
 */
#ifndef ES_LOG_ROWS_H
#define ES_LOG_ROWS_H

#include "postgres.h"

#include "access/htup.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

typedef struct EsRowIndex
{
	Relation	rel;
	IndexInfo  *info;
	bool		is_plain;		/* columns alone, every row */
} EsRowIndex;

/* Belongs to the memory context and the resource owner that it was opened under. */
typedef struct EsRows
{
	Relation	rel;			/* NULL: closed */
	MemoryContext context;
	EsRowIndex *indexes;		/* all that are ready, not only our own */
	int			n_indexes;
	EState	   *estate;			/* for indexes that are not plain, or NULL */
	TupleDesc	desc;			/* of the slots */
	TupleTableSlot **slots;		/* made as needed */
	int			n_slots;
	int			max_slots;
} EsRows;

/* ROW EXCLUSIVE on table and indexes, to the end of the transaction. */
extern void es_rows_open(EsRows *rows, Oid table);
extern void es_rows_close(EsRows *rows);

/* Slots for as many rows, to be filled by the caller. */
extern TupleTableSlot **es_rows_slots(EsRows *rows, int count);

/*
 * Writes the rows that fill the first slots, and empties these.  Leaves memory
 * behind in the current context, which many rows need short-lived.  "order" (row
 * numbers) is that in which one index gets its entries; NULL: as they stand.
 */
extern void es_rows_insert(EsRows *rows, int count, int ordered_index, const int *order);

/*
 * Writes a row anew, at whose newest version tid points; the caller keeps others
 * from it.  For who may change rows at all.
 */
extern void es_rows_update(EsRows *rows, ItemPointer tid, HeapTuple row);

#endif							/* ES_LOG_ROWS_H */
