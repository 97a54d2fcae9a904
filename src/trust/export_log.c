/*
 * export_log.c
 *		SQL function export_log: the log as lines of JSON, with all that is hashed,
 *		for a verifier that trusts no database (tools/verify_log.py).
 *
 * The first line says which log it is, the others are final events as they are
 * stored.  What accounts for events that are not there as they were recorded may not be
 * final yet: the last lines are what of that comes after, marked so.
 *
 * Times are microseconds since 2000-01-01 UTC, so that nothing depends on how a setting
 * has them written; numbers in data keep the scale they were written with.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "log/chain.h"
#include "log/final.h"
#include "log/leaves.h"
#include "log/open.h"
#include "log/pruned.h"
#include "log/segment.h"
#include "log/vault.h"
#include "trust/prune_account.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#define EXPORT_FORMAT	1

PG_FUNCTION_INFO_V1(eventsource_export_log);

static void
put_line(ReturnSetInfo *result, const StringInfo line)
{
	Datum		value = PointerGetDatum(cstring_to_text_with_len(line->data, line->len));
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
}

static void
put_text(StringInfo line, const char *name, const text *value)
{
	appendStringInfo(line, ",\"%s\":", name);
	if (value == NULL)
		appendStringInfoString(line, "null");
	else
		escape_json(line, text_to_cstring(value));
}

static void
put_number(StringInfo line, const char *name, int64 value)
{
	appendStringInfo(line, ",\"%s\":" INT64_FORMAT, name, value);
}

static void
put_json(StringInfo line, const char *name, Datum value)
{
	Jsonb	   *json = (Jsonb *) DatumGetPointer(value);

	appendStringInfo(line, ",\"%s\":", name);
	(void) JsonbToCString(line, &json->root, VARSIZE(json));
}

static void
put_hash(StringInfo line, const char *name, const uint8 *hash)
{
	appendStringInfo(line, ",\"%s\":\"", name);
	enlargeStringInfo(line, 2 * ES_HASH_SIZE);
	line->len += hex_encode((const char *) hash, ES_HASH_SIZE, line->data + line->len);
	appendStringInfoChar(line, '"');
}

/* An object without its last brace. */
static void
put_personal_field(StringInfo line, const EsPersonalField *field)
{
	JsonbValue	value = field->value;
	Jsonb	   *json;

	appendStringInfoString(line, "{\"path\":");
	escape_json(line, pnstrdup(field->path, field->length));
	put_hash(line, "commit", field->commit);
	if (es_personal_is_original(field))
		return;
	json = JsonbValueToJsonb(&value);
	put_json(line, "value", JsonbPGetDatum(json));
}

/*
 * What personal fields were committed to, which says nothing, and what an erasure has
 * put in place of some.  Never one as it was recorded.
 */
static void
put_personal(StringInfo line, const EsEvent *event, Snapshot snapshot)
{
	EsVaultRow	row;
	EsVaultVerdict verdict = es_vault_verify(event, snapshot, &row);

	if (verdict == ES_VAULT_MISSING || verdict == ES_VAULT_STRAY)
		return;
	if (row.state == ES_VAULT_HIDDEN)
		put_number(line, "hidden", 1);
	appendStringInfoString(line, ",\"personal\":[");
	for (int i = 0; i < row.personal.n; i++)
	{
		if (i > 0)
			appendStringInfoChar(line, ',');
		put_personal_field(line, &row.personal.field[i]);
		appendStringInfoChar(line, '}');
	}
	appendStringInfoChar(line, ']');
}

/* What the chain needs of an event that is not there as it was recorded. */
static void
put_chain(StringInfo line, const EsEvent *event, Snapshot snapshot)
{
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	EsHead		head;

	put_number(line, "flags", es_chain_hashed_flags(event));
	if (event->commitment != NULL)
	{
		put_hash(line, "commitment", event->commitment);
		put_personal(line, event, snapshot);
	}
	if ((event->flags & ES_EVENT_ERASED) != 0)
		put_number(line, "erased", 1);
	if (version > 1 && es_pruned_head(event->stream_id, &head) && head.version == version - 1)
		put_hash(line, "previous", head.hash);
}

static void
put_event(StringInfo line, const EsEvent *event, Snapshot snapshot, bool is_final)
{
	uint8		hash[ES_HASH_SIZE] = {0};
	bytea	   *stored = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);

	memcpy(hash, VARDATA_ANY(stored), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(stored)));
	appendStringInfo(line, "{\"position\":" INT64_FORMAT, DatumGetInt64(event->value[ES_EVENT_POSITION]));
	put_text(line, "stream", es_event_text(event, ES_EVENT_STREAM));
	put_text(line, "subject", es_event_text(event, ES_EVENT_SUBJECT));
	put_number(line, "version", DatumGetInt64(event->value[ES_EVENT_VERSION]));
	put_text(line, "type", es_event_text(event, ES_EVENT_TYPE));
	put_number(line, "schema_version", DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
	put_json(line, "data", event->value[ES_EVENT_DATA]);
	put_json(line, "metadata", event->value[ES_EVENT_METADATA]);
	put_text(line, "actor", es_event_text(event, ES_EVENT_ACTOR));
	put_text(line, "recorded_by", es_event_text(event, ES_EVENT_RECORDED_BY));
	put_text(line, "reason", es_event_text(event, ES_EVENT_REASON));
	put_text(line, "from_state", es_event_text(event, ES_EVENT_FROM_STATE));
	put_text(line, "to_state", es_event_text(event, ES_EVENT_TO_STATE));
	put_number(line, "is_synthetic", DatumGetBool(event->value[ES_EVENT_IS_SYNTHETIC]));
	put_number(line, "occurred_at", DatumGetTimestampTz(event->value[ES_EVENT_OCCURRED_AT]));
	put_number(line, "recorded_at", DatumGetTimestampTz(event->value[ES_EVENT_RECORDED_AT]));
	put_text(line, "machine", event->machine);
	put_chain(line, event, snapshot);
	if (!is_final)
		put_number(line, "beyond", 1);
	put_hash(line, "hash", hash);
	appendStringInfoChar(line, '}');
}

/* An event that retention took out of the log. */
static void
put_pruned(StringInfo line, const EsLeaf *leaf)
{
	appendStringInfo(line, "{\"position\":" INT64_FORMAT, leaf->position);
	put_hash(line, "pruned", leaf->entry);
	appendStringInfoChar(line, '}');
}

static void
put_header(StringInfo line)
{
	appendStringInfo(line, "{\"format\":%d,\"log\":\"%s\"}", EXPORT_FORMAT,
					 DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(es_log_id()))));
}

/* What erasures and retention say of events before that end. */
static void
put_accounts_beyond(ReturnSetInfo *result, EsFinal *final)
{
	EsScan	   *scan = es_scan_log(es_final_upto(final), PG_INT64_MAX,
								   list_make2(ES_ERASURE_CATEGORY, ES_PRUNE_CATEGORY),
								   es_final_snapshot(final));
	EsEvent		event;
	StringInfoData line;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		initStringInfo(&line);
		put_event(&line, &event, es_final_snapshot(final), false);
		es_final_note(final, scan);
		put_line(result, &line);
		pfree(line.data);
	}
	es_scan_end(scan);
}

/* export_log(after_position bigint DEFAULT 0, max_count bigint DEFAULT NULL) */
Datum
eventsource_export_log(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		after = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	int64		max_count = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);
	EsFinal    *final;
	EsLeaves   *leaves;
	EsLeaf		leaf;
	StringInfoData line;
	MemoryContext per_event;
	MemoryContext old;
	bool		has_header = false;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	es_segment_hold_all();
	final = es_final_begin();
	leaves = es_leaves_begin(after, es_final_upto(final), true, es_final_snapshot(final));
	initStringInfo(&line);
	per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource export", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(per_event);
	while (max_count-- > 0 && es_leaves_next(leaves, &leaf))
	{
		if (!has_header)
		{
			put_header(&line);
			put_line(result, &line);
			has_header = true;
		}
		resetStringInfo(&line);
		if (leaf.is_pruned)
			put_pruned(&line, &leaf);
		else
		{
			put_event(&line, leaf.event, es_final_snapshot(final), true);
			es_final_note(final, es_leaves_scan(leaves));
		}
		put_line(result, &line);
		MemoryContextReset(per_event);
	}
	MemoryContextSwitchTo(old);
	if (has_header && max_count >= 0)
		put_accounts_beyond(result, final);
	es_leaves_end(leaves);
	es_final_end(final);
	return (Datum) 0;
}
