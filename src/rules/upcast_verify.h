/*
 * upcast_verify.h
 *		Upcasters tried on the events there are.
 */
#ifndef ES_RULES_UPCAST_VERIFY_H
#define ES_RULES_UPCAST_VERIFY_H

#include "eventsource.h"
#include "nodes/pg_list.h"

/*
 * Tries the chain in force for a type, in a category (NULL: in all), on a sample
 * of up to 1,000 events, spread over the log, the latest among them.  What is
 * wrong, as lines; NIL: nothing.
 */
extern List *es_upcast_sample(const char *category, const char *type);

#endif							/* ES_RULES_UPCAST_VERIFY_H */
