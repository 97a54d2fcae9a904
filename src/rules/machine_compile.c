/*
 * machine_compile.c
 *		Makes what was read from a definition fit for stepping: the table of
 *		states and types, and the compiled expressions of guards and fill.
 *
 * Everything is allocated in the current memory context, which must last as
 * long as the machine.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* One expression to be compiled. */
typedef struct Task
{
	const char *machine;
	const EsExprScope *scope;
	const char *source;
	bool		is_guard;
	EsExpr	  **result;
	MemoryContext context;
} Task;

static void enter(EsMachine *machine, int row, const EsEntry *entry);
static bool has_target(const EsEntry *entry);
static void compile_edges(Task *task, EsEdge *first, int flags, EsProblems *problems);
static void compile(Task *task, const char *path, int flags, EsProblems *problems);
static void compile_task(void *arg);
static EsExpr *compile_fill(const EsExprScope *scope, const char *source);
static const char *skip_literal(const char *p);

/*
 * Fills machine->table: a state's own edges win over those of the root, and no
 * root edge with a target holds in a final state.
 */
void
es_machine_build_table(EsMachine *machine)
{
	int			nstates = machine->states.count;
	int			ntypes = machine->types.count;
	Size		row_size = sizeof(EsEdge *) * ntypes;
	ListCell   *lc;

	machine->table = palloc0(row_size * (nstates + 1) + 1);
	machine->fills = palloc0(ntypes + 1);
	foreach(lc, machine->entries)
	{
		EsEntry    *entry = lfirst(lc);

		for (EsEdge *edge = entry->first; edge != NULL; edge = edge->next)
			machine->fills[entry->type] |= edge->nfills > 0;
		if (entry->state == ES_STATE_ANY)
		{
			for (int state = 0; state < nstates; state++)
			{
				if (!machine->state[state].is_final || !has_target(entry))
					enter(machine, state, entry);
			}
		}
	}
	foreach(lc, machine->entries)
	{
		EsEntry    *entry = lfirst(lc);

		if (entry->state >= 0)
			enter(machine, entry->state, entry);
		else if (entry->state == ES_STATE_NONE)
			enter(machine, nstates, entry);
	}

	/* Without "create", the first event steps from the initial state. */
	if (!machine->has_create && machine->initial >= 0 && ntypes > 0)
		memcpy(&machine->table[nstates * ntypes],
			   &machine->table[machine->initial * ntypes], row_size);
}

/* The root's candidates by type, NULL where it has none. */
EsEdge	  **
es_machine_root_edges(const EsMachine *machine)
{
	EsEdge	  **root = palloc0(sizeof(EsEdge *) * (machine->types.count + 1));
	ListCell   *lc;

	foreach(lc, machine->entries)
	{
		EsEntry    *entry = lfirst(lc);

		if (entry->state == ES_STATE_ANY)
			root[entry->type] = entry->first;
	}
	return root;
}

/*
 * Compiles all guards and fill values.  Without a row type, a machine can still
 * be compiled but for the expressions that name "row" (ES_COMPILE_SKIP_ROW):
 * those stay NULL.
 */
void
es_machine_compile(EsMachine *machine, const EsExprScope *scope,
				   int flags, EsProblems *problems)
{
	Task		task = {.machine = machine->name,.scope = scope,.context = CurrentMemoryContext};
	ListCell   *lc;

	foreach(lc, machine->entries)
		compile_edges(&task, ((EsEntry *) lfirst(lc))->first, flags, problems);
	for (int state = 0; machine->has_timeouts && state < machine->states.count; state++)
	{
		for (EsTimeout *timeout = machine->state[state].timeouts; timeout != NULL; timeout = timeout->next)
			compile_edges(&task, timeout->first, flags, problems);
	}
}

static void
compile_edges(Task *task, EsEdge *first, int flags, EsProblems *problems)
{
	for (EsEdge *edge = first; edge != NULL; edge = edge->next)
	{
		CHECK_FOR_INTERRUPTS();
		task->is_guard = true;
		for (int i = 0; i < edge->nguards; i++)
		{
			task->source = edge->guards[i].source;
			task->result = &edge->guards[i].expr;
			compile(task, psprintf("%s.guard, \"%s\"", edge->path, edge->guards[i].name),
					flags, problems);
		}
		task->is_guard = false;
		for (int i = 0; i < edge->nfills; i++)
		{
			task->source = edge->fills[i].source;
			task->result = &edge->fills[i].expr;
			compile(task, psprintf("%s.fill, \"%s\"", edge->path, edge->fills[i].field),
					flags, problems);
		}
	}
}

/*
 * Does the text of an expression have this word outside of string literals?
 * Good enough to tell what may depend on it; a false alarm only costs a check.
 */
bool
es_machine_source_names(const char *source, const char *word)
{
	size_t		length = strlen(word);
	const char *p = source;

	while (*p != '\0')
	{
		const char *start = p;

		if (*p == '\'')
		{
			p = skip_literal(p);
			continue;
		}
		while (isalnum((unsigned char) *p) || *p == '_' || *p == '$' || IS_HIGHBIT_SET(*p))
			p++;
		if (p == start)
			p++;
		else if ((size_t) (p - start) == length && pg_strncasecmp(start, word, length) == 0)
			return true;
	}
	return false;
}

static const char *
skip_literal(const char *p)
{
	p++;
	while (*p != '\0' && *p != '\'')
		p++;
	return *p == '\0' ? p : p + 1;
}

static void
enter(EsMachine *machine, int row, const EsEntry *entry)
{
	machine->table[row * machine->types.count + entry->type] = entry->first;
}

/* Does a candidate have a target, be it the state itself? */
static bool
has_target(const EsEntry *entry)
{
	for (const EsEdge *edge = entry->first; edge != NULL; edge = edge->next)
	{
		if (edge->target != ES_STATE_NONE)
			return true;
	}
	return false;
}

static void
compile(Task *task, const char *path, int flags, EsProblems *problems)
{
	char	   *problem;

	/*
	 * Nobody's rights are left to evaluate with, and the caller's will not
	 * do.
	 */
	if (!OidIsValid(task->scope->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("owner of state machine \"%s\" does not exist any more", task->machine),
				 errdetail("Its guards and fill values had the rights of that role."),
				 errhint("Define the machine again with eventsource.create_state_machine().")));
	if ((flags & ES_COMPILE_SKIP_ROW) && es_machine_source_names(task->source, "row"))
		return;
	if (!(flags & ES_COMPILE_CHECK))
	{
		compile_task(task);
		return;
	}
	problem = es_expr_problem(compile_task, task);
	if (problem != NULL)
		es_machine_problem(problems, "%s: %s", path, problem);
}

static void
compile_task(void *arg)
{
	Task	   *task = arg;
	MemoryContext caller = MemoryContextSwitchTo(task->context);

	*task->result = task->is_guard ? es_expr_compile(task->scope, task->source, BOOLOID, -1)
		: compile_fill(task->scope, task->source);
	MemoryContextSwitchTo(caller);
}

/* Any type will do; it becomes jsonb as to_jsonb() makes it. */
static EsExpr *
compile_fill(const EsExprScope *scope, const char *source)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource fill type",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	Oid			type = es_expr_type(es_expr_compile(scope, source, InvalidOid, -1));
	char	   *converted;
	EsExpr	   *expr;

	if (type == UNKNOWNOID)
		type = TEXTOID;
	MemoryContextSwitchTo(caller);
	if (type == JSONBOID)
		expr = es_expr_compile(scope, source, JSONBOID, -1);
	else
	{
		/* A comment at the end of the source must not swallow the bracket. */
		converted = psprintf("pg_catalog.to_jsonb(CAST((%s\n) AS %s))", source,
							 format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY));
		expr = es_expr_compile(scope, converted, JSONBOID, -1);
	}
	MemoryContextDelete(scratch);
	return expr;
}
