/*
 * stream_name.h
 *		Names of streams by id, for readers: one at a time is stream.h's.
 */
#ifndef ES_LOG_STREAM_NAME_H
#define ES_LOG_STREAM_NAME_H

#include "log/stream.h"

/*
 * Reads the names of so many streams at once, so that es_stream_name() has them
 * at hand.  Reorders ids; at most ES_STREAM_NAMES_AT_ONCE.
 */
#define ES_STREAM_NAMES_AT_ONCE 10000

extern void es_stream_load_names(int64 *ids, int count);

/* The key in a name that es_stream_name() returned, as long-lived as that. */
extern const text *es_stream_name_key(const text *name);

extern void es_stream_name_init(void);

#endif							/* ES_LOG_STREAM_NAME_H */
