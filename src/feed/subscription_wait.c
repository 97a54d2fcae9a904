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
 * A session is told of new events no more often than that, so that under load it
 * takes many at a time; one that has waited longer is told at once.
 */
#define LEAST_DELAY	(5 * INT64CONST(1000))

/* The first event that a partition has not dealt with. */
typedef struct Pending
{
	const EsSubscription *subscription;
	int32		number;
	EsFinal    *final;
	int64		position;		/* 0: there is none */
	TimestampTz recorded_at;
} Pending;

static bool look(const EsSubscription *subscription, const text *consumer, TimestampTz *due);
static bool look_at(const EsSubscription *subscription, const EsPartition *part, const text *consumer,
					EsFinal *final, TimestampTz *due);
static bool has_next(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane,
					 const List *lanes, EsFinal *final, TimestampTz *due);
static void rest(void);
static void find_pending(void *arg);
static bool is_of_filter(int sqlstate);

/* wait_for_events(name, timeout, consumer) */
Datum
eventsource_wait_for_events(PG_FUNCTION_ARGS)
{
	const text *name = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	const text *consumer = es_consumer_name(PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	int64		timeout = PG_ARGISNULL(1) ? 10 * USECS_PER_SEC :
		es_interval_length(PG_GETARG_INTERVAL_P(1), "timeout", 0);
	TimestampTz end = GetCurrentTimestamp() + timeout;
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource wait", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	bool		is_prepared = false;
	bool		result;

	PreventCommandDuringRecovery("eventsource.wait_for_events()");
	for (;;)
	{
		/* It may be defined anew, or dropped, meanwhile. */
		const EsSubscription *subscription = es_subscription_of_consumer(name);
		TimestampTz due = end;
		TimestampTz now;

		result = look(subscription, consumer, &due);
		now = GetCurrentTimestamp();
		if (result || now >= end)
			break;
		if (is_prepared)
			es_bell_sleep(Min((Max(due, now) - now) / 1000 + 1, ES_BELL_LONGEST));
		else
			es_bell_prepare();
		is_prepared = true;
		MemoryContextReset(work);
	}
	if (is_prepared)
		es_bell_cancel();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	if (result)
		rest();
	PG_RETURN_BOOL(result);
}

static void
rest(void)
{
	static TimestampTz told_at;
	TimestampTz now = GetCurrentTimestamp();

	while (told_at + LEAST_DELAY > now && told_at <= now)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (told_at + LEAST_DELAY - now) / 1000 + 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		now = GetCurrentTimestamp();
	}
	told_at = now;
}

/* Would poll deliver something?  If not, due becomes the time when it might, if that is sooner. */
static bool
look(const EsSubscription *subscription, const text *consumer, TimestampTz *due)
{
	EsFinal    *final = es_final_begin();
	bool		result = false;

	for (int i = 0; i < subscription->partitions && !result; i++)
	{
		EsPartition part;

		CHECK_FOR_INTERRUPTS();
		es_partition_read(subscription, i, es_final_snapshot(final), &part);
		if (!look_at(subscription, &part, consumer, final, due))
			continue;
		result = es_partition_try_lock(subscription, i);
		if (result)
			es_partition_unlock(subscription, i);
		else
			*due = Min(*due, GetCurrentTimestamp() + BUSY_DELAY);
	}
	es_final_end(final);
	return result;
}

static bool
look_at(const EsSubscription *subscription, const EsPartition *part, const text *consumer,
		EsFinal *final, TimestampTz *due)
{
	List	   *lanes;
	ListCell   *lc;

	if (part->delivered != 0)
	{
		if (es_partition_is_lent_to(part, consumer) || part->lease_until <= GetCurrentTimestamp())
			return true;
		*due = Min(*due, part->lease_until);
		return false;
	}
	lanes = es_lane_list(subscription, part->number, false, es_final_snapshot(final));
	foreach(lc, lanes)
	{
		const EsLane *lane = lfirst(lc);

		if (!lane->is_parked && has_next(subscription, part, lane, lanes, final, due))
			return true;
	}
	return has_next(subscription, part, NULL, lanes, final, due);
}

static bool
has_next(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane,
		 const List *lanes, EsFinal *final, TimestampTz *due)
{
	const EsLine *line = lane == NULL ? &part->line : &lane->line;
	EsLineScan *scan;
	EsEvent		event;
	bool		result;

	if (line->retry_at > GetCurrentTimestamp())
	{
		*due = Min(*due, line->retry_at);
		return false;
	}
	scan = es_line_scan_begin(subscription, part, lane, lanes, final, 1);
	result = es_line_scan_next(scan, &event);
	es_line_scan_end(scan);
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
		error = es_attempt(find_pending, &pending, is_of_filter);
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

static void
find_pending(void *arg)
{
	Pending    *pending = arg;
	Snapshot	snapshot = es_final_snapshot(pending->final);
	EsPartition part;
	List	   *lanes;
	EsLineScan *scan;
	EsEvent		event;

	es_partition_read(pending->subscription, pending->number, snapshot, &part);
	lanes = es_lane_list(pending->subscription, pending->number, false, snapshot);
	scan = es_line_scan_begin(pending->subscription, &part, NULL, lanes, pending->final, 1);
	if (es_line_scan_next(scan, &event))
	{
		pending->position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		pending->recorded_at = DatumGetTimestampTz(event.value[ES_EVENT_RECORDED_AT]);
	}
	es_line_scan_end(scan);
}

/* Whatever a filter may raise; not that this query lacks means. */
static bool
is_of_filter(int sqlstate)
{
	int			class = ERRCODE_TO_CATEGORY(sqlstate);

	return class != ERRCODE_INSUFFICIENT_RESOURCES && class != ERRCODE_SYSTEM_ERROR;
}
