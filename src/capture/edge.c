/*
 * edge.c
 *		What the machine calls a change of state: the edge between two states
 *		names the event.
 *
 * Where several event types lead from the one to the other, the definition's
 * event_types decides, else the reason, if just one of them takes it.
 *
 * What was found is kept until machines are forgotten; what is forgotten goes
 * with the transaction.
 */
#include "postgres.h"

#include "append/draft.h"
#include "capture/change.h"
#include "common/hashfn.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "log/cache.h"
#include "log/word.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Ways from one state to another that rows went. */
#define RECALLED	64

typedef struct Recall
{
	MemoryContext context;
	const EsMachine *machine;	/* NULL: free */
	int64		definition;		/* position of the tracking's */
	const text *stands;
	const text *to;
	List	   *choices;
} Recall;

static Recall recalled[RECALLED];
static MemoryContext recall_context;
static uint64 recall_epoch;

static List *recall_choices(const EsTracking *tracking, EsMachine *machine, const text *stands,
							const text *to);
static text *copy_text(const text *source);
static List *find_choices(const EsTracking *tracking, EsMachine *machine, const text *stands, const text *to);
static List *edges_between(EsMachine *machine, const text *stands, const text *to);
static const text *named_type(List *edges, const text *from, const text *to);
static List *of_type(List *choices, const text *type);
static int	count_types(List *choices);
static List *that_take(EsMachine *machine, List *choices, const text *reason);
static bool lists_reason(const EsChoice *choice, const text *reason);
static void take(const EsChange *change, const EsChoice *choice, EsEdgePick *pick);
static void refuse(const EsChange *change, const text *from, const text *to, EsEdgePick *pick);
static void refuse_ambiguous(const EsChange *change, const text *from, const text *to, List *choices,
							 EsEdgePick *pick);
static char *list_targets(const EsChange *change, List *choices, const text *from);
static char *list_types(List *choices);
static char *edge_name(const text *from, const text *to);
static bool told_apart(List *choices);

void
es_edge_pick(const EsChange *change, const text *from, const text *to, EsEdgePick *pick)
{
	EsMachine  *machine = change->category->machine;
	const text *stands = es_machine_stands(machine, from);
	List	   *choices;
	List	   *taking;

	memset(pick, 0, sizeof(*pick));
	if (to == NULL)
	{
		refuse(change, from, to, pick);
		return;
	}
	if (from == NULL && stands != NULL && es_text_same(stands, to))
	{
		if (!es_edge_of_type(change, change->old.values == NULL ? change->tracking->created :
							 change->tracking->updated, pick))
			pick->passage = ES_PASSAGE_ENTER;
		return;
	}
	choices = recall_choices(change->tracking, machine, stands, to);
	if (choices == NIL)
	{
		refuse(change, from, to, pick);
		return;
	}
	if (count_types(choices) > 1)
	{
		const text *reason = change->reason != NULL ? change->reason : es_draft_default_reason();

		taking = reason == NULL ? NIL : that_take(machine, choices, reason);
		if (count_types(taking) != 1)
		{
			refuse_ambiguous(change, stands, to, choices, pick);
			return;
		}
		choices = taking;
	}
	take(change, linitial(choices), pick);
}

/* What can stand for the change; kept for the next row that goes the same way. */
static List *
recall_choices(const EsTracking *tracking, EsMachine *machine, const text *stands, const text *to)
{
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(to), VARSIZE_ANY_EXHDR(to));
	Recall	   *entry;
	MemoryContext caller;

	if (recall_context == NULL || recall_epoch != es_machine_epoch())
	{
		es_cache_put_aside(&recall_context);
		memset(recalled, 0, sizeof(recalled));
		recall_context = AllocSetContextCreate(CacheMemoryContext, "eventsource edges", ALLOCSET_SMALL_SIZES);
		recall_epoch = es_machine_epoch();
	}
	if (stands != NULL)
		hash ^= hash_bytes((const unsigned char *) VARDATA_ANY(stands), VARSIZE_ANY_EXHDR(stands)) * 31;
	entry = &recalled[hash % RECALLED];
	if (entry->machine == machine && entry->definition == tracking->position &&
		es_text_same(entry->stands, stands) && es_text_same(entry->to, to))
		return entry->choices;

	entry->machine = NULL;
	if (entry->context == NULL)
		entry->context = AllocSetContextCreate(recall_context, "eventsource edge", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(entry->context);
	caller = MemoryContextSwitchTo(entry->context);
	entry->stands = stands == NULL ? NULL : copy_text(stands);
	entry->to = copy_text(to);
	entry->choices = find_choices(tracking, machine, stands, to);
	entry->definition = tracking->position;
	entry->machine = machine;
	MemoryContextSwitchTo(caller);
	return entry->choices;
}

static text *
copy_text(const text *source)
{
	return cstring_to_text_with_len(VARDATA_ANY(source), VARSIZE_ANY_EXHDR(source));
}

static List *
find_choices(const EsTracking *tracking, EsMachine *machine, const text *stands, const text *to)
{
	const text *type = named_type(tracking->edges, stands, to);
	List	   *choices = edges_between(machine, stands, to);

	return type == NULL ? choices : of_type(choices, type);
}

bool
es_edge_of_type(const EsChange *change, const text *type, EsEdgePick *pick)
{
	EsMachine  *machine = change->category->machine;
	const text *from = es_word_text(change->head.to_state);
	List	   *choices;

	memset(pick, 0, sizeof(*pick));
	pick->type = type;
	pick->passage = ES_PASSAGE_STAY;
	if (machine == NULL || !es_machine_knows_type(machine, type))
		return false;
	pick->passage = ES_PASSAGE_STEP;
	choices = of_type(es_machine_choices(machine, es_machine_stands(machine, from)), type);
	if (choices != NIL)
		take(change, linitial(choices), pick);
	return true;
}

/* The edges that lead from where a stream stands to a state; not those that stay. */
static List *
edges_between(EsMachine *machine, const text *stands, const text *to)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_machine_choices(machine, stands))
	{
		EsChoice   *choice = lfirst(lc);

		if (choice->target != NULL && es_text_same(choice->target, to))
			result = lappend(result, choice);
	}
	return result;
}

/* What event_types says about the edge, or NULL. */
static const text *
named_type(List *edges, const text *from, const text *to)
{
	char	   *name;
	ListCell   *lc;

	if (edges == NIL)
		return NULL;
	name = edge_name(from, to);
	foreach(lc, edges)
	{
		const EsTrackedEdge *edge = lfirst(lc);

		if (strcmp(text_to_cstring(edge->edge), name) == 0)
			return edge->type;
	}
	return NULL;
}

static char *
edge_name(const text *from, const text *to)
{
	return psprintf("%s->%s", from == NULL ? "" : text_to_cstring(from), text_to_cstring(to));
}

static List *
of_type(List *choices, const text *type)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, choices)
		if (es_text_same(((EsChoice *) lfirst(lc))->type, type))
		result = lappend(result, lfirst(lc));
	return result;
}

/* Candidates of one type stand together. */
static int
count_types(List *choices)
{
	const EsChoice *last = NULL;
	int			count = 0;
	ListCell   *lc;

	foreach(lc, choices)
	{
		const EsChoice *choice = lfirst(lc);

		if (last == NULL || !es_text_same(last->type, choice->type))
			count++;
		last = choice;
	}
	return count;
}

/* Those that name the reason; if none does, those that take it at all. */
static List *
that_take(EsMachine *machine, List *choices, const text *reason)
{
	List	   *listing = NIL;
	List	   *taking = NIL;
	ListCell   *lc;

	foreach(lc, choices)
	{
		EsChoice   *choice = lfirst(lc);

		if (!es_machine_choice_takes(machine, choice, reason))
			continue;
		taking = lappend(taking, choice);
		if (lists_reason(choice, reason))
			listing = lappend(listing, choice);
	}
	return listing != NIL ? listing : taking;
}

static bool
lists_reason(const EsChoice *choice, const text *reason)
{
	ListCell   *lc;

	foreach(lc, choice->reasons)
		if (es_text_same(lfirst(lc), reason))
		return true;
	return false;
}

static void
take(const EsChange *change, const EsChoice *choice, EsEdgePick *pick)
{
	pick->type = choice->type;
	pick->passage = ES_PASSAGE_STEP;
	pick->reasons = choice->reasons;
	pick->gives_reason = change->reason != NULL &&
		(strcmp(choice->reason, "required") == 0 ||
		 es_machine_choice_takes(change->category->machine, choice, change->reason));
}

/* ---- refusals ---- */

static char *
quoted(const EsChange *change, const text *state)
{
	return psprintf("\"%s\"", text_to_cstring(es_tracking_word(change->tracking, state)));
}

static void
refuse(const EsChange *change, const text *from, const text *to, EsEdgePick *pick)
{
	const EsTracking *tracking = change->tracking;
	EsMachine  *machine = change->category->machine;
	const text *stands = es_machine_stands(machine, from);
	const char *column = NameStr(es_tracking_column(tracking, tracking->state_column)->name);
	const char *machine_name = text_to_cstring(es_machine_label(machine));
	char	   *targets = list_targets(change, es_machine_choices(machine, stands), stands);

	pick->sqlstate = ES_ERRCODE_ILLEGAL_TRANSITION;
	if (to == NULL)
		pick->message = psprintf("column \"%s\" of table \"%s\" must not become null",
								 column, get_rel_name(tracking->relid));
	else if (!es_machine_knows_state(machine, to))
		pick->message = psprintf("%s in column \"%s\" of table \"%s\" is no state of state machine \"%s\"",
								 quoted(change, to), column, get_rel_name(tracking->relid), machine_name);
	else if (from == NULL)
		pick->message = psprintf("a row of table \"%s\" cannot begin with \"%s\" = %s",
								 get_rel_name(tracking->relid), column, quoted(change, to));
	else
		pick->message = psprintf("column \"%s\" of table \"%s\" cannot go from %s to %s",
								 column, get_rel_name(tracking->relid), quoted(change, from),
								 quoted(change, to));
	pick->detail = psprintf("Stream \"%s\" follows state machine \"%s\".",
							text_to_cstring(change->stream), machine_name);
	if (from == NULL)
		pick->hint = stands == NULL ? psprintf("It can begin with: %s.", targets) :
			psprintf("It can begin with: %s%s%s.", quoted(change, stands), targets[0] == '\0' ? "" : ", ", targets);
	else if (targets[0] == '\0')
		pick->hint = psprintf("Nothing leads on from %s.", quoted(change, from));
	else
		pick->hint = psprintf("From %s it can go to: %s.", quoted(change, from), targets);
}

static void
refuse_ambiguous(const EsChange *change, const text *from, const text *to, List *choices, EsEdgePick *pick)
{
	pick->sqlstate = ES_ERRCODE_INVALID_DEFINITION;
	pick->message = psprintf("several event types could stand for this change of table \"%s\"",
							 get_rel_name(change->tracking->relid));
	pick->detail = psprintf("State machine \"%s\" leads from \"%s\" to \"%s\" by: %s.",
							text_to_cstring(es_machine_label(change->category->machine)),
							from == NULL ? "" : text_to_cstring(from), text_to_cstring(to),
							list_types(choices));
	pick->hint = psprintf("Say which in event_types of eventsource.track_table(): {\"%s\": \"%s\"}; "
						  "or give a reason that just one of them takes.",
						  edge_name(from, to), text_to_cstring(((EsChoice *) linitial(choices))->type));
}

/* The states that the choices lead to, in words of the table. */
static char *
list_targets(const EsChange *change, List *choices, const text *from)
{
	StringInfoData buf;
	List	   *seen = NIL;
	ListCell   *lc;
	ListCell   *inner;

	initStringInfo(&buf);
	foreach(lc, choices)
	{
		const text *target = ((EsChoice *) lfirst(lc))->target;
		bool		is_known = target == NULL || (from != NULL && es_text_same(from, target));

		foreach(inner, seen)
			is_known |= es_text_same(lfirst(inner), target);
		if (is_known)
			continue;
		seen = lappend(seen, unconstify(text *, target));
		appendStringInfo(&buf, "%s%s", buf.len == 0 ? "" : ", ", quoted(change, target));
	}
	return buf.data;
}

static char *
list_types(List *choices)
{
	StringInfoData buf;
	const EsChoice *last = NULL;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, choices)
	{
		const EsChoice *choice = lfirst(lc);

		if (last == NULL || !es_text_same(last->type, choice->type))
			appendStringInfo(&buf, "%s%s", buf.len == 0 ? "" : ", ", text_to_cstring(choice->type));
		last = choice;
	}
	return buf.data;
}

/* ---- for track_table() ---- */

List *
es_edge_ambiguities(EsMachine *machine, List *edges)
{
	List	   *states = es_machine_states(machine);
	List	   *problems = NIL;

	for (int i = -1; i < list_length(states); i++)
	{
		const text *from = i < 0 ? NULL : list_nth(states, i);
		const text *stands = es_machine_stands(machine, from);
		ListCell   *lc;

		foreach(lc, states)
		{
			const text *to = lfirst(lc);
			List	   *choices;

			/* Nothing but the machine's creating types begins a stream. */
			if (stands != NULL && (from == NULL || es_text_same(stands, to)))
				continue;
			choices = edges_between(machine, stands, to);
			if (count_types(choices) > 1 && named_type(edges, from, to) == NULL && !told_apart(choices))
				problems = lappend(problems, psprintf("event_types: \"%s\" could be %s", edge_name(from, to),
													  list_types(choices)));
		}
	}
	return problems;
}

/* Does each type require a reason that no other takes? */
static bool
told_apart(List *choices)
{
	ListCell   *lc;
	ListCell   *other;
	ListCell   *code;

	foreach(lc, choices)
	{
		const EsChoice *choice = lfirst(lc);

		if (choice->reasons == NIL || strcmp(choice->reason, "required") != 0)
			return false;
		foreach(other, choices)
		{
			const EsChoice *rival = lfirst(other);

			if (es_text_same(rival->type, choice->type))
				continue;
			foreach(code, choice->reasons)
				if (lists_reason(rival, lfirst(code)))
				return false;
		}
	}
	return true;
}
