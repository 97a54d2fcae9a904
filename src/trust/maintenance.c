/*
 * maintenance.c
 *		The one way past the guards, which leaves an event.
 *
 * Who owns the extension, or a superuser, says why; the log has it before anything
 * can be done.  What it allows ends with the transaction, or with the savepoint that
 * it was called under.  The guards against DML stand all the same.
 */
#include "trust/maintenance.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "append/define.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "compat.h"
#include "eventsource.h"
#include "executor/spi.h"
#include "log/catalog.h"
#include "log/json.h"
#include "log/open.h"
#include "nodes/makefuncs.h"
#include "trust/protected.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_allow_maintenance);
PG_FUNCTION_INFO_V1(eventsource_renew_manifest);

static bool is_allowed;
static SubTransactionId allowed_in;

static Oid	extension_owner(void);
static void write_manifest(void *arg);
static char *checked_reason(FunctionCallInfo fcinfo);

bool
es_maintenance_is_allowed(void)
{
	return is_allowed;
}

/* allow_maintenance(reason) */
Datum
eventsource_allow_maintenance(PG_FUNCTION_ARGS)
{
	char	   *reason = checked_reason(fcinfo);
	JsonbParseState *state = NULL;

	if (!has_privs_of_role(GetUserId(), extension_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to change what is guarded"),
				 errdetail("Role \"%s\" does not have the rights of the owner of the extension.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Let the owner of the extension or a superuser call this function.")));
	PreventCommandIfReadOnly("eventsource.allow_maintenance()");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "reason", reason);
	es_json_push_string(&state, "session_user", GetUserNameFromId(GetSessionUserId(), false));
	(void) es_define("maintenance", "guards", "maintenance_allowed",
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	if (!is_allowed)
		allowed_in = GetCurrentSubTransactionId();
	is_allowed = true;
	if (!IsTransactionBlock())
		ereport(NOTICE,
				(errmsg("maintenance is allowed for this statement alone"),
				 errdetail("It ends with the transaction, and no transaction block is open."),
				 errhint("BEGIN; SELECT eventsource.allow_maintenance(...); what is to be done; COMMIT.")));
	ereport(LOG,
			(errmsg("eventsource: maintenance allowed to \"%s\" until the end of the transaction: %s",
					GetUserNameFromId(GetSessionUserId(), false), reason)));
	PG_RETURN_VOID();
}

/* renew_manifest() */
Datum
eventsource_renew_manifest(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("eventsource.renew_manifest()");
	if (!is_allowed)
		es_protected_refuse(ES_PROTECTED_OURS, "renew_manifest()", "the manifest");
	es_maintenance_renew_manifest();
	PG_RETURN_VOID();
}

void
es_maintenance_renew_manifest(void)
{
	if (is_allowed)
		es_catalog_as_owner(write_manifest, NULL);
}

/* The old rows go, past the guards; nobody else writes them. */
static void
write_manifest(void *arg)
{
	Relation	rel = table_openrv(makeRangeVar(ES_SCHEMA, "manifest", -1), ShareRowExclusiveLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		es_catalog_delete(rel, tuple);
	systable_endscan(scan);
	if (SPI_execute("SELECT m.kind, m.name, pg_catalog.current_setting('server_version_num')::integer / 10000, m.digest"
					" FROM eventsource.manifest_now() m", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what there is");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[4];
		bool		nulls[4];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
		es_catalog_insert(rel, values, nulls);
	}
	table_close(rel, NoLock);
}

static char *
checked_reason(FunctionCallInfo fcinfo)
{
	char	   *reason = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (reason[strspn(reason, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("maintenance needs a reason"),
				 errdetail("The reason is NULL, empty or blank."),
				 errhint("Say what for: SELECT eventsource.allow_maintenance('upgrade to 0.2').")));
	return reason;
}

static Oid
extension_owner(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(ES_SCHEMA));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		is_allowed = false;
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (!is_allowed || allowed_in != mySubid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		is_allowed = false;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		allowed_in = parentSubid;
}

void
es_maintenance_init(void)
{
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
