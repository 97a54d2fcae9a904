/*
 * expr_eval.c
 *		Values of compiled expressions.
 *
 * What a user may execute is decided when an executable state is made, and
 * functions may keep things in it that end with the transaction.  So a state is
 * made once per transaction, in a context that dies with it, and anew when a
 * function or type changes; but if there is nothing in the expression except
 * PostgreSQL's own functions over scalars, which keep nothing, it lasts until
 * some function changes.  Code of users is
 * run with the owner's rights, PostgreSQL's own under pinned settings alone
 * (expr_room.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "errors.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "rules/expr_parts.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

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

/* For the states of a transaction, gone with it. */
static MemoryContext transaction_context = NULL;
static ExprContext *transaction_econtext = NULL;
static uint64 transient_number = 1;

/* For those that last. */
static MemoryContext scratch_context = NULL;
static ExprContext *lasting_econtext = NULL;
static uint64 function_number = 1;

static void prepare(EsExpr *expr);
static void compile_again(EsExpr *expr);
static void recompile(void *arg);
static void make_state(EsExpr *expr);
static MemoryContext state_context(EsExpr *expr);
static void begin_transaction_state(void);
static void note_function_change(Datum arg, int cache, uint32 hash);
static void note_type_change(Datum arg, int cache, uint32 hash);
static void end_transaction_state(XactEvent event, void *arg);
static void bind_names(EsExpr *expr, const EsBinding *binding);
static Datum name_value(const EsNameUse *use, const EsBinding *binding, bool *isnull);
static Datum evaluate(EsExpr *expr, const EsBinding *binding, bool *isnull);
static Datum evaluate_pinned(EsExpr *expr, ExprContext *econtext, bool *isnull);
static Datum evaluate_in_room(EsExpr *expr, ExprContext *econtext, bool *isnull);
static void refuse_recursion(void);
static void collect_set(EsExpr *expr, const EsBinding *binding, SetCollector *set);
static void collect_in_room(EsExpr *expr, SetCollector *set);
static void collect_pinned(EsExpr *expr, SetCollector *set);
static void collect_items(EsExpr *expr, SetCollector *set);
static void keep_item(SetCollector *set, Datum item, bool isnull);

void
es_expr_init(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	scratch_context = AllocSetContextCreate(TopMemoryContext, "eventsource expression scratch",
											ALLOCSET_DEFAULT_SIZES);
	lasting_econtext = CreateStandaloneExprContext();
	MemoryContextSwitchTo(caller);
	RegisterXactCallback(end_transaction_state, NULL);
	CacheRegisterSyscacheCallback(PROCOID, note_function_change, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, note_type_change, (Datum) 0);
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

/* Ready to be evaluated in this transaction. */
static void
prepare(EsExpr *expr)
{
	if (unlikely(!expr->plan->is_valid && !expr->running))
		compile_again(expr);
	if (expr->returns_set || expr->shape == ES_SHAPE_CONSTANT)
		return;
	if (expr->state == NULL || expr->made_in != (expr->traits.transient ? transient_number : function_number))
		make_state(expr);
}

static void
compile_again(EsExpr *expr)
{
	char	   *problem = es_expr_problem(recompile, expr);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("an expression can no longer be compiled"),
				 errdetail("%s", problem),
				 errhint("A function or type that it uses has changed: change it back, or define anew what the expression belongs to.")));
}

static void
recompile(void *arg)
{
	es_expr_recompile(arg);
}

/* Rights to execute are checked here, and are the owner's. */
static void
make_state(EsExpr *expr)
{
	MemoryContext caller = MemoryContextSwitchTo(state_context(expr));
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	if (OidIsValid(expr->scope.owner))
		SetUserIdAndSecContext(expr->scope.owner, security | SECURITY_RESTRICTED_OPERATION);
	expr->made_in = expr->traits.transient ? transient_number : function_number;
	expr->state = ExecInitExpr((Expr *) expr->plan->expr, NULL);
	es_expr_guard_clock(expr->state);
	SetUserIdAndSecContext(user, security);
	MemoryContextSwitchTo(caller);
}

/* Where a new state goes; the old one is not needed any more. */
static MemoryContext
state_context(EsExpr *expr)
{
	expr->state = NULL;
	if (expr->traits.transient)
	{
		begin_transaction_state();
		return transaction_context;
	}
	if (expr->lasting_context == NULL)
		expr->lasting_context = AllocSetContextCreate(expr->context, "eventsource expression state",
													  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(expr->lasting_context);
	return expr->lasting_context;
}

static void
begin_transaction_state(void)
{
	MemoryContext caller;

	if (transaction_context != NULL)
		return;
	transaction_context = AllocSetContextCreate(TopTransactionContext, "eventsource expressions",
												ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(transaction_context);
	transaction_econtext = CreateStandaloneExprContext();
	MemoryContextSwitchTo(caller);
}

/* Constraints of domains are part of a state. */
static void
note_type_change(Datum arg, int cache, uint32 hash)
{
	transient_number++;
}

static void
note_function_change(Datum arg, int cache, uint32 hash)
{
	function_number++;
	transient_number++;
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
			transient_number++;
			transaction_context = NULL;
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
	ExprContext *econtext;
	ParamListInfo outer;
	Datum		value;

	if (expr->shape == ES_SHAPE_NAME)
		return name_value(&expr->uses[((Param *) expr->plan->expr)->paramid - 1], binding, isnull);
	prepare(expr);
	if (expr->shape == ES_SHAPE_CONSTANT)
	{
		*isnull = ((Const *) expr->plan->expr)->constisnull;
		return ((Const *) expr->plan->expr)->constvalue;
	}
	if (expr->running)
		refuse_recursion();

	bind_names(expr, binding);
	econtext = expr->traits.transient ? transaction_econtext : lasting_econtext;
	outer = econtext->ecxt_param_list_info;
	econtext->ecxt_param_list_info = expr->params;
	value = es_expr_wants_room(&expr->traits) ? evaluate_in_room(expr, econtext, isnull) :
		evaluate_pinned(expr, econtext, isnull);
	econtext->ecxt_param_list_info = outer;
	return value;
}

static Datum
evaluate_pinned(EsExpr *expr, ExprContext *econtext, bool *isnull)
{
	EsPins		saved;
	volatile Datum value = (Datum) 0;

	es_expr_pin(&saved);
	PG_TRY();
	{
		value = ExecEvalExpr(expr->state, econtext, isnull);
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
evaluate_in_room(EsExpr *expr, ExprContext *econtext, bool *isnull)
{
	EsRoom		room;
	Datum		value;

	es_expr_enter_room(&room, expr->scope.owner, false, &expr->traits);
	expr->running = true;
	PG_TRY();
	{
		value = ExecEvalExpr(expr->state, econtext, isnull);
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
