/*
 * guarded.c
 *		Tables that are projections, told by the guard on them.
 *
 * What makes a table the target of a definition is the guard, which carries the
 * definition's name: a renamed table stays a projection, a dropped one is none
 * any more, and a table of that name without a guard is none either.
 */
#include "log/guarded.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_trigger.h"
#include "log/catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

static Oid	guard_function(void);
static Oid	find_guard(Oid relid, const char *name);

Oid
es_guarded_relid(const char *name)
{
	Oid			relid = es_guarded_lookup(name);

	if (OidIsValid(relid) && OidIsValid(find_guard(relid, name)))
		return relid;
	return find_guard(InvalidOid, name);
}

Oid
es_guarded_lookup(const char *name)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(name));
	Oid			schema;

	if (list_length(names) != 2)
		return InvalidOid;
	schema = get_namespace_oid(strVal(linitial(names)), true);
	return OidIsValid(schema) ? get_relname_relid(strVal(lsecond(names)), schema) : InvalidOid;
}

char *
es_guarded_name(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (es_guarded_is_guard(&triggers->triggers[i]))
			return pstrdup(triggers->triggers[i].tgargs[0]);
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

bool
es_guarded_is_guard(const Trigger *trigger)
{
	return trigger->tgnargs == 1 && trigger->tgfoid == guard_function();
}

static Oid
guard_function(void)
{
	return es_catalog_trigger_function("projection_guard");
}

/* The table (or this one, if it is valid) whose guard carries the name. */
static Oid
find_guard(Oid relid, const char *name)
{
	Oid			function = guard_function();
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, OidIsValid(relid), NULL,
							  OidIsValid(relid) ? 1 : 0, &key);
	while (!OidIsValid(result) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		isnull;
		Datum		args;

		if (trigger->tgfoid != function || trigger->tgnargs != 1)
			continue;
		args = fastgetattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(triggers), &isnull);
		/* Arguments are strings, each ended by a null byte. */
		if (!isnull && strcmp(VARDATA_ANY(DatumGetByteaPP(args)), name) == 0)
			result = trigger->tgrelid;
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return result;
}
