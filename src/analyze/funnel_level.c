/*
 * funnel_level.c
 *		The level that the events of a funnel come to, in one pass over them.
 *
 * A chain of level n is n events, one per condition, none earlier than the one
 * before and none later than its first one plus the period.  Of each level only
 * the latest moment until which some chain of it may go on is kept: of two
 * chains that have come as far, the one that may go on for longer can do all
 * that the other can.  (It is not always the one that began last: a month after
 * 31 January at noon is before a month after 30 January in the evening.)
 *
 * Events of one time are taken together, level by level, so that their order in
 * the input does not matter.  With strict_increase none of them may follow
 * another; with strict_once each is one level of a chain, and which of them is
 * which is a matching.
 */
#include "postgres.h"

#include "analyze/funnel.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

/* How the chains of a level stand. */
typedef struct Chain
{
	bool		reached;
	bool		was_reached;	/* before "last" */
	TimestampTz last;			/* when "until" was last looked at */
	TimestampTz until;			/* the best of them may go on until then */
	TimestampTz was_until;		/* likewise, before "last" */
} Chain;

typedef struct Walk
{
	const EsFunnelRules *rules;
	Chain		chain[ES_FUNNEL_MAX_CONDITIONS + 1];	/* by level, from 1 */
	int			best;
	TimestampTz ts;				/* of the events at hand */
	uint64		any;			/* conditions that hold for one of them */
	uint64		many;			/* and for several */
	bool		has_other;		/* no condition holds for one of them */

	/* With strict_once, those among them that are enough to match. */
	uint64	   *holds;
	int			nholds;
	int			room;
	int		   *owner;			/* level that each is taken for; 0: none */
	bool	   *visited;
} Walk;

static int	gather(Walk *walk, const EsFunnelEvent *events, int count);
static void gather_matchable(Walk *walk, const EsFunnelEvent *events, int count);
static bool take(Walk *walk);
static bool find_until(Walk *walk, int level, TimestampTz *until);
static bool match_until(Walk *walk, int level, TimestampTz *until);
static bool match(Walk *walk, int level);
static bool before_now(const Walk *walk, int level, TimestampTz *until);
static void reach(Walk *walk, int level, TimestampTz until);
static TimestampTz end_of_period(const EsFunnelRules *rules, TimestampTz ts);

int
es_funnel_level(const EsFunnelRules *rules, const EsFunnelEvent *events, int count)
{
	Walk		walk = {.rules = rules};
	int			i = 0;

	while (i < count)
	{
		CHECK_FOR_INTERRUPTS();
		i += gather(&walk, events + i, count - i);
		if (!take(&walk))
			break;
	}
	if (walk.room > 0)
	{
		pfree(walk.holds);
		pfree(walk.owner);
		pfree(walk.visited);
	}
	return walk.best;
}

/* The events of the first time, of which there are so many. */
static int
gather(Walk *walk, const EsFunnelEvent *events, int count)
{
	int			n = 0;

	walk->ts = events[0].ts;
	walk->any = walk->many = 0;
	walk->has_other = false;
	for (; n < count && events[n].ts == walk->ts; n++)
	{
		walk->many |= walk->any & events[n].holds;
		walk->any |= events[n].holds;
		walk->has_other |= events[n].holds == 0;
	}
	walk->nholds = 0;
	if (n > 1 && (walk->rules->modes & ES_FUNNEL_ONCE))
		gather_matchable(walk, events, n);
	return n;
}

/*
 * A condition for which as many events hold as there are levels can always have
 * one that nobody else has taken, so that many are enough for each.
 */
static void
gather_matchable(Walk *walk, const EsFunnelEvent *events, int count)
{
	int			depth = walk->rules->depth;
	int			seen[ES_FUNNEL_MAX_CONDITIONS] = {0};

	if (walk->room == 0)
	{
		walk->room = depth * depth;
		walk->holds = palloc(walk->room * sizeof(uint64));
		walk->owner = palloc(walk->room * sizeof(int));
		walk->visited = palloc(walk->room * sizeof(bool));
	}
	for (int i = 0; i < count; i++)
	{
		bool		is_wanted = false;

		/* Millions of rows may have one time. */
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int c = 0; c < depth; c++)
			if ((events[i].holds & (UINT64CONST(1) << c)) && seen[c] < depth)
			{
				seen[c]++;
				is_wanted = true;
			}
		if (is_wanted)
			walk->holds[walk->nholds++] = events[i].holds;
	}
	Assert(walk->nholds <= walk->room);
}

/* Takes the events at hand; false once no other can matter. */
static bool
take(Walk *walk)
{
	const EsFunnelRules *rules = walk->rules;
	bool		in_order = (rules->modes & ES_FUNNEL_ORDER) != 0;
	bool		deduplicate = (rules->modes & ES_FUNNEL_DEDUPLICATION) != 0;

	if (in_order && walk->has_other && walk->best > 0)
		return false;
	for (int level = 1; level <= rules->depth; level++)
	{
		uint64		bit = UINT64CONST(1) << (level - 1);
		TimestampTz until;

		if (!(walk->any & bit))
			continue;
		if (level > 1 && deduplicate && walk->chain[level].reached)
			return false;
		if (level > 1 && !walk->chain[level - 1].reached)
		{
			if (in_order && walk->best > 0 && !(rules->modes & ES_FUNNEL_REENTRY))
				return false;
			continue;
		}
		if (find_until(walk, level, &until))
			reach(walk, level, until);
		if (level > 1 && deduplicate && (walk->many & bit) && walk->chain[level].reached)
			return false;
	}
	return walk->best < rules->depth;
}

/*
 * Can an event at hand make a chain of this level, and until when may it go on?
 * A chain whose period is over cannot.
 */
static bool
find_until(Walk *walk, int level, TimestampTz *until)
{
	int			modes = walk->rules->modes;

	if (level == 1)
		*until = end_of_period(walk->rules, walk->ts);
	else if (modes & ES_FUNNEL_INCREASE)
		return before_now(walk, level - 1, until) && *until >= walk->ts;
	else if ((modes & ES_FUNNEL_ONCE) && walk->nholds > 1)
		return match_until(walk, level, until);
	else if (modes & ES_FUNNEL_ONCE)
		return before_now(walk, level - 1, until) && *until >= walk->ts;
	else
	{
		*until = walk->chain[level - 1].until;
		return *until >= walk->ts;
	}
	return true;
}

/*
 * With strict_once: from which levels that were reached before can events at
 * hand, each taken once, make the steps to this one?  If from one then not from
 * all, but from no level below one from which they cannot.
 */
static bool
match_until(Walk *walk, int level, TimestampTz *until)
{
	bool		found = false;

	*until = DT_NOBEGIN;
	memset(walk->owner, 0, walk->nholds * sizeof(int));
	for (int from = level - 1; from >= 0; from--)
	{
		TimestampTz limit;

		CHECK_FOR_INTERRUPTS();
		memset(walk->visited, 0, walk->nholds * sizeof(bool));
		if (!match(walk, from + 1))
			break;
		if (from == 0)
			limit = end_of_period(walk->rules, walk->ts);
		else if (!before_now(walk, from, &limit) || limit < walk->ts)
			continue;
		*until = Max(*until, limit);
		found = true;
	}
	return found;
}

/* Finds an event for a level, if need be by finding others another one. */
static bool
match(Walk *walk, int level)
{
	uint64		bit = UINT64CONST(1) << (level - 1);

	for (int i = 0; i < walk->nholds; i++)
	{
		if (walk->visited[i] || !(walk->holds[i] & bit))
			continue;
		walk->visited[i] = true;
		if (walk->owner[i] == 0 || match(walk, walk->owner[i]))
		{
			walk->owner[i] = level;
			return true;
		}
	}
	return false;
}

/* As the chains of a level stood before the events at hand. */
static bool
before_now(const Walk *walk, int level, TimestampTz *until)
{
	const Chain *chain = &walk->chain[level];

	if (!chain->reached)
		return false;
	if (chain->last < walk->ts)
	{
		*until = chain->until;
		return true;
	}
	*until = chain->was_until;
	return chain->was_reached;
}

static void
reach(Walk *walk, int level, TimestampTz until)
{
	Chain	   *chain = &walk->chain[level];

	if (!chain->reached || chain->last < walk->ts)
	{
		chain->was_reached = chain->reached;
		chain->was_until = chain->until;
		chain->last = walk->ts;
	}
	chain->until = chain->reached ? Max(chain->until, until) : until;
	chain->reached = true;
	walk->best = Max(walk->best, level);
}

/*
 * The last moment of a period that begins at ts.  Months are those of the
 * calendar and days those of the session's time zone, as "ts + period" has them.
 * What would be after the end of time ends there, before infinity.
 */
static TimestampTz
end_of_period(const EsFunnelRules *rules, TimestampTz ts)
{
	const Interval *period = &rules->period;
	double		about = (double) ts + period->time +
		((double) period->month * 31 + period->day + 1) * USECS_PER_DAY;

	if (!rules->has_limit || TIMESTAMP_NOT_FINITE(ts))
		return rules->has_limit ? ts : DT_NOEND;
	if (about >= (double) END_TIMESTAMP)
		return END_TIMESTAMP - 1;
	if (period->month == 0 && period->day == 0)
		return ts + period->time;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(ts),
												   IntervalPGetDatum(period)));
}
