/*
 * accounts.c
 *		What the log tells of erasures, for who verifies what they left.
 *
 * An erasure that is for good records, for each event that it took something from, a
 * digest of what it left there: as the events' own hashes are of what is gone, these
 * alone tell whether that was changed since.  The newest erasure of a subject counts.
 */
#include "log/accounts.h"

#include "common/hashfn.h"
#include "log/config.h"
#include "log/json.h"
#include "log/read.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Those of other subjects are dropped beyond so many. */
#define MAX_DIGESTS		(1 << 20)

typedef struct Slot
{
	uint64		hash;			/* key */
	EsAccount  *first;
} Slot;

struct EsAccounts
{
	MemoryContext context;
	Snapshot	snapshot;
	HTAB	   *slots;
	int64		digests;		/* at hand */
};

static void read_stream(EsAccounts *accounts, const text *stream);
static void enter(EsAccounts *accounts, const EsEvent *event);
static void add_part(EsAccount *account, const EsEvent *event);
static void complete(EsAccount *account, const EsEvent *event, EsErasedMode mode);
static int64 count_left(const EsEvent *event);
static int	find_left(const EsEvent *event, JsonbValue **elements);
static int64 find_position(Jsonb *data);
static Slot *slot_of(EsAccounts *accounts, const text *subject, HASHACTION action);
static void load(EsAccounts *accounts, EsAccount *account);
static void drop(EsAccount *account, void *arg);

EsAccounts *
es_accounts_begin(Snapshot snapshot)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource erasures",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource erasure",
											   ALLOCSET_DEFAULT_SIZES);
	EsAccounts *accounts = MemoryContextAllocZero(context, sizeof(EsAccounts));
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(Slot),.hcxt = context};
	MemoryContext caller = CurrentMemoryContext;
	ListCell   *lc;

	accounts->context = context;
	accounts->snapshot = snapshot;
	accounts->slots = hash_create("eventsource erasures", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach(lc, es_config_streams(ES_ERASURE_CATEGORY "-", PG_INT32_MAX))
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(work);
		read_stream(accounts, lfirst(lc));
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
	}
	MemoryContextDelete(work);
	return accounts;
}

void
es_accounts_end(EsAccounts *accounts)
{
	MemoryContextDelete(accounts->context);
}

static void
read_stream(EsAccounts *accounts, const text *stream)
{
	EsScan	   *scan = es_scan_stream(stream, 1, false, accounts->snapshot);
	EsEvent		event;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
		enter(accounts, &event);
	es_scan_end(scan);
}

static void
enter(EsAccounts *accounts, const EsEvent *event)
{
	const text *subject = es_event_text(event, ES_EVENT_SUBJECT);
	char	   *type = text_to_cstring(es_event_text(event, ES_EVENT_TYPE));
	Jsonb	   *data = DatumGetJsonbP(event->value[ES_EVENT_DATA]);
	char	   *name = es_json_find_string(&data->root, ES_ERASURE_MODE);
	EsErasedMode mode = name == NULL ? ES_ERASED_NOT : es_erased_mode_named(name);
	EsAccount  *account;
	MemoryContext caller;
	Slot	   *slot;

	if (strcmp(type, ES_ERASURE_COMPLETED) != 0 && strcmp(type, ES_ERASURE_REVERTED) != 0 &&
		strcmp(type, ES_ERASURE_PART) != 0)
		return;
	account = es_accounts_find(accounts, subject);
	if (account == NULL)
	{
		caller = MemoryContextSwitchTo(accounts->context);
		slot = slot_of(accounts, subject, HASH_ENTER);
		account = palloc0(sizeof(EsAccount));
		account->subject = cstring_to_text_with_len(VARDATA_ANY(subject), VARSIZE_ANY_EXHDR(subject));
		account->next = slot->first;
		slot->first = account;
		MemoryContextSwitchTo(caller);
	}
	if (strcmp(type, ES_ERASURE_PART) == 0)
	{
		add_part(account, event);
		return;
	}
	if (strcmp(type, ES_ERASURE_COMPLETED) == 0)
		complete(account, event, mode);
	else
	{
		account->marks &= ~(1 << ES_ERASED_SOFT);
		account->hidden_upto = 0;
	}
	account->part_version = account->part_left = 0;
}

static void
add_part(EsAccount *account, const EsEvent *event)
{
	if (account->part_version == 0)
		account->part_version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	account->part_left += count_left(event);
}

/* Whatever somebody wrote there. */
static int64
find_position(Jsonb *data)
{
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(&data->root, ES_ERASURE_UPTO, &buffer);
	char	   *digits = value == NULL || value->type != jbvNumeric ? "" :
		DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	Size		length = strlen(digits);

	return length > 18 || strspn(digits, "0123456789") != length ? 0 : strtoll(digits, NULL, 10);
}

static int
count_digests(const JsonbValue *element)
{
	return element->type == jbvString ? element->val.string.len / (2 * ES_HASH_SIZE) : 0;
}

/* One that says nothing of what it left accounts for nothing. */
static void
complete(EsAccount *account, const EsEvent *event, EsErasedMode mode)
{
	Jsonb	   *data = DatumGetJsonbP(event->value[ES_EVENT_DATA]);
	int64		upto;

	if (mode == ES_ERASED_NOT)
		return;
	upto = find_position(data);
	account->marks |= 1 << mode;
	account->hidden_upto = mode == ES_ERASED_SOFT ? upto : 0;
	if (mode == ES_ERASED_SOFT)
		return;
	account->mode = mode;
	account->upto = upto;
	account->upto_version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	account->version = account->part_version != 0 ? account->part_version : account->upto_version;
	account->left = account->part_left + count_left(event);
}

static int64
count_left(const EsEvent *event)
{
	JsonbValue *elements;
	int			n = find_left(event, &elements);
	int64		count = 0;

	for (int i = 0; i < n; i++)
		count += count_digests(&elements[i]);
	return count;
}

/* Strings of digests that the event has. */
static int
find_left(const EsEvent *event, JsonbValue **elements)
{
	Jsonb	   *data = DatumGetJsonbP(event->value[ES_EVENT_DATA]);
	JsonbValue	buffer;
	JsonbValue *left = es_json_find(&data->root, ES_ERASURE_LEFT, &buffer);

	return left != NULL && es_json_is_array(left) ? es_json_elements(left, elements) : 0;
}

static Slot *
slot_of(EsAccounts *accounts, const text *subject, HASHACTION action)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(subject),
										   VARSIZE_ANY_EXHDR(subject), 0);
	bool		found;
	Slot	   *slot = hash_search(accounts->slots, &hash, action, &found);

	if (slot != NULL && !found)
		slot->first = NULL;
	return slot;
}

EsAccount *
es_accounts_find(EsAccounts *accounts, const text *subject)
{
	Slot	   *slot = hash_get_num_entries(accounts->slots) == 0 ? NULL :
		slot_of(accounts, subject, HASH_FIND);
	EsAccount  *account = slot == NULL ? NULL : slot->first;

	while (account != NULL && !es_text_same(account->subject, subject))
		account = account->next;
	return account;
}

void
es_accounts_visit(EsAccounts *accounts, EsAccountVisit visit, void *arg)
{
	HASH_SEQ_STATUS status;
	Slot	   *slot;

	hash_seq_init(&status, accounts->slots);
	while ((slot = hash_seq_search(&status)) != NULL)
		for (EsAccount *account = slot->first; account != NULL; account = account->next)
			visit(account, arg);
}

/* ---- what was left ---- */

static int
compare_digests(const void *a, const void *b)
{
	return memcmp(a, b, ES_HASH_SIZE);
}

bool
es_accounts_has_left(EsAccounts *accounts, EsAccount *account, const uint8 *digest)
{
	if (account->left == 0)
		return false;
	if (account->digests == NULL)
		load(accounts, account);
	return bsearch(digest, account->digests, account->left, ES_HASH_SIZE, compare_digests) != NULL;
}

static int
digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0;
}

/* Never an error: what is no digest equals none. */
static void
decode(const char *hex, int64 size, uint8 *bytes)
{
	for (int64 i = 0; i < size; i++)
		bytes[i] = digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]);
}

static void
load(EsAccounts *accounts, EsAccount *account)
{
	EsScan	   *scan = es_scan_stream(es_erasure_stream(account->subject), account->version, false,
									  accounts->snapshot);
	bool		is_last = false;
	EsEvent		event;
	JsonbValue *elements;
	int64		n = 0;

	if (accounts->digests > MAX_DIGESTS)
	{
		es_accounts_visit(accounts, drop, NULL);
		accounts->digests = 0;
	}
	account->digests = MemoryContextAllocExtended(accounts->context, account->left * ES_HASH_SIZE,
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	accounts->digests += account->left;
	es_scan_as_stored(scan);
	while (!is_last && es_scan_next(scan, &event))
	{
		int			count = find_left(&event, &elements);

		is_last = DatumGetInt64(event.value[ES_EVENT_VERSION]) >= account->upto_version;
		for (int i = 0; i < count; i++)
		{
			int64		length = Min(count_digests(&elements[i]), account->left - n);

			decode(elements[i].val.string.val, length * ES_HASH_SIZE, account->digests + n * ES_HASH_SIZE);
			n += length;
		}
	}
	es_scan_end(scan);
	qsort(account->digests, account->left, ES_HASH_SIZE, compare_digests);
}

static void
drop(EsAccount *account, void *arg)
{
	if (account->digests != NULL)
		pfree(account->digests);
	account->digests = NULL;
}
