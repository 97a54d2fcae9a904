/*
 * json_schema_pattern.c
 *		Regular expressions of ECMA-262, run by PostgreSQL's engine: compiled once per
 *		schema, matched against code points whatever the server's encoding is.  The engine
 *		makes its automaton anew at each match, so what is simple goes without.
 *
 * json_schema_translate.c says how one becomes the other.  A compiled expression
 * lies outside of memory contexts before PostgreSQL 16; the callback of its context
 * frees it there.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "rules/json_schema_parts.h"
#include "rules/json_schema_simple.h"
#include "rules/json_schema_translate.h"

/* Strings of so many bytes are decoded on the stack. */
#define SHORT_STRING	256

struct EsPattern
{
	char	   *text;
	EsSimple   *simple;			/* NULL: it takes the engine */
	regex_t		regex;
	MemoryContextCallback callback;
};

static bool run_engine(EsPattern *pattern, const char *bytes, int length);
static int	decode(const char *bytes, int length, pg_wchar *to);
static int	encoding_of_patterns(void);
static void free_regex(void *pattern);

/* In the current memory context. */
EsPattern *
es_pattern_compile(const char *bytes, int length, char **problem)
{
	EsPattern  *pattern = palloc0(sizeof(EsPattern));
	char	   *text = pnstrdup(bytes, length);
	pg_wchar   *points = palloc((length + 1) * sizeof(pg_wchar));
	pg_wchar   *translated;
	int			count = decode(bytes, length, points);
	int			size;
	int			result;

	*problem = NULL;
	size = es_pattern_translate(points, count, &translated, problem);
	pattern->simple = es_simple_compile(points, count);
	pfree(points);
	if (*problem != NULL)
		return NULL;
	result = pg_regcomp(&pattern->regex, translated, size, REG_ADVANCED | REG_NOSUB, C_COLLATION_OID);
	pfree(translated);
	if (result != REG_OKAY)
	{
		char		message[100];

		CHECK_FOR_INTERRUPTS();
		pg_regerror(result, &pattern->regex, message, sizeof(message));
		*problem = pstrdup(message);
		return NULL;
	}
	pattern->text = text;

	pattern->callback.func = free_regex;
	pattern->callback.arg = pattern;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &pattern->callback);
	return pattern;
}

/* Is there a match anywhere in the string? */
bool
es_pattern_matches(EsPattern *pattern, const char *bytes, int length)
{
	bool		is_known = false;
	bool		matches = pattern->simple != NULL &&
		es_simple_matches(pattern->simple, bytes, length, &is_known);

	return is_known ? matches : run_engine(pattern, bytes, length);
}

static bool
run_engine(EsPattern *pattern, const char *bytes, int length)
{
	pg_wchar	room[SHORT_STRING + 1];
	pg_wchar   *points = length <= SHORT_STRING ? room
		: palloc_extended((length + 1) * sizeof(pg_wchar), MCXT_ALLOC_HUGE);
	int			result = pg_regexec(&pattern->regex, points, decode(bytes, length, points), 0,
									NULL, 0, NULL, 0);

	if (points != room)
		pfree(points);
	if (result != REG_OKAY && result != REG_NOMATCH)
	{
		char		message[100];

		CHECK_FOR_INTERRUPTS();
		pg_regerror(result, &pattern->regex, message, sizeof(message));
		ereport(ERROR,
				errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
				errmsg("regular expression failed: %s", message),
				errdetail("Pattern \"%s\" was tried on a string of %d bytes.", pattern->text, length),
				errhint("Use a simpler pattern, or limit the string by maxLength."));
	}
	return result == REG_OKAY;
}

const char *
es_pattern_text(const EsPattern *pattern)
{
	return pattern->text;
}

/* The code points of a string; there are no more than bytes. */
static int
decode(const char *bytes, int length, pg_wchar *to)
{
	char	   *converted;
	int			count;

	if (encoding_of_patterns() == GetDatabaseEncoding())
		return pg_mb2wchar_with_len(bytes, to, length);
	converted = pg_server_to_any(bytes, length, PG_UTF8);
	count = pg_encoding_mb2wchar_with_len(PG_UTF8, converted, to,
										  converted == bytes ? length : (int) strlen(converted));
	if (converted != bytes)
		pfree(converted);
	return count;
}

/* A database without an encoding has bytes for characters. */
static int
encoding_of_patterns(void)
{
	return GetDatabaseEncoding() == PG_SQL_ASCII ? PG_SQL_ASCII : PG_UTF8;
}

static void
free_regex(void *pattern)
{
	pg_regfree(&((EsPattern *) pattern)->regex);
}
