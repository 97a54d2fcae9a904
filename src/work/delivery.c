/*
 * delivery.c
 *		record_delivery: what a worker says of an attempt to deliver a job is an event, and
 *		what becomes of the job.
 *
 * The idempotency key of the event is one that no caller of append() can have taken before, and who
 * calls this has the job lent, or nothing is left of it.
 *
 * Locks: the event's stream, then the row of the job.
 */
#include "postgres.h"

#include "append/draft.h"
#include "fmgr.h"
#include "log/json.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "work/job.h"

#define MAX_DETAILS		8192	/* bytes of text */
#define SHOWN_CHARACTERS	100

typedef enum Outcome
{
	OUTCOME_SENT,
	OUTCOME_SKIPPED,			/* nothing was sent, and is not to be */
	OUTCOME_FAILED,
	OUTCOME_COUNT,
} Outcome;

static const struct
{
	const char *name;
	const char *event_type;
}			outcomes[OUTCOME_COUNT] = {
	[OUTCOME_SENT] = {"sent", "MessageSent"},
	[OUTCOME_SKIPPED] = {"skipped", "MessageSkipped"},
	[OUTCOME_FAILED] = {"failed", "MessageFailed"},
};

PG_FUNCTION_INFO_V1(eventsource_record_delivery);
extern Datum eventsource_complete(PG_FUNCTION_ARGS);
extern Datum eventsource_fail(PG_FUNCTION_ARGS);

/* The arguments; pointers are NULL for null. */
typedef struct Delivery
{
	int64		job;
	Outcome		outcome;		/* OUTCOME_COUNT: none of them */
	const text *error_code;
	Jsonb	   *details;
	const text *worker;
	int32		attempt;
	const text *message;
	Interval   *retry_after;
	const text *queue;
	int64		event_position; /* 0: null */
	const text *category;
} Delivery;

static void read_delivery(FunctionCallInfo fcinfo, Delivery *delivery);
static Outcome to_outcome(const text *name);
static void check_outcome(const text *outcome, const Delivery *delivery);
static void check_category(const text *category);
static void check_details(Jsonb *details);
static char *shown(const text *value);
static bool append_event(const Delivery *delivery);
static Jsonb *to_data(const Delivery *delivery);
static void complete_job(const Delivery *delivery);
static Datum fail_job(const Delivery *delivery);
static void put_value(FunctionCallInfo call, int n, Datum value);
static void put(FunctionCallInfo call, int n, const void *value);

/*
 * record_delivery(job_id, outcome, error_code, details, worker, attempt, message, retry_after, queue,
 * event_position, category): the new state of the job, or "recorded"
 */
Datum
eventsource_record_delivery(PG_FUNCTION_ARGS)
{
	Delivery	delivery;

	PreventCommandIfReadOnly("eventsource.record_delivery()");
	read_delivery(fcinfo, &delivery);
	if (append_event(&delivery))
		PG_RETURN_TEXT_P(cstring_to_text("recorded"));
	if (delivery.outcome == OUTCOME_FAILED)
		PG_RETURN_DATUM(fail_job(&delivery));
	complete_job(&delivery);
	PG_RETURN_TEXT_P(cstring_to_text("done"));
}

/* ---- arguments ---- */

static void
read_delivery(FunctionCallInfo fcinfo, Delivery *delivery)
{
	const text *outcome;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(5) || PG_ARGISNULL(10))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("job_id, outcome, attempt and category are needed"),
				 errdetail("They say which stream tells of it, and which attempt."),
				 errhint("Give what claim() returned.")));
	outcome = PG_GETARG_TEXT_PP(1);
	*delivery = (Delivery)
	{
		.job = PG_GETARG_INT64(0),
			.outcome = to_outcome(outcome),
			.error_code = es_job_text_argument(fcinfo, 2, "error_code", ES_MAX_WORD),
			.details = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
			.worker = PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4),
			.attempt = PG_GETARG_INT32(5),
			.message = PG_ARGISNULL(6) ? NULL : PG_GETARG_TEXT_PP(6),
			.retry_after = PG_ARGISNULL(7) ? NULL : PG_GETARG_INTERVAL_P(7),
			.queue = PG_ARGISNULL(8) ? NULL : PG_GETARG_TEXT_PP(8),
			.event_position = PG_ARGISNULL(9) ? 0 : PG_GETARG_INT64(9),
			.category = PG_GETARG_TEXT_PP(10)
	};
	check_outcome(outcome, delivery);
	check_category(delivery->category);
	check_details(delivery->details);
}

static Outcome
to_outcome(const text *name)
{
	const char *said = text_to_cstring(name);
	Outcome		outcome = 0;

	while (outcome < OUTCOME_COUNT && strcmp(said, outcomes[outcome].name) != 0)
		outcome++;
	return outcome;
}

static void
check_outcome(const text *outcome, const Delivery *delivery)
{
	bool		is_failed = delivery->outcome == OUTCOME_FAILED;

	if (delivery->outcome != OUTCOME_COUNT && is_failed == (delivery->error_code != NULL) &&
		(is_failed || delivery->retry_after == NULL))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a delivery was sent or skipped, or failed with an error code"),
			 errdetail("The outcome is %s, the error code %s.", shown(outcome), shown(delivery->error_code)),
			 errhint("SELECT * FROM eventsource.error_codes")));
}

static void
check_category(const text *category)
{
	const char *name = text_to_cstring(category);

	if (name[0] != '$' && strchr(name, '-') == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is no category for deliveries", shown(category)),
			 errdetail("Streams are named after the category and the job."),
			 errhint("Take a name without \"-\" that does not begin with \"$\".")));
}

static void
check_details(Jsonb *details)
{
	if (details == NULL ||
		(JB_ROOT_IS_OBJECT(details) && VARSIZE(details) <= ES_MAX_DATA &&
		 strlen(JsonbToCString(NULL, &details->root, VARSIZE(details))) <= MAX_DETAILS))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("details are no JSON object, or more than %d bytes", MAX_DETAILS),
			 errdetail("They become part of an event."),
			 errhint("Keep what the receiver answered elsewhere.")));
}

static char *
shown(const text *value)
{
	Datum		left;

	if (value == NULL)
		return pstrdup("NULL");
	left = DirectFunctionCall2(text_left, PointerGetDatum(value), Int32GetDatum(SHOWN_CHARACTERS));
	return quote_literal_cstr(text_to_cstring(DatumGetTextPP(left)));
}

/* ---- the event ---- */

/* True if this attempt was recorded before. */
static bool
append_event(const Delivery *delivery)
{
	JsonbParseState *state = NULL;
	EsDraft		draft;
	EsAppended	result;
	EsBatch    *batch;

	es_draft_init(&draft);
	draft.stream = cstring_to_text(psprintf("%s-" INT64_FORMAT, text_to_cstring(delivery->category),
											delivery->job));
	draft.type = cstring_to_text(outcomes[delivery->outcome].event_type);
	draft.data = to_data(delivery);
	if (delivery->event_position != 0)
	{
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		es_json_push_number(&state, "causation_id", delivery->event_position);
		draft.metadata = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	}
	draft.idempotency_key = cstring_to_text(psprintf(ES_KEY_DELIVERY "%d", delivery->attempt));
	draft.has_own_key = true;
	es_rights_expect_write_stream(draft.stream);

	batch = es_batch_begin();
	es_batch_lock_ahead(&draft);
	es_batch_add(batch, &draft, &result);
	es_batch_flush(batch);
	es_batch_end(batch);
	return result.is_duplicate;
}

static Jsonb *
to_data(const Delivery *delivery)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "job_id", delivery->job);
	es_json_push_number(&state, "attempt", delivery->attempt);
	if (delivery->queue != NULL)
		es_json_push_text(&state, "queue", delivery->queue);
	if (delivery->error_code != NULL)
		es_json_push_text(&state, "error_code", delivery->error_code);
	es_json_push_jsonb(&state, "details", delivery->details != NULL ? delivery->details : es_draft_empty_object());
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---- the job ---- */

static void
complete_job(const Delivery *delivery)
{
	LOCAL_FCINFO(call, 4);

	InitFunctionCallInfoData(*call, NULL, 4, InvalidOid, NULL, NULL);
	put_value(call, 0, Int64GetDatum(delivery->job));
	put(call, 1, delivery->details);
	put(call, 2, delivery->worker);
	put_value(call, 3, Int32GetDatum(delivery->attempt));
	(void) eventsource_complete(call);
}

static Datum
fail_job(const Delivery *delivery)
{
	LOCAL_FCINFO(call, 6);

	InitFunctionCallInfoData(*call, NULL, 6, InvalidOid, NULL, NULL);
	put_value(call, 0, Int64GetDatum(delivery->job));
	put(call, 1, delivery->error_code);
	put(call, 2, delivery->message);
	put(call, 3, NULL);
	if (delivery->retry_after != NULL)
		put_value(call, 3, DirectFunctionCall2(timestamptz_pl_interval,
											   TimestampTzGetDatum(GetCurrentTimestamp()),
											   IntervalPGetDatum(delivery->retry_after)));
	put(call, 4, delivery->worker);
	put_value(call, 5, Int32GetDatum(delivery->attempt));
	return eventsource_fail(call);
}

/* A pointer or NULL as an argument. */
static void
put(FunctionCallInfo call, int n, const void *value)
{
	put_value(call, n, PointerGetDatum(value));
	call->args[n].isnull = value == NULL;
}

static void
put_value(FunctionCallInfo call, int n, Datum value)
{
	call->args[n].value = value;
	call->args[n].isnull = false;
}
