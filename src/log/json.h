/*
 * json.h
 *		Reading jsonb by its members, and building it member by member.
 */
#ifndef ES_LOG_JSON_H
#define ES_LOG_JSON_H

#include "eventsource.h"
#include "nodes/pg_list.h"

#include "utils/jsonb.h"

typedef struct EsJsonPair
{
	JsonbValue	key;
	JsonbValue	value;
} EsJsonPair;

/* ---- reading ---- */

/*
 * The member of that name: in buffer, or in new memory if that is NULL; NULL if
 * there is none, or the container is no object.
 */
extern JsonbValue *es_json_find(JsonbContainer *container, const char *key, JsonbValue *buffer);

/* The same where it is a string or a number; NULL and false where it is not. */
extern char *es_json_find_string(JsonbContainer *container, const char *key);
extern bool es_json_find_number(JsonbContainer *container, const char *key, int64 *number);

/* All of a jsonb as a value that points into it; SQL's NULL as a JSON null. */
extern void es_json_value(Jsonb *jsonb, JsonbValue *value);

/* Keys and values of an object in jsonb's order, elements of an array; how many there are. */
extern int	es_json_pairs(const JsonbValue *value, EsJsonPair **pairs);
extern int	es_json_elements(const JsonbValue *value, JsonbValue **elements);

extern bool es_json_is_object(const JsonbValue *value);
extern bool es_json_is_array(const JsonbValue *value);

/* What a value is, for a message. */
extern const char *es_json_kind(const JsonbValue *value);

/* A string's bytes, and the same in quotes and not longer than one wants to read. */
extern char *es_json_string(const JsonbValue *value);
extern char *es_json_quote(const JsonbValue *value);
extern char *es_json_quote_bytes(const char *bytes, int length);

/* 0 if it is no number; an error if it is none of 64 bits. */
extern int64 es_json_number(const JsonbValue *value);

/* ---- building ---- */

/* The strings of an array that is a member, List of char *, palloc'd; NIL: there is none. */
extern List *es_json_find_strings(Jsonb *data, const char *key);

/*
 * A member of the object that is being built.  NULL becomes a JSON null.  The
 * strings are not copied until the whole is made a Jsonb.
 */
extern void es_json_push_key(JsonbParseState **state, const char *key);
extern void es_json_push_value(JsonbParseState **state, const char *key, JsonbValue *value);
extern void es_json_push_string(JsonbParseState **state, const char *key, const char *string);
extern void es_json_push_text(JsonbParseState **state, const char *key, const text *string);
extern void es_json_push_number(JsonbParseState **state, const char *key, int64 number);
extern void es_json_push_bool(JsonbParseState **state, const char *key, bool boolean);
extern void es_json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *jsonb);

/* Its members are those of another object, too; NULL has none. */
extern void es_json_push_members(JsonbParseState **state, Jsonb *object);

/* An element of the array that is being built. */
extern void es_json_push_element(JsonbParseState **state, const char *string);

#endif							/* ES_LOG_JSON_H */
