/*
 * react_foresee.c
 *		Which streams reactions will append to, told before anything is locked.
 *
 * A guess, made of drafts: conditions and streams that look at nothing but what the caller said of
 * the event are evaluated on that, and so on down a chain.  Whether it is right shows when the
 * event is decided; a stream that was locked in vain waits for the end of the transaction, no more.
 * So an error here is none: the event will say its own.
 */
#include "postgres.h"

#include "append/batch.h"
#include "append/draft.h"
#include "append/react_parts.h"
#include "log/attempt.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Streams that are told at most; others are locked when they come. */
#define MAX_STREAMS	10000

typedef struct Foresight
{
	List	   *drafts;			/* of const EsDraft */
	int			next;			/* of them */
	MemoryContext caller;		/* of the streams */
	MemoryContext work;
	List	   *streams;		/* of text */
} Foresight;

static bool may_react(const EsDraft *draft);
static void foresee_all(void *arg);
static void foresee(Foresight *all, const EsDraft *draft, int depth);
static bool is_told(const EsExpr *expr);
static text *copy_text(const text *value);

List *
es_react_foresee(List *drafts)
{
	Foresight	all = {.caller = CurrentMemoryContext};
	ListCell   *lc;

	foreach(lc, drafts)
		if (may_react(lfirst(lc)))
		all.drafts = lappend(all.drafts, lfirst(lc));
	if (all.drafts == NIL)
		return NIL;
	all.work = AllocSetContextCreate(all.caller, "eventsource reactions ahead", ALLOCSET_DEFAULT_SIZES);
	while (all.next < list_length(all.drafts) && list_length(all.streams) < MAX_STREAMS)
	{
		MemoryContextSwitchTo(all.work);
		(void) es_attempt(foresee_all, &all, es_error_is_answer);
		MemoryContextSwitchTo(all.caller);
	}
	MemoryContextDelete(all.work);
	list_free(all.drafts);
	return all.streams;
}

/* Does anything append because of its category?  If that has no name, the event will say so. */
static bool
may_react(const EsDraft *draft)
{
	const char *name;
	const char *hyphen;

	if (draft->stream == NULL || draft->type == NULL)
		return false;
	name = VARDATA_ANY(draft->stream);
	hyphen = memchr(name, '-', VARSIZE_ANY_EXHDR(draft->stream));
	return hyphen != NULL && es_reaction_any_append(name, hyphen - name);
}

/* For es_attempt(): after an error, it goes on behind the draft that had it. */
static void
foresee_all(void *arg)
{
	Foresight  *all = arg;

	es_hall_enter();
	PG_TRY();
	{
		while (all->next < list_length(all->drafts) && list_length(all->streams) < MAX_STREAMS)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(all->work);
			foresee(all, list_nth(all->drafts, all->next++), 0);
		}
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
}

static void
foresee(Foresight *all, const EsDraft *draft, int depth)
{
	EsEvent		event;
	EsReactUse	use;
	EsReactValues values = {.binding = {.event = &event},.use = &use};
	ListCell   *lc;

	es_hall_preview(draft, &event);
	foreach(lc, es_reaction_of(es_event_text(&event, ES_EVENT_CATEGORY), draft->type))
	{
		const EsReaction *reaction = lfirst(lc);
		const EsReactionAction *action = &reaction->step[0].action;
		EsDraft		next;

		if (!es_react_appends_at_once(reaction) || !is_told(reaction->condition) ||
			!is_told(action->stream) || (!reaction->imports && es_react_is_import(&event)))
			continue;
		values.reaction = reaction;
		if (reaction->condition != NULL && !es_expr_eval_bool(reaction->condition, &values.binding))
			continue;
		if (depth < ES_REACTION_MAX_DEPTH && is_told(action->data) && is_told(action->reason))
			es_react_draft(&values, action, 1, &next);
		else
			next = (EsDraft)
		{
			.stream = es_react_text(&values, action->stream, "stream", 0)
		};
		if (next.stream == NULL)
			continue;
		MemoryContextSwitchTo(all->caller);
		all->streams = lappend(all->streams, copy_text(next.stream));
		MemoryContextSwitchTo(all->work);
		if (may_react(&next) && list_length(all->streams) < MAX_STREAMS)
			foresee(all, &next, depth + 1);
	}
}

/* By what the caller says alone; NULL is. */
static bool
is_told(const EsExpr *expr)
{
	static const EsEventColumn others[] = {
		ES_EVENT_POSITION, ES_EVENT_VERSION, ES_EVENT_FROM_STATE, ES_EVENT_TO_STATE, ES_EVENT_RECORDED_AT,
		ES_EVENT_HASH
	};

	if (expr == NULL)
		return true;
	for (int i = 0; i < (int) lengthof(others); i++)
		if (es_expr_uses_event(expr, others[i]))
			return false;
	return es_expr_is_of_event(expr);
}

static text *
copy_text(const text *value)
{
	return cstring_to_text_with_len(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}
