/*
 * roster.c
 *		The table of streams, open for finding and entering them.
 *
 * What one look-up must open costs as much as the look-up itself, so a batch
 * keeps its roster open: the table, a scan of the index on names that is
 * restarted for each, and for new streams all indexes.  It belongs to the
 * resource owner under which it was opened, which may not be the current one
 * when a nested statement uses it.  Locks: ACCESS SHARE, ROW EXCLUSIVE from the
 * first new stream, to the end of the transaction.
 */
#include "log/roster.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "compat.h"
#include "log/catalog.h"
#include "log/rows.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

enum
{
	COL_ID = 1,
	COL_FIRST_POSITION,
	COL_NAME
};

struct EsRoster
{
	MemoryContext context;
	ResourceOwner owner;		/* of all that is open */
	Relation	rel;			/* NULL: not open for finding */
	Relation	by_name;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	EsRows		rows;			/* open once there was a new stream */
};

EsRoster *
es_roster_begin(void)
{
	EsRoster   *roster = palloc0(sizeof(EsRoster));

	roster->context = CurrentMemoryContext;
	return roster;
}

static void
open_for_finding(EsRoster *roster)
{
	roster->rel = table_open(es_catalog_oid(ES_REL_STREAM), AccessShareLock);
	roster->by_name = index_open(es_catalog_oid(ES_REL_STREAM_NAME_IDX), AccessShareLock);
	roster->slot = table_slot_create(roster->rel, NULL);
	roster->scan = es_compat_index_beginscan(roster->rel, roster->by_name, SnapshotSelf, 1);
}

bool
es_roster_find(EsRoster *roster, const text *name, EsStream *stream, TransactionId *xmin)
{
	MemoryContext old = MemoryContextSwitchTo(roster->context);
	ResourceOwner current = CurrentResourceOwner;
	ScanKeyData key;
	bool		found;

	if (roster->owner == NULL)
		roster->owner = CurrentResourceOwner;
	CurrentResourceOwner = roster->owner;
	if (roster->rel == NULL)
		open_for_finding(roster);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(name));
	key.sk_collation = C_COLLATION_OID;
	index_rescan(roster->scan, &key, 1, NULL, 0);
	found = index_getnext_slot(roster->scan, ForwardScanDirection, roster->slot);
	memset(stream, 0, sizeof(*stream));
	if (found)
	{
		HeapTuple	tuple = ExecFetchSlotHeapTuple(roster->slot, false, NULL);
		bool		isnull;

		stream->id = DatumGetInt64(slot_getattr(roster->slot, COL_ID, &isnull));
		stream->first_position = DatumGetInt64(slot_getattr(roster->slot, COL_FIRST_POSITION, &isnull));
		*xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	}
	ExecClearTuple(roster->slot);

	/* Keeps no page pinned while the client of a COPY takes its time. */
	index_rescan(roster->scan, &key, 1, NULL, 0);
	CurrentResourceOwner = current;
	MemoryContextSwitchTo(old);
	return found;
}

void
es_roster_insert(EsRoster *roster, const text *name, const EsStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(roster->context);
	ResourceOwner current = CurrentResourceOwner;
	TupleTableSlot *slot;

	if (roster->owner == NULL)
		roster->owner = CurrentResourceOwner;
	CurrentResourceOwner = roster->owner;
	if (roster->rows.rel == NULL)
		es_rows_open(&roster->rows, es_catalog_oid(ES_REL_STREAM));
	slot = es_rows_slots(&roster->rows, 1)[0];
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, COL_NAME * sizeof(bool));
	slot->tts_values[COL_ID - 1] = Int64GetDatum(stream->id);
	slot->tts_values[COL_FIRST_POSITION - 1] = Int64GetDatum(stream->first_position);
	slot->tts_values[COL_NAME - 1] = PointerGetDatum(name);
	ExecStoreVirtualTuple(slot);
	es_rows_insert(&roster->rows, 1, 0, NULL);
	CurrentResourceOwner = current;
	MemoryContextSwitchTo(old);
}

void
es_roster_end(EsRoster *roster)
{
	ResourceOwner current = CurrentResourceOwner;

	if (roster->owner != NULL)
		CurrentResourceOwner = roster->owner;
	if (roster->rel != NULL)
	{
		ExecDropSingleTupleTableSlot(roster->slot);
		index_endscan(roster->scan);
		index_close(roster->by_name, NoLock);
		table_close(roster->rel, NoLock);
	}
	es_rows_close(&roster->rows);
	CurrentResourceOwner = current;
	pfree(roster);
}
