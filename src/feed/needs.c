/*
 * needs.c
 *		Which events the followers of the log still need: subscriptions, projections
 *		in mode async, handlers, copies of categories, publications.
 *
 * Each needs what comes after its position in the categories that it reads, whether a
 * filter wants it or not; a batch that is lent is after it.  A subscription also needs
 * all of a stream of which it has parked an event, until that is discarded, or
 * redriven and dealt with: the events behind it wait for it.  One that was restored
 * without its progress needs all.
 *
 * No locks: progress only goes forward, and is read as it is committed.
 */
#include "postgres.h"

#include "feed/copy.h"
#include "feed/handler.h"
#include "feed/needs.h"
#include "feed/publish.h"
#include "feed/subscription.h"
#include "log/config.h"
#include "log/cursor.h"
#include "log/needs.h"
#include "project/apply.h"
#include "rules/category_list.h"
#include "utils/snapmgr.h"

static EsNeed *
new_need(const char *kind, const char *name, List *categories, int64 after)
{
	EsNeed	   *need = palloc0(sizeof(EsNeed));

	need->who = psprintf("%s %s", kind, name);
	need->categories = categories;
	need->after = after;
	return need;
}

static int64
cursor_position(const char *follower)
{
	EsCursor	cursor;

	return es_cursor_read(follower, SnapshotSelf, &cursor) ? cursor.position : 0;
}

static List *
list_projections(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);
		EsDefinition *definition = es_config_read("projection", async->name, 0);

		if (definition != NULL)
			result = lappend(result, new_need("projection", async->name, es_category_list_read(definition->data),
											  es_apply_position(async->name, SnapshotSelf)));
	}
	return result;
}

static List *
list_handlers(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_handler_list())
	{
		EsHandler  *handler = lfirst(lc);

		result = lappend(result, new_need("handler", handler->name, handler->categories,
										  cursor_position(handler->follower)));
	}
	return result;
}

static List *
list_publications(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_publication_list())
	{
		EsPublication *publication = lfirst(lc);

		result = lappend(result, new_need("publication", publication->prefix, publication->categories,
										  cursor_position(publication->follower)));
	}
	return result;
}

static List *
list_copies(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_names(ES_COPY_KIND))
	{
		EsCopy	   *copy = es_copy_find(lfirst(lc));

		if (copy != NULL)
			result = lappend(result, new_need("copy to", copy->to, list_make1(unconstify(char *, copy->from)),
											  cursor_position(copy->follower)));
	}
	return result;
}

/* Its definition alone is read, since a filter may no longer compile. */
static List *
list_subscriptions(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(ES_SUBSCRIPTION_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		ListCell   *stream;

		if (strcmp(definition->type, ES_SUBSCRIPTION_DEFINED) != 0)
			continue;
		result = lappend(result, new_need("subscription", definition->name, es_category_list_read(definition->data),
										  es_partition_slowest(definition->name)));
		foreach(stream, es_lane_streams(definition->name))
		{
			EsNeed	   *need = new_need("parked events of subscription", definition->name, NIL, 0);

			need->stream_id = *(int64 *) lfirst(stream);
			result = lappend(result, need);
		}
	}
	return result;
}

static List *
list_needs(void)
{
	List	   *result = list_concat(list_concat(list_subscriptions(), list_projections()),
									 list_concat(list_handlers(), list_copies()));

	return list_concat(result, list_publications());
}

void
es_feed_needs_init(void)
{
	es_needs_register(list_needs);
}
