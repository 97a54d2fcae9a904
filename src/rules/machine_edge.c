/*
 * machine_edge.c
 *		Reads the edges of a state machine's definition: candidates, targets,
 *		reasons, guards and fill values.
 *
 * Expressions are kept as text here.  Everything is palloc'd in the current
 * memory context.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rules/machine_json.h"

static EsEdge *read_edge(EsReader *reader, const char *path, JsonbValue *value);
static void read_label(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_target(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_reasons(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_reason(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_fill(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void read_kind(EsReader *reader, const char *path, JsonbValue *value, void *target);
static void add_guards(EsReader *reader, EsEdge *edge, const char *path, JsonbValue *value);
static void add_guard(EsReader *reader, EsEdge *edge, const char *path, char *name,
					  JsonbValue *source);

/* target: the EsEdge.  "reasons" come before "reason", which can relax them. */
static const EsKeyRule edge_rules[] = {
	{"label", read_label},
	{"description", es_machine_check_string},
	{"target", read_target},
	{"reasons", read_reasons},
	{"reason", read_reason},
	{"guard", es_machine_read_guard},
	{"fill", read_fill},
	{"kind", read_kind},
	{NULL, NULL}
};

EsEdge *
es_machine_read_edges(EsReader *reader, const char *path, const char *type, JsonbValue *value)
{
	JsonbValue *elements;
	int			nelements;
	EsEdge	   *first = NULL;
	EsEdge	  **next = &first;

	if (!es_json_is_array(value))
	{
		first = read_edge(reader, path, value);
		if (first != NULL)
			es_machine_name_guards(first, type);
		return first;
	}
	nelements = es_json_elements(value, &elements);
	if (nelements == 0)
		es_machine_problem(reader->problems, "%s: the list of candidates is empty", path);
	for (int i = 0; i < nelements; i++)
	{
		EsEdge	   *edge = read_edge(reader, psprintf("%s[%d]", path, i + 1), &elements[i]);

		CHECK_FOR_INTERRUPTS();
		if (edge == NULL)
			continue;
		es_machine_name_guards(edge, type);
		edge->number = i + 1;
		*next = edge;
		next = &edge->next;
	}
	return first;
}

/* One candidate: the name of a state, or an object. */
static EsEdge *
read_edge(EsReader *reader, const char *path, JsonbValue *value)
{
	EsEdge	   *edge = palloc0(sizeof(EsEdge));

	edge->path = pstrdup(path);
	edge->number = 1;
	edge->target = ES_STATE_NONE;
	if (value->type == jbvString)
		edge->target = es_machine_read_state(reader, path, value);
	else if (es_json_is_object(value))
		es_machine_read_object(reader, path, value, edge_rules, edge);
	else
	{
		es_machine_problem(reader->problems,
						   "%s: must be the name of a state, an object, or a list of these, not %s",
						   path, es_json_kind(value));
		return NULL;
	}
	return edge;
}

static void
read_label(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	es_machine_keep_string(reader, path, value, &((EsEdge *) target)->label);
}

static void
read_target(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	((EsEdge *) target)->target = es_machine_read_state(reader, path, value);
}

/* The codes that the edge takes; with them a reason is required. */
static void
read_reasons(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsMachine  *machine = reader->machine;
	EsEdge	   *edge = target;
	JsonbValue *codes;
	int			ncodes;

	if (!es_json_is_array(value))
	{
		es_machine_problem(reader->problems, "%s: must be an array of reason codes, not %s",
						   path, es_json_kind(value));
		return;
	}
	ncodes = es_json_elements(value, &codes);
	if (ncodes == 0)
		es_machine_problem(reader->problems, "%s: the list of reason codes is empty", path);
	edge->reason = ES_REASON_RULE_REQUIRED;
	for (int i = 0; i < ncodes; i++)
	{
		int			code;

		CHECK_FOR_INTERRUPTS();
		if (!es_machine_expect_name(reader, path, &codes[i]))
			continue;
		if (machine->reasons.count > 2 * ES_MACHINE_MAX_REASONS)
			break;				/* as many can only be unknown */
		code = es_words_add(&machine->reasons, codes[i].val.string.val, codes[i].val.string.len);
		if (machine->ndeclared >= 0 && code >= machine->ndeclared)
			es_machine_problem(reader->problems, "%s: there is no reason %s", path,
							   es_json_quote(&codes[i]));
		if (bms_is_member(code, edge->reasons))
			es_machine_problem(reader->problems, "%s: %s is listed twice", path,
							   es_json_quote(&codes[i]));
		edge->reasons = bms_add_member(edge->reasons, code);
	}
}

static void
read_reason(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsEdge	   *edge = target;
	char	   *rule;

	if (!es_machine_expect_string(reader, path, value))
		return;
	rule = es_json_string(value);
	if (strcmp(rule, "required") == 0)
		edge->reason = ES_REASON_RULE_REQUIRED;
	else if (strcmp(rule, "optional") == 0)
		edge->reason = ES_REASON_RULE_OPTIONAL;
	else if (strcmp(rule, "forbidden") == 0)
		edge->reason = ES_REASON_RULE_FORBIDDEN;
	else
		es_machine_problem(reader->problems,
						   "%s: must be \"required\", \"optional\" or \"forbidden\", not %s",
						   path, es_json_quote(value));
	if (edge->reason == ES_REASON_RULE_FORBIDDEN && edge->reasons != NULL)
		es_machine_problem(reader->problems,
						   "%s: a reason cannot be forbidden where reasons are listed", path);
	if (edge->reason == ES_REASON_RULE_REQUIRED && reader->machine->ndeclared == 0)
		es_machine_problem(reader->problems,
						   "%s: a reason cannot be required where the machine declares none", path);
}

static void
read_kind(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsEdge	   *edge = target;

	if (!es_machine_expect_string(reader, path, value))
		return;
	edge->kind = es_json_string(value);
	if (strcmp(edge->kind, "forward") != 0 && strcmp(edge->kind, "backward") != 0)
		es_machine_problem(reader->problems, "%s: must be \"forward\" or \"backward\", not %s",
						   path, es_json_quote(value));
}

/* An expression, an object of named ones, or a list of these. */
void
es_machine_read_guard(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsEdge	   *edge = target;
	JsonbValue *elements;
	int			nelements;

	if (!es_json_is_array(value))
		add_guards(reader, edge, path, value);
	else
	{
		nelements = es_json_elements(value, &elements);
		for (int i = 0; i < nelements; i++)
		{
			CHECK_FOR_INTERRUPTS();
			add_guards(reader, edge, psprintf("%s[%d]", path, i + 1), &elements[i]);
		}
		if (nelements == 0)
			es_machine_problem(reader->problems, "%s: the list of guards is empty", path);
	}
}

static void
add_guards(EsReader *reader, EsEdge *edge, const char *path, JsonbValue *value)
{
	EsJsonPair *pairs;
	int			npairs;

	if (!es_json_is_object(value))
	{
		add_guard(reader, edge, path, NULL, value);
		return;
	}
	npairs = es_json_pairs(value, &pairs);
	if (npairs == 0)
		es_machine_problem(reader->problems, "%s: there is no guard in it", path);
	for (int i = 0; i < npairs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (es_machine_expect_name(reader, path, &pairs[i].key))
			add_guard(reader, edge, psprintf("%s.%s", path, es_json_string(&pairs[i].key)),
					  es_json_string(&pairs[i].key), &pairs[i].value);
	}
}

static void
add_guard(EsReader *reader, EsEdge *edge, const char *path, char *name, JsonbValue *source)
{
	EsGuard    *guard;

	if (!es_machine_expect_string(reader, path, source))
		return;
	if (edge->nguards == ES_MACHINE_MAX_GUARDS)
	{
		es_machine_problem(reader->problems, "%s: an edge can have %d guards at most",
						   path, ES_MACHINE_MAX_GUARDS);
		return;
	}
	if (edge->guards == NULL)
		edge->guards = palloc(sizeof(EsGuard));
	else
		edge->guards = repalloc(edge->guards, sizeof(EsGuard) * (edge->nguards + 1));
	guard = &edge->guards[edge->nguards++];
	guard->name = name;
	guard->source = es_json_string(source);
	guard->expr = NULL;
}

/* As PostgreSQL names constraints: after what they are on. */
void
es_machine_name_guards(EsEdge *edge, const char *type)
{
	int			unnamed = 0;

	for (int i = 0; i < edge->nguards; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (edge->guards[i].name != NULL)
			continue;
		unnamed++;
		edge->guards[i].name = unnamed == 1 ? psprintf("%s_guard", type)
			: psprintf("%s_guard%d", type, unnamed);
	}
}

static void
read_fill(EsReader *reader, const char *path, JsonbValue *value, void *target)
{
	EsEdge	   *edge = target;
	EsJsonPair *pairs;
	int			npairs;

	if (!es_machine_expect_object(reader, path, value))
		return;
	npairs = es_json_pairs(value, &pairs);
	if (npairs == 0)
		es_machine_problem(reader->problems, "%s: there is no field in it", path);
	edge->fills = palloc(sizeof(EsFill) * Max(npairs, 1));
	for (int i = 0; i < npairs; i++)
	{
		char	   *field = es_json_string(&pairs[i].key);

		CHECK_FOR_INTERRUPTS();
		if (!es_machine_expect_string(reader, psprintf("%s.%s", path, field), &pairs[i].value))
			continue;
		edge->fills[edge->nfills].field = field;
		edge->fills[edge->nfills].source = es_json_string(&pairs[i].value);
		edge->fills[edge->nfills].expr = NULL;
		edge->nfills++;
	}
}
