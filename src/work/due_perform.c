/*
 * due_perform.c
 *		Picking the database's own jobs that are due, and performing them.
 *
 * Each is performed in a subtransaction, so that what fails hinders no other.  An error is
 * counted as an attempt of the job, unless a race was lost or something was short: then it
 * is tried again soon.  What ends the statement (a cancel, a lost connection) is raised.
 *
 * Who performs a job does not lock its row (work/due_run.h).  Sessions keep out of each other's
 * way by SLOTS advisory locks, a job's being that of its number: however many jobs a
 * transaction performs, it takes no more locks than that.  A session skips jobs whose
 * lock another has; that they are performed once is not left to the locks, but to
 * es_run_hold().
 */
#include "work/due.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "log/attempt.h"
#include "log/catalog.h"
#include "log/own_sql.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "rules/pii_use.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/timeout.h"
#include "work/due_run.h"
#include "work/due_step.h"
#include "work/job.h"
#include "work/timeout.h"

#define SLOTS			256

/* Who lends jobs to himself between two transactions. */
#define WORKER			"eventsource worker"

/* After a lost race; after so many in a row it counts as a failure. */
#define POSTPONE		USECS_PER_SEC
#define MAX_POSTPONED	30

/* What is over its time is cancelled again, should it catch that; after so many times its process ends. */
#define AGAIN_MS		1000
#define MAX_CANCELS		3

#define OWN_QUEUES " ('" ES_JOB_REACTION_QUEUE "', '" ES_JOB_TIMEOUT_QUEUE "') "

#define OF_QUEUE(queue, what, state, time, tail) \
	"(SELECT id, turn, run_at, " what " AS is_timeout FROM eventsource.job j WHERE queue = '" queue "' AND state = '" state "'" \
	" AND NOT waits AND " time " <= $1 AND (run_at, turn) > ($2, $3)" \
	" AND (order_key IS NULL OR NOT EXISTS (SELECT 1 FROM eventsource.job e WHERE e.queue = j.queue" \
	" AND e.order_key = j.order_key AND e.turn < j.turn AND e.state IN " ES_JOB_UNFINISHED "))" \
	" " tail " LIMIT $4)"

#define ALL_OF_QUEUE(queue, what) \
	OF_QUEUE(queue, what, "available", "run_at", "ORDER BY priority DESC, run_at, turn") \
	" UNION ALL " \
	OF_QUEUE(queue, what, "scheduled", "run_at", "ORDER BY run_at, turn") \
	" UNION ALL " \
	OF_QUEUE(queue, what, "claimed", "lease_until", "ORDER BY lease_until")

/* For es_attempt(). */
typedef struct TimeOut
{
	int64		id;
	EsTimeoutOutcome outcome;
} TimeOut;

typedef struct Failure
{
	EsRun	   *run;
	const ErrorData *error;
	bool		is_postponed;
} Failure;

static TimeoutId last_resort;

/* What is called may call run_due(), which would perform others inside of this one. */
static bool is_performing = false;

static void collect_item(HeapTuple row, TupleDesc desc, void *arg);
static bool lock_slot(int64 id);
static bool lock_row(int64 id);
static EsJob *find_job(int64 id);
static bool is_due(const EsJob *job, int32 claimed);
static bool is_spent(const EsJob *job);
static bool give_up(EsJob *job);
static void end_run(void *arg);
static ErrorData *perform(void (*work) (void *arg), void *arg, int limit_ms);
static ErrorData *attempt(void (*work) (void *arg), void *arg, int limit_ms);
static void set_limit(TimestampTz end);
static void end_process(void);
static void step(void *arg);
static void end_timeout(void *arg);
static bool is_any(int sqlstate);
static EsDueWork record(EsRun *run, const ErrorData *error, bool *is_left);
static void record_failure(void *arg);
static void log_error(const EsJob *job, const ErrorData *error);
static bool postpone(EsRun *run);
static bool is_passing(int sqlstate);
static bool is_lost_race(int sqlstate);

List *
es_due_pick(const EsDueItem *after, int max)
{
	static EsOwnSql pick = {
		.text = "SELECT id, turn, run_at, is_timeout FROM (" ALL_OF_QUEUE(ES_JOB_REACTION_QUEUE, "false")
		" UNION ALL " ALL_OF_QUEUE(ES_JOB_TIMEOUT_QUEUE, "true") ") j"
		" ORDER BY run_at, turn LIMIT $4",
		.nargs = 4,
		.types = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID}
	};
	Datum		values[] = {
		TimestampTzGetDatum(GetCurrentTimestamp()),
		TimestampTzGetDatum(after == NULL ? DT_NOBEGIN : after->run_at),
		Int64GetDatum(after == NULL ? 0 : after->turn),
		Int32GetDatum(max)
	};
	List	   *items = NIL;

	(void) es_own_sql(&pick, values, NULL, collect_item, &items);
	return items;
}

static void
collect_item(HeapTuple row, TupleDesc desc, void *arg)
{
	List	  **items = arg;
	EsDueItem  *item = palloc(sizeof(EsDueItem));
	bool		isnull;

	item->id = es_own_sql_int64(row, desc, 1);
	item->turn = es_own_sql_int64(row, desc, 2);
	(void) es_own_sql_time(row, desc, 3, &item->run_at);
	item->is_timeout = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
	*items = lappend(*items, item);
}

int32
es_due_claim(const EsDueItem *item, int64 lease)
{
	static EsOwnSql claim = {
		.text = "UPDATE eventsource.job SET state = 'claimed', attempts = attempts + 1, lease_until = $4,"
		" worker = '" WORKER "', claimed_by = NULL WHERE id = $1 AND state = $2 AND attempts = $3",
		.nargs = 4,
		.types = {INT8OID, TEXTOID, INT4OID, TIMESTAMPTZOID}
	};
	EsJob	   *job = lock_slot(item->id) && lock_row(item->id) ? find_job(item->id) : NULL;

	if (job == NULL || !is_due(job, 0))
		return 0;

	/*
	 * The lock is not kept, but who has it now is likely to have it for a
	 * while.
	 */
	if (item->is_timeout && job->stream != NULL && !es_stream_try_lock(job->stream))
		return 0;
	if (is_spent(job))
		(void) give_up(job);
	else
	{
		Datum		values[] = {
			Int64GetDatum(job->id), PointerGetDatum(job->state), Int32GetDatum(job->attempts),
			TimestampTzGetDatum(GetCurrentTimestamp() + lease)
		};

		if (es_own_sql(&claim, values, NULL, NULL, NULL) != 0)
			return job->attempts + 1;
	}
	return 0;
}

void
es_due_release_claims(int64 after)
{
	static EsOwnSql release = {
		.text = "UPDATE eventsource.job SET lease_until = $1 WHERE id IN (SELECT j.id FROM eventsource.job j"
		" WHERE j.queue IN" OWN_QUEUES "AND j.state = 'claimed' AND j.worker = '" WORKER "'"
		" AND j.lease_until > $1 FOR UPDATE SKIP LOCKED)",
		.nargs = 1,
		.types = {TIMESTAMPTZOID}
	};
	Datum		until = TimestampTzGetDatum(GetCurrentTimestamp() + after);

	(void) es_own_sql(&release, &until, NULL, NULL, NULL);
}

bool
es_due_perform(const EsDueItem *item, int32 claimed, int limit_ms, EsDueCounts *counts)
{
	ErrorData  *error;
	EsRun		run;
	EsJob	   *job;
	EsJob		as_found;
	bool		is_left = false;
	TimeOut		timeout = {.id = item->id,.outcome = ES_TIMEOUT_GONE};

	if (claimed == 0 && !lock_slot(item->id))
		return false;
	job = find_job(item->id);
	if (job == NULL || !is_due(job, claimed))
		return true;
	if (claimed == 0 && is_spent(job))
	{
		if (!give_up(job))
			return false;
		counts->count[ES_DUE_FAILED]++;
		return true;
	}
	as_found = *job;
	es_run_read(&run, job);
	if (item->is_timeout)
		error = perform(end_timeout, &timeout, limit_ms);
	else
		error = perform(step, &run, limit_ms);
	if (error != NULL)
	{
		*job = as_found;
		es_run_read(&run, job);
		counts->count[record(&run, error, &is_left)]++;
	}
	else if (run.is_left)
	{
		counts->count[ES_DUE_POSTPONED]++;
		is_left = true;
	}
	else if (!item->is_timeout)
		counts->count[ES_DUE_STEPS]++;
	else if (timeout.outcome == ES_TIMEOUT_APPENDED || timeout.outcome == ES_TIMEOUT_PASSED)
		counts->count[ES_DUE_TIMEOUTS]++;
	else if (timeout.outcome == ES_TIMEOUT_BUSY)
	{
		counts->count[ES_DUE_POSTPONED]++;
		is_left = claimed == 0 || !postpone(&run);
	}
	return !is_left;
}

bool
es_due_is_performing(void)
{
	return is_performing;
}

long
es_due_wait(void)
{
	static EsOwnSql next = {
		.text = "SELECT NULL, NULL, min(run_at), false FROM (SELECT min(run_at) AS run_at FROM eventsource.job"
		" WHERE queue = '" ES_JOB_REACTION_QUEUE "' AND state = 'scheduled' AND run_at > $1 UNION ALL"
		" SELECT min(run_at) FROM eventsource.job WHERE queue = '" ES_JOB_TIMEOUT_QUEUE "' AND state = 'scheduled'"
		" AND run_at > $1 UNION ALL SELECT min(lease_until) FROM eventsource.job"
		" WHERE queue IN" OWN_QUEUES "AND state = 'claimed' AND lease_until > $1) n"
		" WHERE run_at < 'infinity'",
		.nargs = 1,
		.types = {TIMESTAMPTZOID}
	};
	TimestampTz now = GetCurrentTimestamp();
	Datum		value = TimestampTzGetDatum(now);
	List	   *items = NIL;
	EsDueItem  *item;

	(void) es_own_sql(&next, &value, NULL, collect_item, &items);
	item = linitial(items);
	return item->run_at == 0 ? -1 : TimestampDifferenceMilliseconds(now, item->run_at);
}

/* ---- one job ---- */

/* To the end of the transaction; says false if another session has it. */
static bool
lock_slot(int64 id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) (id % SLOTS), ES_LOCK_DUE);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* So that nobody has to be waited for; says false if somebody changes it. */
static bool
lock_row(int64 id)
{
	static EsOwnSql lock = {
		.text = "SELECT FROM eventsource.job WHERE id = $1 FOR UPDATE SKIP LOCKED",
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		value = Int64GetDatum(id);

	return es_own_sql(&lock, &value, NULL, NULL, NULL) > 0;
}

/* As it is now; NULL: it is gone. */
static EsJob *
find_job(int64 id)
{
	static EsOwnSql find = {
		.text = "SELECT" ES_JOB_COLUMNS "FROM eventsource.job j WHERE j.id = $1",
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		value = Int64GetDatum(id);
	List	   *jobs = NIL;

	(void) es_own_sql(&find, &value, NULL, es_job_collect, &jobs);
	return jobs == NIL ? NULL : linitial(jobs);
}

static bool
is_due(const EsJob *job, int32 claimed)
{
	TimestampTz now = GetCurrentTimestamp();

	if (job->finished_at != 0)
		return false;
	if (claimed != 0)
		return job->lease_until != 0 && job->attempts == claimed;
	return job->lease_until != 0 ? job->lease_until <= now : job->run_at <= now;
}

/* Was it claimed again and again, and never performed to an end? */
static bool
is_spent(const EsJob *job)
{
	return job->lease_until != 0 && !es_run_may_try(job);
}

/* Says false if it could not be given up now. */
static bool
give_up(EsJob *job)
{
	EsRun		run;

	es_run_read(&run, job);
	run.is_counted = true;
	return es_attempt(end_run, &run, is_any) == NULL;
}

/* For es_attempt(). */
static void
end_run(void *arg)
{
	es_run_end(arg, ES_JOB_DISCARDED, NULL, ES_JOB_LEASE_EXPIRED, "whoever performed it ended before it was done");
}

static ErrorData *
perform(void (*work) (void *arg), void *arg, int limit_ms)
{
	ErrorData  *volatile error = NULL;

	is_performing = true;
	PG_TRY();
	{
		error = attempt(work, arg, limit_ms);
	}
	PG_FINALLY();
	{
		is_performing = false;
	}
	PG_END_TRY();
	return error;
}

/*
 * As es_attempt(), but that what takes too long is an error like others.  What is cancelled
 * by someone within the time is not.
 */
static ErrorData *
attempt(void (*work) (void *arg), void *arg, int limit_ms)
{
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), limit_ms);
	ErrorData  *volatile error = NULL;

	if (limit_ms == 0)
		return es_attempt(work, arg, is_any);
	set_limit(end);
	PG_TRY();
	{
		error = es_attempt(work, arg, is_any);
	}
	PG_CATCH();
	{
		if (GetCurrentTimestamp() < end)
		{
			disable_timeout(STATEMENT_TIMEOUT, false);
			disable_timeout(last_resort, false);
			PG_RE_THROW();
		}
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	disable_timeout(STATEMENT_TIMEOUT, true);
	disable_timeout(last_resort, false);
	/* It may have come too late to cancel anything. */
	if (get_timeout_indicator(STATEMENT_TIMEOUT, true) || GetCurrentTimestamp() >= end)
		QueryCancelPending = false;
	return error;
}

/* Cancels from then on, until nobody can catch it any more. */
static void
set_limit(TimestampTz end)
{
	static bool is_registered = false;

	if (!is_registered)
		last_resort = RegisterTimeout(USER_TIMEOUT, end_process);
	is_registered = true;
	enable_timeout_every(STATEMENT_TIMEOUT, end, AGAIN_MS);
	enable_timeout_at(last_resort,
					  TimestampTzPlusMilliseconds(end, (MAX_CANCELS - 1) * AGAIN_MS + AGAIN_MS / 2));
}

/* In a signal handler; as if it had been told to terminate. */
static void
end_process(void)
{
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* For es_attempt(). */
static void
step(void *arg)
{
	es_due_step(arg);
	CommandCounterIncrement();
}

static void
end_timeout(void *arg)
{
	TimeOut    *timeout = arg;

	timeout->outcome = es_timeout_execute(timeout->id);
	CommandCounterIncrement();
}

/* Whatever it is, it must not keep others from being performed. */
static bool
is_any(int sqlstate)
{
	return true;
}

/*
 * What became of it.  Nothing is recorded about one that changed meanwhile, or where that fails, too: it
 * is left as it was, and others go on.
 */
static EsDueWork
record(EsRun *run, const ErrorData *error, bool *is_left)
{
	Failure		failure = {.run = run,.error = error,.is_postponed = is_passing(error->sqlerrcode)};
	ErrorData  *lost;

	failure.is_postponed = failure.is_postponed && ++run->postponed < MAX_POSTPONED;
	if (!failure.is_postponed)
		log_error(run->job, error);
	lost = es_attempt(record_failure, &failure, is_any);
	*is_left = lost != NULL;
	if (lost != NULL && !is_passing(lost->sqlerrcode))
		ereport(WARNING,
				(errcode(lost->sqlerrcode),
				 errmsg("could not record that job " INT64_FORMAT " failed", run->job->id),
				 errdetail("It is tried again. SQLSTATE: %s.", unpack_sql_state(lost->sqlerrcode))));
	return lost != NULL || failure.is_postponed ? ES_DUE_POSTPONED : ES_DUE_FAILED;
}

/* It is lent no more; says false if that could not be recorded. */
static bool
postpone(EsRun *run)
{
	Failure		failure = {.run = run,.is_postponed = true};

	return es_attempt(record_failure, &failure, is_any) == NULL;
}

static void
record_failure(void *arg)
{
	Failure    *failure = arg;

	if (failure->is_postponed)
		es_run_postpone(failure->run, GetCurrentTimestamp() + POSTPONE);
	else
		(void) es_run_fail(failure->run, failure->error->sqlerrcode == ERRCODE_QUERY_CANCELED ? "TIMEOUT" :
						   unpack_sql_state(failure->error->sqlerrcode),
						   es_run_is_personal(failure->run->job) ? ES_PII_CONCEALED :
						   failure->error->message);
}

/*
 * The whole of it, in the server's log alone: with the job there is a message at most, and not
 * even that where it may quote personal fields.
 */
static void
log_error(const EsJob *job, const ErrorData *error)
{
	const char *detail = error->detail_log != NULL ? error->detail_log : error->detail;

	ereport(LOG_SERVER_ONLY,
			(errcode(error->sqlerrcode),
			 job->reaction == NULL ?
			 errmsg("job " INT64_FORMAT " failed: %s", job->id, error->message) :
			 errmsg("job " INT64_FORMAT " failed in step %d of reaction \"%s\": %s", job->id, job->step,
					text_to_cstring(job->reaction), error->message),
			 detail == NULL ? 0 : errdetail_internal("%s", detail),
			 error->hint == NULL ? 0 : errhint("%s", error->hint),
			 error->context == NULL ? 0 : (errcontext("%s", error->context))));
}

/* Races, locks and what was short: it says nothing about the job. */
static bool
is_passing(int sqlstate)
{
	return is_lost_race(sqlstate) || sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES);
}

static bool
is_lost_race(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK);
}
