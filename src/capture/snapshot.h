/*
 * snapshot.h
 *		Snapshots: what a stream had come to, so that a replay need not begin with
 *		its first event.  None is ever needed.
 */
#ifndef ES_CAPTURE_SNAPSHOT_H
#define ES_CAPTURE_SNAPSHOT_H

#include "capture/history.h"

/*
 * Lets the past of one stream, from which nothing was read yet, begin after the
 * latest snapshot that holds at its moment, with the rows as they were then.
 * history and rows may both be NULL.  Returns how many events that spares.
 */
extern int64 es_snapshot_resume(EsPast *past, const EsHistory *history, EsPastRows *rows);

extern void es_snapshot_init(void);

#endif							/* ES_CAPTURE_SNAPSHOT_H */
