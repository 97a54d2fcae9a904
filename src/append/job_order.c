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

#include "append/job.h"
#include "catalog/pg_type.h"
#include "log/own_sql.h"

typedef struct Next
{
	int64		id;				/* 0: there is none */
	bool		waits;
} Next;

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
