/*
 * machine_after.c
 *		Timeouts of states: "after" in the definition of a state machine, read,
 *		checked, shown as a view, and asked when what is due and what ends it.
 *
 * What is read is palloc'd in the current memory context, like the rest of the
 * machine.  Intervals are read without PostgreSQL's setting IntervalStyle (no minus
 * sign is taken) and added in UTC, so that no setting decides when something is due.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "rules/machine_json.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

/* Columns of eventsource.state_machine_after() */
#define AFTER_COLUMNS	7

#define MAX_YEARS		1000

PG_FUNCTION_INFO_V1(eventsource_state_machine_after);

static void read_lengths(EsReader *reader, const char *path, JsonbValue *value, int state);
static const char *length_problem(const char *source, Interval *length);
static bool parse_interval(const char *source, Interval *length);
static EsEdge *read_choices(EsReader *reader, const char *path, JsonbValue *value);
static EsEdge *read_choice(EsReader *reader, const char *path, JsonbValue *value);
static void read_type(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_reason(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_guard(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_label(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void check_length(const EsTimeout *first, const EsTimeout *timeout, EsProblems *problems);
static void check_choice(const EsMachine *machine, int state, const EsTimeoutChoice *choice,
						 EsProblems *problems);
static const EsTimeout *find_timeout(const EsMachine *machine, const text *state, const char *after);
static bool takes_reason(const EsMachine *machine, EsEdge *edge, const text *reason);
static void emit_choice(ReturnSetInfo *rsinfo, const EsMachine *machine, int state,
						const EsTimeout *timeout, const EsTimeoutChoice *choice);

/* target: the EsTimeoutChoice.  The type comes first: guards are named after it. */
static const EsKeyRule choice_rules[] = {
	{"label", read_label},
	{"description", es_machine_check_string},
	{"type", read_type},
	{"reason", read_reason},
	{"guard", read_guard},
	{NULL, NULL}
};

/* ---- reading ---- */

void
es_machine_read_after(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	if (es_machine_expect_object(reader, path, value))
		read_lengths(reader, path, value, *(int *) target);
}

static void
read_lengths(EsReader *reader, const char *path, JsonbValue *value, int state)
{
	EsTimeout **next = &reader->machine->state[state].timeouts;
	EsJsonPair *pairs;
	int			npairs = es_json_pairs(value, &pairs);

	if (npairs > ES_MACHINE_MAX_TIMEOUTS)
	{
		es_machine_problem(reader->problems, "%s: more than %d timeouts", path, ES_MACHINE_MAX_TIMEOUTS);
		npairs = ES_MACHINE_MAX_TIMEOUTS;
	}
	for (int i = 0; i < npairs; i++)
	{
		EsTimeout  *timeout = palloc0(sizeof(EsTimeout));
		const char *problem;

		timeout->source = es_json_string(&pairs[i].key);
		timeout->path = psprintf("%s.%s", path, timeout->source);
		problem = length_problem(timeout->source, &timeout->length);
		if (problem != NULL)
			es_machine_problem(reader->problems, "%s: %s %s", path, es_json_quote(&pairs[i].key), problem);
		timeout->first = read_choices(reader, timeout->path, &pairs[i].value);
		if (problem != NULL)
			continue;
		*next = timeout;
		next = &timeout->next;
		reader->machine->has_timeouts = true;
	}
}

/* What is wrong with a length; NULL: nothing. */
static const char *
length_problem(const char *source, Interval *length)
{
	if (strlen(source) > ES_MAX_WORD)
		return psprintf("is longer than %d bytes", ES_MAX_WORD);
	if (strspn(source, "0123456789. ") == strlen(source))
		return "is not an interval with a unit, like \"21 days\"";
	if (strchr(source, '-') != NULL)
		return "is not an interval that a state can last: it has a minus sign";
	if (!parse_interval(source, length))
		return "is not an interval, like \"21 days\" or \"PT1H30M\"";
	if (length->month < 0 || length->day < 0 || length->time < 0 ||
		(length->month == 0 && length->day == 0 && length->time == 0))
		return "is not an interval that a state can last: it must be positive";
	if (length->month > MAX_YEARS * MONTHS_PER_YEAR || length->day > MAX_YEARS * 366 ||
		length->time > MAX_YEARS * 366 * USECS_PER_DAY)
		return psprintf("is longer than %d years", MAX_YEARS);
	return NULL;
}

/* As interval_in() does, without its errors: PostgreSQL 15 cannot be asked for none. */
static bool
parse_interval(const char *source, Interval *length)
{
	struct pg_itm_in itm = {0};
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	char		workbuf[ES_MAX_WORD + MAXDATELEN];
	int			nfields;
	int			dtype = DTK_DELTA;

	if (ParseDateTime(source, workbuf, sizeof(workbuf), field, ftype, MAXDATEFIELDS, &nfields) != 0)
		return false;
	if (DecodeInterval(field, ftype, nfields, INTERVAL_FULL_RANGE, &dtype, &itm) != 0)
	{
		memset(&itm, 0, sizeof(itm));
		if (DecodeISO8601Interval(unconstify(char *, source), &dtype, &itm) != 0)
			return false;
	}
	return dtype == DTK_DELTA && itmin2interval(&itm, length) == 0;
}

/* One candidate, or a list of them. */
static EsEdge *
read_choices(EsReader *reader, const char *path, JsonbValue *value)
{
	JsonbValue *elements;
	int			nelements;
	EsEdge	   *first = NULL;
	EsEdge	  **next = &first;

	if (!es_json_is_array(value))
		return read_choice(reader, path, value);
	nelements = es_json_elements(value, &elements);
	if (nelements == 0)
		es_machine_problem(reader->problems, "%s: the list of candidates is empty", path);
	for (int i = 0; i < nelements; i++)
	{
		EsEdge	   *edge = read_choice(reader, psprintf("%s[%d]", path, i + 1), &elements[i]);

		CHECK_FOR_INTERRUPTS();
		if (edge == NULL)
			continue;
		edge->number = i + 1;
		*next = edge;
		next = &edge->next;
	}
	return first;
}

static EsEdge *
read_choice(EsReader *reader, const char *path, JsonbValue *value)
{
	EsTimeoutChoice *choice = palloc0(sizeof(EsTimeoutChoice));

	choice->edge.path = pstrdup(path);
	choice->edge.number = 1;
	choice->edge.target = ES_STATE_NONE;
	if (value->type == jbvString)
		read_type(reader, path, value, choice);
	else if (es_json_is_object(value))
	{
		es_machine_read_object(reader, path, value, choice_rules, choice);
		if (choice->type == NULL)
			es_machine_problem(reader->problems, "%s.type: say which event is appended then", path);
	}
	else
	{
		es_machine_problem(reader->problems,
						   "%s: must be an event type, an object, or a list of these, not %s",
						   path, es_json_kind(value));
		return NULL;
	}
	if (choice->type != NULL)
		es_machine_name_guards(&choice->edge, text_to_cstring(choice->type));
	return &choice->edge;
}

/* Whether there is such a type is known when all of the machine is read. */
static void
read_type(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsTimeoutChoice *choice = target;

	if (es_machine_expect_name(reader, path, value))
		choice->type = cstring_to_text_with_len(value->val.string.val, value->val.string.len);
	else
		choice->type = cstring_to_text(""); /* a problem is noted */
}

static void
read_reason(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsTimeoutChoice *choice = target;

	if (es_machine_expect_name(reader, path, value))
		choice->reason = cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

static void
read_guard(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	es_machine_read_guard(reader, path, value, &((EsTimeoutChoice *) target)->edge);
}

static void
read_label(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	es_machine_keep_string(reader, path, value, &((EsTimeoutChoice *) target)->edge.label);
}

/* ---- checking ---- */

/* After es_machine_build_table(): may what ends a timeout happen in its state? */
void
es_machine_check_timeouts(const EsMachine *machine, EsProblems *problems)
{
	for (int state = 0; machine->has_timeouts && state < machine->states.count; state++)
	{
		const EsTimeout *first = machine->state[state].timeouts;

		for (const EsTimeout *timeout = first; timeout != NULL; timeout = timeout->next)
		{
			CHECK_FOR_INTERRUPTS();
			check_length(first, timeout, problems);
			for (const EsEdge *edge = timeout->first; edge != NULL; edge = edge->next)
				check_choice(machine, state, (const EsTimeoutChoice *) edge, problems);
		}
	}
}

/* Two of one length would run in no order; in UTC, all days are of one length. */
static void
check_length(const EsTimeout *first, const EsTimeout *timeout, EsProblems *problems)
{
	for (const EsTimeout *other = first; other != timeout; other = other->next)
	{
		if (other->length.month == timeout->length.month &&
			other->length.day * USECS_PER_DAY + other->length.time ==
			timeout->length.day * USECS_PER_DAY + timeout->length.time)
			es_machine_problem(problems, "%s: is as long as %s; list what happens then under one of them",
							   timeout->path, other->path);
	}
}

static void
check_choice(const EsMachine *machine, int state, const EsTimeoutChoice *choice, EsProblems *problems)
{
	const char *path = choice->edge.path;
	char	   *type = choice->type == NULL ? "" : text_to_cstring(choice->type);
	int			number;
	EsEdge	   *edge;

	if (type[0] == '\0')
		return;					/* which was said */
	number = es_words_find(&machine->types, choice->type);
	edge = number < 0 ? NULL : es_machine_candidates(machine, state, number);
	if (number < 0)
		es_machine_problem(problems, "%s: the machine has no event type \"%s\"", path, type);
	else if (edge == NULL)
		es_machine_problem(problems, "%s: event type \"%s\" is not allowed in this state", path, type);
	else if (!takes_reason(machine, edge, choice->reason))
		es_machine_problem(problems, choice->reason == NULL ?
						   "%s: event type \"%s\" requires a reason here: say it as \"reason\"" :
						   "%s: event type \"%s\" does not take this reason here", path, type);
}

static bool
takes_reason(const EsMachine *machine, EsEdge *edge, const text *reason)
{
	for (; edge != NULL; edge = edge->next)
	{
		if (es_machine_judge_reason(machine, edge, reason) == ES_LEGAL)
			return true;
	}
	return false;
}

bool
es_machine_stored_had_timeouts(Jsonb *stored)
{
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(&stored->root, "had_timeouts", &buffer);

	return value != NULL && value->type == jbvBool && value->val.boolean;
}

bool
es_machine_stored_timeouts(Jsonb *stored)
{
	EsProblems	problems = {NIL, 0};

	return es_machine_stored_had_timeouts(stored) ||
		es_machine_parse("", es_machine_definition("", stored), &problems)->has_timeouts;
}

/* ---- asking ---- */

bool
es_machine_has_timeouts(const EsMachine *machine)
{
	return machine->has_timeouts;
}

bool
es_machine_had_timeouts(const EsMachine *machine)
{
	return machine->had_timeouts;
}

bool
es_machine_state_times(const EsMachine *machine, const text *state)
{
	int			number = machine->has_timeouts ? es_words_find(&machine->states, state) : -1;

	return number >= 0 && machine->state[number].timeouts != NULL;
}

bool
es_machine_has_timeout(const EsMachine *machine, const text *state, const char *after)
{
	return find_timeout(machine, state, after) != NULL;
}

static const EsTimeout *
find_timeout(const EsMachine *machine, const text *state, const char *after)
{
	int			number = machine->has_timeouts ? es_words_find(&machine->states, state) : -1;
	const EsTimeout *timeout = number < 0 ? NULL : machine->state[number].timeouts;

	while (timeout != NULL && strcmp(timeout->source, after) != 0)
		timeout = timeout->next;
	return timeout;
}

List *
es_machine_due(const EsMachine *machine, const text *state, TimestampTz entered)
{
	int			number = machine->has_timeouts ? es_words_find(&machine->states, state) : -1;
	List	   *list = NIL;

	/*
	 * No interval is longer than three of these: months, days and time of the
	 * longest.
	 */
	if (number < 0 || entered > END_TIMESTAMP - INT64CONST(3) * MAX_YEARS * 366 * USECS_PER_DAY)
		return NIL;
	for (EsTimeout *timeout = machine->state[number].timeouts; timeout != NULL; timeout = timeout->next)
	{
		EsDue	   *due = palloc(sizeof(EsDue));

		due->after = timeout->source;
		due->due = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, TimestampGetDatum(entered),
														 IntervalPGetDatum(&timeout->length)));
		list = lappend(list, due);
	}
	return list;
}

bool
es_machine_time_out(EsMachine *machine, const text *state, const char *after,
					const EsBinding *binding, EsTimeoutEnd *end)
{
	const EsTimeout *timeout = find_timeout(machine, state, after);

	memset(end, 0, sizeof(*end));
	if (timeout == NULL)
		return false;
	for (EsEdge *edge = timeout->first; edge != NULL; edge = edge->next)
	{
		const EsTimeoutChoice *choice = (const EsTimeoutChoice *) edge;
		EsEvent		event = *binding->event;
		EsBinding	mine = *binding;
		bool		holds = true;

		mine.event = &event;
		es_event_set(&event, ES_EVENT_TYPE, PointerGetDatum(choice->type));
		event.isnull[ES_EVENT_REASON] = choice->reason == NULL;
		event.value[ES_EVENT_REASON] = PointerGetDatum(choice->reason);
		for (int i = 0; holds && i < edge->nguards; i++)
		{
			holds = es_machine_guard_holds(machine, &edge->guards[i], &mine);
			if (!holds)
				end->guard = edge->guards[i].name;
		}
		if (!holds)
			continue;
		end->type = choice->type;
		end->reason = choice->reason;
		end->guard = NULL;
		return true;
	}
	return false;
}

bool
es_machine_step_enters(const EsMachine *machine, const EsStep *step)
{
	return step->from_state == NULL || (step->edge != NULL && ((EsEdge *) step->edge)->target >= 0);
}

bool
es_machine_reenters(const EsEvent *event)
{
	EsMachine  *machine = event->machine == NULL ? NULL : es_machine_named(event->machine);
	const text *from = es_event_text(event, ES_EVENT_FROM_STATE);
	EsBinding	binding = {.event = event};
	EsStep		step;

	if (!es_text_same(from, es_event_text(event, ES_EVENT_TO_STATE)))
		return true;
	if (machine == NULL || es_machine_is_passed(machine, event))
		return false;
	es_machine_restep(machine, from, &binding, &step);
	return step.verdict == ES_LEGAL && es_machine_step_enters(machine, &step);
}

/* ---- showing ---- */

/* state_machine_after(definition): one row for every state, timeout and candidate. */
Datum
eventsource_state_machine_after(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EsMachine  *machine;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	machine = es_machine_expect(PG_GETARG_JSONB_P(0));
	for (int state = 0; state < machine->states.count; state++)
	{
		const EsTimeout *timeout = machine->state[state].timeouts;

		for (; timeout != NULL; timeout = timeout->next)
		{
			for (const EsEdge *edge = timeout->first; edge != NULL; edge = edge->next)
				emit_choice(rsinfo, machine, state, timeout, (const EsTimeoutChoice *) edge);
		}
	}
	return (Datum) 0;
}

static void
emit_choice(ReturnSetInfo *rsinfo, const EsMachine *machine, int state, const EsTimeout *timeout,
			const EsTimeoutChoice *choice)
{
	Datum		values[AFTER_COLUMNS];
	bool		nulls[AFTER_COLUMNS] = {0};
	Interval	length = timeout->length;

	values[0] = PointerGetDatum(machine->states.word[state]);
	values[1] = IntervalPGetDatum(&length);
	values[2] = Int32GetDatum(choice->edge.number);
	values[3] = PointerGetDatum(choice->type);
	nulls[4] = choice->reason == NULL;
	values[4] = PointerGetDatum(choice->reason);
	nulls[5] = choice->edge.nguards == 0;
	if (!nulls[5])
		values[5] = CStringGetTextDatum(es_machine_guard_text(&choice->edge));
	nulls[6] = choice->edge.label == NULL;
	if (!nulls[6])
		values[6] = CStringGetTextDatum(choice->edge.label);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
