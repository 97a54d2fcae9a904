/*
 * due_duty.c
 *		The worker's part: one job at a time, each in transactions of its own.
 *
 * A step of a reaction may run code of users, and that may end its server process; so may a guard of
 * a timeout, or what follows from its event.  So each job is claimed in a transaction of its own, flushed to
 * disk whatever synchronous_commit says, and performed in the next: the attempt is counted whatever comes.
 * A worker that starts makes what its predecessor had claimed due after a moment, so that whatever ends
 * workers comes behind the rest.
 * What is performed is cancelled after eventsource.call_timeout, which is an error of the job, and of
 * nothing else; what goes on regardless ends with its process.
 *
 * It goes round by round: each begins with what was due first, and goes on behind what it picked last,
 * until there is nothing.  What others are at (a stream is locked) stays due for the next round, which
 * begins after a delay then; what comes due meanwhile is behind it, and is performed meanwhile.  Such a round
 * also ends after some seconds.
 */
#include "work/due.h"

#include <limits.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "work/due_run.h"

/* Jobs that are picked at once. */
#define PICK			100

/* Rows of each kind, and ms between two looks at what is not a job of our own. */
#define HOUSE_ROWS		1000
#define HOUSE_MS		5000

/* ms to the next round where others were at something: twice as long each time that nothing else was done. */
#define FIRST_DELAY_MS	100
#define LAST_DELAY_MS	1000

/* Rounds over many such things come more seldom: ms for each of them, and at most. */
#define DELAY_EACH_MS	1
#define LONGEST_DELAY_MS	10000

/*
 * A round in which others were at something ends after so long, whatever else is due: ms, and for each such
 * thing, so that looking at them again and again is a small part of it.
 */
#define ROUND_MS		5000
#define ROUND_EACH_MS	10

/* What a process that is no more had claimed. */
#define RELEASED_AFTER	USECS_PER_SEC

/* Beyond call_timeout. */
#define LEASE_MARGIN	(60 * USECS_PER_SEC)
#define LEASE_UNLIMITED USECS_PER_HOUR

static int	call_timeout;

static List *waiting = NIL;		/* EsDueItem, in TopMemoryContext */

/* The round. */
static EsDueItem last;			/* that was picked */
static bool is_begun = false;
static TimestampTz begun_at = 0;
static int64 left = 0;			/* others were at them */
static int64 done = 0;
static long delay = 0;			/* ms; after rounds in which others were at
								 * something */
static TimestampTz next_round = 0;	/* 0: this one is not at its end */

static void perform(const EsDueItem *item);
static bool take_next(EsDueItem *item);
static bool pick(void);
static bool is_long(void);
static long end_round(void);
static void begin_round(void);
static long look_after_house(void);
static int32 claim(const EsDueItem *item);

long
es_due_duty(void)
{
	static bool is_first = true;
	EsDueItem	item;
	long		house;
	long		next;
	long		round;

	if (is_first)
	{
		/* Other duties first, should the predecessor have ended in this one. */
		is_first = false;
		es_due_release_claims(RELEASED_AFTER);
		return 0;
	}
	if (is_long())
		begin_round();
	if (take_next(&item))
	{
		perform(&item);
		return 0;
	}
	house = look_after_house();
	(void) es_run_tell(HOUSE_ROWS);
	CommandCounterIncrement();
	if (pick())
		return 0;
	round = end_round();
	if (round == 0 || house == 0)
		return 0;
	next = es_due_wait();
	return Max(1, Min(Min(round, house), next < 0 ? house : next));
}

static void
perform(const EsDueItem *item)
{
	EsDueCounts counts = {0};
	int32		claimed = claim(item);

	if (claimed != 0 && es_due_perform(item, claimed, call_timeout, &counts))
		done++;
	else
		left++;
}

/* Takes it out, whatever becomes of it; what was left alone is picked again. */
static bool
take_next(EsDueItem *item)
{
	EsDueItem  *first;

	if (waiting == NIL)
		return false;
	first = linitial(waiting);
	*item = *first;
	waiting = list_delete_first(waiting);
	pfree(first);
	return true;
}

static bool
pick(void)
{
	List	   *items;
	MemoryContext caller;
	ListCell   *lc;

	items = es_due_pick(is_begun ? &last : NULL, PICK);
	if (!is_begun)
		begun_at = GetCurrentTimestamp();
	caller = MemoryContextSwitchTo(TopMemoryContext);

	foreach(lc, items)
	{
		EsDueItem  *item = palloc(sizeof(EsDueItem));

		*item = *(EsDueItem *) lfirst(lc);
		waiting = lappend(waiting, item);
		last = *item;
		is_begun = true;
	}
	MemoryContextSwitchTo(caller);
	return items != NIL;
}

/* Where more comes due than is done, it has no end; and others may have left by now what they were at. */
static bool
is_long(void)
{
	return is_begun && left > 0 &&
		TimestampDifferenceMilliseconds(begun_at, GetCurrentTimestamp()) >
		Max(ROUND_MS, left * ROUND_EACH_MS);
}

/*
 * Nothing is behind what was picked last.  In how many ms the next round begins; 0: it has begun;
 * LONG_MAX: nothing was due in this one.
 */
static long
end_round(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!is_begun)
		return LONG_MAX;
	if (left > 0 && next_round == 0)
	{
		int64		least = Min(left * DELAY_EACH_MS, LONGEST_DELAY_MS);

		delay = done > 0 || delay == 0 ? FIRST_DELAY_MS : Min(delay * 2, LAST_DELAY_MS);
		next_round = TimestampTzPlusMilliseconds(now, Max(delay, least));
	}
	/* It is not farther away than that, unless the clock was set back. */
	if (next_round > now && next_round <= TimestampTzPlusMilliseconds(now, LONGEST_DELAY_MS))
		return TimestampDifferenceMilliseconds(now, next_round);
	if (left == 0)
		delay = 0;
	begin_round();
	return 0;
}

static void
begin_round(void)
{
	list_free_deep(waiting);
	waiting = NIL;
	left = done = next_round = 0;
	is_begun = false;
}

/* In how many ms it is to be looked after again; at once, while there is much to forget. */
static long
look_after_house(void)
{
	static TimestampTz looked_at;
	TimestampTz now = GetCurrentTimestamp();
	EsDueCounts counts = {0};
	long		since = TimestampDifferenceMilliseconds(looked_at, now);

	/* Also if the clock was set back. */
	if (looked_at <= now && since < HOUSE_MS)
		return HOUSE_MS - since;
	looked_at = now;

	/*
	 * What was performed, and could not be said so: none is being performed
	 * now.
	 */
	es_due_release_claims(RELEASED_AFTER);
	if (!es_due_keep_house(HOUSE_ROWS, HOUSE_ROWS, &counts))
		return HOUSE_MS;
	looked_at = 0;
	return 0;
}

/* In a transaction of its own; the next has begun when it returns. */
static int32
claim(const EsDueItem *item)
{
	int32		claimed = es_due_claim(item, call_timeout == 0 ? LEASE_UNLIMITED :
									   call_timeout * INT64CONST(1000) + LEASE_MARGIN);

	if (claimed == 0)
		return 0;
	PopActiveSnapshot();
	ForceSyncCommit();
	CommitTransactionCommand();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	return claimed;
}

void
es_due_duty_init(void)
{
	DefineCustomIntVariable("eventsource.call_timeout",
							"How long the worker lets a step of a reaction, or a timeout of a state machine, run.",
							"0: as long as it takes. In run_due() the caller's statement_timeout holds instead.",
							&call_timeout, 60000, 0, PG_INT32_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}
