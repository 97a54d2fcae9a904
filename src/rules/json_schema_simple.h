/*
 * json_schema_simple.h
 *		Regular expressions that need no engine.  For json_schema_pattern.c alone.
 */
#ifndef ES_RULES_JSON_SCHEMA_SIMPLE_H
#define ES_RULES_JSON_SCHEMA_SIMPLE_H

#include "mb/pg_wchar.h"

typedef struct EsSimple EsSimple;

/* NULL if it takes the engine; in the current memory context. */
extern EsSimple *es_simple_compile(const pg_wchar *pattern, int length);

/*
 * Does the string, which is in the server's encoding, match?  False also if that
 * cannot be said here; then *is_known is false.
 */
extern bool es_simple_matches(const EsSimple *simple, const char *bytes, int length, bool *is_known);

#endif							/* ES_RULES_JSON_SCHEMA_SIMPLE_H */
