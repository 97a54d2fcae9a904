/*
 * subscription_line.c
 *		What a line of a subscription has to deliver: the wanted events of a
 *		partition from where it is up to the watermark, without the streams that
 *		are held; or those of one held stream, up to the partition's position.
 *
 * The two never meet: what the partition's line passes over because its stream is
 * held is at or below the position that it then has, and so in the lane; and a
 * lane ends (is deleted) only when it has come to that position, under the
 * partition's lock.
 */
#include "feed/subscription.h"

#include "log/attempt.h"
#include "log/event.h"
#include "log/position.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/stream.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

struct EsLineScan
{
	const EsSubscription *subscription;
	EsFinal    *final;
	EsScan	   *scan;			/* NULL: there is nothing */
	bool		is_lane;
	int64		upto;
	int64	   *held;			/* streams, in order */
	int			n_held;
	MemoryContext filter_context;
};

/* Has a lane something to deliver? */
typedef struct Glance
{
	const EsSubscription *subscription;
	const EsPartition *part;
	const EsLane *lane;
	EsFinal    *final;
	bool		has_next;
} Glance;

static void open_lane(EsLineScan *scan, const EsLane *lane);
static void note_held(EsLineScan *scan, const List *lanes);
static bool is_held(const EsLineScan *scan, int64 stream_id);
static int	compare_ids(const void *a, const void *b);
static void glance_at(void *arg);

EsLane *
es_lane_find(const List *lanes, int64 origin)
{
	ListCell   *lc;

	foreach(lc, lanes)
	{
		EsLane	   *lane = lfirst(lc);

		if (lane->origin == origin)
			return lane;
	}
	return NULL;
}

EsLineScan *
es_line_scan_begin(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane,
				   const List *lanes, EsFinal *final, int32 expected)
{
	EsLineScan *scan = palloc0(sizeof(EsLineScan));

	scan->subscription = subscription;
	scan->final = final;
	scan->is_lane = lane != NULL;
	scan->filter_context = AllocSetContextCreate(CurrentMemoryContext, "eventsource subscription filter",
												 ALLOCSET_DEFAULT_SIZES);
	if (lane != NULL)
	{
		scan->upto = lane->is_holding ? part->line.position : lane->origin;
		open_lane(scan, lane);
		return scan;
	}
	scan->upto = Max(es_final_upto(final), part->line.position);
	if (scan->upto == part->line.position)
	{
		if (scan->upto > es_final_upto(final))
			es_position_expect_drawn(scan->upto);
		return scan;
	}
	note_held(scan, lanes);
	scan->scan = es_scan_log(part->line.position, scan->upto, subscription->categories,
							 es_final_snapshot(final));
	if (subscription->partitions > 1)
		es_scan_take_part(scan->scan, part->number, subscription->partitions);
	es_scan_expect(scan->scan, expected);
	es_scan_pack(scan->scan);
	return scan;
}

static void
open_lane(EsLineScan *scan, const EsLane *lane)
{
	if (lane->line.position >= scan->upto)
		return;
	scan->scan = es_scan_stream(es_stream_name(lane->stream_id), lane->version + 1, false,
								es_final_snapshot(scan->final));
	es_scan_pack(scan->scan);
}

static void
note_held(EsLineScan *scan, const List *lanes)
{
	ListCell   *lc;

	if (lanes == NIL)
		return;
	scan->held = palloc(list_length(lanes) * sizeof(int64));
	foreach(lc, lanes)
	{
		const EsLane *lane = lfirst(lc);

		if (lane->is_holding)
			scan->held[scan->n_held++] = lane->stream_id;
	}
	qsort(scan->held, scan->n_held, sizeof(int64), compare_ids);
}

bool
es_line_scan_next(EsLineScan *scan, EsEvent *event)
{
	while (scan->scan != NULL && es_scan_next(scan->scan, event))
	{
		MemoryContext caller;
		bool		wanted;

		if (DatumGetInt64(event->value[ES_EVENT_POSITION]) > scan->upto)
			break;
		if (is_held(scan, event->stream_id))
			continue;
		MemoryContextReset(scan->filter_context);
		caller = MemoryContextSwitchTo(scan->filter_context);
		wanted = es_subscription_wants(scan->subscription, event);
		MemoryContextSwitchTo(caller);
		if (wanted)
			return true;
	}
	return false;
}

/* Category and part are the scan's to see to; what a lane has is of one stream. */
bool
es_line_scan_has_next(EsLineScan *scan)
{
	EsEvent		event;
	HeapTuple	row;

	if (scan->is_lane || scan->subscription->filter_source != NULL)
		return es_line_scan_next(scan, &event);
	if (scan->scan == NULL)
		return false;
	es_scan_spare_names(scan->scan);
	while ((row = es_scan_next_tuple(scan->scan)) != NULL)
		if (!is_held(scan, es_event_stream_id(row)))
			return true;
	return false;
}

void
es_line_scan_note(EsLineScan *scan)
{
	es_final_note(scan->final, scan->scan);
}

int64
es_line_scan_upto(const EsLineScan *scan)
{
	return scan->upto;
}

void
es_line_scan_end(EsLineScan *scan)
{
	if (scan->scan != NULL)
		es_scan_end(scan->scan);
	MemoryContextDelete(scan->filter_context);
	pfree(scan);
}

static bool
is_held(const EsLineScan *scan, int64 stream_id)
{
	return scan->n_held > 0 &&
		bsearch(&stream_id, scan->held, scan->n_held, sizeof(int64), compare_ids) != NULL;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		left = *(const int64 *) a;
	int64		right = *(const int64 *) b;

	return (left > right) - (left < right);
}

bool
es_lane_is_empty(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane)
{
	Glance		glance = {.subscription = subscription,.part = part,.lane = lane,.final = es_final_begin()};
	ErrorData  *error = NULL;

	if (!es_subscription_can_fail(subscription))
		glance_at(&glance);
	else
		error = es_attempt(glance_at, &glance, es_is_of_filter);
	es_final_end(glance.final);
	return error == NULL && !glance.has_next;
}

static void
glance_at(void *arg)
{
	Glance	   *glance = arg;
	EsLineScan *scan = es_line_scan_begin(glance->subscription, glance->part, glance->lane, NIL,
										  glance->final, 1);

	glance->has_next = es_line_scan_has_next(scan);
	es_line_scan_end(scan);
}

bool
es_subscription_can_fail(const EsSubscription *subscription)
{
	return subscription->filter_source != NULL || es_reading_begin() != NULL;
}

/* Not that this query lacks means, or that the transaction is to be tried again. */
bool
es_is_of_filter(int sqlstate)
{
	int			class = ERRCODE_TO_CATEGORY(sqlstate);

	return class != ERRCODE_INSUFFICIENT_RESOURCES && class != ERRCODE_SYSTEM_ERROR &&
		class != ERRCODE_TRANSACTION_ROLLBACK;
}
