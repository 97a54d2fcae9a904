/*
 * cloudevent.c
 *		Events as CloudEvents (version 1.0), and their ids: to_cloudevent, event_id,
 *		event_position.
 *
 * An id is a UUID of version 8 (RFC 9562), which says nothing but which event it is:
 * the first half is that of the log's id, the second one the position.  So it is the
 * same whoever makes it, in a restored copy too; ids of a log grow as its positions
 * do; and the event is found by its id without an index of ids.
 *
 * What CloudEvents would not take (a control character in an attribute, a time that
 * RFC 3339 cannot write) is replaced or left out, never an error: an event is what
 * it is, and must be delivered.
 *
 * No locks.  Memory: the current context.
 */
#include "feed/cloudevent.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "log/json.h"
#include "log/open.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "rules/event_type.h"
#include "rules/upcast.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/typcache.h"

/* A position fits beside the two bits that every UUID has in its second half. */
#define MAX_POSITION	((INT64CONST(1) << 62) - 1)

/* U+FFFD, for a character that an attribute must not have. */
#define REPLACEMENT		"\xEF\xBF\xBD"

PG_FUNCTION_INFO_V1(eventsource_to_cloudevent);
PG_FUNCTION_INFO_V1(eventsource_event_id);
PG_FUNCTION_INFO_V1(eventsource_event_position);

static void read_row(HeapTupleHeader row, EsEvent *event);
static void make_id(int64 position, pg_uuid_t *id);
static void push_context(JsonbParseState **state, const EsEvent *event);
static void push_extensions(JsonbParseState **state, const EsEvent *event);
static void push_schema(JsonbParseState **state, const EsEvent *event);
static int32 version_of_data(const EsEvent *event);
static void push_column(JsonbParseState **state, const char *name, const EsEvent *event,
						EsEventColumn column);
static void push_chain(JsonbParseState **state, const char *name, Jsonb *metadata, const char *member);
static void push_time(JsonbParseState **state, const char *name, TimestampTz time);
static void push_clean(JsonbParseState **state, const char *name, const char *bytes, int length);
static bool is_allowed(const char *character, int length);
static void append_uri(StringInfo uri, const text *part);
static char *log_urn(void);

/* to_cloudevent(event eventsource.events): jsonb */
Datum
eventsource_to_cloudevent(PG_FUNCTION_ARGS)
{
	EsEvent		event = {0};

	read_row(PG_GETARG_HEAPTUPLEHEADER(0), &event);
	if (event.isnull[ES_EVENT_POSITION] || event.isnull[ES_EVENT_STREAM] || event.isnull[ES_EVENT_CATEGORY] ||
		event.isnull[ES_EVENT_VERSION] || event.isnull[ES_EVENT_TYPE])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("this is no event of the log"),
				 errdetail("Its position, stream, category, version or type is null."),
				 errhint("Pass a whole row: SELECT eventsource.to_cloudevent(e) FROM eventsource.events e.")));
	PG_RETURN_JSONB_P(es_cloudevent_of(&event));
}

/* event_id(event_position bigint): uuid */
Datum
eventsource_event_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	make_id(PG_GETARG_INT64(0), id);
	PG_RETURN_UUID_P(id);
}

/* event_position(id uuid): bigint, NULL if it is not of this log */
Datum
eventsource_event_position(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *id = PG_GETARG_UUID_P(0);
	pg_uuid_t	ours;
	uint64		half;
	int64		position;

	memcpy(&half, id->data + 8, sizeof(half));
	position = (int64) (pg_ntoh64(half) & MAX_POSITION);
	if (position < 1)
		PG_RETURN_NULL();
	make_id(position, &ours);
	if (memcmp(&ours, id, sizeof(ours)) != 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(position);
}

Jsonb *
es_cloudevent_of(const EsEvent *event)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_context(&state, event);
	push_extensions(&state, event);
	push_schema(&state, event);
	if (!event->isnull[ES_EVENT_DATA])
	{
		es_json_push_string(&state, "datacontenttype", "application/json");
		es_json_push_jsonb(&state, "data", DatumGetJsonbP(event->value[ES_EVENT_DATA]));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* A row of the view, or anything of its type. */
static void
read_row(HeapTupleHeader row, EsEvent *event)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row),.t_data = row};
	Datum		values[ES_VIEW_NCOLUMNS];
	bool		nulls[ES_VIEW_NCOLUMNS];

	if (desc->natts != ES_VIEW_NCOLUMNS)
		elog(ERROR, "unexpected number of columns: %d", desc->natts);
	heap_deform_tuple(&tuple, desc, values, nulls);
	for (int i = 0; i < ES_EVENT_NCOLUMNS; i++)
	{
		event->isnull[i] = nulls[i];
		event->value[i] = values[i];
		if (!nulls[i] && TupleDescAttr(desc, i)->attlen == -1)
			event->value[i] = PointerGetDatum(PG_DETOAST_DATUM(values[i]));
	}
	event->is_upcast = !nulls[ES_VIEW_IS_UPCAST] && DatumGetBool(values[ES_VIEW_IS_UPCAST]);
	ReleaseTupleDesc(desc);
}

static void
make_id(int64 position, pg_uuid_t *id)
{
	uint64		half;

	if (position < 1 || position > MAX_POSITION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position " INT64_FORMAT " is out of range", position),
				 errdetail("Positions are 1 to " INT64_FORMAT ".", MAX_POSITION),
				 errhint("The column position of eventsource.events has them.")));
	memcpy(id->data, es_log_id()->data, 8);
	id->data[6] = (id->data[6] & 0x0F) | 0x80;	/* version 8 */
	half = pg_hton64((uint64) position | UINT64CONST(0x8000000000000000));
	memcpy(id->data + 8, &half, sizeof(half));
}

/* What every CloudEvent has. */
static void
push_context(JsonbParseState **state, const EsEvent *event)
{
	pg_uuid_t	id;
	StringInfoData source;

	make_id(DatumGetInt64(event->value[ES_EVENT_POSITION]), &id);
	initStringInfo(&source);
	appendStringInfo(&source, "%s#", log_urn());
	append_uri(&source, es_event_text(event, ES_EVENT_CATEGORY));
	es_json_push_string(state, "specversion", "1.0");
	es_json_push_string(state, "id", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id))));
	es_json_push_string(state, "source", source.data);
	push_column(state, "type", event, ES_EVENT_TYPE);
	push_column(state, "subject", event, ES_EVENT_SUBJECT);
	if (!event->isnull[ES_EVENT_OCCURRED_AT])
		push_time(state, "time", DatumGetTimestampTz(event->value[ES_EVENT_OCCURRED_AT]));
}

/*
 * An integer has 32 bits there, so ours are strings; the sequence is one that sorts.
 * recordedtime, partitionkey and sequence are what CloudEvents calls them.
 */
static void
push_extensions(JsonbParseState **state, const EsEvent *event)
{
	Jsonb	   *metadata = event->isnull[ES_EVENT_METADATA] ? NULL :
		DatumGetJsonbP(event->value[ES_EVENT_METADATA]);

	push_column(state, "stream", event, ES_EVENT_STREAM);
	push_column(state, "partitionkey", event, ES_EVENT_STREAM);
	es_json_push_string(state, "streamversion", psprintf(INT64_FORMAT, DatumGetInt64(event->value[ES_EVENT_VERSION])));
	es_json_push_string(state, "sequence", psprintf("%019lld", (long long) DatumGetInt64(event->value[ES_EVENT_POSITION])));
	if (!event->isnull[ES_EVENT_RECORDED_AT])
		push_time(state, "recordedtime", DatumGetTimestampTz(event->value[ES_EVENT_RECORDED_AT]));
	push_column(state, "actor", event, ES_EVENT_ACTOR);
	push_column(state, "reason", event, ES_EVENT_REASON);
	push_column(state, "fromstate", event, ES_EVENT_FROM_STATE);
	push_column(state, "tostate", event, ES_EVENT_TO_STATE);
	push_chain(state, "correlationid", metadata, "correlation_id");
	push_chain(state, "causationid", metadata, "causation_id");
	if (!event->isnull[ES_EVENT_IS_SYNTHETIC] && DatumGetBool(event->value[ES_EVENT_IS_SYNTHETIC]))
		es_json_push_bool(state, "issynthetic", true);
}

/* The version that data is of now, and its schema if one is registered. */
static void
push_schema(JsonbParseState **state, const EsEvent *event)
{
	const EsEventType *type = es_event_type_get(es_event_text(event, ES_EVENT_CATEGORY),
												es_event_text(event, ES_EVENT_TYPE));
	const EsTypeVersion *version;
	StringInfoData uri;
	int32		number = version_of_data(event);

	es_json_push_number(state, "schemaversion", number);
	version = type == NULL ? NULL : es_event_type_version(type, number);
	if (version == NULL || version->schema == NULL)
		return;
	initStringInfo(&uri);
	appendStringInfo(&uri, "%s#", log_urn());
	if (type->category != NULL)
		append_uri(&uri, cstring_to_text(type->category));
	appendStringInfoChar(&uri, '/');
	append_uri(&uri, es_event_text(event, ES_EVENT_TYPE));
	appendStringInfo(&uri, "/%d", number);
	es_json_push_string(state, "dataschema", uri.data);
}

/* Upcasters lead to where the last of them ends. */
static int32
version_of_data(const EsEvent *event)
{
	const EsUpcastChain *chain = event->is_upcast ? es_upcast_chain_of(es_upcasters_known(), event) : NULL;

	if (chain != NULL)
		return chain->step[chain->n_steps - 1].to;
	return event->isnull[ES_EVENT_SCHEMA_VERSION] ? 1 : DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]);
}

static void
push_column(JsonbParseState **state, const char *name, const EsEvent *event, EsEventColumn column)
{
	const text *value = es_event_text(event, column);

	if (value != NULL)
		push_clean(state, name, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* A caller's own: a string or a number, else there is no attribute that it could be. */
static void
push_chain(JsonbParseState **state, const char *name, Jsonb *metadata, const char *member)
{
	JsonbValue	buffer;
	JsonbValue *value = metadata == NULL ? NULL : es_json_find(&metadata->root, member, &buffer);
	const char *number;

	if (value == NULL)
		return;
	if (value->type == jbvString)
		push_clean(state, name, value->val.string.val, value->val.string.len);
	else if (value->type == jbvNumeric)
	{
		number = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		push_clean(state, name, number, strlen(number));
	}
}

/* RFC 3339, in UTC; years of four digits alone can be written so. */
static void
push_time(JsonbParseState **state, const char *name, TimestampTz time)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, NULL, &tm, &fsec, NULL, NULL) != 0 ||
		tm.tm_year < 1 || tm.tm_year > 9999)
		return;
	es_json_push_string(state, name, psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year, tm.tm_mon, tm.tm_mday,
											  tm.tm_hour, tm.tm_min, tm.tm_sec, (int) fsec));
}

/* An attribute is not empty, and has none of the characters that CloudEvents excludes. */
static void
push_clean(JsonbParseState **state, const char *name, const char *bytes, int length)
{
	const char *replacement = GetDatabaseEncoding() == PG_UTF8 ? REPLACEMENT : "?";
	StringInfoData clean;

	if (length == 0)
		return;
	initStringInfo(&clean);
	for (int at = 0, width; at < length; at += width)
	{
		width = Min(pg_encoding_mblen(GetDatabaseEncoding(), bytes + at), length - at);
		if (is_allowed(bytes + at, width))
			appendBinaryStringInfo(&clean, bytes + at, width);
		else
			appendStringInfoString(&clean, replacement);
	}
	es_json_push_string(state, name, clean.data);
}

static bool
is_allowed(const char *character, int length)
{
	const unsigned char *byte = (const unsigned char *) character;
	pg_wchar	point;

	if (length == 1)
		return byte[0] >= 0x20 && byte[0] != 0x7F;
	if (GetDatabaseEncoding() != PG_UTF8)
		return true;
	point = utf8_to_unicode(byte);
	return point > 0x9F && (point < 0xFDD0 || point > 0xFDEF) && (point & 0xFFFE) != 0xFFFE;
}

/* What is not unreserved in a URI (RFC 3986) is written as the bytes of its UTF-8. */
static void
append_uri(StringInfo uri, const text *part)
{
	char	   *bytes = text_to_cstring(part);

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		bytes = pg_server_to_any(bytes, strlen(bytes), PG_UTF8);
	for (const unsigned char *byte = (const unsigned char *) bytes; *byte != '\0'; byte++)
		if (strchr("-._~", *byte) != NULL || (*byte < 0x80 && isalnum(*byte)))
			appendStringInfoChar(uri, *byte);
		else
			appendStringInfo(uri, "%%%02X", *byte);
}

static char *
log_urn(void)
{
	return psprintf("urn:uuid:%s", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(es_log_id()))));
}
