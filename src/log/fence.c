/*
 * fence.c
 *		What views show to readers who are limited to categories (log/rights.h).
 *
 * A view over the log asks of each row whether the current user may read it:
 * may_read_stream(), may_read_category(), may_read_categories().  For who reads
 * everything the planner knows the answer, and plans as if there were no question.
 * For the others the view must be a security barrier, or conditions of their own
 * would see rows before the question was asked; that it cannot be for all, as what
 * is behind a barrier cannot be joined by index.  So the barrier is put up as the
 * query is planned.
 *
 * That is done by a planner hook, which is there as soon as the library is in the
 * process.  Where a query of a limited reader is the first thing that loads it, the
 * planner's question comes too late, and it is refused: the next one is planned
 * well.  A function of SQL is not inlined into a query of theirs, since what comes
 * with it would pass by the hook.
 *
 * A plan goes by the role that it was made for, and by the right of that role: both
 * are noted in it.
 */
#include "postgres.h"

#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "log/fence.h"
#include "log/rights.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/planmain.h"
#include "optimizer/planner.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(eventsource_may_read_stream);
PG_FUNCTION_INFO_V1(eventsource_may_read_category);
PG_FUNCTION_INFO_V1(eventsource_may_read_categories);
PG_FUNCTION_INFO_V1(eventsource_may_read_support);

static planner_hook_type next_planner;
static needs_fmgr_hook_type next_needs_fmgr;

/* How deep we are in plans of limited readers. */
static int	fenced_plans = 0;

static bool put_up(Node *node, void *arg);
static bool asks(Node *node, void *arg);

/* may_read_stream(stream bigint) */
Datum
eventsource_may_read_stream(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(es_rights_reads_word(ES_STREAM_CATEGORY(PG_GETARG_INT64(0))));
}

/* may_read_category(category text) */
Datum
eventsource_may_read_category(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(es_rights_reads_all() || es_rights_reads(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* may_read_categories(categories text[]); NULL: all that there are */
Datum
eventsource_may_read_categories(PG_FUNCTION_ARGS)
{
	List	   *categories = NIL;
	Datum	   *values;
	int			count;

	if (es_rights_reads_all())
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &count);
	for (int i = 0; i < count; i++)
		categories = lappend(categories, TextDatumGetCString(values[i]));
	PG_RETURN_BOOL(es_rights_reads_each(categories));
}

/* The planner's question. */
Datum
eventsource_may_read_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	PlannerInfo *root;

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	root = ((SupportRequestSimplify *) request)->root;
	if (root == NULL)
		PG_RETURN_POINTER(NULL);
	root->glob->dependsOnRole = true;
	record_plan_function_dependency(root, es_rights_function());
	if (es_rights_reads_all())
		PG_RETURN_POINTER(makeBoolConst(true, false));
	if (fenced_plans == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("eventsource was not loaded when this query was planned"),
				 errdetail("Role \"%s\" may read certain categories at most, which the library has to see to.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("It is loaded now: try again. To have it in every session from its start: "
						 "ALTER DATABASE %s SET session_preload_libraries = 'eventsource'.",
						 quote_identifier(get_database_name(MyDatabaseId)))));
	PG_RETURN_POINTER(NULL);
}

static PlannedStmt *
plan(Query *query, const char *source, int options, ParamListInfo params)
{
	planner_hook_type volatile planner = next_planner != NULL ? next_planner : standard_planner;
	PlannedStmt *result;
	int			depth = fenced_plans;

	if (likely(es_rights_reads_all()) || !OidIsValid(es_rights_function()))
		fenced_plans = 0;
	else
	{
		(void) put_up((Node *) query, NULL);
		fenced_plans = depth + 1;
	}
	if (depth == 0 && fenced_plans == 0)
		return planner(query, source, options, params);
	PG_TRY();
	{
		result = planner(query, source, options, params);
	}
	PG_FINALLY();
	{
		fenced_plans = depth;
	}
	PG_END_TRY();
	return result;
}

/* Makes each view that asks, at any depth, a barrier. */
static bool
put_up(Node *node, void *arg)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, put_up, arg);
	foreach(lc, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_SUBQUERY && rte->subquery->jointree != NULL &&
			asks(rte->subquery->jointree->quals, NULL))
			rte->security_barrier = true;
	}
	return query_tree_walker((Query *) node, put_up, arg, 0);
}

static bool
asks(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(((FuncExpr *) node)->funcid));
		Form_pg_proc function;
		bool		found;

		if (!HeapTupleIsValid(tuple))
			return false;
		function = (Form_pg_proc) GETSTRUCT(tuple);
		found = function->pronamespace == es_catalog_schema() &&
			strncmp(NameStr(function->proname), "may_read_", strlen("may_read_")) == 0;
		ReleaseSysCache(tuple);
		if (found)
			return true;
	}
	return expression_tree_walker(node, asks, arg);
}

/* What says yes is not inlined. */
static bool
needs_fmgr(Oid function)
{
	HeapTuple	tuple;
	bool		is_sql;

	if (unlikely(fenced_plans > 0))
	{
		tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
		is_sql = HeapTupleIsValid(tuple) && ((Form_pg_proc) GETSTRUCT(tuple))->prolang == SQLlanguageId;
		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (is_sql)
			return true;
	}
	return next_needs_fmgr != NULL && next_needs_fmgr(function);
}

void
es_fence_init(void)
{
	next_planner = planner_hook;
	planner_hook = plan;
	next_needs_fmgr = needs_fmgr_hook;
	needs_fmgr_hook = needs_fmgr;
}
