/*
 * position.h
 *		Positions: drawing them under a published lower bound, and the
 *		watermark that readers derive from the bounds.
 */
#ifndef ES_LOG_POSITION_H
#define ES_LOG_POSITION_H

#include "eventsource.h"

/*
 * Before its first position a transaction publishes a bound: it will draw none
 * below.  Free when it is published already.
 */
extern void es_position_publish(void);

/* Draws the next position; the bound must be published. */
extern int64 es_position_next(void);

/* Highest position drawn so far by anyone. */
extern int64 es_position_last(void);

/*
 * Position up to which the log is final.  A snapshot taken after this call
 * sees every event up to it; an older one may not.  On a standby: as the primary
 * published it (log/published.h), 0 if it did not.
 */
extern int64 es_position_watermark(void);

/* Error if a position up to which a reader has come was not drawn: it would miss those that are. */
extern void es_position_expect_drawn(int64 mark);

extern void es_position_init(void);

#endif							/* ES_LOG_POSITION_H */
