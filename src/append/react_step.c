/*
 * react_step.c
 *		Steps of reactions when they are due.
 *
 * Their expressions see the event as it was, its to_state for state, and the row as it stands now.
 */
#include "postgres.h"

#include "append/react_parts.h"
#include "project/fold.h"

static void perform(const EsReactOccasion *occasion, EsReactUse *use, EsReactDone *done);
static const EsReactionAction *find_action(const EsReactOccasion *occasion);
static void append_event(EsReactValues *values, const EsReactionAction *action, int step, EsReactDone *done);

void
es_react_step(const EsReactOccasion *occasion, EsReactDone *done)
{
	MemoryContext caller = CurrentMemoryContext;
	EsReactUse	use;

	memset(done, 0, sizeof(*done));
	es_batch_settle();
	es_react_begin_use(&use, occasion->reaction, occasion->event);
	PG_TRY();
	{
		perform(occasion, &use, done);
	}
	PG_CATCH();
	{
		es_react_rethrow(&use, caller);
	}
	PG_END_TRY();
	es_react_end_use(&use);
}

static void
perform(const EsReactOccasion *occasion, EsReactUse *use, EsReactDone *done)
{
	const EsReaction *reaction = occasion->reaction;
	const EsReactionAction *action = find_action(occasion);
	EsReactValues values = {
		.reaction = reaction,
		.binding = {.event = occasion->event,.state = es_event_text(occasion->event, ES_EVENT_TO_STATE)},
		.use = use
	};
	EsJobDraft	job;

	if (OidIsValid(reaction->context) && action->act != ES_REACT_CANCEL)
		values.binding.row = es_fold_context_row(es_fold_begin(CurrentMemoryContext), reaction->context,
												 occasion->event);
	switch (action->act)
	{
		case ES_REACT_ENQUEUE:
			es_react_expect_sender(reaction->definer, action->queue);
			es_react_job(&values, action, occasion->step, occasion->is_released ? NULL : occasion->key, &job);
			job.run = occasion->run;
			done->job_id = es_job_enqueue(&job);
			break;
		case ES_REACT_APPEND:
			append_event(&values, action, occasion->step, done);
			break;
		case ES_REACT_CANCEL:
			done->cancelled = es_react_cancel(reaction, action, occasion->key);
			break;
		case ES_REACT_CALL:
			elog(ERROR, "step %d of reaction \"%s\" is a call", occasion->step, reaction->name);
	}
}

static const EsReactionAction *
find_action(const EsReactOccasion *occasion)
{
	const EsReaction *reaction = occasion->reaction;
	int			number = abs(occasion->step);
	const EsReactionAction *action = NULL;

	if (number >= 1 && number <= reaction->n_steps)
	{
		const EsReactionStep *step = &reaction->step[number - 1];

		action = occasion->step > 0 ? &step->action : step->compensate;
	}
	if (action == NULL)
		elog(ERROR, "reaction \"%s\" has no step %d", reaction->name, occasion->step);
	return action;
}

static void
append_event(EsReactValues *values, const EsReactionAction *action, int step, EsReactDone *done)
{
	EsBatch    *batch;
	EsDraft		draft;
	EsAppended	result;

	es_react_draft(values, action, step, &draft);
	es_react_hide(values->use, draft.stream);
	batch = es_batch_begin();
	es_batch_lock_ahead(&draft);
	es_react_add(batch, values->reaction, &draft, &result);
	es_batch_flush(batch);
	es_batch_end(batch);
	done->position = result.position;
}
