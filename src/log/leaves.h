/*
 * leaves.h
 *		The leaves of the log: its events in order of position, those that are gone
 *		among them.
 */
#ifndef ES_LOG_LEAVES_H
#define ES_LOG_LEAVES_H

#include "log/read.h"

typedef struct EsLeaf
{
	int64		position;
	uint8		entry[ES_HASH_SIZE];	/* the event's hash */
	bool		is_pruned;		/* that is all there is of it */
	const EsEvent *event;		/* as stored, if asked for; until the next
								 * call */
} EsLeaf;

typedef struct EsLeaves EsLeaves;

/*
 * With after < position <= upto; lives in the current memory context.  The snapshot
 * is registered as long.
 */
extern EsLeaves *es_leaves_begin(int64 after, int64 upto, bool with_events, Snapshot snapshot);

/* False at the end. */
extern bool es_leaves_next(EsLeaves *leaves, EsLeaf *leaf);

/* The scan that returned the last one, unless that is gone. */
extern const EsScan *es_leaves_scan(const EsLeaves *leaves);

extern void es_leaves_end(EsLeaves *leaves);

#endif							/* ES_LOG_LEAVES_H */
