/*
 * machine_check.c
 *		Is the definition of a state machine good?  Finds all that is wrong at
 *		once: its shape (machine_parse.c), states that cannot be reached or
 *		left, candidates that are never tried, expressions that do not compile.
 *
 * Runs when something is defined; nothing here outlives the caller's memory
 * context.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rules/machine_table.h"
#include "rules/pii_use.h"
#include "utils/builtins.h"

static void check_start(const EsMachine *machine, EsProblems *problems);
static void check_states(const EsMachine *machine, EsProblems *problems);
static void check_candidates(const EsMachine *machine, EsProblems *problems);
static void check_personal(const EsMachine *machine, EsProblems *problems);
static void check_edge_personal(const EsEdge *edge, List *declared, EsProblems *problems);
static bool reads_any(const EsExpr *expr, const Bitmapset *columns);
static void check_guard_names(const EsEdge *edge, EsProblems *problems);
static void check_edges(const EsEdge *first, EsProblems *problems);
static void check_row_personal(const EsEdge *first, const Bitmapset *personal, EsProblems *problems);
static bool leads_out(const EsMachine *machine, int state);
static void visit_row(const EsMachine *machine, int state, bool *seen, int *order, int *count);
static void visit(int state, bool *seen, int *order, int *count);

List *
es_machine_check(const char *name, Jsonb *definition, bool is_bound, TupleDesc context_row)
{
	EsProblems	problems = {NIL, 0};
	EsMachine  *machine = es_machine_parse(name, definition, &problems);
	EsExprScope scope = {.row = context_row,.has_state = true,.owner = GetUserId()};

	es_machine_build_table(machine);
	if (machine->states.count > 0)
		check_start(machine, &problems);
	check_states(machine, &problems);
	check_candidates(machine, &problems);
	es_machine_check_timeouts(machine, &problems);
	es_machine_compile(machine, &scope, ES_COMPILE_CHECK | (is_bound ? 0 : ES_COMPILE_SKIP_ROW),
					   &problems);
	check_personal(machine, &problems);

	if (problems.count > ES_PROBLEMS_LISTED)
		problems.lines = lappend(problems.lines,
								 psprintf("and %d more", problems.count - ES_PROBLEMS_LISTED));
	return problems.lines;
}

List *
es_machine_check_personal(const char *name, Jsonb *definition)
{
	EsProblems	others = {NIL, 0};
	EsProblems	problems = {NIL, 0};
	EsMachine  *machine = es_machine_parse(name, definition, &others);
	EsExprScope scope = {.has_state = true,.owner = GetUserId()};

	es_machine_compile(machine, &scope, ES_COMPILE_CHECK | ES_COMPILE_SKIP_ROW, &others);
	check_personal(machine, &problems);
	return problems.lines;
}

List *
es_machine_check_personal_row(const char *name, Jsonb *definition, TupleDesc context_row,
							  const Bitmapset *personal)
{
	EsProblems	others = {NIL, 0};
	EsProblems	problems = {NIL, 0};
	EsMachine  *machine = es_machine_parse(name, definition, &others);
	EsExprScope scope = {.row = context_row,.has_state = true,.owner = GetUserId()};
	ListCell   *lc;

	es_machine_compile(machine, &scope, ES_COMPILE_CHECK, &others);
	foreach(lc, machine->entries)
		check_row_personal(((const EsEntry *) lfirst(lc))->first, personal, &problems);
	for (int state = 0; state < machine->states.count; state++)
	{
		const EsTimeout *timeout = machine->state[state].timeouts;

		for (; timeout != NULL; timeout = timeout->next)
			check_row_personal(timeout->first, personal, &problems);
	}
	return problems.lines;
}

static void
check_row_personal(const EsEdge *first, const Bitmapset *personal, EsProblems *problems)
{
	for (const EsEdge *edge = first; edge != NULL; edge = edge->next)
	{
		for (int i = 0; i < edge->nguards; i++)
			if (reads_any(edge->guards[i].expr, personal))
				es_machine_problem(problems, "%s.guard, \"%s\": reads a column of row that is made of personal fields",
								   edge->path, edge->guards[i].name);
		for (int i = 0; i < edge->nfills; i++)
			if (reads_any(edge->fills[i].expr, personal))
				es_machine_problem(problems, "%s.fill, \"%s\": reads a column of row that is made of personal fields",
								   edge->path, edge->fills[i].field);
	}
}

static bool
reads_any(const EsExpr *expr, const Bitmapset *columns)
{
	bool		uses_item;

	return expr != NULL && bms_overlap(es_pii_row_columns(expr, &uses_item), columns);
}

/* States that a definition had and its next version has not, for a message; NULL: none. */
char *
es_machine_lost_states(Jsonb *before, Jsonb *after)
{
	EsProblems	problems = {NIL, 0};
	EsMachine  *old = es_machine_parse("", before, &problems);
	EsMachine  *new = es_machine_parse("", after, &problems);
	Bitmapset  *lost = NULL;

	for (int state = 0; state < old->states.count; state++)
	{
		if (es_words_find(&new->states, old->states.word[state]) < 0)
			lost = bms_add_member(lost, state);
	}
	return lost == NULL ? NULL : es_words_list(&old->states, lost);
}

/*
 * States in the order in which one meets them, starting from the beginning:
 * for diagrams, and to see which are never met.
 */
int *
es_machine_order(const EsMachine *machine, int *count)
{
	int			nstates = machine->states.count;
	int		   *order = palloc(sizeof(int) * (nstates + 1));
	bool	   *seen = palloc0(sizeof(bool) * (nstates + 1));

	*count = 0;
	if (!machine->has_create)
		visit(machine->initial, seen, order, count);
	visit_row(machine, nstates, seen, order, count);
	for (int i = 0; i < *count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		visit_row(machine, order[i], seen, order, count);
	}
	return order;
}

static void
visit_row(const EsMachine *machine, int state, bool *seen, int *order, int *count)
{
	for (int type = 0; type < machine->types.count; type++)
	{
		EsEdge	   *edge = machine->table[state * machine->types.count + type];

		for (; edge != NULL; edge = edge->next)
		{
			if (edge->target == ES_STATE_NONE && state == machine->states.count)
				visit(machine->initial, seen, order, count);
			else
				visit(edge->target, seen, order, count);
		}
	}
}

static void
visit(int state, bool *seen, int *order, int *count)
{
	if (state < 0 || seen[state])
		return;
	seen[state] = true;
	order[(*count)++] = state;
}

/* Where streams begin. */
static void
check_start(const EsMachine *machine, EsProblems *problems)
{
	ListCell   *lc;

	if (machine->initial != ES_STATE_NONE)
		return;
	if (!machine->has_create)
	{
		es_machine_problem(problems,
						   "initial: say in which state a stream starts, or which events create one");
		return;
	}
	foreach(lc, machine->entries)
	{
		EsEntry    *entry = lfirst(lc);

		for (EsEdge *edge = entry->first; edge != NULL && entry->state == ES_STATE_NONE; edge = edge->next)
		{
			if (edge->target == ES_STATE_NONE)
				es_machine_problem(problems, "%s: has no target, and the machine has no initial state",
								   edge->path);
		}
	}
}

/* Every state can be reached, and left unless it is final. */
static void
check_states(const EsMachine *machine, EsProblems *problems)
{
	int			nstates = machine->states.count;
	bool	   *reached = palloc0(sizeof(bool) * (nstates + 1));
	int			count;
	int		   *order = es_machine_order(machine, &count);

	for (int i = 0; i < count; i++)
		reached[order[i]] = true;
	for (int state = 0; state < nstates; state++)
	{
		const char *name = text_to_cstring(machine->states.word[state]);
		bool		out = leads_out(machine, state);

		CHECK_FOR_INTERRUPTS();
		if (!reached[state])
			es_machine_problem(problems, "states.%s: no event leads to this state", name);
		if (!out && !machine->state[state].is_final)
			es_machine_problem(problems,
							   "states.%s: no event leads out of this state, and it is not final", name);
		if (out && machine->state[state].is_final)
			es_machine_problem(problems, "states.%s: the state is final, but events lead out of it", name);
	}
}

static bool
leads_out(const EsMachine *machine, int state)
{
	for (int type = 0; type < machine->types.count; type++)
	{
		EsEdge	   *edge = machine->table[state * machine->types.count + type];

		for (; edge != NULL; edge = edge->next)
		{
			if (edge->target != ES_STATE_NONE && edge->target != state)
				return true;
		}
	}
	return false;
}

/* Each candidate can be tried: those before it have guards. */
static void
check_candidates(const EsMachine *machine, EsProblems *problems)
{
	ListCell   *lc;

	foreach(lc, machine->entries)
		check_edges(((EsEntry *) lfirst(lc))->first, problems);
	for (int state = 0; state < machine->states.count; state++)
	{
		for (EsTimeout *timeout = machine->state[state].timeouts; timeout != NULL; timeout = timeout->next)
			check_edges(timeout->first, problems);
	}
}

static void
check_edges(const EsEdge *first, EsProblems *problems)
{
	for (const EsEdge *edge = first; edge != NULL; edge = edge->next)
	{
		CHECK_FOR_INTERRUPTS();
		check_guard_names(edge, problems);
		if (edge->nguards == 0 && edge->next != NULL)
			es_machine_problem(problems, "%s: is never tried, because %s has no guard",
							   edge->next->path, edge->path);
	}
}

static void
check_guard_names(const EsEdge *edge, EsProblems *problems)
{
	for (int i = 1; i < edge->nguards; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (strcmp(edge->guards[i].name, edge->guards[j].name) == 0)
				es_machine_problem(problems, "%s.guard: two guards are named \"%s\"",
								   edge->path, edge->guards[i].name);
		}
	}
}

/*
 * What decides must decide the same once personal fields are erased: guards and fill
 * values do not see them, and none may be filled in.
 */
static void
check_personal(const EsMachine *machine, EsProblems *problems)
{
	ListCell   *lc;

	foreach(lc, machine->entries)
	{
		const EsEntry *entry = lfirst(lc);
		List	   *declared = es_pii_declared(NIL, text_to_cstring(machine->types.word[entry->type]));

		for (const EsEdge *edge = entry->first; declared != NIL && edge != NULL; edge = edge->next)
			check_edge_personal(edge, declared, problems);
	}
}

static void
check_edge_personal(const EsEdge *edge, List *declared, EsProblems *problems)
{
	ListCell   *lc;

	foreach(lc, declared)
	{
		const EsPii *pii = lfirst(lc);

		for (int i = 0; i < edge->nguards; i++)
		{
			EsPiiUse	use = {0};

			if (edge->guards[i].expr != NULL)
				es_pii_find_use(edge->guards[i].expr, pii, &use);
			if (use.names != NULL)
				es_machine_problem(problems, "%s.guard, \"%s\": personal field \"%s\" is not seen by guards",
								   edge->path, edge->guards[i].name, use.names);
		}
		for (int i = 0; i < edge->nfills; i++)
		{
			EsPiiUse	use = {0};

			if (edge->fills[i].expr != NULL)
				es_pii_find_use(edge->fills[i].expr, pii, &use);
			if (use.names != NULL)
				es_machine_problem(problems, "%s.fill, \"%s\": personal field \"%s\" is not seen here",
								   edge->path, edge->fills[i].field, use.names);
			for (int k = 0; k < pii->n; k++)
				if (pii->path[k].part[0].length == (int) strlen(edge->fills[i].field) &&
					memcmp(pii->path[k].part[0].name, edge->fills[i].field, pii->path[k].part[0].length) == 0)
					es_machine_problem(problems, "%s.fill: \"%s\" is, or has in it, a personal field",
									   edge->path, edge->fills[i].field);
		}
	}
}
