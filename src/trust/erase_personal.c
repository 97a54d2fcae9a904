/*
 * erase_personal.c
 *		Personal fields when a subject is erased.
 *
 * Soft hides them, and a reversal shows them again.  Anonymized, each becomes what
 * its event type says; of those that are hashed, equal values stay equal within one
 * erasure, and nobody can find a value again: the key is made for the erasure and
 * kept nowhere.  Only what is a string has a replacement, as a fold that reads a
 * number could bear a NULL but no word.  Hard takes all of them, replacements of an
 * earlier erasure too.
 *
 * Locks: the subject's streams are locked, and so all writers of its rows are kept
 * out.  Memory: 16 bytes per event that has personal fields.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "log/catalog.h"
#include "log/correction.h"
#include "log/erasing.h"
#include "log/json.h"
#include "log/read.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "rules/event_type.h"
#include "trust/erase_personal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define REDACTED	"[redacted]"

/* Which rows there are: to change them while they are looked for is no way. */
typedef struct Found
{
	int64		position;
	int			fields;
} Found;

typedef struct Rows
{
	Found	   *row;
	int64		count;
	int64		max;
} Rows;

typedef struct Replacement
{
	bool		is_hard;
	const EsPii *pii;			/* of the event at hand, or NULL */
	uint8		key[PG_SHA256_DIGEST_LENGTH];
} Replacement;

static int64 erase(const EsErasing *erasing, void *state);
static bool note_row(const EsVaultRow *row, void *arg);
static const EsPii *find_pii(int64 position, Snapshot snapshot);
static bool read_event(int64 position, Snapshot snapshot, EsScan **scan, EsEvent *event);
static bool replace(const EsVaultRow *row, const EsPersonalField *field, JsonbValue *value, void *arg);
static void set_string(JsonbValue *value, char *string);
static char *hash(const JsonbValue *value, const uint8 *key);

void
es_erase_personal_init(void)
{
	static const EsEraser eraser = {"personal fields", NULL, erase};

	es_eraser_register(&eraser);
}

static int64
erase(const EsErasing *erasing, void *state)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource personal fields",
											   ALLOCSET_DEFAULT_SIZES);
	Replacement how = {.is_hard = es_erasing_is_hard(erasing)};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Rows		rows = {0};
	int64		changed = 0;

	if (!pg_strong_random(how.key, sizeof(how.key)))
		elog(ERROR, "could not generate a random key");
	rows.max = 64;
	rows.row = palloc(rows.max * sizeof(Found));
	es_vault_visit_subject(erasing->subject, snapshot, note_row, &rows);
	for (int64 i = 0; i < rows.count; i++)
	{
		int64		position = rows.row[i].position;
		bool		hides = erasing->mode == ES_ERASED_SOFT;
		MemoryContext caller = MemoryContextSwitchTo(work);
		bool		is_other;

		CHECK_FOR_INTERRUPTS();
		is_other = es_vault_set_state(position, hides ? ES_VAULT_HIDDEN : ES_VAULT_OPEN);
		if (is_other)
			CommandCounterIncrement();	/* the row is written twice */
		if (es_erasing_is_final(erasing))
		{
			how.pii = how.is_hard ? NULL : find_pii(position, snapshot);
			changed += es_vault_erase(position, replace, &how);
		}
		else if (is_other)
			changed += rows.row[i].fields;
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
	}
	if (changed > 0 && es_erasing_is_final(erasing))
		es_erasing_touch(erasing, es_catalog_oid(ES_REL_VAULT));
	UnregisterSnapshot(snapshot);
	explicit_bzero(how.key, sizeof(how.key));
	MemoryContextDelete(work);
	return changed;
}

static bool
note_row(const EsVaultRow *row, void *arg)
{
	Rows	   *rows = arg;

	if (rows->count == rows->max)
	{
		rows->max *= 2;
		rows->row = repalloc_huge(rows->row, rows->max * sizeof(Found));
	}
	rows->row[rows->count].position = row->position;
	rows->row[rows->count++].fields = row->personal.n;
	return true;
}

/* A correction's data is of its event's type. */
static const EsPii *
find_pii(int64 position, Snapshot snapshot)
{
	const EsPii *pii = NULL;
	EsScan	   *scan;
	EsEvent		event;
	int64		corrects;

	if (!read_event(position, snapshot, &scan, &event))
		return NULL;
	if (!es_event_is_correction(&event))
		pii = es_pii_of_event(&event);
	else if (es_json_find_number(&DatumGetJsonbP(event.value[ES_EVENT_METADATA])->root, "corrects", &corrects) &&
			 corrects < position)
		pii = find_pii(corrects, snapshot);
	es_scan_end(scan);
	return pii;
}

/* The caller ends the scan if there is one. */
static bool
read_event(int64 position, Snapshot snapshot, EsScan **scan, EsEvent *event)
{
	*scan = es_scan_whole_log(position - 1, position, snapshot);
	es_scan_expect(*scan, 1);
	es_scan_as_stored(*scan);
	if (es_scan_next(*scan, event))
		return true;
	es_scan_end(*scan);
	return false;
}

static bool
replace(const EsVaultRow *row, const EsPersonalField *field, JsonbValue *value, void *arg)
{
	const Replacement *how = arg;
	EsPiiStrategy strategy = how->is_hard ? ES_PII_NULL :
		es_pii_strategy(how->pii, field->path, field->length);
	char	   *network;

	if (field->value.type == jbvNull || strategy == ES_PII_KEEP ||
		(!how->is_hard && !es_personal_is_original(field)))
		return false;
	if (field->value.type != jbvString || strategy == ES_PII_NULL)
		return true;
	if (strategy == ES_PII_HASH)
		set_string(value, hash(&field->value, how->key));
	else if (strategy == ES_PII_REDACT)
		set_string(value, REDACTED);
	else
	{
		network = es_pii_mask_ip(field->value.val.string.val, field->value.val.string.len);
		set_string(value, network != NULL ? network : REDACTED);
	}
	return true;
}

static void
set_string(JsonbValue *value, char *string)
{
	value->type = jbvString;
	value->val.string.val = string;
	value->val.string.len = strlen(string);
}

/* HMAC-SHA256 of the string's bytes, in hexadecimal digits. */
static char *
hash(const JsonbValue *value, const uint8 *key)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *hex = palloc(2 * sizeof(digest) + 1);

	if (ctx == NULL || pg_hmac_init(ctx, key, PG_SHA256_DIGEST_LENGTH) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) value->val.string.val, value->val.string.len) < 0 ||
		pg_hmac_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute HMAC-SHA256");
	pg_hmac_free(ctx);
	hex[hex_encode((const char *) digest, sizeof(digest), hex)] = '\0';
	return hex;
}
