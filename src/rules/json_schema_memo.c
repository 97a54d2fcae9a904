/*
 * json_schema_memo.c
 *		References, and what keeps them from taking forever.
 *
 * Only a reference can make one schema meet one value more than once; a few of them
 * on top of each other can make it meet it 2^n times.  So when an evaluation has
 * taken more steps than an honest one would, it begins to remember what came of
 * each reference at each value.  From then on its steps are bounded by the size of
 * the schema times that of the value.
 *
 * What a $dynamicRef leads to depends on the resources that were entered on the way.
 * That way is a scope: scopes are a tree, in which the same way is the same node.
 */
#include "postgres.h"

#include "compat.h"
#include "errors.h"
#include "rules/json_schema_parts.h"

/* More ways through a schema than these are not followed. */
#define MAX_SCOPES	10000

/* A resource that was entered, below those entered before it. */
struct EsScope
{
	EsResource *resource;
	EsScope    *outer;
	EsScope    *first_inner;
	EsScope    *next;			/* with the same outer */
};

/*
 * What is remembered at one time, so that memory is bounded; and how often it may be
 * forgotten again, so that time is.
 */
#define MAX_MEMO	100000
#define MAX_MEMO_SIZE	((Size) 64 * 1024 * 1024)
#define MAX_MEMOS	10000

/* One reference that is being followed, innermost first. */
typedef struct EsFrame
{
	const struct EsFrame *outer;
	const EsNode *node;
	const EsScope *scope;
	const JsonbValue *value;
} EsFrame;

typedef struct MemoKey
{
	const EsNode *node;
	const EsScope *scope;
	const void *value;			/* where it lies; or what it is, if that is
								 * nowhere */
	int64		type;
} MemoKey;

typedef struct MemoEntry
{
	MemoKey		key;
	bool		valid;
	bool		is_listed;		/* its failures were */
	EsSeen	   *seen;			/* NULL: was not asked for */
} MemoEntry;

static bool eval_target(EsEval *eval, const EsNode *node, const JsonbValue *value,
						const EsPlace *place, EsSeen *seen);
static bool eval_and_remember(EsEval *eval, const EsNode *node, const JsonbValue *value,
							  const EsPlace *place, EsSeen *seen);
static void make_room(EsEval *eval);
ES_NORETURN static void refuse(const char *why);
static void refuse_loop(const EsFrame *frame);
static void make_key(MemoKey *key, EsEval *eval, const EsNode *node, const JsonbValue *value);
static MemoryContext make_context(EsEval *eval);

bool
es_schema_eval_reference(EsEval *eval, const EsNode *node, const JsonbValue *value,
						 const EsPlace *place, EsSeen *seen)
{
	EsScope    *scope = eval->scope;
	const EsFrame *outer = eval->frame;
	EsFrame		frame;
	bool		valid;

	if (!eval->schema->is_dynamic)
		return eval_target(eval, node, value, place, seen);
	eval->scope = es_schema_enter_scope(eval, node->resource);
	frame.outer = outer;
	frame.node = node;
	frame.scope = eval->scope;
	frame.value = value;
	refuse_loop(&frame);
	eval->frame = &frame;
	valid = eval_target(eval, node, value, place, seen);
	eval->scope = scope;
	eval->frame = outer;
	return valid;
}

/* Where the outermost resource on the way that has the anchor says. */
const EsNode *
es_schema_dynamic_target(EsEval *eval, const EsInPlace *in_place)
{
	const EsNode *target = in_place->dynamic_ref;

	if (in_place->dynamic_name == NULL)
		return target;
	for (const EsScope *scope = eval->scope; scope != NULL; scope = scope->outer)
	{
		ListCell   *lc;

		foreach(lc, scope->resource->dynamic)
		{
			EsAnchor   *anchor = lfirst(lc);

			if (strcmp(anchor->name, in_place->dynamic_name) == 0)
				target = anchor->node;
		}
	}
	return target;
}

/* The scope inside of the present one, which is that one where it changes nothing. */
EsScope *
es_schema_enter_scope(EsEval *eval, EsResource *resource)
{
	EsScope    *outer = eval->scope;
	EsScope    *scope;

	if (outer != NULL && resource->dynamic == NIL)
		return outer;
	for (scope = outer; scope != NULL; scope = scope->outer)
	{
		if (scope->resource == resource)
			return outer;
	}
	for (scope = outer != NULL ? outer->first_inner : NULL; scope != NULL; scope = scope->next)
	{
		if (scope->resource == resource)
			return scope;
	}
	if (++eval->nscopes > MAX_SCOPES)
		refuse(psprintf("Its dynamic references can be reached in more than %d ways.", MAX_SCOPES));
	scope = MemoryContextAllocZero(make_context(eval), sizeof(EsScope));
	scope->resource = resource;
	scope->outer = outer;
	if (outer != NULL)
	{
		scope->next = outer->first_inner;
		outer->first_inner = scope;
	}
	return scope;
}

static bool
eval_target(EsEval *eval, const EsNode *node, const JsonbValue *value,
			const EsPlace *place, EsSeen *seen)
{
	return eval->steps < eval->patience ? es_schema_eval(eval, node, value, place, seen)
		: eval_and_remember(eval, node, value, place, seen);
}

static bool
eval_and_remember(EsEval *eval, const EsNode *node, const JsonbValue *value,
				  const EsPlace *place, EsSeen *seen)
{
	MemoEntry  *entry;
	MemoKey		key;
	EsSeen		own;
	bool		found;
	bool		valid;

	make_key(&key, eval, node, value);
	entry = eval->memo == NULL ? NULL : hash_search(eval->memo, &key, HASH_FIND, NULL);
	if (entry != NULL && (entry->valid || !eval->is_listing || entry->is_listed) &&
		(seen == NULL || !entry->valid || entry->seen != NULL))
	{
		if (seen != NULL && entry->valid)
			es_seen_merge(seen, entry->seen);
		return entry->valid;
	}

	if (seen != NULL)
		es_seen_init(&own, value);
	valid = es_schema_eval(eval, node, value, place, seen == NULL ? NULL : &own);
	make_room(eval);
	entry = hash_search(eval->memo, &key, HASH_ENTER, &found);
	if (!found || seen != NULL)
		entry->seen = NULL;
	entry->valid = valid;
	entry->is_listed = eval->is_listing;
	if (seen != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(eval->memo_context);

		entry->seen = palloc(sizeof(EsSeen));
		es_seen_init(entry->seen, value);
		es_seen_merge(entry->seen, &own);
		es_seen_merge(seen, &own);
		MemoryContextSwitchTo(caller);
		es_seen_free(&own);
	}
	return valid;
}

/* Makes a memo, or a new one where the old one is full. */
static void
make_room(EsEval *eval)
{
	HASHCTL		control = {.keysize = sizeof(MemoKey),.entrysize = sizeof(MemoEntry)};

	if (eval->memo != NULL && hash_get_num_entries(eval->memo) < MAX_MEMO &&
		MemoryContextMemAllocated(eval->memo_context, true) < MAX_MEMO_SIZE)
		return;
	if (eval->memo != NULL)
		MemoryContextDelete(eval->memo_context);
	if (eval->nmemos++ > MAX_MEMOS)
		refuse("It takes more than a billion steps for this value.");
	eval->memo_context = AllocSetContextCreate(make_context(eval), "eventsource schema memo",
											   ALLOCSET_DEFAULT_SIZES);
	control.hcxt = eval->memo_context;
	eval->memo = hash_create("eventsource schema memo", 1024, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
refuse(const char *why)
{
	ereport(ERROR,
			errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			errmsg("JSON Schema is too complex"),
			errdetail_internal("%s", why),
			errhint("Let fewer references lead to the same schemas, and use $dynamicRef only where it is needed."));
}

/*
 * A dynamic reference may lead back to where one is, which no compiler can see.  A
 * scalar has nothing below it, so two scalars on one way are the same one.
 */
static void
refuse_loop(const EsFrame *frame)
{
	const JsonbValue *value = frame->value;

	for (const EsFrame *outer = frame->outer; outer != NULL; outer = outer->outer)
	{
		if (outer->value->type != value->type ||
			(value->type == jbvBinary && outer->value->val.binary.data != value->val.binary.data))
			return;
		if (outer->node == frame->node && outer->scope == frame->scope)
			ereport(ERROR,
					errcode(ES_ERRCODE_INVALID_DEFINITION),
					errmsg("invalid JSON Schema"),
					errdetail("A $dynamicRef leads back to its own schema for the same value, again and again."),
					errhint("Let the recursion go through a keyword such as properties or items."));
	}
}

static void
make_key(MemoKey *key, EsEval *eval, const EsNode *node, const JsonbValue *value)
{
	memset(key, 0, sizeof(MemoKey));
	key->node = node;
	key->scope = eval->scope;
	key->type = value->type;
	switch (value->type)
	{
		case jbvBool:
			key->type += value->val.boolean ? 0x100 : 0;
			break;
		case jbvString:
			key->value = value->val.string.len == 0 ? NULL : value->val.string.val;
			break;
		case jbvNumeric:
			key->value = value->val.numeric;
			break;
		case jbvBinary:
			key->value = value->val.binary.data;
			break;
		default:
			break;
	}
}

static MemoryContext
make_context(EsEval *eval)
{
	if (eval->context == NULL)
		eval->context = AllocSetContextCreate(CurrentMemoryContext, "eventsource schema evaluation",
											  ALLOCSET_DEFAULT_SIZES);
	return eval->context;
}
