/*
 * aggregate.h
 *		What the aggregates share: the context that their state lives in, and the
 *		growth of its array, up to a limit.
 */
#ifndef ES_ANALYZE_AGGREGATE_H
#define ES_ANALYZE_AGGREGATE_H

#include "fmgr.h"

/* The memory context of the aggregate's state; its functions are for the executor alone. */
static inline MemoryContext
es_expect_aggregate(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "a function of an aggregate called outside of it");
	return context;
}

/* Room for so many elements, twice as many as before, but for no more than the limit. */
static inline void *
es_grow(MemoryContext context, void *array, int *room, int needed, int limit, Size size)
{
	*room = Min(Max(needed, Max(8, *room * 2)), limit);
	return array == NULL ? MemoryContextAlloc(context, *room * size) : repalloc(array, *room * size);
}

#endif							/* ES_ANALYZE_AGGREGATE_H */
