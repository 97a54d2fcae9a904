/*
 * correct.c
 *		SQL functions that correct: correct_event, void_event.
 *
 * A correction is an event of the corrected one's stream, and goes through the
 * hall like any other; what is its own is the judgement of the history that it
 * makes (correct_judge.c), its row in the index of corrections, and the rows of
 * projections that it touches (project/refold.c).
 *
 * Locks: the stream, then the tables of its projections and the keys of shared
 * rows, all before the position is drawn; to the end of the transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "append/batch.h"
#include "append/correct.h"
#include "append/draft.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/correction.h"
#include "log/json.h"
#include "log/read.h"
#include "log/rights.h"
#include "log/word.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

/* Columns of the type eventsource.appended */
#define RESULT_COLUMNS	5

PG_FUNCTION_INFO_V1(eventsource_correct_event);
PG_FUNCTION_INFO_V1(eventsource_void_event);

static Datum correct(FunctionCallInfo fcinfo, EsRevision *revision, const text *reason, const text *actor);
static const text *head_state(const text *name);
static Snapshot look(void);
static Jsonb *whole_data(const EsRevision *revision);
static void in_hall(void (*work) (EsRevision *revision), EsRevision *revision);
static void judge(EsRevision *revision);
static void write_rows(EsRevision *revision);
static void expect_argument(FunctionCallInfo fcinfo, int number, const char *name);
static const text *word_argument(FunctionCallInfo fcinfo, int number, const char *name);
static void find_event(EsRevision *revision);
static void expect_correctable(const EsEvent *event, bool is_void);
static void expect_not_void(const EsRevision *revision);
static void add_correction(EsBatch *batch, const EsRevision *revision, const text *reason,
						   const text *actor, EsAppended *result);
static Jsonb *correction_metadata(int64 position);

/* correct_event(event_position bigint, data jsonb, reason text, actor text) */
Datum
eventsource_correct_event(PG_FUNCTION_ARGS)
{
	EsRevision	revision = {0};

	PreventCommandIfReadOnly("eventsource.correct_event()");
	expect_argument(fcinfo, 0, "event_position");
	expect_argument(fcinfo, 1, "data");
	revision.position = PG_GETARG_INT64(0);
	revision.data = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_OBJECT(revision.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data must be an object"),
				 errdetail("It is what the event should have said, whole."),
				 errhint("To change one field: correct_event(n, eventsource.stored_data(n) || '{\"field\": \"value\"}', ...).")));
	return correct(fcinfo, &revision, word_argument(fcinfo, 2, "reason"), word_argument(fcinfo, 3, "actor"));
}

/* void_event(event_position bigint, reason text, actor text) */
Datum
eventsource_void_event(PG_FUNCTION_ARGS)
{
	EsRevision	revision = {.is_void = true};

	PreventCommandIfReadOnly("eventsource.void_event()");
	expect_argument(fcinfo, 0, "event_position");
	revision.position = PG_GETARG_INT64(0);
	revision.data = es_draft_empty_object();
	return correct(fcinfo, &revision, word_argument(fcinfo, 1, "reason"), word_argument(fcinfo, 2, "actor"));
}

bool
es_correct_append(EsRevision *revision, const text *reason, const text *actor, EsAppended *result)
{
	EsBatch    *batch = es_batch_begin();
	bool		is_new;

	es_hall_open_log();
	find_event(revision);
	es_stream_lock(revision->stream);
	revision->final_state = head_state(revision->stream);
	revision->snapshot = look();
	expect_not_void(revision);

	in_hall(judge, revision);
	UnregisterSnapshot(revision->snapshot);
	is_new = revision->unless == NULL ||
		compareJsonbContainers(&whole_data(revision)->root, &revision->unless->root) != 0;
	if (is_new)
	{
		add_correction(batch, revision, reason, actor, result);
		in_hall(write_rows, revision);
	}
	es_batch_end(batch);
	return is_new;
}

static Datum
correct(FunctionCallInfo fcinfo, EsRevision *revision, const text *reason, const text *actor)
{
	EsAppended	result;
	TupleDesc	desc;
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	(void) es_correct_append(revision, reason, actor, &result);
	values[0] = Int64GetDatum(result.position);
	values[1] = PointerGetDatum(result.stream);
	values[2] = Int64GetDatum(result.version);
	values[3] = PointerGetDatum(result.state);
	nulls[3] = result.state == NULL;
	values[4] = BoolGetDatum(false);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* State of the stream now; an error (40001) if our snapshot does not show it. */
static const text *
head_state(const text *name)
{
	EsWriter   *writer = es_writer_begin();
	EsStream	stream;
	EsHead		head;

	(void) es_stream_find(name, &stream);
	es_writer_read_head(writer, &stream, &head);
	es_writer_close(writer);
	return es_word_text(head.to_state);
}

/* All that is committed, or ours. */
static Snapshot
look(void)
{
	CommandCounterIncrement();
	return RegisterSnapshot(GetLatestSnapshot());
}

/* With its personal fields. */
static Jsonb *
whole_data(const EsRevision *revision)
{
	return revision->personal == NULL ? revision->data :
		es_personal_put_back(revision->data, revision->personal);
}

/* Expressions of users run in there: they must not append. */
static void
in_hall(void (*work) (EsRevision *revision), EsRevision *revision)
{
	es_hall_enter();
	PG_TRY();
	{
		work(revision);
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
}

static void
judge(EsRevision *revision)
{
	es_correct_judge(revision);
	es_refold_lock(revision->rows);
}

static void
write_rows(EsRevision *revision)
{
	es_refold_write(revision->rows, revision->stream);
}

/* ---- arguments ---- */

static void
expect_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name),
				 errdetail("A correction says which event it corrects, how, why, and who says so."),
				 errhint("SELECT * FROM eventsource.correct_event(17, '{\"amount\": 90}', 'typing_error', 'agent:joe').")));
}

/* Neither has a default: whoever corrects says why, and who he is. */
static const text *
word_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	expect_argument(fcinfo, number, name);
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(number)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be empty", name),
				 errdetail("A correction says which event it corrects, how, why, and who says so."),
				 errhint("Give it a word, like 'typing_error' or 'agent:joe'.")));
	return PG_GETARG_TEXT_PP(number);
}

/* The event, committed or ours; events do not change. */
static void
find_event(EsRevision *revision)
{
	Snapshot	snapshot = look();
	EsScan	   *scan = NULL;
	EsEvent		event;

	if (revision->position > 0)
		scan = es_scan_whole_log(revision->position - 1, revision->position, snapshot);
	if (scan != NULL)
	{
		es_scan_expect(scan, 1);
		es_scan_as_stored(scan);
	}
	if (scan == NULL || !es_scan_next(scan, &event) ||
		!es_rights_reads_stream(es_event_text(&event, ES_EVENT_STREAM)))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("there is no event at position " INT64_FORMAT, revision->position),
				 errdetail("Positions have gaps, and the event may be of a transaction that is not committed."),
				 errhint("Look it up: SELECT position FROM eventsource.events WHERE stream = ... .")));
	es_rights_expect_write_stream(es_event_text(&event, ES_EVENT_STREAM));
	expect_correctable(&event, revision->is_void);
	revision->stream = (text *) DatumGetPointer(datumCopy(event.value[ES_EVENT_STREAM], false, -1));
	revision->stream_id = event.stream_id;
	revision->version = DatumGetInt64(event.value[ES_EVENT_VERSION]);
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
}

static void
expect_correctable(const EsEvent *event, bool is_void)
{
	const text *stream = es_event_text(event, ES_EVENT_STREAM);

	if (VARDATA_ANY(stream)[0] == '$')
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("event of stream \"%s\" cannot be corrected", text_to_cstring(stream)),
				 errdetail("Streams of categories that begin with \"$\" hold definitions and the log's own events."),
				 errhint("Define anew what was defined wrongly.")));
	if (es_event_is_correction(event))
	{
		Jsonb	   *metadata = DatumGetJsonbP(event->value[ES_EVENT_METADATA]);
		JsonbValue	buffer;
		JsonbValue *original = es_json_find(&metadata->root, "corrects", &buffer);

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a correction cannot be corrected itself"),
				 errdetail("The event at position " INT64_FORMAT " corrects another event.",
						   DatumGetInt64(event->value[ES_EVENT_POSITION])),
				 errhint("Correct the event at position %s again: its last correction counts.",
						 original == NULL || original->type != jbvNumeric ? "?" :
						 numeric_normalize(original->val.numeric))));
	}
	if (is_void && (event->flags & ES_EVENT_CAPTURED) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a captured event cannot be voided"),
				 errdetail("It is what happened to a row of a tracked table."),
				 errhint("UPDATE the table: that is an event, too.")));
}

/* An event that does not count cannot be voided; new data restores it. */
static void
expect_not_void(const EsRevision *revision)
{
	const EsCorrection *known;

	if (!revision->is_void)
		return;
	known = es_corrections_find(es_corrections_load_stream(revision->stream_id, DT_NOEND, revision->snapshot),
								revision->stream_id, revision->position);
	if (known != NULL && known->is_void)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("event at position " INT64_FORMAT " is voided already", revision->position),
				 errdetail("The event at position " INT64_FORMAT " voided it.", known->position),
				 errhint("eventsource.correct_event() restores it, with new data.")));
}

/* ---- the event ---- */

static void
add_correction(EsBatch *batch, const EsRevision *revision, const text *reason,
			   const text *actor, EsAppended *result)
{
	EsDraft		draft;
	EsCorrection correction = {
		.corrects = revision->position,
		.stream_id = revision->stream_id,
		.state = es_word_id(revision->state),
		.is_void = revision->is_void
	};

	es_draft_init(&draft);
	draft.stream = revision->stream;
	draft.type = cstring_to_text(revision->is_void ? "event_voided" : "event_corrected");
	draft.data = revision->data;
	draft.personal = revision->personal;
	draft.metadata = correction_metadata(revision->position);
	draft.reason = reason;
	draft.actor = actor;
	draft.flags = revision->is_void ? ES_EVENT_VOID : ES_EVENT_CORRECTION;
	draft.passage = ES_PASSAGE_ENTER;
	draft.to_state = revision->final_state;
	draft.subject = revision->subject;
	draft.erased_as = revision->erased_as;
	es_batch_add(batch, &draft, result);
	correction.position = result->position;
	correction.upto = revision->upto != 0 ? revision->upto : result->position;
	correction.recorded_at =
		DatumGetTimestampTz(es_batch_last_event(batch)->value[ES_EVENT_RECORDED_AT]);
	es_batch_flush(batch);
	es_correction_insert(&correction);
}

static Jsonb *
correction_metadata(int64 position)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "corrects", position);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
