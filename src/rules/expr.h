/*
 * expr.h
 *		The one expression compiler: SQL scalar expressions over "event",
 *		"row", "state" and "item", checked to be deterministic.
 */
#ifndef ES_RULES_EXPR_H
#define ES_RULES_EXPR_H

#include "access/tupdesc.h"
#include "eventsource.h"
#include "executor/tuptable.h"

/* What an expression may name besides "event". */
typedef struct EsExprScope
{
	TupleDesc	row;			/* columns of "row", or NULL */
	bool		has_state;		/* "state" is text */
	Oid			item_type;		/* type of "item", or InvalidOid */
	TupleDesc	item_row;		/* its columns where the type is record */
	Oid			owner;			/* role whose rights the expression has */
} EsExprScope;

/* What its names stand for at one evaluation. */
typedef struct EsBinding
{
	const EsEvent *event;
	TupleTableSlot *row;		/* NULL or empty: every column of row is NULL */
	const text *state;
	Datum		item;
	bool		item_isnull;
} EsBinding;

typedef struct EsExpr EsExpr;

/*
 * Compiles "source" to a value of result_type (assignment coercion; InvalidOid:
 * whatever type it has).  Lives in the current memory context, which must last
 * at least as long as the cache entry it belongs to.  Errors: ZE011, saying
 * what is wrong and where.
 */
extern EsExpr *es_expr_compile(const EsExprScope *scope, const char *source,
							   Oid result_type, int32 result_typmod);

/* The same for an argument of a function: the error names it, with DETAIL and HINT. */
extern EsExpr *es_expr_compile_argument(const EsExprScope *scope, const char *name,
										const char *source, Oid type);

/*
 * The same for a set-returning expression.  Its element type, with the columns
 * of an anonymous record, is what "item" has in the scope of the expressions
 * that follow.
 */
extern EsExpr *es_expr_compile_set_returning(const EsExprScope *scope, const char *source,
											 Oid *element_type, TupleDesc *element_row);

/*
 * Compiles an UPDATE's SET list over scope->row: attnos receives the target
 * columns, the result has one expression for each.  List of EsExpr.
 */
extern List *es_expr_compile_assignments(const EsExprScope *scope, const char *source,
										 List **attnos);

/*
 * An expression that belongs to the relation itself (default, CHECK, generated
 * column), as the catalog has it; its columns are "row".  It must be as
 * deterministic as any other.  The scope's row and owner are those of the
 * relation.
 */
extern EsExpr *es_expr_compile_node(const EsExprScope *scope, Node *node);

extern Oid	es_expr_type(const EsExpr *expr);

/* True if the expression names that column of "event". */
extern bool es_expr_uses_event(const EsExpr *expr, EsEventColumn column);

/* True if it names nothing but columns of "event". */
extern bool es_expr_is_of_event(const EsExpr *expr);

/* A function in it that is not PARALLEL SAFE, or InvalidOid. */
extern Oid	es_expr_serial_function(const EsExpr *expr);

/*
 * True if the expression is one column of "event", as it stands or cast: then
 * *column tells which.
 */
extern bool es_expr_is_event(const EsExpr *expr, EsEventColumn *column);

/* Result is palloc'd in the current memory context where it is by reference. */
extern Datum es_expr_eval(EsExpr *expr, const EsBinding *binding, bool *isnull);

/* NULL counts as false. */
extern bool es_expr_eval_bool(EsExpr *expr, const EsBinding *binding);

/* Calls each() once per element. */
extern void es_expr_eval_set(EsExpr *expr, const EsBinding *binding,
							 void (*each) (Datum item, bool isnull, void *arg), void *arg);

/* What an expression is to the definition that it stands in. */
typedef struct EsExprUse
{
	const char *what;			/* "guard" */
	const char *name;			/* its name there, or NULL */
	const char *owner_kind;		/* "state machine" */
	const text *owner;
	const EsEvent *event;		/* the rest is set by es_expr_begin_use() */
	ErrorContextCallback callback;
} EsExprUse;

/*
 * From begin to end, an error names the use and the event in its CONTEXT.  The
 * event needs stream, type and version.
 */
extern void es_expr_begin_use(EsExprUse *use, const EsEvent *event);
extern void es_expr_end_use(EsExprUse *use);

/*
 * Runs compile() and returns NULL, or the text of the ZE011 (or parser) error
 * it raised: lets a definition list all its problems.  Runs in an internal
 * subtransaction, so it is for definitions only.
 */
extern char *es_expr_problem(void (*compile) (void *arg), void *arg);

/*
 * Whose rights expressions over a table have: the definer's; but the owner's of
 * the table, if it has columns of types of users and the definer has his rights.
 * Compiling does this by itself for a scope with a row.
 */
extern Oid	es_expr_owner_beside(Oid definer, TupleDesc row);

extern void es_expr_init(void);

#endif							/* ES_RULES_EXPR_H */
