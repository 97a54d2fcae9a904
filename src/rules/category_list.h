/*
 * category_list.h
 *		Categories that a definition names: an argument of type text[], and the
 *		member "category" of what is defined.
 */
#ifndef ES_RULES_CATEGORY_LIST_H
#define ES_RULES_CATEGORY_LIST_H

#include "eventsource.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

/* What is wrong with the name of a category; NULL if nothing is. */
extern char *es_category_name_problem(const char *name, int length);

/* What is wrong with the argument, as lines; NIL if nothing is. */
extern List *es_category_list_check(ArrayType *category);

/* The member of the definition that is being built. */
extern void es_category_list_push(JsonbParseState **state, ArrayType *category);

/* The names in a definition, List of char *, palloc'd; NIL if it names none. */
extern List *es_category_list_read(Jsonb *definition);

#endif							/* ES_RULES_CATEGORY_LIST_H */
