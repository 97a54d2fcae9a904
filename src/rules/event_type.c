/*
 * event_type.c
 *		Registrations of event types, kept for this backend.
 *
 * Kept like categories are: one memory context, handed to the transaction when
 * the generation of definitions is over.  Found by (category, type), which may be
 * the answer that there is none; general registrations are there under no category.
 * While nothing is registered at all, nothing is looked up.
 *
 * The definition of a version may be said again, with another description, say;
 * what was said last counts.  Schemas are compiled when an event first needs them.
 */
#include "rules/event_type.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "errors.h"
#include "log/cache.h"
#include "log/config.h"
#include "log/json.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Pairs of category and type that are kept at most; beyond, all are forgotten. */
#define MAX_ENTRIES	10000

typedef struct Key
{
	const char *category;
	const char *type;
	int			category_len;	/* 0: the general registration */
	int			type_len;
} Key;

typedef struct Entry
{
	Key			key;
	EsEventType *type;			/* or NULL */
	bool		is_old;			/* was asked about by es_event_type_is_news() */
} Entry;

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static uint64 cache_generation = 0;
static bool any_registered;

static void set_key(Key *key, const text *category, const text *type);
static void refresh_cache(void);
static Entry *find(const Key *key);
static Entry *enter(const Key *key, EsEventType *type);
static EsEventType *build(const Key *key);
static void read_versions(EsEventType *type, List *definitions);
static void read_version(EsTypeVersion *version, JsonbContainer *definition);
static void compile_subject(EsEventType *type);

const EsEventType *
es_event_type_get(const text *category, const text *type)
{
	Key			key;

	refresh_cache();
	if (!any_registered)
		return NULL;
	set_key(&key, category, type);
	return find(&key)->type;
}

bool
es_event_type_is_news(const text *category, const text *type)
{
	Key			key;
	Entry	   *entry;
	bool		is_news;

	refresh_cache();
	set_key(&key, category, type);
	entry = find(&key);
	is_news = !entry->is_old;
	entry->is_old = true;
	return is_news;
}

static void
set_key(Key *key, const text *category, const text *type)
{
	key->category = VARDATA_ANY(category);
	key->category_len = VARSIZE_ANY_EXHDR(category);
	key->type = VARDATA_ANY(type);
	key->type_len = VARSIZE_ANY_EXHDR(type);
}

/* ---- the cache ---- */

static uint32
hash_key(const void *data, Size size)
{
	const Key  *key = data;

	return hash_combine(hash_bytes((const unsigned char *) key->category, key->category_len),
						hash_bytes((const unsigned char *) key->type, key->type_len));
}

static int
match_keys(const void *left, const void *right, Size size)
{
	const Key  *a = left;
	const Key  *b = right;

	return a->category_len != b->category_len || a->type_len != b->type_len ||
		memcmp(a->category, b->category, a->category_len) != 0 ||
		memcmp(a->type, b->type, a->type_len) != 0;
}

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	HASHCTL		ctl = {
		.keysize = sizeof(Key),.entrysize = sizeof(Entry),.hash = hash_key,.match = match_keys
	};
	MemoryContext context;
	bool		any;

	if (cache != NULL && cache_generation == generation && hash_get_num_entries(cache) < MAX_ENTRIES)
		return;
	cache = NULL;
	es_cache_put_aside(&cache_context);
	any = es_config_any(ES_EVENT_TYPE_KIND);
	context = AllocSetContextCreate(CacheMemoryContext, "eventsource event types", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = context;
	cache = hash_create("eventsource event types", 64, &ctl,
						HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	cache_context = context;
	cache_generation = generation;
	any_registered = any;
}

static Entry *
find(const Key *key)
{
	Entry	   *entry = hash_search(cache, key, HASH_FIND, NULL);
	EsEventType *type;

	if (entry != NULL)
		return entry;
	type = build(key);
	if (type == NULL && key->category_len > 0)
	{
		Key			general = {.category = "",.type = key->type,.type_len = key->type_len};

		type = find(&general)->type;
	}
	return enter(key, type);
}

static Entry *
enter(const Key *key, EsEventType *type)
{
	Key			kept = *key;
	char	   *names = MemoryContextAlloc(cache_context, key->category_len + key->type_len + 1);
	Entry	   *entry;
	bool		found;

	memcpy(names, key->category, key->category_len);
	memcpy(names + key->category_len, key->type, key->type_len);
	kept.category = names;
	kept.type = names + key->category_len;
	entry = hash_search(cache, &kept, HASH_ENTER, &found);
	entry->type = type;
	entry->is_old = false;
	return entry;
}

/* Building may fail; then nothing is entered. */
static EsEventType *
build(const Key *key)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource event type",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EsEventType *type;

	type = es_event_type_read(key->category_len == 0 ? NULL : pnstrdup(key->category, key->category_len),
							  pnstrdup(key->type, key->type_len));
	if (type != NULL)
		compile_subject(type);
	MemoryContextSwitchTo(caller);
	if (type == NULL)
		MemoryContextDelete(context);
	else
		MemoryContextSetParent(context, cache_context);
	return type;
}

static void
compile_subject(EsEventType *type)
{
	EsExprScope scope = {.owner = type->owner};
	const char *source = es_event_type_latest(type)->subject;

	if (source == NULL || type->is_withdrawn)
		return;
	if (!OidIsValid(type->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("owner of event type \"%s\" does not exist any more", type->name),
				 errdetail("Its subject expression had the rights of that role."),
				 errhint("Register the type again with eventsource.register_event_type().")));
	type->subject = es_expr_compile(&scope, source, TEXTOID, -1);
}

EsSchema *
es_event_type_program(const EsEventType *type, EsTypeVersion *version)
{
	List	   *problems;
	EsSchema   *program;

	if (version->schema == NULL || version->program != NULL)
		return version->program;
	program = es_schema_compile(version->schema, version->asserts_formats, &problems);
	if (program == NULL)
		es_schema_raise(problems);
	es_schema_keep(program, type->context);
	version->program = program;
	return program;
}

/* ---- reading and writing definitions ---- */

/* A category has no hyphen, so that no two registrations share a name. */
char *
es_event_type_definition_name(const char *category, const char *type)
{
	return psprintf("%s-%s", category != NULL ? category : "", type);
}

EsEventType *
es_event_type_read(const char *category, const char *type)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "eventsource registrations", ALLOCSET_SMALL_SIZES);
	List	   *definitions;
	EsEventType *result = NULL;

	MemoryContextSwitchTo(work);
	definitions = es_config_history(ES_EVENT_TYPE_KIND, es_event_type_definition_name(category, type));
	MemoryContextSwitchTo(caller);
	if (definitions != NIL)
	{
		result = palloc0(sizeof(EsEventType));
		result->context = caller;
		result->category = category != NULL ? pstrdup(category) : NULL;
		result->name = pstrdup(type);
		read_versions(result, definitions);
	}
	MemoryContextDelete(work);
	return result;
}

/* Numbers only grow, but what is there may be said again, or all be withdrawn: the last word is kept. */
static void
read_versions(EsEventType *type, List *definitions)
{
	const EsDefinition **said = palloc(list_length(definitions) * sizeof(EsDefinition *));
	ListCell   *lc;

	type->version = palloc0(list_length(definitions) * sizeof(EsTypeVersion));
	foreach(lc, definitions)
	{
		const EsDefinition *definition = lfirst(lc);
		EsTypeVersion *version;
		int64		number;

		type->is_withdrawn = strcmp(definition->type, ES_EVENT_TYPE_WITHDRAWN) == 0;
		if (type->is_withdrawn)
			continue;
		if (!es_json_find_number(&definition->data->root, "version", &number))
			elog(ERROR, "definition of event type \"%s\" at position " INT64_FORMAT " has no version",
				 type->name, definition->position);
		version = es_event_type_version(type, (int32) number);
		if (version == NULL)
			version = &type->version[type->n_versions++];
		version->number = (int32) number;
		said[version - type->version] = definition;
	}
	for (int i = 0; i < type->n_versions; i++)
		read_version(&type->version[i], &said[i]->data->root);
	type->owner = said[type->n_versions - 1]->owner;
	pfree(said);
}

static void
read_version(EsTypeVersion *version, JsonbContainer *definition)
{
	JsonbValue	buffer;
	JsonbValue *member = es_json_find(definition, "schema", &buffer);
	List	   *problems = NIL;

	if (member != NULL && member->type != jbvNull)
		version->schema = JsonbValueToJsonb(member);
	member = es_json_find(definition, "assert_formats", &buffer);
	version->asserts_formats = member != NULL && member->type == jbvBool && member->val.boolean;
	version->compatibility = es_json_find_string(definition, "compatibility");
	version->subject = es_json_find_string(definition, "subject");
	version->description = es_json_find_string(definition, "description");
	version->phase = es_json_find_string(definition, "phase");
	member = es_json_find(definition, "pii", &buffer);
	if (member != NULL && member->type != jbvNull)
		version->pii = JsonbValueToJsonb(member);
	version->personal = es_pii_parse(version->pii, &problems);
}

Jsonb *
es_event_type_write(const char *category, const char *type, const EsTypeVersion *version)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "type", type);
	es_json_push_string(&state, "category", category);
	es_json_push_number(&state, "version", version->number);
	if (version->schema != NULL)
		es_json_push_jsonb(&state, "schema", version->schema);
	es_json_push_bool(&state, "assert_formats", version->asserts_formats);
	es_json_push_string(&state, "compatibility", version->compatibility);
	es_json_push_string(&state, "subject", version->subject);
	es_json_push_string(&state, "description", version->description);
	es_json_push_string(&state, "phase", version->phase);
	if (version->pii != NULL)
		es_json_push_jsonb(&state, "pii", version->pii);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

const EsPii *
es_event_type_pii(const EsEventType *type, int32 number)
{
	EsTypeVersion *version = type == NULL ? NULL : es_event_type_version(type, number);

	return version == NULL ? NULL : version->personal;
}

const EsPii *
es_event_type_pii_of(const EsEvent *event)
{
	const text *category = es_event_text(event, ES_EVENT_CATEGORY);
	const text *type = es_event_text(event, ES_EVENT_TYPE);

	if (category == NULL || type == NULL || event->isnull[ES_EVENT_SCHEMA_VERSION])
		return NULL;
	return es_event_type_pii(es_event_type_get(category, type),
							 DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
}

EsTypeVersion *
es_event_type_version(const EsEventType *type, int32 number)
{
	int			low = 0;
	int			high = type->n_versions - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (type->version[middle].number == number)
			return &type->version[middle];
		if (type->version[middle].number < number)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}
