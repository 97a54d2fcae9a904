/*
 * json_schema_compat_parts.h
 *		What is known of a value, and showing that a schema takes it.  For
 *		json_schema_compat*.c alone.
 */
#ifndef ES_RULES_JSON_SCHEMA_COMPAT_PARTS_H
#define ES_RULES_JSON_SCHEMA_COMPAT_PARTS_H

#include "rules/json_schema_compat.h"
#include "rules/json_schema_parts.h"

/* A comparison: of all that one schema takes with what another takes. */
typedef struct EsCompat
{
	bool		is_forward;		/* only for the words of a problem */
	bool		same_formats;	/* both schemas assert formats, or neither
								 * does */
	bool		is_strict;		/* fields that no schema names may be there */
	int			silent;			/* problems are not noted */
	List	   *problems;		/* lines */
	HTAB	   *memo;			/* of what was shown, or could not be */
	List	   *shown;			/* its entries that say "shown", the last last */
	int			steps;
	int			depth;			/* of searches for contradictions */
} EsCompat;

typedef enum EsChoiceKind
{
	ES_CHOICE_ANY,
	ES_CHOICE_ONE,
	ES_CHOICE_IF
} EsChoiceKind;

/* The value matches some branch of that node; nobody knows yet which. */
typedef struct EsChoice
{
	const EsNode *node;
	EsChoiceKind kind;
} EsChoice;

/* What is known of a value.  Never changed once it was passed on. */
typedef struct EsFacts
{
	int			types;			/* a number that may be an integer has both
								 * bits */
	List	   *nodes;			/* that it matches: EsNode */
	List	   *nots;			/* that it does not match: EsNode */
	List	   *choices;		/* EsChoice */
	List	   *declared;		/* all nodes that say something of it, in any
								 * case */
} EsFacts;

/* A bound of numbers; value is NULL where there is none. */
typedef struct EsBound
{
	Numeric		value;
	bool		is_exclusive;
} EsBound;

/* A property's name, or a pattern's text. */
typedef struct EsName
{
	const char *bytes;
	int			length;
} EsName;

static inline EsBound
es_bound(Numeric value, bool is_exclusive)
{
	EsBound		bound = {value, is_exclusive};

	return bound;
}

static inline EsName
es_name(const char *bytes, int length)
{
	EsName		name = {bytes, length};

	return name;
}

#define ES_TYPES_NUMERIC	(ES_TYPE_NUMBER | ES_TYPE_INTEGER)
#define ES_TYPES_ALL		(ES_TYPE_ANY | ES_TYPE_INTEGER)

/* json_schema_compat.c */
extern void es_compat_problem(EsCompat *c, const EsNode *node, const char *keyword,
							  const char *format,...) pg_attribute_printf(4, 5);
extern void es_compat_changed(EsCompat *c, const EsNode *node, const char *keyword,
							  const char *known, const char *asked);
extern bool es_compat_step(EsCompat *c, const EsNode *goal);

/* json_schema_compat_prove.c: does every value of which that is known match the node? */
extern bool es_compat_prove(EsCompat *c, const EsFacts *facts, const EsNode *goal);

/* The same of a part of the value that was looked at. */
extern bool es_compat_prove_below(EsCompat *c, const EsFacts *facts, const EsNode *goal);

/* json_schema_compat_empty.c: is there surely no such value? */
extern bool es_compat_is_empty(EsCompat *c, const EsFacts *facts);

/* What is known in each case of the first choice; NIL without a choice. */
extern List *es_compat_cases(const EsFacts *facts);

/* The few values that there are, if there are few: an array of them, or false. */
extern bool es_compat_values(const EsFacts *facts, List **values);
extern bool es_compat_matches(const EsNode *node, const JsonbValue *value);

/* json_schema_compat_facts.c */
extern EsFacts *es_facts_of(List *nodes, List *declared);
extern EsFacts *es_facts_copy(const EsFacts *facts, int types);
extern void es_facts_add(EsFacts *facts, const EsNode *node);
extern void es_facts_settle(EsFacts *facts);
extern List *es_compat_closure(List *nodes);
extern List *es_compat_conjuncts(const EsNode *node);
extern int	es_compat_types(const EsNode *node);

/* json_schema_compat_object.c */
extern bool es_compat_prove_object(EsCompat *c, const EsFacts *facts, const EsNode *goal);
extern bool es_facts_have_member(const EsFacts *facts, EsName name, int patience);
extern EsFacts *es_facts_member(const EsFacts *facts, EsName name);

/* json_schema_compat_array.c */
extern bool es_compat_prove_array(EsCompat *c, const EsFacts *facts, const EsNode *goal);
extern EsFacts *es_facts_element(const EsFacts *facts, int number);
extern int64 es_facts_min_items(const EsFacts *facts);
extern int64 es_facts_max_items(const EsFacts *facts);

/* json_schema_compat_scalar.c */
extern bool es_compat_prove_number(EsCompat *c, const EsFacts *facts, const EsNode *goal);
extern bool es_compat_prove_string(EsCompat *c, const EsFacts *facts, const EsNode *goal);
extern bool es_compat_prove_count(EsCompat *c, const EsNode *goal, const char *keyword, int64 known,
								  int64 asked, bool is_upper);
extern bool es_facts_no_number(const EsFacts *facts);
extern bool es_facts_no_string(const EsFacts *facts);

#endif							/* ES_RULES_JSON_SCHEMA_COMPAT_PARTS_H */
