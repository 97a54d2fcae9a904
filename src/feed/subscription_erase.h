/*
 * subscription_erase.h
 *		What subscriptions say about a subject that is erased.
 */
#ifndef ES_FEED_SUBSCRIPTION_ERASE_H
#define ES_FEED_SUBSCRIPTION_ERASE_H

/* At module load. */
extern void es_subscription_erase_init(void);

#endif							/* ES_FEED_SUBSCRIPTION_ERASE_H */
