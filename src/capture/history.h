/*
 * history.h
 *		The past of tracked tables and projections: what history*.c share.
 *
 *		history.c			the table asked about, and who may ask
 *		history_events.c	events of streams up to a moment
 *		history_row.c		the rows that they make, one event after the other
 *		history_tracked.c	those of tracked tables
 *		history_table.c		all rows of a tracked table at a moment
 *		history_as_of.c, history_list.c, history_periods.c, history_replay.c
 *							the functions that users call
 *		snapshot.c			where a replay need not begin with the first event
 */
#ifndef ES_CAPTURE_HISTORY_H
#define ES_CAPTURE_HISTORY_H

#include "eventsource.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "capture/track.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "project/projection.h"
#include "utils/snapshot.h"
#include "utils/tuplestore.h"

/* Which of its two times says when an event counts. */
typedef enum EsBasis
{
	ES_BASIS_RECORDED,			/* when it was recorded; what was believed
								 * then */
	ES_BASIS_OCCURRED			/* when it happened, by all that is known now */
} EsBasis;

/* Inclusive. */
typedef struct EsMoment
{
	EsBasis		basis;
	TimestampTz at;				/* DT_NOEND: now */
	Oid			reader;			/* whom personal fields are masked for; 0:
								 * shown */
} EsMoment;

/* A table whose past can be told. */
typedef struct EsHistory
{
	Oid			relid;
	Oid			owner;
	char	   *name;
	TupleDesc	desc;			/* as it is now */
	bool		is_single;		/* a stream has at most one row */
	EsProjection *projection;	/* what makes its rows, one of both */
	const EsTracking *tracking;
	List	   *categories;		/* of char * */
} EsHistory;

/*
 * Locks the table (ACCESS SHARE).  The caller of "function" must be allowed to
 * read it, or the column alone (0: all of it), whatever the row.  An error if it
 * has no past.
 */
extern EsHistory *es_history_open(Oid relid, AttrNumber column, const char *function);

/* The same without a look at rights; NULL if it has no past. */
extern EsHistory *es_history_make(Oid relid);

/* True if each of its rows belongs to one stream (which its key must name). */
extern bool es_history_is_by_stream(const EsHistory *history, bool has_key);

/*
 * Who asks for it, if personal fields of its events are to be masked for him; else 0.
 * Rows of a projection are what they are: who may read the table may read its past.
 */
extern Oid	es_history_reader(const EsHistory *history);

/* An error unless a stream has at most one row. */
extern void es_history_expect_single(const EsHistory *history, const char *function);

/* The streams (text *) whose rows have this key; by stream only. */
extern List *es_history_streams(const EsHistory *history, const char *key);

/* Text that names the row of a stream, as es_history_streams() reads it. */
extern text *es_history_key(const EsHistory *history, const EsEvent *event);

/* Arguments: an error for what is neither 'recorded' nor 'occurred'. */
extern EsBasis es_history_get_basis(FunctionCallInfo fcinfo, int arg);

/* An error for null. */
extern TimestampTz es_history_get_at(FunctionCallInfo fcinfo, int arg, const char *function);

/* A row of the table, the same in every session. */
extern Jsonb *es_history_row_to_jsonb(const EsHistory *history, HeapTuple row);

/* ---- events ---- */

/* How far a stream has come. */
typedef struct EsPastClock
{
	int64		stream_id;		/* 0: of no stream yet */
	TimestampTz time;			/* of its last event, by the moment's basis */
	TimestampTz occurred_at;	/* the same in business time */
	bool		is_over;		/* the moment is passed */
} EsPastClock;

/* Events up to a moment, as corrected by what was known then. */
typedef struct EsPast
{
	EsMoment	moment;
	Snapshot	snapshot;
	struct EsScan *scan;		/* or NULL */
	struct EsStreamWalk *walk;	/* or NULL */
	struct EsCorrections *corrections;
	const text *stream;			/* the only one, or NULL */
	int64		stream_id;		/* of it; 0: it does not exist */
	struct HTAB *clocks;		/* EsPastClock, of streams that come mixed, or
								 * NULL */
	EsPastClock clock;			/* of the stream at hand, if they do not */
	int64		returned;		/* stream of the event returned last */

	/* Of the event returned last. */
	bool		is_first;		/* the one before it is of another stream */
	TimestampTz time;			/* when it counts; never before the one before */

	/*
	 * Of the stream, up to that event or the moment.  Events that count for
	 * nothing else have their part in it.
	 */
	int64		version;
	const text *state;
} EsPast;

/*
 * Stream by stream, each in order of version.  The snapshot is registered by the
 * caller.
 */
extern EsPast *es_past_begin(List *categories, const EsMoment *moment, Snapshot snapshot);

/* Of one stream alone. */
extern EsPast *es_past_begin_stream(const text *stream, const EsMoment *moment, Snapshot snapshot);

/* Of all streams together, in order of position. */
extern EsPast *es_past_begin_log(List *categories, const EsMoment *moment, Snapshot snapshot);

/* Of one stream, before anything was read: goes on after a version of it. */
extern void es_past_skip(EsPast *past, int64 version, const EsPastClock *clock, const text *state);

/* The next event, valid until the next call; false at the end. */
extern bool es_past_next(EsPast *past, EsEvent *event);

extern void es_past_end(EsPast *past);

/* What these are made of, for who has the events from elsewhere. */
extern struct EsCorrections *es_past_corrections(const EsMoment *moment, Snapshot snapshot);
extern EsPastClock es_past_clock(int64 stream_id);

/*
 * The stream's clock goes on, up to the moment.  True if the event counts; it is
 * made what it is as corrected.
 */
extern bool es_past_count(EsPastClock *clock, const EsMoment *moment,
						  const struct EsCorrections *corrections, EsEvent *event);

/* "changed" of a captured event; NULL for any other. */
extern Jsonb *es_past_changes(const EsHistory *history, const EsEvent *event);

/* ---- rows ---- */

/* The rows that a stream's events make, one event after the other. */
typedef struct EsPastRows EsPastRows;

extern EsPastRows *es_past_rows_begin(const EsHistory *history);

/* Forgets all, for the events of another stream. */
extern void es_past_rows_reset(EsPastRows *rows);

/* False if the event says nothing about rows of the table. */
extern bool es_past_rows_apply(EsPastRows *rows, const EsEvent *event);

/*
 * Begins with the row as it was at a position (changes of all its columns, by
 * the names of today); after a reset.
 */
extern void es_past_rows_restore(EsPastRows *rows, Jsonb *changes, int64 position);

/* From now on rows of this key alone. */
extern void es_past_rows_restrict(EsPastRows *rows, const Datum *key);

/*
 * The row of the stream; NULL if there is none.  Valid until the next event.
 * Not for a projection whose streams can have several.
 */
extern HeapTuple es_past_rows_own(EsPastRows *rows);

/* A column of that row; false if there is no row. */
extern bool es_past_rows_own_column(EsPastRows *rows, AttrNumber column, Datum *value, bool *isnull);

/* All rows, in no order: NULL ends.  *next starts with 0. */
extern HeapTuple es_past_rows_next(EsPastRows *rows, uint32 *next);

/* history_table.c: all rows of a tracked table. */
extern void es_history_put_table(const EsHistory *history, const EsMoment *moment, Snapshot snapshot,
								 Tuplestorestate *result);

#endif							/* ES_CAPTURE_HISTORY_H */
