/*
 * ask.c
 *		What could be appended now: the hall's decisions without its writing.
 *
 * Reads the newest committed state like an append does, but takes no lock on
 * the stream: what is possible here may no longer be when it is tried.  Whoever
 * must be sure locks the stream first (lock_stream).
 *
 * What an append would raise becomes an answer here.  So decisions run in an
 * internal subtransaction, which is rolled back when they raise an error.
 */
#include "append/draft.h"
#include "append/personal.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/erased.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/rights.h"
#include "log/word.h"
#include "miscadmin.h"
#include "project/fold.h"
#include "rules/event_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Columns of eventsource.allowed_transitions() and of eventsource.can_append() */
#define CHOICE_COLUMNS	7
#define ANSWER_COLUMNS	6

/* A question: the event that would be appended, and where its stream stands. */
typedef struct Question
{
	EsDraft		draft;
	EsEvent		event;
	int64		version;		/* 0: the stream does not exist */
	TimestampTz recorded_at;	/* of its last event */
	const text *state;			/* NULL: none */
	const EsCategory *category;
	EsFold	   *fold;
	EsBinding	binding;
	const EsChoice *choice;		/* being judged */
	EsStep		step;			/* the answer */
	EsRefusal	refusal;		/* says why not */
	bool		allowed;
	bool		is_known;		/* false: that depends on what the caller says */
} Question;

PG_FUNCTION_INFO_V1(eventsource_allowed_transitions);
PG_FUNCTION_INFO_V1(eventsource_can_append);

static void ask(Question *q);
static void set_subject(Question *q, const EsEventType *type);
static void decide(void *arg);
static void judge(void *arg);
static void read_head(Question *q);
static void set_event(Question *q, int category_length);
static void emit_choice(ReturnSetInfo *rsinfo, Question *q);
static Datum codes_array(List *codes);
static Datum answer(FunctionCallInfo fcinfo, const Question *q);

/* allowed_transitions(stream text) */
Datum
eventsource_allowed_transitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Question	q = {0};
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	es_draft_init(&q.draft);
	q.draft.stream = PG_GETARG_TEXT_PP(0);
	q.draft.type = cstring_to_text("?");
	es_rights_expect_read_stream(q.draft.stream);
	ask(&q);
	if (q.category->machine == NULL)
		return (Datum) 0;
	foreach(lc, es_machine_choices(q.category->machine, q.state))
	{
		CHECK_FOR_INTERRUPTS();
		q.choice = lfirst(lc);
		emit_choice(rsinfo, &q);
	}
	return (Datum) 0;
}

/* can_append(stream text, type text, data jsonb, reason text, schema_version integer) */
Datum
eventsource_can_append(PG_FUNCTION_ARGS)
{
	Question	q = {0};

	es_draft_init(&q.draft);
	q.draft.stream = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	q.draft.type = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	q.draft.data = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	q.draft.reason = PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3);
	if (!PG_ARGISNULL(4))
		es_draft_set_schema_version(&q.draft, PG_GETARG_INT32(4));
	if (q.draft.stream != NULL)
		es_rights_expect_read_stream(q.draft.stream);
	es_batch_settle();
	q.allowed = es_machine_attempt(decide, &q, &q.refusal) && q.step.verdict == ES_LEGAL;
	return answer(fcinfo, &q);
}

/* Completes a question from its draft; errors for what no append could be. */
static void
ask(Question *q)
{
	int			category_length = es_draft_check(&q->draft);

	es_batch_settle();
	q->category = es_category_get(pnstrdup(VARDATA_ANY(q->draft.stream), category_length));
	q->fold = es_fold_begin(CurrentMemoryContext);
	read_head(q);
	set_event(q, category_length);
	set_subject(q, NULL);
	q->binding.event = &q->event;
	q->binding.state = q->state;
	if (OidIsValid(q->category->context))
		q->binding.row = es_fold_context_row(q->fold, q->category->context, &q->event);
}

static void
set_subject(Question *q, const EsEventType *type)
{
	const text *subject = es_event_type_subject(type, q->category, &q->event);

	if (subject != NULL)
		es_event_set(&q->event, ES_EVENT_SUBJECT, PointerGetDatum(subject));
}

/* Everything that an append decides before it writes. */
static void
decide(void *arg)
{
	Question   *q = arg;
	EsMachine  *machine;
	const EsEventType *type;
	bool		is_filled_in;
	EsEvent		stored;
	EsEvent		told;

	ask(q);
	type = es_event_type_admit(q->category, &q->event, q->draft.schema_version);
	is_filled_in = type != NULL &&
		es_machine_fills(q->category->machine, es_event_text(&q->event, ES_EVENT_TYPE));
	if (!is_filled_in)
		es_event_type_check(es_event_type_in_force(type), &q->event, NULL);
	es_personal_take(&q->event, type, &q->draft);
	stored = q->event;
	es_reading_upcast(es_reading_begin(), &q->event);
	if (type != NULL && type->subject != NULL)
		set_subject(q, type);
	es_erased_refuse(es_event_text(&q->event, ES_EVENT_SUBJECT), false, ES_ERASED_NOT);
	machine = q->category->machine;
	q->step.verdict = ES_LEGAL;
	if (machine != NULL)
		es_machine_step(machine, q->state, &q->binding, es_draft_default_reason(), true, &q->step);
	if (q->step.verdict != ES_LEGAL)
	{
		es_machine_refusal(machine, &q->step, &q->event, &q->refusal);
		return;
	}
	if (machine != NULL)
		es_event_set(&stored, ES_EVENT_DATA,
					 PointerGetDatum(es_machine_fill(machine, &q->step, &q->binding,
													 DatumGetJsonbP(stored.value[ES_EVENT_DATA]))));
	if (is_filled_in)
	{
		es_personal_refuse_filled(&stored, type);
		es_event_type_check(es_event_type_in_force(type), es_personal_told(&stored, &told), NULL);
	}
}

/* Do the guards of the choice hold? */
static void
judge(void *arg)
{
	Question   *q = arg;

	es_event_set(&q->event, ES_EVENT_TYPE, PointerGetDatum(q->choice->type));
	q->allowed = es_machine_choice_holds(q->category->machine, q->choice, q->state, &q->binding,
										 &q->is_known);
}

/* The newest event of the stream, committed or ours. */
static void
read_head(Question *q)
{
	EsScan	   *scan = es_scan_stream(q->draft.stream, PG_INT64_MAX, true, SnapshotSelf);
	EsEvent		last;
	EsHead		head;

	q->version = 0;
	q->recorded_at = 0;
	q->state = NULL;
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &last))
	{
		q->version = DatumGetInt64(last.value[ES_EVENT_VERSION]);
		q->recorded_at = DatumGetTimestampTz(last.value[ES_EVENT_RECORDED_AT]);
		q->state = es_event_text(&last, ES_EVENT_TO_STATE); /* lasts: a word */
	}
	else if (es_pruned_head_of(q->draft.stream, &head))
	{
		q->version = head.version;
		q->recorded_at = head.recorded_at;
		q->state = es_word_text(head.to_state);
	}
	es_scan_end(scan);
}

/* The event as the rules would see it. */
static void
set_event(Question *q, int category_length)
{
	EsEvent    *event = &q->event;
	const EsDraft *draft = &q->draft;
	const char *name = VARDATA_ANY(draft->stream);
	int			length = VARSIZE_ANY_EXHDR(draft->stream);
	TimestampTz now = Max(GetCurrentTimestamp(), q->recorded_at);

	memset(event, 0, sizeof(EsEvent));
	memset(event->isnull, true, sizeof(event->isnull));
	es_event_set(event, ES_EVENT_STREAM, PointerGetDatum(draft->stream));
	es_event_set(event, ES_EVENT_CATEGORY,
				 PointerGetDatum(cstring_to_text_with_len(name, category_length)));
	es_event_set(event, ES_EVENT_KEY,
				 PointerGetDatum(cstring_to_text_with_len(name + category_length + 1,
														  length - category_length - 1)));
	es_event_set(event, ES_EVENT_SUBJECT, PointerGetDatum(draft->stream));
	es_event_set(event, ES_EVENT_VERSION, Int64GetDatum(q->version + 1));
	es_event_set(event, ES_EVENT_TYPE, PointerGetDatum(draft->type));
	es_event_set(event, ES_EVENT_SCHEMA_VERSION, Int32GetDatum(1));
	es_event_set(event, ES_EVENT_DATA,
				 PointerGetDatum(draft->data != NULL ? draft->data : es_draft_empty_object()));
	es_event_set(event, ES_EVENT_METADATA, PointerGetDatum(es_draft_metadata(draft)));
	es_event_set(event, ES_EVENT_ACTOR, PointerGetDatum(es_draft_actor(draft)));
	es_event_set(event, ES_EVENT_RECORDED_BY, PointerGetDatum(es_draft_recorded_by()));
	if (draft->reason != NULL)
		es_event_set(event, ES_EVENT_REASON, PointerGetDatum(draft->reason));
	if (q->state != NULL)
		es_event_set(event, ES_EVENT_FROM_STATE, PointerGetDatum(q->state));
	es_event_set(event, ES_EVENT_IS_SYNTHETIC, BoolGetDatum(false));
	es_event_set(event, ES_EVENT_OCCURRED_AT, TimestampTzGetDatum(now));
	es_event_set(event, ES_EVENT_RECORDED_AT, TimestampTzGetDatum(now));
}

/*
 * type, target, reason, reasons, guard, label, is_allowed: whether the guards
 * hold; unknown (NULL) where they ask for what only the caller of append() will
 * say.
 */
static void
emit_choice(ReturnSetInfo *rsinfo, Question *q)
{
	const EsChoice *choice = q->choice;
	Datum		values[CHOICE_COLUMNS];
	bool		nulls[CHOICE_COLUMNS] = {0};

	values[0] = PointerGetDatum(choice->type);
	values[1] = PointerGetDatum(choice->target);
	values[2] = CStringGetTextDatum(choice->reason);
	nulls[3] = choice->reasons == NIL;
	if (!nulls[3])
		values[3] = codes_array(choice->reasons);
	nulls[4] = choice->guard == NULL;
	if (!nulls[4])
		values[4] = CStringGetTextDatum(choice->guard);
	nulls[5] = choice->label == NULL;
	if (!nulls[5])
		values[5] = CStringGetTextDatum(choice->label);
	q->is_known = q->allowed = true;
	if (q->category->strict &&
		es_event_type_in_force(es_event_type_get(es_event_text(&q->event, ES_EVENT_CATEGORY),
												 choice->type)) == NULL)
		q->allowed = false;
	else if (choice->guard != NULL && !es_machine_attempt(judge, q, &q->refusal))
	{
		q->is_known = true;
		q->allowed = false;
	}
	nulls[6] = !q->is_known;
	values[6] = BoolGetDatum(q->allowed);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
codes_array(List *codes)
{
	Datum	   *elements = palloc(sizeof(Datum) * list_length(codes));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, codes)
		elements[n++] = PointerGetDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* allowed, sqlstate, message, detail, hint, state */
static Datum
answer(FunctionCallInfo fcinfo, const Question *q)
{
	const EsRefusal *refusal = &q->refusal;
	Datum		values[ANSWER_COLUMNS] = {0};
	bool		nulls[ANSWER_COLUMNS] = {0};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(q->allowed);
	nulls[1] = nulls[2] = q->allowed;
	nulls[3] = q->allowed || refusal->detail == NULL;
	nulls[4] = q->allowed || refusal->hint == NULL;
	nulls[5] = !q->allowed || q->step.to_state == NULL;
	if (!q->allowed)
	{
		values[1] = CStringGetTextDatum(unpack_sql_state(refusal->sqlstate));
		values[2] = CStringGetTextDatum(refusal->message);
	}
	if (!nulls[3])
		values[3] = CStringGetTextDatum(refusal->detail);
	if (!nulls[4])
		values[4] = CStringGetTextDatum(refusal->hint);
	if (!nulls[5])
		values[5] = PointerGetDatum(q->step.to_state);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
