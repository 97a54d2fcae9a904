/*
 * sha256.h
 *		SHA-256 of bytes in memory.
 */
#ifndef ES_LOG_SHA256_H
#define ES_LOG_SHA256_H

#include "eventsource.h"

/* ES_HASH_SIZE bytes, which may be among those that are hashed. */
extern void es_sha256(const void *data, Size len, uint8 *hash);

#endif							/* ES_LOG_SHA256_H */
