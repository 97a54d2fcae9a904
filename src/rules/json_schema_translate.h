/*
 * json_schema_translate.h
 *		Regular expressions of ECMA-262 in the words of PostgreSQL's engine.  Beyond
 *		its first function this is for json_schema_translate*.c alone.
 */
#ifndef ES_RULES_JSON_SCHEMA_TRANSLATE_H
#define ES_RULES_JSON_SCHEMA_TRANSLATE_H

#include "mb/pg_wchar.h"
#include "rules/json_schema_class.h"

/*
 * Translates code points; the result has as many as are returned, in the current
 * memory context.  *problem is set if it cannot.
 */
extern int	es_pattern_translate(const pg_wchar *pattern, int length, pg_wchar **translated, char **problem);

/* A group that captures. */
typedef struct EsGroup
{
	char	   *name;			/* or NULL */
	bool		is_referenced;
	bool		is_closed;
	int			number;			/* in the translation; 0: not there */
} EsGroup;

typedef struct EsTranslator
{
	const pg_wchar *in;
	int			at;
	int			end;
	pg_wchar   *out;
	int			count;
	int			room;
	EsGroup    *groups;
	int			ngroups;
	int			nopened;		/* of them */
	int			nnumbered;
	int			nlookarounds;	/* around the place */
	double		cost;			/* of what was written, for the engine */
	char	   *problem;		/* the first one */
} EsTranslator;

/* ---- reading ---- */

/* Is that next?  And if so, go behind it. */
extern bool es_translate_next_is(const EsTranslator *t, const char *text);
extern bool es_translate_accept(EsTranslator *t, const char *text);

/* A number; large ones are all the same. */
extern bool es_translate_count(EsTranslator *t, int *count);

/* Up to that sign, and over it; NULL if it is none of letters, digits and a few signs. */
extern char *es_translate_name(EsTranslator *t, char end);

/* What stands behind a backslash: a set, or one character; false if it is none (after a problem). */
extern bool es_translate_class_escape(EsTranslator *t, EsClass *set);
extern bool es_translate_character_escape(EsTranslator *t, pg_wchar *point);

/* A class in brackets. */
extern void es_translate_class(EsTranslator *t);

extern void es_translate_fail(EsTranslator *t, const char *problem);

/* ---- writing ---- */

extern void es_translate_emit(EsTranslator *t, const pg_wchar *points, int count);
extern void es_translate_emit_text(EsTranslator *t, const char *text);
extern void es_translate_emit_class(EsTranslator *t, EsClass *set);

/* A character that stands for itself. */
extern void es_translate_emit_literal(EsTranslator *t, pg_wchar point);

#endif							/* ES_RULES_JSON_SCHEMA_TRANSLATE_H */
