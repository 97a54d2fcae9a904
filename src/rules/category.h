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
	char		name[ES_MAX_WORD + 1];
	bool		declared;
	bool		strict;
	EsMachine  *machine;		/* or NULL */
	Oid			context;		/* projection whose row guards see, or
								 * InvalidOid */
	EsExpr	   *subject;		/* or NULL: the stream itself */
	int32		snapshot_every; /* so many versions; 0: never */
	bool		reacts;			/* there are reactions to its events */
} EsCategory;

/* Never NULL: an undeclared category allows everything.  Valid until the end
 * of the transaction. */
extern const EsCategory *es_category_get(const char *name);

/*
 * What is said about snapshots of a category is a definition of its own, of this
 * kind: {"every": n}, or null.
 */
#define ES_SNAPSHOT_POLICY_KIND	"snapshot_policy"

/*
 * A version of a machine ("name@version"), of now or before, whose expressions see the
 * category's context; NULL if it is not defined.  Likewise valid.
 */
extern EsMachine *es_category_machine(const EsCategory *category, const text *label);

/* Whom the event is about, by the category's expression; NULL: its stream. */
extern const text *es_category_subject(const EsCategory *category, const EsEvent *event);

/*
 * What is written about a category, nothing compiled.  Strings are palloc'd,
 * NULL where nothing is said.
 */
typedef struct EsCategoryText
{
	char	   *state_machine;
	char	   *context;		/* name of a projection: see log/guarded.h */
	char	   *subject;
	bool		strict;
} EsCategoryText;

extern void es_category_read(Jsonb *data, EsCategoryText *category);
extern Jsonb *es_category_write(const char *name, const EsCategoryText *category);

#endif							/* ES_RULES_CATEGORY_H */
