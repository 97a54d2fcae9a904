/*
 * json_schema_translate_char.c
 *		The alphabet of the translation of regular expressions: classes, escapes of
 *		characters, reading and writing.
 */
#include "postgres.h"

#include "rules/json_schema_translate.h"

/* Stands for characters that no string has: it is none. */
#define NO_CHARACTER	0xD800

static bool class_atom(EsTranslator *t, EsClass *set, pg_wchar *point);
static void property(EsTranslator *t, EsClass *set, bool is_inverted);
static bool hex_digits(EsTranslator *t, int count, pg_wchar *point);
static bool braced_hex(EsTranslator *t, pg_wchar *point);
static void emit(EsTranslator *t, pg_wchar point);

/* ---- classes and characters ---- */

void
es_translate_class(EsTranslator *t)
{
	EsClass		set = {0};
	bool		is_inverted;

	t->at++;
	is_inverted = es_translate_accept(t, "^");
	while (t->problem == NULL && t->at < t->end && t->in[t->at] != ']')
	{
		pg_wchar	from;
		pg_wchar	to;
		bool		is_point = class_atom(t, &set, &from);

		if (!is_point)
			continue;
		to = from;
		if (es_translate_next_is(t, "-") && t->at + 1 < t->end && t->in[t->at + 1] != ']')
		{
			t->at++;
			if (!class_atom(t, &set, &to))
			{
				es_class_add(&set, '-', '-');
				to = from;
			}
		}
		if (to < from)
			es_translate_fail(t, "a range in a class is upside down");
		else
			es_class_add(&set, from, to);
	}
	if (!es_translate_accept(t, "]"))
		es_translate_fail(t, "there is a \"[\" too many");
	if (is_inverted)
		es_class_invert(&set);
	es_translate_emit_class(t, &set);
}

/* A character of a class; false if it was a set, which has been added. */
static bool
class_atom(EsTranslator *t, EsClass *set, pg_wchar *point)
{
	*point = t->in[t->at++];
	if (*point != '\\')
		return true;
	if (t->at == t->end)
		return false;
	if (es_translate_class_escape(t, set))
		return false;
	if (es_translate_accept(t, "b"))
	{
		*point = '\b';
		return true;
	}
	return es_translate_character_escape(t, point);
}

/* What stands behind a backslash, if that is a set. */
bool
es_translate_class_escape(EsTranslator *t, EsClass *set)
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
property(EsTranslator *t, EsClass *set, bool is_inverted)
{
	char	   *name = es_translate_accept(t, "{") ? es_translate_name(t, '}') : NULL;

	if (name == NULL)
		es_translate_fail(t, "\\p needs a property in braces");
	else if (!es_class_add_property(set, name, is_inverted))
		es_translate_fail(t, psprintf("the property \"%s\" is not known: general categories are, Any, ASCII and Assigned",
									  name));
}

/* What stands behind a backslash, if that is one character; false after a problem. */
bool
es_translate_character_escape(EsTranslator *t, pg_wchar *point)
{
	static const char letters[] = "fnrtv0";
	static const char meanings[] = "\f\n\r\t\v";
	pg_wchar	c = t->in[t->at++];
	const char *known = c > 0 && c < 128 ? strchr(letters, (int) c) : NULL;

	if (known != NULL)
	{
		*point = (pg_wchar) meanings[known - letters];
		if (c == '0' && t->at < t->end && t->in[t->at] >= '0' && t->in[t->at] <= '9')
			es_translate_fail(t, "octal escapes are not known");
		return true;
	}
	if (c == 'c' && t->at < t->end && t->in[t->at] < 128 && isalpha((int) t->in[t->at]))
	{
		*point = t->in[t->at++] % 32;
		return true;
	}
	if (c == 'x' && hex_digits(t, 2, point))
		return true;
	if (c == 'u' && (es_translate_accept(t, "{") ? braced_hex(t, point) : hex_digits(t, 4, point)))
		return true;
	if (c < 128 && isalnum((int) c))
	{
		es_translate_fail(t, psprintf("the escape \"\\%c\" is not known", (int) c));
		return false;
	}
	*point = c;
	return true;
}

/* So many of them; two surrogates written one after the other are one character. */
static bool
hex_digits(EsTranslator *t, int count, pg_wchar *point)
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
	if (count == 4 && value >= 0xD800 && value <= 0xDBFF && es_translate_accept(t, "\\u"))
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
braced_hex(EsTranslator *t, pg_wchar *point)
{
	pg_wchar	value = 0;
	int			start = t->at;

	while (t->at < t->end && t->in[t->at] < 128 && isxdigit((int) t->in[t->at]) && value <= ES_CODE_POINT_MAX)
	{
		pg_wchar	c = t->in[t->at++];

		value = value * 16 + (isdigit((int) c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	*point = value;
	return t->at > start && value <= ES_CODE_POINT_MAX && es_translate_accept(t, "}");
}

/* Large ones are all the same. */
bool
es_translate_count(EsTranslator *t, int *count)
{
	int			start = t->at;
	int			value = 0;

	for (; t->at < t->end && t->in[t->at] >= '0' && t->in[t->at] <= '9'; t->at++)
		value = Min(value * 10 + (int) (t->in[t->at] - '0'), 10000000);
	if (t->at > start)
		*count = value;
	return t->at > start;
}

/* ---- writing ---- */

void
es_translate_emit_class(EsTranslator *t, EsClass *set)
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
	es_translate_emit_text(t, is_inverted ? "[^" : "[");
	if (is_inverted)
		set = &inverse;
	for (int i = 0; i < set->count; i++)
	{
		es_translate_emit_literal(t, set->range[i].from);
		if (set->range[i].to > set->range[i].from)
		{
			emit(t, '-');
			es_translate_emit_literal(t, set->range[i].to);
		}
	}
	emit(t, ']');
}

/* A character that stands for itself, in a class or outside. */
void
es_translate_emit_literal(EsTranslator *t, pg_wchar point)
{
	if (point < 128 && ispunct((int) point) && point != '_')
		emit(t, '\\');
	emit(t, point == 0 ? NO_CHARACTER : point);
}

void
es_translate_emit_text(EsTranslator *t, const char *text)
{
	while (*text !='\0')
		emit(t, (unsigned char) *text ++);
}

void
es_translate_emit(EsTranslator *t, const pg_wchar *points, int count)
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

bool
es_translate_next_is(const EsTranslator *t, const char *text)
{
	for (int i = 0; text[i] != '\0'; i++)
	{
		if (t->at + i >= t->end || t->in[t->at + i] != (unsigned char) text[i])
			return false;
	}
	return true;
}

bool
es_translate_accept(EsTranslator *t, const char *text)
{
	if (!es_translate_next_is(t, text))
		return false;
	t->at += strlen(text);
	return true;
}

/* Up to that sign, and over it; NULL if it is none of letters, digits and a few signs. */
char *
es_translate_name(EsTranslator *t, char end)
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
void
es_translate_fail(EsTranslator *t, const char *problem)
{
	if (t->problem == NULL)
		t->problem = pstrdup(problem);
}

static void
emit(EsTranslator *t, pg_wchar point)
{
	es_translate_emit(t, &point, 1);
}
