/*
 * read.h
 *		Reading events in order, segment by segment, as EsEvent.
 */
#ifndef ES_LOG_READ_H
#define ES_LOG_READ_H

#include "eventsource.h"

#include "access/htup.h"
#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

typedef struct EsScan EsScan;

/*
 * Events with after < position <= upto, in order of position, of the named
 * categories (NIL: all but $config; list of char *).  The snapshot must be
 * registered by the caller.
 */
extern EsScan *es_scan_log(int64 after, int64 upto, List *categories, Snapshot snapshot);

/* The same with the events of $config among them. */
extern EsScan *es_scan_whole_log(int64 after, int64 upto, Snapshot snapshot);

/*
 * Events of one stream from a version on (backward: from it down), in order of
 * version.  Empty for a stream that does not exist.
 */
extern EsScan *es_scan_stream(const text *stream, int64 from_version, bool backward,
							  Snapshot snapshot);

/* Before the first event: no more than so many will be asked for, most likely. */
extern void es_scan_expect(EsScan *scan, int64 count);

/*
 * Likewise: data, metadata and hash may come with short headers.  For who hands
 * them to PostgreSQL's own functions, which all take them.
 */
extern void es_scan_pack(EsScan *scan);

/*
 * Likewise: data as it is stored, without personal fields and not upcast.  For who
 * compares or hashes it, who looks at other columns alone, and who passes events
 * through es_corrections_apply(), which makes of them what they say.  Else what the
 * current user may see is read.
 */
extern void es_scan_as_stored(EsScan *scan);

/* Whom personal fields are shown to, or masked; else the current user. */
extern void es_scan_show(EsScan *scan, Oid reader);

/* Likewise, for a scan by position: of what the current user may read alone (log/rights.h). */
extern void es_scan_for_reader(EsScan *scan);

/* Likewise: rows alone will be asked for, and never the names of their streams. */
extern void es_scan_spare_names(EsScan *scan);

/*
 * Likewise, for es_scan_whole_log(): about a subject alone, which stays as long as the
 * scan lasts.  stream_id: of the stream of this name; 0: there is none.
 */
extern void es_scan_about(EsScan *scan, const text *subject, int64 stream_id);

/*
 * Likewise, for es_scan_log(): of the streams of one part alone, of so many
 * (log/stream.h).
 */
extern void es_scan_take_part(EsScan *scan, uint32 part, uint32 parts);

/*
 * Likewise: without the events that an older snapshot sees, registered as long
 * as the scan lasts.  Those of our own transaction count as seen.
 */
extern void es_scan_leave_out(EsScan *scan, Snapshot seen);

/* The next event, valid until the next call; false at the end. */
extern bool es_scan_next(EsScan *scan, EsEvent *event);

/* Its row, as long valid. */
extern HeapTuple es_scan_row(const EsScan *scan);

/* The row of the next event alone, likewise; NULL at the end.  A row has the log's columns. */
extern HeapTuple es_scan_next_tuple(EsScan *scan);

/*
 * Up to where WAL must be flushed before the event returned last can be acted
 * on, when commits are asynchronous; invalid if it is flushed.  Likewise of a row.
 */
extern XLogRecPtr es_scan_commit_lsn(const EsScan *scan);

extern void es_scan_end(EsScan *scan);

#endif							/* ES_LOG_READ_H */
