/*
 * protected.c
 *		What is guarded, and when.
 *
 * Ours is what lies in the schema of the extension, with all that belongs to it, the
 * extension and its event triggers.  A user's table is append-only if the guard is on
 * it.  Asked of DDL alone, so it looks into the catalogs and keeps nothing.
 */
#include "trust/protected.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "eventsource.h"
#include "log/catalog.h"
#include "log/open.h"
#include "log/own_ddl.h"
#include "log/trigger.h"
#include "miscadmin.h"
#include "trust/maintenance.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Where the catalog of a class says what an object belongs to. */
typedef struct Belonging
{
	Oid			class;
	Oid			index;			/* by OID, which is column 1 */
	AttrNumber	column;
	Oid			to;				/* class of what it belongs to */
} Belonging;

static const Belonging belongings[] = {
	{RelationRelationId, ClassOidIndexId, Anum_pg_class_relnamespace, NamespaceRelationId},
	{ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_pronamespace, NamespaceRelationId},
	{TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_tgrelid, RelationRelationId},
	{RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_ev_class, RelationRelationId},
	{PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_polrelid, RelationRelationId},
	{ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_conrelid, RelationRelationId},
	{AttrDefaultRelationId, AttrDefaultOidIndexId, Anum_pg_attrdef_adrelid, RelationRelationId},
	{EventTriggerRelationId, EventTriggerOidIndexId, Anum_pg_event_trigger_evtfoid, ProcedureRelationId},
};

static Oid	owner_of(const Belonging *belonging, Oid object, Snapshot snapshot);
static bool is_append_only(Oid relid);

EsProtection
es_protected_object(Oid class, Oid object, Snapshot snapshot)
{
	Oid			to;

	switch (class)
	{
		case NamespaceRelationId:
			return object == get_namespace_oid(ES_SCHEMA, true) ? ES_PROTECTED_OURS : ES_UNPROTECTED;
		case ExtensionRelationId:
			return object == get_extension_oid(ES_SCHEMA, true) ? ES_PROTECTED_OURS : ES_UNPROTECTED;
		case InheritsRelationId:
			return es_protected_relation(object);
		default:
			break;
	}
	for (int i = 0; i < (int) lengthof(belongings); i++)
	{
		if (belongings[i].class != class)
			continue;
		to = owner_of(&belongings[i], object, snapshot);
		if (OidIsValid(to) && belongings[i].to == RelationRelationId)
			return es_protected_relation(to);
		if (OidIsValid(to) && es_protected_object(belongings[i].to, to, NULL) != ES_UNPROTECTED)
			return ES_PROTECTED_OURS;
		return class == RelationRelationId && is_append_only(object) ? ES_PROTECTED_TABLE : ES_UNPROTECTED;
	}
	return ES_UNPROTECTED;
}

EsProtection
es_protected_relation(Oid relid)
{
	return es_protected_object(RelationRelationId, relid, NULL);
}

/* InvalidOid if it is not there. */
static Oid
owner_of(const Belonging *belonging, Oid object, Snapshot snapshot)
{
	Relation	rel = table_open(belonging->class, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	scan = systable_beginscan(rel, belonging->index, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		result = DatumGetObjectId(heap_getattr(tuple, belonging->column, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static bool
is_append_only(Oid relid)
{
	Oid			guard = es_catalog_trigger_function("append_only_guard");
	EsTriggerScan scan;
	bool		result;

	if (!OidIsValid(guard))
		return false;
	es_trigger_begin_scan(&scan, relid, guard);
	result = es_trigger_next(&scan) != NULL;
	es_trigger_end_scan(&scan);
	return result;
}

/* As this command left it.  False if it is not there. */
static bool
read_trigger(Oid trigger, FormData_pg_trigger *form)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(rel, TriggerOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	result = HeapTupleIsValid(tuple);
	if (result)
		memcpy(form, GETSTRUCT(tuple), offsetof(FormData_pg_trigger, tgattr));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

bool
es_protected_is_harmless_trigger(Oid trigger)
{
	FormData_pg_trigger form;

	return read_trigger(trigger, &form) &&
		(form.tgfoid == es_catalog_trigger_function("append_only_guard") || OidIsValid(form.tgparentid));
}

bool
es_protected_fires_always(Oid trigger)
{
	FormData_pg_trigger form;

	return read_trigger(trigger, &form) && form.tgenabled == TRIGGER_FIRES_ALWAYS;
}

/* Columns depend on their type, arrays and domains on what they are of; what is composite on itself. */
bool
es_protected_uses_type(Oid type)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	check_stack_depth();
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(TypeRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == TypeRelationId)
			result = es_protected_uses_type(depend->objid);
		else if (depend->classid == RelationRelationId)
		{
			Oid			row_type = get_rel_type_id(depend->objid);

			result = es_protected_relation(depend->objid) != ES_UNPROTECTED ||
				(OidIsValid(row_type) && row_type != type && es_protected_uses_type(row_type));
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* Columns go with their type, and that with its session, without a word to the hooks. */
bool
es_protected_is_brief_type(Oid type)
{
	static const Belonging in_schema = {
		TypeRelationId, TypeOidIndexId, Anum_pg_type_typnamespace, NamespaceRelationId
	};
	Oid			inner = get_element_type(type);
	Oid			relid;
	Relation	rel;
	bool		result = false;

	check_stack_depth();
	if (isTempOrTempToastNamespace(owner_of(&in_schema, type, NULL)))
		return true;
	if (!OidIsValid(inner))
		inner = get_range_subtype(type);
	if (!OidIsValid(inner) && getBaseType(type) != type)
		inner = getBaseType(type);
	if (OidIsValid(inner))
		return es_protected_is_brief_type(inner);
	relid = get_typ_typrelid(type);
	if (!OidIsValid(relid))
		return false;
	rel = relation_open(relid, AccessShareLock);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel) && !result; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), i);

		result = !column->attisdropped && es_protected_is_brief_type(column->atttypid);
	}
	relation_close(rel, NoLock);
	return result;
}

/* pg_surgery changes rows without a word to anybody, and no rollback undoes it. */
bool
es_protected_is_surgery(Oid function)
{
	Relation	rel = table_open(ProcedureRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Datum		library = (Datum) 0;
	bool		isnull = true;
	bool		result;

	ScanKeyInit(&key, Anum_pg_proc_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(function));
	scan = systable_beginscan(rel, ProcedureOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		library = heap_getattr(tuple, Anum_pg_proc_probin, RelationGetDescr(rel), &isnull);
	result = !isnull && strstr(TextDatumGetCString(library), "pg_surgery") != NULL;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

bool
es_protected_now(void)
{
	return !IsBinaryUpgrade && !es_own_ddl_is() && !es_maintenance_is_allowed() &&
		es_log_was_opened();
}

void
es_protected_refuse(EsProtection protection, const char *verb, const char *object)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_APPEND_ONLY),
			 errmsg("%s on %s is not allowed", verb, object),
			 protection == ES_PROTECTED_TABLE ?
			 errdetail("The table is append-only.") : errdetail("The event log is append-only."),
			 strcmp(verb, "TRUNCATE") == 0 ?
			 errhint("What happened stays; append what corrects it.") :
			 errhint("For maintenance, the owner of the extension calls eventsource.allow_maintenance(reason) "
					 "first, in the same transaction.")));
}
