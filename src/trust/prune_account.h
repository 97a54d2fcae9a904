/*
 * prune_account.h
 *		What the log tells of events that retention took out of it.
 *
 * An event for each segment that lost some, in a stream of the log's own: the range of
 * positions, how many of them are gone by now, and a digest of these positions and
 * hashes.  Segments are merged, so the newest event about a range says all about it.
 */
#ifndef ES_TRUST_PRUNE_ACCOUNT_H
#define ES_TRUST_PRUNE_ACCOUNT_H

#include "trust/archive.h"
#include "trust/verify.h"

#define ES_PRUNE_CATEGORY	"$retention"

/* Notes that so many events went from a segment, whose leaves are kept by now. */
extern void es_prune_account_note(EsArchiveRun *run, const EsSegment *segment, int64 events);

/* The transaction failed in part, since the run began to note. */
extern void es_prune_account_forget(EsArchiveRun *run);

/* Appends what was noted, as the last thing that the run does. */
extern void es_prune_account_write(EsArchiveRun *run);

/*
 * Holds pruned leaves against what was said of them.  To be sure that it all was, hold
 * all segments (log/segment.h) before the snapshot is taken.  Lives in the current
 * memory context.
 */
typedef struct EsPruneCheck EsPruneCheck;
extern EsPruneCheck *es_prune_check_begin(Snapshot snapshot);

/* The next one, in order of position; what is wrong with it, or NULL. */
extern const char *es_prune_check_leaf(EsPruneCheck *check, int64 position, const uint8 *entry);

/* Reports what is wrong with the whole. */
extern void es_prune_check_end(EsPruneCheck *check, EsVerifyReport report, void *arg);

#endif							/* ES_TRUST_PRUNE_ACCOUNT_H */
