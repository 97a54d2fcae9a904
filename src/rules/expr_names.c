/*
 * expr_names.c
 *		The names that expressions may use: columns of "event" and "row", "state",
 *		"item" and its columns.  Each becomes an external parameter, numbered as
 *		it is met.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "rules/expr_parts.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static const struct
{
	const char *name;
	Oid			type;
}			event_columns[ES_EVENT_NCOLUMNS] = {
	[ES_EVENT_POSITION] = {"position", INT8OID},
	[ES_EVENT_STREAM] = {"stream", TEXTOID},
	[ES_EVENT_CATEGORY] = {"category", TEXTOID},
	[ES_EVENT_KEY] = {"key", TEXTOID},
	[ES_EVENT_SUBJECT] = {"subject", TEXTOID},
	[ES_EVENT_VERSION] = {"version", INT8OID},
	[ES_EVENT_TYPE] = {"type", TEXTOID},
	[ES_EVENT_SCHEMA_VERSION] = {"schema_version", INT4OID},
	[ES_EVENT_DATA] = {"data", JSONBOID},
	[ES_EVENT_METADATA] = {"metadata", JSONBOID},
	[ES_EVENT_ACTOR] = {"actor", TEXTOID},
	[ES_EVENT_RECORDED_BY] = {"recorded_by", TEXTOID},
	[ES_EVENT_REASON] = {"reason", TEXTOID},
	[ES_EVENT_FROM_STATE] = {"from_state", TEXTOID},
	[ES_EVENT_TO_STATE] = {"to_state", TEXTOID},
	[ES_EVENT_IS_SYNTHETIC] = {"is_synthetic", BOOLOID},
	[ES_EVENT_OCCURRED_AT] = {"occurred_at", TIMESTAMPTZOID},
	[ES_EVENT_RECORDED_AT] = {"recorded_at", TIMESTAMPTZOID},
	[ES_EVENT_HASH] = {"hash", BYTEAOID},
};

static Node *resolve_event(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *resolve_row(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *resolve_state(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *resolve_item(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *select_field(TupleDesc row, Node *record, const char *name);
static const char *second_name(ParseState *pstate, ColumnRef *cref, const char *hint);
static Node *use_name(EsExprText *text, EsNameUse use, int location);
static Node *name_columns_mutator(Node *node, void *arg);
static char *event_hint(void);

Node *
es_expr_name_columns(EsExprText *text, Node *node)
{
	return name_columns_mutator(node, text);
}

/* p_pre_columnref_hook: every name there is. */
Node *
es_expr_resolve_name(ParseState *pstate, ColumnRef *cref)
{
	static const struct
	{
		const char *name;
		Node	   *(*resolve) (ParseState *pstate, EsExprText *text, ColumnRef *cref);
	}			names[] = {
		{"event", resolve_event},
		{"row", resolve_row},
		{"state", resolve_state},
		{"item", resolve_item},
	};
	EsExprText *text = pstate->p_ref_hook_state;
	Node	   *first = linitial(cref->fields);
	const char *name = IsA(first, String) ? strVal(first) : "*";
	TupleDesc	row = text->scope->row;

	for (int i = 0; i < (int) lengthof(names); i++)
		if (strcmp(name, names[i].name) == 0)
			return names[i].resolve(pstate, text, cref);

	es_expr_invalid(pstate, cref->location,
					psprintf("\"%s\" is not known here", NameListToString(cref->fields)),
					row != NULL && es_expr_find_row_column(row, name) != InvalidAttrNumber ?
					psprintf("Say row.%s.", name) :
					pstrdup("Columns are named as event.column and row.column; text stands in single quotes."));
}

static Node *
resolve_event(ParseState *pstate, EsExprText *text, ColumnRef *cref)
{
	const char *name = second_name(pstate, cref, event_hint());

	for (int i = 0; i < ES_EVENT_NCOLUMNS; i++)
	{
		Oid			type = event_columns[i].type;
		EsNameUse	use = {ES_NAME_EVENT, i, type, -1, get_typcollation(type)};

		if (strcmp(name, event_columns[i].name) != 0)
			continue;
		if (list_length(cref->fields) > 2)
			es_expr_invalid(pstate, cref->location, psprintf("event.%s has no columns", name),
							pstrdup("Fields of jsonb are taken with ->> : event.data->>'field'."));
		return use_name(text, use, cref->location);
	}
	es_expr_invalid(pstate, cref->location, psprintf("event has no column \"%s\"", name), event_hint());
}

static Node *
resolve_row(ParseState *pstate, EsExprText *text, ColumnRef *cref)
{
	TupleDesc	row = text->scope->row;
	const char *name;
	AttrNumber	attno;

	if (row == NULL)
		es_expr_invalid(pstate, cref->location, pstrdup("there is no \"row\" here"), NULL);
	name = second_name(pstate, cref, es_expr_row_hint(row));
	attno = es_expr_find_row_column(row, name);
	if (attno == InvalidAttrNumber)
		es_expr_invalid(pstate, cref->location, psprintf("row has no column \"%s\"", name), es_expr_row_hint(row));
	if (list_length(cref->fields) > 2)
		es_expr_invalid(pstate, cref->location, psprintf("row.%s has no columns here", name),
						psprintf("Put it in parentheses: (row.%s).field.", name));
	return es_expr_use_row_column(text, attno, cref->location);
}

static Node *
resolve_state(ParseState *pstate, EsExprText *text, ColumnRef *cref)
{
	EsNameUse	use = {ES_NAME_STATE, 0, TEXTOID, -1, DEFAULT_COLLATION_OID};

	if (!text->scope->has_state)
		es_expr_invalid(pstate, cref->location, pstrdup("there is no \"state\" here"),
						pstrdup("event.from_state and event.to_state may be what is meant."));
	if (list_length(cref->fields) > 1)
		es_expr_invalid(pstate, cref->location, pstrdup("\"state\" is text and has no columns"), NULL);
	return use_name(text, use, cref->location);
}

static Node *
resolve_item(ParseState *pstate, EsExprText *text, ColumnRef *cref)
{
	Oid			type = text->scope->item_type;
	EsNameUse	use = {ES_NAME_ITEM, 0, type, -1, get_typcollation(type)};
	Node	   *node;
	ListCell   *lc;

	if (!OidIsValid(type))
		es_expr_invalid(pstate, cref->location, pstrdup("there is no \"item\" here"),
						pstrdup("\"item\" is the element of \"each\"."));
	node = use_name(text, use, cref->location);
	for_each_from(lc, cref->fields, 1)
	{
		Node	   *field = lfirst(lc);
		Node	   *whole = node;

		if (!IsA(field, String))
			node = NULL;
		else if (IsA(whole, Param) && text->scope->item_row != NULL)
			node = select_field(text->scope->item_row, whole, strVal(field));
		else
			node = ParseFuncOrColumn(pstate, list_make1(field), list_make1(whole), NULL, NULL, false,
									 cref->location);
		if (node == NULL)
			es_expr_invalid(pstate, cref->location,
							psprintf("\"%s\" is not known: item is of type %s",
									 NameListToString(cref->fields), format_type_be(type)),
							type == JSONBOID ? pstrdup("Fields of jsonb are taken with ->> : item->>'field'.") : NULL);
	}
	return node;
}

/* A column of an anonymous record, which the parser cannot look into. */
static Node *
select_field(TupleDesc row, Node *record, const char *name)
{
	AttrNumber	attno = es_expr_find_row_column(row, name);
	FieldSelect *select = makeNode(FieldSelect);

	if (attno == InvalidAttrNumber)
		return NULL;
	select->arg = (Expr *) record;
	select->fieldnum = attno;
	select->resulttype = TupleDescAttr(row, attno - 1)->atttypid;
	select->resulttypmod = TupleDescAttr(row, attno - 1)->atttypmod;
	select->resultcollid = TupleDescAttr(row, attno - 1)->attcollation;
	return (Node *) select;
}

static const char *
second_name(ParseState *pstate, ColumnRef *cref, const char *hint)
{
	Node	   *second = list_length(cref->fields) > 1 ? lsecond(cref->fields) : NULL;

	if (second == NULL || !IsA(second, String))
		es_expr_invalid(pstate, cref->location,
						psprintf("\"%s\" as a whole cannot be used, only its columns",
								 strVal(linitial(cref->fields))),
						pstrdup(hint));
	return strVal(second);
}

Node *
es_expr_use_row_column(EsExprText *text, AttrNumber attno, int location)
{
	Form_pg_attribute att = TupleDescAttr(text->scope->row, attno - 1);
	EsNameUse	use = {ES_NAME_ROW, attno, att->atttypid, att->atttypmod, att->attcollation};

	return use_name(text, use, location);
}

/* The parameter for a name, one for all its occurrences. */
static Node *
use_name(EsExprText *text, EsNameUse use, int location)
{
	Param	   *param = makeNode(Param);
	int			i;

	for (i = 0; i < text->nuses; i++)
		if (text->uses[i].kind == use.kind && text->uses[i].column == use.column)
			break;
	if (i == text->nuses)
	{
		if (text->nuses == text->max_uses)
		{
			text	  ->max_uses = Max(8, text->max_uses * 2);
			text	  ->uses = text->uses == NULL ? palloc(sizeof(EsNameUse) * text->max_uses) :
				repalloc(text->uses, sizeof(EsNameUse) * text->max_uses);
		}
		text	  ->uses[text->nuses++] = use;
	}

	param->paramkind = PARAM_EXTERN;
	param->paramid = i + 1;
	param->paramtype = use.type;
	param->paramtypmod = use.typmod;
	param->paramcollid = use.collation;
	param->location = location;
	return (Node *) param;
}

AttrNumber
es_expr_find_row_column(TupleDesc row, const char *name)
{
	for (int i = 0; i < row->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

static Node *
name_columns_mutator(Node *node, void *arg)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		if (((Var *) node)->varattno <= 0)
			es_expr_invalid(NULL, -1, pstrdup("system columns and the whole row are not allowed"), NULL);
		return es_expr_use_row_column(arg, ((Var *) node)->varattno, -1);
	}
	return expression_tree_mutator(node, name_columns_mutator, arg);
}

static char *
event_hint(void)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < ES_EVENT_NCOLUMNS; i++)
		appendStringInfo(&buf, "%s%s", i == 0 ? "event has " : ", ", event_columns[i].name);
	appendStringInfoChar(&buf, '.');
	return buf.data;
}

char *
es_expr_row_hint(TupleDesc row)
{
	StringInfoData buf;
	bool		first = true;

	initStringInfo(&buf);
	for (int i = 0; i < row->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row, i);

		if (att->attisdropped)
			continue;
		appendStringInfo(&buf, "%s%s", first ? "row has " : ", ", NameStr(att->attname));
		first = false;
	}
	appendStringInfoChar(&buf, '.');
	return buf.data;
}
