/*
 * json_schema.h
 *		JSON Schema (draft 2020-12 and draft-07) over jsonb: a schema is compiled
 *		once into a program, which is then walked over values.
 *
 * There is no network: a schema that refers to another one must contain it (under
 * $defs, with its $id); the drafts' own schemas are built in.
 */
#ifndef ES_RULES_JSON_SCHEMA_H
#define ES_RULES_JSON_SCHEMA_H

#include "eventsource.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef struct EsSchema EsSchema;

/* What an instance fails by. */
typedef struct EsSchemaError
{
	char	   *path;			/* JSON pointer into the instance, cut short
								 * where it is very long; "" is all of it */
	const char *keyword;
	char	   *message;		/* what is expected, and no value of the
								 * instance */
} EsSchemaError;

/* An instance's failures beyond these are not looked for. */
#define ES_SCHEMA_MAX_ERRORS	100

/*
 * The program of a schema, in a context of its own below the current one; or NULL,
 * and problems receives what is wrong with the schema: char *, in the current
 * context.  assert_formats: does "format" ask for something, or only describe?
 * The program keeps to that, whatever settings say later.  Errors: cancelled, out
 * of memory, nested too deeply.
 */
extern EsSchema *es_schema_compile(Jsonb *schema, bool assert_formats, List **problems);
extern void es_schema_free(EsSchema *schema);

/* Lets a program live as long as that context does. */
extern void es_schema_keep(EsSchema *schema, MemoryContext context);

/* Does the value, as it lies in binary jsonb, match?  Allocates next to nothing, keeps nothing. */
extern bool es_schema_valid(EsSchema *schema, const JsonbValue *value);

/* List of EsSchemaError, in the current context; NIL: it matches. */
extern List *es_schema_errors(EsSchema *schema, const JsonbValue *value);

/* "/items/0/price: must be at least 0 (minimum)" */
extern char *es_schema_error_line(const EsSchemaError *error);

/* Raises ES_ERRCODE_INVALID_DEFINITION that lists the problems of a schema. */
extern void es_schema_raise(List *problems);

/* Setting, for who compiles a schema: are formats asserted, or only annotations? */
extern bool es_guc_assert_formats;

#endif							/* ES_RULES_JSON_SCHEMA_H */
