/*
 * reaction_graph.c
 *		Which reactions lead to which, by what they append.
 *
 * Conditions are taken to hold, and streams whose category cannot be told from the
 * expression to be of any: a way round that is found may never be gone, but one that is
 * not found is none.  What functions and machines append is not looked at.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "log/config.h"
#include "log/json.h"
#include "nodes/nodeFuncs.h"
#include "rules/expr_parts.h"
#include "rules/reaction_parts.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* What appends an event of a type to a category, or to any (NULL). */
typedef struct Edge
{
	char	   *category;
	char	   *type;
} Edge;

typedef struct Vertex
{
	const char *name;
	const char *category;
	const char *type;
	List	   *edges;			/* of Edge */
	bool		is_seen;
} Vertex;

static bool add_value(const EsReaction *reaction, const EsExpr *expr, Node *node, StringInfo value);
static bool add_constant(Const *constant, StringInfo value, bool is_format);
static List *read_vertices(const EsReaction *proposed);
static List *edges_of(const EsReaction *reaction);
static void add_edge(List **edges, const EsReactionAction *action);
static List *stored_edges(Jsonb *definition);
static bool leads_to(const Edge *edge, const Vertex *vertex);
static bool find_way(Vertex *from, const Vertex *to, List *vertices, List **way);

/* ---- the category of what is appended ---- */

void
es_reaction_find_category(const EsReaction *reaction, EsReactionAction *action)
{
	StringInfoData value;
	char	   *hyphen;

	if (action->act != ES_REACT_APPEND)
		return;
	initStringInfo(&value);
	(void) add_value(reaction, action->stream, action->stream->plan->expr, &value);
	hyphen = strchr(value.data, '-');
	if (hyphen != NULL)
		action->category = pnstrdup(value.data, hyphen - value.data);
}

/* Adds what its value begins with, whatever the event; true if that is all of it. */
static bool
add_value(const EsReaction *reaction, const EsExpr *expr, Node *node, StringInfo value)
{
	Oid			function = InvalidOid;
	List	   *args = NIL;

	if (IsA(node, RelabelType))
		return add_value(reaction, expr, (Node *) ((RelabelType *) node)->arg, value);
	if (IsA(node, Const))
		return add_constant((Const *) node, value, false);
	if (IsA(node, Param))
	{
		const EsNameUse *use = &expr->uses[((Param *) node)->paramid - 1];

		if (use->kind != ES_NAME_EVENT ||
			(use->column != ES_EVENT_STREAM && use->column != ES_EVENT_CATEGORY))
			return false;
		appendStringInfo(value, "%s%s", reaction->category, use->column == ES_EVENT_STREAM ? "-" : "");
		return use->column == ES_EVENT_CATEGORY;
	}
	if (IsA(node, OpExpr))
	{
		set_opfuncid((OpExpr *) node);
		function = ((OpExpr *) node)->opfuncid;
		args = ((OpExpr *) node)->args;
	}
	else if (IsA(node, FuncExpr))
	{
		function = ((FuncExpr *) node)->funcid;
		args = ((FuncExpr *) node)->args;
	}
	if ((function == F_FORMAT_TEXT_ANY || function == F_FORMAT_TEXT) && IsA(linitial(args), Const))
		return add_constant(linitial(args), value, true);
	if (function == F_TEXTCAT || function == F_ANYTEXTCAT || function == F_TEXTANYCAT || function == F_CONCAT)
	{
		ListCell   *lc;

		foreach(lc, args)
			if (!add_value(reaction, expr, lfirst(lc), value))
			return false;
		return true;
	}
	return false;
}

/* Of a format, what stands before the first thing that is put in. */
static bool
add_constant(Const *constant, StringInfo value, bool is_format)
{
	char	   *string;
	char	   *percent;

	if (constant->constisnull || (constant->consttype != TEXTOID && constant->consttype != UNKNOWNOID))
		return false;
	string = constant->consttype == TEXTOID ? TextDatumGetCString(constant->constvalue) :
		DatumGetCString(constant->constvalue);
	percent = is_format ? strchr(string, '%') : NULL;
	if (percent != NULL)
		*percent = '\0';
	appendStringInfoString(value, string);
	return percent == NULL;
}

/* ---- ways round ---- */

char *
es_reaction_cycle(const EsReaction *reaction)
{
	List	   *vertices = read_vertices(reaction);
	Vertex	   *self = linitial(vertices);
	List	   *way = NIL;
	StringInfoData path;
	ListCell   *lc;

	if (!find_way(self, self, vertices, &way))
		return NULL;
	initStringInfo(&path);
	foreach(lc, way)
		appendStringInfo(&path, "%s -> ", ((const Vertex *) lfirst(lc))->name);
	appendStringInfoString(&path, self->name);
	return path.data;
}

Jsonb *
es_reaction_appends(const EsReaction *reaction)
{
	JsonbParseState *state = NULL;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, edges_of(reaction))
	{
		const Edge *edge = lfirst(lc);

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		es_json_push_string(&state, "category", edge->category);
		es_json_push_string(&state, "type", edge->type);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* The proposed one first, in the place of what has its name. */
static List *
read_vertices(const EsReaction *proposed)
{
	Vertex	   *self = palloc0(sizeof(Vertex));
	List	   *result = list_make1(self);
	ListCell   *lc;

	self->name = proposed->name;
	self->category = proposed->category;
	self->type = proposed->type;
	self->edges = edges_of(proposed);
	foreach(lc, es_config_list(ES_REACTION_KIND))
	{
		const EsDefinition *definition = lfirst(lc);
		Vertex	   *vertex;

		if (strcmp(definition->type, ES_REACTION_DEFINED) != 0 ||
			strcmp(definition->name, proposed->name) == 0)
			continue;
		vertex = palloc0(sizeof(Vertex));
		vertex->name = definition->name;
		vertex->category = es_json_find_string(&definition->data->root, "category");
		vertex->type = es_json_find_string(&definition->data->root, "type");
		vertex->edges = stored_edges(definition->data);
		result = lappend(result, vertex);
	}
	return result;
}

static List *
edges_of(const EsReaction *reaction)
{
	List	   *edges = NIL;

	for (int i = 0; i < reaction->n_steps; i++)
	{
		add_edge(&edges, &reaction->step[i].action);
		if (reaction->step[i].compensate != NULL)
			add_edge(&edges, reaction->step[i].compensate);
	}
	return edges;
}

static void
add_edge(List **edges, const EsReactionAction *action)
{
	Edge	   *edge;

	if (action->act != ES_REACT_APPEND)
		return;
	edge = palloc(sizeof(Edge));
	edge->category = action->category;
	edge->type = text_to_cstring(action->type);
	*edges = lappend(*edges, edge);
}

/* As they were found when it was defined. */
static List *
stored_edges(Jsonb *definition)
{
	JsonbValue *array = es_json_find(&definition->root, ES_REACTION_APPENDS, NULL);
	JsonbValue *elements;
	int			count = array != NULL && es_json_is_array(array) ? es_json_elements(array, &elements) : 0;
	List	   *edges = NIL;

	for (int i = 0; i < count; i++)
	{
		Edge	   *edge = palloc(sizeof(Edge));

		edge->category = es_json_find_string(elements[i].val.binary.data, "category");
		edge->type = es_json_find_string(elements[i].val.binary.data, "type");
		edges = lappend(edges, edge);
	}
	return edges;
}

static bool
leads_to(const Edge *edge, const Vertex *vertex)
{
	return (edge->category == NULL || strcmp(edge->category, vertex->category) == 0) &&
		(strcmp(edge->type, vertex->type) == 0 || strcmp(vertex->type, ES_REACTION_ANY_TYPE) == 0);
}

/* The vertices on the way, from the first one; each is gone to once. */
static bool
find_way(Vertex *from, const Vertex *to, List *vertices, List **way)
{
	ListCell   *lc;
	ListCell   *edge;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	from->is_seen = true;
	*way = lappend(*way, from);
	foreach(edge, from->edges)
	{
		foreach(lc, vertices)
		{
			Vertex	   *next = lfirst(lc);

			if (!leads_to(lfirst(edge), next))
				continue;
			if (next == to || (!next->is_seen && find_way(next, to, vertices, way)))
				return true;
		}
	}
	*way = list_delete_last(*way);
	return false;
}
