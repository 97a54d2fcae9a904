/*
 * by_stream.h
 *		Events of whole categories in order of stream and version.
 */
#ifndef ES_LOG_BY_STREAM_H
#define ES_LOG_BY_STREAM_H

#include "eventsource.h"

#include "nodes/pg_list.h"
#include "utils/snapshot.h"

typedef struct EsStreamWalk EsStreamWalk;

/*
 * Reads and sorts the events with after < position <= upto of the named
 * categories (as es_scan_log).  Streams come in order of their ids, that is
 * category by category, each with its events in order of version.  The caller
 * registers the snapshot, and keeps it until the end.
 */
extern EsStreamWalk *es_walk_streams_begin(int64 after, int64 upto, List *categories, Snapshot snapshot);

/* How many events it will return in all. */
extern int64 es_walk_streams_total(const EsStreamWalk *walk);

/*
 * The next event, valid until the next call; false at the end.  *is_first: it
 * is of another stream than the event before it.  Its data is as stored, which
 * es_corrections_apply() upcasts.
 */
extern bool es_walk_streams_next(EsStreamWalk *walk, EsEvent *event, bool *is_first);

extern void es_walk_streams_end(EsStreamWalk *walk);

#endif							/* ES_LOG_BY_STREAM_H */
