/*
 * due_duty.c
 *		The worker's part: one job at a time, each in transactions of its own.
 *
 * A step of a reaction may run code of users, and that may end its server process.  So its job
 * is claimed in a transaction of its own, flushed to disk whatever synchronous_commit says, and
 * performed in the next: the attempt is counted whatever comes.  A worker that starts makes what
 * its predecessor had claimed due at once.  What is performed is cancelled after
 * eventsource.call_timeout, which is an error of the job, and of nothing else.
 *
 * Timeouts of machines run guards, which every append runs as well; they are not claimed.
 */
#include "work/due.h"

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

/* Beyond call_timeout. */
#define LEASE_MARGIN	(60 * USECS_PER_SEC)
#define LEASE_UNLIMITED USECS_PER_HOUR

static int	call_timeout;

static List *waiting = NIL;		/* EsDueItem, in TopMemoryContext */

static bool take_next(EsDueItem *item);
static bool pick(void);
static long look_after_house(void);
static int32 claim(const EsDueItem *item);

long
es_due_duty(void)
{
	static bool is_first = true;
	EsDueItem	item;
	EsDueCounts counts = {0};
	int32		claimed = 0;
	long		house;
	long		next;

	if (is_first)
		es_due_release_claims();
	is_first = false;
	if (take_next(&item))
	{
		if (!item.is_timeout)
			claimed = claim(&item);
		if (item.is_timeout || claimed != 0)
			es_due_perform(&item, claimed, call_timeout, &counts);
		return 0;
	}
	house = look_after_house();
	(void) es_run_tell(HOUSE_ROWS);
	CommandCounterIncrement();
	if (pick())
		return 0;
	next = es_due_wait();
	return next < 0 ? house : Max(1, Min(next, house));
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
	List	   *items = es_due_pick(NULL, PICK);
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	ListCell   *lc;

	foreach(lc, items)
	{
		EsDueItem  *item = palloc(sizeof(EsDueItem));

		*item = *(EsDueItem *) lfirst(lc);
		waiting = lappend(waiting, item);
	}
	MemoryContextSwitchTo(caller);
	return items != NIL;
}

/* In how many ms it is to be looked after again. */
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
	es_due_keep_house(HOUSE_ROWS, &counts);
	return HOUSE_MS;
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
