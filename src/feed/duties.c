/*
 * duties.c
 *		What the worker does for the feed: brings on what follows the log, publishes
 *		events for who decodes the WAL and the watermark for standby servers, notifies
 *		listeners.
 */
#include "postgres.h"

#include "commands/async.h"
#include "feed/publish.h"
#include "feed/run.h"
#include "feed/worker.h"
#include "feed/worker_slots.h"
#include "log/position.h"
#include "log/published.h"
#include "utils/memutils.h"

/* Events that a follower deals with in one transaction, before it is another's turn. */
#define EVENTS_PER_TURN		1000

static List *copy_names(List *names);

/*
 * A turn of one follower, after a first call that finds out which are due.  What
 * is still behind has another turn after the others.
 */
static long
follow(void)
{
	static List *waiting;		/* of char *, in TopMemoryContext */
	char	   *name;
	EsFollowed	result;
	MemoryContext context;

	if (waiting == NIL)
	{
		waiting = copy_names(es_run_list_due(es_position_watermark()));
		return waiting == NIL ? ES_DUTY_IDLE : 0;
	}

	/* Whatever happens, the next call has the next one's turn. */
	name = pstrdup(linitial(waiting));
	pfree(linitial(waiting));
	waiting = list_delete_first(waiting);
	if (!es_run_one(name, EVENTS_PER_TURN, &result))
		return 0;
	if (result.status == ES_FOLLOW_PARKED)
		ereport(LOG,
				(errmsg("%s is parked: %s", name, result.error),
				 errhint("eventsource.resume_projection() lets a projection go on, eventsource.resume_handler() a handler.")));
	if (result.status == ES_FOLLOW_BEHIND)
	{
		context = MemoryContextSwitchTo(TopMemoryContext);
		waiting = lappend(waiting, pstrdup(name));
		MemoryContextSwitchTo(context);
	}

	/*
	 * Others may have got new events meanwhile, but only who asks again
	 * knows.
	 */
	return waiting == NIL ? ES_DUTY_IDLE : 0;
}

static List *
copy_names(List *names)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	List	   *copy = NIL;
	ListCell   *lc;

	foreach(lc, names)
		copy = lappend(copy, pstrdup(lfirst(lc)));
	MemoryContextSwitchTo(old);
	return copy;
}

/* A row is written: not more often than it would be without events. */
static long
publish(void)
{
	static TimestampTz published_at;
	TimestampTz now = GetCurrentTimestamp();

	/* Also at once if the clock was set back. */
	long		waited = published_at == 0 || published_at > now ? es_guc_worker_interval :
		TimestampDifferenceMilliseconds(published_at, now);

	if (waited < es_guc_worker_interval)
		return es_guc_worker_interval - waited;
	published_at = now;
	(void) es_published_advance();
	return ES_DUTY_IDLE;
}

static long
notify(void)
{
	static int64 notified = -1;
	int64		mark;
	char		payload[32];

	if (es_guc_worker_notify_channel[0] == '\0')
		return ES_DUTY_IDLE;
	mark = es_position_watermark();
	if (mark == notified)
		return ES_DUTY_IDLE;
	snprintf(payload, sizeof(payload), INT64_FORMAT, mark);
	Async_Notify(es_guc_worker_notify_channel, payload);
	notified = mark;
	return ES_DUTY_IDLE;
}

void
es_duties_init(void)
{
	es_worker_add_duty("bringing on projections and handlers", follow);
	es_worker_add_duty("publishing events", es_publication_duty);
	es_worker_add_duty("publishing the watermark", publish);
	es_worker_add_duty("notifying listeners", notify);
}
