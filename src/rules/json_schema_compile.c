/*
 * json_schema_compile.c
 *		From a schema to its program: a tree of nodes, one per schema in it, whose
 *		references are resolved once all are there.
 *
 * The program and its copy of the schema live in a context of their own, which an
 * error on the way takes along with the caller's.  What only the compiler needs
 * lies in a child of that, deleted at the end.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "log/format.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/json_schema_parts.h"

static void begin_tables(EsCompile *c);
static EsNode *new_node(EsCompile *c, const EsNode *parent, const char *keyword, const char *step);
static void find_loops(EsCompile *c);
static bool is_in_loop(EsNode *node);
static bool any_in_loop(const EsNodes *nodes);
static void mark_trivial(EsCompile *c);
static uint32 hash_string_key(const void *key, Size size);
static int	match_string_key(const void *a, const void *b, Size size);

EsSchema *
es_schema_compile(Jsonb *schema, bool assert_formats, List **problems)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "eventsource schema", ALLOCSET_SMALL_SIZES);
	EsCompile	c = {.assert_formats = assert_formats};
	List	   *lines = NIL;
	Jsonb	   *copy;
	ListCell   *lc;

	MemoryContextSwitchTo(context);
	c.schema = palloc0(sizeof(EsSchema));
	c.schema->context = context;
	c.schema->asserts_formats = assert_formats;
	c.scratch = AllocSetContextCreate(context, "eventsource schema compiler", ALLOCSET_DEFAULT_SIZES);
	begin_tables(&c);
	copy = palloc(VARSIZE(schema));
	memcpy(copy, schema, VARSIZE(schema));

	es_schema_add_document(&c, copy, "");
	es_schema_resolve(&c);
	if (c.problems == NIL)
		find_loops(&c);
	mark_trivial(&c);

	MemoryContextSwitchTo(caller);
	foreach(lc, c.problems)
		lines = lappend(lines, pstrdup(lfirst(lc)));
	if (c.nproblems > ES_SCHEMA_MAX_PROBLEMS)
		lines = lappend(lines, psprintf("and %d more", c.nproblems - ES_SCHEMA_MAX_PROBLEMS));
	*problems = lines;
	if (c.problems != NIL)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	MemoryContextDelete(c.scratch);
	return c.schema;
}

void
es_schema_free(EsSchema *schema)
{
	MemoryContextDelete(schema->context);
}

void
es_schema_keep(EsSchema *schema, MemoryContext context)
{
	MemoryContextSetParent(schema->context, context);
}

void
es_schema_raise(List *problems)
{
	StringInfoData detail;
	ListCell   *lc;

	initStringInfo(&detail);
	foreach(lc, problems)
		appendStringInfo(&detail, "%s%s", detail.len > 0 ? "\n" : "", (char *) lfirst(lc));
	ereport(ERROR,
			errcode(ES_ERRCODE_INVALID_DEFINITION),
			errmsg("invalid JSON Schema"),
			errdetail_internal("%s", detail.data),
			errhint("Each line names the place in the schema as a JSON pointer. Drafts 2020-12 and 07 are understood."));
}

/*
 * The node of a value that should be a schema, and of all below it; NULL after
 * noting a problem.  keyword and step say where in the parent it stands.
 */
EsNode *
es_schema_build(EsCompile *c, const JsonbValue *value, const EsNode *parent,
				const char *keyword, const char *step)
{
	EsNode	   *node;
	EsNodeEntry *entry;
	bool		found;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	node = new_node(c, parent, keyword, step);
	if (value->type == jbvBool)
	{
		node->is_never = !value->val.boolean;
		return node;
	}
	if (!es_json_is_object(value))
	{
		es_schema_problem(c, node, NULL, "must be a schema (an object or a boolean), not %s", es_json_kind(value));
		return NULL;
	}
	node->source = value->val.binary.data;
	entry = hash_search(c->nodes, &node->source, HASH_ENTER, &found);
	entry->node = node;
	es_schema_enter_resource(c, node);
	es_schema_read_keywords(c, node);
	return node;
}

/*
 * Notes what is wrong with a keyword of a node; without a keyword, with the node.
 */
void
es_schema_problem(EsCompile *c, const EsNode *node, const char *keyword, const char *format,...)
{
	StringInfoData line;
	va_list		args;

	c->nproblems++;
	if (c->nproblems > ES_SCHEMA_MAX_PROBLEMS)
		return;
	initStringInfo(&line);
	es_schema_append_place(&line, node);
	if (keyword != NULL)
		appendStringInfo(&line, "/%s", keyword);
	appendStringInfoString(&line, line.len == 0 ? "(schema): " : ": ");
	va_start(args, format);
	es_append_va(&line, format, args);
	va_end(args);
	c->problems = lappend(c->problems, line.data);
}

static void
begin_tables(EsCompile *c)
{
	HASHCTL		by_source = {.keysize = sizeof(JsonbContainer *),.entrysize = sizeof(EsNodeEntry)};
	HASHCTL		by_string = {.keysize = sizeof(char *),.hash = hash_string_key,.match = match_string_key};
	int			flags = HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT;

	by_source.hcxt = by_string.hcxt = c->scratch;
	c->nodes = hash_create("eventsource schema nodes", 64, &by_source, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	by_string.entrysize = sizeof(EsUriEntry);
	c->uris = hash_create("eventsource schema URIs", 16, &by_string, flags);
	by_string.entrysize = sizeof(EsPatternEntry);
	c->patterns = hash_create("eventsource schema patterns", 16, &by_string, flags);
}

static EsNode *
new_node(EsCompile *c, const EsNode *parent, const char *keyword, const char *step)
{
	EsNode	   *node = palloc0(sizeof(EsNode));

	node->types = ES_TYPE_ANY;
	node->parent = parent;
	node->keyword = keyword;
	node->step = step;
	if (parent != NULL)
		node->resource = parent->resource;
	else
	{
		node->resource = palloc0(sizeof(EsResource));
		node->resource->uri = "";
		node->resource->draft = ES_DRAFT_2020_12;
		node->resource->vocabularies = ES_VOCABULARIES;
	}
	c->all = lappend(c->all, node);
	return node;
}

/* The JSON pointer of a node in its document. */
void
es_schema_append_place(StringInfo line, const EsNode *node)
{
	check_stack_depth();
	if (node->parent == NULL)
		return;
	es_schema_append_place(line, node->parent);
	appendStringInfo(line, "/%s", node->keyword);
	if (node->step == NULL)
		return;
	appendStringInfoChar(line, '/');
	for (const char *p = node->step; *p != '\0'; p++)
	{
		if (*p == '~' || *p == '/')
			appendStringInfoString(line, *p == '~' ? "~0" : "~1");
		else
			appendStringInfoChar(line, *p);
	}
}

/* A schema that applies itself to the value that it is applied to never ends. */
static void
find_loops(EsCompile *c)
{
	for (int i = list_length(c->all) - 1; i >= 0; i--)
	{
		EsNode	   *node = list_nth(c->all, i);

		CHECK_FOR_INTERRUPTS();
		if (is_in_loop(node))
		{
			es_schema_problem(c, node, NULL, "leads back to itself for the same value, again and again");
			return;
		}
	}
}

static bool
is_in_loop(EsNode *node)
{
	EsInPlace  *in_place = node->in_place;
	bool		result = false;

	check_stack_depth();
	if (node->visit != ES_VISIT_NONE)
		return node->visit == ES_VISIT_OPEN;
	node->visit = ES_VISIT_OPEN;
	if (in_place != NULL)
	{
		EsNode	   *single[] = {in_place->ref, in_place->dynamic_name == NULL ? in_place->dynamic_ref : NULL,
		in_place->not, in_place->condition, in_place->then, in_place->otherwise};

		for (int i = 0; i < (int) lengthof(single); i++)
			result = result || (single[i] != NULL && is_in_loop(single[i]));
		result = result || any_in_loop(&in_place->all) || any_in_loop(&in_place->any) ||
			any_in_loop(&in_place->one);
	}
	for (int i = 0; node->object != NULL && i < node->object->ndependents; i++)
		result = result || (node->object->dependents[i].node != NULL &&
							is_in_loop(node->object->dependents[i].node));
	node->visit = ES_VISIT_DONE;
	return result;
}

static bool
any_in_loop(const EsNodes *nodes)
{
	for (int i = 0; i < nodes->count; i++)
	{
		if (is_in_loop(nodes->node[i]))
			return true;
	}
	return false;
}

/* Nodes that ask for nothing need not be visited. */
static void
mark_trivial(EsCompile *c)
{
	ListCell   *lc;

	foreach(lc, c->all)
	{
		EsNode	   *node = lfirst(lc);

		node->is_leaf = node->array == NULL && node->object == NULL && node->in_place == NULL;
		node->is_always = node->is_leaf && !node->is_never && node->types == ES_TYPE_ANY &&
			node->constant == NULL && node->values == NULL && node->number == NULL && node->string == NULL;
	}
}

static uint32
hash_string_key(const void *key, Size size)
{
	const char *string = *(const char *const *) key;

	return hash_bytes((const unsigned char *) string, strlen(string));
}

static int
match_string_key(const void *a, const void *b, Size size)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}
