/*
 * upcast_rebuild.c
 *		Projections whose rows follow from how events of a type are read, folded
 *		anew as that changes.
 *
 * As when they are defined anew (define_projection.c): history is folded without
 * a lock that appends wait for, then what came meanwhile under SHARE ROW EXCLUSIVE
 * on the log, if any of them is inline, and on the tables.  Locks are taken kind by
 * kind, in order of the tables' OIDs: who computes rows anew, followers, the log,
 * the tables.
 */
#include "append/upcast_rebuild.h"

#include "log/catalog.h"
#include "log/config.h"
#include "log/guarded.h"
#include "log/json.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/projection.h"
#include "project/rebuild.h"
#include "rules/category_list.h"
#include "storage/lmgr.h"
#include "storage/lock.h"

typedef struct Part
{
	Oid			relid;
	EsProjection *projection;
	EsRebuild  *rebuild;
} Part;

static List *find_tables(const char *category, const char *type);
static bool is_concerned(const EsDefinition *definition, const char *category, const char *type);

List *
es_upcast_rebuild_begin(const char *category, const char *type)
{
	List	   *tables = find_tables(category, type);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, tables)
		es_rebuild_lock(lfirst_oid(lc));
	foreach(lc, tables)
	{
		Part	   *part = palloc0(sizeof(Part));

		CHECK_FOR_INTERRUPTS();
		part->relid = lfirst_oid(lc);
		LockRelationOid(part->relid, AccessShareLock);
		part->projection = es_projection_get(part->relid);
		if (part->projection == NULL)
			continue;			/* dropped meanwhile */
		es_projection_expect_target(part->projection, false);
		part->rebuild = es_rebuild_begin(part->projection, ES_REBUILD_REPLACE);
		es_rebuild_catch_up(part->rebuild);
		result = lappend(result, part);
	}
	return result;
}

void
es_upcast_rebuild_lock(List *rebuilds)
{
	bool		any_inline = false;
	ListCell   *lc;

	foreach(lc, rebuilds)
	{
		Part	   *part = lfirst(lc);

		es_apply_lock_table(part->relid);
		any_inline |= !part->projection->is_async;
	}
	if (any_inline)
	{
		LockRelationOid(es_catalog_oid(ES_REL_EVENT), ShareRowExclusiveLock);
		es_segment_wide_lock();
	}
	foreach(lc, rebuilds)
		LockRelationOid(((Part *) lfirst(lc))->relid, ShareRowExclusiveLock);
}

void
es_upcast_rebuild_finish(List *rebuilds)
{
	ListCell   *lc;

	foreach(lc, rebuilds)
	{
		Part	   *part = lfirst(lc);

		(void) es_rebuild_finish(part->rebuild, es_rebuild_expect_same(part->projection));
	}
}

/* In order of their OIDs. */
static List *
find_tables(const char *category, const char *type)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list("projection"))
	{
		EsDefinition *definition = lfirst(lc);
		Oid			relid;

		if (strcmp(definition->type, "projection_defined") != 0 || !is_concerned(definition, category, type))
			continue;
		relid = es_guarded_relid(definition->name);
		if (OidIsValid(relid))
			result = list_append_unique_oid(result, relid);
	}
	list_sort(result, list_oid_cmp);
	return result;
}

/* Has it a rule for events of the type, in this category (NULL: in any)? */
static bool
is_concerned(const EsDefinition *definition, const char *category, const char *type)
{
	JsonbValue	buffer;
	JsonbValue *rules = es_json_find(&definition->data->root, "rules", &buffer);
	JsonbValue	rule;
	bool		is_of = category == NULL;
	ListCell   *lc;

	foreach(lc, es_category_list_read(definition->data))
		is_of |= category != NULL && strcmp(lfirst(lc), category) == 0;
	return is_of && rules != NULL && rules->type == jbvBinary &&
		(es_json_find(rules->val.binary.data, type, &rule) != NULL ||
		 es_json_find(rules->val.binary.data, "*", &rule) != NULL);
}
