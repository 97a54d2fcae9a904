/*
 * history_tracked.h
 *		Rows of a tracked table, told by the events that captured them: for
 *		history_row.c and history_table.c.
 */
#ifndef ES_CAPTURE_HISTORY_TRACKED_H
#define ES_CAPTURE_HISTORY_TRACKED_H

#include "capture/history.h"

/* What was last said about a column: {"old": ..., "new": ...} */
typedef struct EsSaying
{
	JsonbContainer *json;		/* NULL: nothing */
	int			length;
	int			room;			/* bytes that are there for it */
} EsSaying;

/* All zeroes: there is no row. */
typedef struct EsTrackedRow
{
	bool		exists;
	int64		created;		/* position of the event that made it */
	EsSaying	sayings[FLEXIBLE_ARRAY_MEMBER]; /* by attno - 1 */
} EsTrackedRow;

/* What it takes to read events of one table; lives in the current context. */
typedef struct EsTrackedReader EsTrackedReader;

extern EsTrackedReader *es_tracked_begin(const EsHistory *history);

/* Bytes of a row, and what makes it all zeroes but for its sayings' room. */
extern Size es_tracked_size(const EsTrackedReader *reader);
extern void es_tracked_clear(const EsTrackedReader *reader, EsTrackedRow *row);

/* Applies a captured event; what is kept of it is allocated in the context. */
extern void es_tracked_apply(EsTrackedReader *reader, EsTrackedRow *row, MemoryContext context,
							 const EsEvent *event);

/* Makes the row what it was at a position: changes of all columns, by the names of today. */
extern void es_tracked_restore(EsTrackedReader *reader, EsTrackedRow *row, MemoryContext context,
							   Jsonb *changes, int64 position);

/* One such change of a column; no JSON if there is none. */
extern EsSaying es_tracked_find(JsonbContainer *changes, Form_pg_attribute att);

/* A column of a row that exists, and the whole of it, in the current context. */
extern void es_tracked_column(EsTrackedReader *reader, const EsTrackedRow *row, AttrNumber column,
							  Datum *value, bool *isnull);
extern HeapTuple es_tracked_read(EsTrackedReader *reader, const EsTrackedRow *row);

#endif							/* ES_CAPTURE_HISTORY_TRACKED_H */
