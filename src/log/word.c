/*
 * word.c
 *		The dictionary: words that events repeat, as small ids.
 *
 * Append-only table eventsource.word, cached per backend in both directions.
 * Nobody waits for a word: two transactions that meet a new one at the same
 * time each give it an id, and every reader takes the id it finds.
 *
 * A word that a transaction of our own has not committed yet may be in the
 * cache; if that transaction or one of its subtransactions rolls back, the
 * whole cache is put aside.  Put aside means: handed to the transaction's
 * memory, because pointers into it may still be in use.
 *
 * Under REPEATABLE READ and above, an id that the transaction's snapshot cannot
 * see is not used: the transaction would read its own event without the word.
 */
#include "log/word.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "log/cache.h"
#include "log/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_CACHED_WORDS	50000

typedef struct WordKey
{
	const char *data;
	int			len;
} WordKey;

typedef struct WordEntry
{
	WordKey		key;			/* points into word */
	int32		id;
	TransactionId xmin;			/* InvalidTransactionId once every later
								 * snapshot sees it */
	const text *word;
} WordEntry;

typedef struct IdEntry
{
	int32		id;
	char		status;
	const text *word;
} IdEntry;

/* Looked into several times per event that is read. */
#define SH_PREFIX		idtable
#define SH_ELEMENT_TYPE	IdEntry
#define SH_KEY_TYPE		int32
#define SH_KEY			id
#define SH_HASH_KEY(tb, key)	murmurhash32((uint32) (key))
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext cache_context;
static HTAB *by_word;
static idtable_hash * by_id;
static WordEntry *recent[64];	/* of by_word, found without hashing */
static IdEntry recent_ids[256]; /* copies out of by_id, likewise */
static bool has_fresh;			/* holds words of the open transaction */
static Oid	cached_table;		/* the table the cache was read from */

static uint32
word_hash(const void *key, Size keysize)
{
	const WordKey *k = key;

	return hash_bytes((const unsigned char *) k->data, k->len);
}

static int
word_match(const void *a, const void *b, Size keysize)
{
	const WordKey *x = a;
	const WordKey *y = b;

	return x->len == y->len ? memcmp(x->data, y->data, x->len) : 1;
}

static void
put_aside(void)
{
	es_cache_put_aside(&cache_context);
	by_word = NULL;
	by_id = NULL;
	memset(recent, 0, sizeof(recent));
	memset(recent_ids, 0, sizeof(recent_ids));
	has_fresh = false;
}

static void
ensure_cache(void)
{
	HASHCTL		ctl;

	if (cache_context != NULL && cached_table == es_catalog_oid(ES_REL_WORD))
		return;
	put_aside();
	cached_table = es_catalog_oid(ES_REL_WORD);
	cache_context = AllocSetContextCreate(TopMemoryContext, "eventsource words",
										  ALLOCSET_DEFAULT_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(WordKey);
	ctl.entrysize = sizeof(WordEntry);
	ctl.hash = word_hash;
	ctl.match = word_match;
	ctl.hcxt = cache_context;
	by_word = hash_create("eventsource words by word", 256, &ctl,
						  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	by_id = idtable_create(cache_context, 256, NULL);
}

static const text *
remember_id(int32 id, const char *data, int len)
{
	bool		found;
	IdEntry    *entry;
	text	   *copy;

	entry = idtable_lookup(by_id, id);
	if (entry != NULL)
		return entry->word;
	copy = MemoryContextAlloc(cache_context, VARHDRSZ + len);
	SET_VARSIZE(copy, VARHDRSZ + len);
	memcpy(VARDATA(copy), data, len);
	idtable_insert(by_id, id, &found)->word = copy;
	return copy;
}

static void
remember_word(int32 id, TransactionId xmin, const char *data, int len)
{
	const text *copy = remember_id(id, data, len);
	WordKey		key = {VARDATA_ANY(copy), len};
	bool		found;
	WordEntry  *entry = hash_search(by_word, &key, HASH_ENTER, &found);

	entry->key = key;			/* same bytes; the older copy may be another
								 * id's */
	entry->id = id;
	entry->xmin = xmin;
	entry->word = copy;
	if (TransactionIdIsCurrentTransactionId(xmin))
		has_fresh = true;
}

/* May this transaction use a word inserted by xmin? */
static bool
is_usable(TransactionId xmin)
{
	return !TransactionIdIsNormal(xmin) ||
		!IsolationUsesXactSnapshot() ||
		TransactionIdIsCurrentTransactionId(xmin) ||
		!XidInMVCCSnapshot(xmin, GetTransactionSnapshot());
}

static bool
find_in_table(Relation rel, const text *word)
{
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, 2, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(word));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_WORD_WORD_IDX), true,
							  SnapshotSelf, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		bool		isnull;

		if (!is_usable(xmin))
			continue;
		remember_word(DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull)),
					  xmin, VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word));
		found = true;
	}
	systable_endscan(scan);
	return found;
}

static void
insert_word(Relation rel, const text *word)
{
	int32		id = (int32) nextval_internal(es_catalog_oid(ES_REL_WORD_SEQ), false);
	Datum		values[2] = {Int32GetDatum(id), PointerGetDatum(word)};
	bool		nulls[2] = {false, false};

	es_catalog_insert(rel, values, nulls);
	remember_word(id, GetCurrentTransactionId(), VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word));
}

/* An event has half a dozen words, and events have the same ones. */
static WordEntry *
find_in_cache(const WordKey *key)
{
	uint32		place = key->len == 0 ? 0 : key->len * 5 + key->data[0] * 3 + key->data[key->len - 1];
	WordEntry **entry = &recent[place % lengthof(recent)];

	if (*entry == NULL || word_match(&(*entry)->key, key, sizeof(WordKey)) != 0)
		*entry = hash_search(by_word, key, HASH_FIND, NULL);
	return *entry;
}

int32
es_word_id(const text *word)
{
	WordKey		key;
	WordEntry  *entry;
	Relation	rel;

	if (word == NULL)
		return 0;
	ensure_cache();
	key.data = VARDATA_ANY(word);
	key.len = VARSIZE_ANY_EXHDR(word);
	entry = find_in_cache(&key);
	if (entry != NULL)
	{
		if (!TransactionIdIsValid(entry->xmin))
			return entry->id;
		if (is_usable(entry->xmin))
		{
			if (TransactionIdPrecedes(entry->xmin, RecentXmin))
				entry->xmin = InvalidTransactionId;
			return entry->id;
		}
	}
	rel = table_open(es_catalog_oid(ES_REL_WORD), RowExclusiveLock);
	if (!find_in_table(rel, word))
		insert_word(rel, word);
	table_close(rel, NoLock);
	entry = hash_search(by_word, &key, HASH_FIND, NULL);
	return entry->id;
}

static const text *
read_word(int32 id)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_WORD), AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	const text *result = NULL;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_WORD_PKEY), true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		text	   *word = DatumGetTextPP(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));

		result = remember_id(id, VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word));
		if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
			has_fresh = true;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* Keeps what it finds where the next event looks first. */
static const text *
find_word(int32 id)
{
	IdEntry    *entry = idtable_lookup(by_id, id);
	IdEntry    *place = &recent_ids[(uint32) id % lengthof(recent_ids)];
	const text *word = entry != NULL ? entry->word : read_word(id);

	if (word != NULL)
	{
		place->id = id;
		place->word = word;
	}
	return word;
}

void
es_word_texts(const int32 *ids, const text **words, int count)
{
	ensure_cache();
	for (int i = 0; i < count; i++)
	{
		int32		id = ids[i];
		const IdEntry *entry = &recent_ids[(uint32) id % lengthof(recent_ids)];

		if (id == 0)
			words[i] = NULL;
		else if (likely(entry->id == id))
			words[i] = entry->word;
		else
			words[i] = find_word(id);
	}
}

const text *
es_word_text(int32 id)
{
	const text *word;

	es_word_texts(&id, &word, 1);
	return word;
}

int32 *
es_word_all_ids(const char *word, int *count)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_WORD), AccessShareLock);
	int			max = 4;
	int32	   *ids = palloc(max * sizeof(int32));
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, 2, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(word));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_WORD_WORD_IDX), true, SnapshotSelf, 1, &key);
	*count = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		if (*count == max)
		{
			max *= 2;
			ids = repalloc(ids, max * sizeof(int32));
		}
		ids[(*count)++] = DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return ids;
}

bool
es_word_is(int32 id, const char *word)
{
	const text *t = es_word_text(id);

	return t != NULL && VARSIZE_ANY_EXHDR(t) == strlen(word) &&
		memcmp(VARDATA_ANY(t), word, strlen(word)) == 0;
}

static void
at_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			has_fresh = false;
			if (by_id != NULL && by_id->members > MAX_CACHED_WORDS)
				put_aside();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			if (has_fresh)
				put_aside();
			break;
		default:
			break;
	}
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && has_fresh)
		put_aside();
}

void
es_word_init(void)
{
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
