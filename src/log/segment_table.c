/*
 * segment_table.c
 *		The tables of segments: made, attached, joined.
 *
 * A table is made empty, given its indexes and guards, and attached to the log's
 * parent.  The guards for rows come with that, those for statements do not.
 *
 * Locks: SHARE UPDATE EXCLUSIVE on the parent to attach, ACCESS EXCLUSIVE on it to join
 * segments, as whoever reads the log by SQL goes by its list of partitions; both to the
 * end of the transaction.
 */
#include "log/segment_table.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "log/catalog.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Default privileges of the owner's would let others read and write it past all that we grant. */
static void
revoke_defaults(const char *name)
{
	char	   *query = psprintf("SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'"
								 " ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END"
								 " FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
								 " WHERE c.oid = '%s.%s'::pg_catalog.regclass AND a.grantee <> c.relowner",
								 ES_SCHEMA, name);
	SPITupleTable *grantees;
	uint64		count;

	if (SPI_execute(query, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", query);
	grantees = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
		es_catalog_run("REVOKE ALL ON %s.%s FROM %s", ES_SCHEMA, name,
					   SPI_getvalue(grantees->vals[i], grantees->tupdesc, 1));
	SPI_freetuptable(grantees);
	pfree(query);
}

void
es_segment_table_make(const char *name)
{
	es_catalog_run("CREATE TABLE %s.%s (LIKE %s.event INCLUDING STORAGE) USING heap",
				   ES_SCHEMA, name, ES_SCHEMA);
	revoke_defaults(name);
	es_catalog_run("ALTER TABLE %s.%s ADD CONSTRAINT %s_pkey PRIMARY KEY (\"position\")",
				   ES_SCHEMA, name, name);
	es_catalog_run("CREATE UNIQUE INDEX %s_stream_idx ON %s.%s (stream, version)", name, ES_SCHEMA, name);
	es_catalog_run("CREATE TRIGGER guard_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON %s.%s"
				   " FOR EACH STATEMENT EXECUTE FUNCTION %s.guard()", ES_SCHEMA, name, ES_SCHEMA);
	es_catalog_run("ALTER TABLE %s.%s ENABLE ALWAYS TRIGGER guard_statement", ES_SCHEMA, name);
	es_catalog_run("COMMENT ON TABLE %s.%s IS 'Private: a segment of the log. Append-only.'", ES_SCHEMA, name);
}

static void
list_segment(const char *name, int64 lower, int64 upper)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT), RowExclusiveLock);
	NameData	table_name;
	Datum		values[3] = {Int64GetDatum(lower), Int64GetDatum(upper), NameGetDatum(&table_name)};
	bool		nulls[3] = {false, false, false};

	namestrcpy(&table_name, name);
	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
}

void
es_segment_table_attach(const char *name, int64 lower, int64 upper)
{
	es_catalog_run("ALTER TABLE %s.event ATTACH PARTITION %s.%s FOR VALUES FROM ('" INT64_FORMAT "') TO ('" INT64_FORMAT "')",
				   ES_SCHEMA, ES_SCHEMA, name, lower, upper);
	list_segment(name, lower, upper);
}

/* ---- neighbours become one ---- */

/* The bounds of a partition, as the catalog has them. */
static PartitionBoundSpec *
read_bound(Oid table)
{
	HeapTuple	row = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	PartitionBoundSpec *bound;
	Datum		stored;
	bool		isnull;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for relation %u", table);
	stored = SysCacheGetAttr(RELOID, row, Anum_pg_class_relpartbound, &isnull);
	if (isnull)
		elog(ERROR, "\"%s\" is not attached to the log", get_rel_name(table));
	bound = stringToNode(TextDatumGetCString(stored));
	ReleaseSysCache(row);
	return bound;
}

/*
 * As ATTACH PARTITION writes it, but the table is attached already, and its rows are
 * known to lie within: it is not looked through while all wait.
 */
static void
write_bound(Oid table, PartitionBoundSpec *bound)
{
	Relation	rel = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	row = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(table));
	Datum		values[Natts_pg_class] = {0};
	bool		nulls[Natts_pg_class] = {0};
	bool		replaces[Natts_pg_class] = {[Anum_pg_class_relpartbound - 1] = true};

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for relation %u", table);
	values[Anum_pg_class_relpartbound - 1] = CStringGetTextDatum(nodeToString(bound));
	row = heap_modify_tuple(row, RelationGetDescr(rel), values, nulls, replaces);
	CatalogTupleUpdate(rel, &row->t_self, row);
	table_close(rel, RowExclusiveLock);
	CacheInvalidateRelcacheByRelid(es_catalog_oid(ES_REL_EVENT));
	CommandCounterIncrement();
}

void
es_segment_table_join(const EsSegment *members, int count, int keeper)
{
	PartitionBoundSpec *bound = read_bound(members[0].table);
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT), RowExclusiveLock);

	bound->upperdatums = read_bound(members[count - 1].table)->upperdatums;
	for (int i = 0; i < count; i++)
	{
		HeapTuple	row = es_catalog_find(rel, ES_REL_SEGMENT_PKEY, members[i].lower, SnapshotSelf);

		if (row == NULL)
			elog(ERROR, "no segment begins at position " INT64_FORMAT, members[i].lower);
		es_catalog_delete(rel, row);
		if (i != keeper)
			es_catalog_run("DROP TABLE %s.%s", ES_SCHEMA, quote_identifier(get_rel_name(members[i].table)));
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
	write_bound(members[keeper].table, bound);
	list_segment(get_rel_name(members[keeper].table), members[0].lower, members[count - 1].upper);
	CommandCounterIncrement();
}
