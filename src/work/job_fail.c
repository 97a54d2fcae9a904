/*
 * job_fail.c
 *		complete, fail, heartbeat: what a worker says about a job that it was lent.
 *
 * A job stays lent after the end of its lease until somebody looks: who is late, and
 * comes first, may still say what became of it.
 */
#include "work/job.h"

#include "append/job_order.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "log/own_sql.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(eventsource_complete);
PG_FUNCTION_INFO_V1(eventsource_fail);
PG_FUNCTION_INFO_V1(eventsource_heartbeat);

static EsJob *lock_lent(int64 id, const text *worker, int32 attempt);
static bool is_lent_to(const EsJob *job, const text *worker, int32 attempt);
ES_NORETURN static void refuse_not_lent(int64 id, const text *worker, int32 attempt);
static const text *cut_message(const text *message);

/* complete(job_id, result, worker, attempt) */
Datum
eventsource_complete(PG_FUNCTION_ARGS)
{
	EsJobFinish finish = {.end = ES_JOB_DONE};
	int64		id;

	PreventCommandIfReadOnly("eventsource.complete()");
	es_job_expect_argument(fcinfo, 0, "job_id", "SELECT eventsource.complete(42)");
	id = PG_GETARG_INT64(0);
	finish.result = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	finish.worker = es_job_worker(PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	finish.attempt = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	if (es_job_finish(id, &finish) == NULL)
		refuse_not_lent(id, finish.worker, finish.attempt);
	PG_RETURN_VOID();
}

/* fail(job_id, error_code, message, retry_at, worker, attempt): the new state */
Datum
eventsource_fail(PG_FUNCTION_ARGS)
{
	EsJobFailure failure = {0};
	const text *worker;
	EsJob	   *job;

	PreventCommandIfReadOnly("eventsource.fail()");
	es_job_expect_argument(fcinfo, 0, "job_id", "SELECT eventsource.fail(42, 'TIMEOUT')");
	es_job_expect_argument(fcinfo, 1, "error_code", "SELECT eventsource.fail(42, 'TIMEOUT')");
	failure.code = es_job_text_argument(fcinfo, 1, "error_code", ES_MAX_WORD);
	failure.message = PG_ARGISNULL(2) ? NULL : cut_message(PG_GETARG_TEXT_PP(2));
	failure.has_retry_at = !PG_ARGISNULL(3);
	if (failure.has_retry_at)
	{
		failure.retry_at = PG_GETARG_TIMESTAMPTZ(3);
		if (TIMESTAMP_NOT_FINITE(failure.retry_at))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("retry_at is out of range"),
					 errdetail("It must be a moment, not infinity."),
					 errhint("Leave it out to have the queue's policy say when.")));
	}
	worker = es_job_worker(PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4));
	job = lock_lent(PG_GETARG_INT64(0), worker, PG_ARGISNULL(5) ? 0 : PG_GETARG_INT32(5));
	job = es_job_fail(job, &failure);
	PG_RETURN_TEXT_P(unconstify(text *, job->state));
}

/* heartbeat(job_id, lease, worker, attempt): when the lease ends now */
Datum
eventsource_heartbeat(PG_FUNCTION_ARGS)
{
	static EsOwnSql extend = {
		.text = "UPDATE eventsource.job SET lease_until = $2 WHERE id = $1",
		.nargs = 2,
		.types = {INT8OID, TIMESTAMPTZOID}
	};
	const text *worker;
	EsJob	   *job;
	int64		lease = 0;
	Datum		values[2];

	PreventCommandIfReadOnly("eventsource.heartbeat()");
	es_job_expect_argument(fcinfo, 0, "job_id", "SELECT eventsource.heartbeat(42)");
	if (!PG_ARGISNULL(1))
		lease = es_queue_length(PG_GETARG_INTERVAL_P(1), "lease", 1);
	worker = es_job_worker(PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	job = lock_lent(PG_GETARG_INT64(0), worker, PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3));
	if (lease == 0)
		lease = es_queue_get(job->queue)->lease;
	values[0] = Int64GetDatum(job->id);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp() + lease);
	(void) es_own_sql(&extend, values, NULL, NULL, NULL);
	PG_RETURN_DATUM(values[1]);
}

/* ---- whose it is ---- */

static EsJob *
lock_lent(int64 id, const text *worker, int32 attempt)
{
	EsJob	   *job = es_job_lock(id, true);

	if (job == NULL || !is_lent_to(job, worker, attempt))
		refuse_not_lent(id, worker, attempt);
	es_queue_expect_worker(job->queue);
	return job;
}

static bool
is_lent_to(const EsJob *job, const text *worker, int32 attempt)
{
	return job->lease_until != 0 && es_text_same(job->worker, worker) &&
		(attempt == 0 || job->attempts == attempt);
}

/* Says no more than that to who may not work there. */
static void
refuse_not_lent(int64 id, const text *worker, int32 attempt)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 attempt == 0 ? errmsg("job " INT64_FORMAT " is not lent to worker \"%s\"", id, text_to_cstring(worker)) :
			 errmsg("attempt %d at job " INT64_FORMAT " is not lent to worker \"%s\"", attempt, id, text_to_cstring(worker)),
			 errdetail("It was finished, cancelled or lent to another since the lease ended, or was never lent to this one."),
			 errhint("What was done for it counts for nothing: undo it, or let the next attempt find it done. The view eventsource.jobs tells.")));
}

static const text *
cut_message(const text *message)
{
	int			length = pg_mbcharcliplen(VARDATA_ANY(message), VARSIZE_ANY_EXHDR(message),
										  ES_JOB_MAX_MESSAGE);

	return cstring_to_text_with_len(VARDATA_ANY(message), length);
}

/* ---- failing ---- */

int32
es_job_max_attempts(const EsJob *job)
{
	return job->max_attempts != 0 ? job->max_attempts : es_queue_get(job->queue)->max_attempts;
}

bool
es_job_is_given_up(const EsJob *job, const text *code)
{
	return job->attempts - job->attempts_before >= es_job_max_attempts(job) ||
		!es_error_code_is_retryable(code);
}

EsJob *
es_job_fail(const EsJob *job, const EsJobFailure *failure)
{
	static EsOwnSql reschedule = {
		.text = "UPDATE eventsource.job AS j SET state = CASE WHEN $2 > $3 THEN 'scheduled' ELSE 'available' END,"
		" run_at = $2, lease_until = NULL, worker = NULL, waits = false, error_code = $4, error = $5"
		" WHERE j.id = $1 RETURNING" ES_JOB_COLUMNS,
		.nargs = 5,
		.types = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz retry_at = failure->has_retry_at ? failure->retry_at :
		now + es_queue_delay(es_queue_get(job->queue), job->attempts - job->attempts_before);
	Datum		values[] = {
		Int64GetDatum(job->id), TimestampTzGetDatum(retry_at), TimestampTzGetDatum(now),
		PointerGetDatum(failure->code), PointerGetDatum(failure->message)
	};
	bool		isnull[] = {false, false, false, false, failure->message == NULL};
	List	   *jobs = NIL;

	if (es_job_is_given_up(job, failure->code))
	{
		EsJobFinish finish = {.end = ES_JOB_DISCARDED,.error_code = failure->code,.error = failure->message};

		return es_job_finish(job->id, &finish);
	}
	(void) es_own_sql(&reschedule, values, isnull, es_job_collect, &jobs);
	if (job->order_key != NULL)
		es_job_order_wake(job->queue, job->order_key, job->turn, true);
	return linitial(jobs);
}
