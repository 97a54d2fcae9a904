/*
 * prune.h
 *		Taking expired events out of a segment.  For the files of pruning alone.
 */
#ifndef ES_TRUST_PRUNE_H
#define ES_TRUST_PRUNE_H

#include "access/htup.h"
#include "log/pruned.h"
#include "trust/archive.h"

typedef struct EsPrune
{
	EsArchiveRun *run;
	const EsSegment *segment;
	List	   *facts;			/* of EsSegmentFact: categories looked at */
	uint8	   *gone;			/* a bit for each position */
	int64		count;
	Oid			new_heap;

	/* Of the segment as it is written anew. */
	TransactionId frozen_xid;
	MultiXactId min_multi;
	EsPrunedLeaves leaves;
} EsPrune;

/* Rows of a category (word) in the segment, in order of stream and version. */
typedef void (*EsPruneVisit) (EsPrune *prune, HeapTuple row, void *arg);
extern void es_prune_visit(EsPrune *prune, int32 category, EsPruneVisit visit, void *arg);

/*
 * prune_choose.c: notes what goes of a category, and in the fact what has expired but
 * is held up, and by whom.
 */
extern void es_prune_choose(EsPrune *prune, EsSegmentFact *fact);

/* prune_refold.c: folds the rows that they touched from what is left. */
extern void es_prune_refold(EsPrune *prune);

static inline bool
es_prune_is_gone(const EsPrune *prune, int64 position)
{
	int64		i = position - prune->segment->lower;

	return (prune->gone[i / 8] & (1 << (i % 8))) != 0;
}

#endif							/* ES_TRUST_PRUNE_H */
