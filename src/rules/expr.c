/*
 * expr.c
 *		The one expression compiler: SQL scalar expressions over "event", "row",
 *		"state" and "item".
 *
 * The text is parsed (expr_parse.c), checked (expr_check.c) and planned through
 * GetCachedExpression, which tells when a function it uses has changed; then
 * all of it is done again.  Everything happens with the owner's rights and under
 * pinned settings (expr_room.c).
 *
 * Memory: an EsExpr lives in the context it was compiled in; its plan is freed
 * with that context.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "log/attempt.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rules/expr_parts.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

/* Bytes of an expression that a list of problems shows. */
#define SHOWN_WHOLE	120

static char *excerpt(const char *source, int position);
static EsExpr *make_expr(const EsExprScope *scope, const char *source);
static void build_plan(EsExpr *expr);
static void adopt_plan(EsExpr *expr, const EsExprText *text, const EsExprTraits *traits, Node *tree);
static void free_plan(void *arg);
static List *find_targets(EsExprText *text);

EsExpr *
es_expr_compile(const EsExprScope *scope, const char *source, Oid result_type, int32 result_typmod)
{
	EsExpr	   *expr = make_expr(scope, source);

	expr->wanted_type = result_type;
	expr->wanted_typmod = result_typmod;
	es_expr_recompile(expr);
	return expr;
}

EsExpr *
es_expr_compile_set_returning(const EsExprScope *scope, const char *source,
							  Oid *element_type, TupleDesc *element_row)
{
	EsExpr	   *expr = make_expr(scope, source);
	TupleDesc	row = NULL;

	expr->returns_set = true;
	es_expr_recompile(expr);
	*element_type = expr->type;
	if (expr->type == RECORDOID)
		(void) get_expr_result_type(expr->plan->expr, NULL, &row);
	*element_row = row;
	return expr;
}

List *
es_expr_compile_assignments(const EsExprScope *scope, const char *source, List **attnos)
{
	EsExprText text = {.scope = scope,.source = source};
	List	   *exprs = NIL;
	ListCell   *lc;

	*attnos = find_targets(&text);
	foreach(lc, *attnos)
	{
		EsExpr	   *expr = make_expr(scope, source);
		Form_pg_attribute att = TupleDescAttr(scope->row, lfirst_int(lc) - 1);

		expr->target = att->attnum;
		expr->wanted_type = att->atttypid;
		expr->wanted_typmod = att->atttypmod;
		es_expr_recompile(expr);
		exprs = lappend(exprs, expr);
	}
	return exprs;
}

EsExpr *
es_expr_compile_node(const EsExprScope *scope, Node *node)
{
	EsExpr	   *expr = make_expr(scope, NULL);

	expr->node = copyObject(node);
	es_expr_recompile(expr);
	return expr;
}

Oid
es_expr_type(const EsExpr *expr)
{
	return expr->type;
}

bool
es_expr_uses_event(const EsExpr *expr, EsEventColumn column)
{
	for (int i = 0; i < expr->nuses; i++)
		if (expr->uses[i].kind == ES_NAME_EVENT && expr->uses[i].column == (int) column)
			return true;
	return false;
}

bool
es_expr_is_of_event(const EsExpr *expr)
{
	for (int i = 0; i < expr->nuses; i++)
		if (expr->uses[i].kind != ES_NAME_EVENT)
			return false;
	return true;
}

Oid
es_expr_serial_function(const EsExpr *expr)
{
	return expr->traits.serial;
}

bool
es_expr_is_event(const EsExpr *expr, EsEventColumn *column)
{
	Node	   *node = expr->plan->expr;

	for (;;)
	{
		if (IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
		else if (IsA(node, CoerceViaIO))
			node = (Node *) ((CoerceViaIO *) node)->arg;
		else if (IsA(node, CoerceToDomain))
			node = (Node *) ((CoerceToDomain *) node)->arg;
		else if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_VARCHAR_VARCHAR_INT4_BOOL)
			node = linitial(((FuncExpr *) node)->args);
		else
			break;
	}
	if (!IsA(node, Param) || expr->uses[((Param *) node)->paramid - 1].kind != ES_NAME_EVENT)
		return false;
	*column = expr->uses[((Param *) node)->paramid - 1].column;
	return true;
}

/* What a definition can be blamed for. */
static bool
is_problem(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return sqlstate == ES_ERRCODE_INVALID_DEFINITION ||
		category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION ||
		category == ERRCODE_DATA_EXCEPTION;
}

char *
es_expr_problem(void (*compile) (void *arg), void *arg)
{
	ErrorData  *error = es_attempt(compile, arg, is_problem);
	char	   *problem;

	if (error == NULL)
		return NULL;
	problem = error->message;
	if (error->internalpos > 0)
		problem = psprintf("%s (at character %d of: %s)", problem, error->internalpos,
						   excerpt(error->internalquery, error->internalpos));
	if (error->detail != NULL)
		problem = psprintf("%s. %s", problem, error->detail);
	if (error->hint != NULL)
		problem = psprintf("%s%s %s", problem, error->detail != NULL ? "" : ".", error->hint);
	return problem;
}

/* A text that is told whole if it is short, else what stands at the place. */
static char *
excerpt(const char *source, int position)
{
	int			length = strlen(source);
	int			start;

	if (length <= SHOWN_WHOLE)
		return pstrdup(source);
	start = pg_mbcharcliplen(source, length, Max(position - 1, 0));
	return psprintf("... %.*s ...", pg_mbcliplen(source + start, length - start, SHOWN_WHOLE), source + start);
}

static EsExpr *
make_expr(const EsExprScope *scope, const char *source)
{
	EsExpr	   *expr = palloc0(sizeof(EsExpr));

	expr->context = CurrentMemoryContext;
	expr->scope = *scope;
	if (scope->row != NULL)
	{
		expr->scope.row = CreateTupleDescCopy(scope->row);
		expr->scope.owner = es_expr_owner_beside(scope->owner, scope->row);
	}
	if (scope->item_row != NULL)
		expr->scope.item_row = CreateTupleDescCopy(scope->item_row);
	expr->source = source == NULL ? NULL : pstrdup(source);
	expr->wanted_typmod = -1;
	expr->cleanup.func = free_plan;
	expr->cleanup.arg = expr;
	return expr;
}

void
es_expr_recompile(EsExpr *expr)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "eventsource expression compilation",
											   ALLOCSET_SMALL_SIZES);
	EsExprTraits unknown = {0};
	EsRoom		room;

	MemoryContextSwitchTo(work);
	es_expr_enter_room(&room, expr->scope.owner, true, &unknown);
	build_plan(expr);
	es_expr_leave_room(&room);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

/* Planning may already evaluate constant parts. */
static void
build_plan(EsExpr *expr)
{
	EsExprText text = {.scope = &expr->scope,.source = expr->source};
	ErrorContextCallback callback;
	EsExprTraits traits = {0};
	ParseState *pstate = NULL;
	Node	   *tree;

	es_expr_begin_errors(&text, &callback);
	if (expr->source != NULL)
		tree = es_expr_parse(&text, expr->target, expr->wanted_type, expr->wanted_typmod, &pstate);
	else
		tree = es_expr_name_columns(&text, expr->node);

	es_expr_check_tree(pstate, tree, expr->returns_set, text.clock_words, &traits);
	if (expr->returns_set && !expression_returns_set(tree))
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("\"each\" must be a set-returning function"),
				 errhint("For instance: jsonb_array_elements(event.data->'items').")));
	if (traits.foreign && !OidIsValid(expr->scope.owner))
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("the role that defined this expression no longer exists"),
				 errdetail("It calls functions that are not PostgreSQL's own, with that role's rights."),
				 errhint("Define it again.")));

	adopt_plan(expr, &text, &traits, tree);
	es_expr_end_errors(&callback);
}

/*
 * All of it or nothing: an expression that cannot be compiled anew stays what it
 * was.
 */
static void
adopt_plan(EsExpr *expr, const EsExprText *text, const EsExprTraits *traits, Node *tree)
{
	MemoryContext caller = MemoryContextSwitchTo(expr->context);
	EsNameUse  *uses = palloc(sizeof(EsNameUse) * Max(1, text->nuses));
	ParamListInfo params = makeParamList(text->nuses);
	Oid			type = exprType(tree);
	int16		typlen;
	bool		typbyval;
	CachedExpression *plan;

	MemoryContextSwitchTo(caller);
	for (int i = 0; i < text->nuses; i++)
	{
		uses[i] = text->uses[i];

		params->params[i].pflags = 0;
		params->params[i].ptype = uses[i].type;
	}
	get_typlenbyval(type, &typlen, &typbyval);
	plan = GetCachedExpression(tree);

	/* Nothing from here on can fail: a plan is always freed. */
	if (expr->plan != NULL)
		FreeCachedExpression(expr->plan);
	else
		MemoryContextRegisterResetCallback(expr->context, &expr->cleanup);
	expr->plan = plan;
	expr->state = NULL;
	expr->traits = *traits;
	expr->type = type;
	expr->typlen = typlen;
	expr->typbyval = typbyval;
	expr->nuses = text->nuses;

	expr->uses = uses;
	expr->params = params;
	expr->shape = IsA(plan->expr, Param) ? ES_SHAPE_NAME :
		IsA(plan->expr, Const) ? ES_SHAPE_CONSTANT : ES_SHAPE_GENERAL;
}

static void
free_plan(void *arg)
{
	FreeCachedExpression(((EsExpr *) arg)->plan);
}

static List *
find_targets(EsExprText *text)
{
	ErrorContextCallback callback;
	List	   *attnos;

	es_expr_begin_errors(text, &callback);
	attnos = es_expr_parse_targets(text);
	es_expr_end_errors(&callback);
	return attnos;
}
