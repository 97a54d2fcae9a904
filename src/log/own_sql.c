/*
 * own_sql.c
 *		Statements on those private tables whose rows come and go (jobs).
 *
 * What SQL does well is left to it: rows are found, locked and skipped by
 * PostgreSQL's own rules, and unique indexes decide races.  The guard on these tables
 * lets nobody else write them: log/own_ddl.h says what is ours.
 *
 * A statement sees what is committed as it begins, in REPEATABLE READ as well, as
 * foreign keys do: who takes from a queue wants what is in it now.
 *
 * Plans are made once, of tables that may be empty then and full an hour later: so
 * they go by indexes, whatever the planner believes.  To say so takes as long as a small
 * statement: it is said where a plan has to be made, and a plan that was made without is
 * given up after it was used.
 *
 * Memory: plans last as long as the session; rows are copied by who wants them.
 */
#include "log/own_sql.h"

#include "access/xact.h"
#include "compat.h"
#include "log/catalog.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"

typedef struct Execution
{
	EsOwnSql   *sql;
	const Datum *values;
	const bool *isnull;
	EsOwnSqlRow each;
	EsOwnSqlStep step;			/* of a walk */
	void	   *arg;
	MemoryContext caller;
	int64		rows;
} Execution;

typedef struct Receiver
{
	DestReceiver dest;			/* must be first */
	const Execution *execution;
} Receiver;

static void execute(void *arg);
static void walk(void *arg);
static bool receive(TupleTableSlot *slot, DestReceiver *self);
static void start_receiving(DestReceiver *self, int operation, TupleDesc desc);
static void stop_receiving(DestReceiver *self);
static ParamListInfo params_of(const Execution *execution);
static void prepare(EsOwnSql *sql);
static int	kept_generation(const EsOwnSql *sql);
static void keep_plan(EsOwnSql *sql, int kept);
static void go_by_indexes(void);

int64
es_own_sql(EsOwnSql *sql, const Datum *values, const bool *isnull, EsOwnSqlRow each, void *arg)
{
	Execution	execution = {
		.sql = sql,
		.values = values,
		.isnull = isnull,
		.each = each,
		.arg = arg,
		.caller = CurrentMemoryContext
	};

	es_catalog_as_owner(execute, &execution);
	return execution.rows;
}

static void
execute(void *arg)
{
	Execution  *execution = arg;
	char		nulls[ES_OWN_SQL_ARGS];
	Snapshot	snapshot = InvalidSnapshot;
	SPITupleTable *table;
	int			kept = kept_generation(execution->sql);

	if (kept == 0)
		go_by_indexes();
	if (execution->sql->plan == NULL)
		prepare(execution->sql);
	for (int i = 0; i < execution->sql->nargs; i++)
		nulls[i] = execution->isnull != NULL && execution->isnull[i] ? 'n' : ' ';
	if (IsolationUsesXactSnapshot())
		snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(execution->sql->plan, unconstify(Datum *, execution->values), nulls, snapshot,
							 InvalidSnapshot, false, true, 0) < 0)
		elog(ERROR, "could not execute: %s", execution->sql->text);
	if (snapshot != InvalidSnapshot)
		UnregisterSnapshot(snapshot);
	execution->rows = (int64) SPI_processed;
	table = SPI_tuptable;
	if (execution->each != NULL && table != NULL)
	{
		MemoryContext spi = MemoryContextSwitchTo(execution->caller);

		for (uint64 i = 0; i < table->numvals; i++)
			execution->each(table->vals[i], table->tupdesc, execution->arg);
		MemoryContextSwitchTo(spi);
	}
	SPI_freetuptable(table);
	keep_plan(execution->sql, kept);
}

/* ---- row by row ---- */

void
es_own_sql_walk(EsOwnSql *sql, const Datum *values, EsOwnSqlStep step, void *arg)
{
	Execution	execution = {
		.sql = sql,
		.values = values,
		.step = step,
		.arg = arg,
		.caller = CurrentMemoryContext
	};

	es_catalog_as_owner(walk, &execution);
}

/* As SPI would, which has no way to stop at a row. */
static void
walk(void *arg)
{
	const Execution *execution = arg;
	Receiver	receiver = {
		.dest = {receive, start_receiving, stop_receiving, stop_receiving, DestNone},
		.execution = execution
	};
	CachedPlan *plan;
	QueryDesc  *query;
	int			kept = kept_generation(execution->sql);

	if (kept == 0)
		go_by_indexes();
	if (execution->sql->plan == NULL)
		prepare(execution->sql);
	plan = SPI_plan_get_cached_plan(execution->sql->plan);
	if (plan == NULL)
		elog(ERROR, "no plan: %s", execution->sql->text);
	CommandCounterIncrement();
	PushCopiedSnapshot(IsolationUsesXactSnapshot() ? GetLatestSnapshot() : GetTransactionSnapshot());
	UpdateActiveSnapshotCommandId();
	query = CreateQueryDesc(linitial_node(PlannedStmt, plan->stmt_list), execution->sql->text,
							GetActiveSnapshot(), InvalidSnapshot, &receiver.dest, params_of(execution),
							NULL, 0);
	ExecutorStart(query, 0);
	es_compat_executor_run(query);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
	ReleaseCachedPlan(plan, CurrentResourceOwner);
	keep_plan(execution->sql, kept);
}

static ParamListInfo
params_of(const Execution *execution)
{
	const EsOwnSql *sql = execution->sql;
	ParamListInfo params = makeParamList(sql->nargs);

	for (int i = 0; i < sql->nargs; i++)
	{
		params->params[i].value = execution->values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = sql->types[i];
	}
	return params;
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	const Execution *execution = ((const Receiver *) self)->execution;
	MemoryContext executor = MemoryContextSwitchTo(execution->caller);
	bool		go_on = execution->step(slot, execution->arg);

	MemoryContextSwitchTo(executor);
	return go_on;
}

static void
start_receiving(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
stop_receiving(DestReceiver *self)
{
}

/* ---- plans ---- */

static void
prepare(EsOwnSql *sql)
{
	SPIPlanPtr	plan;

	Assert(sql->nargs <= ES_OWN_SQL_ARGS);
	plan = SPI_prepare_cursor(sql->text, sql->nargs, sql->types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql->text, SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	sql->plan = plan;
}

/* Which of the plans made for it is good; 0: none, one will be made. */
static int
kept_generation(const EsOwnSql *sql)
{
	const CachedPlanSource *source;

	if (sql->plan == NULL)
		return 0;
	source = linitial(SPI_plan_get_plan_sources(sql->plan));
	return source->is_valid && source->gplan != NULL && source->gplan->is_valid ? source->generation : 0;
}

/* Unless it is another one than that which was there before. */
static void
keep_plan(EsOwnSql *sql, int kept)
{
	if (kept == 0 || kept_generation(sql) == kept)
		return;
	SPI_freeplan(sql->plan);
	sql->plan = NULL;
}

/* Until who runs as the owner is done (es_catalog_as_owner). */
static void
go_by_indexes(void)
{
	static const char *const settings[] = {"enable_seqscan", "enable_bitmapscan", "enable_memoize", "jit"};

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* ---- columns of a row ---- */

text *
es_own_sql_text(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : DatumGetTextPCopy(value);
}

Jsonb *
es_own_sql_jsonb(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

int64
es_own_sql_int64(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

int32
es_own_sql_int32(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

bool
es_own_sql_time(HeapTuple row, TupleDesc desc, int column, TimestampTz *time)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	if (!isnull)
		*time = DatumGetTimestampTz(value);
	return !isnull;
}
