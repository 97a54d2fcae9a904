/*
 * definition.h
 *		What the definitions of subscriptions and handlers have in common.
 */
#ifndef ES_FEED_DEFINITION_H
#define ES_FEED_DEFINITION_H

#include "eventsource.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

/*
 * What is wrong with a name, categories (NULL: all), and a filter over event (NULL:
 * none) that would have the current user's rights, added to the problems as lines.
 */
extern void es_definition_check(const char *name, ArrayType *category, const char *filter, List **problems);

/* Raises ZE011 with all problems; returns if there are none.  what: with the name, for the message. */
extern void es_definition_refuse(const List *problems, const char *what, const char *hint);

/*
 * The result of a set-returning function: name, version, position and data of all
 * definitions of a kind whose last event is of that type.
 */
extern void es_definition_list(FunctionCallInfo fcinfo, const char *kind, const char *type);

#endif							/* ES_FEED_DEFINITION_H */
