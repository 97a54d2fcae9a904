/*
 * stream.c
 *		Streams: names, ids, locks and heads.
 *
 * A stream's writers are serialised by a heavyweight lock on a 64-bit hash of
 * its name, taken before anything about the stream is looked at and held to
 * the end of the (sub)transaction.  The hash is a lock key only: two streams
 * that share one merely wait for each other.  Ids are assigned.
 *
 * Every appending transaction holds ROW EXCLUSIVE on the log's parent.  One
 * that locks more than MAX_STREAM_LOCKS streams takes SHARE ROW EXCLUSIVE
 * there, which stands for the locks of all streams.
 *
 * The head of a stream is its last event; writer.c reads it after the lock with
 * SnapshotSelf, which sees what is committed now and what we wrote ourselves,
 * whatever command wrote it.
 *
 * Streams are cached per backend by name, in two generations: when the newer is
 * full it becomes the older, and what is found in the older is copied to the
 * newer.  What a transaction has not committed yet may be in the cache; a
 * rollback puts all of it aside (see word.c).  Names by id: stream_name.c.
 */
#include "log/stream.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "errors.h"
#include "log/cache.h"
#include "log/catalog.h"
#include "log/roster.h"
#include "log/segment.h"
#include "log/word.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_STREAM_LOCKS	1000
#define MANY_STREAM_LOCKS	700
#define CACHE_GENERATION	50000	/* entries; about 100 bytes each */

typedef struct NameEntry
{
	uint64		hash;			/* key; another name with it replaces this one */
	EsStream	stream;
	const text *name;
} NameEntry;

typedef struct Generation
{
	MemoryContext context;		/* NULL: empty */
	HTAB	   *by_name;
} Generation;

static Generation newer;
static Generation older;
static bool has_fresh;
static Oid	cached_table;

static int	stream_locks;		/* taken by this transaction */
static bool log_locked;			/* ROW EXCLUSIVE is held on the log */
static bool wide_lock;

int
es_stream_category_length(const text *name)
{
	const char *data = VARDATA_ANY(name);
	int			len = VARSIZE_ANY_EXHDR(name);
	const char *dash = memchr(data, '-', len);

	if (len > ES_MAX_STREAM_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("stream name is too long"),
				 errdetail("It has %d bytes; at most %d are allowed.", len, ES_MAX_STREAM_NAME),
				 errhint("Keep the key short, and put the rest into the event's data.")));
	if (dash == NULL || dash == data || dash == data + len - 1 || dash - data > ES_MAX_WORD)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid stream name \"%.*s\"", pg_mbcliplen(data, len, 100), data),
				 errdetail("A stream is named category-key; the category is what stands before the first \"-\", at most %d bytes.",
						   ES_MAX_WORD),
				 errhint("For example: lead-42.")));
	return dash - data;
}

/* ---- cache ---- */

static void
put_generation_aside(Generation *generation)
{
	es_cache_put_aside(&generation->context);
	memset(generation, 0, sizeof(*generation));
}

static void
put_aside(void)
{
	put_generation_aside(&newer);
	put_generation_aside(&older);
	has_fresh = false;
}

static void
begin_generation(void)
{
	HASHCTL		ctl;

	if (older.context != NULL)
		MemoryContextDelete(older.context);
	older = newer;
	newer.context = AllocSetContextCreate(TopMemoryContext, "eventsource streams",
										  ALLOCSET_DEFAULT_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(NameEntry);
	ctl.hcxt = newer.context;
	newer.by_name = hash_create("eventsource streams by name", 256, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
ensure_cache(void)
{
	if (unlikely(cached_table != es_catalog_oid(ES_REL_STREAM)))
	{
		put_aside();
		cached_table = es_catalog_oid(ES_REL_STREAM);
	}
	if (newer.context == NULL || hash_get_num_entries(newer.by_name) >= CACHE_GENERATION)
		begin_generation();
}

static uint64
hash_name(const text *name)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(name),
							   VARSIZE_ANY_EXHDR(name), 0);
}

static const text *
copy_name(const text *name)
{
	int			len = VARSIZE_ANY_EXHDR(name);
	text	   *copy = MemoryContextAlloc(newer.context, VARHDRSZ + len);

	SET_VARSIZE(copy, VARHDRSZ + len);
	memcpy(VARDATA(copy), VARDATA_ANY(name), len);
	return copy;
}

static void
note_fresh(TransactionId xmin)
{
	if (TransactionIdIsCurrentTransactionId(xmin))
		has_fresh = true;
}

static NameEntry *
remember_by_name(const text *name, const EsStream *stream, TransactionId xmin)
{
	uint64		hash = hash_name(name);
	const text *copy = copy_name(name);
	bool		found;
	NameEntry  *entry = hash_search(newer.by_name, &hash, HASH_ENTER, &found);

	entry->stream = *stream;
	entry->name = copy;
	note_fresh(xmin);
	return entry;
}

static NameEntry *
recall_by_name(const text *name)
{
	uint64		hash = hash_name(name);
	NameEntry  *entry;

	ensure_cache();
	entry = hash_search(newer.by_name, &hash, HASH_FIND, NULL);
	if (entry != NULL && es_text_same(entry->name, name))
		return entry;
	if (older.context != NULL)
	{
		entry = hash_search(older.by_name, &hash, HASH_FIND, NULL);
		if (entry != NULL && es_text_same(entry->name, name))
			return remember_by_name(name, &entry->stream, InvalidTransactionId);
	}
	return NULL;
}

void
es_stream_note_version(const text *name, int64 version)
{
	NameEntry  *entry = recall_by_name(name);

	if (entry != NULL)
		entry->stream.version_hint = version;
}

/* ---- locks ---- */

static void
take_wide_lock(void)
{
	LockRelationOid(es_catalog_oid(ES_REL_EVENT), ShareRowExclusiveLock);
	wide_lock = true;
	es_segment_wide_lock();
}

uint64
es_stream_lock_order(const text *name)
{
	return hash_name(name);
}

void
es_stream_expect_distinct(int count)
{
	if (!wide_lock && stream_locks + count > MAX_STREAM_LOCKS)
		take_wide_lock();
}

bool
es_stream_locks_are_many(void)
{
	return !wide_lock && stream_locks >= MANY_STREAM_LOCKS;
}

static bool
lock_stream(const text *name, bool wait)
{
	LOCKTAG		tag;
	uint64		hash = hash_name(name);
	LockAcquireResult result;

	if (wide_lock)
		return true;
	if (!log_locked)
	{
		LockRelationOid(es_catalog_oid(ES_REL_EVENT), RowExclusiveLock);
		log_locked = true;
	}
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, ES_LOCK_STREAM);
	result = LockAcquire(&tag, ExclusiveLock, false, !wait);
	if (result == LOCKACQUIRE_OK && ++stream_locks > MAX_STREAM_LOCKS)
		take_wide_lock();
	return result != LOCKACQUIRE_NOT_AVAIL;
}

void
es_stream_lock(const text *name)
{
	(void) lock_stream(name, true);
}

bool
es_stream_try_lock(const text *name)
{
	return lock_stream(name, false);
}

/* ---- finding and making ---- */

bool
es_stream_recall(const text *name, EsStream *stream)
{
	NameEntry  *entry = recall_by_name(name);

	if (entry != NULL)
		*stream = entry->stream;
	return entry != NULL;
}

/* It must be committed. */
void
es_stream_remember(const text *name, const EsStream *stream)
{
	if (recall_by_name(name) == NULL)
		(void) remember_by_name(name, stream, InvalidTransactionId);
}

bool
es_stream_find_in(EsRoster *roster, const text *name, EsStream *stream)
{
	TransactionId xmin;

	if (es_stream_recall(name, stream))
		return true;
	if (!es_roster_find(roster, name, stream, &xmin))
		return false;
	(void) remember_by_name(name, stream, xmin);
	return true;
}

bool
es_stream_find(const text *name, EsStream *stream)
{
	EsRoster   *roster = es_roster_begin();
	bool		found = es_stream_find_in(roster, name, stream);

	es_roster_end(roster);
	return found;
}

void
es_stream_mention_missing(const text *name)
{
	EsStream	stream;

	if (!es_stream_find(name, &stream))
		ereport(NOTICE,
				(errmsg("there is no stream \"%s\"", text_to_cstring(name)),
				 errdetail("Nothing was verified."),
				 errhint("A stream is named as it was appended to: category-key, as in 'order-17'. NULL verifies all.")));
}

void
es_stream_note_missing(const text *name, Snapshot snapshot)
{
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;

	if (!IsolationIsSerializable() || !IsMVCCSnapshot(snapshot))
		return;
	rel = table_open(es_catalog_oid(ES_REL_STREAM), AccessShareLock);
	ScanKeyInit(&key, 3, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(name));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_STREAM_NAME_IDX), true, snapshot, 1, &key);
	(void) systable_getnext(scan);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

int64
es_stream_new_id(const text *category)
{
	int64		word = es_word_id(category);

	if (word >= (1 << 23))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many words for a new category"),
				 errdetail("Category \"%.*s\" would be word number " INT64_FORMAT "; a category must be among the first %d words of the log.",
						   (int) VARSIZE_ANY_EXHDR(category), VARDATA_ANY(category), word, 1 << 23),
				 errhint("Keep actors, reasons and types to sets that do not grow without end.")));
	return (word << 40) | nextval_internal(es_catalog_oid(ES_REL_STREAM_SEQ), false);
}

void
es_stream_insert(EsRoster *roster, const text *name, const EsStream *stream)
{
	es_roster_insert(roster, name, stream);
	ensure_cache();
	(void) remember_by_name(name, stream, GetCurrentTransactionId());
}

/* ---- where a stream's events are ---- */

int64
es_stream_latest_part(const EsStream *stream)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_STREAM_SEGMENT), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_STREAM_SEGMENT_PKEY), AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	int64		result = stream->first_position;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream->id));
	scan = systable_beginscan_ordered(rel, index, SnapshotSelf, 1, &key);
	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		result = DatumGetInt64(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return result;
}

void
es_stream_enter_segment(const EsStream *stream, int64 position, int64 version)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_STREAM_SEGMENT), RowExclusiveLock);
	Datum		values[3] = {Int64GetDatum(stream->id), Int64GetDatum(position), Int64GetDatum(version)};
	bool		nulls[3] = {false, false, false};

	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
}

List *
es_stream_parts(const EsStream *stream, Snapshot snapshot)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_STREAM_SEGMENT), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_STREAM_SEGMENT_PKEY), AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	EsStreamPart *part = palloc(sizeof(EsStreamPart));
	List	   *parts = list_make1(part);

	part->first_position = stream->first_position;
	part->first_version = 1;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream->id));
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool		isnull;

		part = palloc(sizeof(EsStreamPart));
		part->first_position = DatumGetInt64(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
		part->first_version = DatumGetInt64(heap_getattr(tuple, 3, RelationGetDescr(rel), &isnull));
		parts = lappend(parts, part);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return parts;
}

/* ---- end of transactions ---- */

static void
at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (has_fresh && event != XACT_EVENT_COMMIT)
		put_aside();
	has_fresh = false;
	stream_locks = 0;
	log_locked = wide_lock = false;
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;

	/* Locks taken inside are gone; counting too many of them does no harm. */
	log_locked = wide_lock = false;
	if (has_fresh)
		put_aside();
}

void
es_stream_init(void)
{
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
