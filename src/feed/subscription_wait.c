/*
 * subscription_wait.c
 *		wait_for_events, and what a subscription has not dealt with, for views.
 *
 * Both only look: rows of progress are read under the snapshot of the final feed,
 * without a lock.
 */
#include "feed/subscription.h"

#include "access/htup_details.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/attempt.h"
#include "log/bell.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(eventsource_wait_for_events);
PG_FUNCTION_INFO_V1(eventsource_subscription_pending);

/* Whom nobody wakes (a consumer at work may give up) looks again after so long. */
#define BUSY_DELAY	(50 * INT64CONST(1000))

/*
 * A round of waiting, polling and acknowledging costs more than an event does.  So a
 * session looks, and is told, no more often than that: the more is being appended
 * (above 4,000 events a second), the less often, unless there are PLENTY for each
 * partition.  One that has waited longer is told at once.
 */
#define LEAST_DELAY		(10 * INT64CONST(1000))
#define LONGEST_DELAY	(25 * INT64CONST(1000))
#define DELAY_BY_RATE(per_second)	((per_second) * 5 / 2)
#define PLENTY			250

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
	bool		has_next;
	bool		has_plenty;
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

static bool look_around(Look *look, Seen *seen);
static void look_at(void *arg);
static bool has_next(Look *look, const EsLane *lane, const List *lanes);
static void rest_when_told(const Look *look, TimestampTz end);
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
		look.due = end;
		result = look_around(&look, seen);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
		if (result || GetCurrentTimestamp() >= end)
			break;
		if (is_prepared && es_bell_sleep((Max(look.due, look.began) - look.began) / 1000 + 1))
			rest(Min(look.began + LEAST_DELAY, look.due));
		else if (!is_prepared)
			es_bell_prepare();
		is_prepared = true;
	}
	if (is_prepared)
		es_bell_cancel();
	MemoryContextDelete(work);
	if (result)
		rest_when_told(&look, end);
	PG_RETURN_BOOL(result);
}

/* At most to the end.  How much is being appended tell this look and the one before. */
static void
rest_when_told(const Look *look, TimestampTz end)
{
	static TimestampTz told_at;
	static TimestampTz looked_at;
	static int64 looked_upto;
	int64		passed = Max(look->began - looked_at, 1);
	int64		delay = DELAY_BY_RATE(Max(look->upto - looked_upto, 0) * USECS_PER_SEC / passed);

	if (!look->has_plenty)
		rest(Min(told_at + Max(LEAST_DELAY, Min(delay, LONGEST_DELAY)), end));
	told_at = GetCurrentTimestamp();
	looked_at = look->began;
	looked_upto = look->upto;
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
	bool		result = false;

	look->error = NULL;
	look->final = es_final_begin();
	look->upto = es_final_upto(look->final);
	for (int i = 0; i < look->subscription->partitions && !result; i++)
	{
		EsPartition part;
		ErrorData  *error = NULL;

		CHECK_FOR_INTERRUPTS();
		es_partition_read(look->subscription, i, es_final_snapshot(look->final), &part);
		look->part = &part;
		look->seen = &seen[i];
		look->has_next = look->has_plenty = false;
		if (look->subscription->filter_source == NULL)
			look_at(look);
		else
			error = es_attempt(look_at, look, es_is_of_filter);
		if (look->error == NULL)
			look->error = error;
		if (error != NULL || !look->has_next)
			continue;
		result = es_partition_try_lock(look->subscription, i);
		if (result)
			es_partition_unlock(look->subscription, i);
		else
			look->due = Min(look->due, GetCurrentTimestamp() + BUSY_DELAY);
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
	look->has_plenty = look->upto - part->line.position >=
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
	if (pending.subscription != NULL && pending.number < pending.subscription->partitions)
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
