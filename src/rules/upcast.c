/*
 * upcast.c
 *		Upcasters, compiled for this backend, and what they make of an event.
 *
 * Kept like categories are: one memory context, handed to the transaction when
 * the generation of definitions is over.  Most databases have none, which is known
 * after one look; then nothing is done per event.  Which chain an event goes
 * through is kept by the ids of its category and type.
 *
 * Stored bytes are what is hashed and dumped; upcast data is made anew whenever an
 * event is read.  An expression sees nothing of an event that is not known yet when
 * the event is decided, or that is itself computed from its data: so it says the
 * same to the guards before the event is stored as to every reader later.
 */
#include "rules/upcast.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "errors.h"
#include "log/cache.h"
#include "log/json.h"
#include "log/stream.h"
#include "log/word.h"
#include "miscadmin.h"
#include "rules/event_type.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Pairs of category and type that are kept at most; beyond, all are forgotten. */
#define MAX_ENTRIES	10000

typedef struct Key
{
	int32		category;		/* word ids */
	int32		type;
} Key;

typedef struct Entry
{
	Key			key;
	const EsUpcastChain *chain; /* or NULL */
} Entry;

struct EsUpcasters
{
	List	   *chains;
	MemoryContext context;
};

static MemoryContext cache_context = NULL;
static EsUpcasters *cache = NULL;	/* NULL: there are none */
static HTAB *by_words = NULL;
static uint64 cache_generation = 0;
static EsDefinition *proposal = NULL;

static const EsUpcasters *begin(void);
static void build(void);
static List *read_definitions(void);
static void add_step(EsUpcasters *upcasters, const EsDefinition *definition);
static EsUpcastChain *chain_to_extend(EsUpcasters *upcasters, const char *category, const char *type);
static const EsUpcastChain *resolve(const EsUpcasters *upcasters, const EsEvent *event);
static void upcast(const EsUpcasters *upcasters, EsEvent *event);
static Jsonb *run(const EsUpcastChain *chain, EsUpcaster *step, const EsEvent *event);
static void compile(const EsUpcastChain *chain, EsUpcaster *step);
static void refuse_result(const EsUpcastChain *chain, const EsUpcaster *step, const EsEvent *event,
						  Jsonb *result);

void
es_upcast_init(void)
{
	es_reading_register(begin, upcast);
}

/* ---- the cache ---- */

static const EsUpcasters *
begin(void)
{
	uint64		generation = es_config_generation();

	if (cache_generation != generation)
	{
		build();
		cache_generation = generation;
	}
	return cache;
}

const EsUpcasters *
es_upcasters_known(void)
{
	return cache_generation == es_config_generation_seen() ? cache : begin();
}

void
es_upcast_propose(EsDefinition *definition)
{
	proposal = definition;
	cache_generation = 0;
}

/* If it fails, there is no cache, and the next one to ask tries again. */
static void
build(void)
{
	MemoryContext context;
	MemoryContext caller;
	EsUpcasters *upcasters = NULL;
	List	   *definitions;
	ListCell   *lc;

	cache = NULL;
	by_words = NULL;
	cache_generation = 0;
	es_cache_put_aside(&cache_context);
	if (proposal == NULL && !es_config_any(ES_UPCASTER_KIND))
		return;
	definitions = read_definitions();
	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource upcasters", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	upcasters = palloc0(sizeof(EsUpcasters));
	upcasters->context = context;
	foreach(lc, definitions)
		add_step(upcasters, lfirst(lc));
	MemoryContextSwitchTo(caller);
	if (upcasters->chains == NIL)
	{
		MemoryContextDelete(context);
		return;
	}
	MemoryContextSetParent(context, CacheMemoryContext);
	cache_context = context;
	cache = upcasters;
}

/* In order of their names, a proposal in its place. */
static List *
read_definitions(void)
{
	List	   *stored = es_config_list(ES_UPCASTER_KIND);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, stored)
	{
		EsDefinition *definition = lfirst(lc);

		if (proposal == NULL || strcmp(definition->name, proposal->name) != 0)
			result = lappend(result, definition);
	}
	return proposal == NULL ? result : lappend(result, proposal);
}

static void
add_step(EsUpcasters *upcasters, const EsDefinition *definition)
{
	JsonbContainer *root = &definition->data->root;
	char	   *type = es_json_find_string(root, "type");
	EsUpcaster	step = {
		.owner = definition->owner,.version = definition->version,.position = definition->position
	};
	EsUpcastChain *chain;
	int64		from;
	int64		to;
	int			n;

	if (strcmp(definition->type, ES_UPCASTER_CREATED) != 0)
		return;
	step.source = es_json_find_string(root, "expression");
	step.owner_name = es_json_find_string(root, "owner");
	if (type == NULL || step.source == NULL || !es_json_find_number(root, "from_version", &from) ||
		!es_json_find_number(root, "to_version", &to))
		elog(ERROR, "definition of an upcaster at position " INT64_FORMAT " lacks members",
			 definition->position);
	step.from = (int32) from;
	step.to = (int32) to;
	step.name = psprintf("%d to %d", step.from, step.to);
	chain = chain_to_extend(upcasters, es_json_find_string(root, "category"), type);
	for (n = chain->n_steps++; n > 0 && chain->step[n - 1].from > step.from; n--)
		chain->step[n] = chain->step[n - 1];
	chain->step[n] = step;
}

/* With room for one step more. */
static EsUpcastChain *
chain_to_extend(EsUpcasters *upcasters, const char *category, const char *type)
{
	EsUpcastChain *chain = unconstify(EsUpcastChain *, es_upcast_chain_of_scope(upcasters, category, type));

	if (chain == NULL)
	{
		chain = palloc0(sizeof(EsUpcastChain));
		chain->category = category == NULL ? NULL : pstrdup(category);
		chain->type = pstrdup(type);
		chain->context = upcasters->context;
		upcasters->chains = lappend(upcasters->chains, chain);
	}
	chain->step = chain->step == NULL ? palloc(sizeof(EsUpcaster)) :
		repalloc(chain->step, (chain->n_steps + 1) * sizeof(EsUpcaster));
	return chain;
}

/* ---- which chain ---- */

List *
es_upcast_chains(const EsUpcasters *upcasters)
{
	return upcasters == NULL ? NIL : upcasters->chains;
}

const EsUpcastChain *
es_upcast_chain_of_scope(const EsUpcasters *upcasters, const char *category, const char *type)
{
	ListCell   *lc;

	foreach(lc, es_upcast_chains(upcasters))
	{
		const EsUpcastChain *chain = lfirst(lc);

		if (strcmp(chain->type, type) == 0 &&
			(category == NULL || chain->category == NULL ? category == chain->category :
			 strcmp(category, chain->category) == 0))
			return chain;
	}
	return NULL;
}

const EsUpcastChain *
es_upcast_chain_of(const EsUpcasters *upcasters, const EsEvent *event)
{
	Key			key = {ES_STREAM_CATEGORY(event->stream_id), event->type_id};
	HASHCTL		ctl = {.keysize = sizeof(Key),.entrysize = sizeof(Entry),.hcxt = upcasters->context};
	const EsUpcastChain *chain;
	Entry	   *entry;

	if (!es_event_type_counts(event->flags))
		return NULL;
	if (key.category == 0 || key.type == 0 || upcasters != cache)
		return resolve(upcasters, event);
	if (by_words != NULL && hash_get_num_entries(by_words) >= MAX_ENTRIES)
	{
		hash_destroy(by_words);
		by_words = NULL;
	}
	if (by_words == NULL)
		by_words = hash_create("eventsource upcasters by words", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	entry = hash_search(by_words, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->chain;
	chain = resolve(upcasters, event);
	if (upcasters == cache && by_words != NULL)
	{
		entry = hash_search(by_words, &key, HASH_ENTER, NULL);
		entry->chain = chain;
	}
	return chain;
}

/*
 * That of the event's registration; without one, of its category, else the general
 * one.  Words that the event has not are looked up by their ids.
 */
static const EsUpcastChain *
resolve(const EsUpcasters *upcasters, const EsEvent *event)
{
	const text *words[] = {es_event_text(event, ES_EVENT_CATEGORY), es_event_text(event, ES_EVENT_TYPE)};
	char	   *category;
	char	   *type;
	const EsUpcastChain *own;
	const EsUpcastChain *general;
	const EsUpcastChain *result;

	if (words[0] == NULL)
		words[0] = es_word_text(ES_STREAM_CATEGORY(event->stream_id));
	if (words[1] == NULL)
		words[1] = es_word_text(event->type_id);
	if (words[0] == NULL || words[1] == NULL)
		return NULL;
	category = text_to_cstring(words[0]);
	type = text_to_cstring(words[1]);
	result = own = es_upcast_chain_of_scope(upcasters, category, type);
	general = es_upcast_chain_of_scope(upcasters, NULL, type);
	if (own == NULL && general != NULL && category[0] != '$' &&
		es_event_type_read(category, type) == NULL)
		result = general;
	pfree(category);
	pfree(type);
	return result;
}

EsUpcaster *
es_upcast_first(const EsUpcastChain *chain, int32 version)
{
	for (int i = 0; i < chain->n_steps; i++)
		if (chain->step[i].from == version)
			return &chain->step[i];
	return NULL;
}

/* ---- what is made of an event ---- */

static void
upcast(const EsUpcasters *upcasters, EsEvent *event)
{
	const EsUpcastChain *chain = es_upcast_chain_of(upcasters, event);
	EsUpcaster *step;

	if (chain == NULL)
		return;
	step = es_upcast_first(chain, DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
	for (; step != NULL && step < chain->step + chain->n_steps; step++)
	{
		event->value[ES_EVENT_DATA] = JsonbPGetDatum(run(chain, step, event));
		event->is_upcast = true;
	}
}

static Jsonb *
run(const EsUpcastChain *chain, EsUpcaster *step, const EsEvent *event)
{
	EsBinding	binding = {.event = event};
	EsExprUse	use = {.what = "upcaster",.name = step->name,.owner_kind = "event type"};
	Datum		value;
	bool		isnull;
	Jsonb	   *result;

	use.owner = es_event_text(event, ES_EVENT_TYPE);
	es_expr_begin_use(&use, event);
	if (step->expr == NULL)
		compile(chain, step);
	value = es_expr_eval(step->expr, &binding, &isnull);
	result = isnull ? NULL : DatumGetJsonbP(value);
	if (result == NULL || !JB_ROOT_IS_OBJECT(result))
		refuse_result(chain, step, event, result);
	es_expr_end_use(&use);
	return result;
}

/*
 * Compiling may fail; then nothing is kept.  An owner who is gone is missed where
 * code of users is called: a chain of several could not be mended step by step.
 */
static void
compile(const EsUpcastChain *chain, EsUpcaster *step)
{
	MemoryContext context;
	MemoryContext caller;
	EsExpr	   *expr;

	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource upcaster", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	expr = es_upcast_compile(step->source, step->owner);
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, chain->context);
	step->expr = expr;
}

EsExpr *
es_upcast_compile(const char *source, Oid owner)
{
	static const struct
	{
		EsEventColumn column;
		const char *name;
	}			unknown[] = {
		{ES_EVENT_POSITION, "position"},
		{ES_EVENT_SUBJECT, "subject"},
		{ES_EVENT_REASON, "reason"},
		{ES_EVENT_FROM_STATE, "from_state"},
		{ES_EVENT_TO_STATE, "to_state"},
		{ES_EVENT_HASH, "hash"},
	};
	EsExprScope scope = {.owner = owner};
	EsExpr	   *expr = es_expr_compile(&scope, source, JSONBOID, -1);

	for (int i = 0; i < (int) lengthof(unknown); i++)
		if (es_expr_uses_event(expr, unknown[i].column))
			ereport(ERROR,
					(errcode(ES_ERRCODE_INVALID_DEFINITION),
					 errmsg("an upcaster cannot use event.%s", unknown[i].name),
					 errdetail("It is decided after the event was read, by what the upcaster says."),
					 errhint("Use data, metadata, schema_version, type, stream, version, actor, occurred_at or recorded_at.")));
	return expr;
}

static void
refuse_result(const EsUpcastChain *chain, const EsUpcaster *step, const EsEvent *event, Jsonb *result)
{
	Datum		position = event->value[ES_EVENT_POSITION];

	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_PAYLOAD),
			 errmsg("upcaster of event type \"%s\" from version %d to %d returned %s", chain->type,
					step->from, step->to, result == NULL ? "null" : "no object"),
			 event->isnull[ES_EVENT_POSITION] ? errdetail("Data of an event must be an object.") :
			 errdetail("Data of an event must be an object. The event is at position " INT64_FORMAT ".",
					   DatumGetInt64(position)),
			 errhint("Define the upcaster again with eventsource.create_upcaster(); eventsource.verify_upcasters() tries it on every event.")));
}

/* ---- definitions ---- */

char *
es_upcast_registration_problem(const char *category, const char *type)
{
	const EsUpcasters *upcasters = es_reading_begin();
	ListCell   *lc;

	if (category != NULL && es_upcast_chain_of_scope(upcasters, NULL, type) != NULL &&
		es_upcast_chain_of_scope(upcasters, category, type) == NULL)
		return psprintf("category: its events are read through the upcasters of \"%s\" for all categories, which "
						"a registration of its own would end", type);
	foreach(lc, category == NULL ? es_upcast_chains(upcasters) : NIL)
	{
		const EsUpcastChain *chain = lfirst(lc);

		if (chain->category != NULL && strcmp(chain->type, type) == 0 &&
			es_event_type_read(chain->category, type) == NULL)
			return psprintf("category: \"%s\" has upcasters of its own for this type; register it there first",
							chain->category);
	}
	return NULL;
}

char *
es_upcast_definition_name(const char *category, const char *type, int32 from)
{
	return psprintf("%s@%d", es_event_type_definition_name(category, type), from);
}

Jsonb *
es_upcast_write(const char *category, const char *type, int32 from, int32 to, const char *source)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "type", type);
	es_json_push_string(&state, "category", category);
	es_json_push_number(&state, "from_version", from);
	es_json_push_number(&state, "to_version", to);
	es_json_push_string(&state, "expression", source);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

uint64
es_upcast_stamp(List *categories, bool (*has_rule) (const text *type, void *arg), void *arg)
{
	const EsUpcasters *upcasters = es_reading_begin();
	uint64		stamp = 0;
	ListCell   *lc;
	ListCell   *name;

	foreach(lc, es_upcast_chains(upcasters))
	{
		const EsUpcastChain *chain = lfirst(lc);
		bool		concerned = chain->category == NULL;

		foreach(name, categories)
			concerned |= chain->category != NULL && strcmp(lfirst(name), chain->category) == 0;
		if (!concerned || !has_rule(cstring_to_text(chain->type), arg))
			continue;
		for (int i = 0; i < chain->n_steps; i++)
			stamp = hash_combine64(stamp, (uint64) chain->step[i].position);
	}
	return stamp;
}
