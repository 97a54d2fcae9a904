/*
 * json_schema_translate.h
 *		Regular expressions of ECMA-262 in the words of PostgreSQL's engine.
 */
#ifndef ES_RULES_JSON_SCHEMA_TRANSLATE_H
#define ES_RULES_JSON_SCHEMA_TRANSLATE_H

#include "mb/pg_wchar.h"

/*
 * Translates code points; the result has as many as are returned, in the current
 * memory context.  *problem is set if it cannot.
 */
extern int	es_pattern_translate(const pg_wchar *pattern, int length, pg_wchar **translated, char **problem);

#endif							/* ES_RULES_JSON_SCHEMA_TRANSLATE_H */
