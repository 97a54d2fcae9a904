/*
 * cache.h
 *		What this backend remembers between transactions.
 */
#ifndef ES_LOG_CACHE_H
#define ES_LOG_CACHE_H

#include "eventsource.h"

#include "utils/memutils.h"

/*
 * Gives up the context of a cache, or NULL.  Pointers into it may still be in use,
 * so it goes with the transaction; outside of one, at once.
 */
static inline void
es_cache_put_aside(MemoryContext *context)
{
	if (*context != NULL && TopTransactionContext != NULL)
		MemoryContextSetParent(*context, TopTransactionContext);
	else if (*context != NULL)
		MemoryContextDelete(*context);
	*context = NULL;
}

#endif							/* ES_LOG_CACHE_H */
