/*
 * personal.h
 *		Personal fields of data: which members they are, cut out and put back.
 */
#ifndef ES_LOG_PERSONAL_H
#define ES_LOG_PERSONAL_H

#include "eventsource.h"

#include "utils/jsonb.h"

/* One member's name on the way to a field. */
typedef struct EsPersonalPart
{
	const char *name;
	int			length;
	bool		any;			/* every element of an array */
	int			index;			/* of an element, where the name is a number */
} EsPersonalPart;

/* "address.street", "phones.*.number" */
typedef struct EsPersonalPath
{
	const char *source;
	int			n_parts;
	EsPersonalPart *part;
	bool		keeps_place;	/* where it is cut out a null stays */
} EsPersonalPath;

typedef struct EsPersonalField
{
	const char *path;			/* elements by their number; not terminated */
	int			length;
	JsonbValue	value;			/* null: it was erased */
	uint8		salt[ES_HASH_SIZE]; /* zeros: the value is not what was
									 * recorded */
	uint8		commit[ES_HASH_SIZE];
} EsPersonalField;

/* The personal fields of an event, in the order of their paths' bytes in UTF-8. */
typedef struct EsPersonal
{
	int			n;
	EsPersonalField *field;
	bool		keeps_places;	/* nulls stand where they were */
	uint8		commitment[ES_HASH_SIZE];
	Jsonb	   *whole;			/* data that is being appended, before and */
	Jsonb	   *left;			/* after the cut; else NULL */
} EsPersonal;

/* NULL, or what is wrong with it.  The path points into the source. */
extern char *es_personal_parse(const char *source, EsPersonalPath *path);

/* Does the path lead to the field? */
extern bool es_personal_matches(const EsPersonalPath *path, const char *field, int length);

/* Can both lead to the same member, or one into the other's? */
extern bool es_personal_overlap(const EsPersonalPath *a, const EsPersonalPath *b);

/*
 * Data without the fields that the paths lead to, which are palloc'd with their
 * values; data itself, and *cut NULL, if there are none.  A member goes (unless its
 * path keeps the place), of an element a null stays; a null is no field.  Error (ZE007) where something else
 * stands in a path's way: it would stay in the log for good.
 */
extern Jsonb *es_personal_cut(Jsonb *data, const EsPersonalPath *paths, int n_paths, EsPersonal **cut);

/* The reverse; what stands in a field's place already is left there. */
extern Jsonb *es_personal_put_back(Jsonb *data, const EsPersonal *personal);

/* Salts and commitments of fields that were just cut out. */
extern void es_personal_commit(EsPersonal *personal);

/* Is the value what was recorded? */
extern bool es_personal_is_original(const EsPersonalField *field);

/* Is one of them not? */
extern bool es_personal_any_replaced(const EsPersonal *personal);

/* Brings fields into their order. */
extern void es_personal_sort(EsPersonal *personal);

#endif							/* ES_LOG_PERSONAL_H */
