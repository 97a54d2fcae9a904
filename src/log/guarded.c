/*
 * guarded.c
 *		Tables that are projections, told by the guard on them.
 *
 * What makes a table the target of a definition is the guard, which carries the
 * definition's name: a renamed table stays a projection, a dropped one is none
 * any more, and a table of that name without a guard is none either.
 */
#include "log/guarded.h"

#include "catalog/namespace.h"
#include "log/catalog.h"
#include "log/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

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
es_guarded_is(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (es_guarded_is_guard(&triggers->triggers[i]))
			return true;
	return false;
}

bool
es_guarded_is_guard(const Trigger *trigger)
{
	return trigger->tgnargs == 1 && trigger->tgfoid == es_guarded_function();
}

Oid
es_guarded_function(void)
{
	return es_catalog_trigger_function("projection_guard");
}

/* The table (or this one, if it is valid) whose guard carries the name. */
static Oid
find_guard(Oid relid, const char *name)
{
	EsTriggerScan scan;
	Form_pg_trigger trigger;
	Oid			result = InvalidOid;

	es_trigger_begin_scan(&scan, relid, es_guarded_function());
	while (!OidIsValid(result) && (trigger = es_trigger_next(&scan)) != NULL)
	{
		const char *argument = es_trigger_argument(&scan);

		if (argument != NULL && strcmp(argument, name) == 0)
			result = trigger->tgrelid;
	}
	es_trigger_end_scan(&scan);
	return result;
}
