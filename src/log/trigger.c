/*
 * trigger.c
 *		Triggers of ours on the tables of users: made, found, dropped.
 *
 * Who makes and drops them locks the table.  A scan sees the catalog as it is
 * now, and takes no lock on the tables.
 */
#include "log/trigger.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

static void begin_scan(EsTriggerScan *scan, Oid relid, Oid function, LOCKMODE lockmode);
static void end_scan(EsTriggerScan *scan, LOCKMODE lockmode);

/*
 * The caller owns the table.  Whether he may also execute the trigger function
 * is nothing he is to be asked for, so the trigger is made by the superuser; no
 * code of users runs in it.
 */
void
es_trigger_create(Relation rel, const EsTriggerKind *kind, const char *argument)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);
	Oid			user;
	int			security;

	stmt->trigname = pstrdup(kind->name);
	stmt->relation = makeRangeVar(get_namespace_name(RelationGetNamespace(rel)),
								  pstrdup(RelationGetRelationName(rel)), -1);
	stmt->funcname = list_make2(makeString(ES_SCHEMA), makeString(pstrdup(kind->function)));
	stmt->args = list_make1(makeString(pstrdup(argument)));
	stmt->row = kind->row;
	stmt->timing = kind->timing;
	stmt->events = kind->events;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
	(void) CreateTriggerFiringOn(stmt, NULL, RelationGetRelid(rel), InvalidOid, InvalidOid, InvalidOid,
								 InvalidOid, InvalidOid, NULL, false, false, TRIGGER_FIRES_ALWAYS);
	SetUserIdAndSecContext(user, security);
	CommandCounterIncrement();
}

void
es_trigger_drop(List *relids, Oid function)
{
	ObjectAddresses *addresses = new_object_addresses();
	ListCell   *lc;

	foreach(lc, relids)
	{
		EsTriggerScan scan;
		Form_pg_trigger trigger;

		es_trigger_begin_scan(&scan, lfirst_oid(lc), function);
		while ((trigger = es_trigger_next(&scan)) != NULL)
		{
			ObjectAddress address;

			if (OidIsValid(trigger->tgparentid))
				continue;
			ObjectAddressSet(address, TriggerRelationId, trigger->oid);
			add_exact_object_address(&address, addresses);
		}
		es_trigger_end_scan(&scan);
	}
	performMultipleDeletions(addresses, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	free_object_addresses(addresses);
	CommandCounterIncrement();
}

/* The table may be being written just now, so ALTER TABLE is no way. */
void
es_trigger_heal(Oid relid, Oid function)
{
	EsTriggerScan scan;
	Form_pg_trigger trigger;
	bool		any = false;

	begin_scan(&scan, relid, function, RowExclusiveLock);
	while ((trigger = es_trigger_next(&scan)) != NULL)
	{
		HeapTuple	copy;

		if (trigger->tgenabled != TRIGGER_FIRES_ON_ORIGIN)
			continue;
		copy = heap_copytuple(scan.tuple);
		((Form_pg_trigger) GETSTRUCT(copy))->tgenabled = TRIGGER_FIRES_ALWAYS;
		CatalogTupleUpdate(scan.catalog, &copy->t_self, copy);
		any = true;
	}
	end_scan(&scan, RowExclusiveLock);
	if (any)
		CacheInvalidateRelcacheByRelid(relid);
}

/* ---- scan ---- */

void
es_trigger_begin_scan(EsTriggerScan *scan, Oid relid, Oid function)
{
	begin_scan(scan, relid, function, AccessShareLock);
}

Form_pg_trigger
es_trigger_next(EsTriggerScan *scan)
{
	while (HeapTupleIsValid(scan->tuple = systable_getnext(scan->scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(scan->tuple);

		if (trigger->tgfoid == scan->function)
			return trigger;
	}
	return NULL;
}

/* Arguments are strings, each ended by a null byte. */
const char *
es_trigger_argument(const EsTriggerScan *scan)
{
	bool		isnull;
	Datum		args;

	if (((Form_pg_trigger) GETSTRUCT(scan->tuple))->tgnargs != 1)
		return NULL;
	args = fastgetattr(scan->tuple, Anum_pg_trigger_tgargs, RelationGetDescr(scan->catalog), &isnull);
	return isnull ? NULL : VARDATA_ANY(DatumGetByteaPP(args));
}

void
es_trigger_end_scan(EsTriggerScan *scan)
{
	end_scan(scan, AccessShareLock);
}

static void
begin_scan(EsTriggerScan *scan, Oid relid, Oid function, LOCKMODE lockmode)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan->function = function;
	scan->catalog = table_open(TriggerRelationId, lockmode);
	scan->scan = systable_beginscan(scan->catalog, TriggerRelidNameIndexId, OidIsValid(relid), NULL,
									OidIsValid(relid) ? 1 : 0, &key);
}

static void
end_scan(EsTriggerScan *scan, LOCKMODE lockmode)
{
	systable_endscan(scan->scan);
	table_close(scan->catalog, lockmode);
}
