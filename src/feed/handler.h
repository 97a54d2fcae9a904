/*
 * handler.h
 *		Handlers: functions that are called with each event, in order.
 */
#ifndef ES_FEED_HANDLER_H
#define ES_FEED_HANDLER_H

#include "log/config.h"
#include "project/follow.h"

#define ES_HANDLER_KIND		"handler"
#define ES_HANDLER_DEFINED	"handler_defined"
#define ES_HANDLER_DROPPED	"handler_dropped"

/* In the setting that says where a new handler begins. */
#define ES_HANDLER_FROM		"from_position"

typedef struct EsHandler
{
	const char *name;
	int64		version;		/* of its definition */
	const char *follower;		/* name of its cursor */
	Oid			definer;		/* whose rights it has, InvalidOid: gone */
	List	   *categories;		/* of char *; NIL: all */
	const char *function;		/* as regprocedure prints it, qualified */
	const char *filter;			/* or NULL */
	EsPace		pace;
} EsHandler;

/* All that are defined, in order of name.  List of EsHandler, palloc'd. */
extern List *es_handler_list(void);

/* The one of that name, or NULL. */
extern EsHandler *es_handler_find(const char *name);

/* Calls it for what is left below the watermark; see es_follow_run(). */
extern void es_handler_run(const EsHandler *handler, const EsFinal *final, int64 max_events,
						   EsFollowed *result);

#endif							/* ES_FEED_HANDLER_H */
