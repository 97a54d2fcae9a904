/*
 * event.h
 *		Rows of the log: the one place that knows the table's column numbers.
 */
#ifndef ES_LOG_EVENT_H
#define ES_LOG_EVENT_H

#include "eventsource.h"

#include "access/htup.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "log/stream.h"
#include "utils/rel.h"

/* The two indexes that every segment has; it may have more. */
typedef enum EsEventIndex
{
	ES_INDEX_POSITION,			/* unique (position) */
	ES_INDEX_STREAM				/* unique (stream, version) */
} EsEventIndex;

extern bool es_event_is_index(Relation index, EsEventIndex which);

/* Opens one of them; an error if a segment lacks it. */
extern Relation es_event_open_index(Relation segment, EsEventIndex which, LOCKMODE lockmode);

extern void es_event_key_stream(ScanKey key, int64 stream_id);
extern void es_event_key_version(ScanKey key, StrategyNumber strategy, int64 version);
extern void es_event_key_position(ScanKey key, StrategyNumber strategy, int64 position);

/*
 * All streams of a category, for a scan of ES_INDEX_STREAM itself: two keys,
 * numbered as the index's columns are.
 */
extern void es_event_key_category(ScanKey keys, int32 category);

extern void es_event_deform_head(Relation segment, HeapTuple tuple, EsHead *head);

/*
 * Row -> event.  Words and names come from the caches; the rest points into the
 * row, or is detoasted into the current memory context.  Packed: data, metadata
 * and hash may have short headers, which spares a copy of most.
 */
extern void es_event_deform(HeapTuple row, bool packed, EsEvent *event);

/*
 * The same without words, names, hash, metadata and subject, which are null: for
 * who goes through many events and looks at their data alone.
 */
extern void es_event_deform_lean(HeapTuple row, EsEvent *event);

/* Business time of a row, from its columns recorded_at and extra. */
extern TimestampTz es_event_occurred_at(TimestampTz recorded_at, const bytea *extra);

/* The commitment to its personal fields, from column extra; NULL: it has none. */
extern const uint8 *es_event_commitment(const bytea *extra);

/* The position and the stream of a row, for filters that need no more. */
extern int64 es_event_position(HeapTuple row);
extern int64 es_event_stream_id(HeapTuple row);
extern int64 es_event_version(HeapTuple row);
extern TimestampTz es_event_recorded_at(HeapTuple row);
extern int32 es_event_type_id(HeapTuple row);

/* The same as es_event_deform_head(), of a row alone. */
extern void es_event_read_head(HeapTuple row, EsHead *head);

/* The chain hash that a row has, ES_HASH_SIZE bytes: padded or cut if it is not as long. */
extern void es_event_hash(HeapTuple row, uint8 *hash);

/* The columns that order a row within the streams, for a sort. */
#define ES_EVENT_SORT_COLUMNS	2
extern void es_event_sort_columns(AttrNumber *columns);

/*
 * Is the row about a subject?  stream: id of the stream that has its name, 0 if
 * there is none.  may_look_up: else what is stored apart, or compressed, is taken
 * for it, and nothing is allocated.
 */
extern bool es_event_is_about(HeapTuple row, const text *subject, int64 stream, bool may_look_up);

/* What is stored of an event in the few bits that are not words. */
extern int	es_event_flags(HeapTuple row);

/* The row with nothing in it but what a tombstone keeps. */
extern HeapTuple es_event_form_tombstone(HeapTuple row, TupleDesc desc);

/* Event -> slot of a segment's table, to be written; assigns word ids. */
extern void es_event_form(const EsEvent *event, TupleTableSlot *slot);

#endif							/* ES_LOG_EVENT_H */
