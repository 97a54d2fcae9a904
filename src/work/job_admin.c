/*
 * job_admin.c
 *		redrive, discard, cancel_job, cancel_jobs: what is done about jobs by hand.
 *
 * Each is for who may work in the queue, and is recorded as an event of the stream
 * $job-<id>, about whom the job is about.
 *
 * Locks: the job's row, then its stream, whose events nobody else writes.
 */
#include "work/job.h"

#include "append/own_event.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "work/due_run.h"

PG_FUNCTION_INFO_V1(eventsource_redrive_job);
PG_FUNCTION_INFO_V1(eventsource_discard_job);
PG_FUNCTION_INFO_V1(eventsource_cancel_job);
PG_FUNCTION_INFO_V1(eventsource_cancel_jobs);

static EsJob *lock_job(FunctionCallInfo fcinfo, const char *example);
static void expect_redrivable(const EsJob *job);
static void finish_by_hand(const EsJob *job, EsJobEnd end, const char *type, const text *reason);
static void record(const EsJob *job, const char *type, const text *reason);

/* redrive(job_id): it is tried anew, behind the others of its order key */
Datum
eventsource_redrive_job(PG_FUNCTION_ARGS)
{
	static EsOwnSql redrive = {
		.text = "UPDATE eventsource.job SET state = 'available', turn = nextval('eventsource.job_seq'), run_at = $2,"
		" attempts_before = attempts, worker = NULL, result = NULL, finished_at = NULL, finish_reason = NULL,"
		" payload = CASE WHEN reaction IS NOT NULL AND queue = '" ES_JOB_REACTION_QUEUE "'"
		" THEN payload - '" ES_RUN_WAITED "'::text[] ELSE payload END WHERE id = $1",
		.nargs = 2,
		.types = {INT8OID, TIMESTAMPTZOID}
	};
	EsJob	   *job;
	Datum		values[2];

	PreventCommandIfReadOnly("eventsource.redrive()");
	job = lock_job(fcinfo, "SELECT eventsource.redrive(42)");
	expect_redrivable(job);
	values[0] = Int64GetDatum(job->id);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	(void) es_own_sql(&redrive, values, NULL, NULL, NULL);
	record(job, "job_redriven", NULL);
	PG_RETURN_VOID();
}

/* discard(job_id, reason): it is given up */
Datum
eventsource_discard_job(PG_FUNCTION_ARGS)
{
	static const char example[] = "SELECT eventsource.discard(42, 'address is gone')";
	const text *reason;

	PreventCommandIfReadOnly("eventsource.discard()");
	es_job_expect_argument(fcinfo, 1, "reason", example);
	reason = es_job_text_argument(fcinfo, 1, "reason", ES_JOB_MAX_TEXT);
	finish_by_hand(lock_job(fcinfo, example), ES_JOB_DISCARDED, "job_discarded", reason);
	PG_RETURN_VOID();
}

/* cancel_job(job_id, reason): it is not wanted any more */
Datum
eventsource_cancel_job(PG_FUNCTION_ARGS)
{
	const text *reason;

	PreventCommandIfReadOnly("eventsource.cancel_job()");
	reason = es_job_text_argument(fcinfo, 1, "reason", ES_JOB_MAX_TEXT);
	finish_by_hand(lock_job(fcinfo, "SELECT eventsource.cancel_job(42)"), ES_JOB_CANCELLED, "job_cancelled", reason);
	PG_RETURN_VOID();
}

/* cancel_jobs(queue, job_key, reason): how many */
Datum
eventsource_cancel_jobs(PG_FUNCTION_ARGS)
{
	static const char example[] = "SELECT eventsource.cancel_jobs('mail', 'welcome-joe')";
	static EsOwnSql lock = {
		.text = "SELECT" ES_JOB_COLUMNS "FROM eventsource.job j WHERE j.job_key = $2 AND j.queue = $1"
		" AND j.state IN " ES_JOB_UNFINISHED " FOR UPDATE",
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}
	};
	const text *queue;
	const text *job_key;
	const text *reason;
	List	   *jobs = NIL;
	ListCell   *lc;

	PreventCommandIfReadOnly("eventsource.cancel_jobs()");
	es_job_expect_argument(fcinfo, 0, "queue", example);
	es_job_expect_argument(fcinfo, 1, "job_key", example);
	queue = es_job_text_argument(fcinfo, 0, "queue", ES_MAX_WORD);
	job_key = es_job_text_argument(fcinfo, 1, "job_key", ES_JOB_MAX_TEXT);
	reason = es_job_text_argument(fcinfo, 2, "reason", ES_JOB_MAX_TEXT);
	es_queue_expect_worker(queue);
	{
		Datum		values[] = {PointerGetDatum(queue), PointerGetDatum(job_key)};

		(void) es_own_sql(&lock, values, NULL, es_job_collect, &jobs);
	}
	foreach(lc, jobs)
		finish_by_hand(lfirst(lc), ES_JOB_CANCELLED, "job_cancelled", reason);
	PG_RETURN_INT32(list_length(jobs));
}

/* The job that the first argument names. */
static EsJob *
lock_job(FunctionCallInfo fcinfo, const char *example)
{
	EsJob	   *job;

	es_job_expect_argument(fcinfo, 0, "job_id", example);
	job = es_job_lock(PG_GETARG_INT64(0), false);
	if (job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("there is no job " INT64_FORMAT, PG_GETARG_INT64(0)),
				 errdetail("There never was, or it was finished and is not kept any more."),
				 errhint("The view eventsource.jobs lists those that there are.")));
	es_queue_expect_worker(job->queue);
	return job;
}

static void
expect_redrivable(const EsJob *job)
{
	static EsOwnSql find = {
		.text = "SELECT FROM eventsource.job WHERE job_key = $1 AND queue = $2 AND state IN " ES_JOB_UNFINISHED,
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}
	};
	Datum		key[] = {PointerGetDatum(job->job_key), PointerGetDatum(job->queue)};
	char	   *state = text_to_cstring(job->state);

	if (strcmp(state, "discarded") != 0 && strcmp(state, "cancelled") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job " INT64_FORMAT " is not given up", job->id),
				 errdetail("It is %s.", state),
				 errhint("What is discarded or cancelled can be redriven. The view eventsource.dead_letters lists what is discarded.")));
	if (job->finish_reason != NULL && strcmp(text_to_cstring(job->finish_reason), ES_JOB_ERASED) == 0)
		ereport(ERROR,
				(errcode(ES_ERRCODE_SUBJECT_ERASED),
				 errmsg("what job " INT64_FORMAT " was about is erased", job->id),
				 errdetail("Nothing is left of what was to be done."),
				 errhint("Enqueue another job, about another subject.")));
	if (es_run_is_compensated(job))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("what job " INT64_FORMAT " had done is compensated", job->id),
				 errdetail("Going on with step %d, it would build on steps that were made good.", job->step),
				 errhint("Append the event that is to lead to another run.")));
	es_job_refuse_erased(job->subject, job->stream);
	if (job->job_key != NULL && es_own_sql(&find, key, NULL, NULL, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("there is a job with key \"%s\" in queue \"%s\"", text_to_cstring(job->job_key),
						text_to_cstring(job->queue)),
				 errdetail("It has taken the place of job " INT64_FORMAT ".", job->id),
				 errhint("Cancel that one first.")));
}

/* The row is locked. */
static void
finish_by_hand(const EsJob *job, EsJobEnd end, const char *type, const text *reason)
{
	EsJobFinish finish = {.end = end,.reason = reason};

	if (es_job_finish(job->id, &finish) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job " INT64_FORMAT " is finished", job->id),
				 errdetail("It is %s.", text_to_cstring(job->state)),
				 errhint("What is discarded or cancelled can be redriven.")));
	record(job, type, reason);
}

static void
record(const EsJob *job, const char *type, const text *reason)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "job_id", job->id);
	es_json_push_text(&state, "queue", job->queue);
	if (reason != NULL)
		es_json_push_text(&state, "reason", reason);
	(void) es_own_event_append(cstring_to_text(psprintf("$job-" INT64_FORMAT, job->id)), type,
							   job->subject != NULL ? job->subject : job->stream,
							   JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)), NULL, NULL);
}
