/*
 * job_enqueue.c
 *		enqueue: jobs that are not due to a reaction; and arguments of functions about jobs.
 */
#include "work/job.h"

#include "log/rights.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(eventsource_enqueue);

static EsJobConflict read_conflict(FunctionCallInfo fcinfo, int n);
static void expect_key(const text *key);

/* enqueue(queue, payload, run_at, priority, job_key, on_conflict, order_key, max_attempts, ...) */
Datum
eventsource_enqueue(PG_FUNCTION_ARGS)
{
	static const char example[] = "SELECT eventsource.enqueue('mail', '{\"to\": \"joe@example.com\"}')";
	EsJobDraft	draft = {0};

	PreventCommandIfReadOnly("eventsource.enqueue()");
	es_job_expect_argument(fcinfo, 0, "queue", example);
	es_job_expect_argument(fcinfo, 1, "payload", example);
	es_job_expect_argument(fcinfo, 3, "priority", example);
	es_job_expect_argument(fcinfo, 5, "on_conflict", example);
	draft.queue = PG_GETARG_TEXT_PP(0);
	es_queue_expect_sender(draft.queue);
	draft.payload = PG_GETARG_JSONB_P(1);
	draft.has_run_at = !PG_ARGISNULL(2);
	draft.run_at = draft.has_run_at ? PG_GETARG_TIMESTAMPTZ(2) : 0;
	if (draft.has_run_at && TIMESTAMP_NOT_FINITE(draft.run_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("run_at is out of range"),
				 errdetail("It must be a moment, not infinity."),
				 errhint("Leave it out for now.")));
	draft.priority = PG_GETARG_INT32(3);
	draft.job_key = es_job_text_argument(fcinfo, 4, "job_key", ES_JOB_MAX_TEXT);
	expect_key(draft.job_key);
	draft.on_conflict = read_conflict(fcinfo, 5);
	draft.order_key = es_job_text_argument(fcinfo, 6, "order_key", ES_JOB_MAX_TEXT);
	draft.max_attempts = PG_ARGISNULL(7) ? 0 : PG_GETARG_INT32(7);
	if (!PG_ARGISNULL(7) && (draft.max_attempts < 1 || draft.max_attempts > ES_MAX_ATTEMPTS))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_attempts is out of range"),
				 errdetail("It must be 1 to %d, not %d.", ES_MAX_ATTEMPTS, draft.max_attempts),
				 errhint("Leave it out to have the queue's.")));
	draft.stream = es_job_text_argument(fcinfo, 8, "stream", ES_MAX_STREAM_NAME);
	if (draft.stream != NULL)
	{
		(void) es_stream_category_length(draft.stream);
		es_rights_expect_write_stream(draft.stream);
	}
	draft.subject = es_job_text_argument(fcinfo, 9, "subject", ES_JOB_MAX_TEXT);
	PG_RETURN_INT64(es_job_enqueue(&draft));
}

static EsJobConflict
read_conflict(FunctionCallInfo fcinfo, int n)
{
	static const char *const names[] = {
		[ES_JOB_KEEP] = "keep",
		[ES_JOB_REPLACE] = "replace",
		[ES_JOB_REFUSE] = "error"
	};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(n));

	for (int i = 0; i < (int) lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return (EsJobConflict) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown on_conflict"),
			 errdetail("It must be keep, replace or error, not \"%s\".", name),
			 errhint("keep returns the job that has the key, replace changes it, error refuses.")));
}

/* Those of reactions and timeouts are theirs. */
static void
expect_key(const text *key)
{
	static const char *const reserved[] = {ES_JOB_REACTION_KEY, ES_JOB_TIMEOUT_KEY};

	for (int i = 0; key != NULL && i < (int) lengthof(reserved); i++)
		if (VARSIZE_ANY_EXHDR(key) >= strlen(reserved[i]) &&
			memcmp(VARDATA_ANY(key), reserved[i], strlen(reserved[i])) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("job_key must not begin with \"%s\"", reserved[i]),
					 errdetail("Such keys are those of jobs that the database makes itself."),
					 errhint("Begin it otherwise.")));
}

/* ---- arguments ---- */

const text *
es_job_text_argument(FunctionCallInfo fcinfo, int n, const char *name, int max_bytes)
{
	const text *argument = PG_ARGISNULL(n) ? NULL : PG_GETARG_TEXT_PP(n);

	if (argument != NULL &&
		(VARSIZE_ANY_EXHDR(argument) == 0 || VARSIZE_ANY_EXHDR(argument) > (size_t) max_bytes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", name),
				 errdetail("It must have 1 to %d bytes.", max_bytes),
				 errhint("What is longer belongs into the payload.")));
	return argument;
}

void
es_job_expect_argument(FunctionCallInfo fcinfo, int n, const char *name, const char *example)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name),
				 errdetail("The function needs it."),
				 errhint("For example: %s.", example)));
}
