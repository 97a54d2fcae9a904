/*
 * own_event.h
 *		Events that the log records of its own doings.
 */
#ifndef ES_APPEND_OWN_EVENT_H
#define ES_APPEND_OWN_EVENT_H

#include "eventsource.h"

/*
 * Appends an event to a stream of a category of the log's own (one that begins with
 * $), past all rules, and returns its position.  subject (NULL: the stream), reason and
 * actor may be NULL.
 */
extern int64 es_own_event_append(const text *stream, const char *type, const text *subject, Jsonb *data,
								 const text *reason, const text *actor);

#endif							/* ES_APPEND_OWN_EVENT_H */
