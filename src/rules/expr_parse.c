/*
 * expr_parse.c
 *		From text to a tree: PostgreSQL's parser, with our names for columns.
 *
 * "event.type", "row.balance", "state" and "item" become external parameters,
 * numbered as they are met.  Only scalar expressions and the SET list of an
 * UPDATE are taken; whatever else the grammar allows around them is refused.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_target.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "rules/expr_parts.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define SET_LIST_PREFIX "UPDATE t SET "

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

static ParseState *make_parse_state(EsExprText *text);
static Node *transform_scalar(ParseState *pstate, EsExprText *text);
static Node *transform_column(ParseState *pstate, EsExprText *text, AttrNumber target);
static Node *transform_part(ParseState *pstate, EsExprText *text, AttrNumber target,
							ResTarget *item, Node *before);
static Node *coerce_result(ParseState *pstate, Node *node, Oid type, int32 typmod);
static Node *raw_scalar(EsExprText *text);
static List *raw_set_list(EsExprText *text);
static Node *raw_value(ResTarget *item);
static AttrNumber target_column(EsExprText *text, ResTarget *item);
static bool inspect_raw(Node *node, void *arg);
static Node *resolve_name(ParseState *pstate, ColumnRef *cref);
static Node *resolve_event(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *resolve_row(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *resolve_state(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *resolve_item(ParseState *pstate, EsExprText *text, ColumnRef *cref);
static Node *select_field(TupleDesc row, Node *record, const char *name);
static const char *second_name(ParseState *pstate, ColumnRef *cref, const char *hint);
static Node *use_name(EsExprText *text, EsNameUse use, int location);
static Node *use_row_column(EsExprText *text, AttrNumber attno, int location);
static AttrNumber find_row_column(TupleDesc row, const char *name);
static Node *name_columns_mutator(Node *node, void *arg);
static char *event_hint(void);
static char *row_hint(TupleDesc row);
static void invalid(ParseState *pstate, int location, char *message, char *hint)
			pg_attribute_noreturn();
static void report_in_text(void *arg);

Node *
es_expr_parse(EsExprText *text, AttrNumber target, Oid type, int32 typmod, ParseState **pstate)
{
	Node	   *node;

	if (target != 0)
		text->prefix = strlen(SET_LIST_PREFIX);
	*pstate = make_parse_state(text);
	node = target == 0 ? transform_scalar(*pstate, text) : transform_column(*pstate, text, target);
	node = coerce_result(*pstate, node, type, typmod);
	assign_expr_collations(*pstate, node);
	return node;
}

List *
es_expr_parse_targets(EsExprText *text)
{
	List	   *attnos = NIL;
	List	   *whole = NIL;
	ListCell   *lc;

	text->prefix = strlen(SET_LIST_PREFIX);
	foreach(lc, raw_set_list(text))
	{
		ResTarget  *item = lfirst(lc);
		AttrNumber	attno = target_column(text, item);

		if (list_member_int(item->indirection == NIL ? attnos : whole, attno))
			invalid(NULL, item->location, psprintf("column \"%s\" is assigned twice", item->name), NULL);
		attnos = list_append_unique_int(attnos, attno);
		if (item->indirection == NIL)
			whole = lappend_int(whole, attno);
	}
	return attnos;
}

Node *
es_expr_name_columns(EsExprText *text, Node *node)
{
	return name_columns_mutator(node, text);
}

void
es_expr_begin_errors(EsExprText *text, ErrorContextCallback *callback)
{
	callback->previous = error_context_stack;
	callback->callback = report_in_text;
	callback->arg = text;
	error_context_stack = callback;
}

void
es_expr_end_errors(ErrorContextCallback *callback)
{
	error_context_stack = callback->previous;
}

static ParseState *
make_parse_state(EsExprText *text)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = text->prefix == 0 ? text->source : psprintf("%s%s", SET_LIST_PREFIX, text->source);
	pstate->p_pre_columnref_hook = resolve_name;
	pstate->p_ref_hook_state = text;
	return pstate;
}

static Node *
transform_scalar(ParseState *pstate, EsExprText *text)
{
	Node	   *raw = raw_scalar(text);

	(void) inspect_raw(raw, pstate);
	return transformExpr(pstate, raw, EXPR_KIND_OTHER);
}

/*
 * The whole new value of one column.  Parts of it (SET doc['a'] = ..., doc['b']
 * = ...) are laid one over the other, from the column's old value on.
 */
static Node *
transform_column(ParseState *pstate, EsExprText *text, AttrNumber target)
{
	Node	   *node = NULL;
	ListCell   *lc;

	foreach(lc, raw_set_list(text))
	{
		ResTarget  *item = lfirst(lc);

		if (target_column(text, item) == target)
			node = transform_part(pstate, text, target, item, node);
	}
	if (node == NULL)
		elog(ERROR, "column %d is not in the SET list", target);
	return node;
}

static Node *
transform_part(ParseState *pstate, EsExprText *text, AttrNumber target, ResTarget *item, Node *before)
{
	Form_pg_attribute att = TupleDescAttr(text->scope->row, target - 1);
	Node	   *raw = raw_value(item);
	Node	   *node;

	(void) inspect_raw(raw, pstate);
	(void) inspect_raw((Node *) item->indirection, pstate);
	node = transformExpr(pstate, raw, EXPR_KIND_OTHER);
	if (item->indirection != NIL)
		return transformAssignmentIndirection(pstate,
											  before ? before : use_row_column(text, target, item->location),
											  item->name, false, att->atttypid, att->atttypmod,
											  att->attcollation, item->indirection,
											  list_head(item->indirection), node,
											  COERCION_ASSIGNMENT, item->location);

	return node;
}

static Node *
coerce_result(ParseState *pstate, Node *node, Oid type, int32 typmod)
{
	Oid			actual = exprType(node);
	Node	   *coerced;

	if (!OidIsValid(type))
		return actual == UNKNOWNOID ? coerce_type(pstate, node, actual, TEXTOID, -1, COERCION_IMPLICIT,
												  COERCE_IMPLICIT_CAST, -1) : node;

	coerced = coerce_to_target_type(pstate, node, actual, type, typmod, COERCION_ASSIGNMENT,
									COERCE_IMPLICIT_CAST, -1);
	if (coerced == NULL)
		invalid(pstate, exprLocation(node),
				psprintf("the expression is of type %s, wanted is %s", format_type_be(actual),
						 format_type_with_typemod(type, typmod)),
				pstrdup("Cast it: (...)::type."));
	return coerced;
}

/* The expression alone: no clause that could follow it in a SELECT. */
static Node *
raw_scalar(EsExprText *text)
{
	List	   *parsed = raw_parser(text->source, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *stmt = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
	ResTarget  *target;

	if (!IsA(stmt, SelectStmt) || list_length(parsed) != 1 || stmt->op != SETOP_NONE ||
		stmt->distinctClause != NIL || stmt->intoClause != NULL || stmt->fromClause != NIL ||
		stmt->whereClause != NULL || stmt->groupClause != NIL || stmt->havingClause != NULL ||
		stmt->windowClause != NIL || stmt->valuesLists != NIL || stmt->sortClause != NIL ||
		stmt->limitOffset != NULL || stmt->limitCount != NULL || stmt->lockingClause != NIL ||
		stmt->withClause != NULL)
		invalid(NULL, 0, pstrdup("not a single expression"),
				pstrdup("Clauses such as FROM and WHERE have no place here."));
	if (list_length(stmt->targetList) != 1)
		invalid(NULL, 0, psprintf("one expression is wanted, not %d", list_length(stmt->targetList)), NULL);

	target = linitial_node(ResTarget, stmt->targetList);
	if (target->name != NULL)
		invalid(NULL, target->location, psprintf("an expression has no alias (\"%s\")", target->name), NULL);
	return target->val;
}

static List *
raw_set_list(EsExprText *text)
{
	List	   *parsed = raw_parser(psprintf("%s%s", SET_LIST_PREFIX, text->source), RAW_PARSE_DEFAULT);
	UpdateStmt *stmt = list_length(parsed) == 1 ? (UpdateStmt *) linitial_node(RawStmt, parsed)->stmt : NULL;

	if (stmt == NULL || !IsA(stmt, UpdateStmt))
		invalid(NULL, 0, pstrdup("not a single SET list"), NULL);
	if (stmt->whereClause != NULL)
		invalid(NULL, 0, pstrdup("a SET list has no WHERE"),
				pstrdup("Give the rule as an object: {\"set\": \"...\", \"where\": \"...\"}."));
	if (stmt->fromClause != NIL || es_compat_is_returning(stmt) || stmt->withClause != NULL)
		invalid(NULL, 0, pstrdup("a SET list has neither FROM nor RETURNING"), NULL);
	return stmt->targetList;
}

/* Of (a, b) = (1, 2), each column its own. */
static Node *
raw_value(ResTarget *item)
{
	MultiAssignRef *multi = (MultiAssignRef *) item->val;
	RowExpr    *row;

	if (IsA(item->val, SetToDefault))
		invalid(NULL, item->location, pstrdup("DEFAULT is not allowed"), pstrdup("Write the value."));
	if (!IsA(item->val, MultiAssignRef))
		return item->val;

	row = (RowExpr *) multi->source;
	if (!IsA(row, RowExpr))
		invalid(NULL, item->location, pstrdup("the right side of a list of columns must be a list of expressions"),
				pstrdup("Subqueries are not allowed."));
	if (list_length(row->args) != multi->ncolumns)
		invalid(NULL, item->location, pstrdup("number of columns does not match number of values"), NULL);
	return list_nth(row->args, multi->colno - 1);
}

static AttrNumber
target_column(EsExprText *text, ResTarget *item)
{
	AttrNumber	attno = find_row_column(text->scope->row, item->name);

	if (attno == InvalidAttrNumber)
		invalid(NULL, item->location, psprintf("column \"%s\" does not exist", item->name),
				row_hint(text->scope->row));
	if (TupleDescAttr(text->scope->row, attno - 1)->attgenerated != '\0')
		invalid(NULL, item->location, psprintf("column \"%s\" is generated", item->name),
				pstrdup("The table computes it itself."));
	return attno;
}

/*
 * Before names are resolved: no subquery (its tables would be locked), and
 * where literals stand that a date would read off the clock.
 */
static bool
inspect_raw(Node *node, void *arg)
{
	ParseState *pstate = arg;
	EsExprText *text = pstate->p_ref_hook_state;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, SubLink))
		invalid(pstate, ((SubLink *) node)->location, pstrdup("subqueries are not allowed"),
				pstrdup("An expression sees the event and the row, no tables."));
	if (IsA(node, A_Const))
	{
		A_Const    *constant = (A_Const *) node;

		if (!constant->isnull && IsA(&constant->val, String) &&
			es_expr_has_clock_word(strVal(&constant->val)))
			text->clock_words = lappend_int(text->clock_words, constant->location);
		return false;
	}
	return raw_expression_tree_walker(node, inspect_raw, arg);
}

/* p_pre_columnref_hook: every name there is. */
static Node *
resolve_name(ParseState *pstate, ColumnRef *cref)
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
	Node	   *first = linitial(cref->fields);

	if (IsA(first, String))
		for (int i = 0; i < (int) lengthof(names); i++)
			if (strcmp(strVal(first), names[i].name) == 0)
				return names[i].resolve(pstate, pstate->p_ref_hook_state, cref);

	invalid(pstate, cref->location,
			psprintf("\"%s\" is not known here", NameListToString(cref->fields)),
			pstrdup("Columns are named as event.column and row.column; text stands in single quotes."));
}

static Node *
resolve_event(ParseState *pstate, EsExprText *text, ColumnRef *cref)
{
	const char *name = second_name(pstate, cref, event_hint());

	for (int i = 0; i < ES_EVENT_NCOLUMNS; i++)
	{
		EsNameUse	use = {ES_NAME_EVENT, i, event_columns[i].type, -1, get_typcollation(event_columns[i].type)};

		if (strcmp(name, event_columns[i].name) != 0)
			continue;
		if (list_length(cref->fields) > 2)
			invalid(pstate, cref->location, psprintf("event.%s has no columns", name),
					pstrdup("Fields of jsonb are taken with ->> : event.data->>'field'."));
		return use_name(text, use, cref->location);
	}
	invalid(pstate, cref->location, psprintf("event has no column \"%s\"", name), event_hint());
}

static Node *
resolve_row(ParseState *pstate, EsExprText *text, ColumnRef *cref)
{
	TupleDesc	row = text->scope->row;
	const char *name;
	AttrNumber	attno;

	if (row == NULL)
		invalid(pstate, cref->location, pstrdup("there is no \"row\" here"), NULL);
	name = second_name(pstate, cref, row_hint(row));
	attno = find_row_column(row, name);
	if (attno == InvalidAttrNumber)
		invalid(pstate, cref->location, psprintf("row has no column \"%s\"", name), row_hint(row));
	if (list_length(cref->fields) > 2)
		invalid(pstate, cref->location, psprintf("row.%s has no columns here", name),
				psprintf("Put it in parentheses: (row.%s).field.", name));
	return use_row_column(text, attno, cref->location);
}

static Node *
resolve_state(ParseState *pstate, EsExprText *text, ColumnRef *cref)
{
	EsNameUse	use = {ES_NAME_STATE, 0, TEXTOID, -1, DEFAULT_COLLATION_OID};

	if (!text->scope->has_state)
		invalid(pstate, cref->location, pstrdup("there is no \"state\" here"),
				pstrdup("event.from_state and event.to_state may be what is meant."));
	if (list_length(cref->fields) > 1)
		invalid(pstate, cref->location, pstrdup("\"state\" is text and has no columns"), NULL);
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
		invalid(pstate, cref->location, pstrdup("there is no \"item\" here"),
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
			invalid(pstate, cref->location, psprintf("\"%s\" is not known: item is of type %s",
													 NameListToString(cref->fields), format_type_be(type)),
					type == JSONBOID ? pstrdup("Fields of jsonb are taken with ->> : item->>'field'.") : NULL);
	}
	return node;
}

/* A column of an anonymous record, which the parser cannot look into. */
static Node *
select_field(TupleDesc row, Node *record, const char *name)
{
	AttrNumber	attno = find_row_column(row, name);
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
		invalid(pstate, cref->location,
				psprintf("\"%s\" as a whole cannot be used, only its columns",
						 strVal(linitial(cref->fields))),
				pstrdup(hint));
	return strVal(second);
}

static Node *
use_row_column(EsExprText *text, AttrNumber attno, int location)
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
			text->max_uses = Max(8, text->max_uses * 2);
			text->uses = text->uses == NULL ? palloc(sizeof(EsNameUse) * text->max_uses) :
				repalloc(text->uses, sizeof(EsNameUse) * text->max_uses);
		}
		text->uses[text->nuses++] = use;
	}

	param->paramkind = PARAM_EXTERN;
	param->paramid = i + 1;
	param->paramtype = use.type;
	param->paramtypmod = use.typmod;
	param->paramcollid = use.collation;
	param->location = location;
	return (Node *) param;
}

static AttrNumber
find_row_column(TupleDesc row, const char *name)
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
			invalid(NULL, -1, pstrdup("system columns and the whole row are not allowed"), NULL);
		return use_row_column(arg, ((Var *) node)->varattno, -1);
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

static char *
row_hint(TupleDesc row)
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

/* Without a parse state the location is a byte offset all the same. */
static void
invalid(ParseState *pstate, int location, char *message, char *hint)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("%s", message),
			 hint ? errhint("%s", hint) : 0,
			 pstate ? parser_errposition(pstate, location) : 0));
}

/*
 * Objections of the parser and of type input functions are faults of the
 * definition; a place in the text we parsed is not one in the user's statement.
 */
static void
report_in_text(void *arg)
{
	EsExprText *text = arg;
	int			code = geterrcode();
	int			category = ERRCODE_TO_CATEGORY(code);
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		if (text->source != NULL)
		{
			internalerrposition(Max(position - text->prefix, 1));
			internalerrquery(text->source);
		}
	}
	if (code != ERRCODE_INSUFFICIENT_PRIVILEGE &&
		(category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION ||
		 category == ERRCODE_DATA_EXCEPTION ||
		 category == ERRCODE_FEATURE_NOT_SUPPORTED ||
		 category == ERRCODE_INVALID_SCHEMA_NAME))
		errcode(ES_ERRCODE_INVALID_DEFINITION);
}
