/*
 * json_walk.h
 *		Walking over binary jsonb without allocating anything, and comparing what
 *		was met there as JSON does: 1 and 1.0 are the same number.
 *
 * What is read points into the jsonb.  Members come in jsonb's order: shorter keys
 * first, then by bytes.
 */
#ifndef ES_LOG_JSON_WALK_H
#define ES_LOG_JSON_WALK_H

#include "eventsource.h"

#include "utils/jsonb.h"

typedef struct EsJsonWalk
{
	JsonbContainer *container;
	char	   *data;
	int			count;			/* of elements or members */
	int			next;
	uint32		offset;			/* of the next element or key */
	uint32		value_offset;	/* of the next member's value */
} EsJsonWalk;

/* A total order of values that finds those equal that JSON calls equal. */
extern int	es_json_compare(const JsonbValue *a, const JsonbValue *b);

/* The same of numbers, and whether one has no fractional part: 1.0 has none. */
extern int	es_json_compare_numbers(Numeric a, Numeric b);
extern bool es_json_is_integer(Numeric number);

/* A jsonb as a value that points into it. */
static inline void es_json_root(Jsonb *jsonb, JsonbValue *value);

static inline int
es_json_compare_keys(const char *a, int alen, const char *b, int blen)
{
	return alen != blen ? (alen < blen ? -1 : 1) : memcmp(a, b, alen);
}

static inline void
es_json_walk_begin(EsJsonWalk *walk, JsonbContainer *container)
{
	int			count = JsonContainerSize(container);
	int			children = JsonContainerIsObject(container) ? count * 2 : count;

	walk->container = container;
	walk->data = (char *) &container->children[children];
	walk->count = count;
	walk->next = 0;
	walk->offset = 0;
	walk->value_offset = JsonContainerIsObject(container) ? getJsonbOffset(container, count) : 0;
}

/* The value of a child that lies at *offset, which moves on to the next. */
static inline void
es_json_walk_value(const EsJsonWalk *walk, int child, uint32 *offset, JsonbValue *value)
{
	JEntry		entry = walk->container->children[child];
	uint32		at = *offset;

	JBE_ADVANCE_OFFSET(*offset, entry);
	switch (entry & JENTRY_TYPEMASK)
	{
		case JENTRY_ISSTRING:
			value->type = jbvString;
			value->val.string.val = walk->data + at;
			value->val.string.len = *offset - at;
			break;
		case JENTRY_ISNUMERIC:
			value->type = jbvNumeric;
			value->val.numeric = (Numeric) (walk->data + INTALIGN(at));
			break;
		case JENTRY_ISBOOL_TRUE:
		case JENTRY_ISBOOL_FALSE:
			value->type = jbvBool;
			value->val.boolean = JBE_ISBOOL_TRUE(entry);
			break;
		case JENTRY_ISNULL:
			value->type = jbvNull;
			break;
		default:
			value->type = jbvBinary;
			value->val.binary.data = (JsonbContainer *) (walk->data + INTALIGN(at));
			value->val.binary.len = *offset - INTALIGN(at);
			break;
	}
}

static inline bool
es_json_walk_element(EsJsonWalk *walk, JsonbValue *value)
{
	if (walk->next >= walk->count)
		return false;
	es_json_walk_value(walk, walk->next++, &walk->offset, value);
	return true;
}

static inline bool
es_json_walk_member(EsJsonWalk *walk, JsonbValue *key, JsonbValue *value)
{
	uint32		at = walk->offset;

	if (walk->next >= walk->count)
		return false;
	JBE_ADVANCE_OFFSET(walk->offset, walk->container->children[walk->next]);
	key->type = jbvString;
	key->val.string.val = walk->data + at;
	key->val.string.len = walk->offset - at;
	es_json_walk_value(walk, walk->count + walk->next, &walk->value_offset, value);
	walk->next++;
	return true;
}

static inline void
es_json_root(Jsonb *jsonb, JsonbValue *value)
{
	if (JB_ROOT_IS_SCALAR(jsonb))
	{
		EsJsonWalk	walk;

		es_json_walk_begin(&walk, &jsonb->root);
		(void) es_json_walk_element(&walk, value);
	}
	else
	{
		value->type = jbvBinary;
		value->val.binary.data = &jsonb->root;
		value->val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	}
}

#endif							/* ES_LOG_JSON_WALK_H */
