/*
 * pii_use.h
 *		What an expression reads of personal fields.
 */
#ifndef ES_RULES_PII_USE_H
#define ES_RULES_PII_USE_H

#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "rules/expr.h"
#include "rules/pii.h"

/* What is kept of an error that may quote them. */
#define ES_PII_CONCEALED	"(the error may quote personal fields)"

typedef struct EsPiiUse
{
	bool		touches;		/* data or an object that such a field is in */
	const char *names;			/* such a field itself, or a part of it; NULL */
	const char *exposed;		/* one whose being NULL nothing in the
								 * expression catches; NULL: there is none */
} EsPiiUse;

/*
 * Adds what the expression reads of event.data.  Paths that it computes count as the
 * object that they begin in.
 */
extern void es_pii_find_use(const EsExpr *expr, const EsPii *pii, EsPiiUse *use);

/* Which columns of "row" it reads (attribute numbers), and whether "item". */
extern Bitmapset *es_pii_row_columns(const EsExpr *expr, bool *uses_item);

/* From which columns a generated one is computed; NULL: it is none. */
extern Bitmapset *es_pii_generated_from(TupleDesc table, AttrNumber attno);

/*
 * All that is declared, in any version, of a type (NULL: of all) in categories (NIL: in
 * any), general registrations included.  List of EsPii, palloc'd.
 */
extern List *es_pii_declared(List *categories, const char *type);

/* The same of a category, but for types that say themselves whom their events are about. */
extern List *es_pii_declared_subjectless(const char *category);

#endif							/* ES_RULES_PII_USE_H */
