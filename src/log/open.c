/*
 * open.c
 *		Whether the log was opened in this database, and which log it is.
 *
 * The install script makes no row.  The first append opens the log: it gives
 * the log its id unless a restore brought one, checks that the restore is
 * whole, sets sequences that lag behind the rows, and makes guards that a
 * restore left enabled as ordinary triggers ALWAYS again.  That it is open in
 * this database is a row of eventsource.local, which is never dumped.
 *
 * Opening happens under es_segment_lock(), in a transaction of a worker where
 * one can be had.
 */
#include "log/open.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "log/catalog.h"
#include "log/segment.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define LOG_FORMAT	1

static Oid	open_local;			/* known to be open: OID of its table "local" */
static TimestampTz open_since;
static pg_uuid_t log_id;
static Oid	log_id_of;			/* log_id was read from this table */

/*
 * First row of a table of one row: its first column into *value (a uuid or a
 * timestamp, both are copied as bytes of "size").  Tells whether the row is
 * committed.
 */
static bool
read_single_row(Oid table, void *value, Size size, bool *is_own)
{
	Relation	rel = table_open(table, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
	{
		memcpy(value, GETSTRUCT(tuple), size);
		*is_own = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
es_log_is_open(void)
{
	TimestampTz opened_at;

	return es_log_opened_at(&opened_at);
}

bool
es_log_was_opened(void)
{
	Oid			schema = es_catalog_is_installed() ? get_namespace_oid(ES_SCHEMA, true) : InvalidOid;
	Oid			local = OidIsValid(schema) ? get_relname_relid("local", schema) : InvalidOid;
	TimestampTz at;
	bool		is_own;

	return OidIsValid(local) && (open_local == local || read_single_row(local, &at, sizeof(at), &is_own));
}

bool
es_log_opened_at(TimestampTz *opened_at)
{
	Oid			local = es_catalog_oid(ES_REL_LOCAL);
	bool		is_own;

	if (open_local != local)
	{
		if (!read_single_row(local, &open_since, sizeof(open_since), &is_own))
			return false;
		if (!is_own)
			open_local = local;
	}
	*opened_at = open_since;
	return true;
}

const pg_uuid_t *
es_log_id(void)
{
	Oid			table = es_catalog_oid(ES_REL_LOG);
	bool		is_own;

	if (log_id_of == table)
		return &log_id;
	if (!read_single_row(table, &log_id, sizeof(log_id), &is_own))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the event log has no identity"),
				 errdetail("Table \"eventsource.log\" is empty: nothing was appended yet, or a dump was not restored as a whole."),
				 errhint("The first event gives it one; the tables of a dump stand together.")));
	if (!is_own)
		log_id_of = table;
	return &log_id;
}

static void
insert_row(EsRelation which, Datum *values)
{
	bool		nulls[3] = {false, false, false};
	Relation	rel = table_open(es_catalog_oid(which), RowExclusiveLock);

	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
}

/* A segment that is listed must be there and be part of the log. */
static void
check_segments(void)
{
	if (SPI_execute("SELECT s.table_name FROM eventsource.segment s WHERE NOT EXISTS ("
					" SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
					" WHERE c.relname = s.table_name AND i.inhparent = 'eventsource.event'::pg_catalog.regclass)",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not check segments");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("segment \"%s\" of the event log is missing",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errdetail("It is listed, but no such table is attached to the log: the restore is not whole."),
				 errhint("A data-only restore needs a schema-only restore of the same dump first.")));
}

/* Guards must fire under every session_replication_role. */
static void
heal_guards(void)
{
	SPITupleTable *table;
	uint64		count;

	if (SPI_execute("SELECT pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.tgrelid::pg_catalog.regclass, t.tgname)"
					" FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
					" JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
					" WHERE n.nspname = 'eventsource' AND p.proname IN ('guard', 'projection_guard', 'append_only_guard')"
					" AND t.tgenabled <> 'A'", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for guards");
	table = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
		es_catalog_run("%s", SPI_getvalue(table->vals[i], table->tupdesc, 1));
	if (count > 0)
		ereport(WARNING,
				(errmsg("%d guards of the event log were not enabled ALWAYS and are so again", (int) count),
				 errdetail("A restore with --disable-triggers leaves them so.")));
}

static void
advance_sequence(const char *sequence, const char *highest)
{
	es_catalog_run("SELECT pg_catalog.setval('eventsource.%s', m) FROM (%s) h (m), eventsource.%s s"
				   " WHERE m > CASE WHEN s.is_called THEN s.last_value ELSE 0 END",
				   sequence, highest, sequence);
}

static void
open_as_owner(void *arg)
{
	Datum		values[3];

	check_segments();
	heal_guards();
	advance_sequence("position_seq", "SELECT max(position) FROM eventsource.event");
	advance_sequence("word_seq", "SELECT max(id) FROM eventsource.word");
	advance_sequence("stream_seq", "SELECT max(id & 1099511627775) FROM eventsource.stream");

	if (SPI_execute("SELECT FROM eventsource.log", true, 1) == SPI_OK_SELECT && SPI_processed == 0)
	{
		values[0] = OidFunctionCall0(F_GEN_RANDOM_UUID);
		values[1] = Int32GetDatum(LOG_FORMAT);
		values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
		insert_row(ES_REL_LOG, values);
	}
	values[0] = TimestampTzGetDatum(GetCurrentTimestamp());
	insert_row(ES_REL_LOCAL, values);
}

void
es_log_open(void)
{
	es_segment_lock();
	if (es_log_is_open())
		return;
	es_catalog_as_owner(open_as_owner, NULL);
	CommandCounterIncrement();
}
