/*
 * fold_lock.c
 *		Locks on the keys of projections that several streams share.
 *
 * They are taken after the rules have spoken and before the event draws its
 * position, so that the order of positions is the order in which events fold
 * into a row, live as at replay.  Exclusive, in the advisory space, held to the
 * end of the transaction; those of one event in ascending order.  The lock
 * table is small: past MAX_KEY_LOCKS of one projection in a transaction, the
 * table itself is locked against all other folds.
 */
#include "postgres.h"

#include "access/xact.h"
#include "log/catalog.h"
#include "log/correction.h"
#include "miscadmin.h"
#include "project/fold_row.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#define MAX_KEY_LOCKS	1000

/* Locks taken by this transaction, per table. */
typedef struct KeyLockCount
{
	Oid			relid;
	int			count;
} KeyLockCount;

static KeyLockCount *counts = NULL;
static int	ncounts = 0;
static int	max_counts = 0;

/* Locks that one event needs. */
typedef struct WantedLock
{
	Oid			relid;
	uint64		hash;
} WantedLock;

typedef struct Wanted
{
	const EsProjection *projection; /* of the keys being added */
	int			count;
	int			max;
	WantedLock *locks;
} Wanted;

static bool lock_keys(const EsEvent *event);
static void want_key(const Datum *key, void *arg);
static void want_row(Wanted *wanted, const EsTarget *target, const Datum *key);
static void take_wanted(Wanted *wanted);
static int	compare_wanted(const void *a, const void *b);
static void take(const WantedLock *lock);
static KeyLockCount *count_of(Oid relid);
static void forget_counts(XactEvent event, void *arg);

void
es_fold_init(void)
{
	RegisterXactCallback(forget_counts, NULL);
}

/* A table may change while we wait for it: then once more. */
void
es_fold_lock(const EsEvent *event)
{
	if (es_event_is_correction(event))
		return;
	for (int pass = 0; pass < 2; pass++)
	{
		uint64		generation = es_config_generation();

		if (!lock_keys(event) || generation == es_config_generation())
			break;
	}
}

void
es_fold_lock_rows(List *folds)
{
	Wanted		wanted = {0};
	ListCell   *lc;

	foreach(lc, folds)
	{
		EsRowScan	scan = {0};
		EsRow	   *row;

		while ((row = es_fold_next_row(lfirst(lc), &scan)) != NULL)
			want_row(&wanted, row->target, row->key);
	}
	take_wanted(&wanted);
	if (wanted.locks != NULL)
		pfree(wanted.locks);
}

/* False if the event changes no shared rows. */
static bool
lock_keys(const EsEvent *event)
{
	Wanted		wanted = {0};
	MemoryContext work = NULL;
	MemoryContext caller = CurrentMemoryContext;
	ListCell   *lc;

	foreach(lc, es_projection_list(es_event_text(event, ES_EVENT_CATEGORY)))
	{
		const EsRule *rule;

		wanted.projection = lfirst(lc);
		if (wanted.projection->sharing != ES_ROW_SHARED)
			continue;
		rule = es_projection_rule(wanted.projection, es_event_text(event, ES_EVENT_TYPE));
		if (rule == NULL)
			continue;
		if (work == NULL)
		{
			work = AllocSetContextCreate(caller, "eventsource key locks", ALLOCSET_DEFAULT_SIZES);
			MemoryContextSwitchTo(work);
		}
		es_fold_each_key(wanted.projection, rule, event, want_key, &wanted);
	}
	if (work == NULL)
		return false;

	take_wanted(&wanted);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return true;
}

static void
want_key(const Datum *key, void *arg)
{
	Wanted	   *wanted = arg;

	want_row(wanted, wanted->projection->target, key);
}

static void
want_row(Wanted *wanted, const EsTarget *target, const Datum *key)
{
	if (wanted->count == wanted->max)
	{
		wanted->max = Max(4, wanted->max * 2);
		wanted->locks = wanted->locks == NULL ? palloc(sizeof(WantedLock) * wanted->max) :
			repalloc_huge(wanted->locks, sizeof(WantedLock) * wanted->max);
	}
	wanted->locks[wanted->count].relid = target->relid;
	wanted->locks[wanted->count++].hash = es_target_lock_hash(target, key);
}

static void
take_wanted(Wanted *wanted)
{
	if (wanted->count > 1)
		qsort(wanted->locks, wanted->count, sizeof(WantedLock), compare_wanted);
	for (int i = 0; i < wanted->count; i++)
		take(&wanted->locks[i]);
}

static int
compare_wanted(const void *a, const void *b)
{
	const WantedLock *x = a;
	const WantedLock *y = b;

	if (x->relid != y->relid)
		return x->relid < y->relid ? -1 : 1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* The table first: whoever has it whole keeps us out here. */
static void
take(const WantedLock *lock)
{
	KeyLockCount *count = count_of(lock->relid);
	LOCKTAG		tag;

	CHECK_FOR_INTERRUPTS();
	if (count->count >= MAX_KEY_LOCKS)
	{
		LockRelationOid(lock->relid, ShareRowExclusiveLock);
		return;
	}
	LockRelationOid(lock->relid, RowExclusiveLock);
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (lock->hash >> 32), (uint32) lock->hash, ES_LOCK_KEY);
	if (LockAcquire(&tag, ExclusiveLock, false, false) != LOCKACQUIRE_ALREADY_HELD)
		count->count++;
}

static KeyLockCount *
count_of(Oid relid)
{
	for (int i = 0; i < ncounts; i++)
		if (counts[i].relid == relid)
			return &counts[i];
	if (ncounts == max_counts)
	{
		max_counts = Max(8, max_counts * 2);
		counts = counts == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(KeyLockCount) * max_counts) :
			repalloc(counts, sizeof(KeyLockCount) * max_counts);
	}
	counts[ncounts] = (KeyLockCount)
	{
		relid, 0
	};
	return &counts[ncounts++];
}

/* A rolled back savepoint leaves the count too high, which is harmless. */
static void
forget_counts(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		ncounts = 0;
}
