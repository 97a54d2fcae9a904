/*
 * machine_choice.c
 *		What a machine offers: the edges that lead from a state, and all of its
 *		edges as rows of the view eventsource.state_machine_transitions.
 *
 * Everything is palloc'd in the current memory context.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/machine_table.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Columns of eventsource.state_machine_edges() */
#define EDGE_COLUMNS	11

PG_FUNCTION_INFO_V1(eventsource_state_machine_edges);

static List *list_words(const EsWordSet *words);
static EsChoice *make_choice(const EsMachine *machine, int state, int type, EsEdge *edge);
static const text *target_of(const EsMachine *machine, int state, const EsEdge *edge);
static const char *reason_rule(const EsEdge *edge);
static void emit_edge(ReturnSetInfo *rsinfo, const EsMachine *machine, int state, int type,
					  const EsEdge *edge, bool is_root);
static Datum reasons_array(const EsMachine *machine, const EsEdge *edge);
static Jsonb *fill_object(const EsEdge *edge);
static void put_text(Datum *value, bool *isnull, const char *string);

/* The edges from a state (NULL: the stream has none yet), by type. */
List *
es_machine_choices(EsMachine *machine, const text *from)
{
	int			state = from == NULL ? ES_STATE_NONE : es_words_find(&machine->states, from);
	List	   *choices = NIL;

	if (from != NULL && state < 0)
		return NIL;
	for (int type = 0; type < machine->types.count; type++)
	{
		EsEdge	   *edge = es_machine_candidates(machine, state, type);

		for (; edge != NULL; edge = edge->next)
			choices = lappend(choices, make_choice(machine, state, type, edge));
	}
	return choices;
}

bool
es_machine_choice_takes(EsMachine *machine, const EsChoice *choice, const text *reason)
{
	return es_machine_takes_reason(machine, choice->edge, reason);
}

bool
es_machine_knows_type(const EsMachine *machine, const text *type)
{
	return es_words_find(&machine->types, type) >= 0;
}

bool
es_machine_knows_state(const EsMachine *machine, const text *state)
{
	return es_words_find(&machine->states, state) >= 0;
}

List *
es_machine_states(const EsMachine *machine)
{
	return list_words(&machine->states);
}

List *
es_machine_types(const EsMachine *machine)
{
	return list_words(&machine->types);
}

static List *
list_words(const EsWordSet *words)
{
	List	   *list = NIL;

	for (int i = 0; i < words->count; i++)
		list = lappend(list, unconstify(text *, words->word[i]));
	return list;
}

static EsChoice *
make_choice(const EsMachine *machine, int state, int type, EsEdge *edge)
{
	EsChoice   *choice = palloc0(sizeof(EsChoice));
	int			code = -1;

	choice->type = machine->types.word[type];
	choice->target = target_of(machine, state, edge);
	choice->reason = reason_rule(edge);
	if (edge->reasons != NULL)
	{
		while ((code = bms_next_member(edge->reasons, code)) >= 0)
			choice->reasons = lappend(choice->reasons, unconstify(text *, machine->reasons.word[code]));
	}
	else if (edge->reason == ES_REASON_RULE_REQUIRED || edge->reason == ES_REASON_RULE_OPTIONAL)
	{
		for (code = 0; code < machine->ndeclared; code++)
			choice->reasons = lappend(choice->reasons, unconstify(text *, machine->reasons.word[code]));
	}
	choice->guard = es_machine_guard_text(edge);
	choice->label = edge->label;
	choice->edge = edge;
	return choice;
}

/* The state after the edge was taken from this one. */
static const text *
target_of(const EsMachine *machine, int state, const EsEdge *edge)
{
	if (edge->target >= 0)
		return machine->states.word[edge->target];
	if (state >= 0)
		return machine->states.word[state];
	return machine->initial >= 0 ? machine->states.word[machine->initial] : NULL;
}

static const char *
reason_rule(const EsEdge *edge)
{
	static const char *const names[] = {
		[ES_REASON_RULE_UNSAID] = "optional",
		[ES_REASON_RULE_OPTIONAL] = "optional",
		[ES_REASON_RULE_REQUIRED] = "required",
		[ES_REASON_RULE_FORBIDDEN] = "forbidden"
	};

	return names[edge->reason];
}

/* The guards as one condition to read, or NULL. */
char *
es_machine_guard_text(const EsEdge *edge)
{
	StringInfoData all;

	if (edge->nguards == 0)
		return NULL;
	if (edge->nguards == 1)
		return edge->guards[0].source;
	initStringInfo(&all);
	for (int i = 0; i < edge->nguards; i++)
		appendStringInfo(&all, "%s(%s)", i > 0 ? " AND " : "", edge->guards[i].source);
	return all.data;
}

/*
 * state_machine_edges(definition): one row for every state (NULL: a stream that
 * has none yet), type and candidate; edges of the root stand in every state that
 * they hold for.
 */
Datum
eventsource_state_machine_edges(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EsMachine  *machine;
	EsEdge	  **root;
	int		   *order;
	int			nstates;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	machine = es_machine_expect(PG_GETARG_JSONB_P(0));
	es_machine_build_table(machine);
	root = es_machine_root_edges(machine);
	order = es_machine_order(machine, &nstates);
	for (int i = -1; i < nstates; i++)
	{
		int			state = i < 0 ? ES_STATE_NONE : order[i];

		CHECK_FOR_INTERRUPTS();
		for (int type = 0; type < machine->types.count; type++)
		{
			EsEdge	   *edge = es_machine_candidates(machine, state, type);
			bool		is_root = edge != NULL && edge == root[type];

			for (; edge != NULL; edge = edge->next)
				emit_edge(rsinfo, machine, state, type, edge, is_root);
		}
	}
	return (Datum) 0;
}

static void
emit_edge(ReturnSetInfo *rsinfo, const EsMachine *machine, int state, int type,
		  const EsEdge *edge, bool is_root)
{
	Datum		values[EDGE_COLUMNS];
	bool		nulls[EDGE_COLUMNS] = {0};
	const text *target = target_of(machine, state, edge);

	nulls[0] = state < 0;
	if (state >= 0)
		values[0] = PointerGetDatum(machine->states.word[state]);
	values[1] = PointerGetDatum(machine->types.word[type]);
	values[2] = Int32GetDatum(edge->number);
	nulls[3] = target == NULL;
	values[3] = PointerGetDatum(target);
	values[4] = BoolGetDatum(is_root);
	put_text(&values[5], &nulls[5], reason_rule(edge));
	nulls[6] = edge->reasons == NULL;
	if (edge->reasons != NULL)
		values[6] = reasons_array(machine, edge);
	put_text(&values[7], &nulls[7], es_machine_guard_text(edge));
	nulls[8] = edge->nfills == 0;
	if (edge->nfills > 0)
		values[8] = JsonbPGetDatum(fill_object(edge));
	put_text(&values[9], &nulls[9], edge->kind);
	put_text(&values[10], &nulls[10], edge->label);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
reasons_array(const EsMachine *machine, const EsEdge *edge)
{
	Datum	   *codes = palloc(sizeof(Datum) * bms_num_members(edge->reasons));
	int			n = 0;
	int			code = -1;

	while ((code = bms_next_member(edge->reasons, code)) >= 0)
		codes[n++] = PointerGetDatum(machine->reasons.word[code]);
	return PointerGetDatum(construct_array(codes, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The fill expressions by field. */
static Jsonb *
fill_object(const EsEdge *edge)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < edge->nfills; i++)
		es_json_push_string(&state, edge->fills[i].field, edge->fills[i].source);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
put_text(Datum *value, bool *isnull, const char *string)
{
	*isnull = string == NULL;
	*value = string == NULL ? (Datum) 0 : CStringGetTextDatum(string);
}
