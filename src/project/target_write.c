/*
 * target_write.c
 *		Writing rows of a projection's table.
 *
 * Rows go through the table and index access methods: no SPI, no triggers (the
 * guard on the table refuses every other way in).  Index expressions with code
 * of users are evaluated with the rights of the table's owner.
 *
 * Locks: the caller holds ROW EXCLUSIVE on the table, to the end of the
 * transaction, and whatever serialises writers of the keys.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "compat.h"
#include "errors.h"
#include "executor/executor.h"
#include "project/target.h"
#include "rules/expr_parts.h"

struct EsTargetWriter
{
	const EsTarget *target;
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
	bool		in_room;
	EsRoom		room;
};

static void expect_unchanged(const EsTarget *target, Relation rel);
static void expect_written(EsTargetWriter *writer, TM_Result result);
static void open_indexes(EsTargetWriter *writer);

/*
 * The EState needs its range table: updates look into it for the columns they
 * change.  Indexes are opened by the first row that needs entries.
 */
EsTargetWriter *
es_target_begin_write(const EsTarget *target)
{
	EsTargetWriter *writer = palloc0(sizeof(EsTargetWriter));

	writer->target = target;
	writer->rel = try_table_open(target->relid, NoLock);
	expect_unchanged(target, writer->rel);
	writer->estate = CreateExecutorState();
	es_compat_init_range_table(writer->estate, writer->rel);
	writer->estate->es_output_cid = GetCurrentCommandId(true);
	writer->result = makeNode(ResultRelInfo);
	writer->result->ri_RangeTableIndex = 1;
	writer->result->ri_RelationDesc = writer->rel;
	writer->slot = MakeSingleTupleTableSlot(target->desc, &TTSOpsHeapTuple);
	writer->slot->tts_tableOid = target->relid;
	if (target->foreign_indexes)
	{
		EsExprTraits traits = {.foreign = true};

		es_expr_enter_room(&writer->room, target->owner, false, &traits);
		writer->in_room = true;
	}
	return writer;
}

/* The lock keeps others from changing the table, but not what the statement calls. */
static void
expect_unchanged(const EsTarget *target, Relation rel)
{
	TupleDesc	desc = rel == NULL ? NULL : RelationGetDescr(rel);
	bool		same = desc != NULL && desc->natts == target->desc->natts;

	for (int i = 0; same && i < desc->natts; i++)
		same = TupleDescAttr(desc, i)->atttypid == TupleDescAttr(target->desc, i)->atttypid &&
			TupleDescAttr(desc, i)->attisdropped == TupleDescAttr(target->desc, i)->attisdropped;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("projection %s was changed by the statement that appends to it", target->name),
				 errdetail("Events of the statement had been folded into the table as it was."),
				 errhint("Alter or drop the table in a statement of its own.")));
}

void
es_target_insert(EsTargetWriter *writer, HeapTuple row)
{
	ExecStoreHeapTuple(row, writer->slot, false);
	writer->slot->tts_tableOid = writer->target->relid;
	table_tuple_insert(writer->rel, writer->slot, writer->estate->es_output_cid, 0, NULL);
	open_indexes(writer);
	(void) es_compat_insert_index_tuples(writer->result, writer->slot, writer->estate, false);
	ResetPerTupleExprContext(writer->estate);
}

void
es_target_update(EsTargetWriter *writer, HeapTuple old, HeapTuple row)
{
	TM_FailureData failure;
	TM_Result	result;

	ExecStoreHeapTuple(row, writer->slot, false);
	writer->slot->tts_tableOid = writer->target->relid;
	result = es_compat_update(writer->result, &old->t_self, writer->slot, writer->estate, &failure);
	expect_written(writer, result);
	ResetPerTupleExprContext(writer->estate);
}

void
es_target_delete(EsTargetWriter *writer, HeapTuple old)
{
	TM_FailureData failure;

	expect_written(writer,
				   table_tuple_delete(writer->rel, &old->t_self, writer->estate->es_output_cid,
									  InvalidSnapshot, InvalidSnapshot, true, &failure, false));
}

void
es_target_end_write(EsTargetWriter *writer)
{
	if (writer->in_room)
		es_expr_leave_room(&writer->room);
	ExecDropSingleTupleTableSlot(writer->slot);
	ExecCloseIndices(writer->result);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	pfree(writer->result);
	pfree(writer);
}

static void
expect_written(EsTargetWriter *writer, TM_Result result)
{
	if (result != TM_Ok)
		es_target_lost_race(writer->target);
}

static void
open_indexes(EsTargetWriter *writer)
{
	if (writer->result->ri_IndexRelationDescs == NULL)
		ExecOpenIndices(writer->result, false);
}
