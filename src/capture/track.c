/*
 * track.c
 *		Tables under capture: what the definition says, joined with the table as
 *		it is today.
 *
 * A table is tracked by the capture trigger on it, which carries the category,
 * and by the definition of that category, which names the table: by its OID in
 * the incarnation of the log in which it was written, else (after a restore) by
 * the trigger, if the table belongs to whom the definition belongs to.
 *
 * The cache lives in one memory context, and ends with the generation of
 * definitions or with any change of a table in it.  Then the context is handed
 * to the transaction, so that nothing in use is freed.
 */
#include "capture/track.h"

#include "access/table.h"
#include "capture/track_text.h"
#include "capture/value.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "log/cache.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/trigger.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

typedef struct CategoryEntry
{
	char		name[ES_MAX_WORD + 1];	/* key */
	EsTracking *tracking;		/* NULL: there is no such definition */
} CategoryEntry;

static MemoryContext cache_context;
static uint64 cache_generation;
static bool cache_stale;
static HTAB *by_category;
static HTAB *by_relid;			/* EsTrackedTable */
static HTAB *watched;			/* Oid: their change ends the cache */

static char *trigger_category(Oid relid);
static void refresh_cache(void);
static void forget_table(Datum arg, Oid relid);
static EsTrackedTable *build_table(Relation rel, const EsTracking *tracking);
static bool may_batch(Relation rel);
static bool has_settle(Oid relid);
static bool wants_each_row(Relation rel);
static Oid	root_of(Oid relid);
static const EsTracking *find_untracked(Oid relid);
static void append_escaped(StringInfo buf, const text *part);

const EsTracking *
es_tracking_of_category(const char *category)
{
	CategoryEntry *entry;
	EsDefinition *latest;
	EsTracking *built = NULL;
	MemoryContext context;
	MemoryContext caller;

	if (strlen(category) > ES_MAX_WORD)
		return NULL;
	refresh_cache();
	entry = hash_search(by_category, category, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->tracking;

	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource tracking", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	latest = es_config_read(ES_TRACKING_KIND, category, 0);
	if (latest != NULL)
		built = es_tracking_build(category, latest);
	MemoryContextSwitchTo(caller);

	/*
	 * A table of that name may yet be restored: what is gone is looked for
	 * again.
	 */
	if (cache_stale || cache_generation != es_config_generation() ||
		(built != NULL && !OidIsValid(built->relid)))
	{
		MemoryContextSetParent(context, TopTransactionContext);
		return built;
	}
	MemoryContextSetParent(context, cache_context);
	entry = hash_search(by_category, category, HASH_ENTER, NULL);
	entry->tracking = built;
	return built;
}

const EsTracking *
es_tracking_of_table(Oid relid)
{
	Oid			root = root_of(relid);
	char	   *category = trigger_category(root);
	const EsTracking *tracking = category == NULL ? NULL : es_tracking_of_category(category);

	if (tracking != NULL && tracking->relid == root)
		return tracking;
	return find_untracked(root);
}

AttrNumber
es_tracking_attno(const EsTracking *tracking, const char *name, int len, int64 position)
{
	ListCell   *lc;

	foreach(lc, es_tracking_version_at(tracking, position)->text.columns)
	{
		const EsColumnText *column = lfirst(lc);

		if ((int) strlen(column->name) != len || memcmp(column->name, name, len) != 0)
			continue;
		for (int i = 0; i < tracking->ncolumns; i++)
			if (tracking->columns[i].id == column->id)
				return tracking->columns[i].attno;
	}
	return InvalidAttrNumber;
}

bool
es_tracking_had_column(const EsTracking *tracking, AttrNumber attno, int64 position)
{
	const EsTrackedColumn *column = es_tracking_column(tracking, attno);
	ListCell   *lc;

	if (column == NULL)
		return false;
	foreach(lc, es_tracking_version_at(tracking, position)->text.columns)
	{
		if (((const EsColumnText *) lfirst(lc))->id == column->id)
			return true;
	}
	return false;
}

const EsTrackingVersion *
es_tracking_version_at(const EsTracking *tracking, int64 position)
{
	const EsTrackingVersion *version = NULL;
	ListCell   *lc;

	foreach(lc, tracking->versions)
	{
		const EsTrackingVersion *candidate = lfirst(lc);

		if (version != NULL && candidate->position > position)
			break;
		version = candidate;
	}
	return version;
}

const EsTrackedColumn *
es_tracking_column(const EsTracking *tracking, AttrNumber attno)
{
	for (int i = 0; i < tracking->ncolumns; i++)
		if (tracking->columns[i].attno == attno)
			return &tracking->columns[i];
	return NULL;
}

text *
es_tracking_key(const EsTracking *tracking, const Datum *values, const bool *nulls)
{
	StringInfoData buf;
	text	   *key;

	for (int i = 0; i < tracking->nkeys; i++)
		if (nulls[tracking->keys[i] - 1])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("key column \"%s\" of tracked table \"%s\" is null",
							NameStr(es_tracking_column(tracking, tracking->keys[i])->name),
							get_rel_name(tracking->relid)),
					 errdetail("The key names the stream of a row."),
					 errhint("Make the column NOT NULL, or track the table by another key.")));
	if (tracking->nkeys == 1)
		return es_value_text(values[tracking->keys[0] - 1],
							 es_tracking_column(tracking, tracking->keys[0])->type);
	initStringInfo(&buf);
	for (int i = 0; i < tracking->nkeys; i++)
	{
		AttrNumber	attno = tracking->keys[i];

		if (i > 0)
			appendStringInfoChar(&buf, ',');
		append_escaped(&buf, es_value_text(values[attno - 1], es_tracking_column(tracking, attno)->type));
	}
	key = cstring_to_text_with_len(buf.data, buf.len);
	pfree(buf.data);
	return key;
}

text *
es_tracking_stream(const EsTracking *tracking, const Datum *values, const bool *nulls)
{
	text	   *key = es_tracking_key(tracking, values, nulls);
	int			category = VARSIZE_ANY_EXHDR(tracking->category);
	int			length = category + 1 + VARSIZE_ANY_EXHDR(key);
	text	   *stream = palloc(VARHDRSZ + length);

	SET_VARSIZE(stream, VARHDRSZ + length);
	memcpy(VARDATA(stream), VARDATA_ANY(tracking->category), category);
	VARDATA(stream)[category] = '-';
	memcpy(VARDATA(stream) + category + 1, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	return stream;
}

static void
append_escaped(StringInfo buf, const text *part)
{
	const char *bytes = VARDATA_ANY(part);
	int			length = VARSIZE_ANY_EXHDR(part);

	for (int i = 0; i < length; i++)
	{
		if (bytes[i] == ',' || bytes[i] == '\\')
			appendStringInfoChar(buf, '\\');
		appendStringInfoChar(buf, bytes[i]);
	}
}

const text *
es_tracking_state(const EsTracking *tracking, const Datum *values, const bool *nulls)
{
	AttrNumber	attno = tracking->state_column;
	const text *word;
	ListCell   *lc;

	if (attno == InvalidAttrNumber || nulls[attno - 1])
		return NULL;
	word = es_value_text(values[attno - 1], es_tracking_column(tracking, attno)->type);
	foreach(lc, tracking->states)
	{
		const EsTrackedState *pair = lfirst(lc);

		if (es_text_same(pair->word, word))
			return pair->state;
	}
	return word;
}

const text *
es_tracking_word(const EsTracking *tracking, const text *state)
{
	ListCell   *lc;

	foreach(lc, tracking->states)
	{
		const EsTrackedState *pair = lfirst(lc);

		if (es_text_same(pair->state, state))
			return pair->word;
	}
	return state;
}

/* ---- triggers ---- */

Oid
es_tracking_function(void)
{
	return es_catalog_trigger_function("capture");
}

/* The category in the capture trigger of a table itself; NULL: it has none. */
static char *
trigger_category(Oid relid)
{
	EsTriggerScan scan;
	Form_pg_trigger trigger;
	char	   *result = NULL;

	es_trigger_begin_scan(&scan, relid, es_tracking_function());
	while (result == NULL && (trigger = es_trigger_next(&scan)) != NULL)
	{
		const char *argument = es_trigger_argument(&scan);

		if (argument != NULL && TRIGGER_FOR_ROW(trigger->tgtype))
			result = pstrdup(argument);
	}
	es_trigger_end_scan(&scan);
	return result;
}

const EsTrackedTable *
es_tracking_of_trigger(Relation rel, const char *category)
{
	Oid			relid = RelationGetRelid(rel);
	EsTrackedTable *entry;
	EsTrackedTable *built;
	const EsTracking *tracking;

	refresh_cache();
	entry = hash_search(by_relid, &relid, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;

	es_tracking_watch(relid);
	tracking = es_tracking_of_category(category);
	if (tracking == NULL || !tracking->is_active || tracking->relid != root_of(relid))
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("table \"%s\" is not the tracked table of category \"%s\"",
						RelationGetRelationName(rel), category),
				 errdetail("It has a capture trigger, but the definition of the category does not name it."),
				 errhint("Track it with eventsource.track_table(), or drop the trigger.")));
	built = build_table(rel, tracking);
	if (cache_stale || cache_generation != es_config_generation())
		return built;
	entry = hash_search(by_relid, &relid, HASH_ENTER, NULL);
	*entry = *built;
	return entry;
}

/* ---- the cache ---- */

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	HASHCTL		ctl = {.keysize = ES_MAX_WORD + 1,.entrysize = sizeof(CategoryEntry)};

	if (cache_context != NULL && cache_generation == generation && !cache_stale)
		return;
	es_cache_put_aside(&cache_context);
	watched = NULL;
	cache_context = AllocSetContextCreate(CacheMemoryContext, "eventsource tracked tables", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = cache_context;
	by_category = hash_create("eventsource tracked categories", 32, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(EsTrackedTable);
	by_relid = hash_create("eventsource tracked tables", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(Oid);
	watched = hash_create("eventsource watched tables", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cache_generation = generation;
	cache_stale = false;
}

/* Before the table is looked at, so that a change meanwhile is not lost. */
void
es_tracking_watch(Oid relid)
{
	(void) hash_search(watched, &relid, HASH_ENTER, NULL);
}

static void
forget_table(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) ||
		(watched != NULL && hash_search(watched, &relid, HASH_FIND, NULL) != NULL))
		cache_stale = true;
}

void
es_tracking_init(void)
{
	CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
}

/* ---- tables with a trigger ---- */

static EsTrackedTable *
build_table(Relation rel, const EsTracking *tracking)
{
	MemoryContext caller = MemoryContextSwitchTo(cache_context);
	EsTrackedTable *table = palloc0(sizeof(EsTrackedTable));
	TupleDesc	desc = RelationGetDescr(rel);

	table->relid = RelationGetRelid(rel);
	table->tracking = tracking;
	for (int i = 0; i < tracking->ncolumns; i++)
		table->natts = Max(table->natts, tracking->columns[i].attno);
	if (table->relid != tracking->relid)
	{
		table->map = palloc0(Max(1, table->natts) * sizeof(AttrNumber));
		for (int i = 0; i < tracking->ncolumns; i++)
			for (int k = 0; k < desc->natts; k++)
				if (!TupleDescAttr(desc, k)->attisdropped &&
					strcmp(NameStr(TupleDescAttr(desc, k)->attname), NameStr(tracking->columns[i].name)) == 0)
					table->map[tracking->columns[i].attno - 1] = k + 1;
	}
	table->batches = may_batch(rel);
	MemoryContextSwitchTo(caller);
	return table;
}

/*
 * May its events wait for the end of the statement?  Then whatever table the
 * statement names must have the trigger that writes them, and nobody may look
 * for them meanwhile.
 */
static bool
may_batch(Relation rel)
{
	ListCell   *lc;

	if (!has_settle(RelationGetRelid(rel)) || wants_each_row(rel))
		return false;
	if (!rel->rd_rel->relispartition)
		return !has_superclass(RelationGetRelid(rel));
	foreach(lc, get_partition_ancestors(RelationGetRelid(rel)))
	{
		es_tracking_watch(lfirst_oid(lc));
		if (!has_settle(lfirst_oid(lc)))
			return false;
	}
	return true;
}

static bool
has_settle(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TriggerDesc *triggers = rel->trigdesc;
	Oid			function = es_tracking_function();
	bool		result = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		result |= trigger->tgfoid == function && trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
			!TRIGGER_FOR_ROW(trigger->tgtype) && !TRIGGER_FOR_BEFORE(trigger->tgtype);
	}
	table_close(rel, NoLock);
	return result;
}

/* Do other triggers run between the rows, and see (or add to) the log? */
static bool
wants_each_row(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	Oid			function = es_tracking_function();

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (!TRIGGER_FOR_ROW(trigger->tgtype) || !TRIGGER_FOR_AFTER(trigger->tgtype) ||
			trigger->tgfoid == function)
			continue;
		switch (trigger->tgfoid)
		{
			case F_RI_FKEY_CHECK_INS:
			case F_RI_FKEY_CHECK_UPD:
			case F_RI_FKEY_NOACTION_DEL:
			case F_RI_FKEY_NOACTION_UPD:
			case F_RI_FKEY_RESTRICT_DEL:
			case F_RI_FKEY_RESTRICT_UPD:
			case F_UNIQUE_KEY_RECHECK:
				break;
			default:
				return true;
		}
	}
	return false;
}

/* The partitioned table that it is part of, or itself. */
static Oid
root_of(Oid relid)
{
	List	   *ancestors = get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;

	return ancestors == NIL ? relid : llast_oid(ancestors);
}

/* A table without the trigger that a definition names. */
static const EsTracking *
find_untracked(Oid relid)
{
	List	   *definitions = es_config_list(ES_TRACKING_KIND);
	const EsTracking *result = NULL;
	ListCell   *lc;

	foreach(lc, definitions)
	{
		const EsTracking *tracking = es_tracking_of_category(((EsDefinition *) lfirst(lc))->name);

		if (tracking != NULL && tracking->relid == relid &&
			(result == NULL || tracking->position > result->position))
			result = tracking;
	}
	return result;
}
