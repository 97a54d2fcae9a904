/*
 * prune_refold.c
 *		Projections folded anew from what is left of the events they read, in the
 *		transaction that took the others away: so their rows are what a replay makes.
 *
 * It is rebuild_projection(), of all that read one of the categories, in order of
 * the tables' OIDs.  Where it would wait long for a table, it gives up (55P03), and
 * with it what is to be taken away; for whoever has written the table may wait for
 * a segment that is swapped.
 */
#include "postgres.h"

#include "log/config.h"
#include "log/guarded.h"
#include "log/word.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/projection.h"
#include "project/rebuild.h"
#include "rules/category_list.h"
#include "storage/lmgr.h"
#include "trust/archive.h"

static List *find_tables(List *categories);
static bool reads_any(const EsDefinition *definition, List *categories);
static void refold_all(void *arg);
static void refold(Oid relid);

void
es_prune_refold(List *categories)
{
	es_archive_briefly(refold_all, find_tables(categories));
}

static void
refold_all(void *arg)
{
	List	   *tables = arg;
	ListCell   *lc;

	foreach(lc, tables)
		es_rebuild_lock(lfirst_oid(lc));
	foreach(lc, tables)
		refold(lfirst_oid(lc));
}

static void
refold(Oid relid)
{
	EsProjection *projection;
	EsRebuild  *rebuild;

	CHECK_FOR_INTERRUPTS();
	LockRelationOid(relid, AccessShareLock);
	projection = es_projection_get(relid);
	if (projection == NULL)
		return;					/* dropped meanwhile */
	es_projection_expect_target(projection, false);
	rebuild = es_rebuild_begin(projection, ES_REBUILD_REPAIR);
	if (es_rebuild_differences(rebuild) == 0 && !projection->is_async)
	{
		es_rebuild_end(rebuild);
		return;
	}
	es_rebuild_catch_up(rebuild);
	es_apply_lock_table(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
	(void) es_rebuild_finish(rebuild, es_rebuild_expect_same(projection));
}

/* In order of their OIDs. */
static List *
find_tables(List *categories)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list("projection"))
	{
		EsDefinition *definition = lfirst(lc);
		Oid			relid;

		if (strcmp(definition->type, "projection_defined") != 0 || !reads_any(definition, categories))
			continue;
		relid = es_guarded_relid(definition->name);
		if (OidIsValid(relid))
			result = list_append_unique_oid(result, relid);
	}
	list_sort(result, list_oid_cmp);
	return result;
}

static bool
reads_any(const EsDefinition *definition, List *categories)
{
	ListCell   *lc;
	ListCell   *word;

	foreach(lc, es_category_list_read(definition->data))
		foreach(word, categories)
		if (es_word_is(lfirst_int(word), lfirst(lc)))
		return true;
	return false;
}
