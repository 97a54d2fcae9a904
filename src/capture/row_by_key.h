/*
 * row_by_key.h
 *		The row of a tracked table that a key belongs to.
 */
#ifndef ES_CAPTURE_ROW_BY_KEY_H
#define ES_CAPTURE_ROW_BY_KEY_H

#include "eventsource.h"

#include "capture/track.h"
#include "executor/spi.h"

/* SPI is connected; the plan is good until it is not any more. */
extern SPIPlanPtr es_row_by_key_prepare(const EsTracking *tracking);

/*
 * The row in the current memory context, and what its columns are; NULL: there is
 * none.  key: as es_tracking_key() makes it.  as_of_snapshot: what the active snapshot
 * sees, else what is committed by now.
 */
extern HeapTuple es_row_by_key_read(SPIPlanPtr plan, const EsTracking *tracking, const text *key,
									bool as_of_snapshot, TupleDesc *desc);

#endif							/* ES_CAPTURE_ROW_BY_KEY_H */
