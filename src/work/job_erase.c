/*
 * job_erase.c
 *		Jobs about a subject that is erased.
 *
 * Those that are not finished are cancelled.  Where it is for good nothing is left of
 * what was to be done and what came of it, in finished ones neither; where it can be
 * reverted they can be redriven then.
 *
 * A job is about its subject; where it does not say whom it is about, it is about
 * whom its stream has events about; and where it is due to an event, about whom that
 * is.  One that is written beside the erasure was waited for, or is refused
 * (es_job_refuse_erased()).
 *
 * Locks: the rows, each for who is changing it.
 */
#include "work/job_erase.h"

#include "append/job_order.h"
#include "catalog/pg_type.h"
#include "log/catalog.h"
#include "log/erasing.h"
#include "log/own_sql.h"
#include "log/stream.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "work/job.h"

/* $1: subject, $2: streams that have events about it, $3: the positions of those. */
#define ABOUT \
	" j.id IN (SELECT s.id FROM eventsource.job s WHERE s.subject = $1 UNION" \
	" SELECT t.id FROM eventsource.job t WHERE t.stream = ANY ($2 || $1)" \
	" AND (t.subject IS NULL OR t.event_position = ANY ($3)))"

static int64 cancel_jobs(const Datum *about, bool is_final);
static int64 clear_jobs(const Datum *about);
static Datum stream_names(const EsErasing *erasing);
static Datum positions(const EsErasing *erasing);

static int64
erase_jobs(const EsErasing *erasing, void *state)
{
	Datum		about[5] = {PointerGetDatum(erasing->subject), stream_names(erasing), positions(erasing)};
	int64		count;

	if (erasing->mode == ES_ERASED_NOT)
		return 0;
	count = cancel_jobs(about, es_erasing_is_final(erasing));
	if (!es_erasing_is_final(erasing))
		return count;
	count = clear_jobs(about);
	if (count > 0)
		es_erasing_touch(erasing, es_catalog_oid(ES_REL_JOB));
	es_erasing_touch_used(erasing, es_catalog_oid(ES_REL_JOB));
	return count;
}

/* How many; others of their order keys need not wait for them. */
static int64
cancel_jobs(const Datum *about, bool is_final)
{
	static EsOwnSql cancel = {
		.text = "UPDATE eventsource.job AS j SET state = 'cancelled', finished_at = $4, lease_until = NULL,"
		" waits = false, finish_reason = $5 WHERE" ABOUT " AND j.state IN " ES_JOB_UNFINISHED
		" RETURNING" ES_JOB_COLUMNS,
		.nargs = 5,
		.types = {TEXTOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[] = {
		about[0], about[1], about[2], TimestampTzGetDatum(GetCurrentTimestamp()),
		CStringGetTextDatum(is_final ? ES_JOB_ERASED : "subject deactivated")
	};
	List	   *jobs = NIL;
	ListCell   *lc;

	(void) es_own_sql(&cancel, values, NULL, es_job_collect, &jobs);
	foreach(lc, jobs)
	{
		const EsJob *job = lfirst(lc);

		if (job->order_key != NULL)
			es_job_order_wake(job->queue, job->order_key, job->turn, job->worker != NULL);
	}
	return list_length(jobs);
}

/* How many there are, with those that were cleared before. */
static int64
clear_jobs(const Datum *about)
{
	static EsOwnSql clear = {
		.text = "UPDATE eventsource.job AS j SET payload = '{}', result = NULL, error = NULL, job_key = NULL,"
		" order_key = NULL, finish_reason = $4 WHERE" ABOUT,
		.nargs = 4,
		.types = {TEXTOID, TEXTARRAYOID, INT8ARRAYOID, TEXTOID}
	};
	Datum		values[] = {about[0], about[1], about[2], CStringGetTextDatum(ES_JOB_ERASED)};

	return es_own_sql(&clear, values, NULL, NULL, NULL);
}

static Datum
stream_names(const EsErasing *erasing)
{
	Datum	   *names = palloc(Max(erasing->n_streams, 1) * sizeof(Datum));

	for (int i = 0; i < erasing->n_streams; i++)
		names[i] = PointerGetDatum(es_stream_name(erasing->streams[i]));
	return PointerGetDatum(construct_array(names, erasing->n_streams, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum
positions(const EsErasing *erasing)
{
	Datum	   *values = palloc_extended(Max(erasing->count, 1) * sizeof(Datum), MCXT_ALLOC_HUGE);

	for (int64 i = 0; i < erasing->count; i++)
		values[i] = Int64GetDatum(erasing->events[i].position);
	return PointerGetDatum(construct_array(values, (int) erasing->count, INT8OID, 8, FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

void
es_job_erase_init(void)
{
	static const EsEraser eraser = {"jobs", NULL, erase_jobs};

	es_eraser_register(&eraser);
}
