/*
 * reading.h
 *		What an event says to those who read it today: its data, as stored, made
 *		what the latest version of its type has, by upcasters (rules/upcast.h),
 *		which are registered here at load.
 *
 *		es_scan_next() and es_corrections_apply() see to it.  Stored bytes are read
 *		by who hashes or compares them, or looks at other columns alone.
 */
#ifndef ES_LOG_READING_H
#define ES_LOG_READING_H

#include "eventsource.h"

/* The upcasters in force; what one look at the definitions found. */
typedef struct EsUpcasters EsUpcasters;

/* NULL: there are none.  Valid until the end of the transaction. */
extern const EsUpcasters *es_reading_begin(void);

/*
 * Replaces the event's data where upcasters are for it, and marks it; what is
 * computed is palloc'd.  An event that is marked is left as it is.
 */
extern void es_reading_upcast(const EsUpcasters *upcasters, EsEvent *event);

/* From rules/, at load. */
extern void es_reading_register(const EsUpcasters *(*begin) (void),
								void (*upcast) (const EsUpcasters *upcasters, EsEvent *event));

#endif							/* ES_LOG_READING_H */
