/*
 * subscription_erase.c
 *		What subscriptions say about events of a subject that is erased: the errors that
 *		they failed with, which may quote them.
 *
 * That an event is parked stays: it is a tombstone then, or anonymized, which whoever
 * redrives it gets.
 *
 * Locks: the partitions that the subject's streams are in, of every subscription (one
 * that is about them no longer may have parked some), before these streams are locked,
 * as consumers do who append what they make of an event; a consumer who is at one is
 * waited for.
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

/* Partitions in which events of the subject's streams are delivered. */
static Bitmapset *
find_partitions(const EsErasing *erasing, const EsSubscription *subscription)
{
	Bitmapset  *found = NULL;

	for (int i = 0; i < erasing->n_streams; i++)
		found = bms_add_member(found, (int) es_stream_part(erasing->streams[i], subscription->partitions));
	return found;
}

/* Calls visit() for each of them. */
static int64
visit_partitions(const EsErasing *erasing,
				 int64 (*visit) (const EsErasing *erasing, const EsSubscription *subscription, int32 number))
{
	int64		result = 0;
	ListCell   *lc;

	foreach(lc, es_erasing_is_final(erasing) ? es_config_list(ES_SUBSCRIPTION_KIND) : NIL)
	{
		const EsSubscription *subscription = es_subscription_find(((EsDefinition *) lfirst(lc))->name);
		Bitmapset  *partitions = subscription == NULL ? NULL : find_partitions(erasing, subscription);

		for (int i = bms_next_member(partitions, -1); i >= 0; i = bms_next_member(partitions, i))
		{
			CHECK_FOR_INTERRUPTS();
			result += visit(erasing, subscription, i);
		}
		bms_free(partitions);
	}
	return result;
}

static int64
lock_partition(const EsErasing *erasing, const EsSubscription *subscription, int32 number)
{
	es_partition_lock(subscription, number);
	return 0;
}

/* Whoever is about to say something has said it then, or sees that he must not. */
static void
await_consumers(const EsErasing *erasing)
{
	(void) visit_partitions(erasing, lock_partition);
}

static int64
clear_partition(const EsErasing *erasing, const EsSubscription *subscription, int32 number)
{
	EsPartition part;
	int64		count = 0;
	ListCell   *lc;

	es_partition_lock(subscription, number);
	es_partition_read(subscription, number, SnapshotSelf, &part);
	if (is_told(erasing, &part.line, part.line.failing))
	{
		count++;
		part.line.error = NULL;
		es_partition_write(subscription, &part);
	}
	foreach(lc, es_lane_list(subscription, number, true, SnapshotSelf))
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

static int64
erase_errors(const EsErasing *erasing, void *state)
{
	int64		count = visit_partitions(erasing, clear_partition);

	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_SUBSCRIPTION_CURSOR));
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_SUBSCRIPTION_PARKED));
	return count;
}

void
es_subscription_erase_init(void)
{
	static const EsEraser eraser = {.target = "errors of subscriptions",.erase = erase_errors,.await_streams = await_consumers};

	es_eraser_register(&eraser);
}
