/*
 * machine_judge.c
 *		Judges events of history again: as they were appended, or as corrected.
 *
 * Data in the log holds what edges filled in; guards see it without that.
 */
#include "postgres.h"

#include "log/json.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

static EsEdge *choose(EsMachine *machine, EsEdge *first, int state, const EsBinding *binding, EsStep *step);
static bool is_genesis(const EsEvent *event);
static bool is_key_change(const EsEvent *event);
static bool may_fill(const EsMachine *machine, const EsEvent *event);
static bool is_decidable(const EsEdge *edge);
static const char *find_rejecting(const EsMachine *machine, EsEdge *edge, const EsBinding *binding);
static const text *target_of(const EsMachine *machine, const EsEdge *edge, int state);
static Jsonb *single(const char *field, JsonbValue *value);
static Jsonb *concat(Jsonb *a, Jsonb *b);
static Datum without_fills(const EsEdge *edge, Datum data);

EsMachine *
es_machine_named(const text *label)
{
	int64		version;
	char	   *name = es_machine_read_label(label, &version);

	return name == NULL ? NULL : es_machine_inspect(name, version);
}

char *
es_machine_read_label(const text *label, int64 *version)
{
	char	   *name = text_to_cstring(label);
	char	   *at = strrchr(name, '@');
	char	   *end;

	if (at == NULL)
		return NULL;
	*at = '\0';
	*version = strtoll(at + 1, &end, 10);
	return *end != '\0' || *version <= 0 ? NULL : name;
}

bool
es_machine_is_passed(const EsMachine *machine, const EsEvent *event)
{
	if ((event->flags & (ES_EVENT_VIOLATION | ES_EVENT_CORRECTION | ES_EVENT_VOID)) != 0)
		return true;
	if (is_genesis(event) || is_key_change(event))
		return true;
	return (event->flags & ES_EVENT_CAPTURED) != 0 &&
		es_words_find(&machine->types, es_event_text(event, ES_EVENT_TYPE)) < 0;
}

/*
 * Does an event that passed by the machine enter a state?  One that was made up
 * does, and the first of a captured row; others leave the state alone.
 */
bool
es_machine_is_entered(const EsEvent *event)
{
	return is_genesis(event) || (event->flags & ES_EVENT_VIOLATION) != 0 ||
		((event->flags & ES_EVENT_CAPTURED) != 0 && event->isnull[ES_EVENT_FROM_STATE]);
}

/* Made up from a row that has a past which was not recorded. */
static bool
is_genesis(const EsEvent *event)
{
	return (event->flags & ES_EVENT_SYNTHETIC) != 0 &&
		((event->flags & ES_EVENT_CAPTURED) != 0 || DatumGetInt64(event->value[ES_EVENT_VERSION]) == 1);
}

/* The row of a captured event came from another stream, or goes on in one. */
static bool
is_key_change(const EsEvent *event)
{
	Jsonb	   *data = (Jsonb *) DatumGetPointer(event->value[ES_EVENT_DATA]);
	JsonbValue	buffer;

	return (event->flags & ES_EVENT_CAPTURED) != 0 && JB_ROOT_IS_OBJECT(data) &&
		es_json_find(&data->root, "key_changed_from", &buffer) != NULL;
}

bool
es_machine_has_state(const EsMachine *machine, const text *state)
{
	return es_words_find(&machine->states, state) >= 0;
}

void
es_machine_restep(EsMachine *machine, const text *from, const EsBinding *binding, EsStep *step)
{
	int			state = from == NULL ? es_machine_start(machine) : es_words_find(&machine->states, from);
	EsEdge	   *edge = es_machine_begin_step(machine, from, state, binding->event, step);

	if (edge == NULL)
		return;
	edge = choose(machine, edge, state, binding, step);
	if (edge == NULL)
	{
		step->verdict = ES_GUARD_REJECTED;
		return;
	}
	step->edge = edge;
	step->guard = NULL;
	step->verdict = es_machine_judge_reason(machine, edge, step->reason);
	step->to_state = target_of(machine, edge, state);
}

Datum
es_machine_given_data(const EsEvent *event)
{
	EsMachine  *machine = event->machine == NULL ? NULL : es_machine_named(event->machine);
	EsBinding	binding = {.event = event};
	EsStep		step;

	if (machine == NULL || es_machine_is_passed(machine, event) || !may_fill(machine, event))
		return event->value[ES_EVENT_DATA];
	es_machine_restep(machine, es_event_text(event, ES_EVENT_FROM_STATE), &binding, &step);
	return step.edge == NULL ? event->value[ES_EVENT_DATA] :
		without_fills(step.edge, event->value[ES_EVENT_DATA]);
}

/* Has any edge of its type something to fill in? */
static bool
may_fill(const EsMachine *machine, const EsEvent *event)
{
	int			type = es_words_find(&machine->types, es_event_text(event, ES_EVENT_TYPE));
	ListCell   *lc;

	foreach(lc, machine->entries)
	{
		EsEntry    *entry = lfirst(lc);

		for (EsEdge *edge = entry->first; entry->type == type && edge != NULL; edge = edge->next)
			if (edge->nfills > 0)
				return true;
	}
	return false;
}

Jsonb *
es_machine_refill(EsMachine *machine, const EsStep *step, const EsBinding *binding, Jsonb *given,
				  Jsonb *before)
{
	const EsEdge *edge = step->edge;
	EsEvent		bare = *binding->event;
	EsBinding	mine = *binding;
	bool		can_compute = true;
	Jsonb	   *bare_given;
	Jsonb	   *kept;

	if (edge == NULL || edge->nfills == 0)
		return given;
	for (int i = 0; i < edge->nfills; i++)
		can_compute &= edge->fills[i].expr != NULL;
	/* Computed, then as they were, then as given: the last one counts. */
	mine.event = &bare;
	bare.value[ES_EVENT_DATA] = without_fills(edge, bare.value[ES_EVENT_DATA]);
	bare_given = DatumGetJsonbP(without_fills(edge, JsonbPGetDatum(given)));
	kept = can_compute ? es_machine_fill(machine, step, &mine, bare_given) : bare_given;
	for (int i = 0; i < edge->nfills; i++)
	{
		JsonbValue	buffer;
		const char *field = edge->fills[i].field;
		JsonbValue *value = es_json_find(&before->root, field, &buffer);

		if (value != NULL)
			kept = concat(kept, single(field, value));
	}
	return concat(kept, given);
}

bool
es_machine_guards_hold(const EsMachine *machine, EsEdge *edge, const EsBinding *binding)
{
	return find_rejecting(machine, edge, binding) == NULL;
}

/*
 * The first edge whose guards hold; one that cannot be decided, only where it
 * leads where the event led, or where there is no other.
 */
static EsEdge *
choose(EsMachine *machine, EsEdge *first, int state, const EsBinding *binding, EsStep *step)
{
	const text *recorded = es_event_text(binding->event, ES_EVENT_TO_STATE);
	EsEdge	   *undecided = NULL;
	EsBinding	mine = *binding;
	EsEvent		event = *binding->event;

	mine.event = &event;
	mine.state = es_machine_stands(machine, step->from_state);
	for (EsEdge *edge = first; edge != NULL; edge = edge->next)
	{
		const char *rejecting = find_rejecting(machine, edge, &mine);

		if (rejecting != NULL)
		{
			step->guard = rejecting;
			step->edge = edge;
			continue;
		}
		if (is_decidable(edge) || es_text_same(target_of(machine, edge, state), recorded))
			return edge;
		if (undecided == NULL)
			undecided = edge;
	}
	return undecided;
}

static bool
is_decidable(const EsEdge *edge)
{
	for (int i = 0; i < edge->nguards; i++)
		if (edge->guards[i].expr == NULL)
			return false;
	return true;
}

/* Name of the first guard that does not hold, or NULL. */
static const char *
find_rejecting(const EsMachine *machine, EsEdge *edge, const EsBinding *binding)
{
	EsEvent		given = *binding->event;
	EsBinding	mine = *binding;

	mine.event = &given;
	given.isnull[ES_EVENT_POSITION] = true;
	given.isnull[ES_EVENT_TO_STATE] = true;
	given.isnull[ES_EVENT_HASH] = true;
	given.value[ES_EVENT_DATA] = without_fills(edge, given.value[ES_EVENT_DATA]);
	for (int i = 0; i < edge->nguards; i++)
	{
		EsGuard    *guard = &edge->guards[i];

		if (guard->expr != NULL && !es_machine_guard_holds(machine, guard, &mine))
			return guard->name;
	}
	return NULL;
}

static const text *
target_of(const EsMachine *machine, const EsEdge *edge, int state)
{
	if (edge->target >= 0)
		return machine->states.word[edge->target];
	return machine->states.word[state >= 0 ? state : machine->initial];
}

/* An object of one field. */
static Jsonb *
single(const char *field, JsonbValue *value)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_value(&state, field, value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Jsonb *
concat(Jsonb *a, Jsonb *b)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(a), JsonbPGetDatum(b)));
}

/* Data before the database added to it. */
static Datum
without_fills(const EsEdge *edge, Datum data)
{
	for (int i = 0; i < edge->nfills && JB_ROOT_IS_OBJECT(DatumGetJsonbP(data)); i++)
		data = DirectFunctionCall2(jsonb_delete, data, CStringGetTextDatum(edge->fills[i].field));
	return data;
}
