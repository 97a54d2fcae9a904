/*
 * tombstone.h
 *		Events whose data are gone for good.
 */
#ifndef ES_LOG_TOMBSTONE_H
#define ES_LOG_TOMBSTONE_H

#include "eventsource.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

/* An event about a subject. */
typedef struct EsAbout
{
	int64		position;
	int64		stream_id;
	int64		version;
	int			flags;			/* ES_EVENT_* */
} EsAbout;

/*
 * All events about a subject that a snapshot sees, registered, in order of position;
 * but those of the log's own categories.  palloc'd; NULL if there are none.
 */
extern EsAbout *es_tombstone_find(const text *subject, Snapshot snapshot, int64 *count);

/*
 * Makes tombstones of events, given in order of position, unless they are some
 * already; their streams are locked.  Returns how many; the segments are added to a
 * list of OIDs.
 */
extern int64 es_tombstone_write(const EsAbout *events, int64 count, List **segments);

#endif							/* ES_LOG_TOMBSTONE_H */
