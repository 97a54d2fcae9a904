/*
 * rows.c
 *		A table of ours that is open for writing rows, with its indexes.
 *
 * Rows go straight through the table and index access methods: no plan, no
 * executor state, no triggers (the guards refuse every other way in).
 *
 * Who keeps it open over several calls restores the memory context and the
 * resource owner it was opened under.
 */
#include "log/rows.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "compat.h"
#include "executor/executor.h"

/* Above this many rows a ring buffer and kept pages pay. */
#define BULK_ROWS	100

/*
 * Every index that is ready gets its entries, valid or not: one that is being
 * built concurrently relies on it.
 */
void
es_rows_open(EsRows *rows, Oid table)
{
	List	   *oids;
	ListCell   *lc;

	memset(rows, 0, sizeof(*rows));
	rows->context = CurrentMemoryContext;
	rows->rel = table_open(table, RowExclusiveLock);
	oids = RelationGetIndexList(rows->rel);
	rows->indexes = palloc(Max(1, list_length(oids)) * sizeof(EsRowIndex));
	foreach(lc, oids)
	{
		EsRowIndex *index = &rows->indexes[rows->n_indexes];

		index->rel = index_open(lfirst_oid(lc), RowExclusiveLock);
		index->info = BuildIndexInfo(index->rel);
		if (!index->info->ii_ReadyForInserts)
		{
			index_close(index->rel, NoLock);
			continue;
		}
		index->is_plain = index->info->ii_Expressions == NIL && index->info->ii_Predicate == NIL;
		rows->n_indexes++;
	}
	list_free(oids);
}

void
es_rows_close(EsRows *rows)
{
	if (rows->rel == NULL)
		return;
	for (int i = 0; i < rows->n_slots; i++)
		ExecDropSingleTupleTableSlot(rows->slots[i]);
	if (rows->estate != NULL)
		FreeExecutorState(rows->estate);
	for (int i = 0; i < rows->n_indexes; i++)
	{
		es_compat_index_insert_cleanup(rows->indexes[i].rel, rows->indexes[i].info);
		index_close(rows->indexes[i].rel, NoLock);
		pfree(rows->indexes[i].info);
	}
	pfree(rows->indexes);
	if (rows->slots != NULL)
		pfree(rows->slots);
	if (rows->desc != NULL)
		FreeTupleDesc(rows->desc);
	table_close(rows->rel, NoLock);
	rows->rel = NULL;
}

/*
 * Many slots on one description have a copy of it: each would be counted by the
 * resource owner, which is slow at forgetting the same thing often.
 */
TupleTableSlot **
es_rows_slots(EsRows *rows, int count)
{
	if (rows->max_slots < count)
	{
		rows->slots = rows->slots == NULL ?
			palloc(count * sizeof(TupleTableSlot *)) :
			repalloc(rows->slots, count * sizeof(TupleTableSlot *));
		rows->max_slots = count;
	}
	if (rows->desc == NULL && count > 1)
		rows->desc = CreateTupleDescCopy(RelationGetDescr(rows->rel));
	while (rows->n_slots < count)
		rows->slots[rows->n_slots++] =
			MakeSingleTupleTableSlot(rows->desc != NULL ? rows->desc : RelationGetDescr(rows->rel),
									 &TTSOpsHeapTuple);
	return rows->slots;
}

/* False: the index does not want the row. */
static bool
form_index_entry(EsRows *rows, EsRowIndex *index, TupleTableSlot *slot, Datum *values, bool *nulls)
{
	IndexInfo  *info = index->info;
	ExprContext *econtext;

	if (index->is_plain)
	{
		for (int k = 0; k < info->ii_NumIndexAttrs; k++)
			values[k] = slot_getattr(slot, info->ii_IndexAttrNumbers[k], &nulls[k]);
		return true;
	}
	if (rows->estate == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(rows->context);

		rows->estate = CreateExecutorState();
		MemoryContextSwitchTo(caller);
	}
	econtext = GetPerTupleExprContext(rows->estate);
	econtext->ecxt_scantuple = slot;
	if (info->ii_Predicate != NIL)
	{
		if (info->ii_PredicateState == NULL)
			info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, rows->estate);
		if (!ExecQual(info->ii_PredicateState, econtext))
			return false;
	}
	FormIndexDatum(info, slot, rows->estate, values, nulls);
	return true;
}

static void
insert_index_entry(EsRows *rows, EsRowIndex *index, TupleTableSlot *slot)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (form_index_entry(rows, index, slot, values, nulls))
		(void) index_insert(index->rel, values, nulls, &slot->tts_tid, rows->rel,
							index->info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
							false, index->info);
	if (rows->estate != NULL)
		ResetPerTupleExprContext(rows->estate);
}

void
es_rows_insert(EsRows *rows, int count, int ordered_index, const int *order)
{
	CommandId	cid = GetCurrentCommandId(true);

	if (count == 1)
		table_tuple_insert(rows->rel, rows->slots[0], cid, 0, NULL);
	else
	{
		BulkInsertState bulk = count >= BULK_ROWS ? GetBulkInsertState() : NULL;

		table_multi_insert(rows->rel, rows->slots, count, cid, 0, bulk);
		if (bulk != NULL)
			FreeBulkInsertState(bulk);
	}
	for (int k = 0; k < rows->n_indexes; k++)
	{
		const int  *mine = k == ordered_index ? order : NULL;

		for (int i = 0; i < count; i++)
			insert_index_entry(rows, &rows->indexes[k], rows->slots[mine == NULL ? i : mine[i]]);
	}
	for (int i = 0; i < count; i++)
		ExecClearTuple(rows->slots[i]);
}

void
es_rows_update(EsRows *rows, ItemPointer tid, HeapTuple row)
{
	TupleTableSlot *slot = es_rows_slots(rows, 1)[0];
	EsIndexNeed need;

	ExecStoreHeapTuple(row, slot, false);
	if (es_compat_rewrite(rows->rel, tid, slot, GetCurrentCommandId(true), &need) != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to \"%s\"", RelationGetRelationName(rows->rel)),
				 errdetail("Another transaction changed the same row."),
				 errhint("The transaction might succeed if retried.")));
	for (int k = 0; k < rows->n_indexes && need != ES_INDEX_NEED_NONE; k++)
		if (need == ES_INDEX_NEED_ALL || es_compat_is_summarizing(rows->indexes[k].info))
			insert_index_entry(rows, &rows->indexes[k], slot);
	ExecClearTuple(slot);
}
