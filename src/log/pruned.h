/*
 * pruned.h
 *		What is left of events that were taken out of the log.
 */
#ifndef ES_LOG_PRUNED_H
#define ES_LOG_PRUNED_H

#include "log/stream.h"

/*
 * The last event of a stream that is gone; false if none is.  What is left of the
 * stream, if anything, follows it.  As it is now, whatever an older snapshot shows:
 * the events are gone for that as well.
 */
extern bool es_pruned_head(int64 stream_id, EsHead *head);

/* The same of a stream by its name. */
extern bool es_pruned_head_of(const text *stream, EsHead *head);

/* Sets it; the caller holds the lock of retention (trust/retention.h). */
extern void es_pruned_set_head(int64 stream_id, const EsHead *head);

/*
 * Positions and hashes of events that are gone, with after < position <= upto, in
 * order, as it is now: see log/leaves.h.
 */
typedef struct EsPrunedScan EsPrunedScan;
extern EsPrunedScan *es_pruned_begin(int64 after, int64 upto);
extern bool es_pruned_next(EsPrunedScan *scan, int64 *position, uint8 *hash);
extern void es_pruned_end(EsPrunedScan *scan);

/*
 * Adds some of a bucket: of the ES_PRUNED_BUCKET positions from bucket * that on those
 * whose bits are set; hashes has room for all of them.
 */
#define ES_PRUNED_BUCKET	32
typedef struct EsPrunedLeaves
{
	int64		bucket;
	uint32		present;
	uint8		hashes[ES_PRUNED_BUCKET][ES_HASH_SIZE];
} EsPrunedLeaves;

extern void es_pruned_add_leaves(const EsPrunedLeaves *leaves);

/*
 * Does the snapshot show all other tables as they are since events were last taken out
 * of the log?  Of use to who holds all segments (log/segment.h), as none is then.
 */
extern bool es_pruned_is_seen(Snapshot snapshot);

#endif							/* ES_LOG_PRUNED_H */
