/*
 * json_schema_compat_prove.c
 *		Showing that a node takes every value of which something is known.
 *
 * Each keyword of the node is a goal of its own.  Where it cannot be shown at once,
 * the cases of what is known (anyOf, oneOf, if) are looked at one by one; and where
 * nothing of the kind can be there, all is true of it.
 *
 * Schemas may lead back to themselves: what is being shown already is taken for
 * shown further down in the value, which is induction over the depth of values.
 * What was shown that way is forgotten when what it stood upon fails.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/json_schema_compat_parts.h"

typedef enum Verdict
{
	SHOWN,						/* or being shown */
	NOT_SHOWN,
	NOT_SHOWN_SILENTLY
} Verdict;

/* What was asked: pointers, the sorted ones of each list behind its length. */
typedef struct Question
{
	int			length;
	uintptr_t  *words;
} Question;

typedef struct Memo
{
	Question	question;		/* the key */
	Verdict		verdict;
} Memo;

static bool prove_one(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool is_known(const EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool says_same(const EsNode *a, const EsNode *b);
static bool next_rule(EsJsonWalk *walk, JsonbValue *key, JsonbValue *value);
static bool has_reference(const JsonbValue *part);
static bool prove_type(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_values(EsCompat *c, const EsFacts *facts, const EsNode *goal, List *values);
static bool prove_rules(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_in_place(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_one_of(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_condition(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool can_prove(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static Memo *find_memo(EsCompat *c, const EsFacts *facts, const EsNode *goal, bool *found);
static void push_list(Question *question, List *list);
static int	compare_words(const void *a, const void *b);
static uint32 hash_question(const void *key, Size size);
static int	match_question(const void *a, const void *b, Size size);
static void *copy_question(void *to, const void *from, Size size);

bool
es_compat_prove_below(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	int			mark = list_length(c->shown);
	bool		found;
	Memo	   *memo;
	bool		result;

	if (goal->is_always)
		return true;
	memo = find_memo(c, facts, goal, &found);
	if (found && (memo->verdict != NOT_SHOWN_SILENTLY || c->silent > 0))
		return memo->verdict == SHOWN;
	memo->verdict = SHOWN;
	c->shown = lappend(c->shown, memo);
	result = es_compat_prove(c, facts, goal);
	if (result)
		return true;
	while (list_length(c->shown) > mark)
	{
		Memo	   *later = llast(c->shown);

		c->shown = list_delete_last(c->shown);
		hash_search(c->memo, &later->question, HASH_REMOVE, NULL);
	}
	find_memo(c, facts, goal, &found)->verdict = c->silent > 0 ? NOT_SHOWN_SILENTLY : NOT_SHOWN;
	return false;
}

bool
es_compat_prove(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	bool		result = true;
	ListCell   *lc;

	foreach(lc, es_compat_conjuncts(goal))
	{
		if (!prove_one(c, facts, lfirst(lc)))
		{
			result = false;
			if (c->silent > 0)
				break;
		}
	}
	return result;
}

/* A node without what its references and allOf lead to. */
static bool
prove_one(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	static const int groups[] = {ES_TYPE_NULL, ES_TYPE_BOOLEAN, ES_TYPE_OBJECT, ES_TYPE_ARRAY,
	ES_TYPES_NUMERIC, ES_TYPE_STRING};
	int			missing = facts->types & ~es_compat_types(goal);
	bool		result = true;
	List	   *values;

	if (goal->is_always || facts->types == 0 || list_member_ptr(facts->nodes, goal))
		return true;
	if (!es_compat_step(c, goal))
		return false;
	if (es_compat_values(facts, &values))
		return prove_values(c, facts, goal, values);
	if (goal->is_never)
	{
		result = es_compat_is_empty(c, facts);
		if (!result)
			es_compat_problem(c, goal, "false", c->is_forward ? "became less strict" : "refuses what was allowed");
		return result;
	}
	if (missing != 0 && !es_compat_is_empty(c, es_facts_copy(facts, missing)))
	{
		int			known = facts->types;

		if ((known & ES_TYPE_NUMBER) != 0)
			known &= ~ES_TYPE_INTEGER;
		es_compat_changed(c, goal, "type", known == ES_TYPE_ANY ? "any" : es_schema_types_text(known),
						  es_schema_types_text(goal->types));
		return false;
	}
	for (int i = 0; i < (int) lengthof(groups) && (result || c->silent == 0); i++)
	{
		if ((facts->types & ~missing & groups[i]) != 0)
		{
			EsFacts    *of_type = es_facts_copy(facts, groups[i] & ~missing);

			es_facts_settle(of_type);
			result &= prove_type(c, of_type, goal);
		}
	}
	return result;
}

/* Is it known to match a node that says the same, but for its types? */
static bool
is_known(const EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	ListCell   *lc;

	foreach(lc, facts->nodes)
	{
		if (c->same_formats && says_same(lfirst(lc), goal))
			return true;
	}
	return false;
}

static bool
says_same(const EsNode *a, const EsNode *b)
{
	EsJsonWalk	a_walk;
	EsJsonWalk	b_walk;
	JsonbValue	a_key;
	JsonbValue	b_key;
	JsonbValue	a_value;
	JsonbValue	b_value;

	if (a->source == NULL || b->source == NULL || a->resource->draft != b->resource->draft ||
		a->resource->vocabularies != b->resource->vocabularies)
		return false;
	es_json_walk_begin(&a_walk, a->source);
	es_json_walk_begin(&b_walk, b->source);
	for (;;)
	{
		bool		a_more = next_rule(&a_walk, &a_key, &a_value);
		bool		b_more = next_rule(&b_walk, &b_key, &b_value);

		CHECK_FOR_INTERRUPTS();
		if (!a_more || !b_more)
			return a_more == b_more;
		if (es_json_compare(&a_key, &b_key) != 0 || es_json_compare(&a_value, &b_value) != 0 ||
			es_json_compare_keys("$ref", 4, a_key.val.string.val, a_key.val.string.len) == 0 ||
			has_reference(&a_value))
			return false;
	}
}

/* The next member of a schema that asks for something of values of one type. */
static bool
next_rule(EsJsonWalk *walk, JsonbValue *key, JsonbValue *value)
{
	static const char *const others[] = {"$comment", "$defs", "default", "definitions", "deprecated",
	"description", "examples", "readOnly", "title", "type", "writeOnly"};

	while (es_json_walk_member(walk, key, value))
	{
		bool		is_rule = true;

		for (int i = 0; i < (int) lengthof(others) && is_rule; i++)
			is_rule = es_json_compare_keys(others[i], strlen(others[i]),
										   key->val.string.val, key->val.string.len) != 0;
		if (is_rule)
			return true;
	}
	return false;
}

/* Does it matter where a part of a schema stands, because it leads out of itself? */
static bool
has_reference(const JsonbValue *part)
{
	EsJsonWalk	walk;
	JsonbValue	key;
	JsonbValue	value;
	bool		is_object = es_json_is_object(part);

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (part->type != jbvBinary)
		return false;
	if (is_object && (es_json_find(part->val.binary.data, "$ref", &value) != NULL ||
					  es_json_find(part->val.binary.data, "$dynamicRef", &value) != NULL))
		return true;
	es_json_walk_begin(&walk, part->val.binary.data);
	while (is_object ? es_json_walk_member(&walk, &key, &value) : es_json_walk_element(&walk, &value))
	{
		if (has_reference(&value))
			return true;
	}
	return false;
}

/* The same of values of one type. */
static bool
prove_type(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	int			nproblems = list_length(c->problems);
	bool		result;
	List	   *values;
	ListCell   *lc;

	if (facts->types == 0 || is_known(c, facts, goal))
		return true;
	if (es_compat_values(facts, &values))
		return prove_values(c, facts, goal, values);
	c->silent += facts->choices != NIL;
	result = prove_rules(c, facts, goal);
	c->silent -= facts->choices != NIL;
	if (result)
		return true;
	if (facts->choices == NIL)
	{
		if (!es_compat_is_empty(c, facts))
			return false;
		c->problems = list_truncate(c->problems, nproblems);
		return true;
	}
	result = true;
	foreach(lc, es_compat_cases(facts))
	{
		result &= prove_one(c, lfirst(lc), goal);
		if (!result && c->silent > 0)
			break;
	}
	return result;
}

/* The same of those values. */
static bool
prove_values(EsCompat *c, const EsFacts *facts, const EsNode *goal, List *values)
{
	bool		result = true;
	ListCell   *lc;

	foreach(lc, values)
	{
		const JsonbValue *value = lfirst(lc);

		if (es_compat_matches(goal, value))
			continue;
		result = false;
		es_compat_problem(c, goal, goal->constant != NULL ? "const" : goal->values != NULL ? "enum" : "schema",
						  "%s %s", c->is_forward ? "did not take" : "no longer takes",
						  value->type == jbvString ? es_json_quote(value)
						  : value->type == jbvNumeric ? es_schema_number_text(value->val.numeric)
						  : value->type == jbvBool ? (value->val.boolean ? "true" : "false")
						  : es_json_kind(value));
	}
	return result;
}

/* The rules of a node for values of one type, of which there are many. */
static bool
prove_rules(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	bool		result = true;

	if (goal->constant != NULL || goal->values != NULL)
	{
		result = false;
		es_compat_problem(c, goal, goal->constant != NULL ? "const" : "enum",
						  c->is_forward ? "is gone: other values are allowed" : "is new: other values were allowed");
	}
	if (goal->number != NULL && (facts->types & ES_TYPES_NUMERIC) != 0)
		result &= es_compat_prove_number(c, facts, goal);
	if (goal->string != NULL && facts->types == ES_TYPE_STRING)
		result &= es_compat_prove_string(c, facts, goal);
	if (goal->object != NULL && facts->types == ES_TYPE_OBJECT)
		result &= es_compat_prove_object(c, facts, goal);
	if (goal->array != NULL && facts->types == ES_TYPE_ARRAY)
		result &= es_compat_prove_array(c, facts, goal);
	if (goal->in_place != NULL && (result || c->silent == 0))
		result &= prove_in_place(c, facts, goal);
	return result;
}

static bool
prove_in_place(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsInPlace *in_place = goal->in_place;
	bool		result = true;

	if (in_place->any.count > 0)
	{
		bool		found = false;

		for (int i = 0; i < in_place->any.count && !found; i++)
			found = can_prove(c, facts, in_place->any.node[i]);
		if (!found)
			es_compat_problem(c, goal, "anyOf", "cannot be shown to take all of it: no branch does alone");
		result &= found;
	}
	if (in_place->one.count > 0)
		result &= prove_one_of(c, facts, goal);
	if (in_place->not != NULL)
	{
		EsFacts    *both = es_facts_copy(facts, ES_TYPES_ALL);
		bool		is_empty;

		es_facts_add(both, in_place->not);
		es_facts_settle(both);
		is_empty = es_compat_is_empty(c, both);
		if (!is_empty)
			es_compat_problem(c, goal, "not", "cannot be shown to refuse nothing that %s",
							  c->is_forward ? "is allowed" : "was allowed");
		result &= is_empty;
	}
	if (in_place->condition != NULL)
		result &= prove_condition(c, facts, goal);
	return result;
}

/* One branch takes it, and no other does. */
static bool
prove_one_of(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsNodes *branches = &goal->in_place->one;
	int			takes = 0;

	while (takes < branches->count && !can_prove(c, facts, branches->node[takes]))
		takes++;
	if (takes == branches->count)
	{
		es_compat_problem(c, goal, "oneOf", "cannot be shown to take all of it: no branch does alone");
		return false;
	}
	for (int i = 0; i < branches->count; i++)
	{
		EsFacts    *both = es_facts_copy(facts, ES_TYPES_ALL);

		if (i == takes)
			continue;
		es_facts_add(both, branches->node[i]);
		es_facts_settle(both);
		if (!es_compat_is_empty(c, both))
		{
			es_compat_problem(c, goal, "oneOf", "cannot be shown to take it only once: branches %d and %d overlap",
							  Min(i, takes), Max(i, takes));
			return false;
		}
	}
	return true;
}

static bool
prove_condition(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsInPlace *in_place = goal->in_place;
	bool		result = true;

	if (in_place->then != NULL)
	{
		EsFacts    *holds = es_facts_copy(facts, ES_TYPES_ALL);

		es_facts_add(holds, in_place->condition);
		es_facts_settle(holds);
		result &= es_compat_prove(c, holds, in_place->then);
	}
	if (in_place->otherwise != NULL)
	{
		EsFacts    *fails = es_facts_copy(facts, ES_TYPES_ALL);

		fails->nots = lappend(fails->nots, in_place->condition);
		result &= es_compat_prove(c, fails, in_place->otherwise);
	}
	return result;
}

static bool
can_prove(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	bool		result;

	c->silent++;
	result = es_compat_prove(c, facts, goal);
	c->silent--;
	return result;
}

/* ---- what was asked before ---- */

static Memo *
find_memo(EsCompat *c, const EsFacts *facts, const EsNode *goal, bool *found)
{
	int			room = 8 + list_length(facts->nodes) + list_length(facts->nots) +
		2 * list_length(facts->choices) + list_length(facts->declared);
	Question	question = {0, palloc(sizeof(uintptr_t) * room)};
	List	   *choices = NIL;
	ListCell   *lc;

	if (c->memo == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(Question),.entrysize = sizeof(Memo),.hash = hash_question,
		.match = match_question,.keycopy = copy_question,.hcxt = CurrentMemoryContext};

		c->memo = hash_create("eventsource schema comparison", 64, &info,
							  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_KEYCOPY | HASH_CONTEXT);
	}
	foreach(lc, facts->choices)
	{
		const EsChoice *choice = lfirst(lc);

		/* Nodes are aligned: there is room for the kind. */
		choices = lappend(choices, (char *) choice->node + choice->kind);
	}
	question.words[question.length++] = (uintptr_t) goal;
	question.words[question.length++] = (uintptr_t) facts->types << 1 | c->is_strict;
	push_list(&question, facts->nodes);
	push_list(&question, facts->nots);
	push_list(&question, choices);
	push_list(&question, facts->declared);
	return hash_search(c->memo, &question, HASH_ENTER, found);
}

static void
push_list(Question *question, List *list)
{
	uintptr_t  *first = &question->words[question->length + 1];
	ListCell   *lc;

	question->words[question->length++] = list_length(list);
	foreach(lc, list)
		question->words[question->length++] = (uintptr_t) lfirst(lc);
	qsort(first, list_length(list), sizeof(uintptr_t), compare_words);
}

static int
compare_words(const void *a, const void *b)
{
	uintptr_t	x = *(const uintptr_t *) a;
	uintptr_t	y = *(const uintptr_t *) b;

	return x < y ? -1 : x > y;
}

static uint32
hash_question(const void *key, Size size)
{
	const Question *question = key;

	return hash_bytes((const unsigned char *) question->words, question->length * sizeof(uintptr_t));
}

static int
match_question(const void *a, const void *b, Size size)
{
	const Question *x = a;
	const Question *y = b;

	return x->length != y->length || memcmp(x->words, y->words, x->length * sizeof(uintptr_t)) != 0;
}

static void *
copy_question(void *to, const void *from, Size size)
{
	return memcpy(to, from, sizeof(Question));
}
