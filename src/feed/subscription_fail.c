/*
 * subscription_fail.c
 *		What happens when an event fails: it is counted, tried again, and in the
 *		end parked.
 *
 * Whoever calls holds the partition's lock.
 */
#include "feed/subscription.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"

static bool find_head(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane,
					  EsFinal *final, EsEvent *head, EsLineScan **scan);
static bool park_head(const EsSubscription *subscription, EsPartition *part, EsLane *lane, EsFinal *final);
static void park(const EsSubscription *subscription, EsPartition *part, EsLane *lane, const EsEvent *event);

void
es_line_fail(const EsSubscription *subscription, EsPartition *part, EsLane *lane, int64 position,
			 text *error, EsFinal *final)
{
	EsLine	   *line = lane == NULL ? &part->line : &lane->line;

	if (line->failing != position)
		es_line_forgive(line);
	line->failing = position;
	/* Beyond that it only waits for its turn to be parked. */
	if (line->attempts < subscription->max_attempts)
		line->attempts++;
	line->error = error;
	line->retry_at = GetCurrentTimestamp() + subscription->retry_delay;
	line->single_upto = Max(line->single_upto, position);
	if (line->attempts >= subscription->max_attempts)
		(void) park_head(subscription, part, lane, final);
	if (lane != NULL)
		es_lane_write(subscription, part->number, lane);
	es_partition_write(subscription, part);
}

bool
es_line_park_next(const EsSubscription *subscription, EsPartition *part, EsLane *lane, EsFinal *final)
{
	const EsLine *line = lane == NULL ? &part->line : &lane->line;

	if (line->failing == 0 || line->attempts < subscription->max_attempts ||
		!park_head(subscription, part, lane, final))
		return false;
	if (lane != NULL)
		es_lane_write(subscription, part->number, lane);
	es_partition_write(subscription, part);
	return true;
}

/* Parks the event that is failing if it is the next one; false if it is not. */
static bool
park_head(const EsSubscription *subscription, EsPartition *part, EsLane *lane, EsFinal *final)
{
	int64		failing = (lane == NULL ? &part->line : &lane->line)->failing;
	EsLineScan *scan;
	EsEvent		head;
	bool		result;

	result = find_head(subscription, part, lane, final, &head, &scan) &&
		DatumGetInt64(head.value[ES_EVENT_POSITION]) == failing;
	if (result)
		park(subscription, part, lane, &head);
	es_line_scan_end(scan);
	return result;
}

void
es_partition_expire(const EsSubscription *subscription, EsPartition *part, EsFinal *final)
{
	List	   *lanes = es_lane_list(subscription, part->number, false, SnapshotSelf);
	EsLane	   *lane = part->lane == 0 ? NULL : es_lane_find(lanes, part->lane);
	EsLine	   *line = lane == NULL ? &part->line : &lane->line;
	bool		is_over = part->lease_until <= GetCurrentTimestamp();
	text	   *error = cstring_to_text(psprintf(is_over ? "the lease of consumer \"%s\" ended without a word" :
												 "consumer \"%s\" began anew without a word on what it had",
												 text_to_cstring(part->consumer)));
	EsEvent		head;
	EsLineScan *scan;
	int64		position = 0;

	line->single_upto = Max(line->single_upto, part->delivered);
	es_partition_end_lease(part);
	if (find_head(subscription, part, lane, final, &head, &scan))
		position = DatumGetInt64(head.value[ES_EVENT_POSITION]);
	es_line_scan_end(scan);
	if (position != 0)
		es_line_fail(subscription, part, lane, position, error, final);
	else
		es_partition_write(subscription, part);
}

/* The event that the line delivers next; valid until the scan is ended. */
static bool
find_head(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane,
		  EsFinal *final, EsEvent *head, EsLineScan **scan)
{
	List	   *lanes = es_lane_list(subscription, part->number, false, SnapshotSelf);

	*scan = es_line_scan_begin(subscription, part, lane, lanes, final, 1);
	return es_line_scan_next(*scan, head);
}

/* A lane is parked as it is; the partition's line goes on behind the event. */
static void
park(const EsSubscription *subscription, EsPartition *part, EsLane *lane, const EsEvent *event)
{
	int64		position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	EsLane		parked = {
		.origin = position,
		.is_parked = true,
		.is_holding = subscription->holds,
		.line = part->line,
		.stream_id = event->stream_id,
		.version = DatumGetInt64(event->value[ES_EVENT_VERSION]) - 1,
		.parked_at = GetCurrentTimestamp()
	};

	if (lane != NULL)
	{
		lane->is_parked = true;
		lane->parked_at = parked.parked_at;
		lane->line.retry_at = DT_NOBEGIN;
		return;
	}
	parked.line.position = position - 1;
	parked.line.single_upto = position;
	parked.line.retry_at = DT_NOBEGIN;
	es_lane_insert(subscription, part->number, &parked);
	part->line.position = position;
	es_line_forgive(&part->line);
}
