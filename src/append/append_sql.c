/*
 * append_sql.c
 *		SQL functions that append: append, append_events, lock_stream.
 */
#include "postgres.h"

#include "append/draft.h"
#include "append/hall.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/json.h"
#include "log/open.h"
#include "log/rights.h"
#include "log/segment.h"
#include "log/stream.h"
#include "log/word.h"
#include "log/writer.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(eventsource_append);
PG_FUNCTION_INFO_V1(eventsource_append_events);
PG_FUNCTION_INFO_V1(eventsource_lock_stream);

#define RESULT_COLUMNS	5

static void
result_values(const EsAppended *result, Datum *values, bool *nulls)
{
	memset(nulls, false, RESULT_COLUMNS * sizeof(bool));
	values[0] = Int64GetDatum(result->position);
	values[1] = PointerGetDatum(result->stream);
	values[2] = Int64GetDatum(result->version);
	values[3] = PointerGetDatum(result->state);
	nulls[3] = result->state == NULL;
	values[4] = BoolGetDatum(result->is_duplicate);
}

/* Row type of the result, looked up once per call site. */
static TupleDesc
result_desc(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		fcinfo->flinfo->fn_extra = BlessTupleDesc(CreateTupleDescCopy(desc));
		MemoryContextSwitchTo(old);
	}
	return fcinfo->flinfo->fn_extra;
}

Datum
eventsource_append(PG_FUNCTION_ARGS)
{
	EsDraft		draft;
	EsAppended	result;
	EsBatch    *batch;
	TupleDesc	desc;
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS];
	HeapTuple	tuple;

	es_draft_init(&draft);
	draft.stream = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	draft.type = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	draft.data = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	draft.reason = PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3);
	draft.actor = PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4);
	draft.metadata = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5);
	if (!PG_ARGISNULL(6))
	{
		draft.expected_version = PG_GETARG_INT64(6);
		if (draft.expected_version == ES_ANY_VERSION)
			draft.expected_version = PG_INT64_MIN;	/* refused: negative */
	}
	draft.has_occurred_at = !PG_ARGISNULL(7);
	draft.occurred_at = PG_ARGISNULL(7) ? 0 : PG_GETARG_TIMESTAMPTZ(7);
	draft.idempotency_key = PG_ARGISNULL(8) ? NULL : PG_GETARG_TEXT_PP(8);
	if (!PG_ARGISNULL(9))
		es_draft_set_schema_version(&draft, PG_GETARG_INT32(9));
	if (draft.stream != NULL)
		es_rights_expect_write_stream(draft.stream);

	batch = es_batch_begin();
	es_batch_lock_ahead(&draft);
	es_batch_add(batch, &draft, &result);
	es_batch_flush(batch);
	result_values(&result, values, nulls);
	desc = lookup_rowtype_tupdesc(get_fn_expr_rettype(fcinfo->flinfo), -1);
	tuple = heap_form_tuple(desc, values, nulls);
	ReleaseTupleDesc(desc);
	es_batch_end(batch);
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}

static EsDraft *
drafts_from_array(Jsonb *events, int *count)
{
	JsonbIterator *it;
	JsonbValue	v;
	EsDraft    *drafts;
	EsDraftContext context;
	int			n = 0;

	if (!JB_ROOT_IS_ARRAY(events) || JB_ROOT_IS_SCALAR(events))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events must be an array of objects"),
				 errdetail("A single event also stands in an array."),
				 errhint("For example '[{\"stream\": \"lead-42\", \"type\": \"note_added\"}]'.")));
	drafts = palloc(Max(1, JB_ROOT_COUNT(events)) * sizeof(EsDraft));
	es_draft_begin_errors(&context);
	it = JsonbIteratorInit(&events->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while (JsonbIteratorNext(&it, &v, true) == WJB_ELEM)
	{
		CHECK_FOR_INTERRUPTS();
		if (!es_json_is_object(&v))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("event %d of the batch is not an object", n + 1),
					 errdetail("Each element must be an object with the arguments of eventsource.append as keys."),
					 errhint("For example {\"stream\": \"lead-42\", \"type\": \"note_added\"}.")));
		es_draft_init(&drafts[n]);
		context.draft = &drafts[n];
		context.number = ++n;
		es_draft_from_json(&drafts[n - 1], v.val.binary.data, n);
		if (drafts[n - 1].stream != NULL)
			es_rights_expect_write_stream(drafts[n - 1].stream);
		context.draft = NULL;
	}
	es_draft_end_errors(&context);
	*count = n;
	return drafts;
}

Datum
eventsource_append_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			count;
	EsDraft    *drafts = drafts_from_array(PG_GETARG_JSONB_P(0), &count);
	EsBatch    *batch = es_batch_begin();

	InitMaterializedSRF(fcinfo, 0);
	es_batch_lock(drafts, count);
	for (int i = 0; i < count; i++)
	{
		EsDraftContext context;
		EsAppended	result;
		Datum		values[RESULT_COLUMNS];
		bool		nulls[RESULT_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		es_draft_begin_errors(&context);
		context.draft = &drafts[i];
		context.number = i + 1;
		es_batch_add(batch, &drafts[i], &result);
		es_draft_end_errors(&context);
		result_values(&result, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		if (es_batch_is_full(batch))
			es_batch_flush(batch);
	}
	es_batch_flush(batch);
	es_batch_end(batch);
	return (Datum) 0;
}

Datum
eventsource_lock_stream(PG_FUNCTION_ARGS)
{
	text	   *name;
	TupleDesc	desc;
	EsStream	stream;
	EsHead		head;
	EsWriter   *writer;
	const text *state;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("stream must not be null"),
				 errdetail("Nothing would be locked."),
				 errhint("SELECT * FROM eventsource.lock_stream('lead-42').")));
	name = PG_GETARG_TEXT_PP(0);
	desc = result_desc(fcinfo);
	(void) es_stream_category_length(name);
	es_draft_refuse_reserved(name);
	es_rights_expect_write_stream(name);
	PreventCommandIfReadOnly("eventsource.lock_stream()");
	es_batch_settle();
	if (!es_log_is_open())
		es_segment_open_log();
	es_stream_lock(name);
	(void) es_stream_find(name, &stream);
	writer = es_writer_begin();
	es_writer_read_head(writer, &stream, &head);
	es_writer_close(writer);
	state = es_word_text(head.to_state);
	values[0] = Int64GetDatum(head.version);
	values[1] = PointerGetDatum(state);
	nulls[1] = state == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
