/*
 * published.h
 *		The watermark that is written down, for readers on standby servers.
 */
#ifndef ES_LOG_PUBLISHED_H
#define ES_LOG_PUBLISHED_H

#include "postgres.h"

#include "utils/timestamp.h"

/*
 * The position published last, and when; 0 if none is.  Whoever takes a snapshot
 * after this call, on a standby too, sees all events up to it.
 */
extern int64 es_published_position(TimestampTz *published_at);

/*
 * Publishes the watermark of now, at the end of this transaction, unless one as
 * high is, or another transaction is about to publish.  Returns what this
 * transaction sees published.
 */
extern int64 es_published_advance(void);

#endif							/* ES_LOG_PUBLISHED_H */
