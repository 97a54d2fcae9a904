/*
 * subscription_ack.c
 *		ack and nack: what became of the events that poll delivered.
 *
 * Both wait for the partition's lock: another transaction that has it may be
 * taking over, and then what this consumer says is refused.  So an ack in the
 * transaction of the consumer's writes is what makes them count once.
 */
#include "feed/subscription.h"

#include "errors.h"
#include "fmgr.h"
#include "log/attempt.h"
#include "log/erased.h"
#include "log/event.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_ack);
PG_FUNCTION_INFO_V1(eventsource_nack);

static void find_event(EsSpoken *spoken, bool wanted_only);
static void refuse_missing(const EsSpoken *spoken, Snapshot snapshot);
static void refuse_hidden(const EsSpoken *spoken);
static void refuse_undelivered(const EsSpoken *spoken);
static void refuse_lost(const EsSpoken *spoken, const text *consumer, const EsPartition *part);
static void refuse_done(const EsSpoken *spoken);
static EsLane *lane_of_lease(const EsSpoken *spoken, const EsPartition *part);
static EsLane *lane_of_event(const EsSpoken *spoken, const EsPartition *part);
static void move_line(EsLine *line, int64 position);
static text *error_to_keep(const EsSpoken *spoken, const text *error);

/* ack(name, event_position, consumer) */
Datum
eventsource_ack(PG_FUNCTION_ARGS)
{
	EsSpoken	spoken;
	const text *consumer;
	EsPartition part;
	EsLane	   *lane;
	bool		is_last;

	PreventCommandIfReadOnly("eventsource.ack()");
	es_spoken_read(fcinfo, false, &spoken);
	consumer = es_consumer_name(PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	es_partition_lock(spoken.subscription, spoken.partition);
	es_partition_read(spoken.subscription, spoken.partition, SnapshotSelf, &part);
	if (!es_partition_is_lent_to(&part, consumer))
		refuse_lost(&spoken, consumer, &part);
	lane = lane_of_lease(&spoken, &part);
	if (spoken.position <= (lane == NULL ? &part.line : &lane->line)->position)
		refuse_done(&spoken);

	is_last = spoken.position == part.delivered;
	if (lane == NULL)
		move_line(&part.line, is_last ? part.scanned : spoken.position);
	else
	{
		move_line(&lane->line, spoken.position);
		lane->version = spoken.version;
		if (is_last && es_lane_is_empty(spoken.subscription, &part, lane))
			es_lane_delete(lane);
		else
			es_lane_write(spoken.subscription, spoken.partition, lane);
	}
	if (is_last)
		es_partition_end_lease(&part);
	else
	{
		part.is_begun = true;
		part.session = es_consumer_session();
	}
	es_partition_write(spoken.subscription, &part);
	PG_RETURN_VOID();
}

/*
 * nack(name, event_position, error, consumer).  A consumer whose transaction was
 * rolled back has no lease, and says so all the same.
 */
Datum
eventsource_nack(PG_FUNCTION_ARGS)
{
	EsSpoken	spoken;
	const text *consumer;
	EsPartition part;
	EsLane	   *lane;
	EsFinal    *final;

	PreventCommandIfReadOnly("eventsource.nack()");
	es_spoken_read(fcinfo, true, &spoken);
	consumer = es_consumer_name(PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3));
	es_partition_lock(spoken.subscription, spoken.partition);
	es_partition_read(spoken.subscription, spoken.partition, SnapshotSelf, &part);
	final = es_final_begin();
	if (part.delivered != 0 && !es_partition_is_lent_to(&part, consumer))
	{
		if (part.lease_until > GetCurrentTimestamp())
			refuse_lost(&spoken, consumer, &part);
		es_partition_expire(spoken.subscription, &part, final);
	}
	if (part.delivered != 0)
	{
		lane = lane_of_lease(&spoken, &part);
	}
	else
		lane = lane_of_event(&spoken, &part);
	if (spoken.position <= (lane == NULL ? &part.line : &lane->line)->position)
		refuse_done(&spoken);

	es_partition_end_lease(&part);
	es_line_fail(spoken.subscription, &part, lane, spoken.position,
				 PG_ARGISNULL(2) ? NULL : error_to_keep(&spoken, PG_GETARG_TEXT_PP(2)), final);
	es_final_end(final);
	PG_RETURN_VOID();
}

void
es_spoken_read(FunctionCallInfo fcinfo, bool wanted_only, EsSpoken *spoken)
{
	memset(spoken, 0, sizeof(EsSpoken));
	spoken->subscription = es_subscription_of_consumer(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event_position must not be null"),
				 errdetail("It says which of the delivered events is meant."),
				 errhint("Give the column position of the event that eventsource.poll() returned.")));
	spoken->position = PG_GETARG_INT64(1);
	find_event(spoken, wanted_only);
}

/*
 * Events do not change, and what was delivered is committed.  Only a filter must
 * know more of it than where it is, as poll() did.
 */
static void
find_event(EsSpoken *spoken, bool wanted_only)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EsScan	   *scan = NULL;
	HeapTuple	row = NULL;
	EsEvent		event;

	if (spoken->position > 0)
	{
		scan = es_scan_log(spoken->position - 1, spoken->position, NIL, snapshot);
		es_scan_expect(scan, 1);
		es_scan_spare_names(scan);
		row = es_scan_next_tuple(scan);
	}
	if (row == NULL)
		refuse_missing(spoken, snapshot);
	if (wanted_only)
	{
		es_event_deform(row, true, &event);
		es_reading_restore(&event, GetUserId(), snapshot);
		es_reading_upcast(es_reading_begin(), &event);
		if (!es_subscription_wants(spoken->subscription, &event))
			refuse_hidden(spoken);
	}
	spoken->stream_id = es_event_stream_id(row);
	spoken->version = es_event_version(row);
	spoken->partition = (int32) es_stream_part(spoken->stream_id, spoken->subscription->partitions);
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
}

/* Nobody is delivered definitions. */
static void
refuse_missing(const EsSpoken *spoken, Snapshot snapshot)
{
	EsScan	   *scan;
	EsEvent		event;

	if (spoken->position > 0)
	{
		scan = es_scan_log(spoken->position - 1, spoken->position, list_make1(ES_CONFIG_CATEGORY), snapshot);
		es_scan_expect(scan, 1);
		es_scan_as_stored(scan);
		if (es_scan_next(scan, &event))
			refuse_hidden(spoken);
		es_scan_end(scan);
	}
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("there is no event at position " INT64_FORMAT, spoken->position),
			 errdetail("Positions have gaps."),
			 errhint("Give the column position of an event that eventsource.poll() returned.")));
}

static void
refuse_hidden(const EsSpoken *spoken)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("subscription \"%s\" does not deliver event " INT64_FORMAT, spoken->subscription->name,
					spoken->position),
			 errdetail("It is of a category that is not meant, or the filter leaves it out; definitions are never delivered."),
			 errhint("Name one of the events that the last eventsource.poll() returned.")));
}

/* NULL: the partition's own line.  Refuses an event that is not of what is lent. */
static EsLane *
lane_of_lease(const EsSpoken *spoken, const EsPartition *part)
{
	EsLane	   *lane;

	if (part->lane == 0)
	{
		if (spoken->position > part->delivered)
			refuse_undelivered(spoken);
		return NULL;
	}
	lane = es_lane_find(es_lane_list(spoken->subscription, part->number, false, SnapshotSelf), part->lane);
	if (lane == NULL)
		elog(ERROR, "lane " INT64_FORMAT " of subscription \"%s\" is missing", part->lane,
			 spoken->subscription->name);
	if (lane->stream_id != spoken->stream_id)
		refuse_lost(spoken, part->consumer, part);
	if (spoken->position > part->delivered)
		refuse_undelivered(spoken);
	return lane;
}

/* The line that would deliver the event. */
static EsLane *
lane_of_event(const EsSpoken *spoken, const EsPartition *part)
{
	ListCell   *lc;

	foreach(lc, es_lane_list(spoken->subscription, part->number, false, SnapshotSelf))
	{
		EsLane	   *lane = lfirst(lc);

		if (lane->stream_id != spoken->stream_id || !(lane->is_holding || spoken->position == lane->origin))
			continue;
		if (lane->is_parked || spoken->position > part->line.position)
			refuse_done(spoken);
		return lane;
	}
	return NULL;
}

static void
move_line(EsLine *line, int64 position)
{
	line->position = position;
	if (line->failing <= position)
		es_line_forgive(line);
}

/*
 * An error may quote the event, which was delivered before its subject was erased.
 * Consumers are kept out by an erasure once it has set its mark.
 */
static text *
error_to_keep(const EsSpoken *spoken, const text *error)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EsScan	   *scan = es_scan_whole_log(spoken->position - 1, spoken->position, snapshot);
	bool		is_erased = false;
	EsEvent		event;

	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &event))
		is_erased = es_erased_expect(es_event_text(&event, ES_EVENT_SUBJECT)) > ES_ERASED_SOFT;
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return cstring_to_text(is_erased ? "(erased)" : es_error_clip(text_to_cstring(error)));
}

static void
refuse_undelivered(const EsSpoken *spoken)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("event " INT64_FORMAT " was not delivered", spoken->position),
			 errdetail("Subscription \"%s\" has lent other events of its partition.", spoken->subscription->name),
			 errhint("Name one of the events that the last eventsource.poll() returned.")));
}

static void
refuse_lost(const EsSpoken *spoken, const text *consumer, const EsPartition *part)
{
	bool		is_other = part->delivered != 0 && !es_text_same(part->consumer, consumer);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("event " INT64_FORMAT " is not lent to consumer \"%s\"", spoken->position,
					text_to_cstring(consumer)),
			 part->delivered == 0 ?
			 errdetail("Nothing of its partition is lent: it was acknowledged or given back, the subscription was reset, or a subject of its events was erased.") :
			 is_other ? errdetail("Its partition is lent to consumer \"%s\".", text_to_cstring(part->consumer)) :
			 errdetail("The last poll returned redriven events of another stream in its stead."),
			 is_other ?
			 errhint("Give the name of the consumer that polled; if that was you, your lease ended: roll back what was done with the event.") :
			 errhint("Roll back what was done with the event, and poll again; a longer lease leaves more time.")));
}

static void
refuse_done(const EsSpoken *spoken)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("event " INT64_FORMAT " is not waiting to be acknowledged", spoken->position),
			 errdetail("It was acknowledged already, or it is parked or waits behind a parked event."),
			 errhint("The views eventsource.subscription_partitions and eventsource.parked_events tell.")));
}
