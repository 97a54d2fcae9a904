/*
 * subscription_erase.c
 *		What subscriptions say about events of a subject that is erased: the errors that
 *		they failed with, which may quote them.
 *
 * That an event is parked stays: it is a tombstone then, or anonymized, which whoever
 * redrives it gets.
 *
 * Locks: those partitions alone that have such an error; a consumer who is at one is
 * waited for.
 */
#include "feed/subscription.h"

#include "feed/subscription_erase.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/erasing.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

static bool
is_told(const EsErasing *erasing, const EsLine *line, int64 origin)
{
	return line->error != NULL &&
		(es_erasing_find(erasing, line->failing) != NULL || es_erasing_find(erasing, origin) != NULL);
}

/* Clears them, or only counts. */
static int64
visit_partition(const EsErasing *erasing, const EsSubscription *subscription, int32 number,
				Snapshot snapshot, bool clears)
{
	EsPartition part;
	int64		count = 0;
	ListCell   *lc;

	es_partition_read(subscription, number, snapshot, &part);
	if (is_told(erasing, &part.line, part.line.failing))
	{
		count++;
		part.line.error = NULL;
		if (clears)
			es_partition_write(subscription, &part);
	}
	foreach(lc, es_lane_list(subscription, number, true, snapshot))
	{
		EsLane	   *lane = lfirst(lc);

		if (!is_told(erasing, &lane->line, lane->origin))
			continue;
		count++;
		lane->line.error = NULL;
		if (clears)
			es_lane_write(subscription, number, lane);
	}
	return count;
}

static int64
erase_errors(const EsErasing *erasing, void *state)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int64		count = 0;
	ListCell   *lc;

	foreach(lc, es_erasing_is_final(erasing) ? es_config_list(ES_SUBSCRIPTION_KIND) : NIL)
	{
		const EsSubscription *subscription = es_subscription_find(((EsDefinition *) lfirst(lc))->name);

		for (int32 i = 0; subscription != NULL && i < subscription->partitions; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (visit_partition(erasing, subscription, i, snapshot, false) == 0)
				continue;
			es_partition_lock(subscription, i);
			count += visit_partition(erasing, subscription, i, SnapshotSelf, true);
		}
	}
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_SUBSCRIPTION_CURSOR));
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_SUBSCRIPTION_PARKED));
	UnregisterSnapshot(snapshot);
	return count;
}

void
es_subscription_erase_init(void)
{
	static const EsEraser eraser = {"errors of subscriptions", NULL, erase_errors};

	es_eraser_register(&eraser);
}
