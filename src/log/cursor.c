/*
 * cursor.c
 *		How far those have come who follow the log by themselves.
 *
 * Two small private tables: eventsource.projection_cursor, whose rows are narrow
 * since they are written anew with every batch, and eventsource.projection_failure,
 * which has a row for each follower that stands still.
 *
 * A cursor's row is looked for where it stood (log/place.h).
 *
 * Locks: the progress of a follower has an advisory lock of its own, held to the
 * end of the (sub)transaction that moves it; rows are read with SnapshotSelf
 * under it.  Before it comes one that all share, which keeps them out while somebody
 * erases.
 */
#include "log/cursor.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "log/bell.h"
#include "log/catalog.h"
#include "log/place.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

enum
{
	COL_NAME = 1,
	COL_POSITION,
	COL_APPLIED_AT,
	CURSOR_COLUMNS = COL_APPLIED_AT
};

enum
{
	COL_FAILED_AT = COL_POSITION + 1,
	COL_SQLSTATE,
	COL_MESSAGE,
	COL_DETAIL,
	FAILURE_COLUMNS = COL_DETAIL
};

static HeapTuple find_row(Relation rel, EsRelation key, const char *follower, Snapshot snapshot);
static bool is_row_of(HeapTuple row, TupleDesc desc, const char *follower);
static void set_tag_of_all(LOCKTAG *tag);
static bool delete_row(EsRelation which, EsRelation key, const char *follower);

char *
es_cursor_name(const char *kind, const char *name)
{
	return psprintf("%s.%s", kind, name);
}

bool
es_cursor_lock(const char *follower, bool wait)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) follower, strlen(follower), 0);
	LOCKTAG		tag;

	if (!es_followers_enter(wait))
		return false;
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, ES_LOCK_READER);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	es_followers_leave();
	return false;
}

bool
es_followers_enter(bool wait)
{
	LOCKTAG		tag;

	set_tag_of_all(&tag);
	return LockAcquire(&tag, ShareLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
es_followers_leave(void)
{
	LOCKTAG		tag;

	set_tag_of_all(&tag);
	(void) LockRelease(&tag, ShareLock, false);
}

static void
set_tag_of_all(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, ES_LOCK_FOLLOWERS);
}

bool
es_cursor_read(const char *follower, Snapshot snapshot, EsCursor *cursor)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_CURSOR), AccessShareLock);
	HeapTuple	row = find_row(rel, ES_REL_PROJECTION_CURSOR_PKEY, follower, snapshot);
	Datum		values[CURSOR_COLUMNS];
	bool		nulls[CURSOR_COLUMNS];

	if (row != NULL)
	{
		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		cursor->position = DatumGetInt64(values[COL_POSITION - 1]);
		cursor->applied_at = DatumGetTimestampTz(values[COL_APPLIED_AT - 1]);
		heap_freetuple(row);
	}
	table_close(rel, AccessShareLock);
	return row != NULL;
}

bool
es_cursor_read_failure(const char *follower, Snapshot snapshot, EsFailure *failure)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_FAILURE), AccessShareLock);
	HeapTuple	row = find_row(rel, ES_REL_PROJECTION_FAILURE_PKEY, follower, snapshot);
	Datum		values[FAILURE_COLUMNS];
	bool		nulls[FAILURE_COLUMNS];

	if (row != NULL)
	{
		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		failure->position = DatumGetInt64(values[COL_POSITION - 1]);
		failure->failed_at = DatumGetTimestampTz(values[COL_FAILED_AT - 1]);
		failure->sqlstate = TextDatumGetCString(values[COL_SQLSTATE - 1]);
		failure->message = TextDatumGetCString(values[COL_MESSAGE - 1]);
		failure->detail = nulls[COL_DETAIL - 1] ? NULL : TextDatumGetCString(values[COL_DETAIL - 1]);
		heap_freetuple(row);
	}
	table_close(rel, AccessShareLock);
	return row != NULL;
}

bool
es_cursor_is_hidden(const char *follower, Snapshot snapshot)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_CURSOR), AccessShareLock);
	HeapTuple	row = find_row(rel, ES_REL_PROJECTION_CURSOR_PKEY, follower, SnapshotSelf);
	bool		result = false;

	/* Elsewhere every statement has a snapshot of its own. */
	if (row != NULL && IsolationUsesXactSnapshot())
		result = es_catalog_is_hidden(row, GetTransactionSnapshot());
	if (row != NULL && snapshot != NULL)
		result |= es_catalog_is_hidden(row, snapshot);
	table_close(rel, AccessShareLock);
	return result;
}

void
es_cursor_set(const char *follower, int64 position)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_CURSOR), RowExclusiveLock);
	HeapTuple	old = find_row(rel, ES_REL_PROJECTION_CURSOR_PKEY, follower, SnapshotSelf);
	bool		nulls[CURSOR_COLUMNS] = {false};
	Datum		values[CURSOR_COLUMNS];

	values[COL_NAME - 1] = CStringGetTextDatum(follower);
	values[COL_POSITION - 1] = Int64GetDatum(position);
	values[COL_APPLIED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (old == NULL)
		es_catalog_insert(rel, values, nulls);
	else
		es_catalog_update(rel, old, values, nulls);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
es_cursor_fail(const char *follower, int64 position, const ErrorData *error)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_FAILURE), RowExclusiveLock);
	HeapTuple	old = find_row(rel, ES_REL_PROJECTION_FAILURE_PKEY, follower, SnapshotSelf);
	bool		nulls[FAILURE_COLUMNS] = {false};
	Datum		values[FAILURE_COLUMNS];

	values[COL_NAME - 1] = CStringGetTextDatum(follower);
	values[COL_POSITION - 1] = Int64GetDatum(position);
	values[COL_FAILED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[COL_SQLSTATE - 1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[COL_MESSAGE - 1] = CStringGetTextDatum(error->message == NULL ? "" : error->message);
	nulls[COL_DETAIL - 1] = error->detail == NULL;
	values[COL_DETAIL - 1] = nulls[COL_DETAIL - 1] ? (Datum) 0 : CStringGetTextDatum(error->detail);
	if (old == NULL)
		es_catalog_insert(rel, values, nulls);
	else
		es_catalog_update(rel, old, values, nulls);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

bool
es_cursor_mend(const char *follower)
{
	bool		was_failed = delete_row(ES_REL_PROJECTION_FAILURE, ES_REL_PROJECTION_FAILURE_PKEY, follower);

	/* A worker may go on with it. */
	if (was_failed)
		es_bell_ring_later();
	return was_failed;
}

/* Rows of cursors are written as they are. */
void
es_followers_keep_out(void)
{
	Relation	rel;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	row;
	LOCKTAG		tag;

	set_tag_of_all(&tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_CURSOR), RowExclusiveLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Datum		values[CURSOR_COLUMNS];
		bool		nulls[CURSOR_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		es_catalog_update(rel, row, values, nulls);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

List *
es_cursor_list_failures(void)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_FAILURE), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	List	   *names = NIL;
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		name = heap_getattr(row, COL_NAME, RelationGetDescr(rel), &isnull);

		names = lappend(names, TextDatumGetCString(name));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return names;
}

void
es_cursor_silence(const char *follower)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_PROJECTION_FAILURE), RowExclusiveLock);
	HeapTuple	old = find_row(rel, ES_REL_PROJECTION_FAILURE_PKEY, follower, SnapshotSelf);
	Datum		values[FAILURE_COLUMNS];
	bool		nulls[FAILURE_COLUMNS];

	if (old != NULL)
	{
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		values[COL_MESSAGE - 1] = CStringGetTextDatum("(erased)");
		nulls[COL_DETAIL - 1] = true;
		es_catalog_update(rel, old, values, nulls);
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
es_cursor_drop(const char *follower)
{
	(void) es_cursor_mend(follower);
	(void) delete_row(ES_REL_PROJECTION_CURSOR, ES_REL_PROJECTION_CURSOR_PKEY, follower);
}

/* Copied, or NULL: where it stood, else by the index. */
static HeapTuple
find_row(Relation rel, EsRelation key, const char *follower, Snapshot snapshot)
{
	ScanKeyData scan_key;
	SysScanDesc scan;
	HeapTuple	row = es_place_read(rel, follower, snapshot);

	if (row != NULL && is_row_of(row, RelationGetDescr(rel), follower))
	{
		es_place_note(rel, follower, row);
		return row;
	}

	ScanKeyInit(&scan_key, COL_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(follower));
	scan_key.sk_collation = TupleDescAttr(RelationGetDescr(rel), COL_NAME - 1)->attcollation;
	scan = systable_beginscan(rel, es_catalog_oid(key), true, snapshot, 1, &scan_key);
	row = systable_getnext(scan);
	if (row != NULL)
	{
		row = heap_copytuple(row);
		es_place_note(rel, follower, row);
	}
	systable_endscan(scan);
	return row;
}

/* The place may have become another row's. */
static bool
is_row_of(HeapTuple row, TupleDesc desc, const char *follower)
{
	bool		isnull;
	text	   *name = DatumGetTextPP(heap_getattr(row, COL_NAME, desc, &isnull));

	return strlen(follower) == VARSIZE_ANY_EXHDR(name) &&
		memcmp(follower, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0;
}

static bool
delete_row(EsRelation which, EsRelation key, const char *follower)
{
	Relation	rel = table_open(es_catalog_oid(which), RowExclusiveLock);
	HeapTuple	row = find_row(rel, key, follower, SnapshotSelf);

	if (row != NULL)
	{
		es_catalog_delete(rel, row);
		CommandCounterIncrement();
	}
	table_close(rel, NoLock);
	return row != NULL;
}
