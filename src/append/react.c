/*
 * react.c
 *		What follows from the events of a batch by reactions.
 *
 * It is found out while an event is decided, on what it and its row were then, and done once the
 * event's row is written: first what is appended, in waves (what follows from an append is the
 * next wave), in the same batch, which knows the heads; then jobs, in the order of their keys.
 *
 * Locks: as everywhere streams, keys of projections, positions, rows of jobs.  The streams of a wave
 * are locked with those of their causes if drafts tell them (react_foresee.c); else before the keys
 * of their cause; else, where they are named after a position or a later wave, when they are written
 * to, in order.  Only then can two wait for each other.
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
	bool		is_far;			/* the event was itself appended by a reaction */
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
	bool		is_far;			/* what is decided follows from a wave */
} EsFollowing;

/* What reactions to an event are asked with. */
typedef struct Asking
{
	EsBatch    *batch;
	EsReactValues values;
	List	   *streams;		/* found, to be locked */
} Asking;

/* A job that is to be written, or a key whose jobs are to be cancelled. */
typedef struct Deed
{
	Following  *of;
	const char *cancels;		/* the reaction; NULL: of->job is written */
	const text *job_key;		/* NULL: it has none */
	int			number;			/* in the order of their causes */
} Deed;

/* Jobs on their way: neighbours that enqueue are written together. */
typedef struct Writing
{
	EsJobDraft *jobs;
	int			count;
	const EsReaction *checked;	/* whose right to send was asked for last */
	EsReactUse	all;			/* of what waits in jobs */
} Writing;

static List *begin_asking(Asking *asking, EsBatch *batch, const EsCategory *category,
						  const EsEvent *event);
static void ask(Asking *asking, const EsReaction *reaction, void (*question) (Asking *asking));
static void find_stream(Asking *asking);
static void decide(Asking *asking);
static bool holds(EsReactValues *values);
static bool has_position(const EsExpr *expr);
static EsFollowing *begin_following(EsBatch *batch);
static void schedule(EsReactValues *values, const text *key, EsJobDraft *job);
static Size size_of(const Following *following);
static void append_wave(EsBatch *batch);
static void lock_wave(List *appends);
static void append_one(EsBatch *batch, const Following *append, EsReactUse *wave);
static void write_wave(EsBatch *batch, const EsReactUse *wave);
static void write_jobs(EsFollowing *following);
static Deed *list_deeds(List *jobs, int *count);
static int	compare_deeds(const void *a, const void *b);
static void add_deed(Deed *deeds, int *count, Following *of, const char *cancels, const text *job_key);
static void write_job(Writing *writing, const Deed *deed);
static void add_job(Writing *writing, const Following *each);
static void enqueue_jobs(Writing *writing);
static void begin_all(EsReactUse *all);
static void add_to_all(EsReactUse *all, const EsReactUse *use);

/* ---- in the hall ---- */

void
es_react_lock(EsBatch *batch, const EsCategory *category, const EsEvent *event)
{
	Asking		asking;
	ListCell   *lc;

	foreach(lc, begin_asking(&asking, batch, category, event))
	{
		const EsReaction *reaction = lfirst(lc);

		if (es_react_appends_at_once(reaction) && !has_position(reaction->condition) &&
			!has_position(reaction->step[0].action.stream))
			ask(&asking, reaction, find_stream);
	}
	es_batch_lock_streams(asking.streams);
}

void
es_react_decide(EsBatch *batch, const EsCategory *category, const EsEvent *event)
{
	Asking		asking;
	ListCell   *lc;

	foreach(lc, begin_asking(&asking, batch, category, event))
		ask(&asking, lfirst(lc), decide);
}

/* The reactions that there are to the event. */
static List *
begin_asking(Asking *asking, EsBatch *batch, const EsCategory *category, const EsEvent *event)
{
	List	   *reactions = NIL;
	List	   *known;
	ListCell   *lc;
	bool		imported;

	memset(asking, 0, sizeof(*asking));
	if ((event->flags & (ES_EVENT_CORRECTION | ES_EVENT_VOID)) != 0)
		return NIL;
	imported = batch->is_import || es_react_is_import(event);
	known = es_reaction_of(es_event_text(event, ES_EVENT_CATEGORY), es_event_text(event, ES_EVENT_TYPE));
	foreach(lc, known)
		if (!imported || ((const EsReaction *) lfirst(lc))->imports)
		reactions = lappend(reactions, lfirst(lc));
	if (reactions == NIL)
		return NIL;
	asking->batch = batch;
	asking->values.binding.event = event;
	asking->values.binding.state = es_event_text(event, ES_EVENT_TO_STATE);
	if (OidIsValid(category->context))
		asking->values.binding.row = es_fold_context_row(batch->fold, category->context, event);
	return reactions;
}

static void
ask(Asking *asking, const EsReaction *reaction, void (*question) (Asking *asking))
{
	MemoryContext caller = CurrentMemoryContext;
	EsReactUse	use;

	es_react_begin_use(&use, reaction, asking->values.binding.event);
	use.is_far = asking->batch->following != NULL && asking->batch->following->is_far;
	asking->values.reaction = reaction;
	asking->values.use = &use;
	PG_TRY();
	{
		question(asking);
	}
	PG_CATCH();
	{
		es_react_rethrow(&use, caller);
	}
	PG_END_TRY();
	es_react_end_use(&use);
}

static void
find_stream(Asking *asking)
{
	EsReactValues *values = &asking->values;
	text	   *stream;

	if (!holds(values))
		return;
	stream = es_react_text(values, values->reaction->step[0].action.stream, "stream", 0);
	if (stream != NULL)
		asking->streams = lappend(asking->streams, stream);
}

static bool
holds(EsReactValues *values)
{
	const EsReaction *reaction = values->reaction;

	values->use->what = "condition";
	return reaction->condition == NULL || es_expr_eval_bool(reaction->condition, &values->binding);
}

/* Position and hash are not there before keys are locked. */
static bool
has_position(const EsExpr *expr)
{
	return expr != NULL &&
		(es_expr_uses_event(expr, ES_EVENT_POSITION) || es_expr_uses_event(expr, ES_EVENT_HASH));
}

bool
es_react_is_import(const EsEvent *event)
{
	JsonbValue	buffer;
	JsonbValue *flag;

	if ((event->flags & ES_EVENT_SYNTHETIC) != 0)
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
decide(Asking *asking)
{
	EsReactValues *values = &asking->values;
	EsBatch    *batch = asking->batch;
	const EsReaction *reaction = values->reaction;
	const EsReactionAction *action = &reaction->step[0].action;
	EsFollowing *all;
	Following  *following;
	MemoryContext caller;
	bool		appends = es_react_appends_at_once(reaction);
	const text *key;

	if (!holds(values))
		return;
	all = begin_following(batch);
	caller = MemoryContextSwitchTo(appends ? all->wave : all->later);
	following = palloc0(sizeof(Following));
	following->reaction = reaction;
	following->action = action;
	following->position = DatumGetInt64(values->binding.event->value[ES_EVENT_POSITION]);
	following->is_far = all->is_far;
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
	MemoryContext context = following->wave;
	List	   *appends = following->appends;
	EsReactUse	wave;
	ListCell   *lc;

	following->wave = NULL;
	following->appends = NIL;
	following->is_far = true;
	lock_wave(appends);
	begin_all(&wave);
	foreach(lc, appends)
	{
		CHECK_FOR_INTERRUPTS();
		append_one(batch, lfirst(lc), &wave);
		if (es_batch_is_full(batch))
			write_wave(batch, &wave);
	}
	write_wave(batch, &wave);
	MemoryContextDelete(context);
}

/* Most of its streams are locked by now. */
static void
lock_wave(List *appends)
{
	List	   *drafts = NIL;
	List	   *streams = NIL;
	ListCell   *lc;

	foreach(lc, appends)
	{
		Following  *append = lfirst(lc);

		drafts = lappend(drafts, &append->draft);
		if (append->draft.stream != NULL)
			streams = lappend(streams, unconstify(text *, append->draft.stream));
	}
	streams = list_concat(streams, es_react_foresee(drafts));
	es_batch_lock_streams(streams);
	list_free(streams);
	list_free(drafts);
}

static void
append_one(EsBatch *batch, const Following *append, EsReactUse *wave)
{
	MemoryContext caller = CurrentMemoryContext;
	EsEvent		event = {.value[ES_EVENT_POSITION] = Int64GetDatum(append->position)};
	EsReactUse	use;
	EsAppended	result;

	es_react_begin_use(&use, append->reaction, &event);
	use.is_far = append->is_far;
	es_react_hide(&use, append->draft.stream);
	add_to_all(wave, &use);
	PG_TRY();
	{
		es_react_add(batch, append->reaction, &append->draft, &result);
	}
	PG_CATCH();
	{
		es_react_rethrow(&use, caller);
	}
	PG_END_TRY();
	es_react_end_use(&use);
}

/* Constraints of projections are asked here. */
static void
write_wave(EsBatch *batch, const EsReactUse *wave)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		es_batch_write(batch);
	}
	PG_CATCH();
	{
		es_react_rethrow(wave, caller);
	}
	PG_END_TRY();
}

/*
 * In the order of keys, since somebody else may be at the same ones.  Ids are in the order of
 * causes nevertheless.
 */
static void
write_jobs(EsFollowing *following)
{
	MemoryContext caller = MemoryContextSwitchTo(following->later);
	int			count = 0;
	Deed	   *deeds = list_deeds(following->jobs, &count);
	Writing		writing = {.jobs = palloc(Max(1, count) * sizeof(EsJobDraft))};

	MemoryContextSwitchTo(caller);
	begin_all(&writing.all);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_job(&writing, &deeds[i]);
	}
	enqueue_jobs(&writing);
	pfree(writing.jobs);
	pfree(deeds);
	list_free(following->jobs);
	following->jobs = NIL;
}

static Deed *
list_deeds(List *jobs, int *count)
{
	EsJobDraft **drafts = palloc(Max(1, list_length(jobs)) * sizeof(EsJobDraft *));
	int			n_drafts = 0;
	int			n = 0;
	bool		has_keys = false;
	Deed	   *deeds;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		const Following *each = lfirst(lc);

		n += each->job.queue != NULL ? 1 : list_length(each->action->reactions);
	}
	deeds = palloc(Max(1, n) * sizeof(Deed));
	foreach(lc, jobs)
	{
		Following  *each = lfirst(lc);
		ListCell   *name;

		if (each->job.queue != NULL)
		{
			has_keys |= each->job.job_key != NULL;
			drafts[n_drafts++] = &each->job;
			add_deed(deeds, count, each, NULL, each->job.job_key);
		}
		else
		{
			foreach(name, each->action->reactions)
				add_deed(deeds, count, each, lfirst(name), es_job_reaction_key(lfirst(name), each->key));
		}
	}
	if (has_keys && n_drafts > 1)
		es_job_draw(drafts, n_drafts);
	qsort(deeds, *count, sizeof(Deed), compare_deeds);
	pfree(drafts);
	return deeds;
}

static void
add_deed(Deed *deeds, int *count, Following *of, const char *cancels, const text *job_key)
{
	Deed	   *deed = &deeds[*count];

	deed->of = of;
	deed->cancels = cancels;
	deed->job_key = job_key;
	deed->number = (*count)++;
}

/* Those without a key come first, all at once. */
static int
compare_deeds(const void *a, const void *b)
{
	const Deed *one = a;
	const Deed *other = b;
	int			order = 0;

	if (one->job_key != NULL && other->job_key != NULL)
		order = es_react_compare_keys(one->job_key, other->job_key);
	else if (one->job_key != other->job_key)
		order = one->job_key == NULL ? -1 : 1;
	return order != 0 ? order : one->number - other->number;
}

static void
write_job(Writing *writing, const Deed *deed)
{
	MemoryContext caller = CurrentMemoryContext;
	const Following *each = deed->of;
	EsEvent		event = {.value[ES_EVENT_POSITION] = Int64GetDatum(each->position)};
	EsReactUse	use;

	if (deed->cancels != NULL)
		enqueue_jobs(writing);
	es_react_begin_use(&use, each->reaction, &event);
	use.is_far = each->is_far;
	PG_TRY();
	{
		if (deed->cancels != NULL)
			(void) es_react_cancel_one(each->reaction, deed->cancels, deed->job_key);
		else
			add_job(writing, each);
	}
	PG_CATCH();
	{
		es_react_rethrow(&use, caller);
	}
	PG_END_TRY();
	es_react_end_use(&use);
	if (deed->cancels == NULL)
		add_to_all(&writing->all, &use);
}

/* What is enqueued waits for its neighbours. */
static void
add_job(Writing *writing, const Following *each)
{
	if (each->reaction->is_immediate && writing->checked != each->reaction)
		es_react_expect_sender(each->reaction->definer, each->action->queue);
	writing->checked = each->reaction;
	writing->jobs[writing->count++] = each->job;
}

static void
enqueue_jobs(Writing *writing)
{
	MemoryContext caller = CurrentMemoryContext;

	if (writing->count == 0)
		return;
	PG_TRY();
	{
		es_job_enqueue_many(writing->jobs, writing->count);
	}
	PG_CATCH();
	{
		es_react_rethrow(&writing->all, caller);
	}
	PG_END_TRY();
	writing->count = 0;
	begin_all(&writing->all);
}

/* What several do at once hides if one of them does. */
static void
begin_all(EsReactUse *all)
{
	memset(all, 0, sizeof(*all));
	all->callback.previous = error_context_stack;
}

static void
add_to_all(EsReactUse *all, const EsReactUse *use)
{
	if (all->reaction == NULL || (use->hides && !all->hides))
		all->reaction = use->reaction;
	all->hides |= use->hides;
	all->is_far |= use->is_far;
}
