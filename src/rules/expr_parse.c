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
static void report_in_text(void *arg);

Node *
es_expr_parse(EsExprText *text, AttrNumber target, Oid type, int32 typmod, ParseState **pstate)
{
	Node	   *node;

	if (target != 0)
		text	  ->prefix = strlen(SET_LIST_PREFIX);

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

	text	  ->prefix = strlen(SET_LIST_PREFIX);

	foreach(lc, raw_set_list(text))
	{
		ResTarget  *item = lfirst(lc);
		AttrNumber	attno = target_column(text, item);

		if (list_member_int(item->indirection == NIL ? attnos : whole, attno))
			es_expr_invalid(NULL, item->location, psprintf("column \"%s\" is assigned twice", item->name), NULL);
		attnos = list_append_unique_int(attnos, attno);
		if (item->indirection == NIL)
			whole = lappend_int(whole, attno);
	}
	return attnos;
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

	pstate->p_pre_columnref_hook = es_expr_resolve_name;
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
	if (item->indirection == NIL)
		return node;
	if (before == NULL)
		before = es_expr_use_row_column(text, target, item->location);
	/* Subscripts are transformed in there. */
	pstate->p_expr_kind = EXPR_KIND_OTHER;
	return transformAssignmentIndirection(pstate, before, item->name, false, att->atttypid, att->atttypmod,
										  att->attcollation, item->indirection,
										  list_head(item->indirection), node,
										  COERCION_ASSIGNMENT, item->location);
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
		es_expr_invalid(pstate, exprLocation(node),
						psprintf("the expression is of type %s, wanted is %s", format_type_be(actual),
								 format_type_with_typemod(type, typmod)),
						pstrdup(actual == INTERVALOID && type == TIMESTAMPTZOID ?
								"Say since when: event.occurred_at + (...)." : "Cast it: (...)::type."));
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
		es_expr_invalid(NULL, 0, pstrdup("not a single expression"),
						pstrdup("Clauses such as FROM and WHERE have no place here."));
	if (list_length(stmt->targetList) != 1)
		es_expr_invalid(NULL, 0, psprintf("one expression is wanted, not %d", list_length(stmt->targetList)), NULL);

	target = linitial_node(ResTarget, stmt->targetList);
	if (target->name != NULL)
		es_expr_invalid(NULL, target->location, psprintf("an expression has no alias (\"%s\")", target->name), NULL);
	return target->val;
}

static List *
raw_set_list(EsExprText *text)
{
	List	   *parsed = raw_parser(psprintf("%s%s", SET_LIST_PREFIX, text->source), RAW_PARSE_DEFAULT);
	UpdateStmt *stmt = list_length(parsed) == 1 ? (UpdateStmt *) linitial_node(RawStmt, parsed)->stmt : NULL;

	if (stmt == NULL || !IsA(stmt, UpdateStmt))
		es_expr_invalid(NULL, 0, pstrdup("not a single SET list"), NULL);
	if (stmt->whereClause != NULL)
		es_expr_invalid(NULL, 0, pstrdup("a SET list has no WHERE"),
						pstrdup("Give the rule as an object: {\"set\": \"...\", \"where\": \"...\"}."));
	if (stmt->fromClause != NIL || es_compat_is_returning(stmt) || stmt->withClause != NULL)
		es_expr_invalid(NULL, 0, pstrdup("a SET list has neither FROM nor RETURNING"), NULL);
	return stmt->targetList;
}

/* Of (a, b) = (1, 2), each column its own. */
static Node *
raw_value(ResTarget *item)
{
	MultiAssignRef *multi = (MultiAssignRef *) item->val;
	RowExpr    *row;

	if (IsA(item->val, SetToDefault))
		es_expr_invalid(NULL, item->location, pstrdup("DEFAULT is not allowed"), pstrdup("Write the value."));
	if (!IsA(item->val, MultiAssignRef))
		return item->val;

	row = (RowExpr *) multi->source;
	if (!IsA(row, RowExpr))
		es_expr_invalid(NULL, item->location, pstrdup("the right side of a list of columns must be a list of expressions"),
						pstrdup("Subqueries are not allowed."));
	if (list_length(row->args) != multi->ncolumns)
		es_expr_invalid(NULL, item->location, pstrdup("number of columns does not match number of values"), NULL);
	return list_nth(row->args, multi->colno - 1);
}

static AttrNumber
target_column(EsExprText *text, ResTarget *item)
{
	AttrNumber	attno = es_expr_find_row_column(text->scope->row, item->name);

	if (attno == InvalidAttrNumber)
		es_expr_invalid(NULL, item->location, psprintf("column \"%s\" does not exist", item->name),
						es_expr_row_hint(text->scope->row));
	if (TupleDescAttr(text->scope->row, attno - 1)->attgenerated != '\0')
		es_expr_invalid(NULL, item->location, psprintf("column \"%s\" is generated", item->name),
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
		es_expr_invalid(pstate, ((SubLink *) node)->location, pstrdup("subqueries are not allowed"),
						pstrdup("An expression sees the event and the row, no tables."));
	if (IsA(node, A_Const))
	{
		A_Const    *constant = (A_Const *) node;

		if (!constant->isnull && IsA(&constant->val, String) &&
			es_expr_has_clock_word(strVal(&constant->val)))
			text	  ->clock_words = lappend_int(text->clock_words, constant->location);

		return false;
	}
	return raw_expression_tree_walker(node, inspect_raw, arg);
}

/* Without a parse state the location is a byte offset all the same. */
void
es_expr_invalid(ParseState *pstate, int location, char *message, char *hint)
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
