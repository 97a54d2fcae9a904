/*
 * job_order.c
 *		Jobs of one order key: one at a time, in the order of their turns.
 *
 * Of the unfinished jobs of a key, the one with the smallest turn is claimable while none
 * is claimed.  A queue full of jobs of few keys must not be walked by each claim: so jobs
 * that are seen to be behind others are marked (waits), which takes them out of the
 * index that claims walk; and whoever makes room for the next one wakes it.
 *
 * Who marks a job that has just become the next one would leave it waiting for ever.
 * So he locks it first, and then asks whether somebody is changing the first job of the
 * key, or that which is claimed; if so, he leaves it as it is.  Who makes room after that
 * sees the marked job, as it was there before, and waits for its lock.  Nobody waits
 * for a job of a smaller turn, but who has had the one that was claimed.
 */
#include "append/job_order.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "log/own_sql.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Order keys that are looked at in one go. */
#define MAX_KEYS	16

typedef struct Next
{
	int64		id;				/* 0: there is none */
	bool		waits;
} Next;

static void read_answer(HeapTuple row, TupleDesc desc, void *arg);

static void
read_next(HeapTuple row, TupleDesc desc, void *arg)
{
	Next	   *next = arg;
	bool		isnull;

	next->id = es_own_sql_int64(row, desc, 1);
	next->waits = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
}

void
es_job_order_wake(const text *queue, const text *order_key, int64 turn, bool was_claimed)
{
	static EsOwnSql lock_next = {
		.text = "SELECT j.id, j.waits FROM eventsource.job j WHERE j.queue = $1 AND j.order_key = $2"
		" AND j.state IN ('scheduled', 'available') AND ($4 OR NOT EXISTS ("
		"SELECT FROM eventsource.job b WHERE b.queue = $1 AND b.order_key = $2 AND b.state IN ('scheduled', 'available')"
		" AND b.turn < $3)) ORDER BY j.turn LIMIT 1 FOR UPDATE",
		.nargs = 4,
		.types = {TEXTOID, TEXTOID, INT8OID, BOOLOID}
	};
	static EsOwnSql wake = {
		.text = "UPDATE eventsource.job SET waits = false WHERE id = $1",
		.nargs = 1,
		.types = {INT8OID}
	};
	Datum		values[] = {
		PointerGetDatum(queue), PointerGetDatum(order_key), Int64GetDatum(turn), BoolGetDatum(was_claimed)
	};
	Next		next = {0};
	Datum		id;

	(void) es_own_sql(&lock_next, values, NULL, read_next, &next);
	id = Int64GetDatum(next.id);
	if (next.waits)
		(void) es_own_sql(&wake, &id, NULL, NULL, NULL);
}

bool
es_job_order_try_next(const text *queue, const text *order_key, int64 turn)
{
	static EsOwnSql lock_next = {
		.text = "SELECT l.id IS NOT NULL FROM (SELECT f.id FROM eventsource.job f WHERE f.queue = $1"
		" AND f.order_key = $2 AND f.state IN ('scheduled', 'available') AND ($3 = 0 OR f.turn < $3)"
		" ORDER BY f.turn LIMIT 1) n LEFT JOIN LATERAL (SELECT j.id FROM eventsource.job j WHERE j.id = n.id"
		" FOR UPDATE SKIP LOCKED) l ON true",
		.nargs = 3,
		.types = {TEXTOID, TEXTOID, INT8OID}
	};
	Datum		values[] = {PointerGetDatum(queue), PointerGetDatum(order_key), Int64GetDatum(turn)};
	bool		answer = true;

	(void) es_own_sql(&lock_next, values, NULL, read_answer, &answer);
	return answer;
}

static void
read_answer(HeapTuple row, TupleDesc desc, void *arg)
{
	bool	   *answer = arg;
	bool		isnull;

	*answer = DatumGetBool(SPI_getbinval(row, desc, 1, &isnull));
}

/* ---- marking ---- */

typedef struct Locked
{
	Datum	   *ids;
	int			count;
	Datum		keys[MAX_KEYS];
	int			n_keys;
} Locked;

static void
read_locked(HeapTuple row, TupleDesc desc, void *arg)
{
	Locked	   *locked = arg;
	text	   *key = es_own_sql_text(row, desc, 2);

	locked->ids[locked->count++] = Int64GetDatum(es_own_sql_int64(row, desc, 1));
	for (int i = 0; i < locked->n_keys; i++)
		if (es_text_same(key, (const text *) DatumGetPointer(locked->keys[i])))
			return;
	if (locked->n_keys < MAX_KEYS)
		locked->keys[locked->n_keys++] = PointerGetDatum(key);
}

/* Is nobody changing the first job of a key, and that which is claimed?  Locks them. */
static bool
is_quiet(const text *queue, Datum key)
{
#define AHEAD \
	"SELECT FROM eventsource.job j WHERE j.queue = $1 AND j.order_key = $2 AND j.state IN " ES_JOB_UNFINISHED \
	" AND (j.state = 'claimed' OR j.turn = (SELECT f.turn FROM eventsource.job f WHERE f.queue = $1" \
	" AND f.order_key = $2 AND f.state IN " ES_JOB_UNFINISHED " ORDER BY f.turn LIMIT 1))"
	static EsOwnSql ask = {
		.text = "SELECT a.n > 0 AND a.n = l.n FROM (SELECT count(*) AS n FROM (" AHEAD ") x) a,"
		" (SELECT count(*) AS n FROM (" AHEAD " FOR SHARE SKIP LOCKED) y) l",
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}
	};
	Datum		values[] = {PointerGetDatum(queue), key};
	bool		answer = false;

	(void) es_own_sql(&ask, values, NULL, read_answer, &answer);
	return answer;
}

/* Leaves only the keys that are quiet; no lock is kept. */
static void
find_quiet(const text *queue, Locked *locked)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			n_quiet = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	for (int i = 0; i < locked->n_keys; i++)
		if (is_quiet(queue, locked->keys[i]))
			locked->keys[n_quiet++] = locked->keys[i];
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	locked->n_keys = n_quiet;
}

void
es_job_order_mark(const text *queue, const int64 *ids, int count)
{
	static EsOwnSql lock = {
		.text = "SELECT j.id, j.order_key FROM eventsource.job j WHERE j.id = ANY ($1) AND " ES_JOB_IS_AVAILABLE
		" AND NOT j.waits AND j.order_key IS NOT NULL FOR UPDATE SKIP LOCKED",
		.nargs = 1,
		.types = {INT8ARRAYOID}
	};
	static EsOwnSql mark = {
		.text = "UPDATE eventsource.job AS j SET waits = true WHERE j.id = ANY ($1)"
		" AND (j.order_key || '') = ANY ($2) AND " ES_JOB_IS_AVAILABLE " AND NOT j.waits AND NOT " ES_JOB_ITS_TURN,
		.nargs = 2,
		.types = {INT8ARRAYOID, TEXTARRAYOID}
	};
	Locked		locked = {.ids = palloc(count * sizeof(Datum))};
	Datum	   *wanted = palloc(count * sizeof(Datum));
	Datum		values[2];

	for (int i = 0; i < count; i++)
		wanted[i] = Int64GetDatum(ids[i]);
	values[0] = PointerGetDatum(construct_array(wanted, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) es_own_sql(&lock, values, NULL, read_locked, &locked);
	if (locked.n_keys > 0)
		find_quiet(queue, &locked);
	if (locked.n_keys == 0)
		return;
	values[0] = PointerGetDatum(construct_array(locked.ids, locked.count, INT8OID, 8, FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	values[1] = PointerGetDatum(construct_array(locked.keys, locked.n_keys, TEXTOID, -1, false,
												TYPALIGN_INT));
	(void) es_own_sql(&mark, values, NULL, NULL, NULL);
}
