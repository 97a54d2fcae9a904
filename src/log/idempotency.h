/*
 * idempotency.h
 *		Keys under which a repeated append returns the first one's result.
 */
#ifndef ES_LOG_IDEMPOTENCY_H
#define ES_LOG_IDEMPOTENCY_H

#include "eventsource.h"

/*
 * Version of the stream that was appended under this key and the digest of its
 * content; 0 if there is none.  The stream must be locked.
 */
extern int64 es_idempotency_find(int64 stream_id, const text *key, uint8 *digest);

extern void es_idempotency_insert(int64 stream_id, const text *key, int64 version,
								  const uint8 *digest);

/* The key of an event, palloc'd, or NULL. */
extern const text *es_idempotency_key(int64 stream_id, int64 version);

/* Forgets the keys of the stream's events up to a version, which are gone. */
extern void es_idempotency_forget(int64 stream_id, int64 upto_version);

/* Forgets it; false if there was none.  The stream must be locked. */
extern bool es_idempotency_delete(int64 stream_id, int64 version);

#endif							/* ES_LOG_IDEMPOTENCY_H */
