/*
 * json_schema_ref.c
 *		What schemas are called and how they refer to one another: $schema, $id,
 *		$anchor, $dynamicAnchor, $ref, $dynamicRef.
 *
 * Names are noted while the tree of schemas is built; references are resolved
 * afterwards, which may build more of it: a JSON pointer may lead to a place where
 * nobody expected a schema, and the drafts' own schemas are read when they are met.
 */
#include "postgres.h"

#include "log/json.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rules/json_schema_parts.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static void read_dialect(EsCompile *c, EsNode *node);
static bool read_known_dialect(EsResource *resource, const char *uri);
static bool read_own_dialect(EsCompile *c, EsNode *node, const char *uri);
static void read_vocabularies(EsCompile *c, EsNode *node, JsonbContainer *container);
static void enter_id(EsCompile *c, EsNode *node, const char *id);
static void add_anchor(EsCompile *c, EsNode *node, const char *keyword, bool is_dynamic);
static void add_name(EsCompile *c, EsNode *node, const char *keyword, const char *name);
static void add_uri(EsCompile *c, EsNode *node, const char *keyword, const char *uri);
static EsNode *find_uri(EsCompile *c, const char *uri);
static void resolve(EsCompile *c, EsReference *reference);
static EsNode *find_target(EsCompile *c, EsReference *reference, const char *keyword, const char **anchor);
static EsNode *follow_pointer(EsCompile *c, EsNode *from, const char *pointer);
static bool step_down(JsonbValue *value, const char *token);
static char *without_fragment(const char *uri, const char **fragment);

static const struct
{
	const char *name;
	int			bit;
}			vocabularies[] = {
	{"core", ES_VOCABULARY_CORE},
	{"applicator", ES_VOCABULARY_APPLICATOR},
	{"unevaluated", ES_VOCABULARY_UNEVALUATED},
	{"validation", ES_VOCABULARY_VALIDATION},
	{"format-annotation", ES_VOCABULARY_FORMAT},
	{"format-assertion", ES_VOCABULARY_FORMAT | ES_VOCABULARY_ASSERTED},
	{"meta-data", 0},
	{"content", 0},
};

#define VOCABULARY_PREFIX	"https://json-schema.org/draft/2020-12/vocab/"

/*
 * Finds out which resource a node belongs to, which may begin with it, and notes
 * its names.
 */
void
es_schema_enter_resource(EsCompile *c, EsNode *node)
{
	EsResource *around = node->resource;
	JsonbValue	reference;
	JsonbValue	buffer;
	JsonbValue *id = es_json_find(node->source, "$id", &buffer);

	/* Beside a $ref, draft-07 ignores all else. */
	if (around->draft == ES_DRAFT_7 && node->parent != NULL &&
		es_json_find(node->source, "$ref", &reference) != NULL)
		id = NULL;
	if (node->parent == NULL)
		read_dialect(c, node);
	if (id != NULL && es_schema_expect(c, node, "$id", id, ES_TYPE_STRING, "a URI reference"))
		enter_id(c, node, es_json_string(id));
	if (node->resource->root == NULL)
		node->resource->root = node;
	if (node->resource->draft != ES_DRAFT_7)
	{
		add_anchor(c, node, "$anchor", false);
		add_anchor(c, node, "$dynamicAnchor", true);
	}
}

/* The draft and the vocabularies of the resource that begins with a node. */
static void
read_dialect(EsCompile *c, EsNode *node)
{
	EsResource *resource = node->resource;
	JsonbValue	buffer;
	JsonbValue *schema = es_json_find(node->source, "$schema", &buffer);
	const char *fragment;
	char	   *uri;

	if (schema == NULL || !es_schema_expect(c, node, "$schema", schema, ES_TYPE_STRING, "a URI"))
		return;
	uri = without_fragment(es_json_string(schema), &fragment);
	if (!read_known_dialect(resource, uri) && !read_own_dialect(c, node, uri))
		es_schema_problem(c, node, "$schema", "%s is neither draft 2020-12 nor draft-07, nor a schema under $defs",
						  es_json_quote(schema));
}

static bool
read_known_dialect(EsResource *resource, const char *uri)
{
	if (strcmp(uri, "https://json-schema.org/draft/2020-12/schema") == 0)
		resource->draft = ES_DRAFT_2020_12;
	else if (strcmp(uri, "http://json-schema.org/draft-07/schema") == 0 ||
			 strcmp(uri, "https://json-schema.org/draft-07/schema") == 0)
		resource->draft = ES_DRAFT_7;
	else
		return false;
	resource->vocabularies = ES_VOCABULARIES;
	return true;
}

/* A dialect that the document itself describes, by a schema under $defs. */
static bool
read_own_dialect(EsCompile *c, EsNode *node, const char *uri)
{
	static const char *const places[] = {"$defs", "definitions"};

	for (int i = 0; i < (int) lengthof(places); i++)
	{
		JsonbValue	definitions;
		JsonbValue	key;
		JsonbValue	value;
		EsJsonWalk	walk;

		if (es_json_find(node->source, places[i], &definitions) == NULL || !es_json_is_object(&definitions))
			continue;
		es_json_walk_begin(&walk, definitions.val.binary.data);
		while (es_json_walk_member(&walk, &key, &value))
		{
			const char *fragment;
			char	   *id = !es_json_is_object(&value) ? NULL
				: es_json_find_string(value.val.binary.data, "$id");
			char	   *schema;

			CHECK_FOR_INTERRUPTS();
			if (id == NULL || strcmp(without_fragment(id, &fragment), uri) != 0)
				continue;
			schema = es_json_find_string(value.val.binary.data, "$schema");
			if (schema != NULL)
				(void) read_known_dialect(node->resource, without_fragment(schema, &fragment));
			read_vocabularies(c, node, value.val.binary.data);
			return true;
		}
	}
	return false;
}

static void
read_vocabularies(EsCompile *c, EsNode *node, JsonbContainer *container)
{
	JsonbValue	object;
	JsonbValue	key;
	JsonbValue	value;
	EsJsonWalk	walk;
	int			bits = ES_VOCABULARY_CORE;

	if (es_json_find(container, "$vocabulary", &object) == NULL || !es_json_is_object(&object))
		return;
	es_json_walk_begin(&walk, object.val.binary.data);
	while (es_json_walk_member(&walk, &key, &value))
	{
		char	   *uri = es_json_string(&key);
		bool		is_known = false;

		for (int i = 0; i < (int) lengthof(vocabularies) && !is_known; i++)
		{
			is_known = strncmp(uri, VOCABULARY_PREFIX, strlen(VOCABULARY_PREFIX)) == 0 &&
				strcmp(uri + strlen(VOCABULARY_PREFIX), vocabularies[i].name) == 0;
			if (is_known)
				bits |= vocabularies[i].bit;
		}
		if (!is_known && value.type == jbvBool && value.val.boolean)
			es_schema_problem(c, node, "$schema", "requires the unknown vocabulary %s", es_json_quote(&key));
	}
	node->resource->vocabularies = bits;
}

/* A node with an $id begins a resource of its own; draft-07 has anchors there, too. */
static void
enter_id(EsCompile *c, EsNode *node, const char *id)
{
	EsResource *around = node->resource;
	const char *fragment;
	char	   *uri;

	if (!es_uri_is_reference(id, strlen(id)))
	{
		es_schema_problem(c, node, "$id", "%s is no URI reference", es_json_quote_bytes(id, strlen(id)));
		return;
	}
	uri = without_fragment(es_uri_resolve(around->uri, id), &fragment);
	if (strlen(uri) > ES_SCHEMA_MAX_URI)
	{
		es_schema_problem(c, node, "$id", "makes a URI of more than %d bytes", ES_SCHEMA_MAX_URI);
		return;
	}
	if (*fragment != '\0' && around->draft != ES_DRAFT_7)
	{
		es_schema_problem(c, node, "$id", "must not have a fragment");
		return;
	}
	if (id[0] != '#')
	{
		if (node->parent != NULL)
		{
			node->resource = palloc0(sizeof(EsResource));
			node->resource->draft = around->draft;
			node->resource->vocabularies = around->vocabularies;
			read_dialect(c, node);
		}
		node->resource->uri = uri;
		node->resource->root = node;
		add_uri(c, node, "$id", uri);
	}
	if (*fragment != '\0' && *fragment != '/')
		add_name(c, node, "$id", fragment);
}

static void
add_anchor(EsCompile *c, EsNode *node, const char *keyword, bool is_dynamic)
{
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(node->source, keyword, &buffer);
	char	   *name;

	if (value == NULL || !es_schema_expect(c, node, keyword, value, ES_TYPE_STRING, "a name"))
		return;
	name = es_json_string(value);
	for (int i = 0; name[i] != '\0' || i == 0; i++)
	{
		char		ch = name[i];

		if (!(ch == '_' || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
			  (i > 0 && (ch == '-' || ch == '.' || (ch >= '0' && ch <= '9')))))
		{
			es_schema_problem(c, node, keyword, "%s is no name of letters, digits, \"-\", \"_\" and \".\"",
							  es_json_quote(value));
			return;
		}
	}
	if (is_dynamic)
	{
		EsAnchor   *anchor = palloc(sizeof(EsAnchor));

		anchor->name = name;
		anchor->node = node;
		node->resource->dynamic = lappend(node->resource->dynamic, anchor);
	}
	add_name(c, node, keyword, name);
}

static void
add_name(EsCompile *c, EsNode *node, const char *keyword, const char *name)
{
	add_uri(c, node, keyword, psprintf("%s#%s", node->resource->uri, name));
}

static void
add_uri(EsCompile *c, EsNode *node, const char *keyword, const char *uri)
{
	bool		found;
	EsUriEntry *entry = hash_search(c->uris, &uri, HASH_ENTER, &found);

	if (!found)
		entry->node = node;
	else if (entry->node != node)
		es_schema_problem(c, node, keyword, "there are two schemas called %s",
						  es_json_quote_bytes(uri, strlen(uri)));
}

static EsNode *
find_uri(EsCompile *c, const char *uri)
{
	EsUriEntry *entry = hash_search(c->uris, &uri, HASH_FIND, NULL);

	return entry == NULL ? NULL : entry->node;
}

/* The document that a compilation begins with, or one that is built in. */
void
es_schema_add_document(EsCompile *c, Jsonb *document, const char *uri)
{
	JsonbValue	value;
	EsNode	   *node;

	es_json_root(document, &value);
	node = es_schema_build(c, &value, NULL, NULL, NULL);
	if (c->schema->root == NULL)
		c->schema->root = node;
	if (node != NULL && find_uri(c, uri) == NULL)
		add_uri(c, node, "$id", uri);
}

void
es_schema_add_reference(EsCompile *c, EsNode *node, const EsKeyword *keyword, JsonbValue *value)
{
	EsReference *reference;

	(void) es_schema_part(node, keyword->part);
	if (!es_schema_expect(c, node, keyword->name, value, ES_TYPE_STRING, "a URI reference"))
		return;
	reference = palloc(sizeof(EsReference));
	reference->node = node;
	reference->uri = es_json_string(value);
	reference->is_dynamic = keyword->offset == offsetof(EsInPlace, dynamic_ref);
	c->references = lappend(c->references, reference);
}

/* Resolves references until none is left. */
void
es_schema_resolve(EsCompile *c)
{
	while (c->references != NIL)
	{
		List	   *references = c->references;
		ListCell   *lc;

		c->references = NIL;
		foreach(lc, references)
		{
			CHECK_FOR_INTERRUPTS();
			resolve(c, lfirst(lc));
		}
	}
}

static void
resolve(EsCompile *c, EsReference *reference)
{
	EsInPlace  *in_place = reference->node->in_place;
	const char *keyword = reference->is_dynamic ? "$dynamicRef" : "$ref";
	const char *anchor;
	EsNode	   *target = find_target(c, reference, keyword, &anchor);
	ListCell   *lc;

	if (target == NULL)
		return;
	if (!reference->is_dynamic)
	{
		in_place->ref = target;
		return;
	}
	in_place->dynamic_ref = target;
	foreach(lc, target->resource->dynamic)
	{
		EsAnchor   *dynamic = lfirst(lc);

		if (dynamic->node == target && strcmp(dynamic->name, anchor) == 0)
			in_place->dynamic_name = dynamic->name;
	}
	if (in_place->dynamic_name != NULL)
		c->schema->is_dynamic = true;
}

/* NULL after noting a problem; *anchor receives the name in the fragment, or "". */
static EsNode *
find_target(EsCompile *c, EsReference *reference, const char *keyword, const char **anchor)
{
	EsNode	   *node = reference->node;
	EsNode	   *target;
	const char *fragment;
	char	   *uri;
	const char *quoted = es_json_quote_bytes(reference->uri, strlen(reference->uri));

	*anchor = "";
	uri = without_fragment(es_uri_resolve(node->resource->uri, reference->uri), &fragment);
	target = find_uri(c, uri);
	if (target == NULL && es_schema_meta(uri) != NULL)
	{
		Datum		document = DirectFunctionCall1(jsonb_in, CStringGetDatum(es_schema_meta(uri)));

		es_schema_add_document(c, DatumGetJsonbP(document), uri);
		target = find_uri(c, uri);
	}
	if (target == NULL)
	{
		es_schema_problem(c, node, keyword, "%s is not in this schema (nothing is fetched: put it under $defs)",
						  quoted);
		return NULL;
	}
	if (*fragment == '\0')
		return target;
	fragment = es_uri_decode(fragment);
	if (fragment != NULL && *fragment == '/')
		target = follow_pointer(c, target, fragment + 1);
	else if (fragment != NULL)
	{
		*anchor = fragment;
		target = find_uri(c, psprintf("%s#%s", uri, fragment));
	}
	if (fragment == NULL || target == NULL)
		es_schema_problem(c, node, keyword, "%s leads to no schema", quoted);
	return fragment == NULL ? NULL : target;
}

/* The schema below another one; built now if nobody saw it as one before. */
static EsNode *
follow_pointer(EsCompile *c, EsNode *from, const char *pointer)
{
	JsonbValue	value = {.type = jbvBinary};
	EsNode	   *around = from;

	if (from->source == NULL)
		return NULL;
	value.val.binary.data = from->source;
	for (;;)
	{
		const char *slash = pointer + strcspn(pointer, "/");
		char	   *token = pnstrdup(pointer, slash - pointer);
		char	   *to = token;

		CHECK_FOR_INTERRUPTS();
		for (char *p = token; *p != '\0'; p++)
		{
			if (p[0] == '~' && (p[1] == '0' || p[1] == '1'))
				*to++ = *++p == '0' ? '~' : '/';
			else
				*to++ = *p;
		}
		*to = '\0';
		if (!step_down(&value, token))
			return NULL;
		if (value.type == jbvBinary)
		{
			EsNodeEntry *met = hash_search(c->nodes, &value.val.binary.data, HASH_FIND, NULL);

			if (met != NULL)
				around = met->node;
		}
		if (*slash == '\0')
			break;
		pointer = slash + 1;
	}
	if (value.type == jbvBinary && around->source == value.val.binary.data)
		return around;
	if (value.type != jbvBool && !es_json_is_object(&value))
		return NULL;
	return es_schema_build(c, &value, around, "$ref", NULL);
}

/* Goes to the member or element that a token of a JSON pointer names. */
static bool
step_down(JsonbValue *value, const char *token)
{
	JsonbContainer *container = value->val.binary.data;
	JsonbValue *element;
	int			number;

	if (es_json_is_object(value))
		return getKeyJsonValueFromContainer(container, token, strlen(token), value) != NULL;
	if (!es_json_is_array(value) || strlen(token) > 9 || strspn(token, "0123456789") != strlen(token) ||
		*token == '\0' || (token[0] == '0' && token[1] != '\0'))
		return false;
	number = atoi(token);
	if (number >= (int) JsonContainerSize(container))
		return false;
	element = getIthJsonbValueFromContainer(container, number);
	*value = *element;
	return true;
}

/* *fragment points behind its #, at "" if there is none. */
static char *
without_fragment(const char *uri, const char **fragment)
{
	size_t		length = strcspn(uri, "#");

	*fragment = uri[length] == '#' ? uri + length + 1 : uri + length;
	return pnstrdup(uri, length);
}
