/*
 * json_schema_parts.h
 *		The program that a schema becomes, and what its compiler keeps meanwhile.
 *		For json_schema*.c alone.
 */
#ifndef ES_RULES_JSON_SCHEMA_PARTS_H
#define ES_RULES_JSON_SCHEMA_PARTS_H

#include "rules/json_schema.h"
#include "log/json_walk.h"

#include "lib/stringinfo.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* ---- the program ---- */

/* Types of a value, as bits; ES_TYPE_INTEGER stands only in what a schema allows. */
#define ES_TYPE_NULL	0x01
#define ES_TYPE_BOOLEAN	0x02
#define ES_TYPE_OBJECT	0x04
#define ES_TYPE_ARRAY	0x08
#define ES_TYPE_NUMBER	0x10
#define ES_TYPE_STRING	0x20
#define ES_TYPE_INTEGER	0x40
#define ES_TYPE_ANY		0x3f

/* Vocabularies, as bits. */
#define ES_VOCABULARY_CORE			0x01
#define ES_VOCABULARY_APPLICATOR	0x02
#define ES_VOCABULARY_UNEVALUATED	0x04
#define ES_VOCABULARY_VALIDATION	0x08
#define ES_VOCABULARY_FORMAT		0x10	/* an annotation, unless asked
											 * otherwise */
#define ES_VOCABULARY_ASSERTED		0x20	/* formats are asserted anyway */
#define ES_VOCABULARIES				0x1f

#define ES_DRAFT_7			0x1
#define ES_DRAFT_2020_12	0x2
#define ES_DRAFTS			0x3

typedef struct EsNode EsNode;
typedef struct EsPattern EsPattern;
typedef bool (*EsFormatCheck) (const char *bytes, int length);

/* A schema with a URI of its own: the document, or a part of it with an $id. */
typedef struct EsResource
{
	const char *uri;			/* absolute where it has one; no fragment */
	int			draft;
	int			vocabularies;
	EsNode	   *root;
	List	   *dynamic;		/* of EsAnchor */
} EsResource;

typedef struct EsAnchor
{
	const char *name;
	EsNode	   *node;
} EsAnchor;

typedef struct EsNodes
{
	int			count;
	EsNode	  **node;
} EsNodes;

/* What a value may be: sorted by es_json_compare. */
typedef struct EsValues
{
	int			count;
	JsonbValue *value;
} EsValues;

typedef struct EsNumberRules
{
	Numeric		minimum;
	Numeric		maximum;
	Numeric		exclusive_minimum;
	Numeric		exclusive_maximum;
	Numeric		multiple_of;
	Numeric		zero;			/* what its rest must be */
} EsNumberRules;

typedef struct EsStringRules
{
	int64		min_length;		/* in code points */
	int64		max_length;
	EsPattern  *pattern;
	const char *format;
	EsFormatCheck check_format; /* NULL: nothing is asserted */
} EsStringRules;

typedef struct EsArrayRules
{
	int64		min_items;
	int64		max_items;
	bool		is_unique;
	EsNodes		prefix;
	EsNode	   *rest;			/* NULL: anything */
	EsNode	   *additional;		/* draft-07: the rest, if items are a list */
	bool		is_list;		/* draft-07: they are */
	EsNode	   *contains;
	int64		min_contains;
	int64		max_contains;
	bool		contains_evaluates; /* what contains matches is not
									 * unevaluated */
	EsNode	   *unevaluated;
} EsArrayRules;

typedef struct EsProperty
{
	const char *name;
	int			length;
	EsNode	   *node;			/* NULL: only required */
	bool		is_required;
} EsProperty;

typedef struct EsPatternProperty
{
	EsPattern  *pattern;
	EsNode	   *node;
} EsPatternProperty;

/* Where there is that property, there must be these, and the object match this. */
typedef struct EsDependent
{
	const char *name;
	int			length;
	int			nrequired;
	JsonbValue *required;
	EsNode	   *node;
	const char *keyword;
} EsDependent;

typedef struct EsObjectRules
{
	int64		min_properties;
	int64		max_properties;
	int			nproperties;
	EsProperty *properties;		/* in jsonb's order of keys */
	int			nrequired;
	int			npatterns;
	EsPatternProperty *patterns;
	EsNode	   *additional;		/* NULL: anything */
	EsNode	   *names;
	int			ndependents;
	EsDependent *dependents;
	EsNode	   *unevaluated;
} EsObjectRules;

/* What is applied to the same value. */
typedef struct EsInPlace
{
	EsNode	   *ref;
	EsNode	   *dynamic_ref;	/* where no outer resource has that anchor */
	const char *dynamic_name;	/* NULL: an ordinary reference after all */
	EsNodes		all;
	EsNodes		any;
	EsNodes		one;
	EsNode	   *not;
	EsNode	   *condition;		/* "if" */
	EsNode	   *then;
	EsNode	   *otherwise;		/* "else" */
} EsInPlace;

typedef enum EsNodeVisit
{
	ES_VISIT_NONE,
	ES_VISIT_OPEN,
	ES_VISIT_DONE
} EsNodeVisit;

/* A schema. */
struct EsNode
{
	/* what it asks for; NULL: nothing */
	uint8		types;
	bool		is_never;		/* false */
	bool		is_always;		/* asks for nothing at all */
	bool		is_leaf;		/* asks nothing of parts of the value, and has
								 * no part that is applied to the same */
	JsonbValue *constant;
	EsValues   *values;			/* "enum" */
	EsNumberRules *number;
	EsStringRules *string;
	EsArrayRules *array;
	EsObjectRules *object;
	EsInPlace  *in_place;
	EsResource *resource;

	/* where it stands in the document */
	JsonbContainer *source;		/* NULL: a boolean */
	const EsNode *parent;
	const char *keyword;		/* of the parent */
	const char *step;			/* below the keyword, or NULL */
	EsNodeVisit visit;
};

struct EsSchema
{
	MemoryContext context;
	EsNode	   *root;
	bool		asserts_formats;
	bool		is_dynamic;		/* has a $dynamicRef that depends on its
								 * callers */
};

/* ---- compiling ---- */

typedef struct EsCompile
{
	EsSchema   *schema;
	bool		assert_formats;
	MemoryContext scratch;		/* for what only the compiler needs */
	HTAB	   *nodes;			/* by their JsonbContainer */
	HTAB	   *uris;			/* of resources, and with # of anchors */
	HTAB	   *patterns;		/* by their text */
	List	   *all;			/* nodes */
	List	   *references;		/* of EsReference, to be resolved */
	List	   *problems;
	int			nproblems;
} EsCompile;

/* An entry of the table of nodes. */
typedef struct EsNodeEntry
{
	JsonbContainer *source;		/* the key */
	EsNode	   *node;
} EsNodeEntry;

/* An entry of the table of URIs. */
typedef struct EsUriEntry
{
	const char *uri;			/* the key */
	EsNode	   *node;
} EsUriEntry;

/* An entry of the table of patterns. */
typedef struct EsPatternEntry
{
	const char *text;			/* the key */
	EsPattern  *pattern;		/* NULL: it has a problem */
	char	   *problem;
} EsPatternEntry;

/* A $ref or $dynamicRef of a node that is not yet resolved. */
typedef struct EsReference
{
	EsNode	   *node;
	const char *uri;			/* as written */
	bool		is_dynamic;
} EsReference;

/* Longer URIs are refused, since each $id may add to that of the schema around it. */
#define ES_SCHEMA_MAX_URI		4096
#define ES_SCHEMA_MAX_PROBLEMS	100

/* json_schema_compile.c */
extern void es_schema_problem(EsCompile *c, const EsNode *node, const char *keyword,
							  const char *format,...) pg_attribute_printf(4, 5);
extern void es_schema_append_place(StringInfo line, const EsNode *node);
extern EsNode *es_schema_build(EsCompile *c, const JsonbValue *value, const EsNode *parent,
							   const char *keyword, const char *step);
extern void es_schema_add_document(EsCompile *c, Jsonb *document, const char *uri);

/* json_schema_keyword.c */
typedef enum EsPart
{
	ES_PART_NODE,
	ES_PART_NUMBER,
	ES_PART_STRING,
	ES_PART_ARRAY,
	ES_PART_OBJECT,
	ES_PART_IN_PLACE
} EsPart;

/* A keyword: who has it, what reads it, and where in a node the result goes. */
typedef struct EsKeyword
{
	const char *name;
	int			drafts;
	int			vocabulary;
	void		(*read) (EsCompile *c, EsNode *node, const struct EsKeyword *keyword, JsonbValue *value);
	EsPart		part;
	size_t		offset;			/* in the part */
} EsKeyword;

extern void es_schema_read_keywords(EsCompile *c, EsNode *node);
extern bool es_schema_expect(EsCompile *c, EsNode *node, const char *keyword,
							 const JsonbValue *value, int type, const char *what);

/* The part of a node, which is made if it is not there yet; and a slot in it. */
extern void *es_schema_part(EsNode *node, EsPart part);
extern void *es_schema_slot(EsNode *node, const EsKeyword *keyword);

/* json_schema_object.c: what a node says on objects */
extern void es_schema_read_properties(EsCompile *c, EsNode *node, const EsKeyword *keyword,
									  JsonbValue *value);
extern void es_schema_read_required(EsCompile *c, EsNode *node, const EsKeyword *keyword,
									JsonbValue *value);
extern void es_schema_read_patterns(EsCompile *c, EsNode *node, const EsKeyword *keyword,
									JsonbValue *value);
extern void es_schema_read_dependents(EsCompile *c, EsNode *node, const EsKeyword *keyword,
									  JsonbValue *value);

/* The pattern of a string, the same for the same string; NULL after noting a problem. */
extern EsPattern *es_schema_pattern(EsCompile *c, EsNode *node, const char *keyword, const JsonbValue *value);

/* json_schema_ref.c: resources, anchors and references */
extern void es_schema_enter_resource(EsCompile *c, EsNode *node);
extern void es_schema_add_reference(EsCompile *c, EsNode *node, const EsKeyword *keyword, JsonbValue *value);
extern void es_schema_resolve(EsCompile *c);

/* json_schema_uri.c */
extern char *es_uri_resolve(const char *base, const char *reference);
extern bool es_uri_is_reference(const char *bytes, int length);
extern bool es_uri_is_absolute(const char *bytes, int length);

/* Its bytes with %XX decoded, in the server's encoding; NULL if they are none. */
extern char *es_uri_decode(const char *bytes);

/* json_schema_meta.c: the drafts' own schemas as JSON, by URI; NULL: none of them */
extern const char *es_schema_meta(const char *uri);

/* json_schema_pattern.c: NULL and a problem if it cannot be compiled */
extern EsPattern *es_pattern_compile(const char *bytes, int length, char **problem);
extern bool es_pattern_matches(EsPattern *pattern, const char *bytes, int length);
extern const char *es_pattern_text(const EsPattern *pattern);

/* json_schema_format.c: NULL: it is not one that can be asserted */
extern EsFormatCheck es_format_find(const char *name);

/* ---- evaluating ---- */

/* Where in the instance one is, seen from below. */
typedef struct EsPlace
{
	const struct EsPlace *up;
	const char *key;			/* NULL: an element */
	int			number;			/* length of the key, or index of the element */
} EsPlace;

/* Which members or elements of one value have been looked at by some keyword. */
typedef struct EsSeen
{
	bool		all;
	int			words;
	uint64	   *bits;
	uint64		room[2];
} EsSeen;

typedef struct EsScope EsScope;

typedef struct EsEval
{
	EsSchema   *schema;
	bool		is_listing;		/* go on after a failure, and note it */
	List	   *errors;
	int			nerrors;
	uint64		steps;
	uint64		patience;		/* steps after which results are remembered */
	MemoryContext context;		/* for memo and scopes; NULL until it is
								 * needed */
	HTAB	   *memo;			/* of what came of references */
	MemoryContext memo_context;
	int			nmemos;			/* that were made */
	EsScope    *scope;			/* resources that were entered, innermost
								 * first */
	int			nscopes;
	const struct EsFrame *frame;	/* for $dynamicRef */
} EsEval;

/*
 * For functions that return whether a value is valid, and keep that in "valid":
 * returns, unless failures are listed.
 */
#define ES_REFUSE(eval, place, keyword, ...) \
	do { \
		if (!(eval)->is_listing) \
			return false; \
		es_schema_note(eval, place, keyword, __VA_ARGS__); \
		valid = false; \
	} while (0)

/* The same where failures were noted below. */
#define ES_REFUSE_SILENTLY(eval) \
	do { \
		if (!(eval)->is_listing) \
			return false; \
		valid = false; \
	} while (0)

/* json_schema_eval.c */
extern bool es_schema_eval(EsEval *eval, const EsNode *node, const JsonbValue *value,
						   const EsPlace *place, EsSeen *seen);

/* The same, noting nothing: its failure is no failure of the whole. */
extern bool es_schema_try(EsEval *eval, const EsNode *node, const JsonbValue *value,
						  const EsPlace *place, EsSeen *seen);

/* Whether the type is one that is allowed. */
static inline bool
es_schema_has_type(int types, const JsonbValue *value)
{
	static const uint8 scalars[] = {
		[jbvNull] = ES_TYPE_NULL,[jbvString] = ES_TYPE_STRING,
		[jbvNumeric] = ES_TYPE_NUMBER,[jbvBool] = ES_TYPE_BOOLEAN
	};

	if (value->type > jbvBool)
		return (types & (JsonContainerIsObject(value->val.binary.data) ?
						 ES_TYPE_OBJECT : ES_TYPE_ARRAY)) != 0;
	if ((types & scalars[value->type]) != 0)
		return true;
	return value->type == jbvNumeric && (types & ES_TYPE_INTEGER) != 0 &&
		es_json_is_integer(value->val.numeric);
}

/* json_schema_eval_object.c, _array.c */
extern bool es_schema_eval_object(EsEval *eval, const EsNode *node, const JsonbValue *value,
								  const EsPlace *place, EsSeen *seen);
extern bool es_schema_eval_dependents(EsEval *eval, const EsNode *node, const JsonbValue *value,
									  const EsPlace *place, EsSeen *seen);
extern bool es_schema_eval_rest_object(EsEval *eval, const EsNode *node, const JsonbValue *value,
									   const EsPlace *place, EsSeen *seen);
extern bool es_schema_eval_array(EsEval *eval, const EsNode *node, const JsonbValue *value,
								 const EsPlace *place, EsSeen *seen);
extern bool es_schema_eval_rest_array(EsEval *eval, const EsNode *node, const JsonbValue *value,
									  const EsPlace *place, EsSeen *seen);

/* json_schema_eval_in_place.c: what applies to the same value */
extern bool es_schema_eval_in_place(EsEval *eval, const EsNode *node, const JsonbValue *value,
									const EsPlace *place, EsSeen *seen);

/* json_schema_memo.c: references, and what keeps them from taking forever */
extern bool es_schema_eval_reference(EsEval *eval, const EsNode *node, const JsonbValue *value,
									 const EsPlace *place, EsSeen *seen);
extern const EsNode *es_schema_dynamic_target(EsEval *eval, const EsInPlace *in_place);
extern EsScope *es_schema_enter_scope(EsEval *eval, EsResource *resource);

/* json_schema_seen.c */
extern void es_seen_init(EsSeen *seen, const JsonbValue *value);
extern void es_seen_add(EsSeen *seen, int number);
extern bool es_seen_has(const EsSeen *seen, int number);
extern void es_seen_merge(EsSeen *seen, const EsSeen *other);
extern void es_seen_free(EsSeen *seen);

/* json_schema_error.c */
extern void es_schema_note(EsEval *eval, const EsPlace *place, const char *keyword,
						   const char *format,...) pg_attribute_printf(4, 5) pg_attribute_cold;
extern char *es_schema_types_text(int types);
extern char *es_schema_number_text(Numeric number);
extern const char *es_schema_values_text(const EsValues *values);

#endif							/* ES_RULES_JSON_SCHEMA_PARTS_H */
