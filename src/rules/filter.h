/*
 * filter.h
 *		Which events a question is about, as the arguments "filter", "since",
 *		"until" and "basis" of a function say.
 */
#ifndef ES_RULES_FILTER_H
#define ES_RULES_FILTER_H

#include "eventsource.h"
#include "fmgr.h"
#include "rules/expr.h"

typedef struct EsFilter
{
	EsExpr	   *expr;			/* or NULL */
	TimestampTz since;			/* inclusive */
	TimestampTz until;			/* exclusive */
	EsEventColumn clock;		/* which time they look at */
} EsFilter;

/*
 * Reads the four arguments, the first of which is argument "first".  The
 * expression has the caller's rights.  Errors: ZE011, 22023.
 */
extern void es_filter_read(EsFilter *filter, FunctionCallInfo fcinfo, int first);

/* What it pallocs along the way is left in the current memory context. */
extern bool es_filter_takes(const EsFilter *filter, const EsEvent *event);

#endif							/* ES_RULES_FILTER_H */
