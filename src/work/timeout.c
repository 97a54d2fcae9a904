/*
 * timeout.c
 *		Executes timeouts of state machines that are due.
 *
 * A timeout belongs to a visit: the stream has not left the state since the event that
 * entered it.  Its length, its event type and its guard are those of the machine by which
 * the state was entered; whether that event is allowed is for the machine of now, in the
 * hall, like any other event.
 *
 * Locks: the stream, then the job's row, as writers do who cancel it.
 */
#include "work/timeout.h"

#include "append/draft.h"
#include "append/job_finish.h"
#include "append/timer.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "log/attempt.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/word.h"
#include "miscadmin.h"
#include "project/fold.h"
#include "rules/category.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* A timeout that is due, and what was found out about it. */
typedef struct Timeout
{
	int64		job;
	text	   *stream;			/* NULL: the job is gone */
	Jsonb	   *payload;
	text	   *state;
	char	   *after;
	text	   *machine;		/* label */
	int64		version;		/* of the entering event */
	int64		position;
	TimestampTz due;

	/* of the stream, by what it is now */
	const text *state_now;
	int64		version_now;
	TimestampTz occurred_at;	/* of its last event */
	bool		has_occurred_at;
	char	   *correlation;	/* id of the entering event, or NULL */

	EsAppended	appended;
	char	   *refusal;		/* why nothing was appended, or NULL */
} Timeout;

static bool is_refusal(int sqlstate);
static char *describe_refusal(const ErrorData *error);
static bool find_stream(Timeout *timeout);
static bool claim(Timeout *timeout);
static void read_stream(HeapTuple row, TupleDesc desc, void *arg);
static void read_payload(Timeout *timeout);
static bool is_in_visit(Timeout *timeout);
static void read_head(Timeout *timeout);
static void append_end(void *arg);
static bool choose_end(Timeout *timeout, EsTimeoutEnd *end);
static void set_event(const Timeout *timeout, EsEvent *event);
static Jsonb *make_metadata(const Timeout *timeout);
static const Jsonb *late_states(const Timeout *timeout);
static void finish(const Timeout *timeout);

EsTimeoutOutcome
es_timeout_execute(int64 job_id)
{
	Timeout		timeout = {.job = job_id};
	ErrorData  *error;

	if (!find_stream(&timeout))
		return ES_TIMEOUT_GONE;
	if (!es_stream_try_lock(timeout.stream))
		return ES_TIMEOUT_BUSY;
	if (!claim(&timeout))
		return ES_TIMEOUT_GONE;
	if (!is_in_visit(&timeout))
		timeout.refusal = ES_TIMER_LEFT;
	else
	{
		int			level = NewGUCNestLevel();

		es_draft_forget_settings();
		error = es_attempt(append_end, &timeout, is_refusal);
		AtEOXact_GUC(true, level);
		if (error != NULL)
			timeout.refusal = describe_refusal(error);
	}
	finish(&timeout);
	return timeout.refusal == NULL ? ES_TIMEOUT_APPENDED : ES_TIMEOUT_PASSED;
}

/*
 * What the rules, the data or a constraint say no to, now and again.  What may be mended
 * (a function that is gone, a right, a lock) is an error.
 */
static bool
is_refusal(int sqlstate)
{
	int			class = ERRCODE_TO_CATEGORY(sqlstate);

	return class == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) ||
		(class == ERRCODE_TO_CATEGORY(ES_ERRCODE_APPEND_ONLY) &&
		 sqlstate != ES_ERRCODE_INVALID_DEFINITION && sqlstate != ES_ERRCODE_LOG_DIVERGED);
}

/* What the rules say quotes nothing; what else fails may quote rows that are made of personal fields. */
static char *
describe_refusal(const ErrorData *error)
{
	int			class = ERRCODE_TO_CATEGORY(error->sqlerrcode);
	bool		may_quote = class != ERRCODE_TO_CATEGORY(ES_ERRCODE_APPEND_ONLY) &&
		es_pii_declared(NIL, NULL) != NIL;

	return psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
					may_quote ? ES_PII_CONCEALED : es_error_clip(error->message));
}

/* ---- the job ---- */

static bool
find_stream(Timeout *timeout)
{
	static EsOwnSql find = {
		.text = "SELECT stream FROM eventsource.job WHERE id = $1 AND queue = '" ES_JOB_TIMEOUT_QUEUE "'"
		" AND state IN " ES_JOB_UNFINISHED,
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		id = Int64GetDatum(timeout->job);

	(void) es_own_sql(&find, &id, NULL, read_stream, timeout);
	return timeout->stream != NULL;
}

/* With the stream locked: who had it before may have done or cancelled the job. */
static bool
claim(Timeout *timeout)
{
	const EsJob *job = es_job_lock(timeout->job, true);

	if (job == NULL)
		return false;
	timeout->position = job->event_position;
	timeout->payload = job->payload;
	read_payload(timeout);
	return true;
}

static void
read_stream(HeapTuple row, TupleDesc desc, void *arg)
{
	((Timeout *) arg)->stream = es_own_sql_text(row, desc, 1);
}

static void
read_payload(Timeout *timeout)
{
	JsonbContainer *payload = &timeout->payload->root;
	char	   *state = es_json_find_string(payload, ES_TIMER_STATE);
	char	   *machine = es_json_find_string(payload, ES_TIMER_MACHINE);
	char	   *due = es_json_find_string(payload, ES_TIMER_DUE);

	timeout->after = es_json_find_string(payload, ES_TIMER_AFTER);
	if (state == NULL || machine == NULL || due == NULL || timeout->after == NULL ||
		!es_json_find_number(payload, ES_TIMER_VERSION, &timeout->version))
		elog(ERROR, "job " INT64_FORMAT " is not a timeout", timeout->job);
	timeout->state = cstring_to_text(state);
	timeout->machine = cstring_to_text(machine);
	timeout->due = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(due),
														   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
finish(const Timeout *timeout)
{
	EsJobFinish finish = {.end = ES_JOB_DONE};

	if (timeout->refusal != NULL)
		finish.reason = cstring_to_text(timeout->refusal);
	else
	{
		JsonbParseState *state = NULL;

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		es_json_push_number(&state, "position", timeout->appended.position);
		es_json_push_number(&state, "version", timeout->appended.version);
		finish.result = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	}
	if (es_job_finish(timeout->job, &finish) == NULL)
		elog(ERROR, "timeout " INT64_FORMAT " was finished by another one", timeout->job);
}

/* ---- the stream ---- */

/*
 * Has it been in the state since that event?  Who leaves a state, or comes to it anew,
 * cancels its timeouts; but not by a machine that has never had any, and they can be redriven.
 */
static bool
is_in_visit(Timeout *timeout)
{
	EsScan	   *scan;
	EsEvent		event;
	bool		is_in = true;

	read_head(timeout);
	if (!es_text_same(timeout->state_now, timeout->state))
		return false;
	scan = es_scan_stream(timeout->stream, timeout->version, false, SnapshotSelf);
	es_scan_as_stored(scan);
	while (is_in && es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt64(event.value[ES_EVENT_VERSION]) == timeout->version)
			timeout->correlation = es_json_find_string(&DatumGetJsonbP(event.value[ES_EVENT_METADATA])->root,
													   "correlation_id");
		else
			is_in = !es_machine_reenters(&event);
	}
	es_scan_end(scan);
	return is_in;
}

static void
read_head(Timeout *timeout)
{
	EsScan	   *scan = es_scan_stream(timeout->stream, PG_INT64_MAX, true, SnapshotSelf);
	EsEvent		last;
	EsHead		head;

	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &last))
	{
		timeout->version_now = DatumGetInt64(last.value[ES_EVENT_VERSION]);
		timeout->state_now = es_event_text(&last, ES_EVENT_TO_STATE);	/* lasts: a word */
		timeout->occurred_at = DatumGetTimestampTz(last.value[ES_EVENT_OCCURRED_AT]);
		timeout->has_occurred_at = true;
	}
	else if (es_pruned_head_of(timeout->stream, &head))
	{
		timeout->version_now = head.version;
		timeout->state_now = es_word_text(head.to_state);
	}
	es_scan_end(scan);
}

/* ---- the event ---- */

/* In a subtransaction: what goes wrong here is why nothing is appended. */
static void
append_end(void *arg)
{
	Timeout    *timeout = arg;
	EsTimeoutEnd end;
	EsBatch    *batch;
	EsDraft		draft;
	EsTimedOut	timed_out = {.job = timeout->job};

	if (!choose_end(timeout, &end))
		return;
	es_draft_init(&draft);
	draft.stream = timeout->stream;
	draft.type = end.type;
	draft.reason = end.reason;
	draft.actor = cstring_to_text("system:timeout");
	draft.metadata = make_metadata(timeout);
	draft.has_occurred_at = true;
	draft.occurred_at = timeout->has_occurred_at ? Max(timeout->due, timeout->occurred_at) : timeout->due;
	timed_out.late_states = late_states(timeout);
	draft.timed_out = &timed_out;
	batch = es_batch_begin();
	es_batch_add(batch, &draft, &timeout->appended);
	es_batch_flush(batch);
	es_batch_end(batch);
}

/* What the timeout ends with; false: with nothing, and refusal says why. */
static bool
choose_end(Timeout *timeout, EsTimeoutEnd *end)
{
	EsEvent		event;
	EsBinding	binding = {.event = &event,.state = timeout->state};
	const EsCategory *category;
	EsMachine  *machine;

	set_event(timeout, &event);
	category = es_category_get(text_to_cstring(es_event_text(&event, ES_EVENT_CATEGORY)));
	machine = es_category_machine(category, timeout->machine);
	if (category->machine == NULL || machine == NULL)
	{
		timeout->refusal = "the category has no state machine any more";
		return false;
	}
	es_hall_enter();
	PG_TRY();
	{
		if (OidIsValid(category->context))
			binding.row = es_fold_context_row(es_fold_begin(CurrentMemoryContext), category->context, &event);
		(void) es_machine_time_out(machine, timeout->state, timeout->after, &binding, end);
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
	if (end->type == NULL)
		timeout->refusal = end->guard == NULL ? "the state machine has no such timeout" :
			psprintf("guard \"%s\" did not hold", end->guard);
	return end->type != NULL;
}

/* As guards see it, which knows neither its type nor its reason yet. */
static void
set_event(const Timeout *timeout, EsEvent *event)
{
	const char *name = VARDATA_ANY(timeout->stream);
	int			length = VARSIZE_ANY_EXHDR(timeout->stream);
	int			category = es_stream_category_length(timeout->stream);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz at = timeout->has_occurred_at ? Max(timeout->due, timeout->occurred_at) : timeout->due;

	memset(event, 0, sizeof(EsEvent));
	memset(event->isnull, true, sizeof(event->isnull));
	es_event_set(event, ES_EVENT_STREAM, PointerGetDatum(timeout->stream));
	es_event_set(event, ES_EVENT_CATEGORY, PointerGetDatum(cstring_to_text_with_len(name, category)));
	es_event_set(event, ES_EVENT_KEY,
				 PointerGetDatum(cstring_to_text_with_len(name + category + 1, length - category - 1)));
	es_event_set(event, ES_EVENT_SUBJECT, PointerGetDatum(timeout->stream));
	es_event_set(event, ES_EVENT_VERSION, Int64GetDatum(timeout->version_now + 1));
	es_event_set(event, ES_EVENT_TYPE, PointerGetDatum(es_empty_text()));
	es_event_set(event, ES_EVENT_SCHEMA_VERSION, Int32GetDatum(1));
	es_event_set(event, ES_EVENT_DATA, PointerGetDatum(es_draft_empty_object()));
	es_event_set(event, ES_EVENT_METADATA, PointerGetDatum(make_metadata(timeout)));
	es_event_set(event, ES_EVENT_ACTOR, PointerGetDatum(cstring_to_text("system:timeout")));
	es_event_set(event, ES_EVENT_RECORDED_BY, PointerGetDatum(es_draft_recorded_by()));
	es_event_set(event, ES_EVENT_FROM_STATE, PointerGetDatum(timeout->state));
	es_event_set(event, ES_EVENT_IS_SYNTHETIC, BoolGetDatum(false));
	es_event_set(event, ES_EVENT_OCCURRED_AT, TimestampTzGetDatum(at));
	es_event_set(event, ES_EVENT_RECORDED_AT, TimestampTzGetDatum(now));
}

/* Caused by the event that entered the state. */
static Jsonb *
make_metadata(const Timeout *timeout)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "causation_id", psprintf(INT64_FORMAT, timeout->position));
	if (timeout->correlation != NULL)
		es_json_push_string(&state, "correlation_id", timeout->correlation);
	es_json_push_string(&state, ES_TIMER_HAPPENED, timeout->after);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The states through which late timeouts led here, this one too. */
static const Jsonb *
late_states(const Timeout *timeout)
{
	List	   *states = es_json_find_strings(timeout->payload, ES_TIMER_LATE);
	JsonbParseState *state = NULL;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, states)
		es_json_push_element(&state, lfirst(lc));
	es_json_push_element(&state, text_to_cstring(timeout->state));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
