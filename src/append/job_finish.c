/*
 * job_finish.c
 *		Jobs as their rows say, and how they come to an end.
 */
#include "append/job_finish.h"

#include "append/job_order.h"
#include "append/queue.h"
#include "catalog/pg_type.h"
#include "log/own_sql.h"
#include "utils/builtins.h"

static EsJobOnFinished on_finished = NULL;

EsJob *
es_job_read(HeapTuple row, TupleDesc desc)
{
	EsJob	   *job = palloc0(sizeof(EsJob));
	int			column = 1;

	job->id = es_own_sql_int64(row, desc, column++);
	job->turn = es_own_sql_int64(row, desc, column++);
	job->queue = es_own_sql_text(row, desc, column++);
	job->state = es_own_sql_text(row, desc, column++);
	job->priority = es_own_sql_int32(row, desc, column++);
	(void) es_own_sql_time(row, desc, column++, &job->run_at);
	job->order_key = es_own_sql_text(row, desc, column++);
	job->job_key = es_own_sql_text(row, desc, column++);
	job->payload = es_own_sql_jsonb(row, desc, column++);
	job->attempts = es_own_sql_int32(row, desc, column++);
	job->attempts_before = es_own_sql_int32(row, desc, column++);
	job->max_attempts = es_own_sql_int32(row, desc, column++);
	(void) es_own_sql_time(row, desc, column++, &job->lease_until);
	job->worker = es_own_sql_text(row, desc, column++);
	job->claimed_by = es_own_sql_text(row, desc, column++);
	job->error_code = es_own_sql_text(row, desc, column++);
	job->error = es_own_sql_text(row, desc, column++);
	job->result = es_own_sql_jsonb(row, desc, column++);
	job->reaction = es_own_sql_text(row, desc, column++);
	job->reaction_version = es_own_sql_int64(row, desc, column++);
	job->step = es_own_sql_int32(row, desc, column++);
	job->event_position = es_own_sql_int64(row, desc, column++);
	job->stream = es_own_sql_text(row, desc, column++);
	job->subject = es_own_sql_text(row, desc, column++);
	(void) es_own_sql_time(row, desc, column++, &job->created_at);
	(void) es_own_sql_time(row, desc, column++, &job->finished_at);
	job->finish_reason = es_own_sql_text(row, desc, column++);
	return job;
}

void
es_job_collect(HeapTuple row, TupleDesc desc, void *arg)
{
	List	  **jobs = arg;

	*jobs = lappend(*jobs, es_job_read(row, desc));
}

EsJob *
es_job_lock(int64 id, bool is_unfinished)
{
	static EsOwnSql lock = {
		.text = "SELECT" ES_JOB_COLUMNS "FROM eventsource.job j WHERE j.id = $1"
		" AND (NOT $2 OR j.state IN " ES_JOB_UNFINISHED ") FOR UPDATE",
		.nargs = 2,
		.types = {INT8OID, BOOLOID}
	};
	Datum		values[] = {Int64GetDatum(id), BoolGetDatum(is_unfinished)};
	List	   *jobs = NIL;

	(void) es_own_sql(&lock, values, NULL, es_job_collect, &jobs);
	return jobs == NIL ? NULL : linitial(jobs);
}

EsJob *
es_job_finish(int64 id, const EsJobFinish *finish)
{
	static EsOwnSql update = {
		.text = "UPDATE eventsource.job AS j SET state = $2, finished_at = $3, lease_until = NULL, waits = false,"
		" result = coalesce($4, j.result),"
		" error_code = CASE WHEN $2 = 'done' THEN NULL ELSE coalesce($5, j.error_code) END,"
		" error = CASE WHEN $2 = 'done' THEN NULL WHEN $5 IS NULL THEN j.error ELSE $6 END, finish_reason = $7"
		" WHERE j.id = $1 AND j.state IN " ES_JOB_UNFINISHED
		" AND ($8 IS NULL OR (j.state = 'claimed' AND j.worker = $8 AND ($9 = 0 OR j.attempts = $9)))"
		" RETURNING" ES_JOB_COLUMNS,
		.nargs = 9,
		.types = {INT8OID, TEXTOID, TIMESTAMPTZOID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID}
	};
	static const char *const states[] = {
		[ES_JOB_DONE] = "done",
		[ES_JOB_DISCARDED] = "discarded",
		[ES_JOB_CANCELLED] = "cancelled"
	};
	Datum		values[] = {
		Int64GetDatum(id), CStringGetTextDatum(states[finish->end]),
		TimestampTzGetDatum(GetCurrentTimestamp()),
		PointerGetDatum(finish->result), PointerGetDatum(finish->error_code), PointerGetDatum(finish->error),
		PointerGetDatum(finish->reason), PointerGetDatum(finish->worker), Int32GetDatum(finish->attempt)
	};
	bool		isnull[] = {
		false, false, false, finish->result == NULL, finish->error_code == NULL, finish->error == NULL,
		finish->reason == NULL, finish->worker == NULL, false
	};
	List	   *jobs = NIL;
	EsJob	   *job;

	(void) es_own_sql(&update, values, isnull, es_job_collect, &jobs);
	if (jobs == NIL)
		return NULL;
	job = linitial(jobs);
	if (finish->worker != NULL)
		es_queue_expect_worker(job->queue);
	es_job_finished(jobs);
	return job;
}

void
es_job_finished(List *jobs)
{
	ListCell   *lc;

	foreach(lc, jobs)
	{
		const EsJob *job = lfirst(lc);

		/*
		 * worker is null but while a job is claimed, and as it is finished
		 * then.
		 */
		if (job->order_key != NULL)
			es_job_order_wake(job->queue, job->order_key, job->turn, job->worker != NULL);
		if (on_finished != NULL)
			on_finished(job);
	}
}

void
es_job_on_finished(EsJobOnFinished callback)
{
	on_finished = callback;
}
