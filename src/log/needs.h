/*
 * needs.h
 *		Who still needs events that are in the log: retention asks, before it takes
 *		them away.
 */
#ifndef ES_LOG_NEEDS_H
#define ES_LOG_NEEDS_H

#include "eventsource.h"
#include "nodes/pg_list.h"

typedef struct EsNeed
{
	const char *who;			/* "subscription mailer" */
	List	   *categories;		/* of char *; NIL: all but definitions */
	int64		after;			/* it has dealt with all up to this position */
	int64		stream_id;		/* it needs this one alone, whole; 0: any */
} EsNeed;

/* List of EsNeed, palloc'd: what is committed, and our own. */
typedef List *(*EsNeedsOf) (void);

/* To be called at load. */
extern void es_needs_register(EsNeedsOf fn);

extern List *es_needs_list(void);

#endif							/* ES_LOG_NEEDS_H */
