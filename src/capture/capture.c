/*
 * capture.c
 *		The triggers on a tracked table.
 *
 * One function serves them all: AFTER each row, which turns the change into
 * events; AFTER the statement, which writes what waits; BEFORE TRUNCATE, which
 * says of every row that it is deleted.  They are enabled ALWAYS.
 *
 * Whoever may write the table may run them: they need no rights on the log, and
 * do nothing for a table that the definition does not name.
 *
 * A row that moves to another partition is deleted from one and inserted into
 * the other.  The deletion waits for the insertion that belongs to it, which is
 * the next one at its level of triggers, and they become one update.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "append/hall.h"
#include "capture/capture.h"
#include "capture/change.h"
#include "capture/define_track.h"
#include "capture/track.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "errors.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "log/open.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_capture);

/* A row that left a partition and has not come into another yet. */
typedef struct Move
{
	MemoryContext context;		/* NULL: there is none */
	const EsTracking *tracking;
	int			depth;			/* of triggers */
	SubTransactionId subid;
	EsRowImage	old;
} Move;

static Move move;

static void capture_row(TriggerData *trigger);
static void capture_truncate(TriggerData *trigger);
static void delete_rows_of(Relation rel, const char *category);
static bool has_truncate_trigger(Relation rel);
static const EsTrackedTable *table_of(Relation rel, const char *category);
static bool is_restoring(Relation rel);
static void refuse_lost(const EsTracking *tracking);
static void read_row(const EsTrackedTable *table, TupleTableSlot *slot, EsRowImage *row);
static void write_change(const EsTrackedTable *table, const EsRowImage *old, const EsRowImage *new);
static int	trigger_depth(void);
static bool may_wait(const EsTrackedTable *table);
static void begin_move(const EsTrackedTable *table, const EsRowImage *old);
static MemoryContext take_move(const EsTracking *tracking, EsRowImage *old);
static void end_stray_move(void);

Datum
eventsource_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventsource.capture() is a trigger function"),
				 errdetail("It was called as an ordinary function, or by a trigger without a category."),
				 errhint("eventsource.track_table() puts it on a table.")));
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		capture_row(trigger);
	else if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		capture_truncate(trigger);
	else
	{
		if (move.context != NULL && move.depth == trigger_depth())
			end_stray_move();
		es_batch_settle();
	}
	return PointerGetDatum(NULL);
}

static void
capture_row(TriggerData *trigger)
{
	static const EsRowImage no_row = {NULL, NULL};
	Relation	rel = trigger->tg_relation;
	const EsTrackedTable *table;
	EsRowImage	old = no_row;
	EsRowImage	new = no_row;

	if (!TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventsource.capture() must be fired AFTER the row"),
				 errdetail("Trigger \"%s\" fires before.", trigger->tg_trigger->tgname),
				 errhint("eventsource.track_table() makes the triggers as they must be.")));
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && is_restoring(rel))
		return;
	table = table_of(rel, trigger->tg_trigger->tgargs[0]);

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		MemoryContext moved = take_move(table->tracking, &old);

		read_row(table, trigger->tg_trigslot, &new);
		write_change(table, &old, &new);
		if (moved != NULL)
			MemoryContextDelete(moved);
		return;
	}
	read_row(table, trigger->tg_trigslot, &old);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		read_row(table, trigger->tg_newslot, &new);
	else if (may_wait(table) && HeapTupleHeaderIndicatesMovedPartitions(trigger->tg_trigtuple->t_data))
	{
		begin_move(table, &old);
		return;
	}
	write_change(table, &old, &new);
}

/*
 * Events wait for the end of the statement where nobody can look for them before.
 * What a replication worker applies has no statements.
 */
static bool
may_wait(const EsTrackedTable *table)
{
	return table->batches && !IsLogicalWorker();
}

static void
write_change(const EsTrackedTable *table, const EsRowImage *old, const EsRowImage *new)
{
	EsBatch    *batch;

	if (may_wait(table))
	{
		batch = es_batch_of_statement();
		es_change_capture(table->tracking, batch, old, new);
		if (es_batch_is_full(batch))
			es_batch_flush(batch);
		return;
	}
	batch = es_batch_begin();
	es_change_capture(table->tracking, batch, old, new);
	es_batch_flush(batch);
	es_batch_end(batch);
}

/* The table as the definition has it, which is brought up to date before. */
static const EsTrackedTable *
table_of(Relation rel, const char *category)
{
	const EsTrackedTable *table = es_tracking_of_trigger(rel, category);

	if (unlikely(table->tracking->is_outdated))
	{
		refuse_lost(table->tracking);
		es_tracking_write_renewed(table->tracking);
		table = es_tracking_of_trigger(rel, category);
	}
	if (unlikely(table->tracking->lost_column != 0))
		refuse_lost(table->tracking);
	return table;
}

static void
refuse_lost(const EsTracking *tracking)
{
	if (tracking->lost_column == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 tracking->lost_column > 0 ?
			 errmsg("a key column of tracked table \"%s\" was dropped", get_rel_name(tracking->relid)) :
			 errmsg("the state column of tracked table \"%s\" was dropped", get_rel_name(tracking->relid)),
			 errdetail("Changes of the table cannot be captured without it."),
			 errhint("Call eventsource.track_table() again with what takes its place, or eventsource.untrack_table().")));
}

/*
 * A restore of data alone into a schema with triggers: the log is not opened in
 * this database yet, and comes with the same dump.  What tells a restore from an
 * application that begins to write is a setting that pg_dump makes.
 */
static bool
is_restoring(Relation rel)
{
	return !check_function_bodies && !es_log_is_open() &&
		has_privs_of_role(GetUserId(), rel->rd_rel->relowner);
}

/* ---- rows ---- */

static void
read_row(const EsTrackedTable *table, TupleTableSlot *slot, EsRowImage *row)
{
	Datum	   *values;
	bool	   *nulls;

	slot_getallattrs(slot);
	if (table->map == NULL)
	{
		row->values = slot->tts_values;
		row->nulls = slot->tts_isnull;
		return;
	}
	values = palloc0(Max(1, table->natts) * sizeof(Datum));
	nulls = palloc(Max(1, table->natts) * sizeof(bool));
	for (int i = 0; i < table->natts; i++)
	{
		AttrNumber	attno = table->map[i];

		nulls[i] = attno == InvalidAttrNumber || slot->tts_isnull[attno - 1];
		if (!nulls[i])
			values[i] = slot->tts_values[attno - 1];
	}
	row->values = values;
	row->nulls = nulls;
}

/* ---- moves between partitions ---- */

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* Copies the row, which lasts no longer than this trigger. */
static void
begin_move(const EsTrackedTable *table, const EsRowImage *old)
{
	MemoryContext context;
	MemoryContext caller;
	Datum	   *values;
	bool	   *nulls;

	end_stray_move();
	context = AllocSetContextCreate(TopTransactionContext, "eventsource moving row", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	values = palloc0(Max(1, table->natts) * sizeof(Datum));
	nulls = palloc(Max(1, table->natts) * sizeof(bool));
	memcpy(nulls, old->nulls, table->natts * sizeof(bool));
	for (int i = 0; i < table->tracking->ncolumns; i++)
	{
		const EsTrackedColumn *column = &table->tracking->columns[i];
		int			k = column->attno - 1;

		if (!nulls[k])
			values[k] = datumCopy(old->values[k], column->by_value, column->length);
	}
	MemoryContextSwitchTo(caller);
	move.context = context;
	move.tracking = table->tracking;
	move.depth = trigger_depth();
	move.subid = GetCurrentSubTransactionId();
	move.old.values = values;
	move.old.nulls = nulls;
}

/*
 * The row that an insertion moves on, and the memory it is in, which the caller
 * deletes; NULL: it is an insertion like any other.
 */
static MemoryContext
take_move(const EsTracking *tracking, EsRowImage *old)
{
	MemoryContext context = move.context;

	if (context == NULL || move.depth != trigger_depth())
		return NULL;
	if (move.tracking->relid != tracking->relid)
	{
		end_stray_move();
		return NULL;
	}
	*old = move.old;
	move.context = NULL;
	return context;
}

/* A trigger kept the row from coming in: it is gone. */
static void
end_stray_move(void)
{
	static const EsRowImage no_row = {NULL, NULL};
	MemoryContext context = move.context;

	if (context == NULL)
		return;
	move.context = NULL;
	es_change_capture(move.tracking, es_batch_of_statement(), &move.old, &no_row);
	MemoryContextDelete(context);
}

static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		move.context = NULL;
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && move.subid == mySubid)
		move.context = NULL;
}

void
es_capture_init(void)
{
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}

/* ---- TRUNCATE ---- */

/*
 * Each partition has a trigger of its own; one that came later and has none is
 * served by that of its parent.
 */
static void
capture_truncate(TriggerData *trigger)
{
	Relation	rel = trigger->tg_relation;
	const char *category = trigger->tg_trigger->tgargs[0];
	const EsTracking *tracking;
	ListCell   *lc;

	if (is_restoring(rel))
		return;
	tracking = es_tracking_of_table(RelationGetRelid(rel));
	if (tracking == NULL || !tracking->is_active || strcmp(tracking->name, category) != 0)
		return;
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		delete_rows_of(rel, category);
		return;
	}
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), NoLock, NULL))
	{
		Relation	part = table_open(lfirst_oid(lc), NoLock);

		if (part->rd_rel->relkind == RELKIND_RELATION && !has_truncate_trigger(part))
			delete_rows_of(part, category);
		table_close(part, NoLock);
	}
}

static bool
has_truncate_trigger(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	Oid			function = es_tracking_function();

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgfoid == function && TRIGGER_FOR_TRUNCATE(triggers->triggers[i].tgtype))
			return true;
	return false;
}

/* The table is locked by TRUNCATE itself. */
static void
delete_rows_of(Relation rel, const char *category)
{
	static const EsRowImage no_row = {NULL, NULL};
	const EsTrackedTable *table = table_of(rel, category);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	EsBatch    *batch = es_batch_begin();
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource truncated row",
											   ALLOCSET_DEFAULT_SIZES);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext caller = MemoryContextSwitchTo(work);
		EsRowImage	old;

		CHECK_FOR_INTERRUPTS();
		read_row(table, slot, &old);
		es_change_capture(table->tracking, batch, &old, &no_row);
		MemoryContextSwitchTo(caller);
		if (!es_batch_is_full(batch))
			continue;
		es_batch_flush(batch);
		MemoryContextReset(work);
	}
	es_batch_flush(batch);
	es_batch_end(batch);
	MemoryContextDelete(work);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
}
