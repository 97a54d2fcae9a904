/*
 * catalog.c
 *		OIDs of our private relations, and plain inserts into the small ones.
 *
 * The OIDs are found by name once per backend.  A relcache invalidation of one
 * of them (or of everything) marks the whole list stale; it is filled again on
 * next use, so that DROP and CREATE EXTENSION leave nothing behind.
 */
#include "log/catalog.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "compat.h"
#include "errors.h"
#include "executor/spi.h"
#include "log/format.h"
#include "log/own_ddl.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

typedef struct ExecuteGrant
{
	const char *function;
	const char *role;
} ExecuteGrant;

static const char *const relation_names[ES_REL_COUNT] = {
	[ES_REL_EVENT] = "event",
	[ES_REL_EVENTS_VIEW] = "events",
	[ES_REL_WORD] = "word",
	[ES_REL_WORD_PKEY] = "word_pkey",
	[ES_REL_WORD_WORD_IDX] = "word_word_idx",
	[ES_REL_WORD_SEQ] = "word_seq",
	[ES_REL_STREAM] = "stream",
	[ES_REL_STREAM_PKEY] = "stream_pkey",
	[ES_REL_STREAM_NAME_IDX] = "stream_name_idx",
	[ES_REL_STREAM_SEQ] = "stream_seq",
	[ES_REL_STREAM_SEGMENT] = "stream_segment",
	[ES_REL_STREAM_SEGMENT_PKEY] = "stream_segment_pkey",
	[ES_REL_SEGMENT] = "segment",
	[ES_REL_SEGMENT_PKEY] = "segment_pkey",
	[ES_REL_IDEMPOTENCY] = "idempotency",
	[ES_REL_IDEMPOTENCY_PKEY] = "idempotency_pkey",
	[ES_REL_IDEMPOTENCY_VERSION_IDX] = "idempotency_version_idx",
	[ES_REL_CORRECTION] = "correction",
	[ES_REL_CORRECTION_PKEY] = "correction_pkey",
	[ES_REL_CORRECTION_STREAM_IDX] = "correction_stream_idx",
	[ES_REL_VAULT] = "vault",
	[ES_REL_VAULT_PKEY] = "vault_pkey",
	[ES_REL_VAULT_SUBJECT_IDX] = "vault_subject_idx",
	[ES_REL_ERASED] = "erased",
	[ES_REL_ERASED_PKEY] = "erased_pkey",
	[ES_REL_SCRUB] = "scrub",
	[ES_REL_SNAPSHOT] = "snapshot",
	[ES_REL_SNAPSHOT_PKEY] = "snapshot_pkey",
	[ES_REL_SUBSCRIPTION_CURSOR] = "subscription_cursor",
	[ES_REL_SUBSCRIPTION_CURSOR_PKEY] = "subscription_cursor_pkey",
	[ES_REL_SUBSCRIPTION_PARKED] = "subscription_parked",
	[ES_REL_SUBSCRIPTION_PARKED_PKEY] = "subscription_parked_pkey",
	[ES_REL_LOG] = "log",
	[ES_REL_LOCAL] = "local",
	[ES_REL_PUBLISHED_WATERMARK] = "published_watermark",
	[ES_REL_PROJECTION_CURSOR] = "projection_cursor",
	[ES_REL_PROJECTION_CURSOR_PKEY] = "projection_cursor_pkey",
	[ES_REL_PROJECTION_FAILURE] = "projection_failure",
	[ES_REL_PROJECTION_FAILURE_PKEY] = "projection_failure_pkey",
	[ES_REL_TILE] = "tile",
	[ES_REL_TILE_PKEY] = "tile_pkey",
	[ES_REL_TILE_POSITION_IDX] = "tile_position_idx",
	[ES_REL_SEAL] = "seal",
	[ES_REL_SEAL_PKEY] = "seal_pkey",
	[ES_REL_POSITION_SEQ] = "position_seq",
	[ES_REL_SEGMENT_CATEGORY] = "segment_category",
	[ES_REL_SEGMENT_CATEGORY_PKEY] = "segment_category_pkey",
	[ES_REL_ARCHIVE] = "archive",
	[ES_REL_ARCHIVE_PKEY] = "archive_pkey",
	[ES_REL_SUMMARY] = "summary",
	[ES_REL_SUMMARY_PKEY] = "summary_pkey",
	[ES_REL_SUMMARY_SUBJECT_IDX] = "summary_subject_idx",
	[ES_REL_PRUNED_HEAD] = "pruned_head",
	[ES_REL_PRUNED_HEAD_PKEY] = "pruned_head_pkey",
	[ES_REL_PRUNED_LEAF] = "pruned_leaf",
	[ES_REL_PRUNED_LEAF_PKEY] = "pruned_leaf_pkey",
	[ES_REL_JOB] = "job"
};

static void run_as(Oid role, void (*fn) (void *arg), void *arg);
static void grant_execute(void *arg);

static Oid	oids[ES_REL_COUNT];
static Oid	schema_oid;
static Oid	owner_oid;
static bool oids_valid;

static void
mark_stale(Datum arg, Oid relid)
{
	if (relid == InvalidOid)
		oids_valid = false;
	for (int i = 0; i < ES_REL_COUNT && oids_valid; i++)
		if (oids[i] == relid)
			oids_valid = false;
}

static void
fill_oids(void)
{
	schema_oid = get_namespace_oid(ES_SCHEMA, true);
	for (int i = 0; i < ES_REL_COUNT; i++)
	{
		oids[i] = OidIsValid(schema_oid) ?
			get_relname_relid(relation_names[i], schema_oid) : InvalidOid;
		if (!OidIsValid(oids[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation \"%s.%s\" does not exist", ES_SCHEMA, relation_names[i]),
					 errdetail("The extension eventsource is not, or not wholly, installed in this database."),
					 errhint("Run CREATE EXTENSION eventsource.")));
	}
	owner_oid = es_catalog_relation_owner(oids[ES_REL_EVENT]);
	if (!OidIsValid(owner_oid))
		elog(ERROR, "cache lookup failed for relation %u", oids[ES_REL_EVENT]);
	oids_valid = true;
}

Oid
es_catalog_oid(EsRelation which)
{
	if (unlikely(!oids_valid))
		fill_oids();
	return oids[which];
}

bool
es_catalog_is_installed(void)
{
	return oids_valid || OidIsValid(get_extension_oid("eventsource", true));
}

bool
es_catalog_is(EsRelation which, Oid relid)
{
	if (unlikely(!oids_valid))
	{
		Oid			schema = get_namespace_oid(ES_SCHEMA, true);

		return OidIsValid(schema) && get_relname_relid(relation_names[which], schema) == relid;
	}
	return oids[which] == relid;
}

Oid
es_catalog_schema(void)
{
	(void) es_catalog_oid(ES_REL_EVENT);
	return schema_oid;
}

Oid
es_catalog_trigger_function(const char *name)
{
	Oid			schema = get_namespace_oid(ES_SCHEMA, true);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(schema));
}

Oid
es_catalog_owner(void)
{
	(void) es_catalog_oid(ES_REL_EVENT);
	return owner_oid;
}

Oid
es_catalog_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

HeapTuple
es_catalog_find(Relation rel, EsRelation key_index, int64 key, Snapshot snapshot)
{
	ScanKeyData scan_key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	scan = systable_beginscan(rel, es_catalog_oid(key_index), true, snapshot, 1, &scan_key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		row = heap_copytuple(row);
	systable_endscan(scan);
	return row;
}

void
es_catalog_insert(Relation rel, Datum *values, bool *nulls)
{
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
}

void
es_catalog_update(Relation rel, HeapTuple old, Datum *values, bool *nulls)
{
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	CatalogTupleUpdate(rel, &old->t_self, tuple);
	heap_freetuple(tuple);
}

void
es_catalog_delete(Relation rel, HeapTuple old)
{
	CatalogTupleDelete(rel, &old->t_self);
}

bool
es_catalog_is_hidden(HeapTuple row, Snapshot snapshot)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(row->t_data);

	return TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) &&
		XidInMVCCSnapshot(xmin, snapshot);
}

void
es_catalog_as_owner(void (*fn) (void *arg), void *arg)
{
	run_as(es_catalog_owner(), fn, arg);
}

static void
run_as(Oid role, void (*fn) (void *arg), void *arg)
{
	Oid			user;
	int			sec_context;
	int			nest_level;

	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(role, sec_context | SECURITY_LOCAL_USERID_CHANGE);
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("default_tablespace", "", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	es_own_ddl(fn, arg);
	SPI_finish();
	AtEOXact_GUC(true, nest_level);
	SetUserIdAndSecContext(user, sec_context);
}

/* Functions and tables may have different owners. */
void
es_catalog_let_execute(const char *function, Oid role)
{
	Oid			oid = es_catalog_trigger_function(function);
	ExecuteGrant grant = {function, GetUserNameFromId(role, false)};
	HeapTuple	tuple;
	Oid			owner;

	if (superuser_arg(role) || es_compat_may_execute(oid, role))
		return;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "there is no function %s", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	run_as(owner, grant_execute, &grant);
}

static void
grant_execute(void *arg)
{
	const ExecuteGrant *grant = arg;

	es_catalog_run("GRANT EXECUTE ON FUNCTION %s.%s() TO %s", ES_SCHEMA, quote_identifier(grant->function),
				   quote_identifier(grant->role));
}

void
es_catalog_run(const char *fmt,...)
{
	StringInfoData sql;
	va_list		args;

	initStringInfo(&sql);
	va_start(args, fmt);
	es_append_va(&sql, fmt, args);
	va_end(args);
	if (SPI_execute(sql.data, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql.data);
	pfree(sql.data);
}

void
es_catalog_init(void)
{
	CacheRegisterRelcacheCallback(mark_stale, (Datum) 0);
}
