/*
 * funnel.h
 *		What the aggregate window_funnel gathers, and the level that it comes to.
 */
#ifndef ES_FUNNEL_H
#define ES_FUNNEL_H

#include "postgres.h"

#include "utils/timestamp.h"

/* One bit of "holds" for each. */
#define ES_FUNNEL_MAX_CONDITIONS	64

/* Modes, as bits. */
#define ES_FUNNEL_DEDUPLICATION	0x01	/* a condition that holds again ends
										 * it */
#define ES_FUNNEL_ORDER			0x02	/* so does anything else in between */
#define ES_FUNNEL_INCREASE		0x04	/* each level is later than the one
										 * before */
#define ES_FUNNEL_ONCE			0x08	/* each event counts for one level */
#define ES_FUNNEL_REENTRY		0x10	/* with ORDER: a level too early is
										 * overlooked */

typedef struct EsFunnelEvent
{
	TimestampTz ts;
	uint64		holds;			/* the n-th condition is bit n - 1 */
} EsFunnelEvent;

typedef struct EsFunnelRules
{
	Interval	period;
	bool		has_limit;		/* else the period is not looked at */
	int			modes;			/* ES_FUNNEL_* */
	int			depth;			/* number of conditions */
} EsFunnelRules;

/* The deepest level; "events" are sorted by ts, those of one ts in any order. */
extern int	es_funnel_level(const EsFunnelRules *rules, const EsFunnelEvent *events, int count);

#endif							/* ES_FUNNEL_H */
