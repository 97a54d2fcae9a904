/*
 * machine.c
 *		The compiled state machines of this backend.
 *
 * A machine is compiled on first use and kept until definitions change.  All
 * live in one memory context; when the generation of definitions is over, that
 * context is handed to the transaction rather than freed, so that a machine in
 * use stays valid until the transaction ends.  No locks are taken: a definition
 * is an event, and does not change after it was read.
 */
#include "postgres.h"

#include "errors.h"
#include "log/cache.h"
#include "log/config.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/machine_table.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Machines are kept up to this size; beyond it, all are forgotten. */
#define MAX_CACHE_SIZE	(64 * 1024 * 1024)

/* Compared as bytes, so zeroed before it is filled. */
typedef struct CacheKey
{
	char		name[ES_MAX_WORD + 1];
	int64		version;		/* 0: the latest */
	Oid			context;
	bool		inspected;
} CacheKey;

typedef struct CacheEntry
{
	CacheKey	key;
	EsMachine  *machine;
} CacheEntry;

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static uint64 cache_generation = 0;
static uint64 cache_epoch = 0;	/* counts the caches there were */
static bool cache_is_full = false;

static EsMachine *get(const char *name, int64 version, TupleDesc row, Oid relid, bool inspected);
static void refresh_cache(void);
static EsMachine *build(const char *name, int64 version, TupleDesc row, bool inspected);
static EsMachine *build_from(const EsDefinition *definition, TupleDesc row, bool inspected);
static EsMachine *make(const char *name, const char *label, Jsonb *definition, const EsExprScope *scope,
					   int flags, bool had_timeouts);

EsMachine *
es_machine_get(const char *name, int64 version, TupleDesc context_row, Oid context_relid)
{
	return get(name, version, context_row, context_relid, false);
}

/*
 * A machine apart from any category, to look at or to replay with: expressions
 * that name "row" are not compiled.
 */
EsMachine *
es_machine_inspect(const char *name, int64 version)
{
	return get(name, version, NULL, InvalidOid, true);
}

EsMachine *
es_machine_propose(const char *name, Jsonb *definition, TupleDesc context_row)
{
	EsExprScope scope = {.row = context_row,.has_state = true,.owner = GetUserId()};
	List	   *problems = es_machine_check(name, definition, true, context_row);

	if (problems != NIL)
		es_machine_refuse(psprintf("definition of state machine \"%s\"", name), problems);
	return make(name, psprintf("%s@proposed", name), definition, &scope, 0, false);
}

uint64
es_machine_epoch(void)
{
	return cache_epoch;
}

bool
es_machine_evaluates(const EsMachine *machine)
{
	ListCell   *lc;

	foreach(lc, machine->entries)
	{
		for (const EsEdge *edge = ((EsEntry *) lfirst(lc))->first; edge != NULL; edge = edge->next)
			if (edge->nguards > 0 || edge->nfills > 0)
				return true;
	}
	return false;
}

const text *
es_machine_label(const EsMachine *machine)
{
	return machine->label;
}

Jsonb *
es_machine_definition(const char *name, Jsonb *stored)
{
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(&stored->root, "definition", &buffer);

	if (value == NULL)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("definition of state machine \"%s\" is missing", name),
				 errdetail("It was not written by eventsource.create_state_machine()."),
				 errhint("Define it again with eventsource.create_state_machine().")));
	return JsonbValueToJsonb(value);
}

static EsMachine *
get(const char *name, int64 version, TupleDesc row, Oid relid, bool inspected)
{
	CacheKey	key;
	CacheEntry *entry;
	EsMachine  *machine;

	if (strlen(name) > ES_MAX_WORD)
		return NULL;
	memset(&key, 0, sizeof(key));
	strcpy(key.name, name);
	key.version = version;
	key.context = relid;
	key.inspected = inspected;

	refresh_cache();
	entry = hash_search(cache, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->machine;

	/* Definitions may change meanwhile; then the next call builds anew. */
	machine = build(name, version, row, inspected);
	if (machine == NULL)
		return NULL;
	entry = hash_search(cache, &key, HASH_ENTER, NULL);
	entry->machine = machine;
	return machine;
}

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	HASHCTL		ctl = {.keysize = sizeof(CacheKey),.entrysize = sizeof(CacheEntry)};
	MemoryContext context;

	if (cache != NULL && cache_generation == generation && !cache_is_full)
		return;
	cache = NULL;
	es_cache_put_aside(&cache_context);
	context = AllocSetContextCreate(CacheMemoryContext, "eventsource state machines",
									ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = context;
	cache = hash_create("eventsource state machines", 16, &ctl,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cache_context = context;
	cache_generation = generation;
	cache_epoch++;
	cache_is_full = false;
}

/* Compiles in a context of its own, which joins the cache only when all is well. */
static EsMachine *
build(const char *name, int64 version, TupleDesc row, bool inspected)
{
	EsDefinition *definition = es_config_read("state_machine", name, version);
	MemoryContext context;
	MemoryContext caller;
	EsMachine  *machine;

	if (definition == NULL)
		return NULL;
	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource state machine",
									ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	machine = build_from(definition, row, inspected);
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, cache_context);
	cache_is_full = MemoryContextMemAllocated(cache_context, true) > MAX_CACHE_SIZE;
	return machine;
}

static EsMachine *
build_from(const EsDefinition *definition, TupleDesc row, bool inspected)
{
	EsExprScope scope = {.row = row,.has_state = true,.owner = definition->owner};

	return make(definition->name, psprintf("%s@" INT64_FORMAT, definition->name, definition->version),
				es_machine_definition(definition->name, definition->data), &scope,
				inspected ? ES_COMPILE_SKIP_ROW : 0, es_machine_stored_had_timeouts(definition->data));
}

static EsMachine *
make(const char *name, const char *label, Jsonb *definition, const EsExprScope *scope, int flags,
	 bool had_timeouts)
{
	EsProblems	problems = {NIL, 0};
	EsMachine  *machine = es_machine_parse(name, definition, &problems);

	machine->label = cstring_to_text(label);
	machine->had_timeouts = had_timeouts;
	if (problems.count > 0)
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("definition of state machine \"%s\" cannot be used", label),
				 errdetail("%s", (char *) linitial(problems.lines)),
				 errhint("Define it again with eventsource.create_state_machine().")));
	es_machine_build_table(machine);
	es_machine_compile(machine, scope, flags, NULL);
	return machine;
}
