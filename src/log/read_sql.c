/*
 * read_sql.c
 *		SQL functions that read the log: read_stream, read_category, read_all,
 *		stream_version, stream_head, stored_data, watermark, verify_chain, hold_log.
 *
 * read_category and read_all read final events only (log/final.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/chain_check.h"
#include "log/final.h"
#include "log/position.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/result_row.h"
#include "log/rights.h"
#include "log/segment.h"
#include "log/stream.h"
#include "log/word.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(eventsource_read_stream);
PG_FUNCTION_INFO_V1(eventsource_read_category);
PG_FUNCTION_INFO_V1(eventsource_read_all);
PG_FUNCTION_INFO_V1(eventsource_stream_version);
PG_FUNCTION_INFO_V1(eventsource_stream_head);
PG_FUNCTION_INFO_V1(eventsource_stored_data);
PG_FUNCTION_INFO_V1(eventsource_watermark);
PG_FUNCTION_INFO_V1(eventsource_verify_chain);
PG_FUNCTION_INFO_V1(eventsource_hold_log);

static int64
get_max_count(FunctionCallInfo fcinfo, int arg)
{
	int64		count = PG_ARGISNULL(arg) ? PG_INT64_MAX : PG_GETARG_INT64(arg);

	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_count must not be negative"),
				 errdetail("It is " INT64_FORMAT ".", count),
				 errhint("NULL means all.")));
	return count;
}

static text *
get_name(FunctionCallInfo fcinfo, int arg, const char *what)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what),
				 errdetail("The function reads one %s at a time.", what),
				 errhint("For the whole log use eventsource.read_all.")));
	return PG_GETARG_TEXT_PP(arg);
}

/* Puts events into the result, up to one of a lower version; final: or NULL. */
static void
put_events(ReturnSetInfo *rsinfo, EsScan *scan, EsFinal *final, int64 lowest_version, int64 max_count)
{
	EsEvent		event;
	EsResultRow *row = es_result_row_begin(rsinfo->setDesc);

	es_scan_expect(scan, max_count);
	es_scan_pack(scan);
	while (max_count-- > 0 && es_scan_next(scan, &event))
	{
		if (DatumGetInt64(event.value[ES_EVENT_VERSION]) < lowest_version)
			break;
		es_result_row_put_event(rsinfo, row, &event);
		if (final != NULL)
			es_final_note(final, scan);
	}
	es_scan_end(scan);
}

Datum
eventsource_read_stream(PG_FUNCTION_ARGS)
{
	text	   *stream = get_name(fcinfo, 0, "stream");
	bool		backward = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	int64		from = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT64(1);
	int64		max_count = get_max_count(fcinfo, 2);

	(void) es_stream_category_length(stream);
	es_rights_expect_read_stream(stream);
	InitMaterializedSRF(fcinfo, 0);
	put_events((ReturnSetInfo *) fcinfo->resultinfo,
			   es_scan_stream(stream, backward ? PG_INT64_MAX : from, backward, GetActiveSnapshot()),
			   NULL, from, max_count);
	return (Datum) 0;
}

static void
read_final(FunctionCallInfo fcinfo, List *categories, int64 after, int64 max_count)
{
	EsFinal    *final;
	EsScan	   *scan;

	InitMaterializedSRF(fcinfo, 0);
	final = es_final_begin();
	scan = categories == NIL ? es_scan_whole_log(after, es_final_upto(final), es_final_snapshot(final)) :
		es_scan_log(after, es_final_upto(final), categories, es_final_snapshot(final));
	if (categories == NIL)
		es_scan_for_reader(scan);
	put_events((ReturnSetInfo *) fcinfo->resultinfo, scan, final, 1, max_count);
	es_final_end(final);
}

Datum
eventsource_read_category(PG_FUNCTION_ARGS)
{
	char	   *category = text_to_cstring(get_name(fcinfo, 0, "category"));

	es_rights_expect_read(category);
	read_final(fcinfo, list_make1(category),
			   PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1), get_max_count(fcinfo, 2));
	return (Datum) 0;
}

Datum
eventsource_read_all(PG_FUNCTION_ARGS)
{
	read_final(fcinfo, NIL, PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0), get_max_count(fcinfo, 1));
	return (Datum) 0;
}

Datum
eventsource_stream_version(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	EsScan	   *scan;
	EsEvent		event;
	EsHead		head;
	int64		version = 0;

	(void) es_stream_category_length(name);
	es_rights_expect_read_stream(name);
	scan = es_scan_stream(name, PG_INT64_MAX, true, GetActiveSnapshot());
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &event))
		version = DatumGetInt64(event.value[ES_EVENT_VERSION]);
	else if (es_pruned_head_of(name, &head))
		version = head.version;
	es_scan_end(scan);
	PG_RETURN_INT64(version);
}

Datum
eventsource_stream_head(PG_FUNCTION_ARGS)
{
	const text *name = es_stream_find_name(PG_GETARG_INT64(0));
	TupleDesc	desc;
	EsScan	   *scan;
	EsEvent		event;
	EsHead		head;
	Datum		values[4] = {0};
	bool		nulls[4] = {true, true, true, true};
	HeapTuple	result;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (name == NULL || !es_rights_reads_stream(name))
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
	scan = es_scan_stream(name, PG_INT64_MAX, true, GetActiveSnapshot());
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &event))
	{
		static const EsEventColumn columns[] = {ES_EVENT_VERSION, ES_EVENT_POSITION,
		ES_EVENT_TO_STATE, ES_EVENT_RECORDED_AT};

		for (int i = 0; i < 4; i++)
		{
			values[i] = event.value[columns[i]];
			nulls[i] = event.isnull[columns[i]];
		}
	}
	else if (es_pruned_head(PG_GETARG_INT64(0), &head))
	{
		values[0] = Int64GetDatum(head.version);
		values[1] = Int64GetDatum(head.position);
		values[2] = PointerGetDatum(es_word_text(head.to_state));
		values[3] = TimestampTzGetDatum(head.recorded_at);
		nulls[0] = nulls[1] = nulls[3] = false;
		nulls[2] = head.to_state == 0;
	}
	result = heap_form_tuple(BlessTupleDesc(desc), values, nulls);
	es_scan_end(scan);
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}

/* stored_data(event_position bigint) */
Datum
eventsource_stored_data(PG_FUNCTION_ARGS)
{
	int64		position = PG_GETARG_INT64(0);
	EsScan	   *scan;
	EsEvent		event;
	Datum		data = (Datum) 0;

	if (position < 1)
		PG_RETURN_NULL();
	scan = es_scan_whole_log(position - 1, position, GetActiveSnapshot());
	es_scan_for_reader(scan);
	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &event))
		data = datumCopy(event.value[ES_EVENT_DATA], false, -1);
	es_scan_end(scan);
	if (data == (Datum) 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(data);
}

Datum
eventsource_watermark(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(es_position_watermark());
}

/* ---- verify_chain ---- */

static void
put_problem(ReturnSetInfo *rsinfo, const EsEvent *event, const char *problem)
{
	Datum		values[4] = {event->value[ES_EVENT_STREAM], event->value[ES_EVENT_VERSION],
	event->value[ES_EVENT_POSITION], CStringGetTextDatum(problem)};
	bool		nulls[4] = {false, false, false, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_verdict(ReturnSetInfo *rsinfo, const EsEvent *event, const EsChainVerdict *verdict)
{
	const char *gap = es_chain_gap(verdict, event);

	if (gap != NULL)
		put_problem(rsinfo, event, gap);
	if (verdict->problem != NULL)
		put_problem(rsinfo, event, verdict->problem);
}

/* Goes through the log once by position. */
Datum
eventsource_verify_chain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EsScan	   *scan;
	EsEvent		event;
	EsChainCheck *check;
	EsChainVerdict verdict;
	MemoryContext per_event;
	MemoryContext old;

	InitMaterializedSRF(fcinfo, 0);
	check = es_chain_check_begin(GetActiveSnapshot());
	if (PG_ARGISNULL(0))
	{
		scan = es_scan_whole_log(0, PG_INT64_MAX, GetActiveSnapshot());
		es_scan_for_reader(scan);
	}
	else
	{
		(void) es_stream_category_length(PG_GETARG_TEXT_PP(0));
		es_rights_expect_read_stream(PG_GETARG_TEXT_PP(0));
		es_stream_mention_missing(PG_GETARG_TEXT_PP(0));
		scan = es_scan_stream(PG_GETARG_TEXT_PP(0), 1, false, GetActiveSnapshot());
	}
	per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource verify", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(per_event);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		es_chain_check_event(check, &event, &verdict);
		put_verdict(rsinfo, &event, &verdict);
		MemoryContextReset(per_event);
	}
	MemoryContextSwitchTo(old);
	es_scan_end(scan);
	es_chain_check_end(check);
	return (Datum) 0;
}

/* What is compared with rows of other tables in the next statement stays as it is. */
Datum
eventsource_hold_log(PG_FUNCTION_ARGS)
{
	es_segment_hold_all();
	PG_RETURN_BOOL(!IsolationUsesXactSnapshot() || es_pruned_is_seen(GetTransactionSnapshot()));
}
