/*
 * chain.c
 *		The hash that binds each event to the one before it in its stream.
 *
 * hash(n) = SHA-256(encoding of event n), where the encoding begins with
 * hash(n - 1).  The encoding is binary and never goes through text output that
 * a setting could change.  Format 1, integers big-endian:
 *
 *	"ES" 0x01 | log id, 16 bytes | previous hash, 32 bytes |
 *	then every field of the event, in the order of the view's columns without
 *	category, key (both part of the stream's name) and hash, then machine, then
 *	flags (an integer) if the event has any that is hashed, then the commitment to
 *	its personal fields if it has any:
 *	field number (1 byte) | type tag (1 byte) | length (4 bytes) | bytes
 *
 * Tags: 0 null (length 0), 'i' integer (8 bytes), 't' text, 'z' timestamp
 * (microseconds since 2000-01-01 UTC, 8 bytes), 'b' boolean (1 byte), 'j' JSON,
 * 'c' commitment (32 bytes).
 * JSON: 'n', 't', 'f'; '#' and '"' with length and bytes, a number as decimal
 * digits with the scale it was written with; '[' with a count and that many
 * values; '{' with a count and that many pairs of (length, key bytes, value),
 * keys shorter first, then bytewise, as jsonb has them in UTF-8.  All text is
 * UTF-8, whatever the database's encoding, so that a dump restored under another
 * one verifies.
 *
 * Personal fields are not in the data.  Of each there is
 *	HMAC-SHA256(salt, 0x10 | length of its path (4 bytes) | path | JSON of its value),
 * and the event's commitment is
 *	SHA-256(0x11 | number of fields (4 bytes) | those in the order of the paths' bytes).
 * A field and its salt can go; what was committed to stays, and says nothing.
 *
 * What an erasure leaves of an event, whose hash is of more than that, has the digest
 *	SHA-256(0x12 | the hash of it as it stands, with its own stored hash for the
 *	previous one | number of personal fields (4 bytes) | for each, in order: length of
 *	its path (4 bytes), path, commitment, 'o' if the value is what was recorded, else 'r'
 *	and the JSON of what stands there now).
 */
#include "log/chain.h"

#include "lib/stringinfo.h"
#include "log/open.h"
#include "log/personal.h"
#include "log/sha256.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

#define CHAIN_FORMAT	1
#define FIELD_MACHINE	32
#define FIELD_FLAGS		33
#define FIELD_PERSONAL	34

/* What commitments begin with, so that none can be taken for another. */
#define COMMIT_FIELD	0x10
#define COMMIT_EVENT	0x11
#define DIGEST_LEFT		0x12

#define HMAC_BLOCK		64

/* is_synthetic is a field of its own; an idempotency key may be forgotten. */
#define HASHED_FLAGS	(ES_EVENT_CAPTURED | ES_EVENT_VIOLATION | ES_EVENT_CORRECTION | ES_EVENT_VOID)

static inline void
put_bytes(StringInfo buf, const void *data, int len)
{
	if (unlikely(buf->len + len >= buf->maxlen))
		enlargeStringInfo(buf, len);
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
}

static inline void
put_char(StringInfo buf, char c)
{
	put_bytes(buf, &c, 1);
}

static inline void
put_uint32(StringInfo buf, uint32 value)
{
	value = pg_hton32(value);
	put_bytes(buf, &value, sizeof(value));
}

static void
put_int64(StringInfo buf, int64 value)
{
	uint64		n = pg_hton64((uint64) value);

	put_bytes(buf, &n, sizeof(n));
}

const char *
es_chain_utf8(const char *data, int *len)
{
	char	   *utf8;

	if (GetDatabaseEncoding() == PG_UTF8)
		return data;
	utf8 = pg_server_to_any(data, *len, PG_UTF8);
	if (utf8 != data)
		*len = strlen(utf8);
	return utf8;
}

/* Length and bytes, as UTF-8. */
static void
put_string(StringInfo buf, const char *data, int len)
{
	data = es_chain_utf8(data, &len);
	put_uint32(buf, len);
	put_bytes(buf, data, len);
}

static void put_container(StringInfo buf, JsonbContainer *container);

static void
put_number(StringInfo buf, Numeric number)
{
	char	   *digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	int			len = strlen(digits);

	put_char(buf, '#');
	put_uint32(buf, len);
	put_bytes(buf, digits, len);
	pfree(digits);
}

/* A value of an array or object: its entry, and where its bytes begin and end. */
static void
put_element(StringInfo buf, JEntry entry, char *base, uint32 offset, uint32 end)
{
	if (JBE_ISSTRING(entry))
	{
		put_char(buf, '"');
		put_string(buf, base + offset, end - offset);
	}
	else if (JBE_ISNUMERIC(entry))
		put_number(buf, (Numeric) (base + INTALIGN(offset)));
	else if (JBE_ISNULL(entry))
		put_char(buf, 'n');
	else if (JBE_ISBOOL_TRUE(entry))
		put_char(buf, 't');
	else if (JBE_ISBOOL_FALSE(entry))
		put_char(buf, 'f');
	else
		put_container(buf, (JsonbContainer *) (base + INTALIGN(offset)));
}

/* Keys first, values after them: two offsets that advance together. */
static void
put_object(StringInfo buf, JsonbContainer *container, int count)
{
	char	   *base = (char *) (container->children + count * 2);
	uint32		key = 0;
	uint32		value = getJsonbOffset(container, count);

	for (int i = 0; i < count; i++)
	{
		uint32		key_end = key;
		uint32		value_end = value;

		JBE_ADVANCE_OFFSET(key_end, container->children[i]);
		JBE_ADVANCE_OFFSET(value_end, container->children[count + i]);
		put_string(buf, base + key, key_end - key);
		put_element(buf, container->children[count + i], base, value, value_end);
		key = key_end;
		value = value_end;
	}
}

typedef struct ObjectKey
{
	const char *data;			/* UTF-8 */
	int			len;
	int			index;
} ObjectKey;

static int
compare_keys(const void *a, const void *b)
{
	const ObjectKey *x = a;
	const ObjectKey *y = b;

	return x->len != y->len ? x->len - y->len : memcmp(x->data, y->data, x->len);
}

/* jsonb has the keys in order, but in that of the database's encoding. */
static void
put_object_sorted(StringInfo buf, JsonbContainer *container, int count)
{
	char	   *base = (char *) (container->children + count * 2);
	ObjectKey  *keys = palloc(Max(1, count) * sizeof(ObjectKey));

	for (int i = 0; i < count; i++)
	{
		keys[i].index = count + i;
		keys[i].len = getJsonbLength(container, i);
		keys[i].data = es_chain_utf8(base + getJsonbOffset(container, i), &keys[i].len);
	}
	qsort(keys, count, sizeof(ObjectKey), compare_keys);
	for (int i = 0; i < count; i++)
	{
		uint32		offset = getJsonbOffset(container, keys[i].index);

		put_uint32(buf, keys[i].len);
		put_bytes(buf, keys[i].data, keys[i].len);
		put_element(buf, container->children[keys[i].index], base, offset,
					offset + getJsonbLength(container, keys[i].index));
	}
	pfree(keys);
}

static void
put_array(StringInfo buf, JsonbContainer *container, int count)
{
	char	   *base = (char *) (container->children + count);
	uint32		offset = 0;

	for (int i = 0; i < count; i++)
	{
		uint32		end = offset;

		JBE_ADVANCE_OFFSET(end, container->children[i]);
		put_element(buf, container->children[i], base, offset, end);
		offset = end;
	}
}

static void
put_container(StringInfo buf, JsonbContainer *container)
{
	int			count = JsonContainerSize(container);

	check_stack_depth();
	if (!JsonContainerIsScalar(container))
	{
		put_char(buf, JsonContainerIsObject(container) ? '{' : '[');
		put_uint32(buf, count);
	}
	if (!JsonContainerIsObject(container))
		put_array(buf, container, count);
	else if (GetDatabaseEncoding() == PG_UTF8)
		put_object(buf, container, count);
	else
		put_object_sorted(buf, container, count);
}

/* The same of a value that was read. */
static void
put_value(StringInfo buf, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			put_char(buf, '"');
			put_string(buf, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			put_number(buf, value->val.numeric);
			break;
		case jbvBool:
			put_char(buf, value->val.boolean ? 't' : 'f');
			break;
		case jbvNull:
			put_char(buf, 'n');
			break;
		case jbvBinary:
			put_container(buf, value->val.binary.data);
			break;
		default:
			elog(ERROR, "unexpected kind of JSON value: %d", (int) value->type);
	}
}

/* Field number and tag; the length follows once the bytes are there. */
static int
begin_field(StringInfo buf, int number, char tag)
{
	char		header[6] = {(char) number, tag};

	put_bytes(buf, header, sizeof(header));
	return buf->len;
}

static void
end_field(StringInfo buf, int start)
{
	uint32		len = pg_hton32(buf->len - start);

	memcpy(buf->data + start - sizeof(len), &len, sizeof(len));
}

static void
put_text_field(StringInfo buf, int number, const text *value)
{
	if (value == NULL)
	{
		(void) begin_field(buf, number, 0);
		return;
	}
	put_char(buf, (char) number);
	put_char(buf, 't');
	put_string(buf, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static void
put_field(StringInfo buf, const EsEvent *event, EsEventColumn col)
{
	int			number = col + 1;
	int			start;

	if (event->isnull[col])
	{
		(void) begin_field(buf, number, 0);
		return;
	}
	switch (col)
	{
		case ES_EVENT_POSITION:
		case ES_EVENT_VERSION:
			start = begin_field(buf, number, 'i');
			put_int64(buf, DatumGetInt64(event->value[col]));
			break;
		case ES_EVENT_SCHEMA_VERSION:
			start = begin_field(buf, number, 'i');
			put_int64(buf, DatumGetInt32(event->value[col]));
			break;
		case ES_EVENT_OCCURRED_AT:
		case ES_EVENT_RECORDED_AT:
			start = begin_field(buf, number, 'z');
			put_int64(buf, DatumGetTimestampTz(event->value[col]));
			break;
		case ES_EVENT_IS_SYNTHETIC:
			start = begin_field(buf, number, 'b');
			put_char(buf, DatumGetBool(event->value[col]) ? 1 : 0);
			break;
		case ES_EVENT_DATA:
		case ES_EVENT_METADATA:
			start = begin_field(buf, number, 'j');
			put_container(buf, &((Jsonb *) DatumGetPointer(event->value[col]))->root);
			break;
		default:
			put_text_field(buf, number, es_event_text(event, col));
			return;
	}
	end_field(buf, start);
}

int
es_chain_hashed_flags(const EsEvent *event)
{
	return event->flags & HASHED_FLAGS;
}

static void
put_commitment(StringInfo buf, const EsEvent *event)
{
	int			start;

	if (event->commitment == NULL)
		return;
	start = begin_field(buf, FIELD_PERSONAL, 'c');
	put_bytes(buf, event->commitment, ES_HASH_SIZE);
	end_field(buf, start);
}

void
es_chain_hash(const EsEvent *event, const uint8 *previous, uint8 *hash)
{
	StringInfoData buf;

	initStringInfo(&buf);
	put_bytes(&buf, "ES", 2);
	put_char(&buf, CHAIN_FORMAT);
	put_bytes(&buf, es_log_id()->data, UUID_LEN);
	put_bytes(&buf, previous, ES_HASH_SIZE);
	for (EsEventColumn col = 0; col < ES_EVENT_NCOLUMNS; col++)
	{
		if (col != ES_EVENT_CATEGORY && col != ES_EVENT_KEY && col != ES_EVENT_HASH)
			put_field(&buf, event, col);
	}
	put_text_field(&buf, FIELD_MACHINE, event->machine);
	if (es_chain_hashed_flags(event) != 0)
	{
		int			start = begin_field(&buf, FIELD_FLAGS, 'i');

		put_int64(&buf, es_chain_hashed_flags(event));
		end_field(&buf, start);
	}
	put_commitment(&buf, event);
	es_sha256(buf.data, buf.len, hash);
	pfree(buf.data);
}

void
es_chain_digest(const EsEvent *event, uint8 *digest)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (EsEventColumn col = 0; col < ES_EVENT_NCOLUMNS; col++)
	{
		if (!event->isnull[col])
			put_field(&buf, event, col);
	}
	put_commitment(&buf, event);
	es_sha256(buf.data, buf.len, digest);
	pfree(buf.data);
}

/* What RFC 2104 puts before a message, and before the hash of both; a key is as long as a hash. */
static void
put_hmac_key(StringInfo buf, const uint8 *key, uint8 pad)
{
	uint8		block[HMAC_BLOCK];

	memset(block, pad, HMAC_BLOCK);
	for (int i = 0; i < ES_HASH_SIZE; i++)
		block[i] ^= key[i];
	put_bytes(buf, block, HMAC_BLOCK);
}

void
es_chain_commit_field(const uint8 *salt, const char *path, int length, const JsonbValue *value, uint8 *commit)
{
	StringInfoData buf;
	uint8		inner[ES_HASH_SIZE];

	initStringInfo(&buf);
	put_hmac_key(&buf, salt, 0x36);
	put_char(&buf, COMMIT_FIELD);
	put_string(&buf, path, length);
	put_value(&buf, value);
	es_sha256(buf.data, buf.len, inner);
	resetStringInfo(&buf);
	put_hmac_key(&buf, salt, 0x5c);
	put_bytes(&buf, inner, ES_HASH_SIZE);
	es_sha256(buf.data, buf.len, commit);
	pfree(buf.data);
}

void
es_chain_commit(const uint8 *commits, int count, uint8 *commitment)
{
	StringInfoData buf;

	initStringInfo(&buf);
	put_char(&buf, COMMIT_EVENT);
	put_uint32(&buf, count);
	put_bytes(&buf, commits, count * ES_HASH_SIZE);
	es_sha256(buf.data, buf.len, commitment);
	pfree(buf.data);
}

void
es_chain_left(const EsEvent *event, const EsPersonal *personal, uint8 *digest)
{
	bytea	   *stored = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);
	uint8		own[ES_HASH_SIZE] = {0};
	uint8		hash[ES_HASH_SIZE];
	StringInfoData buf;

	memcpy(own, VARDATA_ANY(stored), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(stored)));
	es_chain_hash(event, own, hash);
	initStringInfo(&buf);
	put_char(&buf, DIGEST_LEFT);
	put_bytes(&buf, hash, ES_HASH_SIZE);
	put_uint32(&buf, personal == NULL ? 0 : personal->n);
	for (int i = 0; personal != NULL && i < personal->n; i++)
	{
		const EsPersonalField *field = &personal->field[i];
		bool		is_original = es_personal_is_original(field);

		put_string(&buf, field->path, field->length);
		put_bytes(&buf, field->commit, ES_HASH_SIZE);
		put_char(&buf, is_original ? 'o' : 'r');
		if (!is_original)
			put_value(&buf, &field->value);
	}
	es_sha256(buf.data, buf.len, digest);
	pfree(buf.data);
}
