/*
 * erase_event.c
 *		What is recorded about erasures: events of the category $erasure, one stream
 *		per subject; request_erasure, which opens a case, and close_erasure_request.
 *
 * They hold no personal data but the subject's name.
 */
#include "postgres.h"

#include "append/own_event.h"
#include "errors.h"
#include "fmgr.h"
#include "log/accounts.h"
#include "log/json.h"
#include "log/read.h"
#include "miscadmin.h"
#include "trust/erase.h"
#include "trust/erase_args.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(eventsource_request_erasure);
PG_FUNCTION_INFO_V1(eventsource_close_erasure_request);

static Jsonb *request_data(EsErasedMode mode, TimestampTz deadline);
static Jsonb *closing_data(const EsErasureRequest *request);
static bool is_type(const EsEvent *event, const char *type);

int64
es_erasure_append(const text *subject, const char *type, Jsonb *data, const text *reason, const text *actor)
{
	return es_own_event_append(es_erasure_stream(subject), type, subject, data, reason, actor);
}

/* request_erasure(subject text, mode text, reason text, actor text, deadline interval): position */
Datum
eventsource_request_erasure(PG_FUNCTION_ARGS)
{
	EsErasureArgs args;
	EsErasureRequest open;
	TimestampTz deadline;

	PreventCommandIfReadOnly("eventsource.request_erasure()");
	es_erasure_args(fcinfo, 0, 1, 2, 3, &args);
	if (PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("deadline must not be null"),
				 errdetail("A request is to be met within some time."),
				 errhint("For instance: deadline => '30 days'.")));
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(GetCurrentTimestamp()),
													   PG_GETARG_DATUM(4)));
	es_erased_lock(args.subject);
	if (es_erased_find(args.subject, SnapshotSelf) >= args.mode)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("subject \"%s\" is erased already", text_to_cstring(args.subject)),
				 errdetail("Mode %s asks for nothing that was not done.", es_erased_mode_name(args.mode)),
				 errhint("eventsource.erasure_report() says what was done.")));
	if (es_erasure_find_request(args.subject, &open) && open.mode >= args.mode)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("erasure of subject \"%s\" was requested already", text_to_cstring(args.subject)),
				 errdetail("The request at position " INT64_FORMAT " in mode %s is open.", open.position,
						   es_erased_mode_name(open.mode)),
				 errhint("The view eventsource.erasure_requests shows its deadline.")));
	PG_RETURN_INT64(es_erasure_append(args.subject, ES_ERASURE_REQUESTED, request_data(args.mode, deadline),
									  args.reason, args.actor));
}

static Jsonb *
request_data(EsErasedMode mode, TimestampTz deadline)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, ES_ERASURE_MODE, es_erased_mode_name(mode));
	es_json_push_string(&state, "deadline", es_erasure_time(deadline));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* close_erasure_request(subject text, reason text, actor text): position */
Datum
eventsource_close_erasure_request(PG_FUNCTION_ARGS)
{
	EsErasureArgs args;
	EsErasureRequest open;

	PreventCommandIfReadOnly("eventsource.close_erasure_request()");
	es_erasure_args(fcinfo, 0, -1, 1, 2, &args);
	es_erased_lock(args.subject);
	if (!es_erasure_find_request(args.subject, &open))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no erasure of subject \"%s\" is requested", text_to_cstring(args.subject)),
				 errdetail("No request about it was made, or the last one was met or closed."),
				 errhint("The view eventsource.erasure_requests shows all, and their status.")));
	PG_RETURN_INT64(es_erasure_append(args.subject, ES_ERASURE_CLOSED, closing_data(&open),
									  args.reason, args.actor));
}

static Jsonb *
closing_data(const EsErasureRequest *request)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, ES_ERASURE_MODE, es_erased_mode_name(request->mode));
	es_json_push_number(&state, "request", request->position);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The last one, unless an erasure that is as strong came after it, or it was closed. */
bool
es_erasure_find_request(const text *subject, EsErasureRequest *request)
{
	EsScan	   *scan = es_scan_stream(es_erasure_stream(subject), 1, false, SnapshotSelf);
	EsEvent		event;

	memset(request, 0, sizeof(EsErasureRequest));
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		Jsonb	   *data = DatumGetJsonbP(event.value[ES_EVENT_DATA]);
		char	   *name = es_json_find_string(&data->root, ES_ERASURE_MODE);
		EsErasedMode mode = name == NULL ? ES_ERASED_NOT : es_erased_mode_named(name);

		if (!es_text_same(es_event_text(&event, ES_EVENT_SUBJECT), subject))
			continue;
		if (is_type(&event, ES_ERASURE_REQUESTED))
		{
			request->position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
			request->mode = mode;
		}
		else if ((is_type(&event, ES_ERASURE_COMPLETED) && mode >= request->mode) ||
				 is_type(&event, ES_ERASURE_CLOSED))
			request->position = 0;
	}
	es_scan_end(scan);
	return request->position != 0;
}

static bool
is_type(const EsEvent *event, const char *type)
{
	return es_text_same(es_event_text(event, ES_EVENT_TYPE), cstring_to_text(type));
}
