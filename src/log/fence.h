/*
 * fence.h
 *		What views show to readers who are limited to categories.
 */
#ifndef ES_LOG_FENCE_H
#define ES_LOG_FENCE_H

extern void es_fence_init(void);

#endif							/* ES_LOG_FENCE_H */
