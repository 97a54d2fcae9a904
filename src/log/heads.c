/*
 * heads.c
 *		Heads of streams in shared memory, for servers that preload the library.
 *
 * To append one must know the stream's id and its head: a look-up by name and one
 * of the last event.  What the last appender knew is kept here for the next one,
 * whichever backend it is.
 *
 * A head is here only while it is committed and the last of its stream: whoever
 * locks the stream to append takes it out, and puts the new one in at commit,
 * before the lock goes.  Rollback, a rolled back savepoint and PREPARE put
 * nothing in: the next appender reads the log.  So does one under REPEATABLE READ
 * and above, who must know the transaction that wrote the head.  A crash empties
 * it all.
 *
 * Readers of what was appended last, who know ids, find names here as well.
 *
 * A bucket has a few places; a head whose bucket is full replaces another.  By id,
 * it is only noted in which bucket the last one was whose id fell on the same note.
 * Locks: one of many for each bucket, held only while bytes are copied.
 */
#include "log/heads.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "common/hashfn.h"
#include "log/catalog.h"
#include "log/shared.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define NUM_LOCKS		128
#define PLACES			4

typedef struct SharedHead
{
	uint64		hash;			/* of the name */
	Oid			database;		/* InvalidOid: empty */
	Oid			table;			/* of streams: no other installation's */
	EsStream	stream;
	EsHead		head;
	int			name_len;
	char		name[ES_HEADS_MAX_NAME];
} SharedHead;

typedef struct Bucket
{
	uint32		next_victim;
	SharedHead	places[PLACES];
} Bucket;

static int	shared_heads;		/* setting */
static Bucket *buckets;			/* in shared memory; NULL: none */
static uint32 n_buckets;
static LWLockPadded *locks;
static pg_atomic_uint32 *notes; /* behind the buckets, one for each place */

static object_access_hook_type next_access_hook;

static SharedHead *left;		/* in TopTransactionContext */
static int	n_left;
static int	max_left;

bool
es_heads_are_shared(void)
{
	return buckets != NULL;
}

/* ---- places ---- */

/* Of all databases' streams of the id. */
static pg_atomic_uint32 *
note_of(int64 id)
{
	return &notes[(uint64) hash_bytes_uint32_extended((uint32) id, id >> 32) % ((uint64) n_buckets * PLACES)];
}

static LWLock *
lock_of(uint64 hash)
{
	return &locks[hash % n_buckets % NUM_LOCKS].lock;
}

static bool
is_same(const SharedHead *a, const SharedHead *b)
{
	return a->hash == b->hash && a->database == b->database && a->table == b->table &&
		a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

/* The place that has it, else an empty one, else one that has to go. */
static SharedHead *
place_for(Bucket *bucket, const SharedHead *head)
{
	SharedHead *empty = NULL;

	for (int i = 0; i < PLACES; i++)
	{
		SharedHead *place = &bucket->places[i];

		if (!OidIsValid(place->database))
			empty = place;
		else if (is_same(place, head))
			return place;
	}
	return empty != NULL ? empty : &bucket->places[bucket->next_victim++ % PLACES];
}

static void
put(const SharedHead *head)
{
	LWLock	   *lock = lock_of(head->hash);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	*place_for(&buckets[head->hash % n_buckets], head) = *head;
	LWLockRelease(lock);
	pg_atomic_write_u32(note_of(head->stream.id), head->hash % n_buckets);
}

/* What the transaction left when it appended to the stream before is out of date. */
static void
take_back(const SharedHead *head)
{
	for (int i = 0; i < n_left; i++)
		if (left[i].hash == head->hash)
			left[i--] = left[--n_left];
}

/* False: the name is too long. */
static bool
name_head(SharedHead *head, const text *name)
{
	head->name_len = VARSIZE_ANY_EXHDR(name);
	if (head->name_len > ES_HEADS_MAX_NAME)
		return false;
	memcpy(head->name, VARDATA_ANY(name), head->name_len);
	head->hash = hash_bytes_extended((const unsigned char *) head->name, head->name_len, 0);
	head->database = MyDatabaseId;
	head->table = es_catalog_oid(ES_REL_STREAM);
	return true;
}

bool
es_heads_take(const text *name, EsStream *stream, EsHead *head)
{
	SharedHead	wanted;
	Bucket	   *bucket;
	LWLock	   *lock;
	bool		found = false;

	if (buckets == NULL || !name_head(&wanted, name))
		return false;
	take_back(&wanted);
	bucket = &buckets[wanted.hash % n_buckets];
	lock = lock_of(wanted.hash);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < PLACES && !found; i++)
	{
		SharedHead *place = &bucket->places[i];

		if (!OidIsValid(place->database) || !is_same(place, &wanted))
			continue;
		*stream = place->stream;
		*head = place->head;
		place->database = InvalidOid;
		found = true;
	}
	LWLockRelease(lock);
	return found && !IsolationUsesXactSnapshot();
}

int
es_heads_name(int64 id, char *name)
{
	uint32		number;
	int			result = 0;

	if (buckets == NULL)
		return 0;
	number = pg_atomic_read_u32(note_of(id));
	LWLockAcquire(lock_of(number), LW_SHARED);
	for (int i = 0; i < PLACES && result == 0; i++)
	{
		const SharedHead *place = &buckets[number].places[i];

		if (place->stream.id != id || place->database != MyDatabaseId ||
			place->table != es_catalog_oid(ES_REL_STREAM))
			continue;
		result = place->name_len;
		memcpy(name, place->name, result);
	}
	LWLockRelease(lock_of(number));
	return result;
}

/* ---- what the transaction leaves ---- */

void
es_heads_leave(const text *name, const EsStream *stream, const EsHead *head)
{
	if (buckets == NULL || n_left == ES_HEADS_MAX_LEFT)
		return;
	if (n_left == max_left)
	{
		int			max = Max(1, max_left * 4);

		left = left == NULL ?
			MemoryContextAlloc(TopTransactionContext, max * sizeof(SharedHead)) :
			repalloc(left, max * sizeof(SharedHead));
		max_left = max;
	}
	if (!name_head(&left[n_left], name))
		return;
	left[n_left].stream = *stream;
	left[n_left].stream.version_hint = head->version;
	left[n_left].head = *head;
	n_left++;
}

/* At commit the locks on the streams are still held. */
static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		for (int i = 0; i < n_left; i++)
			put(&left[i]);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		left = NULL;			/* the memory goes with the transaction */
		n_left = max_left = 0;
	}
}

/* Part of what is left may be undone, and its streams unlocked. */
static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		n_left = 0;
}

/* ---- databases ---- */

/*
 * A new database may have the OID of one that was dropped, and be a copy of the
 * same template: what is left of the old one must not pass for its own.  Nobody
 * is in a database of this OID, neither yet nor any more.
 */
static void
forget_database(Oid database)
{
	for (uint32 i = 0; i < n_buckets; i++)
	{
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(lock_of(i), LW_EXCLUSIVE);
		for (int k = 0; k < PLACES; k++)
			if (buckets[i].places[k].database == database)
				buckets[i].places[k].database = InvalidOid;
		LWLockRelease(lock_of(i));
	}
}

static void
at_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg)
{
	if (next_access_hook != NULL)
		next_access_hook(access, class, object, sub_id, arg);
	if (access == OAT_POST_CREATE && class == DatabaseRelationId && buckets != NULL)
		forget_database(object);
}

/* ---- the memory ---- */

/* The setting is as the server started with it. */
static Size
memory_size(void)
{
	n_buckets = shared_heads / PLACES;
	return mul_size(n_buckets, sizeof(Bucket) + PLACES * sizeof(pg_atomic_uint32));
}

static void
attach_memory(void *memory, LWLockPadded *new_locks, bool is_new)
{
	buckets = memory;
	notes = (pg_atomic_uint32 *) (buckets + n_buckets);
	locks = new_locks;
	if (is_new)
		memset(buckets, 0, memory_size());
}

void
es_heads_init(void)
{
	static const EsShared piece = {"eventsource heads", memory_size, NUM_LOCKS, attach_memory};
	bool		is_preload = process_shared_preload_libraries_in_progress;

	/*
	 * A server that does not preload the library may still have it in its
	 * file.
	 */
	DefineCustomIntVariable("eventsource.shared_heads",
							"How many streams' heads are kept in shared memory.",
							"Each takes some 180 bytes. 0: none. Without effect unless the library is preloaded.",
							&shared_heads, 100000, 0, 100000000,
							is_preload ? PGC_POSTMASTER : PGC_SIGHUP, 0, NULL, NULL, NULL);
	if (!es_shared_want(&piece))
		return;
	next_access_hook = object_access_hook;
	object_access_hook = at_access;
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
