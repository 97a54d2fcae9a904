/*
 * reaction.c
 *		Reactions, kept for this backend.
 *
 * Kept like event types are: one memory context, handed to the transaction when the
 * generation of definitions is over.  What is defined is read at once, as there is little of
 * it; a reaction is compiled when an event first meets it.  While nothing is defined at all,
 * nothing is looked up.
 */
#include "postgres.h"

#include "compat.h"
#include "errors.h"
#include "log/attempt.h"
#include "log/cache.h"
#include "log/config.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/category.h"
#include "rules/reaction_parts.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Answers that are kept at most; beyond, all are forgotten. */
#define MAX_ENTRIES	10000

#define KEY_SIZE	(2 * ES_MAX_WORD + 32)

/* One that is defined now. */
typedef struct Header
{
	char	   *name;
	int64		version;
	Oid			owner;
	char	   *category;
	char	   *type;
	bool		appends;		/* its action is an append */
} Header;

/* "<category>-<type>" (a category has no hyphen). */
typedef struct Event
{
	char		key[KEY_SIZE];
	List	   *reactions;
} Event;

/* "<version> <name>". */
typedef struct Compiled
{
	char		key[KEY_SIZE];
	EsReaction *reaction;		/* NULL: there is none */
} Compiled;

static MemoryContext cache_context = NULL;
static HTAB *events = NULL;
static HTAB *compiled = NULL;
static List *headers = NIL;		/* of Header */
static uint64 cache_generation = 0;

static const Header *find_header(const char *category, int length, bool appends);
static void refresh_cache(void);
static HTAB *new_table(const char *name, Size entry, MemoryContext context);
static List *read_headers(void);
static List *find_all(const char *category, const char *type);
static EsReaction *build(const char *name, int64 version);
static EsReaction *compile_stored(const EsDefinition *definition);
ES_NORETURN static void raise_broken(const char *name, MemoryContext context);
static void expect_definer(const EsDefinition *definition);

bool
es_reaction_any(const char *category)
{
	return find_header(category, strlen(category), false) != NULL;
}

bool
es_reaction_any_append(const char *category, int length)
{
	return find_header(category, length, true) != NULL;
}

static const Header *
find_header(const char *category, int length, bool appends)
{
	ListCell   *lc;

	refresh_cache();
	foreach(lc, headers)
	{
		const Header *header = lfirst(lc);

		if ((header->appends || !appends) && strncmp(header->category, category, length) == 0 &&
			header->category[length] == '\0')
			return header;
	}
	return NULL;
}

List *
es_reaction_of(const text *category, const text *type)
{
	char		key[KEY_SIZE];
	int			category_len = VARSIZE_ANY_EXHDR(category);
	Event	   *entry;
	List	   *found;
	uint64		generation;

	refresh_cache();
	generation = cache_generation;
	if (category_len > ES_MAX_WORD)
		return NIL;
	snprintf(key, KEY_SIZE, "%.*s-%.*s", category_len, VARDATA_ANY(category),
			 (int) VARSIZE_ANY_EXHDR(type), VARDATA_ANY(type));
	entry = hash_search(events, key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->reactions;
	/* Definitions may change meanwhile, and the cache with them. */
	found = find_all(pnstrdup(key, category_len), key + category_len + 1);
	if (generation == cache_generation)
	{
		MemoryContext caller = MemoryContextSwitchTo(cache_context);

		entry = hash_search(events, key, HASH_ENTER, NULL);
		entry->reactions = list_copy(found);
		MemoryContextSwitchTo(caller);
	}
	return found;
}

const EsReaction *
es_reaction_get(const char *name, int64 version)
{
	char		key[KEY_SIZE];
	Compiled   *entry;
	EsReaction *reaction;
	uint64		generation;

	if (strlen(name) > ES_REACTION_MAX_NAME)
		return NULL;
	refresh_cache();
	generation = cache_generation;
	snprintf(key, KEY_SIZE, INT64_FORMAT " %s", version, name);
	entry = hash_search(compiled, key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->reaction;
	reaction = build(name, version);
	if (generation != cache_generation)
		return reaction;
	entry = hash_search(compiled, key, HASH_ENTER, NULL);
	entry->reaction = reaction;
	return reaction;
}

char *
es_reaction_lapsed(const EsReaction *reaction, TimestampTz due, TimestampTz was_scheduled, TimestampTz now)
{
	TimestampTz limit;

	if (reaction->past == ES_PAST_RUN)
		return NULL;
	if (reaction->past == ES_PAST_SKIP && due < was_scheduled)
		return psprintf("skipped: it was due at %s, before it was scheduled", timestamptz_to_str(due));
	/* In UTC: no setting decides. */
	limit = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, TimestampGetDatum(due),
												  IntervalPGetDatum(reaction->max_past)));
	if (now <= limit)
		return NULL;
	return psprintf("skipped: it was due at %s, and that is too late", timestamptz_to_str(due));
}

Oid
es_reaction_owner(const char *name)
{
	ListCell   *lc;

	refresh_cache();
	foreach(lc, headers)
	{
		const Header *header = lfirst(lc);

		if (strcmp(header->name, name) == 0)
			return header->owner;
	}
	return InvalidOid;
}

List *
es_reaction_problems(const char *category)
{
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *line;

	foreach(lc, es_config_list(ES_REACTION_KIND))
	{
		const EsDefinition *definition = lfirst(lc);
		char	   *of = es_json_find_string(&definition->data->root, "category");
		List	   *problems = NIL;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(definition->type, ES_REACTION_DEFINED) != 0 || strcmp(of, category) != 0)
			continue;
		(void) es_reaction_compile(definition->name, definition->data, definition->owner, &problems);
		foreach(line, problems)
			result = lappend(result, psprintf("reaction \"%s\", %s", definition->name, (char *) lfirst(line)));
	}
	return result;
}

void
es_reaction_each_expr(const EsReaction *reaction,
					  void (*each) (const char *what, EsExpr *expr, void *arg), void *arg)
{
#define EACH(what, expr) do { if ((expr) != NULL) each(what, expr, arg); } while (0)
	EACH("condition", reaction->condition);
	EACH("key", reaction->key);
	EACH("run_at", reaction->run_at);
	for (int i = 0; i < reaction->n_steps; i++)
		for (int k = 0; k < 2; k++)
		{
			const EsReactionStep *step = &reaction->step[i];
			const EsReactionAction *action = k == 0 ? &step->action : step->compensate;

			if (action == NULL)
				continue;
			EACH("payload", action->payload);
			EACH("order_key", action->order_key);
			EACH("stream", action->stream);
			EACH("data", action->data);
			EACH("reason", action->reason);
			EACH("occurred_at", action->occurred_at);
		}
#undef EACH
}

/* ---- the cache ---- */

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	MemoryContext context;
	MemoryContext caller;

	if (events != NULL && cache_generation == generation &&
		hash_get_num_entries(events) + hash_get_num_entries(compiled) < MAX_ENTRIES)
		return;
	events = compiled = NULL;
	headers = NIL;
	es_cache_put_aside(&cache_context);
	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource reactions", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	headers = read_headers();
	MemoryContextSwitchTo(caller);
	events = new_table("eventsource reactions by event", sizeof(Event), context);
	compiled = new_table("eventsource reactions", sizeof(Compiled), context);
	MemoryContextSetParent(context, CacheMemoryContext);
	cache_context = context;
	cache_generation = generation;
}

static HTAB *
new_table(const char *name, Size entry, MemoryContext context)
{
	HASHCTL		ctl = {.keysize = KEY_SIZE,.entrysize = entry,.hcxt = context};

	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* In order of their names. */
static List *
read_headers(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (!es_config_any(ES_REACTION_KIND))
		return NIL;
	foreach(lc, es_config_list(ES_REACTION_KIND))
	{
		const EsDefinition *definition = lfirst(lc);
		JsonbValue *action;
		Header	   *header;

		if (strcmp(definition->type, ES_REACTION_DEFINED) != 0)
			continue;
		header = palloc(sizeof(Header));
		header->name = definition->name;
		header->version = definition->version;
		header->owner = definition->owner;
		header->category = es_json_find_string(&definition->data->root, "category");
		header->type = es_json_find_string(&definition->data->root, "type");
		action = es_json_find(&definition->data->root, "action", NULL);
		header->appends = es_json_is_object(action) && es_json_find(action->val.binary.data, "append", NULL) != NULL;
		result = lappend(result, header);
	}
	return result;
}

static List *
find_all(const char *category, const char *type)
{
	List	   *result = NIL;
	List	   *known = headers;	/* lasts, should the cache not */
	ListCell   *lc;

	foreach(lc, known)
	{
		const Header *header = lfirst(lc);

		if (strcmp(header->category, category) == 0 &&
			(strcmp(header->type, type) == 0 || strcmp(header->type, ES_REACTION_ANY_TYPE) == 0))
		{
			const EsReaction *reaction = es_reaction_get(header->name, header->version);

			result = lappend(result, unconstify(EsReaction *, reaction));
		}
	}
	return result;
}

/* NULL if there is none.  Building may fail; then nothing is entered. */
static EsReaction *
build(const char *name, int64 version)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource reaction",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EsDefinition *definition = es_config_read(ES_REACTION_KIND, name, version);
	EsReaction *reaction = NULL;

	if (definition != NULL && strcmp(definition->type, ES_REACTION_DEFINED) == 0)
	{
		expect_definer(definition);
		reaction = compile_stored(definition);
		reaction->version = definition->version;
	}
	MemoryContextSwitchTo(caller);
	if (reaction == NULL)
		MemoryContextDelete(context);
	else
		MemoryContextSetParent(context, cache_context);
	return reaction;
}

/* Of its own category alone: what it needs may be gone by now. */
static EsReaction *
compile_stored(const EsDefinition *definition)
{
	MemoryContext context = CurrentMemoryContext;
	EsReaction *volatile reaction = NULL;

	/* A category that is broken says so itself. */
	(void) es_category_get(es_json_find_string(&definition->data->root, "category"));
	PG_TRY();
	{
		reaction = es_reaction_compile(definition->name, definition->data, definition->owner, NULL);
	}
	PG_CATCH();
	{
		raise_broken(definition->name, context);
	}
	PG_END_TRY();
	return reaction;
}

/* In PG_CATCH: the error, as what it means for the reaction. */
static void
raise_broken(const char *name, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (!es_error_is_answer(error->sqlerrcode))
		PG_RE_THROW();
	FlushErrorState();
	/* The error has told its context already. */
	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("reaction \"%s\" cannot be compiled any more", name),
			 errdetail("%s%s%s", error->message, error->detail == NULL ? "." : ". ",
					   error->detail == NULL ? "" : error->detail),
			 error->context == NULL ? 0 : (errcontext("%s", error->context)),
			 errhint("Mend what it needs, define it again with eventsource.create_reaction(), or drop it: "
					 "SELECT eventsource.drop_reaction(%s).", quote_literal_cstr(name))));
}

static void
expect_definer(const EsDefinition *definition)
{
	if (OidIsValid(definition->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the role that defined reaction \"%s\" is gone", definition->name),
			 errdetail("A reaction has the rights of who defined it."),
			 errhint("Define it again with eventsource.create_reaction(), or drop it with eventsource.drop_reaction().")));
}
