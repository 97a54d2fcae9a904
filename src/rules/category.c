/*
 * category.c
 *		What is declared about categories of streams, compiled for this backend.
 *
 * Kept like machines are: one memory context, handed to the transaction when
 * the generation of definitions is over.  A category's context table is watched,
 * so that ALTER or DROP of it ends the generation too; it is opened with ACCESS
 * SHARE only while its columns are copied.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "log/cache.h"
#include "log/config.h"
#include "log/guarded.h"
#include "log/json.h"
#include "rules/category.h"
#include "rules/reaction.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Categories that are kept at most; beyond, all are forgotten. */
#define MAX_CATEGORIES	10000

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static uint64 cache_generation = 0;
static uint64 cache_epoch = 0;	/* of the machines that are pointed to */

/* Names too long for create_category() can only be undeclared. */
static const EsCategory undeclared = {.context = InvalidOid};

static void refresh_cache(void);
static void build(EsCategory *category);
static TupleDesc open_context(EsCategory *category, const char *context);
static void compile(EsCategory *category, const EsDefinition *definition);

const EsCategory *
es_category_get(const char *name)
{
	EsCategory	built;
	EsCategory *entry;

	if (strlen(name) > ES_MAX_WORD)
		return &undeclared;
	refresh_cache();
	entry = hash_search(cache, name, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;

	/* Building may fail, or look at other categories. */
	memset(&built, 0, sizeof(built));
	strcpy(built.name, name);
	build(&built);
	entry = hash_search(cache, name, HASH_ENTER, NULL);
	*entry = built;
	return entry;
}

EsMachine *
es_category_machine(const EsCategory *category, const text *label)
{
	int64		version;
	char	   *name = es_machine_read_label(label, &version);
	Relation	rel;
	TupleDesc	row = NULL;

	if (name == NULL)
		return NULL;
	if (category->machine != NULL && es_text_same(label, es_machine_label(category->machine)))
		return category->machine;
	if (OidIsValid(category->context) && (rel = try_table_open(category->context, AccessShareLock)) != NULL)
	{
		row = CreateTupleDescCopy(RelationGetDescr(rel));
		table_close(rel, AccessShareLock);
	}
	return es_machine_get(name, version, row, row == NULL ? InvalidOid : category->context);
}

const text *
es_category_subject(const EsCategory *category, const EsEvent *event)
{
	EsBinding	binding = {.event = event};
	EsExprUse	use = {.what = "subject",.owner_kind = "category"};
	Datum		subject;
	bool		isnull;

	if (category->subject == NULL)
		return NULL;
	use.owner = es_event_text(event, ES_EVENT_CATEGORY);
	es_expr_begin_use(&use, event);
	subject = es_expr_eval(category->subject, &binding, &isnull);
	es_expr_end_use(&use);
	if (isnull || VARSIZE_ANY_EXHDR(DatumGetPointer(subject)) == 0)
		return NULL;
	return (const text *) DatumGetPointer(subject);
}

void
es_category_read(Jsonb *data, EsCategoryText *category)
{
	JsonbValue	buffer;
	JsonbValue *strict = NULL;

	memset(category, 0, sizeof(EsCategoryText));
	if (!JB_ROOT_IS_OBJECT(data))
		return;
	category->state_machine = es_json_find_string(&data->root, "state_machine");
	category->context = es_json_find_string(&data->root, "context");
	category->subject = es_json_find_string(&data->root, "subject");
	strict = es_json_find(&data->root, "strict", &buffer);
	category->strict = strict != NULL && strict->type == jbvBool && strict->val.boolean;
}

Jsonb *
es_category_write(const char *name, const EsCategoryText *category)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "name", name);
	es_json_push_string(&state, "state_machine", category->state_machine);
	es_json_push_string(&state, "context", category->context);
	es_json_push_string(&state, "subject", category->subject);
	es_json_push_bool(&state, "strict", category->strict);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	HASHCTL		ctl = {.keysize = ES_MAX_WORD + 1,.entrysize = sizeof(EsCategory)};
	MemoryContext context;

	if (cache != NULL && cache_generation == generation && cache_epoch == es_machine_epoch() &&
		hash_get_num_entries(cache) < MAX_CATEGORIES)
		return;
	cache = NULL;
	es_cache_put_aside(&cache_context);
	context = AllocSetContextCreate(CacheMemoryContext, "eventsource categories",
									ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = context;
	cache = hash_create("eventsource categories", 64, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	cache_context = context;
	cache_generation = generation;
	cache_epoch = es_machine_epoch();
}

static void
build(EsCategory *category)
{
	EsDefinition *definition = es_config_read("category", category->name, 0);
	EsDefinition *policy = es_config_read(ES_SNAPSHOT_POLICY_KIND, category->name, 0);
	int64		every;
	MemoryContext context;
	MemoryContext caller;

	if (policy != NULL && es_json_find_number(&policy->data->root, "every", &every))
		category->snapshot_every = (int32) every;
	category->reacts = es_reaction_any(category->name);
	if (definition == NULL)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource category",
									ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	compile(category, definition);
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, cache_context);
}

static void
compile(EsCategory *category, const EsDefinition *definition)
{
	EsCategoryText text;
	EsExprScope scope = {.owner = definition->owner};
	TupleDesc	row = NULL;

	es_category_read(definition->data, &text);
	category->declared = true;
	category->strict = text.strict;

	if (text.context != NULL)
		row = open_context(category, text.context);
	if (text.subject != NULL && !OidIsValid(definition->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("owner of category \"%s\" does not exist any more", category->name),
				 errdetail("Its subject expression had the rights of that role."),
				 errhint("Declare the category again with eventsource.create_category().")));
	if (text.subject != NULL)
		category->subject = es_expr_compile(&scope, text.subject, TEXTOID, -1);
	if (text.state_machine == NULL)
		return;
	category->machine = es_machine_get(text.state_machine, 0, row, category->context);
	if (category->machine == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("state machine \"%s\" does not exist", text.state_machine),
				 errdetail("Category \"%s\" is bound to it.", category->name),
				 errhint("Define it with eventsource.create_state_machine().")));
}

/* Finds the context's table and copies its columns. */
static TupleDesc
open_context(EsCategory *category, const char *context)
{
	Oid			relid = es_guarded_relid(context);
	Relation	rel;
	TupleDesc	row;

	rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("context table %s of category \"%s\" does not exist", context, category->name),
				 errdetail("Guards and fill values of the category's state machine see its rows."),
				 errhint("Create the category again with another context.")));
	es_config_watch(relid);
	category->context = relid;
	row = CreateTupleDescCopy(RelationGetDescr(rel));
	table_close(rel, AccessShareLock);
	return row;
}
