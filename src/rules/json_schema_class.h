/*
 * json_schema_class.h
 *		Sets of code points, as the classes of a regular expression are.  For
 *		json_schema_class.c, _category.c and _pattern.c alone.
 */
#ifndef ES_RULES_JSON_SCHEMA_CLASS_H
#define ES_RULES_JSON_SCHEMA_CLASS_H

#include "mb/pg_wchar.h"

#define ES_CODE_POINT_MAX	0x10FFFF

typedef struct EsRange
{
	pg_wchar	from;
	pg_wchar	to;
} EsRange;

/* Ranges in any order, until es_class_sort() makes them disjoint and sorted. */
typedef struct EsClass
{
	int			count;
	int			room;
	EsRange    *range;
} EsClass;

extern void es_class_add(EsClass *set, pg_wchar from, pg_wchar to);
extern void es_class_sort(EsClass *set);

/* All code points that are not in the set. */
extern void es_class_invert(EsClass *set);

/* What \d, \w, \s and their capitals stand for in ECMA-262, and the dot. */
extern void es_class_add_escape(EsClass *set, char letter);

/* What \p{...} stands for; false if it is not known. */
extern bool es_class_add_property(EsClass *set, const char *name, bool is_inverted);

/*
 * json_schema_category.c: where runs of code points of one general category begin,
 * as code point * 256 + category.
 */
extern const uint32 es_category_runs[];
extern const int es_category_nruns;

#endif							/* ES_RULES_JSON_SCHEMA_CLASS_H */
