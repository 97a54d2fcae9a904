/*
 * machine_run.c
 *		The aggregate eventsource.run_machine(machine, type ORDER BY ...): runs a
 *		state machine over the event types of any table.
 *
 * There are no payloads, reasons or context rows, so guards and reasons are not
 * judged: a step is legal if some candidate leads on, and where candidates lead
 * to several states, all of them are followed.  The machine is the latest at the
 * first row; the run lives in the aggregate's memory context.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"

/* Columns of type eventsource.machine_run */
#define RUN_COLUMNS		5

typedef struct Run
{
	MemoryContext context;
	const EsMachine *machine;
	Bitmapset  *states;			/* where it may stand; the number of states
								 * stands for "no state yet" */
	int64		steps;			/* legal ones */
	bool		failed;			/* at step steps + 1 */
	text	   *illegal_type;	/* NULL if it was NULL */
	char	   *message;
} Run;

PG_FUNCTION_INFO_V1(eventsource_run_machine_step);
PG_FUNCTION_INFO_V1(eventsource_run_machine_result);

static Run *start_run(MemoryContext context, const text *name);
static const EsMachine *find_machine(const text *name);
static void take_step(Run *run, const text *type);
static Bitmapset *follow(const EsMachine *machine, const Bitmapset *states, int type);
static void fail(Run *run, const text *type, const char *message);
static char *list_states(const Run *run);

/* run_machine_step(run internal, machine text, event_type text) */
Datum
eventsource_run_machine_step(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext caller;
	Run		   *run;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "run_machine_step called outside of an aggregate");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of the state machine must not be null"),
				 errdetail("run_machine() needs a machine to run."),
				 errhint("The view eventsource.state_machines lists what is defined.")));
	if (PG_ARGISNULL(0))
		run = start_run(context, PG_GETARG_TEXT_PP(1));
	else
	{
		const text *name = PG_GETARG_TEXT_PP(1);

		run = (Run *) PG_GETARG_POINTER(0);
		if (strlen(run->machine->name) != VARSIZE_ANY_EXHDR(name) ||
			memcmp(run->machine->name, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("one run cannot follow several state machines"),
					 errdetail("It began with \"%s\" and goes on with \"%s\".",
							   run->machine->name, text_to_cstring(name)),
					 errhint("Group by the machine's name.")));
	}
	caller = MemoryContextSwitchTo(context);
	if (!run->failed)
		take_step(run, PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	MemoryContextSwitchTo(caller);
	PG_RETURN_POINTER(run);
}

/* run_machine_result(run internal): NULL if there were no rows. */
Datum
eventsource_run_machine_result(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[RUN_COLUMNS] = {0};
	bool		nulls[RUN_COLUMNS] = {0};
	Run		   *run;
	int			state;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run = (Run *) PG_GETARG_POINTER(0);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = !bms_get_singleton_member(run->states, &state) || state == run->machine->states.count;
	if (!nulls[0])
		values[0] = PointerGetDatum(run->machine->states.word[state]);
	values[1] = Int64GetDatum(run->steps);
	nulls[2] = !run->failed;
	values[2] = Int64GetDatum(run->steps + 1);
	nulls[3] = run->illegal_type == NULL;
	values[3] = PointerGetDatum(run->illegal_type);
	nulls[4] = !run->failed && bms_num_members(run->states) <= 1;
	if (run->failed)
		values[4] = CStringGetTextDatum(run->message);
	else if (!nulls[4])
		values[4] = CStringGetTextDatum(psprintf("guards decide which state it is: %s", list_states(run)));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static Run *
start_run(MemoryContext context, const text *name)
{
	const EsMachine *machine = find_machine(name);
	int			start = es_machine_start(machine);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Run		   *run = palloc0(sizeof(Run));

	run->context = context;
	run->machine = machine;
	run->states = bms_make_singleton(start >= 0 ? start : machine->states.count);
	MemoryContextSwitchTo(caller);
	return run;
}

static const EsMachine *
find_machine(const text *name)
{
	const EsMachine *machine = es_machine_inspect(text_to_cstring(name), 0);

	if (machine == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("state machine \"%s\" does not exist", text_to_cstring(name)),
				 errdetail("Nothing of this name was defined in this database."),
				 errhint("The view eventsource.state_machines lists what is defined.")));
	return machine;
}

static void
take_step(Run *run, const text *type)
{
	const EsMachine *machine = run->machine;
	int			number = type == NULL ? -1 : es_words_find(&machine->types, type);
	Bitmapset  *next;

	if (type == NULL)
		fail(run, NULL, "the event type is null");
	else if (number < 0)
		fail(run, type, psprintf("event type \"%s\" is unknown to state machine \"%s\"",
								 text_to_cstring(type), text_to_cstring(machine->label)));
	else if ((next = follow(machine, run->states, number)) == NULL)
		fail(run, type, psprintf("event type \"%s\" is not allowed in state %s",
								 text_to_cstring(type), list_states(run)));
	else
	{
		bms_free(run->states);
		run->states = next;
		run->steps++;
	}
}

/* Where an event can lead from any of the states. */
static Bitmapset *
follow(const EsMachine *machine, const Bitmapset *states, int type)
{
	Bitmapset  *next = NULL;
	int			state = -1;

	while ((state = bms_next_member(states, state)) >= 0)
	{
		bool		is_start = state == machine->states.count;
		EsEdge	   *edge = es_machine_candidates(machine, is_start ? ES_STATE_NONE : state, type);

		for (; edge != NULL; edge = edge->next)
			next = bms_add_member(next, edge->target >= 0 ? edge->target
								  : is_start ? machine->initial : state);
	}
	return next;
}

static void
fail(Run *run, const text *type, const char *message)
{
	run->failed = true;
	run->message = pstrdup(message);
	if (type != NULL)
		run->illegal_type = cstring_to_text(text_to_cstring(type));
}

/* The states in which the run may stand, quoted. */
static char *
list_states(const Run *run)
{
	const EsMachine *machine = run->machine;

	if (bms_is_member(machine->states.count, run->states))
		return "(none yet)";
	return psprintf("\"%s\"", es_words_list(&machine->states, run->states));
}
