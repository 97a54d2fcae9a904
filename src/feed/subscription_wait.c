/*
 * subscription_wait.c
 *		wait_for_events, and what a subscription has not dealt with, for views.
 *
 * Both only look: rows of progress are read under the snapshot of the final feed,
 * without a lock.
 */
#include "feed/subscription.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/attempt.h"
#include "log/bell.h"
#include "log/rights.h"
#include "log/shared.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(eventsource_wait_for_events);
PG_FUNCTION_INFO_V1(eventsource_subscription_pending);
PG_FUNCTION_INFO_V1(eventsource_may_read_subscription);

/* Whom nobody wakes (a consumer at work may give up) looks again after so long. */
#define BUSY_DELAY	(50 * INT64CONST(1000))

/*
 * A round of waiting, polling and acknowledging costs more than an event does.  So
 * somebody is told of a partition no more often than that: the more is being appended
 * (above 1,000 events a second), the less often, unless there are PLENTY for each
 * partition.  So it takes many at a time, and of several who wait one is told; should
 * it not poll, another one later.  What comes after a pause is told at once.  Under
 * such a load a partition is not even looked at before its time.
 *
 * Kept by a hash of the partition, in shared memory if the library is preloaded, else
 * by each session: when it will be told again.
 */
#define LEAST_DELAY		(10 * INT64CONST(1000))
#define LONGEST_DELAY	(50 * INT64CONST(1000))
#define DELAY_BY_RATE(per_second)	((per_second) * 10)
#define PLENTY			250
#define NUM_TOLD		1024

/* Where a look has found nothing, for the next one. */
typedef struct Seen
{
	int64		position;		/* of the partition then */
	int64		upto;			/* it has nothing up to here; 0: not known */
} Seen;

/* Who waits for what. */
typedef struct Look
{
	const EsSubscription *subscription;
	const text *consumer;
	EsFinal    *final;
	const EsPartition *part;	/* which is looked at */
	Seen	   *seen;			/* of this partition */
	TimestampTz due;			/* when there might be something */
	bool		is_last;		/* it will not look again */
	bool		has_next;
	bool		has_plenty;
	TimestampTz deferred;		/* the first of what there is is told then; or
								 * 0 */
	int64		upto;			/* what was final */
	TimestampTz began;
	ErrorData  *error;			/* of the filter, on the next event of a
								 * partition; or NULL */
} Look;

/* The first event that a partition has not dealt with. */
typedef struct Pending
{
	const EsSubscription *subscription;
	int32		number;
	EsFinal    *final;
	int64		position;		/* 0: there is none */
	TimestampTz recorded_at;
} Pending;

/* What this session chose last: how much is being appended. */
static int64 told_delay;

static pg_atomic_uint64 told_here[NUM_TOLD];
static pg_atomic_uint64 *told = told_here;

static bool look_around(Look *look, Seen *seen);
static void look_at(void *arg);
static bool has_next(Look *look, const EsLane *lane, const List *lanes);
static bool may_tell(Look *look);
static bool is_put_off(Look *look, int32 partition);
static int32 nth_partition(const Look *look, int k);
static pg_atomic_uint64 *find_place(const Look *look, int32 partition);
static int64 choose_delay(const Look *look);
static void rest(TimestampTz until);
static void find_pending(void *arg);
static void find_next(Pending *pending, const EsPartition *part, const EsLane *lane, const List *lanes);

/* wait_for_events(name, timeout, consumer) */
Datum
eventsource_wait_for_events(PG_FUNCTION_ARGS)
{
	const text *name = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	Look		look = {.consumer = es_consumer_name(PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2))};
	int64		timeout = PG_ARGISNULL(1) ? 10 * USECS_PER_SEC :
		es_interval_length(PG_GETARG_INTERVAL_P(1), "timeout", 0);
	TimestampTz end = GetCurrentTimestamp() + timeout;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "eventsource wait", ALLOCSET_DEFAULT_SIZES);
	Seen	   *seen = NULL;
	bool		is_prepared = false;
	bool		result;

	PreventCommandDuringRecovery("eventsource.wait_for_events()");
	for (;;)
	{
		const EsSubscription *subscription;

		MemoryContextSwitchTo(work);
		/* It may be defined anew, or dropped, meanwhile. */
		subscription = es_subscription_of_consumer(name);
		if (subscription != look.subscription)
			seen = MemoryContextAllocZero(caller, subscription->partitions * sizeof(Seen));
		look.subscription = subscription;
		look.began = GetCurrentTimestamp();
		look.is_last = look.began >= end;
		look.due = end;
		result = look_around(&look, seen);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
		if (result || look.is_last)
			break;
		if (look.deferred != 0)
		{
			rest(Min(look.deferred, end));
			continue;
		}
		if (is_prepared && es_bell_sleep((Max(look.due, look.began) - look.began) / 1000 + 1))
			rest(Min(look.began + LEAST_DELAY, look.due));
		else if (!is_prepared)
			es_bell_prepare();
		is_prepared = true;
	}
	if (is_prepared)
		es_bell_cancel();
	MemoryContextDelete(work);
	PG_RETURN_BOOL(result);
}

/* Of the partition, in which something is; else it is deferred. */
static bool
may_tell(Look *look)
{
	pg_atomic_uint64 *place = find_place(look, look->part->number);
	uint64		next = pg_atomic_read_u64(place);
	TimestampTz now = GetCurrentTimestamp();
	bool		result = look->is_last || look->has_plenty;

	/* The clock may be set back. */
	if ((TimestampTz) next <= now || (TimestampTz) next > now + LONGEST_DELAY)
		result |= pg_atomic_compare_exchange_u64(place, &next, now + choose_delay(look));
	/* Beaten to it, next is what the other one wrote. */
	if (!result && look->deferred == 0)
		look->deferred = (TimestampTz) next;
	return result;
}

/* Is it not worth a look before it may be told of?  Then it is deferred. */
static bool
is_put_off(Look *look, int32 partition)
{
	TimestampTz next;

	if (look->is_last || told_delay <= LEAST_DELAY)
		return false;
	next = (TimestampTz) pg_atomic_read_u64(find_place(look, partition));
	if (next <= look->began || next > look->began + LONGEST_DELAY)
		return false;
	if (look->deferred == 0)
		look->deferred = next;
	return true;
}

/* Sessions begin with different ones. */
static int32
nth_partition(const Look *look, int k)
{
	return (MyProcPid + k) % look->subscription->partitions;
}

/* Where it is kept when the partition may be told of again. */
static pg_atomic_uint64 *
find_place(const Look *look, int32 partition)
{
	char		whose[ES_MAX_WORD + 32];
	int			length = snprintf(whose, sizeof(whose), "%u.%d.%s", MyDatabaseId, partition,
								  look->subscription->name);

	return &told[hash_bytes_extended((unsigned char *) whose, length, 0) % NUM_TOLD];
}

/*
 * How much is being appended tell this look and the last one of this kind.  Where
 * there is plenty nothing needs to gather.
 */
static int64
choose_delay(const Look *look)
{
	static TimestampTz looked_at;
	static int64 looked_upto;
	int64		passed = Max(look->began - looked_at, 1);
	int64		delay = DELAY_BY_RATE(Max(look->upto - looked_upto, 0) * USECS_PER_SEC / passed);

	looked_at = look->began;
	looked_upto = look->upto;
	told_delay = Max(LEAST_DELAY, Min(delay, LONGEST_DELAY));
	return look->has_plenty ? 0 : told_delay;
}

static void
rest(TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();

	/* The clock may be set back. */
	while (now < until && until - now <= LONGEST_DELAY)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (until - now) / 1000 + 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		now = GetCurrentTimestamp();
	}
}

/*
 * Would poll do something?  If not, due becomes the time when it might, if that is
 * sooner.  Raises what poll would.
 */
static bool
look_around(Look *look, Seen *seen)
{
	int			partitions = look->subscription->partitions;
	int			k = 0;
	bool		result = false;

	look->error = NULL;
	look->deferred = 0;
	while (k < partitions && is_put_off(look, nth_partition(look, k)))
		k++;
	if (k == partitions)
		return false;
	look->final = es_final_begin();
	look->upto = es_final_upto(look->final);
	for (; k < partitions && !result; k++)
	{
		int32		number = nth_partition(look, k);
		EsPartition part;
		ErrorData  *error = NULL;

		CHECK_FOR_INTERRUPTS();
		if (is_put_off(look, number))
			continue;
		es_partition_read(look->subscription, number, es_final_snapshot(look->final), &part);
		look->part = &part;
		look->seen = &seen[number];
		look->has_next = look->has_plenty = false;
		if (!es_subscription_can_fail(look->subscription))
			look_at(look);
		else
			error = es_attempt(look_at, look, es_is_of_filter);
		if (look->error == NULL)
			look->error = error;
		if (error != NULL || !look->has_next)
			continue;
		if (!es_partition_try_lock(look->subscription, number))
		{
			look->due = Min(look->due, GetCurrentTimestamp() + BUSY_DELAY);
			continue;
		}
		es_partition_unlock(look->subscription, number);
		result = may_tell(look);
	}
	es_final_end(look->final);
	if (!result && look->error != NULL)
		ReThrowError(look->error);
	return result;
}

static void
look_at(void *arg)
{
	Look	   *look = arg;
	const EsPartition *part = look->part;
	List	   *lanes;
	ListCell   *lc;

	if (part->delivered != 0)
	{
		look->has_next = look->has_plenty = es_partition_is_lent_to(part, look->consumer) ||
			part->lease_until <= GetCurrentTimestamp();
		if (!look->has_next)
			look->due = Min(look->due, part->lease_until);
		return;
	}
	lanes = es_lane_list(look->subscription, part->number, false, es_final_snapshot(look->final));
	foreach(lc, lanes)
	{
		const EsLane *lane = lfirst(lc);

		look->has_next |= !look->has_next && !lane->is_parked && has_next(look, lane, lanes);
	}
	look->has_plenty = look->upto - Max(part->line.position, look->seen->upto) >=
		(int64) PLENTY * look->subscription->partitions;
	look->has_next |= !look->has_next && has_next(look, NULL, lanes);
}

static bool
has_next(Look *look, const EsLane *lane, const List *lanes)
{
	const EsLine *line = lane == NULL ? &look->part->line : &lane->line;
	EsPartition part = *look->part;
	Seen	   *seen = look->seen;
	EsLineScan *scan;
	bool		result;

	if (line->retry_at > GetCurrentTimestamp())
	{
		look->due = Min(look->due, line->retry_at);
		return false;
	}

	/*
	 * Below what was final nothing comes; but where a lane ends, its stream
	 * goes on.
	 */
	if (lanes == NIL && seen->position == line->position)
		part.line.position = Max(line->position, seen->upto);
	scan = es_line_scan_begin(look->subscription, &part, lane, lanes, look->final, 1);
	result = es_line_scan_has_next(scan);
	es_line_scan_end(scan);
	if (lanes == NIL && !result)
		*seen = (Seen)
	{
		.position = line->position,.upto = look->upto
	};
	return result;
}

/*
 * subscription_pending(name, partition): the first event that is not dealt with,
 * and when it was recorded; why that cannot be told, if the filter fails.
 */
Datum
eventsource_subscription_pending(PG_FUNCTION_ARGS)
{
	Pending		pending = {.number = PG_GETARG_INT32(1)};
	ErrorData  *error;
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pending.subscription = es_subscription_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (pending.subscription != NULL && pending.number < pending.subscription->partitions &&
		es_rights_reads_each(pending.subscription->categories))
	{
		pending.final = es_final_begin();
		error = es_attempt(find_pending, &pending, es_is_of_filter);
		es_final_end(pending.final);
		if (error != NULL)
		{
			values[2] = CStringGetTextDatum(es_error_clip(error->message));
			nulls[2] = false;
		}
	}
	if (pending.position != 0)
	{
		values[0] = Int64GetDatum(pending.position);
		values[1] = TimestampTzGetDatum(pending.recorded_at);
		nulls[0] = nulls[1] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* may_read_subscription(name text) */
Datum
eventsource_may_read_subscription(PG_FUNCTION_ARGS)
{
	const EsSubscription *subscription;

	if (es_rights_reads_all())
		PG_RETURN_BOOL(true);
	subscription = es_subscription_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_BOOL(subscription != NULL && es_rights_reads_each(subscription->categories));
}

/* The lanes come first in poll: a filter that fails there is an error, too. */
static void
find_pending(void *arg)
{
	Pending    *pending = arg;
	Snapshot	snapshot = es_final_snapshot(pending->final);
	EsPartition part;
	List	   *lanes;
	ListCell   *lc;

	es_partition_read(pending->subscription, pending->number, snapshot, &part);
	lanes = es_lane_list(pending->subscription, pending->number, false, snapshot);
	find_next(pending, &part, NULL, lanes);
	foreach(lc, lanes)
	{
		const EsLane *lane = lfirst(lc);

		if (!lane->is_parked && pending->subscription->filter_source != NULL)
			find_next(pending, &part, lane, lanes);
	}
}

/* Of the partition's own line it is what is pending. */
static void
find_next(Pending *pending, const EsPartition *part, const EsLane *lane, const List *lanes)
{
	EsLineScan *scan = es_line_scan_begin(pending->subscription, part, lane, lanes, pending->final, 1);
	EsEvent		event;

	if (es_line_scan_next(scan, &event) && lane == NULL)
	{
		pending->position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		pending->recorded_at = DatumGetTimestampTz(event.value[ES_EVENT_RECORDED_AT]);
	}
	es_line_scan_end(scan);
}

/* ---- shared memory ---- */

static void
clear(pg_atomic_uint64 *places)
{
	for (int i = 0; i < NUM_TOLD; i++)
		pg_atomic_init_u64(&places[i], 0);
}

static Size
memory_size(void)
{
	return NUM_TOLD * sizeof(pg_atomic_uint64);
}

static void
attach_memory(void *memory, LWLockPadded *locks, bool is_new)
{
	told = memory;
	if (is_new)
		clear(told);
}

void
es_subscription_wait_init(void)
{
	static const EsShared piece = {"eventsource waiting consumers", memory_size, 0, attach_memory};

	clear(told_here);
	(void) es_shared_want(&piece);
}
