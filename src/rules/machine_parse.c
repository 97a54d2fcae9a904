/*
 * machine_parse.c
 *		Reads the definition of a state machine (jsonb) into an EsMachine, and
 *		lists everything in it that has the wrong shape.
 *
 * Which keys an object may have, and what reads them, is said by tables.
 * Nothing is compiled here.  Everything is palloc'd in the current memory
 * context; an EsMachine with problems is only good for finding more of them.
 */
#include "postgres.h"

#include "errors.h"
#include "miscadmin.h"
#include "rules/machine_json.h"
#include "utils/builtins.h"

static void name_states(EsReader *reader, JsonbValue *value);
static void read_entries(EsReader *reader, const char *path, JsonbValue *value, int state);
static void read_reasons(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_initial(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_create(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_root_on(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_states(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_state_label(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_state_type(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_state_on(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_reason_label(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_reason_category(EsReader *reader, const char *path, JsonbValue *value, void *target);

/*
 * Reasons come before the edges that name them, and states before the root, so
 * that lists begin with what is particular to a state.
 */
static const EsKeyRule machine_rules[] = {
	{"label", es_machine_check_string},
	{"description", es_machine_check_string},
	{"reasons", read_reasons},
	{"initial", read_initial},
	{"create", read_create},
	{"states", read_states},
	{"on", read_root_on},
	{NULL, NULL}
};

/* target: the number of the state */
static const EsKeyRule state_rules[] = {
	{"label", read_state_label},
	{"description", es_machine_check_string},
	{"type", read_state_type},
	{"on", read_state_on},
	{"after", es_machine_read_after},
	{NULL, NULL}
};

/* target: the EsReason */
static const EsKeyRule reason_rules[] = {
	{"label", read_reason_label},
	{"description", es_machine_check_string},
	{"category", read_reason_category},
	{NULL, NULL}
};

/* Reads a definition; es_machine_build_table() then makes it fit for stepping. */
EsMachine *
es_machine_parse(const char *name, Jsonb *definition, EsProblems *problems)
{
	EsMachine  *machine = palloc0(sizeof(EsMachine));
	EsReader	reader = {machine, problems};
	JsonbValue	root;
	JsonbValue	states;

	machine->name = pstrdup(name);
	machine->initial = ES_STATE_NONE;
	machine->ndeclared = -1;
	machine->state = palloc0(sizeof(EsState));
	if (VARSIZE(definition) > ES_MACHINE_MAX_SIZE)
	{
		es_machine_problem(problems, "the definition is larger than %d bytes", ES_MACHINE_MAX_SIZE);
		return machine;
	}
	JsonbToJsonbValue(definition, &root);
	if (!es_machine_expect_object(&reader, "", &root))
		return machine;

	/* Edges name states that are read only after them. */
	if (es_json_find(&definition->root, "states", &states) != NULL)
		name_states(&reader, &states);
	if (machine->states.count == 0)
		es_machine_problem(problems, "states: there must be at least one state");
	es_machine_read_object(&reader, "", &root, machine_rules, NULL);
	return machine;
}

/* A definition that was handed in to be looked at; the first problem is an error. */
EsMachine *
es_machine_expect(Jsonb *definition)
{
	EsProblems	problems = {NIL, 0};
	EsMachine  *machine = es_machine_parse("", definition, &problems);

	if (problems.count > 0)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("this is not the definition of a state machine"),
				 errdetail("%s", (char *) linitial(problems.lines)),
				 errhint("eventsource.create_state_machine() lists all that is wrong with one.")));
	return machine;
}

static void
name_states(EsReader *reader, JsonbValue *value)
{
	EsMachine  *machine = reader->machine;
	EsJsonPair *pairs;
	int			npairs;

	if (!es_json_is_object(value))
		return;					/* read_states says so */
	npairs = es_json_pairs(value, &pairs);
	if (npairs > ES_MACHINE_MAX_STATES)
	{
		es_machine_problem(reader->problems, "states: more than %d states", ES_MACHINE_MAX_STATES);
		npairs = ES_MACHINE_MAX_STATES;
	}
	for (int i = 0; i < npairs; i++)
	{
		if (es_machine_expect_name(reader, "states", &pairs[i].key))
			es_words_add(&machine->states, pairs[i].key.val.string.val, pairs[i].key.val.string.len);
	}
	machine->state = palloc0(sizeof(EsState) * Max(machine->states.count, 1));
}

/* The types under an "on" or "create", each with its candidates. */
static void
read_entries(EsReader *reader, const char *path, JsonbValue *value, int state)
{
	EsMachine  *machine = reader->machine;
	EsJsonPair *pairs;
	int			npairs;

	if (!es_machine_expect_object(reader, path, value))
		return;
	npairs = es_json_pairs(value, &pairs);
	for (int i = 0; i < npairs; i++)
	{
		JsonbValue *key = &pairs[i].key;
		EsEntry    *entry;

		CHECK_FOR_INTERRUPTS();
		if (!es_machine_expect_name(reader, path, key))
			continue;
		entry = palloc(sizeof(EsEntry));
		entry->state = state;
		entry->type = es_words_add(&machine->types, key->val.string.val, key->val.string.len);
		if (machine->types.count > ES_MACHINE_MAX_TYPES)
		{
			es_machine_problem(reader->problems, "%s: more than %d event types", path, ES_MACHINE_MAX_TYPES);
			return;
		}
		entry->first = es_machine_read_edges(reader, psprintf("%s.%s", path, es_json_string(key)),
											 es_json_string(key), &pairs[i].value);
		if (entry->first != NULL)
			machine->entries = lappend(machine->entries, entry);
	}
}

static void
read_reasons(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsMachine  *machine = reader->machine;
	EsJsonPair *pairs;
	int			npairs;

	if (!es_machine_expect_object(reader, path, value))
		return;
	npairs = es_json_pairs(value, &pairs);
	if (npairs > ES_MACHINE_MAX_REASONS)
	{
		es_machine_problem(reader->problems, "%s: more than %d codes", path, ES_MACHINE_MAX_REASONS);
		npairs = ES_MACHINE_MAX_REASONS;
	}
	machine->ndeclared = 0;
	machine->reason = palloc0(sizeof(EsReason) * Max(npairs, 1));
	for (int i = 0; i < npairs; i++)
	{
		JsonbValue *key = &pairs[i].key;

		CHECK_FOR_INTERRUPTS();
		if (!es_machine_expect_name(reader, path, key))
			continue;
		es_words_add(&machine->reasons, key->val.string.val, key->val.string.len);
		es_machine_read_object(reader, psprintf("%s.%s", path, es_json_string(key)), &pairs[i].value,
							   reason_rules, &machine->reason[machine->ndeclared++]);
	}
}

static void
read_initial(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	reader->machine->initial = es_machine_read_state(reader, path, value);
}

static void
read_create(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	reader->machine->has_create = true;
	if (es_json_is_object(value) && JsonContainerSize(value->val.binary.data) == 0)
		es_machine_problem(reader->problems, "%s: no event type could ever start a stream", path);
	read_entries(reader, path, value, ES_STATE_NONE);
}

static void
read_root_on(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	read_entries(reader, path, value, ES_STATE_ANY);
}

static void
read_states(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsJsonPair *pairs;
	int			npairs;

	if (!es_machine_expect_object(reader, path, value))
		return;
	npairs = es_json_pairs(value, &pairs);
	for (int i = 0; i < npairs; i++)
	{
		char	   *name = es_json_string(&pairs[i].key);
		int			state = es_words_find(&reader->machine->states, cstring_to_text(name));

		CHECK_FOR_INTERRUPTS();
		if (state >= 0)
			es_machine_read_object(reader, psprintf("%s.%s", path, name), &pairs[i].value, state_rules, &state);
	}
}

static void
read_state_label(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	es_machine_keep_string(reader, path, value, &reader->machine->state[*(int *) target].label);
}

static void
read_state_type(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	if (!es_machine_expect_string(reader, path, value))
		return;
	if (strcmp(es_json_string(value), "final") == 0)
		reader->machine->state[*(int *) target].is_final = true;
	else
		es_machine_problem(reader->problems, "%s: must be \"final\" or left out, not %s",
						   path, es_json_quote(value));
}

static void
read_state_on(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	read_entries(reader, path, value, *(int *) target);
}

static void
read_reason_label(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	es_machine_keep_string(reader, path, value, &((EsReason *) target)->label);
}

static void
read_reason_category(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	es_machine_keep_string(reader, path, value, &((EsReason *) target)->category);
}
