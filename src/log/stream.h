/*
 * stream.h
 *		Streams: names, ids, locks and heads.
 */
#ifndef ES_LOG_STREAM_H
#define ES_LOG_STREAM_H

#include "eventsource.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

typedef struct EsStream
{
	int64		id;				/* 0: it does not exist yet */
	int64		first_position;
	int64		version_hint;	/* newest version seen by this backend; 0:
								 * unknown */
} EsStream;

/* The last event of a stream, as far as appending needs it. */
typedef struct EsHead
{
	int64		version;		/* 0: no event */
	int64		position;
	int32		to_state;		/* word */
	TimestampTz recorded_at;
	uint8		hash[ES_HASH_SIZE];
} EsHead;

/* Length of the category in a stream's name; an error if the name is bad. */
extern int	es_stream_category_length(const text *name);

#define ES_STREAM_CATEGORY(id)	((int32) ((id) >> 40))
#define ES_STREAM_NUMBER_MASK	((INT64CONST(1) << 40) - 1)

/* To which of so many parts a stream belongs, as long as the log lives. */
static inline uint32
es_stream_part(int64 id, uint32 parts)
{
	return (uint32) ((id & ES_STREAM_NUMBER_MASK) % parts);
}

/*
 * Locks a stream, existing or not, until the (sub)transaction ends.  Also
 * takes ROW EXCLUSIVE on the log.
 */
extern void es_stream_lock(const text *name);

/* The same without waiting for other writers of the stream; false: it has one. */
extern bool es_stream_try_lock(const text *name);

/* The order in which streams are locked by whoever locks several. */
extern uint64 es_stream_lock_order(const text *name);

/*
 * Says that so many streams, of distinct lock order, are about to be locked:
 * takes the wide lock at once if they are more than the lock table should hold.
 */
extern void es_stream_expect_distinct(int count);

/*
 * Has this transaction locked so many that it had better end, if it can go on in
 * another one, before it needs the wide lock?
 */
extern bool es_stream_locks_are_many(void);

/* The table of streams, open for a while: roster.h. */
typedef struct EsRoster EsRoster;

/* A stream that this backend knows, and one that it should know from now on. */
extern bool es_stream_recall(const text *name, EsStream *stream);
extern void es_stream_remember(const text *name, const EsStream *stream);

/* Finds a stream, ours or committed; false if it does not exist. */
extern bool es_stream_find(const text *name, EsStream *stream);
extern bool es_stream_find_in(EsRoster *roster, const text *name, EsStream *stream);

/*
 * For a reader under SERIALIZABLE that found no such stream: whoever makes it
 * conflicts with the reader.
 */
extern void es_stream_note_missing(const text *name, Snapshot snapshot);

/* NOTICE if there is no such stream, from who verifies it: nothing to find is not all well. */
extern void es_stream_mention_missing(const text *name);

/*
 * Name of the stream with an id.  It lasts to the end of the transaction, or
 * until tens of thousands of others were asked for: copy it to keep it.
 */
extern const text *es_stream_name(int64 id);

/* The same, but NULL if there is no such stream. */
extern const text *es_stream_find_name(int64 id);

/* An id for a new stream of a category. */
extern int64 es_stream_new_id(const text *category);

/* Stores a new stream under an id, with the position of its first event. */
extern void es_stream_insert(EsRoster *roster, const text *name, const EsStream *stream);

/* Remembers the newest version, to find the head sooner. */
extern void es_stream_note_version(const text *name, int64 version);

/* Position of the stream's first event in the latest segment it entered. */
extern int64 es_stream_latest_part(const EsStream *stream);

/* Notes that a stream goes on in the segment that starts at or below position. */
extern void es_stream_enter_segment(const EsStream *stream, int64 position, int64 version);

typedef struct EsStreamPart
{
	int64		first_position;
	int64		first_version;
} EsStreamPart;

/* Where in the log the stream has events: its first event in each segment, in
 * order.  List of EsStreamPart. */
extern List *es_stream_parts(const EsStream *stream, Snapshot snapshot);

extern void es_stream_init(void);

#endif							/* ES_LOG_STREAM_H */
