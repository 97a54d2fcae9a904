/*
 * rewrite.c
 *		Full segments written anew beside the log, and put into the place of one of them:
 *		to take events out, to move a segment, to merge several.
 *
 * The copy is a table of its own with the same indexes.  It is filled in order of
 * position, its indexes are built, and it is read once, all while others read the segment.
 * Then the two swap their files, as VACUUM FULL and REINDEX do: same table, same guards,
 * rights, names and settings, a part of the log all the while.  Values kept out of line go
 * by the table's own TOAST table, which swaps its files, too.
 *
 * Locks: SHARE UPDATE EXCLUSIVE on the segments while they are copied; ACCESS EXCLUSIVE on the
 * keeper and its TOAST table for the swap, which looks at no rows.  Who changes rows of
 * full segments is alone (es_retention_lock()), so nothing changes in them meanwhile.
 *
 * Rows keep their xmin, so that an older snapshot sees what is left; what has gone is
 * gone for it, too.  A segment with old versions of rows that such a snapshot may see is
 * left for later (es_rewrite_is_early()).
 */
#include "trust/rewrite.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/rewriteheap.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "commands/cluster.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "compat.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/progress.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* ---- is it time? ---- */

static bool
has_recently_dead_on(Oid table, Buffer buffer, BlockNumber block, TransactionId oldest)
{
	Page		page = BufferGetPage(buffer);
	bool		found = false;

	if (PageIsAllVisible(page))
		return false;
	for (OffsetNumber i = FirstOffsetNumber; i <= PageGetMaxOffsetNumber(page) && !found; i++)
	{
		ItemId		item = PageGetItemId(page, i);
		HeapTupleData row = {.t_tableOid = table};

		if (!ItemIdIsNormal(item))
			continue;
		row.t_data = (HeapTupleHeader) PageGetItem(page, item);
		row.t_len = ItemIdGetLength(item);
		ItemPointerSet(&row.t_self, block, i);
		switch (HeapTupleSatisfiesVacuum(&row, oldest, buffer))
		{
			case HEAPTUPLE_LIVE:
			case HEAPTUPLE_DEAD:
				break;
			default:
				found = true;
		}
	}
	return found;
}

bool
es_rewrite_is_early(const EsSegment *segment)
{
	Relation	rel = table_open(segment->table, ShareUpdateExclusiveLock);
	TransactionId oldest = GetOldestNonRemovableTransactionId(rel);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);
	bool		found = false;

	for (BlockNumber block = 0; block < blocks && !found; block++)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		found = has_recently_dead_on(RelationGetRelid(rel), buffer, block, oldest);
		UnlockReleaseBuffer(buffer);
	}
	FreeAccessStrategy(strategy);
	table_close(rel, NoLock);
	return found;
}

Oid
es_rewrite_tablespace(const EsSegment *segment)
{
	Oid			tablespace;

	if (es_guc_archive_tablespace[0] == '\0')
		return get_rel_tablespace(segment->table);
	tablespace = get_tablespace_oid(es_guc_archive_tablespace, false);
	return tablespace == MyDatabaseTableSpace ? InvalidOid : tablespace;
}

/* ---- the copy ---- */

/* How old what is copied may be: as the oldest of the segments says. */
static void
find_age(EsRewrite *rewrite)
{
	for (int i = 0; i < rewrite->count; i++)
	{
		Relation	rel = table_open(rewrite->members[i].table, ShareUpdateExclusiveLock);
		Form_pg_class form = rel->rd_rel;

		if (i == 0 || TransactionIdPrecedes(form->relfrozenxid, rewrite->frozen_xid))
			rewrite->frozen_xid = form->relfrozenxid;
		if (i == 0 || MultiXactIdPrecedes(form->relminmxid, rewrite->min_multi))
			rewrite->min_multi = form->relminmxid;
		table_close(rel, NoLock);
	}
}

static void
copy_rows(const EsRewrite *rewrite, const EsSegment *from, RewriteState state, EsProgress *progress)
{
	Relation	old = table_open(from->table, ShareUpdateExclusiveLock);
	Relation	index = es_event_open_index(old, ES_INDEX_POSITION, AccessShareLock);
	SysScanDesc scan =
		systable_beginscan_ordered(old, index, es_final_snapshot(rewrite->run->final), 0, NULL);
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		CHECK_FOR_INTERRUPTS();
		if (rewrite->keep == NULL || rewrite->keep(rewrite->arg, row))
		{
			HeapTuple	copy = heap_copytuple(row);

			rewrite_heap_tuple(state, row, copy);
			heap_freetuple(copy);
		}
		es_progress_step(progress, 1);
	}
	systable_endscan_ordered(scan);
	index_close(index, NoLock);
	table_close(old, NoLock);
}

static void
copy_heap(EsRewrite *rewrite)
{
	Relation	old = table_open(rewrite->members[rewrite->keeper].table, ShareUpdateExclusiveLock);
	Relation	new;
	RewriteState state;
	EsProgress	progress;

	rewrite->new_heap = make_new_heap(RelationGetRelid(old), rewrite->tablespace, old->rd_rel->relam,
									  RELPERSISTENCE_PERMANENT, ShareUpdateExclusiveLock);
	new = table_open(rewrite->new_heap, AccessExclusiveLock);

	/*
	 * So that values out of line are found by way of the table that is to
	 * have them.
	 */
	new->rd_toastoid = old->rd_rel->reltoastrelid;
	state = begin_heap_rewrite(old, new, GetOldestNonRemovableTransactionId(old), rewrite->frozen_xid,
							   rewrite->min_multi);
	es_progress_begin(&progress, "writing a segment anew", ES_PROGRESS_UNKNOWN);
	for (int i = 0; i < rewrite->count; i++)
		copy_rows(rewrite, &rewrite->members[i], state, &progress);
	es_progress_end(&progress);
	end_heap_rewrite(state);
	new->rd_toastoid = InvalidOid;
	table_close(new, NoLock);
	table_close(old, NoLock);
	CommandCounterIncrement();
}

/* What makes an index, from the access method on. */
static const char *
index_body(Oid index, Oid table)
{
	char	   *whole = TextDatumGetCString(DirectFunctionCall1(pg_get_indexdef, ObjectIdGetDatum(index)));
	char	   *begin = psprintf(" ON %s USING ", quote_qualified_identifier(ES_SCHEMA, get_rel_name(table)));
	char	   *at = strstr(whole, begin);

	if (at == NULL)
		elog(ERROR, "could not tell what makes index \"%s\"", get_rel_name(index));
	return at + strlen(begin);
}

/* Each index of the keeper's, in order, which they are swapped in. */
static void
build_indexes(const EsRewrite *rewrite)
{
	Relation	old = table_open(rewrite->members[rewrite->keeper].table, ShareUpdateExclusiveLock);
	List	   *indexes = RelationGetIndexList(old);
	const char *tablespace = OidIsValid(rewrite->tablespace) ? get_tablespace_name(rewrite->tablespace) : "";
	ListCell   *lc;

	(void) set_config_option("default_tablespace", tablespace, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		es_catalog_run("CREATE %sINDEX ON %s.%s USING %s", index->rd_index->indisunique ? "UNIQUE " : "", ES_SCHEMA,
					   quote_identifier(get_rel_name(rewrite->new_heap)),
					   index_body(RelationGetRelid(index), RelationGetRelid(old)));
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	table_close(old, NoLock);
	CommandCounterIncrement();
}

static void
copy_as_owner(void *arg)
{
	EsRewrite  *rewrite = arg;

	find_age(rewrite);
	copy_heap(rewrite);
	build_indexes(rewrite);
}

void
es_rewrite_copy(EsRewrite *rewrite)
{
	es_catalog_as_owner(copy_as_owner, rewrite);
	es_archive_digest_table(rewrite->run, rewrite->new_heap, &rewrite->copied);
}

/* ---- the swap ---- */

void
es_rewrite_lock(const EsRewrite *rewrite, void (*lock) (Oid table, LOCKMODE mode))
{
	Oid			table = rewrite->members[rewrite->keeper].table;
	Relation	rel;

	lock(table, AccessExclusiveLock);
	rel = table_open(table, NoLock);
	if (OidIsValid(rel->rd_rel->reltoastrelid))
		lock(rel->rd_rel->reltoastrelid, AccessExclusiveLock);
	table_close(rel, NoLock);
}

#define SWAP(type, a, b) do { type swapped = (a); (a) = (b); (b) = swapped; } while (0)

/* One relation gets the files of the other, and what is known about them. */
static void
swap_files(const EsRewrite *rewrite, Oid ours, Oid theirs)
{
	Relation	rel = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	our_row = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(ours));
	HeapTuple	their_row = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(theirs));
	Form_pg_class our;
	Form_pg_class their;

	if (!HeapTupleIsValid(our_row) || !HeapTupleIsValid(their_row))
		elog(ERROR, "cache lookup failed for relation %u or %u", ours, theirs);
	our = (Form_pg_class) GETSTRUCT(our_row);
	their = (Form_pg_class) GETSTRUCT(their_row);
	if (our->relfilenode == 0 || their->relfilenode == 0 || our->relkind != their->relkind ||
		our->relam != their->relam || our->relpersistence != their->relpersistence)
		elog(ERROR, "\"%s\" and \"%s\" are not alike", NameStr(our->relname), NameStr(their->relname));
	SWAP(Oid, our->relfilenode, their->relfilenode);
	SWAP(Oid, our->reltablespace, their->reltablespace);
	SWAP(int32, our->relpages, their->relpages);
	SWAP(float4, our->reltuples, their->reltuples);
	SWAP(int32, our->relallvisible, their->relallvisible);
	if (our->relkind != RELKIND_INDEX)
	{
		our->relfrozenxid = rewrite->frozen_xid;
		our->relminmxid = rewrite->min_multi;
	}
	es_compat_note_swap(ours, theirs, our, their);
	CatalogTupleUpdate(rel, &our_row->t_self, our_row);
	CatalogTupleUpdate(rel, &their_row->t_self, their_row);
	table_close(rel, RowExclusiveLock);
	es_compat_end_swap(ours, theirs);
}

static void
swap_table(const EsRewrite *rewrite, Oid ours, Oid theirs)
{
	Relation	our = table_open(ours, AccessExclusiveLock);
	Relation	their = table_open(theirs, AccessExclusiveLock);
	List	   *our_indexes = RelationGetIndexList(our);
	List	   *their_indexes = RelationGetIndexList(their);
	Oid			our_toast = our->rd_rel->reltoastrelid;
	Oid			their_toast = their->rd_rel->reltoastrelid;
	ListCell   *lc1;
	ListCell   *lc2;

	table_close(our, NoLock);
	table_close(their, NoLock);
	if (list_length(our_indexes) != list_length(their_indexes) ||
		OidIsValid(our_toast) != OidIsValid(their_toast))
		elog(ERROR, "the copy of \"%s\" is not like it", get_rel_name(ours));
	swap_files(rewrite, ours, theirs);
	forboth(lc1, our_indexes, lc2, their_indexes)
	{
		Relation	index = index_open(lfirst_oid(lc1), AccessExclusiveLock);

		TransferPredicateLocksToHeapRelation(index);
		index_close(index, NoLock);
		LockRelationOid(lfirst_oid(lc2), AccessExclusiveLock);
		swap_files(rewrite, lfirst_oid(lc1), lfirst_oid(lc2));
	}
	if (OidIsValid(our_toast))
		swap_table(rewrite, our_toast, their_toast);
}

static void
swap_as_owner(void *arg)
{
	EsRewrite  *rewrite = arg;
	Oid			table = rewrite->members[rewrite->keeper].table;
	Relation	rel = table_open(table, AccessExclusiveLock);
	ObjectAddress object;

	CheckTableNotInUse(rel, "archive_due");
	TransferPredicateLocksToHeapRelation(rel);
	table_close(rel, NoLock);
	swap_table(rewrite, table, rewrite->new_heap);
	CommandCounterIncrement();
	ObjectAddressSet(object, RelationRelationId, rewrite->new_heap);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();
}

void
es_rewrite_swap(EsRewrite *rewrite)
{
	es_catalog_as_owner(swap_as_owner, rewrite);
}
