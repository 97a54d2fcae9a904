/*
 * due_house.c
 *		What time does to jobs besides: leases end, dead letters are alarming,
 *		finished jobs are forgotten.
 *
 * Locks: rows, skipping those that others have.
 */
#include "work/due.h"

#include "append/timer.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "log/own_sql.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "work/job.h"

PG_FUNCTION_INFO_V1(eventsource_close_alert);

/* Dead letters that an alert names. */
#define SAMPLE	"10"

/* How long timeouts are kept whose state was left first. */
#define KEEP_LEFT	USECS_PER_DAY

static int64 end_leases(int64 max_rows);
static List *list_queues(void);
static void collect_queue(HeapTuple row, TupleDesc desc, void *arg);
static int64 raise_alert(const text *queue);
static int64 close_alerts(const text *queue);
static int64 forget(const text *queue, int64 max_rows);
static void forget_alerts(const text *queue);

bool
es_due_keep_house(int64 max_rows, int64 max_forgotten, EsDueCounts *counts)
{
	bool		has_more = false;
	List	   *queues;
	ListCell   *lc;

	counts->count[ES_DUE_LEASES] += end_leases(max_rows);
	CommandCounterIncrement();
	queues = list_queues();
	foreach(lc, queues)
	{
		const text *queue = lfirst(lc);
		int64		forgotten;

		CHECK_FOR_INTERRUPTS();
		counts->count[ES_DUE_ALERTS] += raise_alert(queue) + close_alerts(queue);
		forgotten = forget(queue, max_forgotten);
		has_more = has_more || forgotten >= max_forgotten;
		counts->count[ES_DUE_FORGOTTEN] += forgotten;
		forget_alerts(queue);
	}
	return has_more;
}

/* ---- leases ---- */

/* Of users' queues; our own are made due by es_due_pick(). */
static int64
end_leases(int64 max_rows)
{
	static EsOwnSql find = {
		.text = "SELECT DISTINCT queue FROM (SELECT j.queue FROM eventsource.job j WHERE j.state = 'claimed'"
		" AND j.lease_until <= $1 AND j.queue NOT LIKE '$%' LIMIT $2) q ORDER BY queue",
		.nargs = 2,
		.types = {TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[] = {TimestampTzGetDatum(GetCurrentTimestamp()), Int64GetDatum(max_rows)};
	List	   *queues = NIL;
	ListCell   *lc;
	int64		ended = 0;

	(void) es_own_sql(&find, values, NULL, collect_queue, &queues);
	foreach(lc, queues)
		ended += es_job_look_at_clock(lfirst(lc), (int) max_rows);
	return ended;
}

/* ---- queues that have finished jobs, or alerts ---- */

/* One probe of the index for each. */
static List *
list_queues(void)
{
	static EsOwnSql list = {
		.text = "WITH RECURSIVE q (queue) AS ("
		"SELECT min(queue) FROM eventsource.job WHERE finished_at IS NOT NULL UNION ALL"
		" SELECT (SELECT min(j.queue) FROM eventsource.job j WHERE j.finished_at IS NOT NULL AND j.queue > q.queue)"
		" FROM q WHERE q.queue IS NOT NULL)"
		" SELECT queue FROM q WHERE queue IS NOT NULL"
		" UNION SELECT queue FROM eventsource.alert ORDER BY queue"
	};
	List	   *queues = NIL;

	(void) es_own_sql(&list, NULL, NULL, collect_queue, &queues);
	return queues;
}

static void
collect_queue(HeapTuple row, TupleDesc desc, void *arg)
{
	List	  **queues = arg;

	*queues = lappend(*queues, es_own_sql_text(row, desc, 1));
}

/* ---- alerts ---- */

/*
 * Of the jobs that were given up in the last hour (since $3); but not of those before an alert was
 * closed.  No others are looked at, of which there may be many more.
 */
#define DEAD \
	" FROM eventsource.job j WHERE j.queue = $1 AND j.state = 'discarded'" \
	" AND j.finished_at > greatest($3, (SELECT max(a.closed_at) FROM eventsource.alert a" \
	" WHERE a.queue = $1 AND a.closed_by IS NOT NULL)) ORDER BY j.finished_at DESC"

/* One more than are allowed are counted, no more. */
static int64
raise_alert(const text *queue)
{
	static EsOwnSql raise = {
		.text = "INSERT INTO eventsource.alert (id, queue, opened_at, dead_letters, sample)"
		" SELECT nextval('eventsource.alert_seq'), $1, clock_timestamp(), count(*),"
		" (SELECT array_agg(s.id ORDER BY s.id) FROM (SELECT j.id" DEAD " LIMIT " SAMPLE ") s)"
		" FROM (SELECT 1" DEAD " LIMIT $2 + 1) d HAVING count(*) > $2"
		" ON CONFLICT (queue) WHERE closed_at IS NULL DO NOTHING",
		.nargs = 3,
		.types = {TEXTOID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[] = {
		PointerGetDatum(queue), Int64GetDatum(es_queue_get(queue)->max_dead_per_hour),
		TimestampTzGetDatum(GetCurrentTimestamp() - USECS_PER_HOUR)
	};

	return es_own_sql(&raise, values, NULL, NULL, NULL);
}

static int64
close_alerts(const text *queue)
{
	static EsOwnSql close = {
		.text = "UPDATE eventsource.alert SET closed_at = clock_timestamp() WHERE queue = $1 AND closed_at IS NULL"
		" AND (SELECT count(*) FROM (SELECT 1" DEAD " LIMIT $2 + 1) d) <= $2",
		.nargs = 3,
		.types = {TEXTOID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[] = {
		PointerGetDatum(queue), Int64GetDatum(es_queue_get(queue)->max_dead_per_hour),
		TimestampTzGetDatum(GetCurrentTimestamp() - USECS_PER_HOUR)
	};

	return es_own_sql(&close, values, NULL, NULL, NULL);
}

/* close_alert(id): was it open? */
Datum
eventsource_close_alert(PG_FUNCTION_ARGS)
{
	static EsOwnSql find = {
		.text = "SELECT queue FROM eventsource.alert WHERE id = $1",
		.nargs = 1,
		.types = {INT8OID}
	};
	static EsOwnSql close = {
		.text = "UPDATE eventsource.alert SET closed_at = clock_timestamp(), closed_by = $2"
		" WHERE id = $1 AND closed_at IS NULL",
		.nargs = 2,
		.types = {INT8OID, TEXTOID}
	};
	Datum		values[] = {PG_GETARG_DATUM(0), CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))};
	List	   *queues = NIL;

	PreventCommandIfReadOnly("eventsource.close_alert()");
	(void) es_own_sql(&find, values, NULL, collect_queue, &queues);
	if (queues == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no alert " INT64_FORMAT, PG_GETARG_INT64(0)),
				 errdetail("Alerts are numbered as they are raised."),
				 errhint("SELECT * FROM eventsource.alerts.")));
	es_queue_expect_worker(linitial(queues));
	PG_RETURN_BOOL(es_own_sql(&close, values, NULL, NULL, NULL) > 0);
}

/* ---- forgetting ---- */

/* But not those that a run still waits for, which will be told soon. */
#define FORGET(which) \
	"DELETE FROM eventsource.job WHERE id = ANY (ARRAY(SELECT j.id FROM eventsource.job j WHERE j.queue = $1" \
	" AND " which " AND j.finished_at < $2 AND j.run IS NULL LIMIT $3 FOR UPDATE SKIP LOCKED))"

static int64
forget(const text *queue, int64 max_rows)
{
	static EsOwnSql forget = {
		.text = FORGET("j.state = ANY ('{done,cancelled,discarded}')"),
		.nargs = 3,
		.types = {TEXTOID, TIMESTAMPTZOID, INT8OID}
	};
	static EsOwnSql forget_left = {
		.text = FORGET("j.state = 'cancelled' AND j.finish_reason = '" ES_TIMER_LEFT "'"),
		.nargs = 3,
		.types = {TEXTOID, TIMESTAMPTZOID, INT8OID}
	};
	TimestampTz now = GetCurrentTimestamp();
	Datum		values[] = {
		PointerGetDatum(queue), TimestampTzGetDatum(now - es_queue_get(queue)->keep), Int64GetDatum(max_rows)
	};
	int64		forgotten = es_own_sql(&forget, values, NULL, NULL, NULL);

	if (strcmp(text_to_cstring(queue), ES_JOB_TIMEOUT_QUEUE) != 0 || forgotten >= max_rows)
		return forgotten;

	/*
	 * Each change of a timed state leaves one; they tell nothing that its
	 * events do not.
	 */
	values[1] = TimestampTzGetDatum(now - KEEP_LEFT);
	values[2] = Int64GetDatum(max_rows - forgotten);
	return forgotten + es_own_sql(&forget_left, values, NULL, NULL, NULL);
}

static void
forget_alerts(const text *queue)
{
	static EsOwnSql forget = {
		.text = "DELETE FROM eventsource.alert WHERE queue = $1 AND closed_at < $2",
		.nargs = 2,
		.types = {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[] = {
		PointerGetDatum(queue), TimestampTzGetDatum(GetCurrentTimestamp() - es_queue_get(queue)->keep)
	};

	(void) es_own_sql(&forget, values, NULL, NULL, NULL);
}
