/*
 * pace.h
 *		The settings of those who follow the log by themselves: when there is
 *		enough for them to do, and how late is too late.
 */
#ifndef ES_PROJECT_PACE_H
#define ES_PROJECT_PACE_H

#include "eventsource.h"
#include "nodes/pg_list.h"

typedef struct EsPace
{
	int64		interval;		/* microseconds after which little is enough */
	int64		max_lag;		/* microseconds after which it is late */
	int			max_batch;		/* events that are enough at any time */
} EsPace;

/*
 * Reads {"interval": "5 s", "max_batch": 100, "max_lag": "60 s"} from the member
 * "settings" of a definition; what is not there is as shown.  Adds a line to
 * *problems for what is wrong; problems NULL: it was found right when it was defined.
 * extra: a member that there may be besides, or NULL.
 */
extern void es_pace_read(Jsonb *definition, const char *extra, EsPace *pace, List **problems);

#endif							/* ES_PROJECT_PACE_H */
