/*
 * subscription_poll.c
 *		poll: the next events of a partition, lent to a consumer.
 *
 * A partition is locked (try) before it is looked at, and stays so to the end of
 * the transaction if something was lent; else it is unlocked at once.  The
 * watermark and the snapshot are taken under the lock, so that nothing which the
 * row's position stands for is missing in the snapshot.
 *
 * A consumer builds on what those before him made of the events before.  Where
 * another was at a partition whose work the statement's snapshot does not show, the
 * partition is left alone.
 *
 * An event that the filter fails on ends a batch; where it is the next, its partition
 * is left alone, and the error is raised if there is nothing else to deliver.
 */
#include "feed/subscription.h"

#include "access/xact.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/attempt.h"
#include "log/catalog.h"
#include "log/result_row.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(eventsource_poll);

/* An idle poll moves the position only if it would move that far. */
#define IDLE_DISTANCE	1000

typedef struct Request
{
	const EsSubscription *subscription;
	const text *consumer;
	int32		max_count;
	int64		lease;			/* microseconds */
	ReturnSetInfo *result;
	bool		is_late;		/* others were at it after our snapshot */
	ErrorData  *error;			/* of the filter; or NULL */
} Request;

typedef enum Outcome
{
	DELIVERED,
	NOTHING,
	FAILED						/* the filter did, on the next event */
} Outcome;

/* A batch of a line. */
typedef struct Batch
{
	const Request *request;
	const EsPartition *part;
	const EsLane *lane;
	const List *lanes;
	EsFinal    *final;
	int32		max_count;
	int32		count;
	int64		last;
	int64		upto;			/* where the line is after it */
} Batch;

/* A partition, and how much it is its turn. */
typedef struct Turn
{
	int32		partition;
	bool		is_ours;		/* what is lent of it is lent to us */
	TimestampTz served_at;
} Turn;

static Turn *take_turns(const Request *request);
static int	compare_turns(const void *a, const void *b);
static bool poll_any(Request *request);
static bool poll_one(Request *request, int32 partition);
static bool poll_partition(Request *request, int32 partition);
static bool is_defined(Request *request);
static bool is_free(const Request *request, const EsPartition *part);
static bool poll_locked(Request *request, EsPartition *part, EsFinal *final, bool *is_changed);
static bool is_word_due(const EsPartition *part);
static EsLane *first_due(const List *lanes);
static Outcome deliver(Request *request, EsPartition *part, EsLane *lane, const List *lanes,
					   EsFinal *final, bool *is_changed);
static void put_events(void *arg);
static void pass_over(const Request *request, EsPartition *part, EsLane *lane, int64 upto, bool *is_changed);

/* poll(name, max_count, consumer, lease, partition) */
Datum
eventsource_poll(PG_FUNCTION_ARGS)
{
	Request		request = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	bool		is_served;

	PreventCommandIfReadOnly("eventsource.poll()");
	request.subscription = es_subscription_of_consumer(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	request.max_count = PG_ARGISNULL(1) ? PG_INT32_MAX : PG_GETARG_INT32(1);
	request.consumer = es_consumer_name(PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	request.lease = PG_ARGISNULL(3) ? 30 * USECS_PER_SEC :
		es_interval_length(PG_GETARG_INTERVAL_P(3), "lease", 1);
	if (request.max_count < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_count must be at least 1"),
				 errdetail("It is %d.", request.max_count),
				 errhint("NULL means all there are.")));
	InitMaterializedSRF(fcinfo, 0);
	is_served = PG_ARGISNULL(4) ? poll_any(&request) : poll_one(&request, PG_GETARG_INT32(4));
	if (!is_served && request.error != NULL)
		ReThrowError(request.error);
	if (!is_served && request.is_late && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to another consumer of subscription \"%s\"",
						request.subscription->name),
				 errdetail("What he has written since this transaction began is not visible to it."),
				 errhint("The transaction might succeed if retried.")));
	return (Datum) 0;
}

/* Both: true if something was delivered. */
static bool
poll_any(Request *request)
{
	Turn	   *turns = take_turns(request);

	for (int i = 0; i < request->subscription->partitions; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (poll_partition(request, turns[i].partition))
			return true;
	}
	return false;
}

static bool
poll_one(Request *request, int32 partition)
{
	if (partition < 0 || partition >= request->subscription->partitions)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription \"%s\" has no partition %d", request->subscription->name, partition),
				 errdetail("It has the partitions 0 to %d.", request->subscription->partitions - 1),
				 errhint("NULL takes any that has something to deliver.")));
	return poll_partition(request, partition);
}

/*
 * The partitions in the order in which they should be tried; as others may be at
 * them, it is looked at again under the lock what of this still holds.
 */
static Turn *
take_turns(const Request *request)
{
	int			count = request->subscription->partitions;
	Turn	   *turns = palloc0(count * sizeof(Turn));
	Snapshot	snapshot;

	if (count == 1)
		return turns;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < count; i++)
	{
		EsPartition part;

		es_partition_read(request->subscription, i, snapshot, &part);
		turns[i].partition = i;
		turns[i].is_ours = es_partition_is_lent_to(&part, request->consumer);
		turns[i].served_at = part.served_at;
	}
	UnregisterSnapshot(snapshot);
	qsort(turns, count, sizeof(Turn), compare_turns);
	return turns;
}

static int
compare_turns(const void *a, const void *b)
{
	const Turn *left = a;
	const Turn *right = b;

	if (left->is_ours != right->is_ours)
		return left->is_ours ? -1 : 1;
	if (left->served_at != right->served_at)
		return left->served_at < right->served_at ? -1 : 1;
	return left->partition - right->partition;
}

/* True if something was delivered. */
static bool
poll_partition(Request *request, int32 partition)
{
	EsPartition part;
	EsFinal    *final;
	bool		is_changed = false;
	bool		result = false;

	if (!es_partition_try_lock(request->subscription, partition))
		return false;
	if (!is_defined(request))
	{
		es_partition_unlock(request->subscription, partition);
		return false;
	}
	es_partition_read(request->subscription, partition, SnapshotSelf, &part);
	if (es_catalog_is_hidden(part.tuple, GetActiveSnapshot()))
		request->is_late = true;
	else if (is_free(request, &part))
	{
		final = es_final_begin();
		result = poll_locked(request, &part, final, &is_changed);
		es_final_end(final);
	}
	if (!is_changed)
		es_partition_unlock(request->subscription, partition);
	return result;
}

/* Until the lock was ours it may have been dropped, and made anew with other partitions. */
static bool
is_defined(Request *request)
{
	const EsSubscription *now = es_subscription_find(request->subscription->name);

	if (now == NULL || now->partitions != request->subscription->partitions)
		return false;
	request->subscription = now;
	return true;
}

static bool
is_free(const Request *request, const EsPartition *part)
{
	return part->delivered == 0 || es_partition_is_lent_to(part, request->consumer) ||
		part->lease_until <= GetCurrentTimestamp();
}

/*
 * What is lent to us already comes first; then what was told to come once more,
 * before what is newer: also before what is left of a batch, so that who always
 * leaves something gets it.
 */
static bool
poll_locked(Request *request, EsPartition *part, EsFinal *final, bool *is_changed)
{
	const EsSubscription *subscription = request->subscription;
	Outcome		outcome = NOTHING;
	List	   *lanes;
	EsLane	   *lane;

	if (is_word_due(part))
	{
		es_partition_expire(subscription, part, final);
		*is_changed = true;
	}
	lanes = es_lane_list(subscription, part->number, false, SnapshotSelf);
	if (part->delivered != 0 && part->lane == 0 && part->is_begun && first_due(lanes) != NULL)
	{
		es_partition_end_lease(part);
		es_partition_write(subscription, part);
		*is_changed = true;
	}
	if (part->delivered != 0)
	{
		outcome = deliver(request, part, es_lane_find(lanes, part->lane), lanes, final, is_changed);
		lanes = es_lane_list(subscription, part->number, false, SnapshotSelf);
	}
	while (outcome == NOTHING && (lane = first_due(lanes)) != NULL)
	{
		outcome = deliver(request, part, lane, lanes, final, is_changed);
		lanes = es_lane_list(subscription, part->number, false, SnapshotSelf);
	}
	if (outcome == NOTHING && part->line.retry_at <= GetCurrentTimestamp())
		outcome = deliver(request, part, NULL, lanes, final, is_changed);
	return outcome == DELIVERED;
}

/* The lease is over, or its consumer began anew. */
static bool
is_word_due(const EsPartition *part)
{
	return part->delivered != 0 &&
		(part->lease_until <= GetCurrentTimestamp() || part->session != es_consumer_session());
}

/* The first lane to deliver of, which is then lent, parked or deleted. */
static EsLane *
first_due(const List *lanes)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, lanes)
	{
		EsLane	   *lane = lfirst(lc);

		if (!lane->is_parked && lane->line.retry_at <= now)
			return lane;
	}
	return NULL;
}

/* Lends what a line (lane: NULL for the partition's own) has next. */
static Outcome
deliver(Request *request, EsPartition *part, EsLane *lane, const List *lanes, EsFinal *final,
		bool *is_changed)
{
	const EsSubscription *subscription = request->subscription;
	const EsLine *line = lane == NULL ? &part->line : &lane->line;
	Batch		batch = {.request = request,.part = part,.lane = lane,.lanes = lanes,.final = final};
	ErrorData  *error = NULL;

	while (part->delivered == 0 && es_line_park_next(subscription, part, lane, final))
	{
		*is_changed = true;
		if (lane != NULL)
			return NOTHING;
		batch.lanes = es_lane_list(subscription, part->number, false, SnapshotSelf);
	}
	batch.max_count = line->position < line->single_upto ? 1 : request->max_count;
	if (!es_subscription_can_fail(subscription))
		put_events(&batch);
	else
		error = es_attempt(put_events, &batch, es_is_of_filter);
	if (batch.count == 0)
	{
		if (error == NULL)
			pass_over(request, part, lane, batch.upto, is_changed);
		else if (request->error == NULL)
			request->error = error;
		return error == NULL ? NOTHING : FAILED;
	}
	part->lane = lane == NULL ? 0 : lane->origin;
	part->delivered = batch.last;
	part->scanned = batch.count < batch.max_count && error == NULL ? batch.upto : batch.last;
	part->is_begun = false;
	part->consumer = (text *) request->consumer;
	part->session = es_consumer_session();
	part->served_at = GetCurrentTimestamp();
	part->lease_until = part->served_at + request->lease;
	es_partition_write(subscription, part);
	*is_changed = true;
	return DELIVERED;
}

/* What was put when the filter or an upcaster fails stays. */
static void
put_events(void *arg)
{
	Batch	   *batch = arg;
	ReturnSetInfo *result = batch->request->result;
	EsResultRow *row = es_result_row_begin(result->setDesc);
	EsLineScan *scan = es_line_scan_begin(batch->request->subscription, batch->part, batch->lane,
										  batch->lanes, batch->final, batch->max_count);
	EsEvent		event;

	while (batch->count < batch->max_count && es_line_scan_next(scan, &event))
	{
		es_result_row_put_event(result, row, &event);
		es_line_scan_note(scan);
		batch->last = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		batch->count++;
	}
	batch->upto = es_line_scan_upto(scan);
	es_line_scan_end(scan);
}

/* There was nothing: a lane is over with that, and the line moves if it is worth it. */
static void
pass_over(const Request *request, EsPartition *part, EsLane *lane, int64 upto, bool *is_changed)
{
	bool		was_lent = part->delivered != 0;

	if (lane != NULL)
	{
		es_lane_delete(lane);
		*is_changed = true;
	}
	else if (upto - part->line.position >= IDLE_DISTANCE)
	{
		part->line.position = upto;
		*is_changed = true;
	}
	if (was_lent)
		es_partition_end_lease(part);
	if (was_lent || (lane == NULL && *is_changed))
	{
		es_partition_write(request->subscription, part);
		*is_changed = true;
	}
}
