/*
 * backfill.c
 *		Genesis events for the rows that were there before a table was tracked.
 *
 * A row whose stream exists is left alone: it was captured, or begun by an
 * earlier call; so a backfill can be stopped and repeated.  It never waits for a
 * stream: one that another transaction holds is left to that transaction, whose
 * capture begins it when it changes the row, or to the next call.
 *
 * The rows are read under a snapshot taken after the table was tracked.  An image
 * older than its row does no harm: whoever changed the row since has begun its
 * stream, or will append the change to ours.
 *
 * Memory: one row, and the batch.  Locks: streams, held to the end of the
 * transaction; for more than a thousand rows in one transaction, the whole log
 * at once, before any stream, so that nobody waits for both in turn.
 */
#include "capture/backfill.h"

#include "access/table.h"
#include "access/tableam.h"
#include "append/draft.h"
#include "capture/change.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "log/stream.h"
#include "log/user_table.h"
#include "miscadmin.h"
#include "rules/expr.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define HISTORY_PLACE	"history:"

/*
 * Pages.  Without statistics the planner thinks of a small table as larger than
 * it is, and it would cost other writers the log.
 */
#define SMALL_TABLE		100

/* Where a scan stands: a table (a partition, or the table itself) and a block. */
typedef struct Place
{
	Oid			relid;			/* InvalidOid: at the start, or at the end */
	BlockNumber block;
} Place;

PG_FUNCTION_INFO_V1(eventsource_backfill);
PG_FUNCTION_INFO_V1(eventsource_backfill_in_batches);

static void begin_backfill(EsBackfill *backfill, Oid relid, int64 limit, int64 done);
static void end_backfill(EsBackfill *backfill);
static const EsTracking *find_tracking(Oid relid);
static List *leaves_of(Oid relid);
static int64 estimated_rows(Oid relid);
static int64 count_rows(Relation rel);
static char *run(EsBackfill *backfill, char *time, const char *history, const char *from);
static EsExpr *compile_time(const EsBackfill *backfill, const char *source);
static bool scan_leaf(EsBackfill *backfill, Relation rel, BlockNumber *block);
static void take_row(const EsTrackedTable *table, TupleTableSlot *slot, TupleTableSlot *row);
static void backfill_row(EsBackfill *backfill, TupleTableSlot *row);
static char *get_string(FunctionCallInfo fcinfo, int arg);
static void expect_limit(int64 limit);
static void expect_own_transactions(FunctionCallInfo fcinfo);
static void tell_busy(int64 busy);

/* backfill(target, occurred_at, history, max_rows): rows that got their first events */
Datum
eventsource_backfill(PG_FUNCTION_ARGS)
{
	int64		limit = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT64(3);
	EsBackfill	backfill;

	expect_limit(limit);
	begin_backfill(&backfill, PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0), limit, 0);
	(void) run(&backfill, get_string(fcinfo, 1), get_string(fcinfo, 2), NULL);
	end_backfill(&backfill);
	tell_busy(backfill.busy);
	PG_RETURN_INT64(backfill.rows);
}

/*
 * CALL backfill_in_batches(target, occurred_at, history, batch_size): what lasts
 * beyond a batch is in the procedure's memory
 */
Datum
eventsource_backfill_in_batches(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char	   *time = get_string(fcinfo, 1);
	char	   *history = get_string(fcinfo, 2);
	int64		limit = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	char	   *place = NULL;
	int64		rows = 0;
	int64		busy = 0;

	expect_limit(limit);
	expect_own_transactions(fcinfo);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	do
	{
		MemoryContext procedure = CurrentMemoryContext;
		MemoryContext batch = AllocSetContextCreate(procedure, "eventsource backfill", ALLOCSET_DEFAULT_SIZES);
		EsBackfill	backfill;

		EnsurePortalSnapshotExists();
		MemoryContextSwitchTo(batch);
		begin_backfill(&backfill, relid, limit, rows);
		place = run(&backfill, time, history, place);
		end_backfill(&backfill);
		rows += backfill.rows;
		busy += backfill.busy;
		MemoryContextSwitchTo(procedure);
		if (place != NULL)
			place = pstrdup(place);
		MemoryContextDelete(batch);
		SPI_commit();
	} while (place != NULL);
	SPI_finish();
	ereport(NOTICE, (errmsg(INT64_FORMAT " rows got their first events", rows)));
	tell_busy(busy);
	PG_RETURN_NULL();
}

/* A procedure that commits must have been called outside a transaction block. */
static void
expect_own_transactions(FunctionCallInfo fcinfo)
{
	CallContext *call = (CallContext *) fcinfo->context;

	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("backfill_in_batches cannot run inside a transaction block"),
				 errdetail("It commits after each batch."),
				 errhint("CALL it by itself, or SELECT eventsource.backfill() for one transaction.")));
}

static void
tell_busy(int64 busy)
{
	if (busy > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " rows were left alone, as other transactions are at work on them", busy),
				 errdetail("What those transactions change is captured, with what was there before."),
				 errhint("Call it again later.")));
}

bool
es_backfill_claim(EsBackfill *backfill, const text *stream)
{
	EsStream	found;

	if (es_stream_find(stream, &found))
		return false;
	if (!es_stream_try_lock(stream))
	{
		backfill->busy++;
		return false;
	}
	return !es_stream_find(stream, &found);
}

void
es_backfill_add(EsBackfill *backfill, const EsDraft *draft, EsAppended *result)
{
	EsDraftContext context;

	es_draft_begin_errors(&context);
	context.draft = draft;
	es_batch_add(backfill->batch, draft, result);
	es_draft_end_errors(&context);
}

void
es_backfill_settle(EsBackfill *backfill)
{
	if (!es_batch_is_full(backfill->batch))
		return;
	es_batch_flush(backfill->batch);
	MemoryContextReset(backfill->row_context);
}

/* ---- a call ---- */

static void
begin_backfill(EsBackfill *backfill, Oid relid, int64 limit, int64 done)
{
	Relation	rel;
	int64		expected;

	memset(backfill, 0, sizeof(*backfill));
	backfill->tracking = find_tracking(relid);
	backfill->limit = limit;
	rel = table_open(relid, AccessShareLock);
	backfill->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	table_close(rel, NoLock);
	backfill->row_context = AllocSetContextCreate(CurrentMemoryContext, "eventsource backfill row",
												  ALLOCSET_DEFAULT_SIZES);
	backfill->batch = es_batch_begin_import();
	expected = estimated_rows(relid);
	es_stream_expect_distinct((int) Min(PG_INT32_MAX / 2, Min(expected, limit)));
	es_progress_begin(&backfill->progress, psprintf("backfill of %s", get_rel_name(relid)), expected);
	es_progress_step(&backfill->progress, done);
}

static void
end_backfill(EsBackfill *backfill)
{
	es_batch_flush(backfill->batch);
	es_batch_end(backfill->batch);
	es_progress_end(&backfill->progress);
	MemoryContextDelete(backfill->row_context);
}

/* Who may track a table may also say what was there before. */
static const EsTracking *
find_tracking(Oid relid)
{
	char	   *name = get_rel_name(relid);
	const EsTracking *tracking = name == NULL ? NULL : es_tracking_of_table(relid);

	if (tracking == NULL || !tracking->is_active || tracking->relid != relid)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a tracked table", name == NULL ? "this relation" : name),
				 errdetail("Only the rows of a table that is under capture can be given a history."),
				 errhint("Call eventsource.track_table() first; eventsource.tracked_tables lists the tracked ones.")));
	es_user_table_expect_owner(relid, "say what was in it before");
	return tracking;
}

/* The tables that hold the rows, in an order that stays. */
static List *
leaves_of(Oid relid)
{
	List	   *all = find_all_inheritors(relid, AccessShareLock, NULL);
	List	   *leaves = NIL;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return list_make1_oid(relid);
	foreach(lc, all)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			leaves = lappend_oid(leaves, lfirst_oid(lc));
	}
	list_sort(leaves, list_oid_cmp);
	return leaves;
}

/* How many rows there are: an estimate, but exact for small tables. */
static int64
estimated_rows(Oid relid)
{
	double		sum = 0;
	ListCell   *lc;

	foreach(lc, leaves_of(relid))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		BlockNumber pages;
		double		tuples;
		double		visible;

		table_relation_estimate_size(rel, NULL, &pages, &tuples, &visible);
		sum += RelationGetNumberOfBlocks(rel) <= SMALL_TABLE ? count_rows(rel) : tuples;
		table_close(rel, NoLock);
	}
	return (int64) sum;
}

static int64
count_rows(Relation rel)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	int64		count = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		count++;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return count;
}

/* Does one call's work from a place on; returns the next place, NULL at the end. */
static char *
run(EsBackfill *backfill, char *time, const char *history, const char *from)
{
	Place		place = {InvalidOid, 0};
	ListCell   *lc;

	backfill->time = compile_time(backfill, time);
	if (from == NULL || strncmp(from, HISTORY_PLACE, strlen(HISTORY_PLACE)) == 0)
	{
		char	   *last = history == NULL ? NULL :
			es_backfill_history(backfill, history, from == NULL ? NULL : from + strlen(HISTORY_PLACE));

		if (last != NULL)
			return psprintf("%s%s", HISTORY_PLACE, last);
	}
	else if (sscanf(from, "%u/%u", &place.relid, &place.block) != 2)
		elog(ERROR, "unexpected place of a backfill: \"%s\"", from);

	foreach(lc, leaves_of(backfill->tracking->relid))
	{
		Oid			relid = lfirst_oid(lc);
		BlockNumber block = relid == place.relid ? place.block : 0;
		Relation	rel;
		bool		at_end;

		if (relid < place.relid)
			continue;
		rel = table_open(relid, AccessShareLock);
		at_end = scan_leaf(backfill, rel, &block);
		table_close(rel, NoLock);
		if (!at_end)
			return psprintf("%u/%u", relid, block);
	}
	return NULL;
}

/* A column of the table, or an expression over "row"; with the caller's rights. */
static EsExpr *
compile_time(const EsBackfill *backfill, const char *source)
{
	EsExprScope scope = {.row = backfill->desc,.owner = GetUserId()};

	if (source == NULL)
		return NULL;
	if (get_attnum(backfill->tracking->relid, source) > 0)
		source = psprintf("row.%s", quote_identifier(source));
	return es_expr_compile_argument(&scope, "occurred_at", source, TIMESTAMPTZOID);
}

/* ---- rows ---- */

/*
 * Goes through one table from a block on; false if the limit was reached, then
 * the rest begins at *block.
 */
static bool
scan_leaf(EsBackfill *backfill, Relation rel, BlockNumber *block)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TupleTableSlot *row = MakeSingleTupleTableSlot(backfill->desc, &TTSOpsVirtual);
	const EsTrackedTable *table = es_tracking_of_trigger(rel, text_to_cstring(backfill->tracking->category));
	BlockNumber now = *block;
	bool		at_end = true;
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&first, *block, 0);
	ItemPointerSet(&last, MaxBlockNumber, PG_UINT16_MAX);
	scan = table_beginscan_tidrange(rel, snapshot, &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (backfill->rows >= backfill->limit && ItemPointerGetBlockNumber(&slot->tts_tid) != now)
		{
			*block = ItemPointerGetBlockNumber(&slot->tts_tid);
			at_end = false;
			break;
		}
		now = ItemPointerGetBlockNumber(&slot->tts_tid);
		take_row(table, slot, row);
		backfill_row(backfill, row);
		es_progress_step(&backfill->progress, 1);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return at_end;
}

/* The row as the tracked table has it, of which this table may be a partition. */
static void
take_row(const EsTrackedTable *table, TupleTableSlot *slot, TupleTableSlot *row)
{
	ExecClearTuple(row);
	slot_getallattrs(slot);
	for (int i = 0; i < table->natts; i++)
	{
		AttrNumber	attno = table->map == NULL ? i + 1 : table->map[i];

		row->tts_isnull[i] = attno == InvalidAttrNumber || slot->tts_isnull[attno - 1];
		row->tts_values[i] = row->tts_isnull[i] ? (Datum) 0 : slot->tts_values[attno - 1];
	}
	ExecStoreVirtualTuple(row);
}

static void
backfill_row(EsBackfill *backfill, TupleTableSlot *row)
{
	MemoryContext caller = MemoryContextSwitchTo(backfill->row_context);
	text	   *stream = es_tracking_stream(backfill->tracking, row->tts_values, row->tts_isnull);
	EsDraft		draft;
	EsAppended	result;

	if (es_backfill_claim(backfill, stream))
	{
		es_change_genesis(backfill->tracking, row->tts_values, row->tts_isnull, &draft);
		es_backfill_date(backfill, row->tts_values, row->tts_isnull, &draft);
		es_backfill_add(backfill, &draft, &result);
		backfill->rows++;
		es_backfill_settle(backfill);
	}
	else
		pfree(stream);
	MemoryContextSwitchTo(caller);
}

void
es_backfill_date(EsBackfill *backfill, const Datum *values, const bool *nulls, EsDraft *draft)
{
	EsBinding	binding = {0};
	TupleTableSlot *row;
	bool		isnull;

	if (backfill->time == NULL)
		return;
	row = MakeSingleTupleTableSlot(backfill->desc, &TTSOpsVirtual);
	memcpy(row->tts_values, values, backfill->desc->natts * sizeof(Datum));
	memcpy(row->tts_isnull, nulls, backfill->desc->natts * sizeof(bool));
	ExecStoreVirtualTuple(row);
	binding.row = row;
	draft->occurred_at = DatumGetTimestampTz(es_expr_eval(backfill->time, &binding, &isnull));
	draft->has_occurred_at = !isnull;
	ExecDropSingleTupleTableSlot(row);
}

/* ---- arguments ---- */

static char *
get_string(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static void
expect_limit(int64 limit)
{
	if (limit < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a backfill must be allowed one row at least"),
				 errdetail("Given is " INT64_FORMAT ".", limit),
				 errhint("Leave the number out for all rows.")));
}
