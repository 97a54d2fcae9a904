/*
 * known.h
 *		Names of categories and event types that there are, for who may have
 *		mistyped one.
 */
#ifndef ES_RULES_KNOWN_H
#define ES_RULES_KNOWN_H

#include "eventsource.h"
#include "nodes/pg_list.h"

/* Is it declared, is a type registered for it, or does it have events? */
extern bool es_category_is_known(const char *category);

extern bool es_category_has_events(const char *category);

/* Is it registered, in whatever category, or a word of the log's? */
extern bool es_type_is_known(const char *type);

/* Error (42704), naming those that are spelled alike, if it is not known. */
extern void es_category_expect(const char *category);
extern void es_type_expect(const char *type);

/* Those that are spelled almost so, as a list in quotes; NULL if there are none. */
extern char *es_category_near(const char *category);

/* Likewise, of the types that are registered for the category and for all; NULL: for any. */
extern char *es_type_near(const char *category, const char *type);

#endif							/* ES_RULES_KNOWN_H */
