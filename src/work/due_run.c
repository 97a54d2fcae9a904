/*
 * due_run.c
 *		Runs as rows.
 *
 * A run that waits for a job is scheduled for infinity.  The job knows the run (column run)
 * until es_run_tell() has made the run due, which is asked for by whoever looks for what is
 * due: so who finishes the job never waits for the run, and needs to know nothing of it.
 *
 * Locks: the run's row as the last thing of a step.  Who waits for locks takes the run's row before that
 * of the job that it waits for, as who cancels both by key does; es_run_tell() waits for neither.
 */
#include "work/due_run.h"

#include "catalog/pg_type.h"
#include "log/config.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "log/reading.h"
#include "mb/pg_wchar.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "work/job.h"

/* Members of the payload. */
#define KEY				"key"
#define DUE				"due"
#define WAITS_FOR		"waits_for"
#define SENT			"sent"
#define WAITED			"waited"
#define REASON			"reason"
#define THEN_NEXT		"next"
#define THEN_WAIT		"wait"
#define THEN_END		"end"
#define POSTPONED		"postponed"

/* What is known of a run that is written. */
typedef struct Change
{
	const char *state;			/* NULL: by its time */
	TimestampTz run_at;
	int			step;
	bool		forgives;		/* attempts so far do not count any more */
	bool		forgives_one;	/* this one does not */
	const char *error_code;
	const char *error;
} Change;

static bool is_run(const EsJob *job);
static void write_run(EsRun *run, const Change *change);
static Jsonb *payload_of(const EsRun *run);
static Jsonb *with_postponed(Jsonb *payload, int64 postponed);
static void push_time(JsonbParseState **state, const char *key, TimestampTz time);
static bool find_time(Jsonb *payload, const char *key, TimestampTz *time);
static text *clip(const char *message);

void
es_run_read(EsRun *run, EsJob *job)
{
	JsonbContainer *root = &job->payload->root;
	JsonbValue	buffer;
	JsonbValue *found;
	JsonbValue *steps;
	char	   *key = es_json_find_string(root, KEY);

	*run = (EsRun)
	{
		.job = job,
			.due = job->run_at,
			.is_counted = job->lease_until > GetCurrentTimestamp(),
			.key = key == NULL ? NULL : cstring_to_text(key),
			.waited = es_json_find_string(root, WAITED),
			.waited_reason = es_json_find_string(root, REASON),
			.then.wait = es_json_find_string(root, THEN_WAIT)
	};

	/*
	 * It is scheduled without a time in its payload; what is tried writes
	 * one, or has used up an attempt.
	 */
	run->is_begun = find_time(job->payload, DUE, &run->due) ||
		job->attempts - (run->is_counted ? 1 : 0) > job->attempts_before;
	(void) es_json_find_number(root, THEN_NEXT, &run->then.next);
	(void) es_json_find_number(root, WAITS_FOR, &run->waits_for);
	(void) es_json_find_number(root, SENT, &run->sent);
	(void) es_json_find_number(root, POSTPONED, &run->postponed);
	run->then.is_end = es_json_find(root, THEN_END, &buffer) != NULL;
	found = es_json_find(root, ES_JOB_COMPLETED, NULL);
	if (found == NULL || !es_json_is_array(found))
		return;
	for (int i = 0, n = es_json_elements(found, &steps); i < n; i++)
		run->completed = lappend_int(run->completed, (int) es_json_number(&steps[i]));
}

void
es_run_hold(EsRun *run)
{
	static EsOwnSql hold = {
		.text = "UPDATE eventsource.job SET attempts = $5 WHERE id = (SELECT j.id FROM eventsource.job j"
		" WHERE j.id = $1 AND j.state = $2 AND j.attempts = $3 AND j.created_at = $4"
		" AND j.step IS NOT DISTINCT FROM $6 AND (j.job_key IS NOT NULL OR NOT $7) FOR UPDATE SKIP LOCKED)",
		.nargs = 7,
		.types = {INT8OID, TEXTOID, INT4OID, TIMESTAMPTZOID, INT4OID, INT4OID, BOOLOID}
	};
	EsJob	   *job = run->job;
	int32		attempts = job->attempts + (run->is_counted ? 0 : 1);
	Datum		values[] = {
		Int64GetDatum(job->id), PointerGetDatum(job->state), Int32GetDatum(job->attempts),
		TimestampTzGetDatum(job->created_at), Int32GetDatum(attempts), Int32GetDatum(job->step),
		BoolGetDatum(run->has_key)
	};
	bool		isnull[] = {false, false, false, false, false, job->reaction == NULL, false};

	if (run->is_held)
		return;
	if (es_own_sql(&hold, values, isnull, NULL, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("job " INT64_FORMAT " changed while its step was performed", job->id),
				 errdetail("It was cancelled, replaced, or performed by another session, or is about to be."),
				 errhint("What the step did is undone.")));
	job->attempts = attempts;
	run->is_held = true;
}

bool
es_run_has_key(EsRun *run)
{
	static EsOwnSql find = {
		.text = "SELECT FROM eventsource.job WHERE id = $1 AND job_key IS NOT NULL",
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		value = Int64GetDatum(run->job->id);

	run->has_key = run->key != NULL && es_own_sql(&find, &value, NULL, NULL, NULL) > 0;
	return run->has_key;
}

void
es_run_go_on(EsRun *run, int step, TimestampTz run_at)
{
	Change		change = {
		.run_at = run_at,
		.step = step,
		.forgives = true
	};

	run->due = run_at;
	run->then = (EsRunThen)
	{
		0
	};
	run->waits_for = run->postponed = 0;
	run->waited = run->waited_reason = NULL;
	write_run(run, &change);
}

void
es_run_wait_for(EsRun *run, int64 job_id)
{
	static EsOwnSql link = {
		.text = "UPDATE eventsource.job SET run = $2 WHERE id = $1",
		.nargs = 2,
		.types = {INT8OID, INT8OID}
	};
	Datum		values[] = {Int64GetDatum(job_id), Int64GetDatum(run->job->id)};
	Change		change = {
		.state = "scheduled",
		.run_at = DT_NOEND,
		.step = run->job->step,
		.forgives = true
	};

	(void) es_own_sql(&link, values, NULL, NULL, NULL);
	run->waits_for = run->sent = job_id;
	run->postponed = 0;
	write_run(run, &change);
}

void
es_run_postpone(EsRun *run, TimestampTz run_at)
{
	Change		change = {
		.run_at = run_at,
		.step = run->job->step,
		.forgives_one = true
	};

	write_run(run, &change);
}

void
es_run_end(EsRun *run, EsJobEnd end, const char *reason, const char *error_code, const char *error)
{
	EsJobFinish finish = {
		.end = end,
		.reason = reason == NULL ? NULL : clip(reason),
		.error_code = error_code == NULL ? NULL : cstring_to_text(error_code),
		.error = error == NULL ? NULL : clip(error)
	};

	es_run_hold(run);
	(void) es_job_finish(run->job->id, &finish);
}

bool
es_run_fail(EsRun *run, const char *error_code, const char *error)
{
	const EsJob *job = run->job;
	Change		change = {
		.step = job->step,
		.error_code = error_code,
		.error = error
	};
	int32		failures;

	es_run_hold(run);
	if (!es_run_may_try(job) || !es_error_code_is_retryable(cstring_to_text(error_code)))
	{
		es_run_end(run, ES_JOB_DISCARDED, NULL, error_code, error);
		return false;
	}
	failures = job->attempts - job->attempts_before;
	run->postponed = 0;
	change.run_at = GetCurrentTimestamp() + es_queue_delay(es_queue_get(job->queue), failures);
	write_run(run, &change);
	return true;
}

bool
es_run_is_compensated(const EsJob *job)
{
	return is_run(job) && strcmp(text_to_cstring(job->state), "discarded") == 0 &&
		es_json_find(&job->payload->root, ES_JOB_COMPLETED, NULL) != NULL;
}

static bool
is_run(const EsJob *job)
{
	return job->reaction != NULL && strcmp(text_to_cstring(job->queue), ES_JOB_REACTION_QUEUE) == 0;
}

bool
es_run_is_personal(const EsJob *job)
{
	Oid			definer;

	if (es_pii_declared(NIL, NULL) == NIL)
		return false;
	if (job->reaction == NULL)
		return true;
	definer = es_run_definer(job->reaction, job->reaction_version);
	return !OidIsValid(definer) || es_reading_is_trusted(definer);
}

Oid
es_run_definer(const text *reaction, int64 version)
{
	const EsDefinition *definition = es_config_read(ES_REACTION_KIND, text_to_cstring(reaction), version);

	return definition == NULL ? InvalidOid : definition->owner;
}

bool
es_run_may_try(const EsJob *job)
{
	return job->attempts - job->attempts_before < es_job_max_attempts(job);
}

TimestampTz
es_run_after(TimestampTz time, const Interval *wait)
{
	return wait == NULL ? time :
		DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, TimestampGetDatum(time),
											  IntervalPGetDatum(wait)));
}

int64
es_run_tell(int64 max_rows)
{
	static EsOwnSql tell = {
		.text = "WITH ended AS MATERIALIZED (SELECT j.id, j.run, j.state, j.finished_at,"
		" coalesce(j.finish_reason, j.error_code) AS reason FROM eventsource.job j"
		" WHERE j.run IS NOT NULL AND j.finished_at IS NOT NULL ORDER BY j.finished_at LIMIT $1"
		" FOR UPDATE SKIP LOCKED),"
		" held AS MATERIALIZED (SELECT r.id FROM eventsource.job r WHERE r.id IN (SELECT e.run FROM ended e)"
		" FOR UPDATE SKIP LOCKED),"
		" free AS MATERIALIZED (SELECT e.* FROM ended e WHERE e.run IN (SELECT h.id FROM held h)"
		" OR NOT EXISTS (SELECT FROM eventsource.job r WHERE r.id = e.run)),"
		" told AS (UPDATE eventsource.job j SET run = NULL FROM free e WHERE j.id = e.id),"
		" due AS (UPDATE eventsource.job r SET state = 'available', run_at = e.finished_at,"
		" payload = jsonb_strip_nulls(r.payload - 'waits_for' || jsonb_build_object('due', e.finished_at,"
		" 'waited', e.state, 'reason', e.reason))"
		" FROM free e WHERE r.id = e.run AND r.state = 'scheduled' AND r.payload->>'waits_for' = e.id::text)"
		" SELECT id FROM free",
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		value = Int64GetDatum(max_rows);

	return es_own_sql(&tell, &value, NULL, NULL, NULL);
}

/* ---- by hand ---- */

EsJob *
es_run_lock_awaited(const EsJob *job)
{
	EsRun		run;

	if (!is_run(job))
		return NULL;
	es_run_read(&run, unconstify(EsJob *, job));
	return run.waits_for == 0 && run.waited == NULL ? NULL : es_job_lock(run.sent, false);
}

EsJob *
es_run_lock_sender(int64 job_id)
{
	static EsOwnSql find = {
		.text = "SELECT" ES_JOB_COLUMNS "FROM eventsource.job j, eventsource.job s WHERE s.id = $1"
		" AND s.queue <> '" ES_JOB_REACTION_QUEUE "' AND j.queue = '" ES_JOB_REACTION_QUEUE "'"
		" AND j.stream = s.stream AND j.reaction = s.reaction AND j.event_position = s.event_position"
		" AND j.payload->>'" SENT "' = s.id::text LIMIT 1 FOR UPDATE OF j",
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		value = Int64GetDatum(job_id);
	List	   *runs = NIL;

	(void) es_own_sql(&find, &value, NULL, es_job_collect, &runs);
	return runs == NIL ? NULL : linitial(runs);
}

void
es_run_wait_again(const EsJob *run, int64 job_id)
{
	static EsOwnSql wait = {
		.text = "WITH link AS (UPDATE eventsource.job SET run = $1 WHERE id = $2)"
		" UPDATE eventsource.job SET state = 'scheduled', run_at = 'infinity', lease_until = NULL, worker = NULL,"
		" claimed_by = NULL, payload = payload - '{" WAITED "," REASON "," POSTPONED "}'::text[]"
		" || jsonb_build_object('" WAITS_FOR "', $2) WHERE id = $1",
		.nargs = 2,
		.types = {INT8OID, INT8OID}
	};
	Datum		values[] = {Int64GetDatum(run->id), Int64GetDatum(job_id)};

	(void) es_own_sql(&wait, values, NULL, NULL, NULL);
}

void
es_run_take_done(const EsJob *run, const EsJob *job)
{
	static EsOwnSql take = {
		.text = "UPDATE eventsource.job SET payload = payload - '{" WAITS_FOR "," REASON "," POSTPONED "}'::text[]"
		" || jsonb_build_object('" DUE "', $2, '" WAITED "', 'done') WHERE id = $1",
		.nargs = 2,
		.types = {INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[] = {Int64GetDatum(run->id), TimestampTzGetDatum(job->finished_at)};

	(void) es_own_sql(&take, values, NULL, NULL, NULL);
}

/* ---- the row ---- */

static void
write_run(EsRun *run, const Change *change)
{
	static EsOwnSql update = {
		.text = "UPDATE eventsource.job SET state = coalesce($2, CASE WHEN $3 <= $4 THEN 'available' ELSE 'scheduled' END),"
		" run_at = $3, step = $5, payload = $6, attempts_before = CASE WHEN $7 THEN attempts"
		" WHEN $10 THEN attempts_before + 1 ELSE attempts_before END,"
		" error_code = $8, error = $9, lease_until = NULL, worker = NULL, claimed_by = NULL WHERE id = $1",
		.nargs = 10,
		.types = {
			INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, JSONBOID, BOOLOID, TEXTOID, TEXTOID,
			BOOLOID
		}
	};
	const EsJob *job = run->job;
	Datum		values[] = {
		Int64GetDatum(job->id),
		change->state == NULL ? (Datum) 0 : CStringGetTextDatum(change->state),
		TimestampTzGetDatum(change->run_at),
		TimestampTzGetDatum(GetCurrentTimestamp()),
		Int32GetDatum(change->step),
		JsonbPGetDatum(job->reaction == NULL ? with_postponed(job->payload, run->postponed) :
					   payload_of(run)),
		BoolGetDatum(change->forgives),
		change->error_code == NULL ? (Datum) 0 : CStringGetTextDatum(change->error_code),
		change->error == NULL ? (Datum) 0 : PointerGetDatum(clip(change->error)),
		BoolGetDatum(change->forgives_one)
	};
	bool		isnull[] = {
		false, change->state == NULL, false, false, job->reaction == NULL, false, false,
		change->error_code == NULL, change->error == NULL, false
	};

	es_run_hold(run);
	(void) es_own_sql(&update, values, isnull, NULL, NULL);
}

static Jsonb *
payload_of(const EsRun *run)
{
	JsonbParseState *state = NULL;
	JsonbValue	number = {.type = jbvNumeric};
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (run->key != NULL)
		es_json_push_text(&state, KEY, run->key);
	push_time(&state, DUE, run->due);
	if (run->completed != NIL)
	{
		es_json_push_key(&state, ES_JOB_COMPLETED);
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		foreach(lc, run->completed)
		{
			number.val.numeric = int64_to_numeric(lfirst_int(lc));
			pushJsonbValue(&state, WJB_ELEM, &number);
		}
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	if (run->then.next != 0)
		es_json_push_number(&state, THEN_NEXT, run->then.next);
	if (run->then.wait != NULL)
		es_json_push_string(&state, THEN_WAIT, run->then.wait);
	if (run->then.is_end)
		es_json_push_bool(&state, THEN_END, true);
	if (run->waits_for != 0)
		es_json_push_number(&state, WAITS_FOR, run->waits_for);
	if (run->sent != 0)
		es_json_push_number(&state, SENT, run->sent);
	if (run->waited != NULL)
		es_json_push_string(&state, WAITED, run->waited);
	if (run->waited_reason != NULL)
		es_json_push_string(&state, REASON, run->waited_reason);
	if (run->postponed != 0)
		es_json_push_number(&state, POSTPONED, run->postponed);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The payload of a timeout says more than a run knows. */
static Jsonb *
with_postponed(Jsonb *payload, int64 postponed)
{
	JsonbParseState *state = NULL;
	Jsonb	   *member;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, POSTPONED, postponed);
	member = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(payload), JsonbPGetDatum(member)));
}

static void
push_time(JsonbParseState **state, const char *key, TimestampTz time)
{
	char		buffer[MAXDATELEN + 1];

	JsonEncodeDateTime(buffer, TimestampTzGetDatum(time), TIMESTAMPTZOID, NULL);
	es_json_push_string(state, key, pstrdup(buffer));
}

static bool
find_time(Jsonb *payload, const char *key, TimestampTz *time)
{
	char	   *string = es_json_find_string(&payload->root, key);

	if (string == NULL)
		return false;
	*time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(string),
													ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return true;
}

static text *
clip(const char *message)
{
	return cstring_to_text_with_len(message, pg_mbcharcliplen(message, strlen(message), ES_JOB_MAX_MESSAGE));
}
