/*
 * publish.c
 *		Publishing events: each as one logical message in the WAL (a CloudEvent),
 *		for who decodes that.
 *
 * A publication is a follower of the final feed.  Its messages are transactional, and
 * its cursor moves in the transaction that writes them: so each event is in the
 * stream of decoded messages once, whatever is killed.  They are in order, since the
 * follower's progress is locked until the commit record of that transaction is
 * written, and what is decoded comes in the order of those.  No WAL is flushed before,
 * as our own commit comes behind those of the events.
 *
 * What leaves the database here is what the definer may see: the categories that he
 * reads at that moment, personal fields masked unless he has the right to them.
 *
 * Locks: the publication's progress, to the end of the transaction.
 *
 * Memory: a context per event.
 */
#include "feed/publish.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "feed/cloudevent.h"
#include "feed/worker.h"
#include "log/json.h"
#include "log/position.h"
#include "log/reading.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "rules/category_list.h"
#include "rules/expr.h"
#include "rules/expr_parts.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Events of one subtransaction: of the first one, and at most. */
#define FIRST_STRETCH	100
#define LONGEST_STRETCH	1000

/* Events that the worker publishes before it is another's turn. */
#define EVENTS_PER_TURN	1000

static EsPublication *read_definition(const EsDefinition *definition);
static void apply_stretch(const EsFollower *follower, EsStretch *stretch);
static bool sees_personal(const EsFollower *follower);
static void expect_current(const EsPublication *publication);
static void expect_rights(const EsPublication *publication);
static void publish_event(const EsPublication *publication, EsExpr *filter, EsEvent *event,
						  Snapshot snapshot);
static bool is_behind(const EsPublication *publication, int64 watermark);

List *
es_publication_list(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(ES_PUBLICATION_KIND))
	{
		EsPublication *publication = read_definition(lfirst(lc));

		if (publication != NULL)
			result = lappend(result, publication);
	}
	return result;
}

EsPublication *
es_publication_find(const char *prefix)
{
	EsDefinition *definition = es_config_read(ES_PUBLICATION_KIND, prefix, 0);

	return definition == NULL ? NULL : read_definition(definition);
}

void
es_publication_expect_decoding(void)
{
	if (XLogLogicalInfoActive())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("events cannot be published while wal_level is \"%s\"",
					GetConfigOption("wal_level", false, false)),
			 errdetail("Nobody could decode the messages that are written below level \"logical\", "
					   "and their events would count as published."),
			 errhint("ALTER SYSTEM SET wal_level = logical, and restart the server.")));
}

void
es_publication_run(const EsPublication *publication, const EsFinal *final, int64 max_events,
				   EsFollowed *result)
{
	EsFollower	follower = {
		.name = publication->follower,
		.size = FIRST_STRETCH,
		.max_size = LONGEST_STRETCH,
		.arg = unconstify(EsPublication *, publication),
		.apply = apply_stretch,
		.sees_personal = sees_personal
	};

	es_publication_expect_decoding();
	es_follow_run(&follower, final, max_events, result);
}

/* One transaction is enough for all: what fails in one hinders no other. */
long
es_publication_duty(void)
{
	List	   *publications = es_config_any(ES_PUBLICATION_KIND) ? es_publication_list() : NIL;
	EsFinal    *final;
	bool		is_done = true;
	ListCell   *lc;

	if (publications == NIL)
		return ES_DUTY_IDLE;
	final = es_final_begin();
	foreach(lc, publications)
	{
		EsPublication *publication = lfirst(lc);
		EsFollowed	followed;

		if (!is_behind(publication, es_final_upto(final)))
			continue;
		es_publication_run(publication, final, EVENTS_PER_TURN, &followed);
		is_done &= followed.status != ES_FOLLOW_BEHIND;
		if (followed.events > 0)
			ForceSyncCommit();	/* what is not flushed is not decoded */
		if (followed.status == ES_FOLLOW_PARKED)
			ereport(LOG,
					(errmsg("%s is parked: %s", publication->follower, followed.error),
					 errhint("eventsource.start_publishing(), called again, lets it go on.")));
	}
	es_final_end(final);
	return is_done ? ES_DUTY_IDLE : 0;
}

/* NULL if it was stopped. */
static EsPublication *
read_definition(const EsDefinition *definition)
{
	EsPublication *publication;

	if (strcmp(definition->type, ES_PUBLICATION_DEFINED) != 0)
		return NULL;
	publication = palloc0(sizeof(EsPublication));
	publication->prefix = definition->name;
	publication->version = definition->version;
	publication->follower = es_cursor_name(ES_PUBLICATION_KIND, definition->name);
	publication->definer = definition->owner;
	publication->categories = es_category_list_read(definition->data);
	publication->filter = es_json_find_string(&definition->data->root, "filter");
	es_pace_read(definition->data, NULL, &publication->pace, NULL);
	return publication;
}

/* Its filter cannot; what it is made of could be told by an upcaster's error. */
static bool
sees_personal(const EsFollower *follower)
{
	const EsPublication *publication = follower->arg;

	return OidIsValid(publication->definer) && es_reading_is_trusted(publication->definer) &&
		es_pii_declared(publication->categories, NULL) != NIL;
}

static void
apply_stretch(const EsFollower *follower, EsStretch *stretch)
{
	const EsPublication *publication = follower->arg;
	MemoryContext per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource publication event",
													ALLOCSET_DEFAULT_SIZES);
	EsExprScope scope = {.owner = publication->definer};
	EsExpr	   *filter;
	EsScan	   *scan;
	EsEvent		event;

	expect_current(publication);
	expect_rights(publication);
	filter = publication->filter == NULL ? NULL : es_expr_compile(&scope, publication->filter, BOOLOID, -1);
	scan = es_scan_log(stretch->after, stretch->upto, publication->categories, stretch->snapshot);
	es_scan_expect(scan, stretch->size);
	es_scan_as_stored(scan);	/* an upcaster that fails blames its event */
	stretch->reached = stretch->upto;
	while (stretch->reached == stretch->upto && es_scan_next(scan, &event))
	{
		MemoryContext caller = MemoryContextSwitchTo(per_event);

		CHECK_FOR_INTERRUPTS();
		stretch->at = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		if (++stretch->events == stretch->size)
			stretch->reached = stretch->at;
		publish_event(publication, filter, &event, stretch->snapshot);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_event);
	}
	es_scan_end(scan);
}

/* Who runs it read the definition before the lock was his. */
static void
expect_current(const EsPublication *publication)
{
	EsPublication *now = es_publication_find(publication->prefix);

	if (now != NULL && now->version == publication->version)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("publication \"%s\" is not the one any more that was to be run", publication->prefix),
			 errdetail("It was stopped, or started anew, meanwhile."),
			 errhint("Nothing is to be done.")));
}

/* May the definer still read what it tells? */
static void
expect_rights(const EsPublication *publication)
{
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;

	if (!OidIsValid(publication->definer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that started publication \"%s\" is gone", publication->prefix),
				 errdetail("A publication has the rights of who started it."),
				 errhint("Start it again: SELECT eventsource.start_publishing(prefix => %s, ...).",
						 quote_literal_cstr(publication->prefix))));
	es_expr_enter_room(&room, publication->definer, false, &traits);
	es_rights_expect_read_each(publication->categories, psprintf("publication \"%s\"", publication->prefix));
	es_expr_leave_room(&room);
}

/* In a memory context that lasts for the event. */
static void
publish_event(const EsPublication *publication, EsExpr *filter, EsEvent *event,
			  Snapshot snapshot)
{
	EsBinding	binding = {.event = event};
	Jsonb	   *message;
	char	   *content;

	es_reading_restore(event, publication->definer, snapshot);
	es_reading_upcast(es_reading_begin(), event);
	if (filter != NULL && !es_expr_eval_bool(filter, &binding))
		return;
	message = es_cloudevent_of(event);
	content = JsonbToCString(NULL, &message->root, VARSIZE(message));
	es_compat_log_message(publication->prefix, content, strlen(content));
}

/* One that is parked has nothing to do. */
static bool
is_behind(const EsPublication *publication, int64 watermark)
{
	EsCursor	cursor = {0};
	EsFailure	failure;

	(void) es_cursor_read(publication->follower, GetActiveSnapshot(), &cursor);
	return cursor.position < watermark &&
		!es_cursor_read_failure(publication->follower, GetActiveSnapshot(), &failure);
}
