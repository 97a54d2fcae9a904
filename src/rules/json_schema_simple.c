/*
 * json_schema_simple.c
 *		Regular expressions like ^[A-Z]{2}-[0-9]+$, which need no engine: from the
 *		string's beginning, one ASCII character or class of such after the other, each
 *		so and so often, to the string's end or anywhere.
 *
 * A part whose number is not fixed shares no character with what may follow it.
 * So it takes as many as it can, and nothing is ever tried again.  Whatever else
 * there is in ECMA-262, or is only doubtful, is left to the engine, which says the
 * same of these (test/sql/json_schema_patterns.sql compares).
 */
#include "postgres.h"

#include <limits.h>

#include "rules/json_schema_simple.h"

#define MAX_PARTS	64
#define MAX_REPEAT	255

/* Characters from which one is taken, so many times. */
typedef struct Part
{
	uint64		ascii[2];		/* bits */
	bool		others;			/* all that are not ASCII */
	int			min;
	int			max;
} Part;

struct EsSimple
{
	bool		to_end;
	int			nparts;
	Part		part[FLEXIBLE_ARRAY_MEMBER];
};

typedef struct Reader
{
	const pg_wchar *at;
	const pg_wchar *end;
} Reader;

static bool read_part(Reader *reader, Part *part);
static bool read_class(Reader *reader, Part *part);
static bool read_member(Reader *reader, Part *part, int *single);
static bool read_escape(Reader *reader, Part *part, int *single);
static bool read_quantifier(Reader *reader, Part *part);
static bool read_bounds(Reader *reader, Part *part);
static bool read_number(Reader *reader, int *number);
static bool accept(Reader *reader, char c);
static bool is_one_of(pg_wchar c, const char *list);
static void add(Part *part, int from, int to);
static bool is_greedy(const Part *part, int nparts);

EsSimple *
es_simple_compile(const pg_wchar *pattern, int length)
{
	Reader		reader = {.at = pattern,.end = pattern + length};
	Part		part[MAX_PARTS];
	int			nparts = 0;
	bool		to_end = false;
	EsSimple   *simple;

	if (!accept(&reader, '^'))
		return NULL;
	while (reader.at < reader.end && !to_end)
	{
		if (accept(&reader, '$'))
			to_end = true;
		else if (nparts == MAX_PARTS || !read_part(&reader, &part[nparts++]))
			return NULL;
	}
	if (reader.at < reader.end || !is_greedy(part, nparts))
		return NULL;
	simple = palloc(offsetof(EsSimple, part) + nparts * sizeof(Part));
	simple->to_end = to_end;
	simple->nparts = nparts;
	memcpy(simple->part, part, nparts * sizeof(Part));
	return simple;
}

/* ---- reading: false as soon as it is not plainly simple ---- */

static bool
read_part(Reader *reader, Part *part)
{
	int			single;

	memset(part, 0, sizeof(Part));
	if (accept(reader, '['))
	{
		if (!read_class(reader, part))
			return false;
	}
	else if (accept(reader, '\\'))
	{
		if (!read_escape(reader, part, &single))
			return false;
	}
	else if (is_one_of(*reader->at, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					   " -_/:@#%&=,;!~'\"<>`"))
	{
		add(part, *reader->at, *reader->at);
		reader->at++;
	}
	else
		return false;
	return read_quantifier(reader, part);
}

/* What stands in brackets; the first is behind us. */
static bool
read_class(Reader *reader, Part *part)
{
	bool		is_inverted = accept(reader, '^');

	do
	{
		int			from;
		int			to;

		if (!read_member(reader, part, &from))
			return false;
		if (reader->at + 1 < reader->end && reader->at[0] == '-' && reader->at[1] != ']')
		{
			reader->at++;
			if (from < 0 || !read_member(reader, part, &to) || to < from)
				return false;
			add(part, from, to);
		}
	} while (!accept(reader, ']'));
	if (is_inverted)
	{
		part->ascii[0] = ~part->ascii[0];
		part->ascii[1] = ~part->ascii[1];
		part->others = true;
	}
	return true;
}

/* One of a class; *single is the character if it is one, else -1. */
static bool
read_member(Reader *reader, Part *part, int *single)
{
	if (accept(reader, '\\'))
		return read_escape(reader, part, single);
	if (reader->at == reader->end || *reader->at < ' ' || *reader->at >= 0x7F || is_one_of(*reader->at, "[]^"))
		return false;
	*single = *reader->at++;
	add(part, *single, *single);
	return true;
}

static bool
read_escape(Reader *reader, Part *part, int *single)
{
	pg_wchar	c = reader->at < reader->end ? *reader->at++ : 0;

	*single = -1;
	if (c == 'd' || c == 'w')
		add(part, '0', '9');
	if (c == 'w')
	{
		add(part, 'A', 'Z');
		add(part, 'a', 'z');
		add(part, '_', '_');
	}
	if (c == 'd' || c == 'w')
		return true;
	if (!is_one_of(c, "^$\\.*+?()[]{}|/-"))
		return false;
	*single = c;
	add(part, c, c);
	return true;
}

static bool
read_quantifier(Reader *reader, Part *part)
{
	part->min = part->max = 1;
	if (accept(reader, '*'))
	{
		part->min = 0;
		part->max = INT_MAX;
	}
	else if (accept(reader, '+'))
		part->max = INT_MAX;
	else if (accept(reader, '?'))
		part->min = 0;
	else if (accept(reader, '{') && !read_bounds(reader, part))
		return false;
	return true;
}

static bool
read_bounds(Reader *reader, Part *part)
{
	if (!read_number(reader, &part->min))
		return false;
	part->max = part->min;
	if (accept(reader, ','))
	{
		part->max = INT_MAX;
		if (reader->at < reader->end && *reader->at != '}' && !read_number(reader, &part->max))
			return false;
	}
	return accept(reader, '}') && part->min <= part->max;
}

static bool
read_number(Reader *reader, int *number)
{
	const pg_wchar *start = reader->at;

	*number = 0;
	for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++)
	{
		*number = *number * 10 + (int) (*reader->at - '0');
		if (*number > MAX_REPEAT)
			return false;
	}
	return reader->at > start;
}

static bool
accept(Reader *reader, char c)
{
	if (reader->at == reader->end || *reader->at != (pg_wchar) c)
		return false;
	reader->at++;
	return true;
}

static bool
is_one_of(pg_wchar c, const char *list)
{
	return c > 0 && c < 0x80 && strchr(list, (int) c) != NULL;
}

static void
add(Part *part, int from, int to)
{
	for (int c = from; c <= to; c++)
		part->ascii[c / 64] |= UINT64CONST(1) << (c % 64);
}

/* Can no part whose number is open take what one that follows it needs? */
static bool
is_greedy(const Part *part, int nparts)
{
	for (int i = 0; i < nparts; i++)
	{
		bool		may_be_next = part[i].min < part[i].max;

		for (int j = i + 1; j < nparts && may_be_next; j++)
		{
			if ((part[i].ascii[0] & part[j].ascii[0]) != 0 || (part[i].ascii[1] & part[j].ascii[1]) != 0 ||
				(part[i].others && part[j].others))
				return false;
			may_be_next = part[j].min == 0;
		}
	}
	return true;
}

/* ---- matching ---- */

static bool
is_ascii(const unsigned char *bytes, int length)
{
	for (int i = 0; i < length; i++)
		if (bytes[i] >= 0x80)
			return false;
	return true;
}

/* Steps over one character if the part takes it. */
static inline bool
take(const Part *part, const unsigned char **at, const unsigned char *end, bool is_utf8)
{
	unsigned char c = **at;

	if (c < 0x80 ? (part->ascii[c / 64] >> (c % 64) & 1) == 0 : !part->others)
		return false;
	(*at)++;
	if (c >= 0x80 && is_utf8)
		while (*at < end && (**at & 0xC0) == 0x80)
			(*at)++;
	return true;
}

/*
 * Characters are code points in UTF-8, and bytes where there is no encoding; what
 * they are in others takes a conversion, unless they are ASCII.
 */
bool
es_simple_matches(const EsSimple *simple, const char *bytes, int length, bool *is_known)
{
	const unsigned char *at = (const unsigned char *) bytes;
	const unsigned char *end = at + length;
	bool		is_utf8 = GetDatabaseEncoding() == PG_UTF8;

	*is_known = is_utf8 || GetDatabaseEncoding() == PG_SQL_ASCII || is_ascii(at, length);
	if (!*is_known)
		return false;
	for (int i = 0; i < simple->nparts; i++)
	{
		const Part *part = &simple->part[i];
		int			n = 0;

		while (n < part->max && at < end && take(part, &at, end, is_utf8))
			n++;
		if (n < part->min)
			return false;
	}
	return !simple->to_end || at == end;
}
