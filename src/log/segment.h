/*
 * segment.h
 *		The log as a chain of segments: tables that hold a range of positions.
 */
#ifndef ES_LOG_SEGMENT_H
#define ES_LOG_SEGMENT_H

#include "eventsource.h"

#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

typedef struct EsSegment
{
	int64		lower;			/* first position */
	int64		upper;			/* first position beyond */
	Oid			table;
} EsSegment;

/*
 * The attached segments, in order, for a reader up to a position, which must not
 * miss one that somebody has attached just now; valid until the next call into
 * this module.  One of the list may be merged with its neighbours before a reader
 * opens it (es_segment_open()): then he asks again.
 */
extern const EsSegment *es_segment_upto(int64 position, int *count);

/* The segment that covers a position; NULL if there is none. */
extern const EsSegment *es_segment_at(int64 position);

/*
 * The same, attached now if need be; also has segments attached ahead.
 * Must not be called with the log's parent open.
 */
extern const EsSegment *es_segment_ensure(int64 position);

/* Highest position of a row that the snapshot sees, of any kind; 0 if there is none. */
extern int64 es_segment_max_position(Snapshot snapshot);

/*
 * Opens a segment's table; NULL if that is gone or has another range by now.  With the
 * lock held it keeps its range.
 */
extern Relation es_segment_open(const EsSegment *segment, LOCKMODE lockmode);

/*
 * Locks all segments (ACCESS SHARE, to the end of the transaction), so that nothing is
 * taken out of any.
 */
extern void es_segment_hold_all(void);

/* The open transaction has changed the set of segments. */
extern void es_segment_changed(void);

/* Serialises whoever changes the set of segments, to the end of the transaction. */
extern void es_segment_lock(void);

/*
 * Opens the log in this database, in a worker if one can be had.
 */
extern void es_segment_open_log(void);

/* Says that this transaction holds a lock on the log that a worker's attach
 * would wait for. */
extern void es_segment_wide_lock(void);

extern void es_segment_init(void);

#endif							/* ES_LOG_SEGMENT_H */
