/*
 * read.h
 *		Reading events in order, segment by segment, as EsEvent.
 */
#ifndef ES_LOG_READ_H
#define ES_LOG_READ_H

#include "eventsource.h"
#include "utils/snapshot.h"

typedef struct EsScan EsScan;

/*
 * Events with after < position <= upto, in order of position, of the named
 * categories (NIL: all but $config; list of char *).  The snapshot must be
 * registered by the caller.
 */
extern EsScan *es_scan_log(int64 after, int64 upto, List *categories, Snapshot snapshot);

/*
 * Events of one stream from a version on (backward: from it down), in order of
 * version.  Empty for a stream that does not exist.
 */
extern EsScan *es_scan_stream(const text *stream, int64 from_version, bool backward,
							  Snapshot snapshot);

/* The next event, valid until the next call; false at the end. */
extern bool es_scan_next(EsScan *scan, EsEvent *event);
extern void es_scan_end(EsScan *scan);

#endif							/* ES_LOG_READ_H */
