/*
 * timer.c
 *		Timeouts of state machines: which jobs of the queue $timeout there are.
 *
 * What an event does to the timeouts of its stream is noted when it is decided, and
 * written with the batch: a state that is entered and left in between leaves nothing, a
 * machine without timeouts costs nothing, and there is one statement at most.
 *
 * Locks: rows of jobs of streams that are locked.  Who executes a timeout locks its
 * stream before its row, too (work/timeout.c), so that nobody waits for the other.
 *
 * Memory: notes, and what is written, live in the batch's context of events, which a flush resets.
 */
#include "append/timer.h"

#include "append/batch.h"
#include "append/job.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "log/json.h"
#include "log/own_sql.h"
#include "log/read.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

/* What is to be done about a stream. */
typedef struct Note
{
	int64		id;				/* key */
	bool		cancels;		/* what was there before the batch */
	bool		enters;			/* else visit says no more than the stream */
	bool		is_backdated;
	EsVisit		visit;
} Note;

/* Columns of the statement's arguments. */
typedef struct Jobs
{
	int			n;
	int			max;
	Datum	   *stream;
	Datum	   *subject;
	Datum	   *key;
	Datum	   *payload;
	Datum	   *run_at;
	Datum	   *position;
} Jobs;

static bool is_entry(const EsBatch *batch, const EsDraft *draft, const EsEvent *event);
static Note *find_note(EsBatch *batch, const EsEvent *event, bool make);
static void not_before(EsVisit *visit);
static void add_jobs(Jobs *jobs, EsVisit *visit, TimestampTz now);
static bool has_happened(const EsVisit *visit, const char *after);
static bool came_through(const EsVisit *visit);
static void add_job(Jobs *jobs, const EsVisit *visit, const EsDue *due, bool is_late);
static Jsonb *describe(const EsVisit *visit, const EsDue *due, bool is_late);
static Datum text_array(List *texts);
static Datum make_array(Datum *values, int n, Oid type, int16 length, bool by_value, char align);
static void count_row(HeapTuple row, TupleDesc desc, void *arg);

void
es_timer_note(EsBatch *batch, const EsMachine *machine, const EsDraft *draft, const EsEvent *event)
{
	const text *from = es_event_text(event, ES_EVENT_FROM_STATE);
	const text *to = es_event_text(event, ES_EVENT_TO_STATE);
	bool		cancels;
	bool		enters;
	Note	   *note;

	if (!es_machine_has_timeouts(machine) && !es_machine_had_timeouts(machine))
		return;
	if (!is_entry(batch, draft, event))
		return;
	cancels = from != NULL && (es_machine_had_timeouts(machine) || es_machine_state_times(machine, from));
	enters = to != NULL && es_machine_state_times(machine, to);
	note = find_note(batch, event, cancels || enters);
	if (note == NULL)
		return;
	note->enters = enters;
	note->is_backdated = draft->has_occurred_at;
	note->visit.stream = es_event_text(event, ES_EVENT_STREAM);
	note->visit.subject = es_event_text(event, ES_EVENT_SUBJECT);
	note->visit.state = to;
	note->visit.version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	note->visit.position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	note->visit.entered = DatumGetTimestampTz(event->value[ES_EVENT_OCCURRED_AT]);
	note->visit.machine = machine;
	note->visit.late = draft->timed_out == NULL ? NULL : draft->timed_out->late_states;
	if (draft->timed_out != NULL)
		batch->timed_out = draft->timed_out->job;
}

/*
 * Does the stream come to a state, be it the same anew, or leave it?  A correction moves it
 * or not; what else passed by the machine enters a state wherever it names one.
 */
static bool
is_entry(const EsBatch *batch, const EsDraft *draft, const EsEvent *event)
{
	if (!es_text_same(es_event_text(event, ES_EVENT_FROM_STATE), es_event_text(event, ES_EVENT_TO_STATE)))
		return true;
	if (draft->passage == ES_PASSAGE_STEP)
		return batch->step_enters || (event->flags & ES_EVENT_VIOLATION) != 0;
	return draft->passage == ES_PASSAGE_ENTER && (event->flags & (ES_EVENT_CORRECTION | ES_EVENT_VOID)) == 0;
}

/* What was there before the batch is cancelled if the first note of a stream says so. */
static Note *
find_note(EsBatch *batch, const EsEvent *event, bool make)
{
	bool		found;
	Note	   *note;

	if (batch->timers == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(Note),.hcxt = batch->event_context};

		if (!make)
			return NULL;
		batch->timers = hash_create("eventsource timers of a batch", 16, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	note = hash_search(batch->timers, &event->stream_id, make ? HASH_ENTER : HASH_FIND, &found);
	if (note != NULL && !found)
	{
		memset(&note->visit, 0, sizeof(EsVisit));
		note->cancels = !event->isnull[ES_EVENT_FROM_STATE];
	}
	return note;
}

void
es_timer_write(EsBatch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->event_context);
	HASH_SEQ_STATUS scan;
	List	   *visits = NIL;
	List	   *cancelled = NIL;
	Note	   *note;

	hash_seq_init(&scan, batch->timers);
	while ((note = hash_seq_search(&scan)) != NULL)
	{
		if (note->cancels)
			cancelled = lappend(cancelled, unconstify(text *, note->visit.stream));
		if (!note->enters)
			continue;
		if (note->is_backdated)
			not_before(&note->visit);
		visits = lappend(visits, &note->visit);
	}
	batch->timers = NULL;
	(void) es_timer_schedule(visits, cancelled, batch->timed_out, false);
	MemoryContextSwitchTo(caller);
}

/* Durations count from no earlier than the event before. */
static void
not_before(EsVisit *visit)
{
	EsScan	   *scan;
	EsEvent		event;

	if (visit->version <= 1)
		return;
	scan = es_scan_stream(visit->stream, visit->version - 1, true, SnapshotSelf);
	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &event))
		visit->entered = Max(visit->entered, DatumGetTimestampTz(event.value[ES_EVENT_OCCURRED_AT]));
	es_scan_end(scan);
}

char *
es_timer_happened(const EsEvent *event)
{
	return es_json_find_string(&DatumGetJsonbP(event->value[ES_EVENT_METADATA])->root, ES_TIMER_HAPPENED);
}

int64
es_timer_schedule(List *visits, List *cancelled, int64 spared, bool unless_done)
{
	static EsOwnSql schedule = {
		.text = "WITH cancelled AS (UPDATE eventsource.job SET state = 'cancelled', lease_until = NULL,"
		" finished_at = $8, finish_reason = '" ES_TIMER_LEFT "'"
		" WHERE queue = '" ES_JOB_TIMEOUT_QUEUE "' AND stream = ANY ($1) AND id <> $10 AND state IN "
		ES_JOB_UNFINISHED ")"
		" INSERT INTO eventsource.job AS j (id, turn, queue, state, priority, run_at, job_key, payload,"
		" event_position, stream, subject, created_at)"
		" SELECT d.id, d.id, '" ES_JOB_TIMEOUT_QUEUE "', CASE WHEN d.run_at > $8 THEN 'scheduled' ELSE 'available' END,"
		" 0, d.run_at, d.job_key, d.payload, d.event_position, d.stream, d.subject, $8"
		" FROM (SELECT nextval('eventsource.job_seq') AS id, u.*"
		" FROM unnest($2, $3, $4, $5, $6, $7) u (stream, subject, job_key, payload, run_at, event_position)"
		" WHERE NOT $9 OR NOT EXISTS (SELECT FROM eventsource.job o WHERE o.stream = u.stream"
		" AND o.queue = '" ES_JOB_TIMEOUT_QUEUE "' AND o.job_key = u.job_key)) d"
		" ON CONFLICT (job_key, queue) WHERE job_key IS NOT NULL AND state IN " ES_JOB_UNFINISHED " DO NOTHING"
		" RETURNING j.id",
		.nargs = 10,
		.types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID,
		TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, BOOLOID, INT8OID}
	};
	Jobs		jobs = {0};
	TimestampTz now = GetCurrentTimestamp();
	int64		count = 0;
	ListCell   *lc;
	Datum		values[10];

	foreach(lc, visits)
		add_jobs(&jobs, lfirst(lc), now);
	if (jobs.n == 0 && cancelled == NIL)
		return 0;
	values[0] = text_array(cancelled);
	values[1] = make_array(jobs.stream, jobs.n, TEXTOID, -1, false, TYPALIGN_INT);
	values[2] = make_array(jobs.subject, jobs.n, TEXTOID, -1, false, TYPALIGN_INT);
	values[3] = make_array(jobs.key, jobs.n, TEXTOID, -1, false, TYPALIGN_INT);
	values[4] = make_array(jobs.payload, jobs.n, JSONBOID, -1, false, TYPALIGN_INT);
	values[5] = make_array(jobs.run_at, jobs.n, TIMESTAMPTZOID, sizeof(int64), FLOAT8PASSBYVAL,
						   TYPALIGN_DOUBLE);
	values[6] = make_array(jobs.position, jobs.n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	values[7] = TimestampTzGetDatum(now);
	values[8] = BoolGetDatum(unless_done);
	values[9] = Int64GetDatum(spared);
	(void) es_own_sql(&schedule, values, NULL, count_row, &count);
	return count;
}

/*
 * After an outage, timeouts that lead from state to state happen when they were due; but
 * where they come to a state again that they came through, it counts from now: else a
 * cycle would run through all the time that was missed, at once.
 */
static void
add_jobs(Jobs *jobs, EsVisit *visit, TimestampTz now)
{
	ListCell   *lc;

	if (visit->late != NULL && came_through(visit))
	{
		visit->entered = Max(visit->entered, now);
		visit->late = NULL;
	}
	foreach(lc, es_machine_due(visit->machine, visit->state, visit->entered))
	{
		const EsDue *due = lfirst(lc);

		if (visit->known_to != NULL && es_machine_has_timeout(visit->known_to, visit->state, due->after))
			continue;
		if (has_happened(visit, due->after))
			continue;
		add_job(jobs, visit, due, due->due <= now);
	}
}

static bool
has_happened(const EsVisit *visit, const char *after)
{
	ListCell   *lc;

	foreach(lc, visit->happened)
	{
		if (strcmp(lfirst(lc), after) == 0)
			return true;
	}
	return false;
}

static bool
came_through(const EsVisit *visit)
{
	JsonbValue	array;
	JsonbValue *elements;
	int			n;

	es_json_value(unconstify(Jsonb *, visit->late), &array);
	n = es_json_elements(&array, &elements);
	for (int i = 0; i < n; i++)
	{
		if (elements[i].type == jbvString &&
			elements[i].val.string.len == (int) VARSIZE_ANY_EXHDR(visit->state) &&
			memcmp(elements[i].val.string.val, VARDATA_ANY(visit->state), elements[i].val.string.len) == 0)
			return true;
	}
	return false;
}

static void
add_job(Jobs *jobs, const EsVisit *visit, const EsDue *due, bool is_late)
{
	StringInfoData key;

	if (jobs->n == jobs->max)
	{
#define GROW(column) \
		jobs->column = jobs->max == 0 ? palloc(8 * sizeof(Datum)) : \
			repalloc(jobs->column, jobs->max * 2 * sizeof(Datum))
		GROW(stream);
		GROW(subject);
		GROW(key);
		GROW(payload);
		GROW(run_at);
		GROW(position);
#undef GROW
		jobs->max = jobs->max == 0 ? 8 : jobs->max * 2;
	}
	initStringInfo(&key);
	appendStringInfo(&key, "%s%s:" INT64_FORMAT ":%s", ES_JOB_TIMEOUT_KEY, text_to_cstring(visit->stream),
					 visit->version, due->after);
	jobs->stream[jobs->n] = PointerGetDatum(visit->stream);
	jobs->subject[jobs->n] = PointerGetDatum(visit->subject);
	jobs->key[jobs->n] = PointerGetDatum(cstring_to_text_with_len(key.data, key.len));
	jobs->payload[jobs->n] = JsonbPGetDatum(describe(visit, due, is_late));
	jobs->run_at[jobs->n] = TimestampTzGetDatum(due->due);
	jobs->position[jobs->n] = Int64GetDatum(visit->position);
	jobs->n++;
}

static Jsonb *
describe(const EsVisit *visit, const EsDue *due, bool is_late)
{
	JsonbParseState *state = NULL;
	char		buffer[MAXDATELEN + 1];
	int			utc = 0;

	(void) JsonEncodeDateTime(buffer, TimestampTzGetDatum(due->due), TIMESTAMPTZOID, &utc);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_text(&state, ES_TIMER_STATE, visit->state);
	es_json_push_number(&state, ES_TIMER_VERSION, visit->version);
	es_json_push_string(&state, ES_TIMER_AFTER, due->after);
	es_json_push_string(&state, ES_TIMER_DUE, buffer);
	es_json_push_text(&state, ES_TIMER_MACHINE, es_machine_label(visit->machine));
	if (is_late && visit->late != NULL)
		es_json_push_jsonb(&state, ES_TIMER_LATE, unconstify(Jsonb *, visit->late));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Datum
text_array(List *texts)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(list_length(texts), 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, texts)
		values[n++] = PointerGetDatum(lfirst(lc));
	return make_array(values, n, TEXTOID, -1, false, TYPALIGN_INT);
}

static Datum
make_array(Datum *values, int n, Oid type, int16 length, bool by_value, char align)
{
	return PointerGetDatum(construct_array(values, n, type, length, by_value, align));
}

static void
count_row(HeapTuple row, TupleDesc desc, void *arg)
{
	(*(int64 *) arg)++;
}
