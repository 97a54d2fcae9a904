/*
 * projection.c
 *		Definitions of projections, looked up by category and compiled when the
 *		first event of it comes by.
 *
 * The cache lives in one memory context and belongs to one generation of
 * definitions (log/config.h).  When that is over, the context is handed to the
 * transaction, so that nothing in use is freed.
 *
 * A table is the target of a definition by its guard (log/guarded.h); one of the
 * definition's name without a guard is an error.  What create_projection refuses
 * in a table may come to it later, and is looked for again before events fold
 * into it.
 */
#include "postgres.h"

#include "access/relation.h"
#include "errors.h"
#include "log/cache.h"
#include "log/guarded.h"
#include "log/rights.h"
#include "log/json.h"
#include "log/open.h"
#include "log/stream.h"
#include "log/word.h"
#include "project/projection.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"

typedef struct CacheEntry
{
	EsDefinition *definition;
	Oid			relid;			/* InvalidOid: the table is gone */
	EsProjection *projection;	/* NULL until compiled */
	bool		is_sound;		/* the table may still be folded into */
	bool		is_async;
} CacheEntry;

typedef struct CategoryEntry
{
	char		name[ES_MAX_WORD + 1];	/* hash key */
	List	   *entries;		/* of CacheEntry */
	List	   *projections;	/* of EsProjection; once ready */
	bool		ready;
} CategoryEntry;

static MemoryContext cache_context = NULL;
static uint64 cache_generation = 0;
static HTAB *cache_by_category = NULL;
static List *cache_entries = NIL;

static CacheEntry *find_entry(Oid relid);
static void refresh_cache(void);
static void add_definition(EsDefinition *definition);
static void add_category(CacheEntry *entry, const JsonbValue *category);
static EsProjection *compile_entry(CacheEntry *entry);
static void expect_sound(CacheEntry *entry);

List *
es_projection_list(const text *category)
{
	char		name[ES_MAX_WORD + 1];
	int			length = VARSIZE_ANY_EXHDR(category);
	CategoryEntry *found;
	MemoryContext caller;
	bool		ready;
	ListCell   *lc;

	refresh_cache();
	if (length > ES_MAX_WORD || cache_entries == NIL)
		return NIL;
	memcpy(name, VARDATA_ANY(category), length);
	name[length] = '\0';
	found = hash_search(cache_by_category, name, HASH_FIND, NULL);
	if (found == NULL)
		return NIL;
	if (found->ready)
		return found->projections;

	/* A table of that name may yet be made: what is gone is looked for again. */
	ready = true;
	foreach(lc, found->entries)
	{
		CacheEntry *entry = lfirst(lc);

		if (entry->is_async)
			continue;
		ready &= compile_entry(entry) != NULL;
		expect_sound(entry);
	}
	caller = MemoryContextSwitchTo(cache_context);
	foreach(lc, found->entries)
	{
		CacheEntry *entry = lfirst(lc);

		if (entry->projection != NULL && !entry->is_async)
			found->projections = list_append_unique_ptr(found->projections, entry->projection);
	}
	MemoryContextSwitchTo(caller);
	found->ready = ready;
	return found->projections;
}

List *
es_projection_list_async(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	refresh_cache();
	foreach(lc, cache_entries)
	{
		CacheEntry *entry = lfirst(lc);
		EsAsync    *async;

		if (!entry->is_async || !OidIsValid(entry->relid))
			continue;
		async = palloc(sizeof(EsAsync));
		async->name = pstrdup(entry->definition->name);
		async->relid = entry->relid;
		es_pace_read(entry->definition->data, NULL, &async->pace, NULL);
		result = lappend(result, async);
	}
	return result;
}

/* A table may change until its lock is ours: it is looked at under the lock. */
EsProjection *
es_projection_open_to_follow(Oid relid, const char *name)
{
	CacheEntry *entry;

	LockRelationOid(relid, RowExclusiveLock);
	entry = find_entry(relid);
	if (entry == NULL || !entry->is_async || strcmp(entry->definition->name, name) != 0 ||
		compile_entry(entry) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the projection is not async any more"),
				 errdetail("It was dropped, or defined anew, meanwhile."),
				 errhint("Nothing is to be done.")));
	expect_sound(entry);
	return entry->projection;
}

EsProjection *
es_projection_get(Oid relid)
{
	CacheEntry *entry = find_entry(relid);

	return entry == NULL ? NULL : compile_entry(entry);
}

bool
es_projection_is_of(const EsProjection *projection, int64 stream_id)
{
	const text *word = es_word_text(ES_STREAM_CATEGORY(stream_id));
	ListCell   *lc;

	foreach(lc, projection->categories)
	{
		const char *category = lfirst(lc);

		if (word != NULL && strlen(category) == VARSIZE_ANY_EXHDR(word) &&
			memcmp(category, VARDATA_ANY(word), strlen(category)) == 0)
			return true;
	}
	return false;
}

EsProjection *
es_projection_open_to_read(Oid relid, const char *why)
{
	char	   *name = get_rel_name(relid);
	EsProjection *projection;

	if (name != NULL && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", name),
				 errdetail_internal("%s", why),
				 errhint("GRANT SELECT on it.")));
	if (name != NULL && check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security of table %s applies to you", name),
				 errdetail("Rows folded anew are not those that its policies were written for."),
				 errhint("Let the table's owner do it, or a role that bypasses row security.")));
	LockRelationOid(relid, AccessShareLock);
	projection = es_projection_expect(relid);
	es_rights_expect_read_each(projection->categories, psprintf("projection %s", name));
	return projection;
}

EsProjection *
es_projection_expect(Oid relid)
{
	EsProjection *projection = es_projection_get(relid);
	char	   *name = projection == NULL ? get_rel_name(relid) : NULL;

	if (projection == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a projection", name == NULL ? "this table" : name),
				 errdetail("No definition names it as its target."),
				 errhint("eventsource.projections lists them; create_projection makes one.")));
	return projection;
}

void
es_projection_expect_target(const EsProjection *projection, bool guarded)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource target check",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	Relation	rel = relation_open(projection->target->relid, AccessShareLock);
	List	   *problems = es_target_check(rel);

	if (guarded)
		problems = list_concat(problems, es_target_check_guards(rel));
	if (problems != NIL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("table %s can no longer be the target of projection %s",
						projection->target->name, projection->name),
				 errdetail("%s.", (char *) linitial(problems)),
				 errhint("Undo what was done to the table, or end the projection: SELECT eventsource.drop_projection(%s).",
						 quote_literal_cstr(projection->target->name))));
	relation_close(rel, NoLock);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

void
es_projection_refuse(const char *table, List *problems)
{
	StringInfoData lines;
	ListCell   *lc;

	initStringInfo(&lines);
	foreach(lc, problems)
		appendStringInfo(&lines, "%s%s", lines.len == 0 ? "" : "\n", (char *) lfirst(lc));
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("invalid projection of table \"%s\"", table),
			 errdetail("%s", lines.data),
			 errhint("Nothing was changed. Mend all of it and try again.")));
}

EsRule *
es_projection_rule(const EsProjection *projection, const text *type)
{
	int			length = VARSIZE_ANY_EXHDR(type);
	ListCell   *lc;

	foreach(lc, projection->rules)
	{
		EsRule	   *rule = lfirst(lc);

		if ((int) VARSIZE_ANY_EXHDR(rule->type) == length &&
			memcmp(VARDATA_ANY(rule->type), VARDATA_ANY(type), length) == 0)
			return rule;
	}
	return projection->any;
}

static CacheEntry *
find_entry(Oid relid)
{
	ListCell   *lc;

	refresh_cache();
	foreach(lc, cache_entries)
	{
		CacheEntry *entry = lfirst(lc);

		if (entry->relid == relid)
			return entry;
	}
	return NULL;
}

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	HASHCTL		ctl = {.keysize = ES_MAX_WORD + 1,.entrysize = sizeof(CategoryEntry)};
	MemoryContext caller;
	List	   *definitions;
	ListCell   *lc;

	if (cache_context != NULL && cache_generation == generation)
		return;
	es_cache_put_aside(&cache_context);

	/* Should the build fail, what there is of it goes with the transaction. */
	caller = MemoryContextSwitchTo(AllocSetContextCreate(TopTransactionContext, "eventsource projections",
														 ALLOCSET_DEFAULT_SIZES));
	ctl.hcxt = CurrentMemoryContext;
	cache_by_category = hash_create("eventsource projections", 32, &ctl,
									HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	cache_entries = NIL;
	definitions = es_config_list("projection");
	foreach(lc, definitions)
		add_definition(lfirst(lc));

	MemoryContextSetParent(CurrentMemoryContext, CacheMemoryContext);
	cache_context = MemoryContextSwitchTo(caller);
	cache_generation = generation;
}

static void
add_definition(EsDefinition *definition)
{
	CacheEntry *entry;
	JsonbValue	buffer;
	JsonbValue *categories;
	JsonbValue *elements;
	char	   *mode;
	int			count;

	if (strcmp(definition->type, "projection_defined") != 0)
		return;
	entry = palloc0(sizeof(CacheEntry));
	entry->definition = definition;
	entry->relid = es_guarded_relid(definition->name);
	if (OidIsValid(entry->relid))
		es_config_watch(entry->relid);
	cache_entries = lappend(cache_entries, entry);
	mode = es_json_find_string(&definition->data->root, "mode");
	entry->is_async = mode != NULL && strcmp(mode, "async") == 0;

	categories = es_json_find(&definition->data->root, "category", &buffer);
	if (categories == NULL || !es_json_is_array(categories))
		return;
	count = es_json_elements(categories, &elements);
	for (int i = 0; i < count; i++)
		add_category(entry, &elements[i]);
}

static void
add_category(CacheEntry *entry, const JsonbValue *category)
{
	char		name[ES_MAX_WORD + 1];
	CategoryEntry *found;
	bool		exists;

	if (category->type != jbvString || category->val.string.len > ES_MAX_WORD)
		return;
	memcpy(name, category->val.string.val, category->val.string.len);
	name[category->val.string.len] = '\0';
	found = hash_search(cache_by_category, name, HASH_ENTER, &exists);
	if (!exists)
	{
		found->entries = NIL;
		found->projections = NIL;
		found->ready = false;
	}
	found->entries = lappend(found->entries, entry);
}

/* NULL if the table is gone: with it went the projection. */
static EsProjection *
compile_entry(CacheEntry *entry)
{
	MemoryContext context;
	MemoryContext caller;
	Relation	rel;
	EsProjection *projection;

	if (entry->projection != NULL)
		return entry->projection;
	if (!OidIsValid(entry->relid))
	{
		Oid			unguarded = es_guarded_lookup(entry->definition->name);

		if (OidIsValid(unguarded))
			ereport(ERROR,
					(errcode(ES_ERRCODE_INVALID_DEFINITION),
					 errmsg("table %s is defined as a projection but has no guard", entry->definition->name),
					 errdetail("Its guard was dropped, or the table was made anew; what it holds cannot be trusted."),
					 errhint("Define it again with create_projection, or end it: SELECT eventsource.drop_projection(%s).",
							 quote_literal_cstr(entry->definition->name))));
		return NULL;
	}
	rel = try_relation_open(entry->relid, AccessShareLock);
	if (rel == NULL)
		return NULL;

	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource projection", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	projection = es_projection_compile(entry->definition, entry->relid, NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, cache_context);
	relation_close(rel, NoLock);
	entry->projection = projection;
	return projection;
}

/* Once in a generation, which ends with any change of the table. */
static void
expect_sound(CacheEntry *entry)
{
	if (entry->projection == NULL || entry->is_sound)
		return;
	/* A restore can leave guards that only the opening of the log mends. */
	es_projection_expect_target(entry->projection, es_log_is_open());
	entry->is_sound = true;
}
