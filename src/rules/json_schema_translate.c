/*
 * json_schema_translate.c
 *		Regular expressions of ECMA-262 (with its flag u, but kinder about needless
 *		backslashes) in the words of PostgreSQL's engine, for the one question
 *		whether a string has a match.
 *
 * What differs: the classes \d \w \s \p{..} and the dot are spelled out as sets of
 * code points, so that no locale has a say; \b is a lookaround; greediness does not
 * matter here and is dropped; groups capture only if something refers to them;
 * numbers of repetitions above what the engine takes become nested ones; and
 * characters that no string can have, such as \0 and lone surrogates, match nothing.
 * A reference to a group that took no part in a match matches the empty string in
 * ECMA-262, and nothing here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rules/json_schema_translate.h"

/* The engine's limit of repetitions. */
#define MAX_REPEAT	255

/*
 * The engine copies what is repeated so many times, and what may be empty costs it
 * the square of that.  This is about a second of its time.
 */
#define MAX_COST	20000

static void skip(EsTranslator *t);
static void find_groups(EsTranslator *t);
static void find_references(EsTranslator *t);
static bool disjunction(EsTranslator *t);
static bool term(EsTranslator *t);
static bool atom(EsTranslator *t, bool *is_nullable);
static bool group(EsTranslator *t);
static void lookaround(EsTranslator *t, const char *opening);
static bool escape(EsTranslator *t, bool *is_nullable);
static void reference(EsTranslator *t, int number);
static int	named_group(EsTranslator *t);
static bool quantifier(EsTranslator *t, int *min, int *max);
static bool read_bounds(EsTranslator *t, int *min, int *max);
static void repeat(EsTranslator *t, const pg_wchar *piece, int size, int min, int max);
static void emit(EsTranslator *t, pg_wchar point);

int
es_pattern_translate(const pg_wchar *pattern, int length, pg_wchar **translated, char **problem)
{
	EsTranslator t = {.in = pattern,.end = length};

	t.room = length + 16;
	t.out = palloc_extended(t.room * sizeof(pg_wchar), MCXT_ALLOC_HUGE);
	find_groups(&t);
	find_references(&t);
	t.at = 0;
	(void) disjunction(&t);
	if (t.problem == NULL && t.at < t.end)
		es_translate_fail(&t, "there is a \")\" too many");
	*translated = t.out;
	*problem = t.problem;
	return t.count;
}

/* ---- what is there to refer to, and who does ---- */

/* Steps over the next character, and over escapes and classes as one. */
static void
skip(EsTranslator *t)
{
	if (t->in[t->at] == '\\')
		t->at += 2;
	else if (t->in[t->at] == '[')
	{
		while (++t->at < t->end && t->in[t->at] != ']')
		{
			if (t->in[t->at] == '\\')
				t->at++;
		}
		t->at++;
	}
	else
		t->at++;
}

static void
find_groups(EsTranslator *t)
{
	t->groups = palloc0(sizeof(EsGroup) * (t->end / 2 + 1));
	for (t->at = 0; t->at < t->end; skip(t))
	{
		int			start = t->at;

		if (!es_translate_accept(t, "("))
			continue;
		if (es_translate_accept(t, "?<") && !es_translate_next_is(t, "=") && !es_translate_next_is(t, "!"))
			t->groups[t->ngroups++].name = es_translate_name(t, '>');
		else if (!es_translate_next_is(t, "?") && t->at == start + 1)
			t->ngroups++;
		t->at = start;
	}
}

static void
find_references(EsTranslator *t)
{
	for (t->at = 0; t->at < t->end && t->problem == NULL; skip(t))
	{
		int			start = t->at;
		int			number = 0;

		if (es_translate_accept(t, "\\k"))
			number = named_group(t);
		else if (es_translate_accept(t, "\\") && t->at < t->end && t->in[t->at] >= '1' && t->in[t->at] <= '9')
			(void) es_translate_count(t, &number);
		if (number > t->ngroups)
			es_translate_fail(t, psprintf("there is no group %d", number));
		else if (number > 0)
			t->groups[number - 1].is_referenced = true;
		t->at = start;
	}
}

/* ---- the grammar: each says whether what it read may match the empty string ---- */

static bool
disjunction(EsTranslator *t)
{
	bool		any_nullable = false;
	bool		is_nullable = true;

	check_stack_depth();
	while (t->at < t->end && t->in[t->at] != ')' && t->problem == NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (es_translate_accept(t, "|"))
		{
			emit(t, '|');
			any_nullable |= is_nullable;
			is_nullable = true;
		}
		else
			is_nullable &= term(t);
	}
	return any_nullable || is_nullable;
}

static bool
term(EsTranslator *t)
{
	int			start = t->count;
	int			nnumbered = t->nnumbered;
	double		cost = t->cost;
	bool		is_nullable = false;
	bool		may_repeat = atom(t, &is_nullable);
	int			size = t->count - start;
	int			times;
	int			min;
	int			max;
	pg_wchar   *piece;

	if (t->problem != NULL || !quantifier(t, &min, &max))
		return is_nullable;
	times = Max(Max(min, max), 1);
	t->cost = cost + (t->cost - cost) * times * (is_nullable ? times : 1);
	if (!may_repeat)
		es_translate_fail(t, "what is repeated is no character");
	else if (max >= 0 && max < min)
		es_translate_fail(t, "a repetition is upside down");
	else if (t->nnumbered > nnumbered && times > MAX_REPEAT)
		es_translate_fail(t, psprintf("a group that is referred to cannot be repeated more than %d times",
									  MAX_REPEAT));
	else if (t->cost > MAX_COST)
		es_translate_fail(t, "its repetitions multiply to too many");
	else
	{
		piece = palloc(sizeof(pg_wchar) * Max(size, 1));
		memcpy(piece, t->out + start, sizeof(pg_wchar) * size);
		t->count = start;
		repeat(t, piece, size, min, max);
		pfree(piece);
	}
	return is_nullable || min == 0;
}

/* Returns whether it is something that can be repeated. */
static bool
atom(EsTranslator *t, bool *is_nullable)
{
	EsClass		dot = {0};
	int			min;
	int			max;

	if (++t->cost > MAX_COST)
		es_translate_fail(t, "it is too long");
	if (es_translate_accept(t, "^") || es_translate_accept(t, "$"))
		emit(t, t->in[t->at - 1]);
	else if (es_translate_accept(t, "(?="))
		lookaround(t, "(?=");
	else if (es_translate_accept(t, "(?!"))
		lookaround(t, "(?!");
	else if (es_translate_accept(t, "(?<="))
		lookaround(t, "(?<=");
	else if (es_translate_accept(t, "(?<!"))
		lookaround(t, "(?<!");
	else
	{
		if (t->in[t->at] == '(')
			*is_nullable = group(t);
		else if (t->in[t->at] == '[')
			es_translate_class(t);
		else if (t->in[t->at] == '\\')
			return escape(t, is_nullable);
		else if (es_translate_accept(t, "."))
		{
			es_class_add_escape(&dot, '.');
			es_translate_emit_class(t, &dot);
		}
		else if (quantifier(t, &min, &max))
			es_translate_fail(t, "there is nothing to repeat");
		else
			es_translate_emit_literal(t, t->in[t->at++]);
		return true;
	}
	*is_nullable = true;
	return false;
}

static bool
group(EsTranslator *t)
{
	EsGroup    *mine = NULL;
	bool		is_nullable;

	if (!es_translate_accept(t, "(?:"))
	{
		t->at++;
		mine = &t->groups[t->nopened];
		if (es_translate_accept(t, "?") && (!es_translate_accept(t, "<") || es_translate_name(t, '>') == NULL))
		{
			es_translate_fail(t, "what stands behind \"(?\" is not known");
			return false;
		}
		t->nopened++;
		if (mine->is_referenced && t->nlookarounds > 0)
			es_translate_fail(t, "a reference to a group inside a lookaround is not supported");
		if (mine->is_referenced)
			mine->number = ++t->nnumbered;
	}
	es_translate_emit_text(t, mine != NULL && mine->is_referenced ? "(" : "(?:");
	is_nullable = disjunction(t);
	if (!es_translate_accept(t, ")"))
		es_translate_fail(t, "there is a \"(\" too many");
	emit(t, ')');
	if (mine != NULL)
		mine->is_closed = true;
	return is_nullable;
}

static void
lookaround(EsTranslator *t, const char *opening)
{
	es_translate_emit_text(t, opening);
	t->nlookarounds++;
	(void) disjunction(t);
	t->nlookarounds--;
	if (!es_translate_accept(t, ")"))
		es_translate_fail(t, "there is a \"(\" too many");
	emit(t, ')');
}

/* Returns whether it is something that can be repeated. */
static bool
escape(EsTranslator *t, bool *is_nullable)
{
	EsClass		set = {0};
	int			number;
	pg_wchar	point;

	t->at++;
	if (t->at == t->end)
		es_translate_fail(t, "nothing stands behind the last \"\\\"");
	else if (es_translate_accept(t, "b") || es_translate_accept(t, "B"))
	{
		es_translate_emit_text(t, t->in[t->at - 1] == 'b'
							   ? "(?:(?<![0-9A-Z_a-z])(?=[0-9A-Z_a-z])|(?<=[0-9A-Z_a-z])(?![0-9A-Z_a-z]))"
							   : "(?:(?<![0-9A-Z_a-z])(?![0-9A-Z_a-z])|(?<=[0-9A-Z_a-z])(?=[0-9A-Z_a-z]))");
		*is_nullable = true;
		return false;
	}
	else if (es_translate_accept(t, "k"))
	{
		reference(t, named_group(t));
		*is_nullable = true;
	}
	else if (t->in[t->at] >= '1' && t->in[t->at] <= '9')
	{
		(void) es_translate_count(t, &number);
		reference(t, number);
		*is_nullable = true;
	}
	else if (es_translate_class_escape(t, &set))
		es_translate_emit_class(t, &set);
	else if (es_translate_character_escape(t, &point))
		es_translate_emit_literal(t, point);
	return true;
}

static void
reference(EsTranslator *t, int number)
{
	const EsGroup *group = number > 0 && number <= t->ngroups ? &t->groups[number - 1] : NULL;

	if (group == NULL)
		es_translate_fail(t, "there is no group of this name");
	else if (t->nlookarounds > 0)
		es_translate_fail(t, "a reference to a group inside a lookaround is not supported");
	else if (group->is_closed)
		es_translate_emit_text(t, psprintf("(?:\\%d)", group->number));
	else						/* it cannot have captured anything yet */
		es_translate_emit_text(t, "(?:)");
}

/* Number of the group that <name> names; 0 if there is none. */
static int
named_group(EsTranslator *t)
{
	char	   *name = es_translate_accept(t, "<") ? es_translate_name(t, '>') : NULL;

	for (int i = 0; i < t->ngroups && name != NULL; i++)
	{
		if (t->groups[i].name != NULL && strcmp(t->groups[i].name, name) == 0)
			return i + 1;
	}
	es_translate_fail(t, "there is no group of this name");
	return 0;
}

/* ---- repetition ---- */

/* How often, if that is said; lazily or not is the same here. */
static bool
quantifier(EsTranslator *t, int *min, int *max)
{
	*min = 0;
	*max = -1;
	if (es_translate_accept(t, "?"))
		*max = 1;
	else if (es_translate_accept(t, "+"))
		*min = 1;
	else if (!es_translate_accept(t, "*") && !read_bounds(t, min, max))
		return false;
	(void) es_translate_accept(t, "?");
	return true;
}

/* {n} {n,} {n,m}; goes nowhere if it is none. */
static bool
read_bounds(EsTranslator *t, int *min, int *max)
{
	int			start = t->at;

	if (es_translate_accept(t, "{") && es_translate_count(t, min))
	{
		*max = *min;
		if (es_translate_accept(t, ","))
		{
			*max = -1;
			(void) es_translate_count(t, max);
		}
		if (es_translate_accept(t, "}"))
			return true;
	}
	t->at = start;
	return false;
}

/* A piece, from min to max times; a negative max is none. */
static void
repeat(EsTranslator *t, const pg_wchar *piece, int size, int min, int max)
{
	int			more = max - min;

	if (Max(min, max) <= MAX_REPEAT)
	{
		es_translate_emit(t, piece, size);
		if (min <= 1 && max < 0)
			emit(t, min == 0 ? '*' : '+');
		else
			es_translate_emit_text(t, max < 0 ? psprintf("{%d,}", min) : psprintf("{%d,%d}", min, max));
		return;
	}

	/* What comes instead is one term, too. */
	es_translate_emit_text(t, "(?:");
	if (min > MAX_REPEAT)
	{
		es_translate_emit_text(t, "(?:");
		es_translate_emit(t, piece, size);
		es_translate_emit_text(t, psprintf("{%d}){%d}", MAX_REPEAT, min / MAX_REPEAT));
		min %= MAX_REPEAT;
	}
	es_translate_emit(t, piece, size);
	es_translate_emit_text(t, psprintf("{%d}", min));
	if (more >= MAX_REPEAT)
	{
		es_translate_emit_text(t, "(?:");
		es_translate_emit(t, piece, size);
		es_translate_emit_text(t, psprintf("{0,%d}){0,%d}", MAX_REPEAT, more / MAX_REPEAT));
	}
	es_translate_emit(t, piece, size);
	es_translate_emit_text(t, max < 0 ? "*" : psprintf("{0,%d}", more % MAX_REPEAT));
	emit(t, ')');
}

static void
emit(EsTranslator *t, pg_wchar point)
{
	es_translate_emit(t, &point, 1);
}
