/*
 * bell.c
 *		Waking those who wait for events.
 *
 * Lives in shared memory: a few bells, each for the databases whose OID hashes
 * to it, each a condition variable and a flag.  Who waits arms the flag, then
 * looks, then sleeps.  Who has appended looks at the flag after its locks are
 * released; found armed, it takes the flag and wakes all.  So an appender pays one
 * read of shared memory while nobody waits, and no wait is in vain: either the
 * appender finds the flag, or it had read it before it was armed, and then its
 * events are there for whoever armed it to see.  (Armed for nothing, the flag
 * costs one call to wake nobody.)  Rings are counted, because the latch that one
 * sets may be reset by a wait for something else before the sleep begins.
 *
 * Without preloading there is no bell, and sleeps are naps that grow longer.
 */
#include "log/bell.h"

#include "log/shared.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "utils/resowner.h"

#define NUM_BELLS		64
#define SHORTEST_NAP	10		/* ms */
#define LONGEST_NAP		100

typedef struct Bell
{
	pg_atomic_uint32 is_armed;
	pg_atomic_uint32 rings;
	ConditionVariable sleepers;
	char		padding[PG_CACHE_LINE_SIZE - 2 * sizeof(pg_atomic_uint32) - sizeof(ConditionVariable)];
} Bell;

static Bell *bells;				/* in shared memory; NULL: none */
static bool ring_is_due;
static uint32 rings_heard;		/* when the flag was armed */
static long nap;				/* the next one, without a bell */

static Bell *
my_bell(void)
{
	return &bells[MyDatabaseId % NUM_BELLS];
}

static void
arm(void)
{
	/*
	 * Whoever takes the flag rings after this count was read.  The exchange
	 * is a full barrier: what is looked at next is looked at after it.
	 */
	rings_heard = pg_atomic_read_u32(&my_bell()->rings);
	(void) pg_atomic_exchange_u32(&my_bell()->is_armed, 1);
}

void
es_bell_prepare(void)
{
	nap = SHORTEST_NAP;
	if (bells == NULL)
		return;
	ConditionVariablePrepareToSleep(&my_bell()->sleepers);
	arm();
}

bool
es_bell_sleep(long timeout_ms)
{
	bool		may_have_rung = true;

	timeout_ms = Min(timeout_ms, ES_BELL_LONGEST);
	if (timeout_ms <= 0)
		CHECK_FOR_INTERRUPTS();
	else if (bells != NULL)
	{
		if (pg_atomic_read_u32(&my_bell()->rings) == rings_heard)
			may_have_rung = !ConditionVariableTimedSleep(&my_bell()->sleepers, timeout_ms, PG_WAIT_EXTENSION);
		else
			CHECK_FOR_INTERRUPTS();
		arm();
	}
	else
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(timeout_ms, nap), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		nap = Min(nap * 2, LONGEST_NAP);
	}
	return may_have_rung;
}

void
es_bell_cancel(void)
{
	if (bells != NULL)
		ConditionVariableCancelSleep();
}

void
es_bell_ring_later(void)
{
	ring_is_due = bells != NULL;
}

/*
 * At the end of a transaction its locks are gone only here; the callbacks for
 * transactions run before.
 */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	Bell	   *bell;

	if (likely(!ring_is_due) || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	ring_is_due = false;
	bell = my_bell();
	/* As above: the locks were released before the flag is read. */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&bell->is_armed) != 0 && pg_atomic_exchange_u32(&bell->is_armed, 0) != 0)
	{
		(void) pg_atomic_fetch_add_u32(&bell->rings, 1);
		ConditionVariableBroadcast(&bell->sleepers);
	}
}

static Size
memory_size(void)
{
	return NUM_BELLS * sizeof(Bell);
}

static void
attach_memory(void *memory, LWLockPadded *locks, bool is_new)
{
	bells = memory;
	for (int i = 0; i < NUM_BELLS && is_new; i++)
	{
		pg_atomic_init_u32(&bells[i].is_armed, 0);
		pg_atomic_init_u32(&bells[i].rings, 0);
		ConditionVariableInit(&bells[i].sleepers);
	}
}

void
es_bell_init(void)
{
	static const EsShared piece = {"eventsource bells", memory_size, 0, attach_memory};

	if (es_shared_want(&piece))
		RegisterResourceReleaseCallback(at_release, NULL);
}
