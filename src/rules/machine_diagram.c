/*
 * machine_diagram.c
 *		Draws a state machine, from the same table that steps it: as a mermaid
 *		stateDiagram-v2 and as a graphviz digraph.
 *
 * Edges of the root that leave the state as it is are written once, aside.
 * Everything is palloc'd in the current memory context.
 */
#include "postgres.h"

#include <ctype.h>

#include "errors.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"

/* One way to draw; each function writes one line. */
typedef struct Style
{
	const char *name;
	void		(*begin) (StringInfo out, const EsMachine *machine);
	void		(*state) (StringInfo out, const EsMachine *machine, int state);
	void		(*edge) (StringInfo out, const EsMachine *machine, int from, int to,
						 const EsEdge *edge, const char *label);
	void		(*everywhere) (StringInfo out, const char *types);
	void		(*end) (StringInfo out);
} Style;

static void mermaid_begin(StringInfo out, const EsMachine *machine);
static void mermaid_state(StringInfo out, const EsMachine *machine, int state);
static void mermaid_edge(StringInfo out, const EsMachine *machine, int from, int to,
						 const EsEdge *edge, const char *label);
static void mermaid_everywhere(StringInfo out, const char *types);
static void mermaid_end(StringInfo out);
static void dot_begin(StringInfo out, const EsMachine *machine);
static void dot_state(StringInfo out, const EsMachine *machine, int state);
static void dot_edge(StringInfo out, const EsMachine *machine, int from, int to,
					 const EsEdge *edge, const char *label);
static void dot_everywhere(StringInfo out, const char *types);
static void dot_end(StringInfo out);

static const Style styles[] = {
	{"mermaid", mermaid_begin, mermaid_state, mermaid_edge, mermaid_everywhere, mermaid_end},
	{"dot", dot_begin, dot_state, dot_edge, dot_everywhere, dot_end},
};

PG_FUNCTION_INFO_V1(eventsource_state_machine_diagram);

static const Style *find_style(const char *format);
static void draw(StringInfo out, const Style *style, const EsMachine *machine);
static void draw_row(StringInfo out, const Style *style, const EsMachine *machine,
					 EsEdge **root, int state);
static char *edge_label(const EsMachine *machine, int state, int type, const EsEdge *edge);
static void add_guards(StringInfo label, const EsEdge *edge);
static bool add_timeouts(StringInfo label, const EsMachine *machine, int state, int type);
static char *root_types(const EsMachine *machine, EsEdge **root);
static bool stays(const EsEdge *first);
static char *mermaid_text(const char *text);
static char *dot_text(const char *text);
static const char *state_name(const EsMachine *machine, int state);
static const char *node_name(const EsMachine *machine, int state);
static bool is_plain(const char *name);

/* state_machine_diagram(name text, format text) */
Datum
eventsource_state_machine_diagram(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const Style *style = find_style(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	const EsMachine *machine = es_machine_inspect(name, 0);
	StringInfoData out;

	if (machine == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("state machine \"%s\" does not exist", name),
				 errdetail("Nothing of this name was defined in this database."),
				 errhint("The view eventsource.state_machines lists what is defined.")));
	initStringInfo(&out);
	draw(&out, style, machine);
	if (out.len > 0 && out.data[out.len - 1] == '\n')
		out.len--;
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

static const Style *
find_style(const char *format)
{
	for (size_t i = 0; i < lengthof(styles); i++)
	{
		if (pg_strcasecmp(format, styles[i].name) == 0)
			return &styles[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown diagram format \"%s\"", format),
			 errdetail("A diagram is text for a program that draws it."),
			 errhint("Formats: mermaid, dot.")));
}

static void
draw(StringInfo out, const Style *style, const EsMachine *machine)
{
	int			nstates;
	int		   *order = es_machine_order(machine, &nstates);
	EsEdge	  **root = es_machine_root_edges(machine);
	char	   *everywhere = root_types(machine, root);

	style->begin(out, machine);
	for (int i = 0; i < nstates; i++)
		style->state(out, machine, order[i]);
	if (machine->has_create)
		draw_row(out, style, machine, root, ES_STATE_NONE);
	else
		style->edge(out, machine, ES_STATE_NONE, machine->initial, NULL, "");
	for (int i = 0; i < nstates; i++)
	{
		CHECK_FOR_INTERRUPTS();
		draw_row(out, style, machine, root, order[i]);
		if (machine->state[order[i]].is_final)
			style->edge(out, machine, order[i], ES_STATE_NONE, NULL, "");
	}
	if (everywhere[0] != '\0')
		style->everywhere(out, everywhere);
	style->end(out);
}

static void
draw_row(StringInfo out, const Style *style, const EsMachine *machine, EsEdge **root, int state)
{
	StringInfoData scratch;

	initStringInfo(&scratch);
	for (int type = 0; type < machine->types.count; type++)
	{
		EsEdge	   *edge = es_machine_candidates(machine, state, type);

		if (edge != NULL && edge == root[type] && stays(edge) &&
			!add_timeouts(&scratch, machine, state, type))
			continue;
		for (; edge != NULL; edge = edge->next)
		{
			int			to = edge->target >= 0 ? edge->target
				: state >= 0 ? state : machine->initial;

			style->edge(out, machine, state, to, edge, edge_label(machine, state, type, edge));
		}
	}
}

/* type [guards] (reason) (after 21 days [guards]) */
static char *
edge_label(const EsMachine *machine, int state, int type, const EsEdge *edge)
{
	StringInfoData label;

	initStringInfo(&label);
	appendStringInfoString(&label, text_to_cstring(machine->types.word[type]));
	add_guards(&label, edge);
	if (edge->reason == ES_REASON_RULE_REQUIRED)
		appendStringInfoString(&label, " (reason)");
	add_timeouts(&label, machine, state, type);
	return label.data;
}

/* What appends the type by itself; false: nothing does. */
static bool
add_timeouts(StringInfo label, const EsMachine *machine, int state, int type)
{
	bool		found = false;

	if (state < 0)
		return false;
	for (const EsTimeout *timeout = machine->state[state].timeouts; timeout != NULL; timeout = timeout->next)
	{
		for (const EsEdge *edge = timeout->first; edge != NULL; edge = edge->next)
		{
			if (!es_text_same(((const EsTimeoutChoice *) edge)->type, machine->types.word[type]))
				continue;
			appendStringInfo(label, " (after %s", timeout->source);
			add_guards(label, edge);
			appendStringInfoChar(label, ')');
			found = true;
		}
	}
	return found;
}

static void
add_guards(StringInfo label, const EsEdge *edge)
{
	for (int i = 0; i < edge->nguards; i++)
		appendStringInfo(label, "%s%s%s", i == 0 ? " [" : ", ", edge->guards[i].name,
						 i == edge->nguards - 1 ? "]" : "");
}

/* Types that hold in every state and change none, for a remark. */
static char *
root_types(const EsMachine *machine, EsEdge **root)
{
	StringInfoData types;

	initStringInfo(&types);
	for (int type = 0; type < machine->types.count; type++)
	{
		if (root[type] != NULL && stays(root[type]))
			appendStringInfo(&types, "%s%s", types.len > 0 ? ", " : "",
							 text_to_cstring(machine->types.word[type]));
	}
	return types.data;
}

static bool
stays(const EsEdge *first)
{
	for (const EsEdge *edge = first; edge != NULL; edge = edge->next)
	{
		if (edge->target != ES_STATE_NONE)
			return false;
	}
	return true;
}

static const char *
state_name(const EsMachine *machine, int state)
{
	return text_to_cstring(machine->states.word[state]);
}

/* What a state is called in edges: its name if that can stand there, else a number. */
static const char *
node_name(const EsMachine *machine, int state)
{
	const char *name = state_name(machine, state);

	return is_plain(name) ? name : psprintf("s%d", state + 1);
}

/* A word that means nothing else in either language, and is not such a number. */
static bool
is_plain(const char *name)
{
	static const char *const taken[] = {
		"state", "end", "note", "as", "direction", "class", "classdef", "default", "click",
		"style", "title", "hide", "scale", "left", "right", "of", "fork", "join", "choice"
	};

	if (!isalpha((unsigned char) name[0]) || IS_HIGHBIT_SET(name[0]))
		return false;
	if (name[0] == 's' && strspn(name + 1, "0123456789") == strlen(name + 1))
		return false;
	for (size_t i = 0; i < lengthof(taken); i++)
	{
		if (pg_strcasecmp(name, taken[i]) == 0)
			return false;
	}
	for (const char *p = name; *p != '\0'; p++)
	{
		if (IS_HIGHBIT_SET(*p) || !(isalnum((unsigned char) *p) || *p == '_'))
			return false;
	}
	return true;
}

static void
mermaid_begin(StringInfo out, const EsMachine *machine)
{
	appendStringInfo(out, "stateDiagram-v2\n");
}

static void
mermaid_state(StringInfo out, const EsMachine *machine, int state)
{
	const char *name = state_name(machine, state);

	if (strcmp(node_name(machine, state), name) != 0)
		appendStringInfo(out, "    state \"%s\" as %s\n", mermaid_text(name),
						 node_name(machine, state));
}

static void
mermaid_edge(StringInfo out, const EsMachine *machine, int from, int to,
			 const EsEdge *edge, const char *label)
{
	appendStringInfo(out, "    %s --> %s%s%s\n",
					 from < 0 ? "[*]" : node_name(machine, from),
					 to < 0 ? "[*]" : node_name(machine, to),
					 label[0] == '\0' ? "" : " : ", mermaid_text(label));
}

static void
mermaid_everywhere(StringInfo out, const char *types)
{
	appendStringInfo(out, "    %%%% in every state: %s\n", types);
}

static void
mermaid_end(StringInfo out)
{
}

/* What mermaid would take for its own syntax is written as a character code. */
static char *
mermaid_text(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = text; *p != '\0'; p++)
	{
		if (strchr("\"#;:<>{}%", *p) != NULL)
			appendStringInfo(&out, "#%d;", *p);
		else
			appendStringInfoChar(&out, *p);
	}
	return out.data;
}

static void
dot_begin(StringInfo out, const EsMachine *machine)
{
	appendStringInfo(out, "digraph \"%s\" {\n", dot_text(machine->name));
	appendStringInfoString(out, "    rankdir=LR;\n");
	appendStringInfoString(out, "    node [shape=box, style=rounded];\n");
	appendStringInfoString(out, "    \"_start\" [shape=point, label=\"\"];\n");
}

static void
dot_state(StringInfo out, const EsMachine *machine, int state)
{
	appendStringInfo(out, "    \"%s\" [label=\"%s\"%s];\n", node_name(machine, state),
					 dot_text(state_name(machine, state)),
					 machine->state[state].is_final ? ", peripheries=2" : "");
}

static void
dot_edge(StringInfo out, const EsMachine *machine, int from, int to,
		 const EsEdge *edge, const char *label)
{
	bool		is_backward = edge != NULL && edge->kind != NULL && strcmp(edge->kind, "backward") == 0;

	if (to < 0)
		return;					/* final states have a double border */
	appendStringInfo(out, "    \"%s\" -> \"%s\" [label=\"%s\"%s];\n",
					 from < 0 ? "_start" : node_name(machine, from), node_name(machine, to),
					 dot_text(label), is_backward ? ", style=dashed" : "");
}

static void
dot_everywhere(StringInfo out, const char *types)
{
	appendStringInfo(out, "    label=\"in every state: %s\";\n", dot_text(types));
}

static void
dot_end(StringInfo out)
{
	appendStringInfoString(out, "}\n");
}

static char *
dot_text(const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoChar(&out, '\\');
		appendStringInfoChar(&out, *p);
	}
	return out.data;
}
