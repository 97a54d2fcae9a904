/*
 * machine_json.h
 *		Reading a definition in jsonb by tables of keys.  For machine_json.c,
 *		machine_parse.c and machine_edge.c alone.
 */
#ifndef ES_RULES_MACHINE_JSON_H
#define ES_RULES_MACHINE_JSON_H

#include "rules/machine_table.h"
#include "log/json.h"

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

/*
 * Hands the values of an object to the functions of their keys, in the order
 * of the rules, with target.  Other keys are problems.
 */
extern void es_machine_read_object(EsReader *reader, const char *path, JsonbValue *value,
								   const EsKeyRule *rules, void *target);

/* False after noting a problem. */
extern bool es_machine_expect_object(EsReader *reader, const char *path, JsonbValue *value);
extern bool es_machine_expect_string(EsReader *reader, const char *path, JsonbValue *value);
extern bool es_machine_expect_name(EsReader *reader, const char *path, JsonbValue *value);

/* Number of the state that value names; ES_STATE_UNKNOWN after noting a problem. */
extern int	es_machine_read_state(EsReader *reader, const char *path, JsonbValue *value);

/* Rules: keep the string in the char * that target points to, or only check it. */
extern void es_machine_keep_string(EsReader *reader, const char *path, JsonbValue *value, void *target);
extern void es_machine_check_string(EsReader *reader, const char *path, JsonbValue *value, void *target);

/* machine_edge.c: the candidates of one type; NULL if none could be read. */
extern EsEdge *es_machine_read_edges(EsReader *reader, const char *path, const char *type,
									 JsonbValue *value);

/* Rule: an edge's guards; and the names of those that have none, after a type. */
extern void es_machine_read_guard(EsReader *reader, const char *path, JsonbValue *value, void *target);
extern void es_machine_name_guards(EsEdge *edge, const char *type);

/* machine_after.c.  Rule: the timeouts of the state whose number target points to. */
extern void es_machine_read_after(EsReader *reader, const char *path, JsonbValue *value, void *target);

#endif							/* ES_RULES_MACHINE_JSON_H */
