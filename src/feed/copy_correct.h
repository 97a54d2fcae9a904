/*
 * copy_correct.h
 *		Corrections of events that are copied already.
 */
#ifndef ES_FEED_COPY_CORRECT_H
#define ES_FEED_COPY_CORRECT_H

#include "feed/copy.h"
#include "feed/copy_mapping.h"
#include "utils/snapshot.h"

/* Position of the event that a correction corrects. */
extern int64 es_copy_corrected(const EsEvent *correction);

/*
 * Carries a correction over to the copies of the event.  Events up to upto are
 * read by the snapshot.  No batch may hold events of the new category.
 */
extern void es_copy_correct(const EsCopy *copy, const EsMapping *mapping, const EsEvent *correction,
							int64 upto, Snapshot snapshot);

#endif							/* ES_FEED_COPY_CORRECT_H */
