/*
 * job.c
 *		Writing jobs, and cancelling them by key.
 *
 * Keys bind unfinished jobs only.  Who writes one waits for whoever is writing or
 * changing a job of the same key, and then decides by what that one has left.
 */
#include "append/job.h"

#include "append/draft.h"
#include "append/job_finish.h"
#include "append/job_order.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "log/catalog.h"
#include "log/erased.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Of what is given for each job, in the order of the parameters. */
typedef enum Parameter
{
	QUEUE,
	PRIORITY,
	RUN_AT,
	ORDER_KEY,
	JOB_KEY,
	PAYLOAD,
	MAX_ATTEMPTS,
	REACTION,
	REACTION_VERSION,
	STEP,
	EVENT_POSITION,
	STREAM,
	SUBJECT,
	JOB_ID,
	/* The next ones are the time, and the id of a job that is changed. */
	NPARAMETERS
} Parameter;

static const struct
{
	Oid			type;
	Oid			array;
	int16		length;
	bool		by_value;
	char		align;
}			parameters[NPARAMETERS] = {
	[QUEUE] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[PRIORITY] = {INT4OID, INT4ARRAYOID, 4, true, TYPALIGN_INT},
	[RUN_AT] = {TIMESTAMPTZOID, TIMESTAMPTZARRAYOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[ORDER_KEY] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[JOB_KEY] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[PAYLOAD] = {JSONBOID, JSONBARRAYOID, -1, false, TYPALIGN_INT},
	[MAX_ATTEMPTS] = {INT4OID, INT4ARRAYOID, 4, true, TYPALIGN_INT},
	[REACTION] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[REACTION_VERSION] = {INT8OID, INT8ARRAYOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[STEP] = {INT4OID, INT4ARRAYOID, 4, true, TYPALIGN_INT},
	[EVENT_POSITION] = {INT8OID, INT8ARRAYOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[STREAM] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[SUBJECT] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[JOB_ID] = {INT8OID, INT8ARRAYOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE}
};

#define PARAMETER_TYPES \
	{TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, \
	 INT4ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, \
	 INT8ARRAYOID, TIMESTAMPTZOID, INT8OID}

#define DRAFTS \
	"unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)" \
	" u (queue, priority, run_at, order_key, job_key, payload, max_attempts, reaction, reaction_version," \
	" step, event_position, stream, subject, drawn)"

#define INSERT_JOBS \
	"INSERT INTO eventsource.job AS j (id, turn, queue, state, priority, run_at, order_key, job_key, payload," \
	" max_attempts, reaction, reaction_version, step, event_position, stream, subject, created_at)" \
	" SELECT d.id, d.id, d.queue, CASE WHEN d.run_at > $15 THEN 'scheduled' ELSE 'available' END, d.priority," \
	" coalesce(d.run_at, $15), d.order_key, d.job_key, d.payload, d.max_attempts, d.reaction," \
	" d.reaction_version, d.step, d.event_position, d.stream, d.subject, $15" \
	" FROM (SELECT coalesce(u.drawn, nextval('eventsource.job_seq')) AS id, u.* FROM " DRAFTS ") d"

#define ON_KEY \
	" ON CONFLICT (job_key, queue) WHERE job_key IS NOT NULL AND state IN " ES_JOB_UNFINISHED

/* A job j becomes what d is.  Those of our own queues are tried by us, who know what was done. */
#define BECOMES(d) \
	" priority = " d ".priority, order_key = " d ".order_key, payload = " d ".payload," \
	" max_attempts = " d ".max_attempts, attempts_before = j.attempts, error_code = NULL, error = NULL," \
	" reaction = " d ".reaction, reaction_version = " d ".reaction_version, step = " d ".step," \
	" event_position = " d ".event_position, stream = " d ".stream, subject = " d ".subject, waits = false"
#define IS_UNTRIED \
	"(j.state <> 'claimed' AND (j.attempts = 0 OR (j.queue LIKE '$%' AND NOT j.payload ? '" ES_JOB_COMPLETED "')))"

/* Another run waits for it than the one whose number $16 is. */
#define IS_AWAITED \
	"($16 <> 0 AND j.run <> $16 AND EXISTS (SELECT FROM eventsource.job r WHERE r.id = j.run" \
	" AND r.state IN " ES_JOB_UNFINISHED "))"

/* Races lost one after the other: more than honest load brings. */
#define MAX_TRIES	20

static void expect_size(const EsJobDraft *draft);
static int64 enqueue_with_key(const EsJobDraft *draft);
static int64 meet(const EsJobDraft *draft);
static bool release_awaited(int64 id, int64 run);
static int64 replace(const EsJobDraft *draft, EsJob *old);
static int64 insert_jobs(EsOwnSql *sql, const EsJobDraft *drafts, int count);
static int64 write_jobs(EsOwnSql *sql, const EsJobDraft *drafts, int count, int64 number);
static Datum parameter_of(const EsJobDraft *draft, Parameter parameter, bool *isnull);
static void read_drawn(HeapTuple row, TupleDesc desc, void *arg);
static void read_id(HeapTuple row, TupleDesc desc, void *arg);
ES_NORETURN static void refuse_key(const EsJobDraft *draft, int64 id);

static EsOwnSql insert_plain = {
	.text = INSERT_JOBS " RETURNING j.id",
	.nargs = NPARAMETERS + 1,
	.types = PARAMETER_TYPES
};

int64
es_job_enqueue(const EsJobDraft *draft)
{
	expect_size(draft);
	es_job_refuse_erased(draft->subject, draft->stream);
	return draft->job_key != NULL ? enqueue_with_key(draft) : insert_jobs(&insert_plain, draft, 1);
}

void
es_job_enqueue_many(const EsJobDraft *drafts, int count)
{
	int			first = 0;		/* of those that wait to be written */

	for (int i = 0; i < count; i++)
	{
		expect_size(&drafts[i]);
		es_job_refuse_erased(drafts[i].subject, drafts[i].stream);
	}
	for (int i = 0; i < count; i++)
	{
		if (drafts[i].job_key == NULL)
			continue;
		if (i > first)
			(void) insert_jobs(&insert_plain, drafts + first, i - first);
		(void) enqueue_with_key(&drafts[i]);
		first = i + 1;
	}
	if (count > first)
		(void) insert_jobs(&insert_plain, drafts + first, count - first);
}

void
es_job_draw(EsJobDraft **drafts, int count)
{
	static EsOwnSql draw = {
		.text = "SELECT nextval('eventsource.job_seq') FROM generate_series(1, $1)",
		.nargs = 1,
		.types = {INT4OID}
	};
	Datum		value = Int32GetDatum(count);

	(void) es_own_sql(&draw, &value, NULL, read_drawn, &drafts);
}

static void
read_drawn(HeapTuple row, TupleDesc desc, void *arg)
{
	EsJobDraft ***next = arg;

	(*(*next)++)->id = es_own_sql_int64(row, desc, 1);
}

/* What is claimed is held in memory whole, by who asks for many of them at once. */
static void
expect_size(const EsJobDraft *draft)
{
	if (draft->payload != NULL && VARSIZE(draft->payload) > ES_JOB_MAX_PAYLOAD)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the payload of a job is too large"),
				 errdetail("It has %u bytes; at most %d are allowed.", (unsigned) VARSIZE(draft->payload),
						   ES_JOB_MAX_PAYLOAD),
				 errhint("Store the document elsewhere, or in an event, and say in the payload where it is.")));
}

/*
 * An erasure waits for who holds this lock and did not see its mark, and then
 * takes away the jobs that he wrote.
 */
void
es_job_refuse_erased(const text *subject, const text *stream)
{
	if (subject == NULL)
		subject = stream;
	if (subject == NULL)
		return;
	LockRelationOid(es_catalog_oid(ES_REL_EVENT), RowExclusiveLock);
	es_erased_refuse(subject, true, ES_ERASED_NOT);
}

/* In each try the job of this key, if there is one, is waited for; it may be finished by then. */
static int64
enqueue_with_key(const EsJobDraft *draft)
{
	static EsOwnSql insert_unless = {
		.text = INSERT_JOBS ON_KEY " DO NOTHING RETURNING j.id",
		.nargs = NPARAMETERS + 1,
		.types = PARAMETER_TYPES
	};
	static EsOwnSql insert_or_replace = {
		.text = INSERT_JOBS ON_KEY " DO UPDATE SET state = excluded.state, run_at = excluded.run_at,"
		" created_at = excluded.created_at," BECOMES("excluded") " WHERE " IS_UNTRIED " AND NOT " IS_AWAITED
		" AND j.order_key IS NOT DISTINCT FROM excluded.order_key RETURNING j.id",
		.nargs = NPARAMETERS + 2,
		.types = PARAMETER_TYPES
	};

	for (int i = 0; i < MAX_TRIES; i++)
	{
		bool		replaces = draft->on_conflict == ES_JOB_REPLACE;
		int64		id = write_jobs(replaces ? &insert_or_replace : &insert_unless, draft, 1, draft->run);

		CHECK_FOR_INTERRUPTS();
		if (id == 0)
			id = meet(draft);
		if (id != 0)
			return id;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not enqueue a job with key \"%s\"", text_to_cstring(draft->job_key)),
			 errdetail("Jobs with this key came and went all the time."),
			 errhint("Retry the transaction.")));
}

/* The job that has the key: kept, refused, replaced.  0: its place is free (again). */
static int64
meet(const EsJobDraft *draft)
{
	static EsOwnSql find = {
		.text = "SELECT" ES_JOB_COLUMNS "FROM eventsource.job j WHERE j.job_key = $1 AND j.queue = $2"
		" AND j.state IN " ES_JOB_UNFINISHED " FOR UPDATE",
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}
	};
	Datum		key[] = {PointerGetDatum(draft->job_key), PointerGetDatum(draft->queue)};
	List	   *jobs = NIL;
	EsJob	   *old;

	(void) es_own_sql(&find, key, NULL, es_job_collect, &jobs);
	if (jobs == NIL)
		return 0;
	old = linitial(jobs);
	if (release_awaited(old->id, draft->run))
		return 0;
	if (draft->on_conflict == ES_JOB_REFUSE)
		refuse_key(draft, old->id);
	return draft->on_conflict == ES_JOB_REPLACE ? replace(draft, old) : old->id;
}

/* One that another run waits for goes on without its key: taken away, it would be waited for in vain. */
static bool
release_awaited(int64 id, int64 run)
{
	static EsOwnSql release = {
		.text = "UPDATE eventsource.job j SET job_key = NULL WHERE j.id = $1 AND j.run <> $2"
		" AND EXISTS (SELECT FROM eventsource.job r WHERE r.id = j.run AND r.state IN " ES_JOB_UNFINISHED ")",
		.nargs = 2,
		.types = {INT8OID, INT8OID}
	};
	Datum		values[] = {Int64GetDatum(id), Int64GetDatum(run)};

	return run != 0 && es_own_sql(&release, values, NULL, NULL, NULL) > 0;
}

/*
 * Who was lent a job may have done it, and told others its id: what it is now must have
 * another one, or they would take it for the same again.
 */
static int64
replace(const EsJobDraft *draft, EsJob *old)
{
	static EsOwnSql release = {
		.text = "UPDATE eventsource.job SET job_key = NULL WHERE id = $1",
		.nargs = 1,
		.types = {INT8OID}
	};

	/* Its order key is another one, behind whose jobs it goes. */
	static EsOwnSql change = {
		.text = "UPDATE eventsource.job AS j SET"
		" state = CASE WHEN u.run_at > $15 THEN 'scheduled' ELSE 'available' END,"
		" run_at = coalesce(u.run_at, $15), created_at = $15," BECOMES("u") ","
		" turn = CASE WHEN j.order_key IS NOT DISTINCT FROM u.order_key THEN j.turn"
		" ELSE nextval('eventsource.job_seq') END"
		" FROM " DRAFTS " WHERE j.id = $16 AND " IS_UNTRIED " RETURNING j.id",
		.nargs = NPARAMETERS + 2,
		.types = PARAMETER_TYPES
	};
	Datum		id = Int64GetDatum(old->id);
	EsJobFinish finish = {.end = ES_JOB_CANCELLED,.reason = cstring_to_text("replaced")};

	if (old->lease_until != 0 || es_json_find(&old->payload->root, ES_JOB_COMPLETED, NULL) != NULL)
		(void) es_own_sql(&release, &id, NULL, NULL, NULL);
	else if (write_jobs(&change, draft, 1, old->id) != 0)
	{
		if (old->order_key != NULL)
			es_job_order_wake(old->queue, old->order_key, old->turn, false);
		return old->id;
	}
	else
		(void) es_job_finish(old->id, &finish);
	return 0;
}

/* Returns the id of the last one that was written; 0 if none was. */
static int64
insert_jobs(EsOwnSql *sql, const EsJobDraft *drafts, int count)
{
	return write_jobs(sql, drafts, count, 0);
}

/* The statement may have a parameter besides, for the number of a job. */
static int64
write_jobs(EsOwnSql *sql, const EsJobDraft *drafts, int count, int64 number)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource jobs",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Datum	   *values = palloc(count * sizeof(Datum));
	bool	   *isnull = palloc(count * sizeof(bool));
	Datum		arrays[NPARAMETERS + 2];
	int			lower = 1;
	int64		id = 0;

	for (int p = 0; p < NPARAMETERS; p++)
	{
		for (int i = 0; i < count; i++)
			values[i] = parameter_of(&drafts[i], p, &isnull[i]);
		arrays[p] = PointerGetDatum(construct_md_array(values, isnull, 1, &count, &lower, parameters[p].type,
													   parameters[p].length, parameters[p].by_value,
													   parameters[p].align));
	}
	arrays[NPARAMETERS] = TimestampTzGetDatum(GetCurrentTimestamp());
	arrays[NPARAMETERS + 1] = Int64GetDatum(number);
	(void) es_own_sql(sql, arrays, NULL, read_id, &id);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return id;
}

static Datum
parameter_of(const EsJobDraft *draft, Parameter parameter, bool *isnull)
{
	Datum		value = (Datum) 0;

	*isnull = false;
	switch (parameter)
	{
		case PRIORITY:
			return Int32GetDatum(draft->priority);
		case RUN_AT:
			*isnull = !draft->has_run_at;
			return TimestampTzGetDatum(draft->run_at);
		case PAYLOAD:
			return JsonbPGetDatum(draft->payload != NULL ? draft->payload : es_draft_empty_object());
		case MAX_ATTEMPTS:
			*isnull = draft->max_attempts == 0;
			return Int32GetDatum(draft->max_attempts);
		case REACTION_VERSION:
			*isnull = draft->reaction == NULL;
			return Int64GetDatum(draft->reaction_version);
		case STEP:
			*isnull = draft->reaction == NULL;
			return Int32GetDatum(draft->step);
		case EVENT_POSITION:
			*isnull = draft->event_position == 0;
			return Int64GetDatum(draft->event_position);
		case JOB_ID:
			*isnull = draft->id == 0;
			return Int64GetDatum(draft->id);
		case QUEUE:
			value = PointerGetDatum(draft->queue);
			break;
		case ORDER_KEY:
			value = PointerGetDatum(draft->order_key);
			break;
		case JOB_KEY:
			value = PointerGetDatum(draft->job_key);
			break;
		case REACTION:
			value = PointerGetDatum(draft->reaction);
			break;
		case STREAM:
			value = PointerGetDatum(draft->stream);
			break;
		case SUBJECT:
			value = PointerGetDatum(draft->subject);
			break;
		case NPARAMETERS:
			break;
	}
	*isnull = DatumGetPointer(value) == NULL;
	return value;
}

static void
read_id(HeapTuple row, TupleDesc desc, void *arg)
{
	*(int64 *) arg = es_own_sql_int64(row, desc, 1);
}

static void
refuse_key(const EsJobDraft *draft, int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("there is a job with key \"%s\" in queue \"%s\"", text_to_cstring(draft->job_key),
					text_to_cstring(draft->queue)),
			 errdetail("Job " INT64_FORMAT " has it, and is not finished.", id),
			 errhint("on_conflict => 'keep' returns that job, 'replace' changes it.")));
}

int64
es_job_cancel_key(const text *queue, const text *job_key, const char *finish_reason)
{
	static EsOwnSql cancel = {
		.text = "UPDATE eventsource.job AS j SET state = 'cancelled', lease_until = NULL, waits = false,"
		" finished_at = $4, finish_reason = $3"
		" WHERE j.id = ANY (ARRAY(SELECT k.id FROM eventsource.job k WHERE k.job_key = $2"
		" AND ($1 IS NULL OR k.queue = $1) AND k.state IN " ES_JOB_UNFINISHED " ORDER BY k.queue FOR UPDATE))"
		" RETURNING" ES_JOB_COLUMNS,
		.nargs = 4,
		.types = {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[] = {
		PointerGetDatum(queue), PointerGetDatum(job_key), CStringGetTextDatum(finish_reason),
		TimestampTzGetDatum(GetCurrentTimestamp())
	};
	bool		isnull[] = {queue == NULL, false, false, false};
	List	   *jobs = NIL;

	(void) es_own_sql(&cancel, values, isnull, es_job_collect, &jobs);
	es_job_finished(jobs);
	return list_length(jobs);
}

const text *
es_job_reaction_key(const char *reaction, const text *key)
{
	StringInfoData buffer;

	initStringInfo(&buffer);
	appendStringInfo(&buffer, "%s%s:", ES_JOB_REACTION_KEY, reaction);
	appendBinaryStringInfo(&buffer, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	return cstring_to_text_with_len(buffer.data, buffer.len);
}
