/*
 * json_schema_compat_scalar.c
 *		Bounds of numbers and of lengths, patterns and formats.
 *
 * Patterns are equal or not comparable, and so are formats; those that are not
 * asserted ask for nothing, and are not in the program.
 */
#include "postgres.h"

#include "rules/json_schema_compat_parts.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

static EsBound bound_of(const EsFacts *facts, bool is_upper);
static void tighten(EsBound *bound, Numeric value, bool is_exclusive, bool is_upper);
static bool prove_bound(EsCompat *c, const EsNode *goal, const char *keyword, EsBound known,
						EsBound asked, bool is_upper);
static bool prove_multiple(EsCompat *c, const EsFacts *facts, const EsNode *goal);
static void lengths_of(const EsFacts *facts, int64 *min, int64 *max);
static bool has_pattern(const EsFacts *facts, const EsPattern *pattern);
static const char *find_format(const EsFacts *facts, const char *name);
static int	compare(Numeric a, Numeric b);
static Numeric whole_of(Numeric number, bool is_upper);

bool
es_compat_prove_number(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsNumberRules *rules = goal->number;
	EsBound		lower = bound_of(facts, false);
	EsBound		upper = bound_of(facts, true);
	bool		result = true;

	result &= prove_bound(c, goal, "minimum", lower, es_bound(rules->minimum, false), false);
	result &= prove_bound(c, goal, "maximum", upper, es_bound(rules->maximum, false), true);
	result &= prove_bound(c, goal, "exclusiveMinimum", lower, es_bound(rules->exclusive_minimum, true), false);
	result &= prove_bound(c, goal, "exclusiveMaximum", upper, es_bound(rules->exclusive_maximum, true), true);
	return result & prove_multiple(c, facts, goal);
}

bool
es_compat_prove_string(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	const EsStringRules *rules = goal->string;
	bool		result = true;
	int64		min;
	int64		max;

	lengths_of(facts, &min, &max);
	result &= es_compat_prove_count(c, goal, "minLength", min, rules->min_length, false);
	result &= es_compat_prove_count(c, goal, "maxLength", max, rules->max_length, true);
	if (rules->pattern != NULL && !has_pattern(facts, rules->pattern))
	{
		es_compat_problem(c, goal, "pattern", "\"%s\" is %s", es_pattern_text(rules->pattern),
						  c->is_forward ? "gone" : "new, and cannot be compared with what was allowed");
		result = false;
	}
	if (rules->format != NULL)
	{
		const char *known = find_format(facts, rules->format);

		if (known == NULL || strcmp(known, rules->format) != 0)
		{
			es_compat_changed(c, goal, "format", known, rules->format);
			result = false;
		}
	}
	return result;
}

/* Is every count of which a bound is known within the one that is asked for? */
bool
es_compat_prove_count(EsCompat *c, const EsNode *goal, const char *keyword, int64 known, int64 asked,
					  bool is_upper)
{
	bool		is_open = is_upper ? known == PG_INT64_MAX : known == 0;

	if (is_upper ? known <= asked : known >= asked)
		return true;
	es_compat_changed(c, goal, keyword, is_open ? NULL : psprintf("%lld", (long long) known),
					  psprintf("%lld", (long long) asked));
	return false;
}

bool
es_facts_no_number(const EsFacts *facts)
{
	EsBound		lower = bound_of(facts, false);
	EsBound		upper = bound_of(facts, true);
	int			order;

	if (lower.value == NULL || upper.value == NULL)
		return false;
	order = compare(lower.value, upper.value);
	return order > 0 || (order == 0 && (lower.is_exclusive || upper.is_exclusive));
}

bool
es_facts_no_string(const EsFacts *facts)
{
	int64		min;
	int64		max;

	lengths_of(facts, &min, &max);
	return min > max;
}

/* The tightest lower or upper bound.  Integers have one that they may be. */
static EsBound
bound_of(const EsFacts *facts, bool is_upper)
{
	EsBound		bound = {NULL, false};
	ListCell   *lc;

	foreach(lc, facts->nodes)
	{
		const EsNumberRules *rules = ((const EsNode *) lfirst(lc))->number;

		if (rules == NULL)
			continue;
		tighten(&bound, is_upper ? rules->maximum : rules->minimum, false, is_upper);
		tighten(&bound, is_upper ? rules->exclusive_maximum : rules->exclusive_minimum, true, is_upper);
	}
	if (bound.value != NULL && (facts->types & ES_TYPE_NUMBER) == 0)
	{
		Numeric		whole = whole_of(bound.value, is_upper);

		if (bound.is_exclusive && compare(whole, bound.value) == 0)
			whole = DatumGetNumeric(DirectFunctionCall2(is_upper ? numeric_sub : numeric_add,
														NumericGetDatum(whole),
														NumericGetDatum(int64_to_numeric(1))));
		bound.value = whole;
		bound.is_exclusive = false;
	}
	return bound;
}

static void
tighten(EsBound *bound, Numeric value, bool is_exclusive, bool is_upper)
{
	int			order;

	if (value == NULL)
		return;
	order = bound->value == NULL ? 1 : compare(value, bound->value);
	if (bound->value != NULL && is_upper)
		order = -order;
	if (order > 0 || (order == 0 && is_exclusive))
	{
		bound->value = value;
		bound->is_exclusive = is_exclusive;
	}
}

static bool
prove_bound(EsCompat *c, const EsNode *goal, const char *keyword, EsBound known, EsBound asked,
			bool is_upper)
{
	int			order;

	if (asked.value == NULL)
		return true;
	if (known.value != NULL)
	{
		order = compare(known.value, asked.value);
		if (is_upper)
			order = -order;
		if (order > 0 || (order == 0 && (known.is_exclusive || !asked.is_exclusive)))
			return true;
	}
	es_compat_changed(c, goal, keyword, known.value == NULL ? NULL
					  : psprintf("%s%s", known.is_exclusive && !asked.is_exclusive ? "exclusive " : "",
								 es_schema_number_text(known.value)),
					  es_schema_number_text(asked.value));
	return false;
}

static bool
prove_multiple(EsCompat *c, const EsFacts *facts, const EsNode *goal)
{
	Numeric		asked = goal->number->multiple_of;
	Numeric		zero = goal->number->zero;
	Numeric		known = NULL;
	ListCell   *lc;

	if (asked == NULL)
		return true;
	if ((facts->types & ES_TYPE_NUMBER) == 0)
		known = int64_to_numeric(1);
	for (lc = list_head(facts->nodes);; lc = lnext(facts->nodes, lc))
	{
		const EsNumberRules *rules;

		if (known != NULL &&
			compare(DatumGetNumeric(DirectFunctionCall2(numeric_mod, NumericGetDatum(known),
														NumericGetDatum(asked))), zero) == 0)
			return true;
		if (lc == NULL)
			break;
		rules = ((const EsNode *) lfirst(lc))->number;
		if (rules != NULL && rules->multiple_of != NULL)
			known = rules->multiple_of;
	}
	es_compat_changed(c, goal, "multipleOf", known == NULL ? NULL : es_schema_number_text(known),
					  es_schema_number_text(asked));
	return false;
}

static void
lengths_of(const EsFacts *facts, int64 *min, int64 *max)
{
	ListCell   *lc;

	*min = 0;
	*max = PG_INT64_MAX;
	foreach(lc, facts->nodes)
	{
		const EsStringRules *rules = ((const EsNode *) lfirst(lc))->string;

		if (rules != NULL)
		{
			*min = Max(*min, rules->min_length);
			*max = Min(*max, rules->max_length);
		}
	}
}

static bool
has_pattern(const EsFacts *facts, const EsPattern *pattern)
{
	ListCell   *lc;

	foreach(lc, facts->nodes)
	{
		const EsStringRules *rules = ((const EsNode *) lfirst(lc))->string;

		if (rules != NULL && rules->pattern != NULL &&
			strcmp(es_pattern_text(rules->pattern), es_pattern_text(pattern)) == 0)
			return true;
	}
	return false;
}

/* That format if it is known to be of it, else another one that is known, or NULL. */
static const char *
find_format(const EsFacts *facts, const char *name)
{
	const char *result = NULL;
	ListCell   *lc;

	foreach(lc, facts->nodes)
	{
		const EsStringRules *rules = ((const EsNode *) lfirst(lc))->string;

		if (rules != NULL && rules->format != NULL &&
			(result == NULL || strcmp(rules->format, name) == 0))
			result = rules->format;
	}
	return result;
}

static int
compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* The next integer from there on: down from an upper bound, up from a lower one. */
static Numeric
whole_of(Numeric number, bool is_upper)
{
	return DatumGetNumeric(DirectFunctionCall1(is_upper ? numeric_floor : numeric_ceil,
											   NumericGetDatum(number)));
}
