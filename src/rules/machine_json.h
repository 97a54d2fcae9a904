/*
 * machine_json.h
 *		Reading a definition in jsonb by tables of keys.  For machine_json.c,
 *		machine_parse.c and machine_edge.c alone.
 */
#ifndef ES_RULES_MACHINE_JSON_H
#define ES_RULES_MACHINE_JSON_H

#include "rules/machine_table.h"

/* A definition being read. */
typedef struct EsReader
{
	EsMachine  *machine;
	EsProblems *problems;
} EsReader;

/* One key that an object may have, and what reads its value. */
typedef struct EsKeyRule
{
	const char *key;
	void		(*read) (EsReader *reader, const char *path, JsonbValue *value, void *target);
} EsKeyRule;

typedef struct EsJsonPair
{
	JsonbValue	key;
	JsonbValue	value;
} EsJsonPair;

/*
 * Hands the values of an object to the functions of their keys, in the order
 * of the rules, with target.  Other keys are problems.
 */
extern void es_json_read(EsReader *reader, const char *path, JsonbValue *value,
						 const EsKeyRule *rules, void *target);

extern int	es_json_pairs(JsonbValue *value, EsJsonPair **pairs);
extern int	es_json_elements(JsonbValue *value, JsonbValue **elements);
extern bool es_json_is_object(const JsonbValue *value);
extern bool es_json_is_array(const JsonbValue *value);
extern const char *es_json_kind(const JsonbValue *value);

/* A string's bytes, and the same in quotes for a message. */
extern char *es_json_string(const JsonbValue *value);
extern char *es_json_quote(const JsonbValue *value);

/* False after noting a problem. */
extern bool es_json_expect_object(EsReader *reader, const char *path, JsonbValue *value);
extern bool es_json_expect_string(EsReader *reader, const char *path, JsonbValue *value);
extern bool es_json_expect_name(EsReader *reader, const char *path, JsonbValue *value);

/* Number of the state that value names; ES_STATE_UNKNOWN after noting a problem. */
extern int	es_json_state(EsReader *reader, const char *path, JsonbValue *value);

/* Rules: keep the string in the char * that target points to, or only check it. */
extern void es_json_keep_string(EsReader *reader, const char *path, JsonbValue *value, void *target);
extern void es_json_check_string(EsReader *reader, const char *path, JsonbValue *value, void *target);

/* machine_edge.c: the candidates of one type; NULL if none could be read. */
extern EsEdge *es_machine_read_edges(EsReader *reader, const char *path, const char *type,
									 JsonbValue *value);

#endif							/* ES_RULES_MACHINE_JSON_H */
