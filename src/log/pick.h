/*
 * pick.h
 *		Where in a segment the rows of a few categories are.
 */
#ifndef ES_LOG_PICK_H
#define ES_LOG_PICK_H

#include "eventsource.h"

#include "log/segment.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct EsPick EsPick;

/*
 * The places of all rows that the snapshot sees, up to a position, of categories
 * given by the ids of their words.  NULL if they are so large a part of the
 * segment that the index of positions serves as well.  Lives in the current
 * memory context.
 */
extern EsPick *es_pick_begin(const EsSegment *segment, Relation rel, Snapshot snapshot, int64 upto,
							 const int32 *categories, int count);

/* The next one in order of position; false at the end. */
extern bool es_pick_next(EsPick *pick, ItemPointer tid);

extern void es_pick_end(EsPick *pick);

#endif							/* ES_LOG_PICK_H */
