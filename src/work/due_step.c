/*
 * due_step.c
 *		Steps of a run: performed, waited for, gone on from, compensated.
 *
 * A step is over when it is performed; one that enqueued a job, when that is done.  If the
 * job is given up (discarded, cancelled) so is the run, and whoever gives up a run, for
 * whatever reason, has the steps compensated that were completed: a job for each, the last
 * first, with the step's number below zero.  They have an order key in common, so each
 * begins when the one before is finished, done or not.
 *
 * The event is read anew: upcast as it is today, and not at all if it was voided or
 * erased meanwhile, which ends the run.
 */
#include "work/due_step.h"

#include "access/xact.h"
#include "append/call.h"
#include "append/queue.h"
#include "append/react.h"
#include "errors.h"
#include "log/correction.h"
#include "log/read.h"
#include "log/reading.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "work/due_call.h"
#include "work/due_decision.h"

#define COMPENSATION_KEY	"compensation:"

/* Going back, or trying again, takes that long at least: who decides so each time keeps nobody busy. */
#define LEAST_TURN			USECS_PER_SEC

static void perform(EsRun *run, const EsReaction *reaction);
static void stop(EsRun *run, const char *reason);
static void perform_action(EsRun *run, const EsReaction *reaction, const EsEvent *event);
static const EsReactionAction *action_of(const EsReaction *reaction, int step);
static bool prepare_event(EsEvent *event, const EsReaction *reaction, const EsReactionAction *action,
						  bool is_wanted, Snapshot snapshot);
static void obey(EsRun *run, const EsReactOccasion *occasion, const EsDecision *decision);
static int64 send_job(EsRun *run, const EsReactOccasion *occasion, const EsDecision *decision);
static void resume(EsRun *run, const EsReaction *reaction);
static void complete(EsRun *run, const EsReaction *reaction, TimestampTz ended);
static void compensate(const EsJob *job);

void
es_due_step(EsRun *run)
{
	char	   *name = text_to_cstring(run->job->reaction);
	const EsReaction *reaction = es_reaction_get(name, run->job->reaction_version);

	if (reaction == NULL || action_of(reaction, run->job->step) == NULL)
		stop(run, psprintf("reaction \"%s\" has no such step any more", name));
	else if (run->waited != NULL)
		resume(run, reaction);
	else
		perform(run, reaction);
}

void
es_due_step_init(void)
{
	es_job_on_finished(compensate);
}

/* ---- performing ---- */

static void
perform(EsRun *run, const EsReaction *reaction)
{
	const EsJob *job = run->job;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EsScan	   *scan = es_scan_log(job->event_position - 1, job->event_position, NIL, snapshot);
	char	   *lapsed = NULL;
	EsEvent		event;

	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (job->step > 0 && !run->is_begun)
		lapsed = es_reaction_lapsed(reaction, run->due, job->created_at, GetCurrentTimestamp());
	if (lapsed != NULL)
		es_run_end(run, ES_JOB_DONE, lapsed, NULL, NULL);
	else if (!es_scan_next(scan, &event) ||
			 !prepare_event(&event, reaction, action_of(reaction, job->step), job->step > 0, snapshot))
		stop(run, "its event does not count any more");
	else
		perform_action(run, reaction, &event);
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
}

/* It cannot go on.  What it did is made good; what is to make that good, and cannot, is a dead letter. */
static void
stop(EsRun *run, const char *reason)
{
	bool		is_dead = run->completed != NIL || run->job->step < 0;

	es_run_end(run, is_dead ? ES_JOB_DISCARDED : ES_JOB_CANCELLED, reason, is_dead ? "STOPPED" : NULL,
			   is_dead ? reason : NULL);
}

static void
perform_action(EsRun *run, const EsReaction *reaction, const EsEvent *event)
{
	const EsReactionAction *action = action_of(reaction, run->job->step);
	EsReactOccasion occasion = {
		.reaction = reaction,
		.step = run->job->step,
		.event = event,
		.key = run->key,
		.run = run->job->id
	};
	EsReactDone done = {0};
	EsDecision	decision;

	if (action->act == ES_REACT_CALL && es_call_triggers_wait())
	{
		run->is_left = true;
		return;
	}
	if (action->act == ES_REACT_CALL)
	{
		es_due_call(&occasion, action->function, run, &decision);
		obey(run, &occasion, &decision);
		return;
	}
	occasion.is_released = action->act == ES_REACT_ENQUEUE && !es_run_has_key(run);
	es_react_step(&occasion, &done);
	CommandCounterIncrement();
	if (done.job_id != 0)
		es_run_wait_for(run, done.job_id);
	else
		complete(run, reaction, GetCurrentTimestamp());
}

/* NULL: there is no such step, or it has no compensation. */
static const EsReactionAction *
action_of(const EsReaction *reaction, int step)
{
	if (step == 0 || abs(step) > reaction->n_steps)
		return NULL;
	return step > 0 ? &reaction->step[step - 1].action : reaction->step[-step - 1].compensate;
}

/*
 * Calls see what their definer may see; what is evaluated sees no personal fields.  False: nothing is left
 * of it, or it is void and only wanted if it is not.
 */
static bool
prepare_event(EsEvent *event, const EsReaction *reaction, const EsReactionAction *action, bool is_wanted,
			  Snapshot snapshot)
{
	EsCorrections *corrections = es_corrections_load_stream(event->stream_id, DT_NOEND, snapshot);
	const EsCorrection *correction = es_corrections_find(corrections, event->stream_id,
														 DatumGetInt64(event->value[ES_EVENT_POSITION]));

	if ((event->flags & ES_EVENT_ERASED) != 0 || (is_wanted && correction != NULL && correction->is_void))
		return false;
	if (action->act == ES_REACT_CALL)
		es_reading_restore(event, reaction->definer, snapshot);
	es_reading_upcast(es_reading_begin(), event);
	return true;
}

/* ---- what a call decided ---- */

static void
obey(EsRun *run, const EsReactOccasion *occasion, const EsDecision *decision)
{
	TimestampTz now = GetCurrentTimestamp();

	run->then = (EsRunThen)
	{
		.next = decision->next,.wait = decision->wait,.is_end = decision->verdict == ES_DECIDED_END
	};
	if (decision->verdict == ES_DECIDED_SKIP)
		es_run_end(run, ES_JOB_DONE, psprintf("skipped: %s", decision->reason), NULL, NULL);
	else if (decision->verdict == ES_DECIDED_RETRY)
		es_run_go_on(run, run->job->step, Max(es_run_after(now, decision->retry), now + LEAST_TURN));
	else if (decision->sends)
		es_run_wait_for(run, send_job(run, occasion, decision));
	else
		complete(run, occasion->reaction, now);
}

/* With the rights of who defined the reaction. */
static int64
send_job(EsRun *run, const EsReactOccasion *occasion, const EsDecision *decision)
{
	const EsJob *job = run->job;
	EsJobDraft	draft = decision->send;
	EsCallRoom	room;
	volatile int64 id = 0;

	draft.reaction = job->reaction;
	draft.reaction_version = job->reaction_version;
	draft.step = job->step;
	draft.event_position = job->event_position;
	draft.stream = job->stream;
	draft.subject = job->subject;
	draft.run = job->id;
	if (es_run_has_key(run))
		draft.job_key = es_job_reaction_key(occasion->reaction->name, run->key);
	draft.on_conflict = ES_JOB_REPLACE;
	es_call_enter(&room, occasion->reaction->definer);
	PG_TRY();
	{
		es_queue_expect_sender(draft.queue);
		id = es_job_enqueue(&draft);
	}
	PG_FINALLY();
	{
		es_call_leave(&room);
	}
	PG_END_TRY();
	return id;
}

/* ---- going on ---- */

/* The job that it waited for is finished. */
static void
resume(EsRun *run, const EsReaction *reaction)
{
	char	   *what;

	if (strcmp(run->waited, "done") == 0)
	{
		complete(run, reaction, run->due);
		return;
	}
	what = psprintf("step %d: job " INT64_FORMAT " was %s%s%s", run->job->step, run->sent, run->waited,
					run->waited_reason == NULL ? "" : ": ",
					run->waited_reason == NULL ? "" : run->waited_reason);
	es_run_end(run, ES_JOB_DISCARDED, what, "STEP_GIVEN_UP", what);
}

/* The step is over since then; what follows is scheduled. */
static void
complete(EsRun *run, const EsReaction *reaction, TimestampTz ended)
{
	int			step = run->job->step;
	int			next = run->then.next != 0 ? (int) run->then.next : step + 1;
	Interval   *wait;

	if (step < 0 || run->then.is_end || next > reaction->n_steps)
	{
		es_run_end(run, ES_JOB_DONE, NULL, NULL, NULL);
		return;
	}
	wait = run->then.wait != NULL ? es_decision_interval("wait", run->then.wait) : reaction->step[next - 1].wait;
	if (action_of(reaction, -step) != NULL)
		run->completed = lappend_int(list_delete_int(run->completed, step), step);
	es_run_go_on(run, next, next > step ? es_run_after(ended, wait) :
				 Max(es_run_after(ended, wait), GetCurrentTimestamp() + LEAST_TURN));
}

/*
 * Called for every job that is finished.  It needs no reaction: one that cannot be compiled any
 * more must not keep its runs from being given up.
 */
static void
compensate(const EsJob *job)
{
	EsRun		run;
	EsJobDraft *drafts;
	int			count;
	text	   *order_key;

	if (job->reaction == NULL || job->step <= 0 || strcmp(text_to_cstring(job->state), "discarded") != 0 ||
		strcmp(text_to_cstring(job->queue), ES_JOB_REACTION_QUEUE) != 0)
		return;
	es_run_read(&run, unconstify(EsJob *, job));
	count = list_length(run.completed);
	order_key = cstring_to_text(psprintf(COMPENSATION_KEY INT64_FORMAT, job->id));
	drafts = palloc0(count * sizeof(EsJobDraft));
	for (int i = 0; i < count; i++)
		drafts[i] = (EsJobDraft)
	{
		.queue = job->queue,.order_key = order_key,.reaction = job->reaction,
			.reaction_version = job->reaction_version,.step = -list_nth_int(run.completed, count - 1 - i),
			.event_position = job->event_position,.stream = job->stream,.subject = job->subject
	};
	es_job_enqueue_many(drafts, count);
}
