/*
 * machine_step.c
 *		Decides one event: a look-up in the machine's table, then the guards of
 *		the candidates, then the reason, then what the database fills in.
 *
 * Nothing here raises an error for an illegal step (an expression may raise its
 * own).  What is palloc'd lives in the current memory context.
 */
#include "postgres.h"

#include "errors.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"

static EsEdge *choose(EsMachine *machine, EsEdge *first, const EsBinding *binding,
					  const text *default_reason, EsStep *step);
static bool depends_on_caller(const char *source);
static const EsGuard *find_rejecting(const EsMachine *machine, EsEdge *edge, const EsBinding *binding);
static const text *effective_reason(const EsMachine *machine, const EsEdge *edge,
									const text *given, const text *default_reason);
static bool can_fill(const EsEdge *edge, const EsEvent *event);
static void bind(EsBinding *mine, const EsBinding *binding, EsEvent *event,
				 const text *state, const text *reason);

/* Where a stream without a state stands. */
int
es_machine_start(const EsMachine *machine)
{
	return machine->has_create ? ES_STATE_NONE : machine->initial;
}

const text *
es_machine_stands(const EsMachine *machine, const text *from)
{
	if (from != NULL || es_machine_start(machine) < 0)
		return from;
	return machine->states.word[machine->initial];
}

EsEdge *
es_machine_begin_step(const EsMachine *machine, const text *from, int state, const EsEvent *event,
					  EsStep *step)
{
	int			type = es_words_find(&machine->types, es_event_text(event, ES_EVENT_TYPE));
	EsEdge	   *edge = NULL;

	memset(step, 0, sizeof(EsStep));
	step->reason = es_event_text(event, ES_EVENT_REASON);
	step->from_state = from;
	if (type < 0)
		step->verdict = ES_UNKNOWN_TYPE;
	else if (from != NULL && state < 0)
		step->verdict = ES_ILLEGAL_TRANSITION;	/* a state of another machine */
	else if ((edge = es_machine_candidates(machine, state, type)) == NULL)
		step->verdict = ES_ILLEGAL_TRANSITION;
	return edge;
}

void
es_machine_step(EsMachine *machine, const text *from, const EsBinding *binding,
				const text *default_reason, bool check_guards, EsStep *step)
{
	const EsEvent *event = binding->event;
	int			state = from == NULL ? es_machine_start(machine) : es_words_find(&machine->states, from);
	EsEdge	   *edge = es_machine_begin_step(machine, from, state, event, step);

	if (edge == NULL)
		return;
	if (check_guards)
		edge = choose(machine, edge, binding, default_reason, step);
	if (edge == NULL)
	{
		step->verdict = ES_GUARD_REJECTED;
		return;
	}
	step->edge = edge;
	step->reason = effective_reason(machine, edge, step->reason, default_reason);
	step->verdict = es_machine_judge_reason(machine, edge, step->reason);
	if (step->verdict == ES_LEGAL && !can_fill(edge, event))
		step->verdict = ES_FILL_GIVEN;
	if (edge->target >= 0)
		step->to_state = machine->states.word[edge->target];
	else
		step->to_state = machine->states.word[state >= 0 ? state : machine->initial];
}

bool
es_machine_fills(const EsMachine *machine, const text *type)
{
	int			number = machine == NULL ? -1 : es_words_find(&machine->types, type);

	return number >= 0 && machine->fills[number];
}

/* Can this reason be given on the edge? */
bool
es_machine_takes_reason(const EsMachine *machine, const EsEdge *edge, const text *reason)
{
	int			code = es_words_find(&machine->reasons, reason);

	if (edge->reason == ES_REASON_RULE_FORBIDDEN)
		return false;
	if (edge->reasons != NULL)
		return code >= 0 && bms_is_member(code, edge->reasons);
	return machine->ndeclared < 0 || (code >= 0 && code < machine->ndeclared);
}

/*
 * Event data with the edge's values added.  A value is computed from the event
 * as the caller gave it, and a NULL becomes a JSON null.
 */
Jsonb *
es_machine_fill(EsMachine *machine, const EsStep *step, const EsBinding *binding, Jsonb *data)
{
	const EsEdge *edge = step->edge;
	JsonbParseState *state = NULL;
	EsBinding	mine;
	EsEvent		event;

	if (edge == NULL || edge->nfills == 0)
		return data;
	bind(&mine, binding, &event, es_machine_stands(machine, step->from_state), step->reason);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_members(&state, data);
	for (int i = 0; i < edge->nfills; i++)
	{
		EsExprUse	use = {.what = "fill",.name = edge->fills[i].field,
		.owner_kind = "state machine",.owner = machine->label};
		Datum		filled;
		bool		isnull;

		es_expr_begin_use(&use, mine.event);
		filled = es_expr_eval(edge->fills[i].expr, &mine, &isnull);
		es_expr_end_use(&use);

		es_json_push_jsonb(&state, edge->fills[i].field, isnull ? NULL : DatumGetJsonbP(filled));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

bool
es_machine_choice_holds(EsMachine *machine, const EsChoice *choice, const text *from,
						const EsBinding *binding, bool *is_known)
{
	EsEdge	   *edge = choice->edge;
	EsBinding	mine;
	EsEvent		event;

	*is_known = true;
	bind(&mine, binding, &event, es_machine_stands(machine, from), NULL);
	for (int i = 0; i < edge->nguards; i++)
	{
		if (depends_on_caller(edge->guards[i].source))
			*is_known = false;
		else if (!es_machine_guard_holds(machine, &edge->guards[i], &mine))
		{
			*is_known = true;
			return false;
		}
	}
	return true;
}

/* An error, if the guard names "row" and there is no context row. */
bool
es_machine_guard_holds(const EsMachine *machine, EsGuard *guard, const EsBinding *binding)
{
	EsExprUse	use = {.what = "guard",.name = guard->name,
	.owner_kind = "state machine",.owner = machine->label};
	bool		holds;

	es_expr_begin_use(&use, binding->event);
	if (guard->expr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("guard \"%s\" cannot be evaluated", guard->name),
				 errdetail("It names \"row\", and here is no context row."),
				 errhint("Give the category a context with eventsource.create_category().")));
	holds = es_expr_eval_bool(guard->expr, binding);
	es_expr_end_use(&use);
	return holds;
}

/* Does a guard name what only the caller of append() will say? */
static bool
depends_on_caller(const char *source)
{
	static const char *const words[] = {"data", "metadata", "reason", "actor"};

	for (size_t i = 0; i < lengthof(words); i++)
	{
		if (es_machine_source_names(source, words[i]))
			return true;
	}
	return false;
}

/*
 * The first candidate whose guards hold.  If there is none, the step names the
 * guard that rejected the last: candidates go from the special to the general.
 */
static EsEdge *
choose(EsMachine *machine, EsEdge *first, const EsBinding *binding,
	   const text *default_reason, EsStep *step)
{
	for (EsEdge *edge = first; edge != NULL; edge = edge->next)
	{
		const EsGuard *rejecting;
		EsBinding	mine;
		EsEvent		event;

		if (edge->nguards == 0)
			return edge;
		bind(&mine, binding, &event, es_machine_stands(machine, step->from_state),
			 effective_reason(machine, edge, step->reason, default_reason));
		rejecting = find_rejecting(machine, edge, &mine);
		if (rejecting == NULL)
			return edge;
		step->guard = rejecting->name;
		step->edge = edge;
	}
	return NULL;
}

static const EsGuard *
find_rejecting(const EsMachine *machine, EsEdge *edge, const EsBinding *binding)
{
	for (int i = 0; i < edge->nguards; i++)
	{
		if (!es_machine_guard_holds(machine, &edge->guards[i], binding))
			return &edge->guards[i];
	}
	return NULL;
}

/* Is the reason one that the edge takes? */
EsVerdict
es_machine_judge_reason(const EsMachine *machine, const EsEdge *edge, const text *reason)
{
	if (reason == NULL)
		return edge->reason == ES_REASON_RULE_REQUIRED ? ES_REASON_REQUIRED : ES_LEGAL;
	if (edge->reason == ES_REASON_RULE_FORBIDDEN)
		return ES_REASON_FORBIDDEN;
	return es_machine_takes_reason(machine, edge, reason) ? ES_LEGAL : ES_REASON_UNKNOWN;
}

/*
 * The default serves an event without a reason where the edge says that it
 * takes one.  A code that the edge does not know is an error only where one is
 * required.
 */
static const text *
effective_reason(const EsMachine *machine, const EsEdge *edge,
				 const text *given, const text *default_reason)
{
	if (given != NULL || default_reason == NULL || edge->reason == ES_REASON_RULE_UNSAID)
		return given;
	if (edge->reason == ES_REASON_RULE_REQUIRED ||
		es_machine_takes_reason(machine, edge, default_reason))
		return default_reason;
	return NULL;
}

/* Can the edge's values be added, none of them given by the caller? */
static bool
can_fill(const EsEdge *edge, const EsEvent *event)
{
	Jsonb	   *data = (Jsonb *) DatumGetPointer(event->value[ES_EVENT_DATA]);

	return edge->nfills == 0 ||
		(JB_ROOT_IS_OBJECT(data) && es_machine_given_field(edge, data) == NULL);
}

/* A field of the data, an object, that the edge fills in; NULL: none. */
const char *
es_machine_given_field(const EsEdge *edge, Jsonb *data)
{
	for (int i = 0; i < edge->nfills; i++)
	{
		JsonbValue	buffer;

		if (es_json_find(&data->root, edge->fills[i].field, &buffer) != NULL)
			return edge->fills[i].field;
	}
	return NULL;
}

/* What expressions of an edge see: the event with its reason, and the state. */
static void
bind(EsBinding *mine, const EsBinding *binding, EsEvent *event,
	 const text *state, const text *reason)
{
	*mine = *binding;
	mine->state = state;
	if (reason != NULL && binding->event->isnull[ES_EVENT_REASON])
	{
		*event = *binding->event;
		es_event_set(event, ES_EVENT_REASON, PointerGetDatum(reason));
		mine->event = event;
	}
}
