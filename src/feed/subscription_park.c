/*
 * subscription_park.c
 *		redrive and discard: what is done by hand about parked events.
 *
 * Both hold the partition's lock, and are recorded as events.
 */
#include "feed/subscription.h"

#include "append/define.h"
#include "errors.h"
#include "fmgr.h"
#include "log/json.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_redrive);
PG_FUNCTION_INFO_V1(eventsource_discard);

static EsLane *lock_parked(FunctionCallInfo fcinfo, EsSpoken *spoken);
static bool is_empty(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane);
static void record(const EsSpoken *spoken, const char *type, const char *reason);

/* redrive(subscription, event_position): it is delivered once more, and then what waits behind it. */
Datum
eventsource_redrive(PG_FUNCTION_ARGS)
{
	EsSpoken	spoken;
	EsLane	   *lane;

	PreventCommandIfReadOnly("eventsource.redrive()");
	lane = lock_parked(fcinfo, &spoken);
	lane->is_parked = false;
	lane->line.single_upto = Max(lane->line.single_upto, spoken.position);
	es_line_forgive(&lane->line);
	es_lane_write(spoken.subscription, spoken.partition, lane);
	record(&spoken, "event_redriven", NULL);
	PG_RETURN_VOID();
}

/* discard(subscription, event_position, reason): only what waits behind it is delivered. */
Datum
eventsource_discard(PG_FUNCTION_ARGS)
{
	EsSpoken	spoken;
	EsPartition part;
	EsLane	   *lane;

	PreventCommandIfReadOnly("eventsource.discard()");
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reason must not be null"),
				 errdetail("It is recorded why an event is never to be delivered."),
				 errhint("For example: SELECT eventsource.discard('mailer', 42, 'address is gone').")));
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason must not be empty"),
				 errdetail("It is recorded why an event is never to be delivered."),
				 errhint("For example: SELECT eventsource.discard('mailer', 42, 'address is gone').")));
	lane = lock_parked(fcinfo, &spoken);
	es_partition_read(spoken.subscription, spoken.partition, SnapshotSelf, &part);
	lane->is_parked = false;
	lane->line.position = spoken.position;
	lane->version = spoken.version;
	es_line_forgive(&lane->line);
	if (is_empty(spoken.subscription, &part, lane))
		es_lane_delete(lane);
	else
		es_lane_write(spoken.subscription, spoken.partition, lane);
	record(&spoken, "event_discarded", text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_VOID();
}

static EsLane *
lock_parked(FunctionCallInfo fcinfo, EsSpoken *spoken)
{
	ListCell   *lc;

	es_spoken_read(fcinfo, false, spoken);
	es_partition_lock(spoken->subscription, spoken->partition);
	foreach(lc, es_lane_list(spoken->subscription, spoken->partition, true, SnapshotSelf))
	{
		EsLane	   *lane = lfirst(lc);

		if (lane->is_parked && lane->line.failing == spoken->position)
			return lane;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("event " INT64_FORMAT " is not parked", spoken->position),
			 errdetail("Subscription \"%s\" has not parked it, or it was redriven or discarded already.",
					   spoken->subscription->name),
			 errhint("The view eventsource.parked_events lists what is parked.")));
}

/*
 * What is lent of the partition's line was chosen while the stream was held, and the
 * position has yet to pass over its events.
 */
static bool
is_empty(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane)
{
	return !(lane->is_holding && part->delivered != 0 && part->lane == 0) &&
		es_lane_is_empty(subscription, part, lane);
}

static void
record(const EsSpoken *spoken, const char *type, const char *reason)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "position", spoken->position);
	if (reason != NULL)
		es_json_push_string(&state, "reason", reason);
	(void) es_define(ES_PARKING_KIND, spoken->subscription->name, type,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
