/*
 * category.h
 *		What is declared about a category of streams.
 */
#ifndef ES_RULES_CATEGORY_H
#define ES_RULES_CATEGORY_H

#include "eventsource.h"
#include "rules/expr.h"
#include "rules/machine.h"

typedef struct EsCategory
{
	char		name[ES_MAX_WORD];
	bool		declared;
	bool		strict;
	EsMachine  *machine;		/* or NULL */
	Oid			context;		/* projection whose row guards see, or
								 * InvalidOid */
	EsExpr	   *subject;		/* or NULL: the stream itself */
} EsCategory;

/* Never NULL: an undeclared category allows everything.  Valid until the end
 * of the transaction. */
extern const EsCategory *es_category_get(const char *name);

#endif							/* ES_RULES_CATEGORY_H */
