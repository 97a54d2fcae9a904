/*
 * stream_name.c
 *		Names of streams by id.
 *
 * Cached per backend, in two generations: when the newer is full it becomes the
 * older, and what is found in the older is copied to the newer.  What a
 * transaction has not committed yet may be in the cache; a rollback puts all of
 * it aside (see word.c).
 *
 * Readers ask for the names of a whole page of events together.  Those that are
 * not in the cache, nor with the heads in shared memory, are read in order of id,
 * neighbours in one range of the index: streams that began together often have
 * their events together.
 */
#include "log/stream_name.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "log/cache.h"
#include "log/catalog.h"
#include "log/heads.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define CACHE_GENERATION	200000	/* names; some 60 bytes each */
#define BLOCK_SIZE			(32 * 1024)

/* Entries of the index that cost less to pass by than another descent. */
#define MAX_STEPS			40

/* To learn how far apart ids are, a range of this many is read. */
#define MAX_TRIAL			2000

/* After so many it is learnt anew. */
#define MAX_RUN				256

StaticAssertDecl(ES_STREAM_NAMES_AT_ONCE < CACHE_GENERATION, "names asked for together stay");

typedef struct NameEntry
{
	int64		id;
	const text *name;			/* and behind it the key, as text */
	char		status;
} NameEntry;

#define SH_PREFIX		nametable
#define SH_ELEMENT_TYPE	NameEntry
#define SH_KEY_TYPE		int64
#define SH_KEY			id
#define SH_HASH_KEY(tb, key)	murmurhash32((uint32) (key))
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define ST_SORT			sort_ids
#define ST_ELEMENT_TYPE int64
#define ST_COMPARE(a, b)	(*(a) < *(b) ? -1 : *(a) > *(b) ? 1 : 0)
#define ST_SCOPE		static
#define ST_DEFINE
#include "lib/sort_template.h"

typedef struct Generation
{
	MemoryContext context;		/* NULL: empty */
	nametable_hash *names;
	char	   *free;			/* rest of the newest block */
	Size		left;
} Generation;

static Generation newer;
static Generation older;
static bool has_fresh;
static Oid	cached_table;

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
	if (older.context != NULL)
		MemoryContextDelete(older.context);
	older = newer;
	memset(&newer, 0, sizeof(newer));
	newer.context = AllocSetContextCreate(TopMemoryContext, "eventsource stream names",
										  ALLOCSET_DEFAULT_SIZES);
	newer.names = nametable_create(newer.context, 256, NULL);
}

static void
ensure_cache(void)
{
	if (unlikely(cached_table != es_catalog_oid(ES_REL_STREAM)))
	{
		put_aside();
		cached_table = es_catalog_oid(ES_REL_STREAM);
	}
	if (unlikely(newer.names == NULL || newer.names->members >= CACHE_GENERATION))
		begin_generation();
}

/* Names are many and short: no header of an allocation each. */
static char *
take_memory(Size size)
{
	char	   *result;

	if (size > newer.left)
	{
		Size		block = Max(size, BLOCK_SIZE);

		newer.left = 0;
		newer.free = MemoryContextAlloc(newer.context, block);
		newer.left = block;
	}
	result = newer.free;
	newer.free += size;
	newer.left -= size;
	return result;
}

static text *
put_text(char *place, const char *data, int len)
{
	SET_VARSIZE(place, VARHDRSZ + len);
	memcpy(VARDATA(place), data, len);
	return (text *) place;
}

static const text *
remember(int64 id, const char *data, int len)
{
	const char *dash = memchr(data, '-', len);
	int			skip = dash == NULL ? 0 : dash - data + 1;
	Size		key_offset = INTALIGN(VARHDRSZ + len);
	char	   *place = take_memory(INTALIGN(key_offset + VARHDRSZ + len - skip));
	bool		found;

	(void) put_text(place, data, len);
	(void) put_text(place + key_offset, data + skip, len - skip);
	nametable_insert(newer.names, id, &found)->name = (text *) place;
	return (text *) place;
}

/* What is in shared memory is committed. */
static const text *
recall_shared(int64 id)
{
	char		name[ES_HEADS_MAX_NAME];
	int			len = es_heads_name(id, name);

	return len == 0 ? NULL : remember(id, name, len);
}

static const text *
recall(int64 id)
{
	NameEntry  *entry = nametable_lookup(newer.names, id);

	if (entry != NULL)
		return entry->name;
	if (older.names != NULL)
	{
		entry = nametable_lookup(older.names, id);
		if (entry != NULL)
			return remember(id, VARDATA(entry->name), VARSIZE(entry->name) - VARHDRSZ);
	}
	return recall_shared(id);
}

const text *
es_stream_name_key(const text *name)
{
	return (const text *) ((const char *) name + INTALIGN(VARSIZE(name)));
}

/* ---- reading ---- */

static void
remember_row(int64 id, TupleTableSlot *slot)
{
	bool		isnull;
	const text *name = DatumGetTextPP(slot_getattr(slot, 3, &isnull));
	Datum		xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);

	if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin)))
		has_fresh = true;
	(void) remember(id, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

/*
 * Names of ids that are in order, by one range of the index; returns how many
 * entries it has.
 */
static int
read_run(IndexScanDesc scan, TupleTableSlot *slot, const int64 *ids, int count)
{
	ScanKeyData keys[2];
	int			entries = 0;
	int			i = 0;

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(ids[0]));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(ids[count - 1]));
	index_rescan(scan, keys, 2, NULL, 0);
	while (index_getnext_tid(scan, ForwardScanDirection) != NULL)
	{
		bool		isnull;
		int64		here = DatumGetInt64(index_getattr(scan->xs_itup, 1, scan->xs_itupdesc, &isnull));

		while (i < count && ids[i] < here)
			i++;
		if (i < count && ids[i] == here && index_fetch_heap(scan, slot))
			remember_row(here, slot);
		entries++;
	}
	return entries;
}

/*
 * How many of the ids, which are in order, to read as one range.  How many
 * entries lie between two is not known, but how many lay between those before
 * (max_gap 0: nothing is, try two).
 */
static int
choose_run(const int64 *ids, int count, int64 max_gap)
{
	int			max = Min(count, max_gap == 0 ? 2 : MAX_RUN);
	int			n = 1;

	if (max_gap == 0)
		max_gap = MAX_TRIAL;
	while (n < max && ids[n] - ids[n - 1] <= max_gap)
		n++;
	return n;
}

static void
read_names(const int64 *ids, int count)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_STREAM), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_STREAM_PKEY), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = es_compat_index_beginscan(rel, index, SnapshotSelf, 2);
	int64		max_gap = 0;
	int			n;

	scan->xs_want_itup = true;
	for (int i = 0; i < count; i += n)
	{
		int			entries;

		CHECK_FOR_INTERRUPTS();
		if (i > 0 && ES_STREAM_CATEGORY(ids[i]) != ES_STREAM_CATEGORY(ids[i - 1]))
			max_gap = 0;
		n = choose_run(ids + i, count - i, max_gap);
		entries = read_run(scan, slot, ids + i, n);
		if (entries > 1)
			max_gap = Max(MAX_STEPS, MAX_STEPS * ((ids[i + n - 1] - ids[i]) / (entries - 1)));
	}
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

void
es_stream_load_names(int64 *ids, int count)
{
	int			missing = 0;

	Assert(count <= ES_STREAM_NAMES_AT_ONCE);
	ensure_cache();
	for (int i = 0; i < count; i++)
		if (recall(ids[i]) == NULL)
			ids[missing++] = ids[i];
	if (missing == 0)
		return;
	sort_ids(ids, missing);
	read_names(ids, missing);
}

const text *
es_stream_find_name(int64 id)
{
	const text *name;

	ensure_cache();
	name = recall(id);
	if (name == NULL)
	{
		read_names(&id, 1);
		name = recall(id);
	}
	return name;
}

const text *
es_stream_name(int64 id)
{
	const text *name = es_stream_find_name(id);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stream " INT64_FORMAT " has events but no name", id),
				 errdetail("Table \"eventsource.stream\" lacks its row."),
				 errhint("Restore the dump as a whole: its tables stand together.")));
	return name;
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
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && has_fresh)
		put_aside();
}

void
es_stream_name_init(void)
{
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
