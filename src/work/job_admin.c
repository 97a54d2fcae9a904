/*
 * job_admin.c
 *		redrive, discard, cancel_job, cancel_jobs: what is done about jobs by hand.
 *
 * Each is for who may work in the queue, and is recorded as an event of the stream
 * $job-<id>, about whom the job is about.
 *
 * A run and the job that it waits for are one: who ends the run by hand cancels that job, and
 * who redrives the run redrives the same job, whose id others may know.  Never the job alone, once
 * its run is finished: nothing would follow from it, or it would be done after all was made good.
 *
 * Locks: the run's row before that of the job that it waits for, then their streams, whose events
 * nobody else writes.
 */
#include "work/job.h"

#include "append/own_event.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "work/due_run.h"

PG_FUNCTION_INFO_V1(eventsource_redrive_job);
PG_FUNCTION_INFO_V1(eventsource_discard_job);
PG_FUNCTION_INFO_V1(eventsource_cancel_job);
PG_FUNCTION_INFO_V1(eventsource_cancel_jobs);

static EsJob *lock_job(FunctionCallInfo fcinfo, const char *example);
static void redrive_job(const EsJob *job, bool is_anew);
static void redrive_awaited(const EsJob *run, const EsJob *job);
static void expect_redrivable(const EsJob *job);
static void expect_given_up(const EsJob *job);
static void expect_unfinished_run(const EsJob *job, const EsJob *run);
static void finish_by_hand(const EsJob *job, EsJobEnd end, const char *type, const text *reason);
static void cancel_awaited(const EsJob *run, EsJobEnd end, const text *reason);
ES_NORETURN static void refuse_finished(const EsJob *job);
static void record(const EsJob *job, const char *type, const text *reason);

/* redrive(job_id): it is tried anew, behind the others of its order key */
Datum
eventsource_redrive_job(PG_FUNCTION_ARGS)
{
	static const char example[] = "SELECT eventsource.redrive(42)";
	EsJob	   *run;
	EsJob	   *job;
	EsJob	   *awaited;

	PreventCommandIfReadOnly("eventsource.redrive()");
	es_job_expect_argument(fcinfo, 0, "job_id", example);
	run = es_run_lock_sender(PG_GETARG_INT64(0));
	job = lock_job(fcinfo, example);
	expect_redrivable(job);
	if (run != NULL)
		expect_unfinished_run(job, run);
	awaited = es_run_lock_awaited(job);
	redrive_job(job, awaited == NULL);
	if (awaited != NULL)
		redrive_awaited(job, awaited);
	if (run != NULL)
		es_run_wait_again(run, job->id);
	PG_RETURN_VOID();
}

/* A run begins its step anew, or goes on from what it waits for. */
static void
redrive_job(const EsJob *job, bool is_anew)
{
	static EsOwnSql redrive = {
		.text = "UPDATE eventsource.job SET state = 'available', turn = nextval('eventsource.job_seq'), run_at = $2,"
		" attempts_before = attempts, worker = NULL, result = NULL, finished_at = NULL, finish_reason = NULL,"
		" payload = CASE WHEN $3 AND reaction IS NOT NULL AND queue = '" ES_JOB_REACTION_QUEUE "'"
		" THEN payload - '" ES_RUN_WAITED "'::text[] ELSE payload END WHERE id = $1",
		.nargs = 3,
		.types = {INT8OID, TIMESTAMPTZOID, BOOLOID}
	};
	Datum		values[] = {
		Int64GetDatum(job->id), TimestampTzGetDatum(GetCurrentTimestamp()), BoolGetDatum(is_anew)
	};

	(void) es_own_sql(&redrive, values, NULL, NULL, NULL);
	record(job, "job_redriven", NULL);
}

/* What a run that is redriven waited for: it may have been done meanwhile. */
static void
redrive_awaited(const EsJob *run, const EsJob *job)
{
	if (strcmp(text_to_cstring(job->state), "done") == 0)
	{
		es_run_take_done(run, job);
		return;
	}
	if (job->finished_at != 0)
	{
		expect_redrivable(job);
		redrive_job(job, true);
	}
	es_run_wait_again(run, job->id);
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

	expect_given_up(job);
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

static void
expect_given_up(const EsJob *job)
{
	char	   *state = text_to_cstring(job->state);

	if (strcmp(state, "discarded") == 0 || strcmp(state, "cancelled") == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("job " INT64_FORMAT " is not given up", job->id),
			 errdetail("It is %s.", state),
			 strcmp(state, "scheduled") != 0 ?
			 errhint("What is discarded or cancelled can be redriven. The view eventsource.dead_letters lists what is discarded.") :
			 TIMESTAMP_IS_NOEND(job->run_at) ?
			 errhint("It goes on by itself when the job that it waits for is finished.") :
			 errhint("It is tried again by itself at %s. To have it tried now, cancel it, which makes nothing good, and redrive it.",
					 timestamptz_to_str(job->run_at))));
}

/* The run sent the job, and waits for it or waited for no other since. */
static void
expect_unfinished_run(const EsJob *job, const EsJob *run)
{
	if (run->finished_at == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the run that sent job " INT64_FORMAT " is finished", job->id),
			 errdetail("The run is job " INT64_FORMAT ". It is %s.", run->id, text_to_cstring(run->state)),
			 es_run_is_compensated(run) ?
			 errhint("Its steps were made good. Append the event that is to lead to another run.") :
			 errhint("Redrive the run, which redrives this job and waits for it: SELECT eventsource.redrive(" INT64_FORMAT ").",
					 run->id)));
}

/* The row is locked. */
static void
finish_by_hand(const EsJob *job, EsJobEnd end, const char *type, const text *reason)
{
	EsJobFinish finish = {.end = end,.reason = reason};

	if (job->finished_at != 0)
		refuse_finished(job);
	cancel_awaited(job, end, reason);
	(void) es_job_finish(job->id, &finish);
	record(job, type, reason);
}

/* Nobody would wait for it any more; and what is made good must not be done after that. */
static void
cancel_awaited(const EsJob *run, EsJobEnd end, const text *reason)
{
	EsJob	   *job = es_run_lock_awaited(run);
	EsJobFinish finish = {.end = ES_JOB_CANCELLED};

	if (job == NULL || job->finished_at != 0)
		return;
	finish.reason = cstring_to_text(psprintf("run " INT64_FORMAT " was %s%s%s", run->id,
											 end == ES_JOB_DISCARDED ? "discarded" : "cancelled",
											 reason == NULL ? "" : ": ",
											 reason == NULL ? "" : text_to_cstring(reason)));
	(void) es_job_finish(job->id, &finish);
	record(job, "job_cancelled", finish.reason);
}

static void
refuse_finished(const EsJob *job)
{
	char	   *state = text_to_cstring(job->state);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("job " INT64_FORMAT " is finished", job->id),
			 es_run_is_compensated(job) ? errdetail("It is %s, and its steps were made good.", state) :
			 errdetail("It is %s.", state),
			 es_run_is_compensated(job) ?
			 errhint("It cannot be redriven, and there is nothing left to do. It is forgotten when jobs of its queue have been kept long enough.") :
			 strcmp(state, "done") == 0 ? errhint("There is nothing left to do.") :
			 errhint("What is discarded or cancelled can be redriven.")));
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
