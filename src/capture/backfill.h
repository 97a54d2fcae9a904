/*
 * backfill.h
 *		Events for what was there before a table was tracked: what the two forms
 *		of a backfill share.
 */
#ifndef ES_CAPTURE_BACKFILL_H
#define ES_CAPTURE_BACKFILL_H

#include "append/hall.h"
#include "capture/track.h"
#include "log/progress.h"

/* One call. */
typedef struct EsBackfill
{
	const EsTracking *tracking;
	TupleDesc	desc;			/* of the tracked table */
	MemoryContext row_context;	/* of drafts that are not written yet */
	struct EsExpr *time;		/* when a row occurred; NULL: now */
	EsBatch    *batch;
	EsProgress	progress;
	int64		limit;			/* of rows */
	int64		rows;			/* that got their first events */
	int64		busy;			/* left alone: another transaction has the
								 * stream */
} EsBackfill;

/*
 * Locks a stream, without waiting, and says whether it is ours to begin.  False
 * if it exists, or if somebody else is at work on it.
 */
extern bool es_backfill_claim(EsBackfill *backfill, const text *stream);

/* Gives the image of a row its time, if the caller said where that is. */
extern void es_backfill_date(EsBackfill *backfill, const Datum *values, const bool *nulls, EsDraft *draft);

/* Adds an event to the batch; what the draft points to must stay until it settles. */
extern void es_backfill_add(EsBackfill *backfill, const EsDraft *draft, EsAppended *result);

/* After each row or key: once enough has gathered, writes it and resets row_context. */
extern void es_backfill_settle(EsBackfill *backfill);

/*
 * Gives the keys of a query (key, at, type, data, actor, reason) their events of
 * old, and then the image of the row, where there is one.  Starts after a key
 * (NULL: with the first); returns the key of the last stream it came to when
 * the limit was reached, else NULL.
 */
extern char *es_backfill_history(EsBackfill *backfill, const char *query, const char *after);

#endif							/* ES_CAPTURE_BACKFILL_H */
