/*
 * needs.h
 *		Which events the followers of the log still need.
 */
#ifndef ES_FEED_NEEDS_H
#define ES_FEED_NEEDS_H

extern void es_feed_needs_init(void);

#endif							/* ES_FEED_NEEDS_H */
