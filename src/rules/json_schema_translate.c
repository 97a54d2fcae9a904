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
#include "rules/json_schema_class.h"
#include "rules/json_schema_translate.h"

/* The engine's limit of repetitions. */
#define MAX_REPEAT		255

/* Stands for characters that no string has: it is none. */
#define NO_CHARACTER	0xD800

/* A group that captures. */
typedef struct Group
{
	char	   *name;			/* or NULL */
	bool		is_referenced;
	bool		is_closed;
	int			number;			/* in the translation; 0: not there */
} Group;

typedef struct Translator
{
	const pg_wchar *in;
	int			at;
	int			end;
	pg_wchar   *out;
	int			count;
	int			room;
	Group	   *groups;
	int			ngroups;
	int			nopened;		/* of them */
	int			nnumbered;
	int			nlookarounds;	/* around the place */
	char	   *problem;
} Translator;

static void find_groups(Translator *t);
static void find_references(Translator *t);
static void disjunction(Translator *t);
static void term(Translator *t);
static void group(Translator *t);
static void lookaround(Translator *t, const char *opening, int length);
static bool escape(Translator *t);
static void reference(Translator *t, int number);
static int	named_group(Translator *t);
static void class(Translator *t);
static bool class_atom(Translator *t, EsClass *set, pg_wchar *point);
static bool class_escape(Translator *t, EsClass *set);
static void property(Translator *t, EsClass *set, bool is_inverted);
static bool character_escape(Translator *t, pg_wchar *point);
static bool hex_digits(Translator *t, int count, pg_wchar *point);
static bool braced_hex(Translator *t, pg_wchar *point);
static void quantifier(Translator *t, int start, int nnumbered, bool is_allowed);
static bool read_bounds(Translator *t, int *min, int *max);
static bool read_count(Translator *t, int *count);
static void repeat(Translator *t, const pg_wchar *atom, int size, int min, int max);
static void emit_class(Translator *t, EsClass *set);
static void emit_member(Translator *t, pg_wchar point);
static void emit(Translator *t, pg_wchar point);
static void emit_text(Translator *t, const char *text);
static void emit_copy(Translator *t, const pg_wchar *points, int count);
static bool next_is(const Translator *t, const char *text);
static bool accept(Translator *t, const char *text);
static char *read_name(Translator *t, char end);
static void fail(Translator *t, const char *problem);

int
es_pattern_translate(const pg_wchar *pattern, int length, pg_wchar **translated, char **problem)
{
	Translator	t = {.in = pattern,.end = length};

	t.room = length + 16;
	t.out = palloc_extended(t.room * sizeof(pg_wchar), MCXT_ALLOC_HUGE);
	find_groups(&t);
	find_references(&t);
	t.at = 0;
	disjunction(&t);
	if (t.problem == NULL && t.at < t.end)
		fail(&t, "there is a \")\" too many");
	*translated = t.out;
	*problem = t.problem;
	return t.count;
}

/* ---- what is there to refer to, and who does ---- */

/* Steps over the next character, and over escapes and classes as one. */
static void
skip(Translator *t)
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
find_groups(Translator *t)
{
	t->groups = palloc0(sizeof(Group) * (t->end / 2 + 1));
	for (t->at = 0; t->at < t->end; skip(t))
	{
		int			start = t->at;

		if (!accept(t, "("))
			continue;
		if (accept(t, "?<") && !next_is(t, "=") && !next_is(t, "!"))
			t->groups[t->ngroups++].name = read_name(t, '>');
		else if (!next_is(t, "?") && t->at == start + 1)
			t->ngroups++;
		t->at = start;
	}
}

static void
find_references(Translator *t)
{
	for (t->at = 0; t->at < t->end && t->problem == NULL; skip(t))
	{
		int			start = t->at;
		int			number = 0;

		if (accept(t, "\\k"))
			number = named_group(t);
		else if (accept(t, "\\") && t->at < t->end && t->in[t->at] >= '1' && t->in[t->at] <= '9')
			(void) read_count(t, &number);
		if (number > t->ngroups)
			fail(t, psprintf("there is no group %d", number));
		else if (number > 0)
			t->groups[number - 1].is_referenced = true;
		t->at = start;
	}
}

/* ---- the grammar ---- */

static void
disjunction(Translator *t)
{
	check_stack_depth();
	while (t->at < t->end && t->in[t->at] != ')' && t->problem == NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (accept(t, "|"))
			emit(t, '|');
		else
			term(t);
	}
}

static void
term(Translator *t)
{
	int			start = t->count;
	int			nnumbered = t->nnumbered;
	bool		is_atom = true;
	EsClass		dot = {0};
	int			min;
	int			max;

	switch (t->in[t->at])
	{
		case '^':
		case '$':
			emit(t, t->in[t->at++]);
			is_atom = false;
			break;
		case '(':
			if (accept(t, "(?=") || accept(t, "(?!"))
				lookaround(t, t->in[t->at - 1] == '=' ? "(?=" : "(?!", 3);
			else if (accept(t, "(?<=") || accept(t, "(?<!"))
				lookaround(t, t->in[t->at - 1] == '=' ? "(?<=" : "(?<!", 4);
			else
			{
				group(t);
				break;
			}
			is_atom = false;
			break;
		case '.':
			t->at++;
			es_class_add_escape(&dot, '.');
			emit_class(t, &dot);
			break;
		case '[':
			class(t);
			break;
		case '\\':
			is_atom = escape(t);
			break;
		case '*':
		case '+':
		case '?':
			fail(t, "there is nothing to repeat");
			break;
		case '{':
			if (read_bounds(t, &min, &max))
				fail(t, "there is nothing to repeat");
			else
				emit_member(t, t->in[t->at++]);
			break;
		default:
			emit_member(t, t->in[t->at++]);
			break;
	}
	quantifier(t, start, nnumbered, is_atom);
}

static void
group(Translator *t)
{
	Group	   *mine = NULL;

	if (!accept(t, "(?:"))
	{
		t->at++;
		mine = &t->groups[t->nopened];
		if (accept(t, "?"))
		{
			if (!accept(t, "<"))
			{
				fail(t, "what stands behind \"(?\" is not known");
				return;
			}
			if (read_name(t, '>') == NULL)
			{
				fail(t, "a group has no name");
				return;
			}
		}
		t->nopened++;
	}
	if (mine != NULL && mine->is_referenced && t->nlookarounds > 0)
		fail(t, "a reference to a group inside a lookaround is not supported");
	if (mine != NULL && mine->is_referenced)
		mine->number = ++t->nnumbered;
	emit_text(t, mine != NULL && mine->is_referenced ? "(" : "(?:");
	disjunction(t);
	if (!accept(t, ")"))
		fail(t, "there is a \"(\" too many");
	emit(t, ')');
	if (mine != NULL)
		mine->is_closed = true;
}

static void
lookaround(Translator *t, const char *opening, int length)
{
	emit_text(t, opening);
	t->nlookarounds++;
	disjunction(t);
	t->nlookarounds--;
	if (!accept(t, ")"))
		fail(t, "there is a \"(\" too many");
	emit(t, ')');
}

/* False if it is nothing that can be repeated. */
static bool
escape(Translator *t)
{
	EsClass		set = {0};
	int			number;
	pg_wchar	point;

	t->at++;
	if (t->at == t->end)
	{
		fail(t, "nothing stands behind the last \"\\\"");
		return true;
	}
	if (accept(t, "b"))
	{
		emit_text(t, "(?:(?<![0-9A-Z_a-z])(?=[0-9A-Z_a-z])|(?<=[0-9A-Z_a-z])(?![0-9A-Z_a-z]))");
		return false;
	}
	if (accept(t, "B"))
	{
		emit_text(t, "(?:(?<![0-9A-Z_a-z])(?![0-9A-Z_a-z])|(?<=[0-9A-Z_a-z])(?=[0-9A-Z_a-z]))");
		return false;
	}
	if (accept(t, "k"))
		reference(t, named_group(t));
	else if (t->in[t->at] >= '1' && t->in[t->at] <= '9')
	{
		(void) read_count(t, &number);
		reference(t, number);
	}
	else if (class_escape(t, &set))
		emit_class(t, &set);
	else if (character_escape(t, &point))
		emit_member(t, point);
	return true;
}

static void
reference(Translator *t, int number)
{
	const Group *group = number > 0 && number <= t->ngroups ? &t->groups[number - 1] : NULL;

	if (group == NULL)
		fail(t, "there is no group of this name");
	else if (t->nlookarounds > 0)
		fail(t, "a reference to a group inside a lookaround is not supported");
	else if (group->is_closed)
		emit_text(t, psprintf("(?:\\%d)", group->number));
	else						/* it cannot have captured anything yet */
		emit_text(t, "(?:)");
}

/* Number of the group that <name> names; 0 if there is none. */
static int
named_group(Translator *t)
{
	char	   *name = accept(t, "<") ? read_name(t, '>') : NULL;

	for (int i = 0; i < t->ngroups && name != NULL; i++)
	{
		if (t->groups[i].name != NULL && strcmp(t->groups[i].name, name) == 0)
			return i + 1;
	}
	fail(t, "there is no group of this name");
	return 0;
}

/* ---- classes and characters ---- */

static void
class(Translator *t)
{
	EsClass		set = {0};
	bool		is_inverted;

	t->at++;
	is_inverted = accept(t, "^");
	while (t->problem == NULL && t->at < t->end && t->in[t->at] != ']')
	{
		pg_wchar	from;
		pg_wchar	to;
		bool		is_point = class_atom(t, &set, &from);

		if (!is_point)
			continue;
		to = from;
		if (next_is(t, "-") && t->at + 1 < t->end && t->in[t->at + 1] != ']')
		{
			t->at++;
			if (!class_atom(t, &set, &to))
			{
				es_class_add(&set, '-', '-');
				to = from;
			}
		}
		if (to < from)
			fail(t, "a range in a class is upside down");
		else
			es_class_add(&set, from, to);
	}
	if (!accept(t, "]"))
		fail(t, "there is a \"[\" too many");
	if (is_inverted)
		es_class_invert(&set);
	emit_class(t, &set);
}

/* A character of a class; false if it was a set, which has been added. */
static bool
class_atom(Translator *t, EsClass *set, pg_wchar *point)
{
	*point = t->in[t->at++];
	if (*point != '\\')
		return true;
	if (t->at == t->end)
		return false;
	if (class_escape(t, set))
		return false;
	if (accept(t, "b"))
	{
		*point = '\b';
		return true;
	}
	return character_escape(t, point);
}

/* What stands behind a backslash, if that is a set. */
static bool
class_escape(Translator *t, EsClass *set)
{
	pg_wchar	letter = t->in[t->at];

	if (letter >= 128 || letter == 0 || strchr("dDwWsSpP", (int) letter) == NULL)
		return false;
	t->at++;
	if (letter == 'p' || letter == 'P')
		property(t, set, letter == 'P');
	else
		es_class_add_escape(set, (char) letter);
	return true;
}

static void
property(Translator *t, EsClass *set, bool is_inverted)
{
	char	   *name = accept(t, "{") ? read_name(t, '}') : NULL;

	if (name == NULL)
		fail(t, "\\p needs a property in braces");
	else if (!es_class_add_property(set, name, is_inverted))
		fail(t, psprintf("the property \"%s\" is not known: general categories are, Any, ASCII and Assigned",
						 name));
}

/* What stands behind a backslash, if that is one character; false after a problem. */
static bool
character_escape(Translator *t, pg_wchar *point)
{
	static const char letters[] = "fnrtv0";
	static const char meanings[] = "\f\n\r\t\v";
	pg_wchar	c = t->in[t->at++];
	const char *known = c > 0 && c < 128 ? strchr(letters, (int) c) : NULL;

	if (known != NULL)
	{
		*point = (pg_wchar) meanings[known - letters];
		if (c == '0' && t->at < t->end && t->in[t->at] >= '0' && t->in[t->at] <= '9')
			fail(t, "octal escapes are not known");
		return true;
	}
	if (c == 'c' && t->at < t->end && t->in[t->at] < 128 && isalpha((int) t->in[t->at]))
	{
		*point = t->in[t->at++] % 32;
		return true;
	}
	if (c == 'x' && hex_digits(t, 2, point))
		return true;
	if (c == 'u' && (accept(t, "{") ? braced_hex(t, point) : hex_digits(t, 4, point)))
		return true;
	if (c < 128 && isalnum((int) c))
	{
		fail(t, psprintf("the escape \"\\%c\" is not known", (int) c));
		return false;
	}
	*point = c;
	return true;
}

/* So many of them; two surrogates written one after the other are one character. */
static bool
hex_digits(Translator *t, int count, pg_wchar *point)
{
	pg_wchar	value = 0;
	pg_wchar	second;
	int			start = t->at;

	if (t->at + count > t->end)
		return false;
	for (int i = 0; i < count; i++)
	{
		pg_wchar	c = t->in[t->at + i];

		if (c >= 128 || !isxdigit((int) c))
			return false;
		value = value * 16 + (isdigit((int) c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	t->at += count;
	*point = value;
	if (count == 4 && value >= 0xD800 && value <= 0xDBFF && accept(t, "\\u"))
	{
		if (hex_digits(t, 4, &second) && second >= 0xDC00 && second <= 0xDFFF)
			*point = 0x10000 + ((value - 0xD800) << 10) + (second - 0xDC00);
		else
			t->at = start + count;
	}
	return true;
}

/* Behind a brace, up to the closing one. */
static bool
braced_hex(Translator *t, pg_wchar *point)
{
	pg_wchar	value = 0;
	int			start = t->at;

	while (t->at < t->end && t->in[t->at] < 128 && isxdigit((int) t->in[t->at]) && value <= ES_CODE_POINT_MAX)
	{
		pg_wchar	c = t->in[t->at++];

		value = value * 16 + (isdigit((int) c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	*point = value;
	return t->at > start && value <= ES_CODE_POINT_MAX && accept(t, "}");
}

/* ---- repetition ---- */

/* What may stand behind a term that begins at start. */
static void
quantifier(Translator *t, int start, int nnumbered, bool is_allowed)
{
	pg_wchar	sign = t->at < t->end ? t->in[t->at] : 0;
	int			min = 0;
	int			max = -1;
	bool		is_simple = sign == '*' || sign == '+' || sign == '?';
	pg_wchar   *atom;
	int			size = t->count - start;

	if (t->problem != NULL || (!is_simple && (sign != '{' || !read_bounds(t, &min, &max))))
		return;
	if (is_simple)
		t->at++;
	(void) accept(t, "?");
	if (t->problem != NULL)
		return;
	if (!is_allowed)
		fail(t, "what is repeated is no character");
	else if (is_simple)
		emit(t, sign);
	else if (max >= 0 && max < min)
		fail(t, "a repetition is upside down");
	else
	{
		if (t->nnumbered > nnumbered && Max(min, max) > MAX_REPEAT)
		{
			fail(t, psprintf("a group that is referred to cannot be repeated more than %d times", MAX_REPEAT));
			return;
		}
		atom = palloc(sizeof(pg_wchar) * Max(size, 1));
		memcpy(atom, t->out + start, sizeof(pg_wchar) * size);
		t->count = start;
		repeat(t, atom, size, min, max);
		pfree(atom);
	}
}

/* {n} {n,} {n,m}; goes nowhere if it is none. */
static bool
read_bounds(Translator *t, int *min, int *max)
{
	int			start = t->at;

	if (accept(t, "{") && read_count(t, min))
	{
		*max = *min;
		if (accept(t, ","))
		{
			*max = -1;
			(void) read_count(t, max);
		}
		if (accept(t, "}"))
			return true;
	}
	t->at = start;
	return false;
}

/* Large ones are all the same. */
static bool
read_count(Translator *t, int *count)
{
	int			start = t->at;
	int			value = 0;

	for (; t->at < t->end && t->in[t->at] >= '0' && t->in[t->at] <= '9'; t->at++)
		value = Min(value * 10 + (int) (t->in[t->at] - '0'), 10000000);
	if (t->at > start)
		*count = value;
	return t->at > start;
}

/* An atom, from min to max times; a negative max is none. */
static void
repeat(Translator *t, const pg_wchar *atom, int size, int min, int max)
{
	int			more = max - min;

	if (Max(min, max) <= MAX_REPEAT)
	{
		emit_copy(t, atom, size);
		emit_text(t, max < 0 ? psprintf("{%d,}", min) : psprintf("{%d,%d}", min, max));
		return;
	}
	if (Max(min, max) > MAX_REPEAT * MAX_REPEAT)
	{
		fail(t, psprintf("a repetition has more than %d times", MAX_REPEAT * MAX_REPEAT));
		return;
	}

	/* What comes instead is one term, too. */
	emit_text(t, "(?:");
	if (min > MAX_REPEAT)
	{
		emit_text(t, "(?:");
		emit_copy(t, atom, size);
		emit_text(t, psprintf("{%d}){%d}", MAX_REPEAT, min / MAX_REPEAT));
		min %= MAX_REPEAT;
	}
	emit_copy(t, atom, size);
	emit_text(t, psprintf("{%d}", min));
	if (more > MAX_REPEAT)
	{
		emit_text(t, "(?:");
		emit_copy(t, atom, size);
		emit_text(t, psprintf("{0,%d}){0,%d}", MAX_REPEAT, more / MAX_REPEAT));
	}
	emit_copy(t, atom, size);
	emit_text(t, max < 0 ? "*" : psprintf("{0,%d}", more % MAX_REPEAT));
	emit(t, ')');
}

/* ---- writing ---- */

static void
emit_class(Translator *t, EsClass *set)
{
	EsClass		inverse;
	bool		is_inverted;

	/* No string has a \0. */
	es_class_sort(set);
	if (set->count > 0 && set->range[0].to == 0)
	{
		set->range++;
		set->count--;
	}
	else if (set->count > 0 && set->range[0].from == 0)
		set->range[0].from = 1;
	if (set->count == 0)
	{
		emit(t, NO_CHARACTER);
		return;
	}
	inverse.count = set->count;
	inverse.room = set->room;
	inverse.range = set->range;
	es_class_invert(&inverse);
	inverse.range++;			/* the \0 */
	if (--inverse.count == 0)
	{
		emit(t, '.');
		return;
	}
	is_inverted = inverse.count < set->count;
	emit_text(t, is_inverted ? "[^" : "[");
	if (is_inverted)
		set = &inverse;
	for (int i = 0; i < set->count; i++)
	{
		emit_member(t, set->range[i].from);
		if (set->range[i].to > set->range[i].from)
		{
			emit(t, '-');
			emit_member(t, set->range[i].to);
		}
	}
	emit(t, ']');
}

/* A character that stands for itself, in a class or outside. */
static void
emit_member(Translator *t, pg_wchar point)
{
	if (point < 128 && ispunct((int) point) && point != '_')
		emit(t, '\\');
	emit(t, point == 0 ? NO_CHARACTER : point);
}

static void
emit(Translator *t, pg_wchar point)
{
	emit_copy(t, &point, 1);
}

static void
emit_text(Translator *t, const char *text)
{
	while (*text != '\0')
		emit(t, (unsigned char) *text++);
}

static void
emit_copy(Translator *t, const pg_wchar *points, int count)
{
	while (t->count + count > t->room)
	{
		t->room *= 2;
		t->out = repalloc_huge(t->out, t->room * sizeof(pg_wchar));
	}
	memcpy(t->out + t->count, points, count * sizeof(pg_wchar));
	t->count += count;
}

/* ---- reading ---- */

static bool
next_is(const Translator *t, const char *text)
{
	for (int i = 0; text[i] != '\0'; i++)
	{
		if (t->at + i >= t->end || t->in[t->at + i] != (unsigned char) text[i])
			return false;
	}
	return true;
}

static bool
accept(Translator *t, const char *text)
{
	if (!next_is(t, text))
		return false;
	t->at += strlen(text);
	return true;
}

/* Up to that sign, and over it; NULL if it is none of letters, digits and a few signs. */
static char *
read_name(Translator *t, char end)
{
	char		name[64];
	int			length = 0;

	while (t->at < t->end && length < (int) sizeof(name) - 1 && t->in[t->at] < 128 &&
		   (isalnum((int) t->in[t->at]) || t->in[t->at] == '_' || t->in[t->at] == '$' || t->in[t->at] == '='))
		name[length++] = (char) t->in[t->at++];
	name[length] = '\0';
	if (length == 0 || t->at == t->end || t->in[t->at] != (unsigned char) end)
		return NULL;
	t->at++;
	return pstrdup(name);
}

/* The first problem is the one to tell. */
static void
fail(Translator *t, const char *problem)
{
	if (t->problem == NULL)
		t->problem = pstrdup(problem);
}
