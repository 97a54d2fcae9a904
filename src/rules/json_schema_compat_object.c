/*
 * json_schema_compat_object.c
 *		What is known of members, and what a node asks of them.
 *
 * Members fall into those with a name that either side has, those whose name matches
 * a pattern that either side has, and all others, which are alike.
 */
#include "postgres.h"

#include "log/json.h"
#include "miscadmin.h"
#include "rules/json_schema_compat_parts.h"

/* How far dependencies are followed. */
#define PATIENCE	8

/* A kind of members: by name, by pattern (of which the text is the name), or the others. */
typedef enum MemberKind
{
	NAMED,
	PATTERNED,
	OTHER
} MemberKind;

typedef struct Member
{
	MemberKind	kind;
	EsName		name;
} Member;

static EsFacts *facts_of_member(const EsFacts *facts, const Member *member);
static List *add_member(List *list, const EsNode *node, const Member *member);
static List *add_own(List *list, const EsNode *node, const Member *member, bool *found);
static bool evaluates(const EsNode *node, const Member *member);
static bool may_evaluate(const EsNode *node, const Member *member);
static bool surely_evaluates(const EsNode *goal, const Member *member);
static bool is_mentioned(const EsFacts *facts, const Member *member, const EsFacts *known);
static List *members_of(const EsFacts *facts, const EsNode *goal);
static List *add_kind(List *members, MemberKind kind, EsName name);
static bool prove_members(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_member(EsCompat *c, const EsFacts *facts, const EsNode *goal, const Member *member);
static List *asked_of_member(const EsNode *goal, const Member *member);
static bool prove_required(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_sizes(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_names(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static bool prove_dependents(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static const EsProperty *find_property(const EsNode *node, EsName name);
static EsNode *node_that_requires(EsName name);
static EsName name_of(const JsonbValue *string);
static bool is_same(EsName a, EsName b);

bool
es_compat_prove_object(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	bool		result = prove_required(c, facts, goal);

	result &= prove_sizes(c, facts, goal);
	if (result || c->silent == 0)
		result &= prove_members(c, facts, goal);
	if (result || c->silent == 0)
		result &= prove_names(c, facts, goal);
	if (result || c->silent == 0)
		result &= prove_dependents(c, facts, goal);
	return result;
}

/* Is the member surely there?  patience says how far dependencies are followed. */
bool
es_facts_have_member(const EsFacts *facts, EsName name, int patience)
{
	ListCell   *lc;

	foreach(lc, facts->nodes)
	{
		const EsNode *node = lfirst(lc);
		const EsProperty *property = find_property(node, name);

		if (property != NULL && property->is_required)
			return true;
		for (int i = 0; patience > 0 && node->object != NULL && i < node->object->ndependents; i++)
		{
			const EsDependent *dependent = &node->object->dependents[i];

			for (int n = 0; n < dependent->nrequired; n++)
			{
				EsName		needed = name_of(&dependent->required[n]);

				if (is_same(needed, name) &&
					es_facts_have_member(facts, es_name(dependent->name, dependent->length), patience - 1))
					return true;
			}
		}
	}
	return false;
}

/* What is known of the member, should it be there. */
EsFacts *
es_facts_member(const EsFacts *facts, EsName name)
{
	Member		member = {NAMED, name};

	return facts_of_member(facts, &member);
}

static EsFacts *
facts_of_member(const EsFacts *facts, const Member *member)
{
	List	   *nodes = NIL;
	List	   *declared = NIL;
	ListCell   *lc;

	foreach(lc, facts->nodes)
		nodes = add_member(nodes, lfirst(lc), member);
	foreach(lc, facts->declared)
		declared = add_member(declared, lfirst(lc), member);
	return es_facts_of(nodes, list_concat_unique_ptr(declared, nodes));
}

/* The list, and what a node that holds for an object says of its member. */
static List *
add_member(List *list, const EsNode *node, const Member *member)
{
	const EsObjectRules *rules = node->object;
	bool		found = false;

	if (rules == NULL)
		return list;
	list = add_own(list, node, member, &found);
	if (!found && rules->unevaluated != NULL && !may_evaluate(node, member))
		list = list_append_unique_ptr(list, rules->unevaluated);
	return list;
}

/*
 * What properties, patternProperties and additionalProperties say; found tells
 * whether the last have no say, or have had it.
 */
static List *
add_own(List *list, const EsNode *node, const Member *member, bool *found)
{
	const EsObjectRules *rules = node->object;
	const EsProperty *property = member->kind == NAMED ? find_property(node, member->name) : NULL;

	if (property != NULL && property->node != NULL)
	{
		list = list_append_unique_ptr(list, property->node);
		*found = true;
	}
	for (int i = 0; i < rules->npatterns; i++)
	{
		const EsPatternProperty *pattern = &rules->patterns[i];

		if (member->kind == OTHER)
			continue;
		if (member->kind == NAMED
			? es_pattern_matches(pattern->pattern, member->name.bytes, member->name.length)
			: strcmp(es_pattern_text(pattern->pattern), member->name.bytes) == 0)
		{
			list = list_append_unique_ptr(list, pattern->node);
			*found = true;
		}
	}
	/* A name that matches one pattern may match the node's own as well. */
	if (!*found && member->kind == PATTERNED && rules->npatterns > 0)
	{
		if (rules->npatterns == 1 && rules->additional != NULL && rules->additional->is_never)
			list = list_append_unique_ptr(list, rules->patterns[0].node);
		*found = true;
	}
	if (!*found && rules->additional != NULL)
	{
		list = list_append_unique_ptr(list, rules->additional);
		*found = true;
	}
	return list;
}

/* Does the node itself look at the member? */
static bool
evaluates(const EsNode *node, const Member *member)
{
	bool		found = false;

	if (node->object != NULL)
		list_free(add_own(NIL, node, member, &found));
	return found;
}

static bool
may_evaluate(const EsNode *node, const Member *member)
{
	ListCell   *lc;

	foreach(lc, es_compat_closure(list_make1((void *) node)))
	{
		const EsNode *other = lfirst(lc);

		if (evaluates(other, member) ||
			(other != node && other->object != NULL && other->object->unevaluated != NULL))
			return true;
	}
	return false;
}

/* Does a value that matches the goal surely have the member evaluated? */
static bool
surely_evaluates(const EsNode *goal, const Member *member)
{
	ListCell   *lc;

	foreach(lc, es_compat_conjuncts(goal))
	{
		const EsObjectRules *rules = ((const EsNode *) lfirst(lc))->object;

		if (rules == NULL)
			continue;
		if (rules->additional != NULL)
			return true;
		for (int i = 0; member->kind == PATTERNED && i < rules->npatterns; i++)
		{
			if (strcmp(es_pattern_text(rules->patterns[i].pattern), member->name.bytes) == 0)
				return true;
		}
		if (member->kind == NAMED && evaluates(lfirst(lc), member))
			return true;
	}
	return false;
}

/*
 * Does anything say in any case that such a member may be there?  known is what is
 * known of it.
 */
static bool
is_mentioned(const EsFacts *facts, const Member *member, const EsFacts *known)
{
	ListCell   *lc;

	foreach(lc, known->declared)
	{
		if (!((const EsNode *) lfirst(lc))->is_always)
			return true;
	}
	foreach(lc, facts->declared)
	{
		const EsNode *node = lfirst(lc);
		const EsObjectRules *rules = node->object;

		if (rules == NULL)
			continue;
		if (member->kind == NAMED && find_property(node, member->name) != NULL)
			return true;
		for (int i = 0; i < rules->npatterns; i++)
		{
			if (member->kind == PATTERNED ||
				es_pattern_matches(rules->patterns[i].pattern, member->name.bytes, member->name.length))
				return true;
		}
		for (int i = 0; member->kind == NAMED && i < rules->ndependents; i++)
		{
			const EsDependent *dependent = &rules->dependents[i];

			if (is_same(es_name(dependent->name, dependent->length), member->name))
				return true;
			for (int n = 0; n < dependent->nrequired; n++)
			{
				const JsonbValue *needed = &dependent->required[n];

				if (is_same(name_of(needed), member->name))
					return true;
			}
		}
	}
	return false;
}

/*
 * All kinds of members that have to be told apart.  What is known may be of nodes of
 * the other schema as well, for a contradiction: these are not among the declared.
 */
static List *
members_of(const EsFacts *facts, const EsNode *goal)
{
	List	   *nodes = list_concat(es_compat_closure(list_make1((void *) goal)), facts->declared);
	List	   *members = add_kind(NIL, OTHER, es_name("", 0));
	ListCell   *lc;

	foreach(lc, list_concat_unique_ptr(nodes, es_compat_closure(facts->nodes)))
	{
		const EsObjectRules *rules = ((const EsNode *) lfirst(lc))->object;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; rules != NULL && i < rules->nproperties; i++)
			members = add_kind(members, NAMED, es_name(rules->properties[i].name,
													   rules->properties[i].length));
		for (int i = 0; rules != NULL && i < rules->npatterns; i++)
		{
			const char *text = es_pattern_text(rules->patterns[i].pattern);

			members = add_kind(members, PATTERNED, es_name(text, strlen(text)));
		}
	}
	return members;
}

static List *
add_kind(List *members, MemberKind kind, EsName name)
{
	Member	   *member;
	ListCell   *lc;

	foreach(lc, members)
	{
		member = lfirst(lc);
		if (member->kind == kind && is_same(member->name, name))
			return members;
	}
	member = palloc(sizeof(Member));
	member->kind = kind;
	member->name = name;
	return lappend(members, member);
}

static bool
prove_members(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	bool		result = true;
	ListCell   *lc;

	foreach(lc, members_of(facts, goal))
	{
		if (!es_compat_step(c, goal))
			return false;
		result &= prove_member(c, facts, goal, lfirst(lc));
		if (!result && c->silent > 0)
			break;
	}
	return result;
}

static bool
prove_member(EsCompat *c, const EsFacts *facts, const EsNode *goal, const Member *member)
{
	List	   *asked = asked_of_member(goal, member);
	bool		result = true;
	EsFacts    *known;
	ListCell   *lc;

	if (asked == NIL)
		return true;
	known = facts_of_member(facts, member);
	if (member->kind != OTHER && !c->is_strict && known->nodes == NIL && !is_mentioned(facts, member, known))
		return true;
	foreach(lc, asked)
		result &= es_compat_prove_below(c, known, lfirst(lc));
	return result;
}

/*
 * What the goal asks of such a member.  Names of a pattern that it does not have may
 * match none that it has; what they match of those is asked of these.
 */
static List *
asked_of_member(const EsNode *goal, const Member *member)
{
	const EsObjectRules *rules = goal->object;
	bool		found = false;
	List	   *asked = NIL;

	for (int i = 0; member->kind == PATTERNED && i < rules->npatterns; i++)
	{
		if (strcmp(es_pattern_text(rules->patterns[i].pattern), member->name.bytes) == 0)
			asked = lappend(asked, rules->patterns[i].node);
	}
	if (member->kind != PATTERNED)
		asked = add_own(NIL, goal, member, &found);
	else if (asked == NIL && rules->additional != NULL)
		asked = list_make1(rules->additional);
	if (rules->unevaluated != NULL && !surely_evaluates(goal, member))
		asked = lappend(asked, rules->unevaluated);
	return asked;
}

static bool
prove_required(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsObjectRules *rules = goal->object;
	bool		result = true;

	for (int i = 0; i < rules->nproperties; i++)
	{
		const EsProperty *property = &rules->properties[i];

		if (!property->is_required ||
			es_facts_have_member(facts, es_name(property->name, property->length), PATIENCE))
			continue;
		result = false;
		es_compat_changed(c, goal, "required", NULL, es_json_quote_bytes(property->name, property->length));
	}
	return result;
}

static bool
prove_sizes(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsObjectRules *rules = goal->object;
	int64		min = 0;
	int64		max = PG_INT64_MAX;
	int64		there = 0;
	int64		possible = 0;
	ListCell   *lc;

	if (rules->min_properties == 0 && rules->max_properties == PG_INT64_MAX)
		return true;
	foreach(lc, facts->nodes)
	{
		const EsObjectRules *known = ((const EsNode *) lfirst(lc))->object;

		if (known != NULL)
		{
			min = Max(min, known->min_properties);
			max = Min(max, known->max_properties);
		}
	}
	foreach(lc, members_of(facts, goal))
	{
		const Member *member = lfirst(lc);

		if (member->kind == NAMED)
			there += es_facts_have_member(facts, member->name, PATIENCE);
		if (!es_compat_is_empty(c, facts_of_member(facts, member)))
			possible = member->kind == NAMED && possible < PG_INT64_MAX ? possible + 1 : PG_INT64_MAX;
	}
	return es_compat_prove_count(c, goal, "minProperties", Max(min, there), rules->min_properties, false) &
		es_compat_prove_count(c, goal, "maxProperties", Min(max, possible), rules->max_properties, true);
}

static bool
prove_names(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsNode *asked = goal->object->names;
	bool		is_closed = true;
	bool		result = true;
	List	   *names = NIL;
	EsFacts    *known;
	ListCell   *lc;

	if (asked == NULL || asked->is_always)
		return true;
	foreach(lc, members_of(facts, goal))
	{
		const Member *member = lfirst(lc);
		JsonbValue	name = {.type = jbvString};

		name.val.string.val = (char *) member->name.bytes;
		name.val.string.len = member->name.length;
		known = facts_of_member(facts, member);
		if (es_compat_is_empty(c, known))
			continue;
		if (member->kind != NAMED)
			is_closed = false;
		else if ((c->is_strict || is_mentioned(facts, member, known)) && !es_compat_matches(asked, &name))
		{
			result = false;
			es_compat_problem(c, goal, "propertyNames", "%s %s", c->is_forward ? "did not take" : "does not take",
							  es_json_quote(&name));
		}
	}
	foreach(lc, facts->nodes)
	{
		const EsObjectRules *rules = ((const EsNode *) lfirst(lc))->object;

		if (rules != NULL && rules->names != NULL)
			names = lappend(names, rules->names);
	}
	known = es_facts_copy(es_facts_of(names, names), ES_TYPE_STRING);
	return result & (is_closed || es_compat_prove_below(c, known, asked));
}

static bool
prove_dependents(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	bool		result = true;

	for (int i = 0; i < goal->object->ndependents; i++)
	{
		const EsDependent *dependent = &goal->object->dependents[i];
		Member		member = {NAMED, es_name(dependent->name, dependent->length)};
		EsFacts    *known;

		known = facts_of_member(facts, &member);
		if (!c->is_strict && known->nodes == NIL && !is_mentioned(facts, &member, known))
			continue;
		known = es_facts_copy(facts, ES_TYPES_ALL);
		es_facts_add(known, node_that_requires(member.name));
		es_facts_settle(known);
		if (es_compat_is_empty(c, known))
			continue;
		for (int n = 0; n < dependent->nrequired; n++)
		{
			const JsonbValue *needed = &dependent->required[n];

			if (es_facts_have_member(known, name_of(needed), PATIENCE))
				continue;
			result = false;
			es_compat_changed(c, goal, dependent->keyword, NULL,
							  psprintf("%s beside %s", es_json_quote(needed),
									   es_json_quote_bytes(dependent->name, dependent->length)));
		}
		if (dependent->node != NULL)
			result &= es_compat_prove(c, known, dependent->node);
	}
	return result;
}

/* Properties stand in the order of jsonb's keys. */
static const EsProperty *
find_property(const EsNode *node, EsName name)
{
	int			low = 0;
	int			high = node->object == NULL ? 0 : node->object->nproperties;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		const EsProperty *property = &node->object->properties[middle];
		int			order = es_json_compare_keys(property->name, property->length, name.bytes, name.length);

		if (order == 0)
			return property;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* A node of our own that says that there is a member. */
static EsNode *
node_that_requires(EsName name)
{
	EsNode	   *node = palloc0(sizeof(EsNode));

	node->types = ES_TYPE_ANY;
	(void) es_schema_part(node, ES_PART_OBJECT);
	node->object->properties = palloc0(sizeof(EsProperty));
	node->object->properties->name = name.bytes;
	node->object->properties->length = name.length;
	node->object->properties->is_required = true;
	node->object->nproperties = node->object->nrequired = 1;
	return node;
}

static EsName
name_of(const JsonbValue *string)
{
	return es_name(string->val.string.val, string->val.string.len);
}

static bool
is_same(EsName a, EsName b)
{
	return es_json_compare_keys(a.bytes, a.length, b.bytes, b.length) == 0;
}
