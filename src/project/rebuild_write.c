/*
 * rebuild_write.c
 *		Rows of a store, written to the table where it has others.
 *
 * Constraints are checked as rows are written: none but those of the end count.
 * Rows may exchange unique values, so where there are any the old versions all go
 * before the first new one comes; of a store that is read part by part, the new
 * ones wait in a file meanwhile.
 *
 * Locks: the caller's.  Memory: the part at hand, with the table's rows that
 * differ from it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "log/progress.h"
#include "miscadmin.h"
#include "project/rebuild_write.h"
#include "project/replay.h"
#include "project/store_journal.h"
#include "utils/memutils.h"

static int64 mark_changed(EsFold *fold, Snapshot snapshot);
static void look_up(EsFold *fold, EsRow *row, Snapshot snapshot);
static void take_out(EsFold *fold, const EsTarget *target, EsJournal *later);
static void bring_in(EsJournal *later, const EsTarget *target);

int64
es_rebuild_write(EsStore *store, const EsTarget *target, Snapshot snapshot)
{
	EsJournal  *later = NULL;
	EsFold	   *fold;
	EsProgress	progress;
	int64		count = 0;

	es_progress_begin(&progress, psprintf("rebuild of %s: writing", target->name), ES_PROGRESS_UNKNOWN);
	if (target->has_other_unique && !es_store_is_whole(store))
		later = es_journal_begin();
	while ((fold = es_store_next(store)) != NULL)
	{
		int64		changed = mark_changed(fold, snapshot);

		es_replay_check_rows(fold);
		if (later == NULL)
			es_fold_flush(fold);
		else
			take_out(fold, target, later);
		count += changed;
		es_progress_step(&progress, changed);
	}
	if (later != NULL)
		bring_in(later, target);
	es_progress_end(&progress);
	return count;
}

static int64
mark_changed(EsFold *fold, Snapshot snapshot)
{
	EsRowScan	scan = {0};
	EsRow	   *row;
	int64		count = 0;

	while ((row = es_fold_next_row(fold, &scan)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (snapshot != NULL)
			look_up(fold, row, snapshot);
		row->changed = es_store_row_differs(row);
		if (row->changed)
			count++;
	}
	return count;
}

static void
look_up(EsFold *fold, EsRow *row, Snapshot snapshot)
{
	HeapTuple	found = es_target_read_seen(row->target, row->key, snapshot);

	row->compared = found != NULL;
	row->found = NULL;
	if (found == NULL)
		return;
	if (row->now == NULL || !es_target_same_row(row->target, row->now, found))
		row->found = es_fold_keep(fold, found);
	heap_freetuple(found);
}

/* Deletes what is replaced, and puts its replacement aside. */
static void
take_out(EsFold *fold, const EsTarget *target, EsJournal *later)
{
	EsTargetWriter *writer = es_target_begin_write(target);
	EsRowScan	scan = {0};
	EsRow	   *row;

	while ((row = es_fold_next_row(fold, &scan)) != NULL)
	{
		EsEntry		entry = {.kind = ES_ENTRY_ROW,.now = row->now};

		CHECK_FOR_INTERRUPTS();
		if (!row->changed)
			continue;
		if (row->found != NULL)
			es_target_delete(writer, row->found);
		if (row->now != NULL)
			es_journal_write(later, &entry);
	}
	es_target_end_write(writer);
}

static void
bring_in(EsJournal *later, const EsTarget *target)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource rebuild row",
											   ALLOCSET_DEFAULT_SIZES);
	EsTargetWriter *writer = es_target_begin_write(target);

	for (;;)
	{
		MemoryContext caller = MemoryContextSwitchTo(work);
		EsEntry		entry;
		bool		found = es_journal_read(later, &entry);

		/* The writer keeps its indexes in the context it is called in. */
		MemoryContextSwitchTo(caller);
		if (!found)
			break;
		CHECK_FOR_INTERRUPTS();
		entry.now->t_tableOid = target->relid;
		es_target_insert(writer, entry.now);
		MemoryContextReset(work);
	}
	es_target_end_write(writer);
	MemoryContextDelete(work);
	es_journal_end(later);
	CommandCounterIncrement();
}
