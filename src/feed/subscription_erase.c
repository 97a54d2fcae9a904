/*
 * subscription_erase.c
 *		What subscriptions have of events of a subject that is erased: errors that they
 *		failed with, which may quote them; and leases.
 *
 * That an event is parked stays: it is a tombstone then, or anonymized, which whoever
 * redrives it gets.  What is lent is lent no more, so that nobody can acknowledge, in
 * the transaction that keeps it, what he made of the event as it was.
 *
 * Locks: none, as consumers are kept out (log/cursor.h).  One that is not about the
 * streams any more may have parked some of their events, hence is looked at as others.
 */
#include "feed/subscription.h"

#include "feed/subscription_erase.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/erasing.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "utils/snapmgr.h"

static bool
is_told(const EsErasing *erasing, const EsLine *line, int64 origin)
{
	return line->error != NULL &&
		(es_erasing_find(erasing, line->failing) != NULL || es_erasing_find(erasing, origin) != NULL);
}

/* May what is lent hold one of the events?  Those that a filter leaves out count, too. */
static bool
is_lent(const EsErasing *erasing, const EsSubscription *subscription, const EsPartition *part,
		const EsLane *lane)
{
	int64		after = (lane == NULL ? &part->line : &lane->line)->position;

	for (int64 i = 0; i < erasing->count && erasing->events[i].position <= part->delivered; i++)
	{
		const EsAbout *event = &erasing->events[i];

		if (event->position > after &&
			(lane != NULL ? event->stream_id == lane->stream_id :
			 (int32) es_stream_part(event->stream_id, subscription->partitions) == part->number))
			return true;
	}
	return false;
}

/* How many errors it told of. */
static int64
clear_partition(const EsErasing *erasing, const EsSubscription *subscription, int32 number)
{
	EsPartition part;
	List	   *lanes = es_lane_list(subscription, number, true, SnapshotSelf);
	int64		count = 0;
	bool		ends;
	ListCell   *lc;

	es_partition_read(subscription, number, SnapshotSelf, &part);
	ends = is_lent(erasing, subscription, &part, part.lane == 0 ? NULL : es_lane_find(lanes, part.lane));
	if (ends)
		es_partition_end_lease(&part);
	if (is_told(erasing, &part.line, part.line.failing))
	{
		count++;
		part.line.error = NULL;
	}
	if (ends || count > 0)
		es_partition_write(subscription, &part);
	foreach(lc, lanes)
	{
		EsLane	   *lane = lfirst(lc);

		if (!is_told(erasing, &lane->line, lane->origin))
			continue;
		count++;
		lane->line.error = NULL;
		es_lane_write(subscription, number, lane);
	}
	return count;
}

/* Partitions in which events of the subject's streams are delivered. */
static Bitmapset *
find_partitions(const EsErasing *erasing, const EsSubscription *subscription)
{
	Bitmapset  *found = NULL;

	for (int i = 0; i < erasing->n_streams; i++)
		found = bms_add_member(found, (int) es_stream_part(erasing->streams[i], subscription->partitions));
	return found;
}

static int64
erase_errors(const EsErasing *erasing, void *state)
{
	int64		count = 0;
	ListCell   *lc;

	foreach(lc, es_erasing_is_final(erasing) ? es_config_list(ES_SUBSCRIPTION_KIND) : NIL)
	{
		const EsSubscription *subscription = es_subscription_find(((EsDefinition *) lfirst(lc))->name);
		Bitmapset  *partitions = subscription == NULL ? NULL : find_partitions(erasing, subscription);

		for (int i = bms_next_member(partitions, -1); i >= 0; i = bms_next_member(partitions, i))
		{
			CHECK_FOR_INTERRUPTS();
			count += clear_partition(erasing, subscription, i);
		}
		bms_free(partitions);
	}
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_SUBSCRIPTION_CURSOR));
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_SUBSCRIPTION_PARKED));
	return count;
}

void
es_subscription_erase_init(void)
{
	static const EsEraser eraser = {"errors of subscriptions", NULL, erase_errors};

	es_eraser_register(&eraser);
}
