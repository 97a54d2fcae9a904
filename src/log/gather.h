/*
 * gather.h
 *		Rows of a segment in order of position, many at a time.
 */
#ifndef ES_LOG_GATHER_H
#define ES_LOG_GATHER_H

#include "eventsource.h"

#include "access/htup.h"
#include "log/pick.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct EsGather EsGather;

/*
 * Whether a row is wanted, by what all versions of it have in common.  While a page
 * is locked nothing may be looked up: who cannot tell says yes, and is asked again
 * without a lock.
 */
typedef bool (*EsGatherFilter) (void *arg, HeapTuple row, bool may_look_up);

/*
 * Reads with after < position <= upto.  Relation, index and snapshot (MVCC,
 * registered) are the caller's, as is what it costs to read on: first is how
 * many rows it is likely to ask for.  filter NULL: all.  Lives in the current
 * memory context.
 */
extern EsGather *es_gather_begin(Relation rel, Relation index, Snapshot snapshot,
								 int64 after, int64 upto, int64 first,
								 EsGatherFilter filter, void *arg);

/*
 * Reads the rows that were picked, under the same snapshot.  The pick is the
 * gather's from now on.
 */
extern EsGather *es_gather_begin_picked(Relation rel, Snapshot snapshot, EsPick *pick);

/* The names of the rows' streams are not asked for. */
extern void es_gather_spare_names(EsGather *gather);

/*
 * The next row, valid until the next call; NULL at the end.  It is hinted as
 * committed only if that is on disk.
 */
extern HeapTuple es_gather_next(EsGather *gather);

extern void es_gather_end(EsGather *gather);

#endif							/* ES_LOG_GATHER_H */
