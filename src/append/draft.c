/*
 * draft.c
 *		From what a caller says to a draft, and the defaults that settings give.
 *
 * Owns the limits on what one event may hold.  Allocates in the current memory
 * context.
 */
#include "append/draft.h"

#include "append/react.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "log/chain.h"
#include "log/json.h"
#include "log/stream.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

void
es_draft_init(EsDraft *draft)
{
	memset(draft, 0, sizeof(*draft));
	draft->expected_version = ES_ANY_VERSION;
}

Jsonb *
es_draft_empty_object(void)
{
	static Jsonb *empty = NULL;

	if (empty == NULL)
	{
		empty = MemoryContextAllocZero(TopMemoryContext, VARHDRSZ + sizeof(uint32));
		SET_VARSIZE(empty, VARHDRSZ + sizeof(uint32));
		empty->root.header = JB_FOBJECT;
	}
	return empty;
}

/* ---- checks ---- */

static void
check_word(const text *word, const char *what, int limit)
{
	int			len;

	if (word == NULL)
		return;
	len = VARSIZE_ANY_EXHDR(word);
	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what),
				 errdetail("An empty string names nothing."),
				 errhint("Give it a name; what has a default can be left out.")));
	if (len > limit)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("%s is too long", what),
				 errdetail("It has %d bytes; at most %d are allowed.", len, limit),
				 errhint("Put long text into the event's data.")));
}

static void
check_size(const Jsonb *value, const char *what)
{
	if (value != NULL && VARSIZE(value) > ES_MAX_DATA)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is too large", what),
				 errdetail("It has %u bytes; at most %d are allowed.", (unsigned) VARSIZE(value), ES_MAX_DATA),
				 errhint("Store the document elsewhere and its digest in the event.")));
}

static void
refuse_missing(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", what),
			 errdetail("Every event needs a stream and a type."),
			 errhint("SELECT * FROM eventsource.append(stream => 'lead-42', type => 'note_added').")));
}

void
es_draft_refuse_reserved(const text *stream)
{
	if (VARDATA_ANY(stream)[0] == '$')
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("category \"%.*s\" is reserved", es_stream_category_length(stream), VARDATA_ANY(stream)),
				 errdetail("Categories that begin with \"$\" hold definitions and the log's own events."),
				 errhint("Use eventsource.create_state_machine and its like, or another category.")));
}

/* Who took such a key beforehand would stop what the database appends by itself. */
static void
refuse_reserved_key(const text *key)
{
	static const char *const reserved[] = {ES_KEY_REACTION, ES_KEY_TIMEOUT, ES_KEY_DELIVERY};

	for (int i = 0; i < (int) lengthof(reserved); i++)
	{
		size_t		len = strlen(reserved[i]);

		if (VARSIZE_ANY_EXHDR(key) >= len && memcmp(VARDATA_ANY(key), reserved[i], len) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("idempotency keys that begin with \"%s\" are reserved", reserved[i]),
					 errdetail("What the database appends by itself has such keys: reactions, timeouts, deliveries."),
					 errhint("Let the key begin with something else.")));
	}
}

int
es_draft_check(const EsDraft *draft)
{
	int			category_len;

	if (draft->stream == NULL)
		refuse_missing("stream");
	if (draft->type == NULL)
		refuse_missing("type");
	category_len = es_stream_category_length(draft->stream);
	if (!draft->is_definition && !draft->is_own)
		es_draft_refuse_reserved(draft->stream);
	check_word(draft->type, "type", ES_MAX_WORD);
	check_word(draft->reason, "reason", ES_MAX_WORD);
	check_word(draft->actor, "actor", ES_MAX_WORD);
	check_word(draft->idempotency_key, "idempotency_key", ES_MAX_KEY);
	if (draft->idempotency_key != NULL && !draft->is_caused && !draft->has_own_key)
		refuse_reserved_key(draft->idempotency_key);
	check_size(draft->data, "data");
	check_size(draft->metadata, "metadata");
	if (draft->metadata != NULL && !JB_ROOT_IS_OBJECT(draft->metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata must be an object"),
				 errdetail("It holds named values such as correlation_id."),
				 errhint("For example '{\"correlation_id\": \"7f\"}'.")));
	if (draft->expected_version < 0 && draft->expected_version != ES_ANY_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must not be negative"),
				 errdetail("It is the version that the stream has now."),
				 errhint("NULL: any; 0: the stream must not exist; n: its current version.")));
	if (draft->schema_version < 0 || draft->schema_version > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schema_version is out of range"),
				 errdetail("It must be between 1 and %d.", PG_INT16_MAX),
				 errhint("Leave it out for the default.")));
	if (draft->has_occurred_at && TIMESTAMP_NOT_FINITE(draft->occurred_at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("occurred_at must be finite"),
				 errdetail("Something that happened has a time."),
				 errhint("Leave it out for now.")));
	return category_len;
}

/* ---- context of errors ---- */

static void
append_name(StringInfo buf, const char *what, const text *name, int limit)
{
	if (name == NULL)
		return;
	appendStringInfo(buf, ", %s \"%.*s\"", what,
					 pg_mbcliplen(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), limit), VARDATA_ANY(name));
}

static void
describe_draft(void *arg)
{
	EsDraftContext *context = arg;
	StringInfoData names;

	if (context->draft == NULL)
		return;
	initStringInfo(&names);
	append_name(&names, "stream", context->draft->stream, ES_MAX_STREAM_NAME);
	append_name(&names, "type", context->draft->type, ES_MAX_WORD);
	if (context->number > 0)
		errcontext("event %d of the batch%s", context->number, names.data);
	else
		errcontext("inserted event%s", names.data);
	pfree(names.data);
}

void
es_draft_begin_errors(EsDraftContext *context)
{
	context->callback.previous = error_context_stack;
	context->callback.callback = describe_draft;
	context->callback.arg = context;
	context->draft = NULL;
	context->number = 0;
	error_context_stack = &context->callback;
}

void
es_draft_end_errors(EsDraftContext *context)
{
	error_context_stack = context->callback.previous;
}

/* ---- defaults ---- */

static const text *
from_setting(const char *value, const char *name)
{
	text	   *word;

	if (value == NULL || value[0] == '\0')
		return NULL;
	word = cstring_to_text(value);
	check_word(word, name, ES_MAX_WORD);
	return word;
}

const text *
es_draft_default_reason(void)
{
	return from_setting(es_guc_reason, "eventsource.reason");
}

/* The name of who records, kept until a role changes or it is another one. */
static text *user_name;
static Oid	named_user;

static Oid	recorded_as;		/* InvalidOid: the session user */

static void
forget_user_name(Datum arg, int cacheid, uint32 hashvalue)
{
	named_user = InvalidOid;
}

const text *
es_draft_recorded_by(void)
{
	Oid			user = OidIsValid(recorded_as) ? recorded_as : GetSessionUserId();

	/* Events of several may be written together. */
	if (OidIsValid(recorded_as))
		return cstring_to_text(GetUserNameFromId(user, false));
	if (named_user != user)
	{
		char	   *name = GetUserNameFromId(user, false);
		int			len = strlen(name);

		if (user_name == NULL)
			user_name = MemoryContextAlloc(TopMemoryContext, VARHDRSZ + NAMEDATALEN);
		SET_VARSIZE(user_name, VARHDRSZ + len);
		memcpy(VARDATA(user_name), name, len);
		named_user = user;
		pfree(name);
	}
	return user_name;
}

Oid
es_draft_record_as(Oid role)
{
	Oid			before = recorded_as;

	recorded_as = role;
	return before;
}

void
es_draft_forget_settings(void)
{
	static const char *const names[] = {
		"eventsource.actor", "eventsource.reason", "eventsource.correlation_id", "eventsource.causation_id"
	};
	char	   *const values[] = {es_guc_actor, es_guc_reason, es_guc_correlation_id, es_guc_causation_id};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (values[i] != NULL && values[i][0] != '\0')
			(void) set_config_option(names[i], "", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
es_draft_register(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, forget_user_name, (Datum) 0);
}

const text *
es_draft_actor(const EsDraft *draft)
{
	const text *actor = draft->actor;

	if (actor == NULL)
		actor = from_setting(es_guc_actor, "eventsource.actor");
	return actor != NULL ? actor : es_draft_recorded_by();
}

/* What appends go by that a reaction causes; or NULL. */
static Jsonb *cause;

Jsonb *
es_draft_caused_by(Jsonb *metadata)
{
	Jsonb	   *before = cause;

	cause = metadata;
	return before;
}

/*
 * What is given, and of the cause what that does not say; but which reactions led to it nobody else
 * says, as a chain would not end where a function hands on the metadata of its event.
 */
static Jsonb *
caused_metadata(Jsonb *given)
{
	JsonbParseState *state = NULL;
	JsonbValue *path;

	if (given == NULL)
		return cause;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_members(&state, cause);
	es_json_push_members(&state, given);
	path = es_json_find(&cause->root, ES_REACT_PATH, NULL);
	if (path != NULL)
		es_json_push_value(&state, ES_REACT_PATH, path);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static bool
has_key(Jsonb *object, const char *key)
{
	JsonbValue	buffer;

	return object != NULL &&
		es_json_find(&object->root, key, &buffer) != NULL;
}

Jsonb *
es_draft_metadata(const EsDraft *draft)
{
	const char *correlation = es_guc_correlation_id;
	const char *causation = es_guc_causation_id;
	JsonbParseState *state = NULL;
	JsonbValue *result;

	if (draft->is_caused)
		return draft->metadata != NULL ? draft->metadata : es_draft_empty_object();
	if (cause != NULL)
		return caused_metadata(draft->metadata);
	if (correlation != NULL && (correlation[0] == '\0' || has_key(draft->metadata, "correlation_id")))
		correlation = NULL;
	if (causation != NULL && (causation[0] == '\0' || has_key(draft->metadata, "causation_id")))
		causation = NULL;
	if (correlation == NULL && causation == NULL)
		return draft->metadata != NULL ? draft->metadata : es_draft_empty_object();

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_members(&state, draft->metadata);
	if (correlation != NULL)
		es_json_push_string(&state, "correlation_id", correlation);
	if (causation != NULL)
		es_json_push_string(&state, "causation_id", causation);
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(result);
}

void
es_draft_digest(const EsDraft *draft, Jsonb *data, const uint8 *commitment, uint8 *digest)
{
	EsEvent		event;

	memset(&event, 0, sizeof(event));
	memset(event.isnull, true, sizeof(event.isnull));
	es_event_set(&event, ES_EVENT_TYPE, PointerGetDatum(draft->type));
	es_event_set(&event, ES_EVENT_DATA, PointerGetDatum(data));
	event.commitment = commitment;
	if (draft->reason != NULL)
		es_event_set(&event, ES_EVENT_REASON, PointerGetDatum(draft->reason));
	if (draft->actor != NULL)
		es_event_set(&event, ES_EVENT_ACTOR, PointerGetDatum(draft->actor));
	if (draft->has_occurred_at)
		es_event_set(&event, ES_EVENT_OCCURRED_AT, TimestampTzGetDatum(draft->occurred_at));
	if (draft->schema_version != 0)
		es_event_set(&event, ES_EVENT_SCHEMA_VERSION, Int32GetDatum(draft->schema_version));
	es_chain_digest(&event, digest);
}

/* ---- from JSON ---- */

static void
refuse_json(int number, const char *key, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("event %d of the batch is not valid", number),
			 errdetail("\"%s\" must be %s.", key, expected),
			 errhint("Each event is an object with the arguments of eventsource.append as keys.")));
}

static const text *
json_text(const JsonbValue *value, int number, const char *key)
{
	if (value->type != jbvString)
		refuse_json(number, key, "a string");
	return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

static int64
json_integer(const JsonbValue *value, int number, const char *key)
{
	Datum		integer;

	if (value->type != jbvNumeric)
		refuse_json(number, key, "an integer");
	integer = DirectFunctionCall2(numeric_trunc, NumericGetDatum(value->val.numeric), Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, integer, NumericGetDatum(value->val.numeric))))
		refuse_json(number, key, "an integer");
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, integer));
}

static TimestampTz
json_timestamp(const JsonbValue *value, int number, const char *key)
{
	char	   *string = text_to_cstring(json_text(value, number, key));

	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(string),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
take_value(EsDraft *draft, const char *key, JsonbValue *value, int number)
{
	if (value->type == jbvNull && strcmp(key, "data") != 0)
		return;
	if (strcmp(key, "stream") == 0)
		draft->stream = json_text(value, number, key);
	else if (strcmp(key, "type") == 0)
		draft->type = json_text(value, number, key);
	else if (strcmp(key, "data") == 0)
		draft->data = value->type == jbvNull ? NULL : JsonbValueToJsonb(value);
	else if (strcmp(key, "reason") == 0)
		draft->reason = json_text(value, number, key);
	else if (strcmp(key, "actor") == 0)
		draft->actor = json_text(value, number, key);
	else if (strcmp(key, "metadata") == 0)
		draft->metadata = JsonbValueToJsonb(value);
	else if (strcmp(key, "expected_version") == 0)
	{
		draft->expected_version = json_integer(value, number, key);
		if (draft->expected_version < 0)
			refuse_json(number, key, "0 or greater");
	}
	else if (strcmp(key, "occurred_at") == 0)
	{
		draft->occurred_at = json_timestamp(value, number, key);
		draft->has_occurred_at = true;
	}
	else if (strcmp(key, "idempotency_key") == 0)
		draft->idempotency_key = json_text(value, number, key);
	else if (strcmp(key, "schema_version") == 0)
	{
		int64		version = json_integer(value, number, key);

		if (version < 1 || version > PG_INT16_MAX)
			refuse_json(number, key, "between 1 and 32767");
		draft->schema_version = (int32) version;
	}
	else
		refuse_json(number, key, "left out: there is no such argument");
}

void
es_draft_from_json(EsDraft *draft, JsonbContainer *object, int number)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbValue	v;
	JsonbIteratorToken token = JsonbIteratorNext(&it, &v, true);

	es_draft_init(draft);
	while ((token = JsonbIteratorNext(&it, &v, true)) == WJB_KEY)
	{
		char	   *key = pnstrdup(v.val.string.val, v.val.string.len);

		(void) JsonbIteratorNext(&it, &v, true);
		take_value(draft, key, &v, number);
		pfree(key);
	}
}
