/*
 * machine_state.c
 *		In which state is, or was, a stream: SQL functions over the log.
 *
 * They read with the caller's snapshot and take no stream lock.
 */
#include "postgres.h"

#include "fmgr.h"
#include "log/correction.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/rights.h"
#include "log/stream.h"
#include "log/word.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(eventsource_current_state);
PG_FUNCTION_INFO_V1(eventsource_state_at);
PG_FUNCTION_INFO_V1(eventsource_includes_synthetic);

static text *state_as_recorded(const text *stream, TimestampTz at);
static text *state_as_occurred(const text *stream, TimestampTz at);
static text *state_before(const text *stream, TimestampTz at);
static text *copy_state(const EsEvent *event);

/* current_state(stream text) */
Datum
eventsource_current_state(PG_FUNCTION_ARGS)
{
	text	   *state;

	es_rights_expect_read_stream(PG_GETARG_TEXT_PP(0));
	state = state_as_recorded(PG_GETARG_TEXT_PP(0), DT_NOEND);
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(state);
}

/* state_at(stream text, at timestamptz, basis text) */
Datum
eventsource_state_at(PG_FUNCTION_ARGS)
{
	const text *stream = PG_GETARG_TEXT_PP(0);
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);
	char	   *basis = text_to_cstring(PG_GETARG_TEXT_PP(2));
	text	   *state = NULL;

	es_rights_expect_read_stream(stream);
	if (strcmp(basis, "recorded") == 0)
		state = state_as_recorded(stream, at);
	else if (strcmp(basis, "occurred") == 0)
		state = state_as_occurred(stream, at);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown basis \"%s\"", basis),
				 errdetail("The basis says which time of an event counts."),
				 errhint("Use 'recorded' (what was known at that time) "
						 "or 'occurred' (what had happened by then).")));
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(state);
}

/* After the last event recorded by then; recorded_at never decreases. */
static text *
state_as_recorded(const text *stream, TimestampTz at)
{
	EsScan	   *scan = es_scan_stream(stream, PG_INT64_MAX, true, GetActiveSnapshot());
	EsEvent		event;
	text	   *state = NULL;
	bool		found = false;

	es_scan_as_stored(scan);
	while (!found && es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (DatumGetTimestampTz(event.value[ES_EVENT_RECORDED_AT]) > at)
			continue;
		state = copy_state(&event);
		found = true;
	}
	es_scan_end(scan);
	return found ? state : state_before(stream, at);
}

/* That in which events left the stream that were taken away since. */
static text *
state_before(const text *stream, TimestampTz at)
{
	EsHead		head;
	const text *state;

	if (!es_pruned_head_of(stream, &head) || head.recorded_at > at)
		return NULL;
	state = es_word_text(head.to_state);
	return state == NULL ? NULL : cstring_to_text_with_len(VARDATA_ANY(state), VARSIZE_ANY_EXHDR(state));
}

/*
 * After the last event that had occurred by then, as corrected.  An event counts as no
 * earlier than those before it, so the first later one ends the search.
 */
static text *
state_as_occurred(const text *stream, TimestampTz at)
{
	EsScan	   *scan = es_scan_stream(stream, 1, false, GetActiveSnapshot());
	EsCorrections *corrections;
	EsStream	found;
	EsEvent		event;
	text	   *state;

	if (!es_stream_find(stream, &found))
	{
		es_scan_end(scan);
		return NULL;
	}
	state = state_before(stream, at);
	corrections = es_corrections_load_stream(found.id, DT_NOEND, GetActiveSnapshot());
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (!es_corrections_apply(corrections, &event) && (event.flags & ES_EVENT_ERASED) == 0)
			continue;
		if (DatumGetTimestampTz(event.value[ES_EVENT_OCCURRED_AT]) > at)
			break;
		if (state != NULL)
			pfree(state);
		state = copy_state(&event);
	}
	es_scan_end(scan);
	return state;
}

static text *
copy_state(const EsEvent *event)
{
	const text *state = es_event_text(event, ES_EVENT_TO_STATE);

	return state == NULL ? NULL
		: cstring_to_text_with_len(VARDATA_ANY(state), VARSIZE_ANY_EXHDR(state));
}

/* For the views transitions and state_periods. */
Datum
eventsource_includes_synthetic(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(es_guc_include_synthetic);
}
