/*
 * insert.h
 *		Writing rows of the log.
 */
#ifndef ES_LOG_INSERT_H
#define ES_LOG_INSERT_H

#include "eventsource.h"

/* Writes complete events, in order of position, with their index entries. */
extern void es_event_insert(EsEvent *events, int count);

#endif							/* ES_LOG_INSERT_H */
