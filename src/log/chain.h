/*
 * chain.h
 *		The hash that binds each event to the one before it in its stream.
 */
#ifndef ES_LOG_CHAIN_H
#define ES_LOG_CHAIN_H

#include "eventsource.h"

/*
 * Hash of an event (all columns but the hash set) after "previous" (zeros for
 * version 1).
 */
extern void es_chain_hash(const EsEvent *event, const uint8 *previous, uint8 *hash);

/* Those of the event's flags that are hashed. */
extern int	es_chain_hashed_flags(const EsEvent *event);

/* SHA-256 of some bytes, ES_HASH_SIZE of them. */
extern void es_chain_sha256(const void *data, Size len, uint8 *hash);

/* Digest of the columns that are not null, bound to no log and no place. */
extern void es_chain_digest(const EsEvent *event, uint8 *digest);

#endif							/* ES_LOG_CHAIN_H */
