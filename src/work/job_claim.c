/*
 * job_claim.c
 *		claim: lending jobs to workers.
 *
 * Rows that another transaction has locked are passed over, so that workers do not wait
 * for each other.  Two that claim jobs of one order key, which only a race brings about,
 * meet in a unique index: who comes second looks again.
 *
 * Locks: the rows of the jobs that are lent.
 */
#include "work/job.h"

#include "access/xact.h"
#include "append/job_order.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "log/own_sql.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

PG_FUNCTION_INFO_V1(eventsource_claim);

#define MAX_DUE		1000		/* looked after in one claim */
#define MAX_ROUNDS	20
#define MAX_PASSED	256			/* jobs whose turn it is not, in one round */
#define MIN_PASSED	32			/* fewer are not worth to be marked */

/* What one walk over the queue has found, in its order. */
typedef struct Found
{
	Datum	   *ids;			/* locked, to be lent */
	int			count;
	int			wanted;
	bool		is_ordered;		/* one of them has an order key */
	bool		is_owing;		/* the queue owes something to the clock */
	int64		passed[MAX_PASSED]; /* it was not their turn; not locked */
	int			n_passed;
} Found;

static void put_job(ReturnSetInfo *result, const EsJob *job);
static void pick(const text *queue, int max_jobs, ArrayType *ids, Found *found);
static bool look_at(TupleTableSlot *slot, void *arg);
static bool try_lend(const Found *found, TimestampTz until, const text *worker, List **jobs);
static void lend(const Found *found, TimestampTz until, const text *worker, List **jobs);
static int	compare_jobs(const ListCell *a, const ListCell *b);
static bool look_at_clock(const text *queue, int max_jobs, int64 *ended);
static void promote(const text *queue, int max_jobs);
static int64 end_leases(const text *queue, int max_jobs);

/* claim(queue, max_jobs, lease, worker, job_ids) */
Datum
eventsource_claim(PG_FUNCTION_ARGS)
{
	static const char example[] = "SELECT * FROM eventsource.claim('mail', 10)";
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const text *queue;
	const text *worker;
	ArrayType  *ids;
	int64		lease;
	ListCell   *lc;

	PreventCommandIfReadOnly("eventsource.claim()");
	es_job_expect_argument(fcinfo, 0, "queue", example);
	es_job_expect_argument(fcinfo, 1, "max_jobs", example);
	queue = es_job_text_argument(fcinfo, 0, "queue", ES_MAX_WORD);
	if (PG_GETARG_INT32(1) < 1 || PG_GETARG_INT32(1) > ES_JOB_MAX_LENT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_jobs is out of range"),
				 errdetail("It must be 1 to %d, not %d.", ES_JOB_MAX_LENT, PG_GETARG_INT32(1)),
				 errhint("For example: %s.", example)));
	lease = PG_ARGISNULL(2) ? es_queue_get(queue)->lease : es_queue_length(PG_GETARG_INTERVAL_P(2), "lease", 1);
	worker = es_job_worker(PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3));
	/* A script of before had no such argument. */
	ids = PG_NARGS() < 5 || PG_ARGISNULL(4) ? NULL : PG_GETARG_ARRAYTYPE_P(4);
	if (ids != NULL && ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids)) > ES_JOB_MAX_LENT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job_ids are too many"),
				 errdetail("At most %d can be claimed at once.", ES_JOB_MAX_LENT),
				 errhint("Claim them in several calls.")));
	es_queue_expect_worker(queue);
	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_job_claim(queue, PG_GETARG_INT32(1), lease, worker, ids))
		put_job(result, lfirst(lc));
	return (Datum) 0;
}

/* A row of the type claimed_job. */
static void
put_job(ReturnSetInfo *result, const EsJob *job)
{
	Datum		values[] = {
		Int64GetDatum(job->id), PointerGetDatum(job->queue), PointerGetDatum(job->payload),
		Int32GetDatum(job->attempts), Int32GetDatum(job->attempts_before + es_job_max_attempts(job)),
		Int32GetDatum(job->priority), TimestampTzGetDatum(job->run_at), TimestampTzGetDatum(job->lease_until),
		PointerGetDatum(job->job_key), PointerGetDatum(job->order_key), PointerGetDatum(job->reaction),
		Int32GetDatum(job->step), Int64GetDatum(job->event_position), PointerGetDatum(job->stream),
		PointerGetDatum(job->subject)
	};
	bool		isnull[] = {
		false, false, false, false, false, false, false, false, job->job_key == NULL, job->order_key == NULL,
		job->reaction == NULL, job->reaction == NULL, job->event_position == 0, job->stream == NULL,
		job->subject == NULL
	};

	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

const text *
es_job_worker(const text *argument)
{
	if (argument == NULL)
		return cstring_to_text(psprintf("%d." INT64_FORMAT, MyProcPid, MyStartTimestamp));
	if (VARSIZE_ANY_EXHDR(argument) == 0 || VARSIZE_ANY_EXHDR(argument) > ES_JOB_MAX_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("worker is out of range"),
				 errdetail("It must have 1 to %d bytes.", ES_JOB_MAX_TEXT),
				 errhint("A name for each process that works, or NULL for this session.")));
	return argument;
}

/* ---- lending ---- */

/*
 * In rounds: one lends what it finds, and marks what it had to pass by, if that is much,
 * so that neither the next round nor another worker looks at it again.  What has become due
 * may come before what was found first.
 */
List *
es_job_claim(const text *queue, int max_jobs, int64 lease, const text *worker, ArrayType *ids)
{
	List	   *jobs = NIL;
	Found	   *found = palloc(sizeof(Found));
	int64		ended;

	for (int i = 0; i < MAX_ROUNDS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		pick(queue, max_jobs - list_length(jobs), ids, found);
		if (i == 0 && (found->count == 0 || found->is_owing) && look_at_clock(queue, MAX_DUE, &ended))
			pick(queue, max_jobs, ids, found);
		if (found->count > 0 && !try_lend(found, GetCurrentTimestamp() + lease, worker, &jobs))
			continue;
		if (found->n_passed >= MIN_PASSED)
			es_job_order_mark(queue, found->passed, found->n_passed);
		if (found->n_passed < MAX_PASSED || list_length(jobs) == max_jobs)
			break;
	}
	list_sort(jobs, compare_jobs);
	return jobs;
}

/* Jobs that are due, and leases that have ended, of queue $1 at a time. */
#define IS_DUE(at) \
	"EXISTS (SELECT FROM eventsource.job WHERE queue = $1 AND state = 'scheduled' AND run_at <= " at ")"
#define HAS_ENDED(at) \
	"EXISTS (SELECT FROM eventsource.job WHERE queue = $1 AND state = 'claimed' AND lease_until <= " at ")"

/*
 * Locks the first ones that may be lent, and no others: c is what the walk comes by, j the
 * same row as it is lent.  A turn is drawn anew wherever an order key changes.  Ids are looked up
 * one by one, whatever the planner thinks of the queue: behind a long one, a walk would not end.
 */
#define PICK(jobs) \
	"SELECT c.id, c.has_key, c.its_turn, l.id, " IS_DUE("$2") " OR " HAS_ENDED("$2") " FROM (" \
	"SELECT j.id, j.priority, j.run_at, j.turn, j.order_key IS NOT NULL AS has_key," \
	" j.order_key IS NULL OR " ES_JOB_ITS_TURN " AS its_turn" \
	" FROM " jobs " WHERE j.queue = $1 AND j.state = 'available' AND NOT j.waits" \
	" ORDER BY j.priority DESC, j.run_at, j.turn OFFSET 0) c" \
	" LEFT JOIN LATERAL (SELECT j.id FROM eventsource.job j WHERE c.its_turn AND j.id = c.id AND j.turn = c.turn" \
	" AND NOT j.waits AND " ES_JOB_IS_AVAILABLE " FOR UPDATE SKIP LOCKED) l ON true" \
	" ORDER BY c.priority DESC, c.run_at, c.turn"

#define ALL_JOBS	"eventsource.job j"
#define THESE_JOBS \
	"(SELECT DISTINCT i FROM unnest($3) i) u" \
	" CROSS JOIN LATERAL (SELECT * FROM eventsource.job s WHERE s.id = u.i OFFSET 0) j"

static void
pick(const text *queue, int max_jobs, ArrayType *ids, Found *found)
{
	static EsOwnSql select = {.text = PICK(ALL_JOBS),.nargs = 2,.types = {TEXTOID, TIMESTAMPTZOID}};
	static EsOwnSql select_these = {
		.text = PICK(THESE_JOBS),.nargs = 3,.types = {TEXTOID, TIMESTAMPTZOID, INT8ARRAYOID}
	};
	Datum		values[] = {
		PointerGetDatum(queue), TimestampTzGetDatum(GetCurrentTimestamp()), PointerGetDatum(ids)
	};

	found->ids = palloc(max_jobs * sizeof(Datum));
	found->count = found->n_passed = 0;
	found->wanted = max_jobs;
	found->is_ordered = found->is_owing = false;
	es_own_sql_walk(ids == NULL ? &select : &select_these, values, look_at, found);
}

/* Whoever has what cannot be locked is at it: it is left to him. */
static bool
look_at(TupleTableSlot *slot, void *arg)
{
	Found	   *found = arg;

	slot_getallattrs(slot);
	found->is_owing = DatumGetBool(slot->tts_values[4]);
	if (!slot->tts_isnull[3])
	{
		found->ids[found->count++] = Int64GetDatum(DatumGetInt64(slot->tts_values[3]));
		found->is_ordered |= DatumGetBool(slot->tts_values[1]);
	}
	else if (!DatumGetBool(slot->tts_values[2]))
		found->passed[found->n_passed++] = DatumGetInt64(slot->tts_values[0]);
	return found->count < found->wanted && found->n_passed < MAX_PASSED;
}

/* False if another one has claimed a job of one of their order keys meanwhile. */
static bool
try_lend(const Found *found, TimestampTz until, const text *worker, List **jobs)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	List	   *volatile lent = NIL;
	bool volatile lost = false;

	if (!found->is_ordered)
	{
		lend(found, until, worker, jobs);
		return true;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		List	   *found_jobs = NIL;

		lend(found, until, worker, &found_jobs);
		lent = found_jobs;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		FlushErrorState();
		FreeErrorData(error);
		lost = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (lost)
		return false;
	*jobs = list_concat(*jobs, lent);
	return true;
}

static int
compare_jobs(const ListCell *a, const ListCell *b)
{
	const EsJob *one = lfirst(a);
	const EsJob *other = lfirst(b);

	if (one->priority != other->priority)
		return one->priority > other->priority ? -1 : 1;
	if (one->run_at != other->run_at)
		return one->run_at < other->run_at ? -1 : 1;
	return one->turn < other->turn ? -1 : 1;
}

static void
lend(const Found *found, TimestampTz until, const text *worker, List **jobs)
{
	static EsOwnSql update = {
		.text = "UPDATE eventsource.job AS j SET state = 'claimed', attempts = j.attempts + 1, lease_until = $2,"
		" worker = $3, claimed_by = $4 WHERE j.id = ANY ($1) RETURNING" ES_JOB_COLUMNS,
		.nargs = 4,
		.types = {INT8ARRAYOID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};
	Datum		values[] = {
		PointerGetDatum(construct_array(found->ids, found->count, INT8OID, 8, FLOAT8PASSBYVAL,
										TYPALIGN_DOUBLE)),
		TimestampTzGetDatum(until), PointerGetDatum(worker),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))
	};

	(void) es_own_sql(&update, values, NULL, es_job_collect, jobs);
}

/* ---- the clock ---- */

typedef struct Owed
{
	bool		is_due;
	bool		has_ended;
} Owed;

static void
read_owed(HeapTuple row, TupleDesc desc, void *arg)
{
	Owed	   *owed = arg;
	bool		isnull;

	owed->is_due = DatumGetBool(SPI_getbinval(row, desc, 1, &isnull));
	owed->has_ended = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
}

int64
es_job_look_at_clock(const text *queue, int max_jobs)
{
	int64		ended;

	(void) look_at_clock(queue, max_jobs, &ended);
	return ended;
}

/* Says whether there was something to do. */
static bool
look_at_clock(const text *queue, int max_jobs, int64 *ended)
{
	static EsOwnSql look = {
		.text = "SELECT " IS_DUE("$2") ", " HAS_ENDED("$2"),
		.nargs = 2,
		.types = {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[] = {PointerGetDatum(queue), TimestampTzGetDatum(GetCurrentTimestamp())};
	Owed		owed = {0};

	(void) es_own_sql(&look, values, NULL, read_owed, &owed);
	if (owed.is_due)
		promote(queue, max_jobs);
	*ended = owed.has_ended ? end_leases(queue, max_jobs) : 0;
	return owed.is_due || owed.has_ended;
}

static void
promote(const text *queue, int max_jobs)
{
	static EsOwnSql update = {
		.text = "UPDATE eventsource.job SET state = 'available' WHERE id = ANY (ARRAY("
		"SELECT s.id FROM eventsource.job s WHERE s.queue = $1 AND s.state = 'scheduled' AND s.run_at <= $2"
		" ORDER BY s.run_at LIMIT $3 FOR UPDATE SKIP LOCKED))",
		.nargs = 3,
		.types = {TEXTOID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		values[] = {
		PointerGetDatum(queue), TimestampTzGetDatum(GetCurrentTimestamp()), Int64GetDatum(max_jobs)
	};

	(void) es_own_sql(&update, values, NULL, NULL, NULL);
}

/*
 * A lost worker counts as a failure, after which there is nothing to wait for.  Where the next job
 * of the key would have to be waited for, the lease ends when somebody looks again.
 */
static int64
end_leases(const text *queue, int max_jobs)
{
	static EsOwnSql select = {
		.text = "SELECT" ES_JOB_COLUMNS "FROM eventsource.job j WHERE j.queue = $1 AND j.state = 'claimed'"
		" AND j.lease_until <= $2 ORDER BY j.lease_until LIMIT $3 FOR UPDATE SKIP LOCKED",
		.nargs = 3,
		.types = {TEXTOID, TIMESTAMPTZOID, INT8OID}
	};
	TimestampTz now = GetCurrentTimestamp();
	EsJobFailure failure = {
		.code = cstring_to_text(ES_JOB_LEASE_EXPIRED),
		.message = cstring_to_text("the lease ended"),
		.has_retry_at = true,
		.retry_at = now
	};
	Datum		values[] = {PointerGetDatum(queue), TimestampTzGetDatum(now), Int64GetDatum(max_jobs)};
	List	   *jobs = NIL;
	int64		ended = 0;
	ListCell   *lc;

	(void) es_own_sql(&select, values, NULL, es_job_collect, &jobs);
	foreach(lc, jobs)
	{
		const EsJob *job = lfirst(lc);
		int64		turn = es_job_is_given_up(job, failure.code) ? 0 : job->turn;

		if (job->order_key != NULL && !es_job_order_try_next(queue, job->order_key, turn))
			continue;
		(void) es_job_fail(job, &failure);
		ended++;
	}
	return ended;
}
