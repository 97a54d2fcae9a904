/*
 * react.c
 *		What follows from the events of a batch by reactions.
 *
 * It is found out while an event is decided, on what it and its row were then, and done once the
 * event's row is written: first what is appended, in waves (what follows from an append is the
 * next wave), in the same batch, which knows the heads; then jobs, in the order of their causes.
 * So locks are taken as everywhere: streams, keys of projections, positions, rows of jobs.
 *
 * Corrections do not react, nor do definitions and the log's own events; imports (synthetic events,
 * backfills, copies of categories, metadata.import) where the reaction says so.  Rebuilds and
 * replays do not come through the hall at all.
 *
 * Memory: a context for each wave, which goes when it is written, and one for jobs.  It is counted
 * among the batch's, which is written when it is full.
 */
#include "postgres.h"

#include "append/batch.h"
#include "append/react_parts.h"
#include "catalog/pg_type.h"
#include "log/json.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Jobs that wait to be written, at most. */
#define MAX_JOBS	2000

typedef struct Following
{
	const EsReaction *reaction;
	const EsReactionAction *action;
	int64		position;		/* of the event */
	EsJobDraft	job;			/* where something is enqueued or scheduled */
	const text *key;			/* for ES_REACT_CANCEL */
	EsDraft		draft;			/* for ES_REACT_APPEND */
} Following;

typedef struct EsFollowing
{
	MemoryContext wave;			/* of what is to be appended */
	List	   *appends;		/* of Following */
	MemoryContext later;		/* of the jobs */
	List	   *jobs;			/* of Following */
} EsFollowing;

static bool is_import(const EsBatch *batch, const EsEvent *event);
static EsFollowing *begin_following(EsBatch *batch);
static void decide_one(EsBatch *batch, EsReactValues *values);
static void schedule(EsReactValues *values, const text *key, EsJobDraft *job);
static Size size_of(const Following *following);
static void append_wave(EsBatch *batch);
static void write_jobs(EsFollowing *following);
static void enqueue_jobs(const EsJobDraft *jobs, int count);

/* ---- in the hall ---- */

void
es_react_decide(EsBatch *batch, const EsCategory *category, const EsEvent *event)
{
	EsReactValues values = {.binding = {.event = event}};
	List	   *reactions;
	ListCell   *lc;
	bool		imported;

	if ((event->flags & (ES_EVENT_CORRECTION | ES_EVENT_VOID)) != 0)
		return;
	reactions = es_reaction_of(es_event_text(event, ES_EVENT_CATEGORY), es_event_text(event, ES_EVENT_TYPE));
	if (reactions == NIL)
		return;
	imported = is_import(batch, event);
	values.binding.state = es_event_text(event, ES_EVENT_TO_STATE);
	if (OidIsValid(category->context))
		values.binding.row = es_fold_context_row(batch->fold, category->context, event);
	foreach(lc, reactions)
	{
		EsReactUse	use;

		values.reaction = lfirst(lc);
		if (imported && !values.reaction->imports)
			continue;
		values.use = &use;
		es_react_begin_use(&use, values.reaction, event);
		decide_one(batch, &values);
		es_react_end_use(&use);
	}
}

static bool
is_import(const EsBatch *batch, const EsEvent *event)
{
	JsonbValue	buffer;
	JsonbValue *flag;

	if (batch->is_import || (event->flags & ES_EVENT_SYNTHETIC) != 0)
		return true;
	flag = es_json_find(&DatumGetJsonbP(event->value[ES_EVENT_METADATA])->root, "import", &buffer);
	return flag != NULL && flag->type == jbvBool && flag->val.boolean;
}

static EsFollowing *
begin_following(EsBatch *batch)
{
	EsFollowing *following = batch->following;

	if (following == NULL)
	{
		MemoryContext later = AllocSetContextCreate(batch->context, "eventsource jobs of reactions",
													ALLOCSET_DEFAULT_SIZES);

		following = MemoryContextAllocZero(later, sizeof(EsFollowing));
		following->later = later;
		batch->following = following;
	}
	if (following->wave == NULL)
		following->wave = AllocSetContextCreate(batch->context, "eventsource appends of reactions",
												ALLOCSET_DEFAULT_SIZES);
	return following;
}

/* Expressions are evaluated in the event's memory context, but for what is kept. */
static void
decide_one(EsBatch *batch, EsReactValues *values)
{
	const EsReaction *reaction = values->reaction;
	const EsReactionAction *action = &reaction->step[0].action;
	EsFollowing *all;
	Following  *following;
	MemoryContext caller;
	bool		appends = reaction->is_immediate && action->act == ES_REACT_APPEND;
	const text *key;

	values->use->what = "condition";
	if (reaction->condition != NULL && !es_expr_eval_bool(reaction->condition, &values->binding))
		return;
	all = begin_following(batch);
	caller = MemoryContextSwitchTo(appends ? all->wave : all->later);
	following = palloc0(sizeof(Following));
	following->reaction = reaction;
	following->action = action;
	following->position = DatumGetInt64(values->binding.event->value[ES_EVENT_POSITION]);
	key = es_react_text(values, reaction->key, "key", ES_MAX_KEY);
	if (appends)
		es_react_draft(values, action, 1, &following->draft);
	else if (!reaction->is_immediate)
		schedule(values, key, &following->job);
	else if (action->act == ES_REACT_ENQUEUE)
		es_react_job(values, action, 1, key, &following->job);
	else
		following->key = key;
	if (appends)
		all->appends = lappend(all->appends, following);
	else if (following->job.queue != NULL || following->key != NULL)
		all->jobs = lappend(all->jobs, following);
	batch->bytes += size_of(following);
	MemoryContextSwitchTo(caller);
}

/* A job of its own; none (no queue) if there is no time to do it at. */
static void
schedule(EsReactValues *values, const text *key, EsJobDraft *job)
{
	const EsReactionAction run = {.act = ES_REACT_ENQUEUE,.queue = ES_JOB_REACTION_QUEUE};
	bool		isnull = false;
	TimestampTz run_at = 0;
	JsonbParseState *state = NULL;

	values->use->what = "run_at";
	if (values->reaction->run_at != NULL)
		run_at = DatumGetTimestampTz(es_expr_eval(values->reaction->run_at, &values->binding, &isnull));
	if (isnull || TIMESTAMP_NOT_FINITE(run_at))
		return;
	es_react_job(values, &run, 1, key, job);
	job->has_run_at = values->reaction->run_at != NULL;
	job->run_at = run_at;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (key != NULL)
		es_json_push_text(&state, ES_REACT_KEY, key);
	job->payload = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Size
size_of(const Following *following)
{
	const Jsonb *value = following->job.payload != NULL ? following->job.payload : following->draft.data;

	return sizeof(Following) + 512 + (value == NULL ? 0 : VARSIZE(value));
}

/* ---- after the events are written ---- */

void
es_react_follow(EsBatch *batch)
{
	EsFollowing *following = batch->following;

	while (following->appends != NIL)
	{
		append_wave(batch);
		if (list_length(following->jobs) > MAX_JOBS)
			write_jobs(following);
	}
	write_jobs(following);
	batch->following = NULL;
	batch->bytes = 0;
	MemoryContextDelete(following->later);
}

/* What follows from these is the next wave. */
static void
append_wave(EsBatch *batch)
{
	EsFollowing *following = batch->following;
	MemoryContext wave = following->wave;
	List	   *appends = following->appends;
	ListCell   *lc;

	following->wave = NULL;
	following->appends = NIL;
	foreach(lc, appends)
	{
		const Following *append = lfirst(lc);
		EsEvent		event = {.value[ES_EVENT_POSITION] = Int64GetDatum(append->position)};
		EsReactUse	use;
		EsAppended	result;

		CHECK_FOR_INTERRUPTS();
		es_react_begin_use(&use, append->reaction, &event);
		es_react_hide(&use, append->draft.stream);
		es_react_add(batch, append->reaction, &append->draft, &result);
		es_react_end_use(&use);
		if (es_batch_is_full(batch))
			es_batch_write(batch);
	}
	es_batch_write(batch);
	MemoryContextDelete(wave);
}

/* Neighbours that enqueue are written together. */
static void
write_jobs(EsFollowing *following)
{
	MemoryContext later = following->later;
	EsJobDraft *jobs = MemoryContextAlloc(later, Max(1, list_length(following->jobs)) * sizeof(EsJobDraft));
	const EsReaction *checked = NULL;
	int			count = 0;
	ListCell   *lc;

	foreach(lc, following->jobs)
	{
		const Following *each = lfirst(lc);
		EsEvent		event = {.value[ES_EVENT_POSITION] = Int64GetDatum(each->position)};
		EsReactUse	use;

		CHECK_FOR_INTERRUPTS();
		es_react_begin_use(&use, each->reaction, &event);
		if (each->job.queue == NULL)
		{
			enqueue_jobs(jobs, count);
			count = 0;
			(void) es_react_cancel(each->reaction, each->action, each->key);
		}
		else
		{
			if (each->reaction->is_immediate && checked != each->reaction)
				es_react_expect_sender(each->reaction->definer, each->action->queue);
			checked = each->reaction;
			jobs[count++] = each->job;
		}
		es_react_end_use(&use);
	}
	enqueue_jobs(jobs, count);
	pfree(jobs);
	list_free(following->jobs);
	following->jobs = NIL;
}

static void
enqueue_jobs(const EsJobDraft *jobs, int count)
{
	if (count > 0)
		es_job_enqueue_many(jobs, count);
}
