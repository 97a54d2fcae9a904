/*
 * scrub.c
 *		Tables whose files still hold what was taken away: an UPDATE or DELETE leaves
 *		the old row there until the table is written anew.
 *
 * Whether it was is told by the number of its file; and whether what was taken away
 * was left out then, not kept for somebody's older snapshot, by relfrozenxid, which
 * VACUUM FULL sets to the oldest transaction that it kept anything for.
 *
 * Rows come with what was taken away, and go once scrub_statements() has done its
 * work.  Locks: ROW EXCLUSIVE to add, SHARE ROW EXCLUSIVE to clear, so that two who
 * clear do not meet at a row.
 */
#include "trust/scrub.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "compat.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(eventsource_scrub_is_due);
PG_FUNCTION_INFO_V1(eventsource_forget_scrubs);

enum
{
	COL_RELID = 1,
	COL_FILENODE,
	COL_ERASED_AT,
	COL_COUNT = COL_ERASED_AT
};

void
es_scrub_note(List *tables)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SCRUB), RowExclusiveLock);
	ListCell   *lc;

	foreach(lc, tables)
	{
		Relation	touched = try_relation_open(lfirst_oid(lc), AccessShareLock);
		bool		nulls[COL_COUNT] = {0};
		Datum		values[COL_COUNT];

		if (touched == NULL)
			continue;
		values[COL_RELID - 1] = ObjectIdGetDatum(RelationGetRelid(touched));
		values[COL_FILENODE - 1] = Int64GetDatum((int64) es_compat_filenumber(touched));
		values[COL_ERASED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
		es_catalog_insert(rel, values, nulls);
		table_close(touched, NoLock);
	}
	table_close(rel, NoLock);
}

void
es_scrub_note_pruned(List *tables)
{
	static const EsRelation own[] = {ES_REL_VAULT, ES_REL_SNAPSHOT, ES_REL_IDEMPOTENCY};
	List	   *all = list_copy(tables);

	for (int i = 0; i < (int) lengthof(own); i++)
	{
		Relation	rel = table_open(es_catalog_oid(own[i]), AccessShareLock);

		if (RelationGetNumberOfBlocks(rel) > 0)
			all = lappend_oid(all, RelationGetRelid(rel));
		table_close(rel, NoLock);
	}
	es_scrub_note(all);
}

static bool
is_due(Oid table, int64 filenode, TransactionId taken_by)
{
	Relation	rel = try_relation_open(table, AccessShareLock);
	bool		result = false;

	if (rel == NULL)
		return false;			/* it went with its files */
	result = es_compat_filenumber(rel) == (uint64) filenode ||
		!TransactionIdPrecedes(taken_by, rel->rd_rel->relfrozenxid);
	table_close(rel, NoLock);
	return result;
}

/* scrub_is_due(relid oid, filenode bigint, taken_by xid) */
Datum
eventsource_scrub_is_due(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_due(PG_GETARG_OID(0), PG_GETARG_INT64(1), PG_GETARG_TRANSACTIONID(2)));
}

/* forget_scrubs(): how many tables were done */
Datum
eventsource_forget_scrubs(PG_FUNCTION_ARGS)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SCRUB), ShareRowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	int64		count = 0;
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Datum		values[COL_COUNT];
		bool		nulls[COL_COUNT];

		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		if (is_due(DatumGetObjectId(values[COL_RELID - 1]), DatumGetInt64(values[COL_FILENODE - 1]),
				   HeapTupleHeaderGetXmin(row->t_data)))
			continue;
		es_catalog_delete(rel, row);
		count++;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	PG_RETURN_INT64(count);
}
