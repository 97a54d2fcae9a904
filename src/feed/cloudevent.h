/*
 * cloudevent.h
 *		An event as the world outside reads it: a CloudEvent, version 1.0.
 */
#ifndef ES_FEED_CLOUDEVENT_H
#define ES_FEED_CLOUDEVENT_H

#include "eventsource.h"

/*
 * The event as a CloudEvent in JSON, palloc'd; its data as the event has them, so
 * whoever may not see personal fields passes an event without them.
 */
extern Jsonb *es_cloudevent_of(const EsEvent *event);

#endif							/* ES_FEED_CLOUDEVENT_H */
