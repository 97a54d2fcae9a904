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
	uint8	  **gone;			/* a bit for each position, in chunks; NULL:
								 * none of it */
	MemoryContext context;		/* of these */
	int64		count;
	EsPrunedLeaves leaves;		/* that are written next */
} EsPrune;

/* Rows of a category (word) in the segment, in order of stream and version. */
typedef void (*EsPruneVisit) (EsPrune *prune, HeapTuple row, void *arg);
extern void es_prune_visit(EsPrune *prune, int32 category, EsPruneVisit visit, void *arg);

/*
 * prune_choose.c: notes what goes of a category, and in the fact what has expired but
 * is held up, and by whom.
 */
extern void es_prune_choose(EsPrune *prune, EsSegmentFact *fact);

extern void es_prune_set_gone(EsPrune *prune, int64 position);

/* prune_refold.c: folds the rows that they touched from what is left.  Returns the tables. */
extern List *es_prune_refold(EsPrune *prune);

/* Merged segments have few events in a wide range. */
#define ES_PRUNE_CHUNK	(8 * 1024)	/* bytes */

static inline bool
es_prune_is_gone(const EsPrune *prune, int64 position)
{
	int64		i = position - prune->segment->lower;
	const uint8 *chunk = prune->gone[i / 8 / ES_PRUNE_CHUNK];

	return chunk != NULL && (chunk[i / 8 % ES_PRUNE_CHUNK] & (1 << (i % 8))) != 0;
}

#endif							/* ES_TRUST_PRUNE_H */
