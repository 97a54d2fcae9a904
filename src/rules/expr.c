/*
 * expr.c
 *		The one expression compiler: SQL scalar expressions over "event", "row",
 *		"state" and "item".
 *
 * The text is parsed (expr_parse.c), checked (expr_check.c) and planned through
 * GetCachedExpression, which tells when a function it uses has changed; then
 * all of it is done again.  An executable state is made once per transaction:
 * what a user may execute is decided when it is made, and functions may keep
 * things in it that end with the transaction.  Everything happens with the
 * owner's rights where code of users is involved, and under pinned settings
 * (expr_room.c).
 *
 * Memory: an EsExpr lives in the context it was compiled in; its plan is freed
 * with that context.  States live in one context per transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rules/expr_parts.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

/* How much there is to do at an evaluation. */
typedef enum ExprShape
{
	SHAPE_GENERAL,
	SHAPE_NAME,					/* a parameter as it stands */
	SHAPE_CONSTANT
} ExprShape;

struct EsExpr
{
	/* What to compile, and for whom. */
	MemoryContext context;
	EsExprScope scope;			/* with a row descriptor of its own */
	const char *source;			/* NULL if node is given */
	Node	   *node;			/* given expression, columns already named */
	AttrNumber	target;			/* column of a SET list, or 0 */
	bool		returns_set;
	bool		check;			/* refuse what is not deterministic */
	Oid			wanted_type;
	int32		wanted_typmod;

	/* What came of it. */
	EsExprTraits traits;
	ExprShape	shape;
	Oid			type;
	int16		typlen;
	bool		typbyval;
	int			nuses;
	EsNameUse  *uses;
	ParamListInfo params;
	CachedExpression *plan;
	MemoryContextCallback cleanup;

	/* Of transaction number made_in. */
	uint64		made_in;
	ExprState  *state;
	bool		running;		/* code of users is being evaluated */
};

/* One for all expressions of a transaction, gone with it. */
static MemoryContext transaction_context = NULL;
static MemoryContext scratch_context = NULL;
static ExprContext *transaction_econtext = NULL;
static uint64 transaction_number = 1;

typedef struct SetCollector
{
	MemoryContext keep;
	int16		typlen;
	bool		typbyval;
	int			count;
	int			max;
	Datum	   *items;
	bool	   *nulls;
} SetCollector;

static EsExpr *make_expr(const EsExprScope *scope, const char *source);
static void compile(EsExpr *expr);
static void build_plan(EsExpr *expr);
static void adopt_plan(EsExpr *expr, CachedExpression *plan);
static void free_plan(void *arg);
static List *find_targets(EsExprText *text);
static void prepare(EsExpr *expr);
static void make_state(EsExpr *expr);
static void begin_transaction_state(void);
static void end_transaction_state(XactEvent event, void *arg);
static void bind_names(EsExpr *expr, const EsBinding *binding);
static Datum name_value(const EsNameUse *use, const EsBinding *binding, bool *isnull);
static Datum evaluate(EsExpr *expr, const EsBinding *binding, bool *isnull);
static Datum evaluate_pinned(EsExpr *expr, bool *isnull);
static Datum evaluate_in_room(EsExpr *expr, bool *isnull);
static void refuse_recursion(void) pg_attribute_noreturn();
static void collect_set(EsExpr *expr, const EsBinding *binding, SetCollector *set);
static void collect_in_room(EsExpr *expr, SetCollector *set);
static void collect_pinned(EsExpr *expr, SetCollector *set);
static void collect_items(EsExpr *expr, SetCollector *set);
static void keep_item(SetCollector *set, Datum item, bool isnull);

void
es_expr_init(void)
{
	RegisterXactCallback(end_transaction_state, NULL);
}

EsExpr *
es_expr_compile(const EsExprScope *scope, const char *source, Oid result_type, int32 result_typmod)
{
	EsExpr	   *expr = make_expr(scope, source);

	expr->wanted_type = result_type;
	expr->wanted_typmod = result_typmod;
	compile(expr);
	return expr;
}

EsExpr *
es_expr_compile_set_returning(const EsExprScope *scope, const char *source,
							  Oid *element_type, TupleDesc *element_row)
{
	EsExpr	   *expr = make_expr(scope, source);
	TupleDesc	row = NULL;

	expr->returns_set = true;
	compile(expr);
	*element_type = expr->type;
	if (expr->type == RECORDOID)
		(void) get_expr_result_type(expr->plan->expr, NULL, &row);
	*element_row = row;
	return expr;
}

List *
es_expr_compile_assignments(const EsExprScope *scope, const char *source, List **attnos)
{
	EsExprText	text = {.scope = scope,.source = source};
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
		compile(expr);
		exprs = lappend(exprs, expr);
	}
	return exprs;
}

EsExpr *
es_expr_compile_node(const EsExprScope *scope, Node *node, bool check)
{
	EsExpr	   *expr = make_expr(scope, NULL);

	expr->node = copyObject(node);
	expr->check = check;
	compile(expr);
	return expr;
}

Oid
es_expr_type(const EsExpr *expr)
{
	return expr->type;
}

const char *
es_expr_source(const EsExpr *expr)
{
	return expr->source;
}

bool
es_expr_uses_row(const EsExpr *expr)
{
	for (int i = 0; i < expr->nuses; i++)
		if (expr->uses[i].kind == ES_NAME_ROW)
			return true;
	return false;
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

Datum
es_expr_eval(EsExpr *expr, const EsBinding *binding, bool *isnull)
{
	Datum		value = evaluate(expr, binding, isnull);

	return *isnull ? (Datum) 0 : datumCopy(value, expr->typbyval, expr->typlen);
}

/*
 * Code of users may come back here, so what it leaves behind has a context of
 * its own.
 */
bool
es_expr_eval_bool(EsExpr *expr, const EsBinding *binding)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch;
	bool		isnull;
	bool		result;

	begin_transaction_state();
	scratch = expr->traits.foreign ?
		AllocSetContextCreate(caller, "eventsource condition", ALLOCSET_SMALL_SIZES) : scratch_context;
	MemoryContextSwitchTo(scratch);
	result = DatumGetBool(evaluate(expr, binding, &isnull)) && !isnull;
	MemoryContextSwitchTo(caller);
	if (expr->traits.foreign)
		MemoryContextDelete(scratch);
	else
		MemoryContextReset(scratch);
	return result;
}

/* The whole set is taken before the first call: each() runs outside the room. */
void
es_expr_eval_set(EsExpr *expr, const EsBinding *binding,
				 void (*each) (Datum item, bool isnull, void *arg), void *arg)
{
	SetCollector set = {.keep = CurrentMemoryContext,.typlen = expr->typlen,.typbyval = expr->typbyval};

	collect_set(expr, binding, &set);
	for (int i = 0; i < set.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		each(set.items[i], set.nulls[i], arg);
	}
}

char *
es_expr_problem(void (*compile) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile problem = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		compile(arg);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;

		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (error->sqlerrcode != ES_ERRCODE_INVALID_DEFINITION &&
			category != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION &&
			category != ERRCODE_DATA_EXCEPTION)
			ReThrowError(error);
		problem = error->message;
		if (error->internalpos > 0)
			problem = psprintf("%s (at character %d of: %s)", problem, error->internalpos, error->internalquery);
		if (error->detail != NULL)
			problem = psprintf("%s. %s", problem, error->detail);
		if (error->hint != NULL)
			problem = psprintf("%s%s %s", problem, error->detail != NULL ? "" : ".", error->hint);
	}
	PG_END_TRY();
	return problem;
}

static EsExpr *
make_expr(const EsExprScope *scope, const char *source)
{
	EsExpr	   *expr = palloc0(sizeof(EsExpr));

	expr->context = CurrentMemoryContext;
	expr->scope = *scope;
	if (scope->row != NULL)
		expr->scope.row = CreateTupleDescCopy(scope->row);
	if (scope->item_row != NULL)
		expr->scope.item_row = CreateTupleDescCopy(scope->item_row);
	expr->source = source == NULL ? NULL : pstrdup(source);
	expr->check = true;
	expr->wanted_typmod = -1;
	expr->cleanup.func = free_plan;
	expr->cleanup.arg = expr;
	return expr;
}

/* May be called again for an expression whose plan is no longer valid. */
static void
compile(EsExpr *expr)
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
	EsExprText	text = {.scope = &expr->scope,.source = expr->source};
	ErrorContextCallback callback;
	ParseState *pstate = NULL;
	Node	   *tree;

	memset(&expr->traits, 0, sizeof(EsExprTraits));
	es_expr_begin_errors(&text, &callback);
	if (expr->source != NULL)
		tree = es_expr_parse(&text, expr->target, expr->wanted_type, expr->wanted_typmod, &pstate);
	else
		tree = es_expr_name_columns(&text, expr->node);

	if (expr->check)
		es_expr_check_tree(pstate, tree, expr->returns_set, text.clock_words, &expr->traits);
	else
		es_expr_survey_tree(tree, &expr->traits);
	if (expr->returns_set && !expression_returns_set(tree))
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("\"each\" must be a set-returning function"),
				 errhint("For instance: jsonb_array_elements(event.data->'items').")));
	if (expr->traits.foreign && !OidIsValid(expr->scope.owner))
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("the role that defined this expression no longer exists"),
				 errdetail("It calls functions that are not PostgreSQL's own, with that role's rights."),
				 errhint("Define it again.")));

	expr->nuses = text.nuses;
	expr->uses = MemoryContextAlloc(expr->context, sizeof(EsNameUse) * Max(1, text.nuses));
	if (text.nuses > 0)
		memcpy(expr->uses, text.uses, sizeof(EsNameUse) * text.nuses);
	adopt_plan(expr, GetCachedExpression(tree));
	es_expr_end_errors(&callback);
}

static void
adopt_plan(EsExpr *expr, CachedExpression *plan)
{
	MemoryContext caller;
	Node	   *node = plan->expr;

	/* Nothing between the two lines can fail: a plan is always freed. */
	if (expr->plan != NULL)
		FreeCachedExpression(expr->plan);
	else
		MemoryContextRegisterResetCallback(expr->context, &expr->cleanup);
	expr->plan = plan;

	expr->state = NULL;
	expr->type = exprType(node);
	get_typlenbyval(expr->type, &expr->typlen, &expr->typbyval);
	expr->shape = IsA(node, Param) ? SHAPE_NAME : IsA(node, Const) ? SHAPE_CONSTANT : SHAPE_GENERAL;

	caller = MemoryContextSwitchTo(expr->context);
	expr->params = makeParamList(expr->nuses);
	MemoryContextSwitchTo(caller);
	for (int i = 0; i < expr->nuses; i++)
	{
		expr->params->params[i].pflags = 0;
		expr->params->params[i].ptype = expr->uses[i].type;
	}
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

/* Ready to be evaluated in this transaction. */
static void
prepare(EsExpr *expr)
{
	begin_transaction_state();
	if (!expr->plan->is_valid && !expr->running)
		compile(expr);
	if (expr->returns_set || expr->shape == SHAPE_CONSTANT)
		return;
	if (expr->state == NULL || expr->made_in != transaction_number)
		make_state(expr);
}

/* Rights to execute are checked here, and are the owner's. */
static void
make_state(EsExpr *expr)
{
	MemoryContext caller = MemoryContextSwitchTo(transaction_context);
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	if (OidIsValid(expr->scope.owner))
		SetUserIdAndSecContext(expr->scope.owner, security | SECURITY_RESTRICTED_OPERATION);
	expr->state = ExecInitExpr((Expr *) expr->plan->expr, NULL);
	if (expr->check)
		es_expr_guard_clock(expr->state);
	expr->made_in = transaction_number;
	SetUserIdAndSecContext(user, security);
	MemoryContextSwitchTo(caller);
}

static void
begin_transaction_state(void)
{
	MemoryContext caller;

	if (transaction_context != NULL)
		return;
	caller = MemoryContextSwitchTo(TopTransactionContext);
	transaction_context = AllocSetContextCreate(TopTransactionContext, "eventsource expressions",
												ALLOCSET_DEFAULT_SIZES);
	scratch_context = AllocSetContextCreate(transaction_context, "eventsource expression scratch",
											ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(transaction_context);
	transaction_econtext = CreateStandaloneExprContext();
	MemoryContextSwitchTo(caller);
}

/* The contexts themselves die with TopTransactionContext. */
static void
end_transaction_state(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			transaction_number++;
			transaction_context = NULL;
			scratch_context = NULL;
			transaction_econtext = NULL;
			break;
		default:
			break;
	}
}

static void
bind_names(EsExpr *expr, const EsBinding *binding)
{
	for (int i = 0; i < expr->nuses; i++)
	{
		ParamExternData *param = &expr->params->params[i];

		param->value = name_value(&expr->uses[i], binding, &param->isnull);
	}
}

static Datum
name_value(const EsNameUse *use, const EsBinding *binding, bool *isnull)
{
	*isnull = true;
	switch (use->kind)
	{
		case ES_NAME_EVENT:
			if (binding->event == NULL || binding->event->isnull[use->column])
				return (Datum) 0;
			*isnull = false;
			return binding->event->value[use->column];
		case ES_NAME_ROW:
			if (binding->row == NULL || TTS_EMPTY(binding->row))
				return (Datum) 0;
			return slot_getattr(binding->row, use->column, isnull);
		case ES_NAME_STATE:
			*isnull = binding->state == NULL;
			return PointerGetDatum(binding->state);
		case ES_NAME_ITEM:
			*isnull = binding->item_isnull;
			return binding->item;
	}
	return (Datum) 0;
}

/* The result may point into the binding or the plan. */
static Datum
evaluate(EsExpr *expr, const EsBinding *binding, bool *isnull)
{
	ParamListInfo outer;
	Datum		value;

	if (expr->shape == SHAPE_NAME)
		return name_value(&expr->uses[((Param *) expr->plan->expr)->paramid - 1], binding, isnull);
	prepare(expr);
	if (expr->shape == SHAPE_CONSTANT)
	{
		*isnull = ((Const *) expr->plan->expr)->constisnull;
		return ((Const *) expr->plan->expr)->constvalue;
	}
	if (expr->running)
		refuse_recursion();

	bind_names(expr, binding);
	outer = transaction_econtext->ecxt_param_list_info;
	transaction_econtext->ecxt_param_list_info = expr->params;
	value = es_expr_wants_room(&expr->traits) ? evaluate_in_room(expr, isnull) : evaluate_pinned(expr, isnull);
	transaction_econtext->ecxt_param_list_info = outer;
	return value;
}

static Datum
evaluate_pinned(EsExpr *expr, bool *isnull)
{
	EsPins		saved;
	volatile Datum value = (Datum) 0;

	es_expr_pin(&saved);
	PG_TRY();
	{
		value = ExecEvalExpr(expr->state, transaction_econtext, isnull);
	}
	PG_FINALLY();
	{
		es_expr_unpin(&saved);
	}
	PG_END_TRY();
	return value;
}

/* After an error the state may be half way through: a new one is made. */
static Datum
evaluate_in_room(EsExpr *expr, bool *isnull)
{
	EsRoom		room;
	Datum		value;

	es_expr_enter_room(&room, expr->scope.owner, false, &expr->traits);
	expr->running = true;
	PG_TRY();
	{
		value = ExecEvalExpr(expr->state, transaction_econtext, isnull);
	}
	PG_CATCH();
	{
		expr->running = false;
		expr->state = NULL;
		PG_RE_THROW();
	}
	PG_END_TRY();
	expr->running = false;
	es_expr_leave_room(&room);
	return value;
}

/* A user's function got hold of an append or a replay: its state is in use. */
static void
refuse_recursion(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_RECURSION),
			 errmsg("an expression cannot be evaluated from within itself"),
			 errdetail("A function that it calls reads or appends events."),
			 errhint("Functions in expressions may depend on nothing but their arguments.")));
}

static void
collect_set(EsExpr *expr, const EsBinding *binding, SetCollector *set)
{
	prepare(expr);
	if (expr->running)
		refuse_recursion();
	bind_names(expr, binding);
	if (es_expr_wants_room(&expr->traits))
		collect_in_room(expr, set);
	else
		collect_pinned(expr, set);
}

static void
collect_in_room(EsExpr *expr, SetCollector *set)
{
	EsRoom		room;

	es_expr_enter_room(&room, expr->scope.owner, false, &expr->traits);
	expr->running = true;
	PG_TRY();
	{
		collect_items(expr, set);
	}
	PG_FINALLY();
	{
		expr->running = false;
	}
	PG_END_TRY();
	es_expr_leave_room(&room);
}

static void
collect_pinned(EsExpr *expr, SetCollector *set)
{
	EsPins		saved;

	es_expr_pin(&saved);
	PG_TRY();
	{
		collect_items(expr, set);
	}
	PG_FINALLY();
	{
		es_expr_unpin(&saved);
	}
	PG_END_TRY();
}

static void
collect_items(EsExpr *expr, SetCollector *set)
{
	MemoryContext work = AllocSetContextCreate(set->keep, "eventsource each", ALLOCSET_DEFAULT_SIZES);
	MemoryContext arguments = AllocSetContextCreate(work, "eventsource each arguments", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	ExprContext *econtext = CreateStandaloneExprContext();
	SetExprState *state = ExecInitFunctionResultSet((Expr *) expr->plan->expr, econtext, NULL);
	ExprDoneCond done;

	econtext->ecxt_param_list_info = expr->params;
	do
	{
		bool		isnull;
		Datum		item;

		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		item = ExecMakeFunctionResultSet(state, econtext, arguments, &isnull, &done);
		if (done != ExprEndResult)
			keep_item(set, item, isnull);
	} while (done == ExprMultipleResult);

	FreeExprContext(econtext, true);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

static void
keep_item(SetCollector *set, Datum item, bool isnull)
{
	MemoryContext caller = MemoryContextSwitchTo(set->keep);

	if (set->count == set->max)
	{
		set->max = Max(16, set->max * 2);
		set->items = set->items == NULL ? palloc(sizeof(Datum) * set->max) :
			repalloc_huge(set->items, sizeof(Datum) * set->max);
		set->nulls = set->nulls == NULL ? palloc(sizeof(bool) * set->max) :
			repalloc_huge(set->nulls, sizeof(bool) * set->max);
	}
	set->items[set->count] = isnull ? (Datum) 0 : datumCopy(item, set->typbyval, set->typlen);
	set->nulls[set->count++] = isnull;
	MemoryContextSwitchTo(caller);
}
