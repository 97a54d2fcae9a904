/*
 * change.h
 *		Rows of tracked tables as drafts of events.
 *
 * A row is given as values by attno - 1 of the tracked table (the root, where it
 * is partitioned).
 */
#ifndef ES_CAPTURE_CHANGE_H
#define ES_CAPTURE_CHANGE_H

#include "append/hall.h"
#include "capture/track.h"

/*
 * The genesis event of a row: what there was before it was tracked.  Type
 * "<category>_created", SYNTHETIC and CAPTURED, enters the row's state.  The
 * caller sets what it knows better (occurred_at, actor) and adds it to a batch.
 */
extern void es_change_genesis(const EsTracking *tracking, const Datum *values, const bool *nulls,
							  EsDraft *draft);

/*
 * {"changed": {"col": {"new": v}, ...}} of every captured column that is not
 * NULL; member: "new" or "old".
 */
extern Jsonb *es_change_of_row(const EsTracking *tracking, const Datum *values, const bool *nulls,
							   const char *member);

#endif							/* ES_CAPTURE_CHANGE_H */
