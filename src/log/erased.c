/*
 * erased.c
 *		Subjects that were erased.
 *
 * A mark is a row of eventsource.erased, one per subject and mode; rows are
 * inserted and deleted, never updated, so that a look at the table cannot fall
 * between two versions of one.
 *
 * An append and an erasure that race: every appender holds ROW EXCLUSIVE on the
 * log, taken before he looks for a mark; who erases first writes his mark and then
 * waits for all who hold that lock, as CREATE INDEX CONCURRENTLY does.  So an
 * appender either is waited for, and what he recorded is erased, or looks after the
 * mark was written.  A mark whose transaction is still open refuses him with 40001:
 * he may hold what the erasure is going to wait for, so he must not wait himself.
 *
 * While the table has no page nothing is looked for: once in a transaction, as a
 * mark that comes later waits for its end.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "errors.h"
#include "log/catalog.h"
#include "log/chain.h"
#include "log/erased.h"
#include "log/sha256.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

enum
{
	COL_SUBJECT = 1,
	COL_MODE,
	COL_MARKED_AT,
	COL_COUNT = COL_MARKED_AT
};

#define STREAM_PREFIX		ES_ERASURE_CATEGORY "-"
#define STREAM_PREFIX_LEN	((int) strlen(STREAM_PREFIX))

static const char *const mode_names[ES_ERASED_MODES] = {
	[ES_ERASED_NOT] = "not",
	[ES_ERASED_SOFT] = "soft",
	[ES_ERASED_ANONYMIZE] = "anonymize",
	[ES_ERASED_HARD] = "hard"
};

/* Known of this transaction, which holds the log's lock since. */
static bool none_marked;

/* In the transaction's memory. */
static const text *excepted;

static EsErasedMode find_mark(Relation rel, const text *subject, Snapshot snapshot);
static void refuse(const text *subject, EsErasedMode mode);

const char *
es_erased_mode_name(EsErasedMode mode)
{
	return mode_names[mode];
}

EsErasedMode
es_erased_mode_named(const char *name)
{
	for (int i = ES_ERASED_SOFT; i < ES_ERASED_MODES; i++)
		if (strcmp(name, mode_names[i]) == 0)
			return (EsErasedMode) i;
	return ES_ERASED_NOT;
}

/*
 * A subject too long for the name of a stream is told by its digest.  Both go by UTF-8,
 * so that the stream is found where the log is restored in another encoding.
 */
text *
es_erasure_stream(const text *subject)
{
	int			len = VARSIZE_ANY_EXHDR(subject);
	int			utf8_len = len;
	const char *utf8 = es_chain_utf8(VARDATA_ANY(subject), &utf8_len);
	uint8		digest[ES_HASH_SIZE];
	char		hex[2 * ES_HASH_SIZE + 1];

	if (Max(len, utf8_len) <= ES_MAX_STREAM_NAME - STREAM_PREFIX_LEN)
		return cstring_to_text(psprintf(STREAM_PREFIX "%.*s", len, VARDATA_ANY(subject)));
	es_sha256(utf8, utf8_len, digest);
	hex[hex_encode((const char *) digest, sizeof(digest), hex)] = '\0';
	return cstring_to_text(psprintf(STREAM_PREFIX "sha256.%s", hex));
}

/* ---- appending ---- */

void
es_erased_refuse(const text *subject, bool is_locked, EsErasedMode known)
{
	Relation	rel;
	SnapshotData dirty;
	EsErasedMode mode = ES_ERASED_NOT;
	bool		none;

	if (none_marked)
		return;
	InitDirtySnapshot(dirty);
	dirty.xmin = InvalidTransactionId;
	rel = table_open(es_catalog_oid(ES_REL_ERASED), AccessShareLock);
	none = RelationGetNumberOfBlocks(rel) == 0;
	if (!none)
		mode = find_mark(rel, subject, &dirty);
	none_marked = none && is_locked;
	table_close(rel, AccessShareLock);
	if (mode <= known || es_text_same(subject, excepted))
		return;
	if (TransactionIdIsValid(dirty.xmin))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("subject \"%s\" is being erased", text_to_cstring(subject)),
				 errdetail("Another transaction is at it."),
				 errhint("Retry the transaction when that one has ended.")));
	refuse(subject, mode);
}

static void
refuse(const text *subject, EsErasedMode mode)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_SUBJECT_ERASED),
			 errmsg("subject \"%s\" is erased", text_to_cstring(subject)),
			 mode == ES_ERASED_SOFT ? errdetail("It was deactivated, and nothing is recorded about it.") :
			 errdetail("What was known about it is gone (mode %s), and nothing is recorded about it any more.",
					   mode_names[mode]),
			 mode == ES_ERASED_SOFT ? errhint("eventsource.revert_erasure() restores it.") :
			 errhint("What happens from now on is about another subject: give it another key.")));
}

/* The strongest one.  A dirty snapshot is left as the last row that it let pass set it. */
static EsErasedMode
find_mark(Relation rel, const text *subject, Snapshot snapshot)
{
	EsErasedMode found = ES_ERASED_NOT;
	TransactionId pending = InvalidTransactionId;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		isnull;

	ScanKeyInit(&key, COL_SUBJECT, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(subject));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_ERASED_PKEY), true, snapshot, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		EsErasedMode mode = DatumGetInt16(heap_getattr(row, COL_MODE, RelationGetDescr(rel), &isnull));

		/* One that is certain outweighs those that are not. */
		if (found == ES_ERASED_NOT || !TransactionIdIsValid(snapshot->xmin))
			pending = snapshot->xmin;
		found = Max(found, mode);
	}
	systable_endscan(scan);
	if (snapshot->snapshot_type == SNAPSHOT_DIRTY)
		snapshot->xmin = pending;
	return found;
}

EsErasedMode
es_erased_find(const text *subject, Snapshot snapshot)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ERASED), AccessShareLock);
	EsErasedMode mode = find_mark(rel, subject, snapshot);

	table_close(rel, AccessShareLock);
	return mode;
}

EsErasedMode
es_erased_expect(const text *subject)
{
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	return es_erased_find(subject, &dirty);
}

/* ---- erasing ---- */

void
es_erased_lock(const text *subject)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(subject),
										   VARSIZE_ANY_EXHDR(subject), 0);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, ES_LOCK_SUBJECT);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
es_erased_mark(const text *subject, EsErasedMode mode)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ERASED), RowExclusiveLock);
	bool		nulls[COL_COUNT] = {0};
	Datum		values[COL_COUNT];
	LOCKTAG		tag;

	values[COL_SUBJECT - 1] = PointerGetDatum(subject);
	values[COL_MODE - 1] = Int16GetDatum((int16) mode);
	values[COL_MARKED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	none_marked = false;
	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
	CommandCounterIncrement();

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, es_catalog_oid(ES_REL_EVENT));
	WaitForLockers(tag, ShareLock, false);
}

void
es_erased_unmark(const text *subject, EsErasedMode mode)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ERASED), RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&keys[0], COL_SUBJECT, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(subject));
	keys[0].sk_collation = C_COLLATION_OID;
	ScanKeyInit(&keys[1], COL_MODE, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum((int16) mode));
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_ERASED_PKEY), true, SnapshotSelf, 2, keys);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		es_catalog_delete(rel, row);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

const text *
es_erased_except(const text *subject)
{
	const text *before = excepted;

	excepted = subject;
	return before;
}

/* ---- verifying ---- */

void
es_erased_visit(Snapshot snapshot, EsErasedVisit visit, void *arg)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ERASED), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, es_catalog_oid(ES_REL_ERASED_PKEY), false, snapshot, 0, NULL);
	HeapTuple	row;
	bool		isnull;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		text	   *subject = DatumGetTextPP(heap_getattr(row, COL_SUBJECT, RelationGetDescr(rel), &isnull));

		CHECK_FOR_INTERRUPTS();
		visit(subject, DatumGetInt16(heap_getattr(row, COL_MODE, RelationGetDescr(rel), &isnull)), arg);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* ---- end of transactions ---- */

static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		none_marked = false;
		excepted = NULL;
	}
}

/* The log's lock may be gone, taken inside. */
static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		none_marked = false;
}

void
es_erased_init(void)
{
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
