/*
 * upcast.h
 *		Upcasters: expressions that make data of one schema version data of the
 *		next.
 *
 * They belong to a registration's scope: a type in one category, or in every
 * category that has no registration of this type of its own.  Those of a scope are
 * a chain without gaps.  An event stored at a version is read through the steps
 * from there on, as far as they go; what is stored never changes.
 */
#ifndef ES_RULES_UPCAST_H
#define ES_RULES_UPCAST_H

#include "eventsource.h"
#include "log/config.h"
#include "log/reading.h"
#include "rules/expr.h"

#define ES_UPCASTER_KIND		"upcaster"
#define ES_UPCASTER_CREATED		"upcaster_created"
#define ES_UPCASTER_DROPPED		"upcaster_dropped"

typedef struct EsUpcaster
{
	int32		from;
	int32		to;
	char	   *source;
	char	   *owner_name;		/* as it was called then */
	Oid			owner;			/* InvalidOid: gone */
	int64		version;		/* of its definition */
	int64		position;		/* likewise */
	char	   *name;			/* for messages: "1 to 2" */
	EsExpr	   *expr;			/* once it was needed */
} EsUpcaster;

typedef struct EsUpcastChain
{
	char	   *category;		/* NULL: the general scope */
	char	   *type;
	int			n_steps;
	EsUpcaster *step;			/* each begins where the one before ends */
	MemoryContext context;
} EsUpcastChain;

/*
 * As they are now, for who is called row by row: invalidations are accepted by
 * whatever began the query.  Else es_reading_begin().
 */
extern const EsUpcasters *es_upcasters_known(void);

/* All chains, in order of their names.  List of EsUpcastChain. */
extern List *es_upcast_chains(const EsUpcasters *upcasters);

/* The chain of exactly this scope, or NULL. */
extern const EsUpcastChain *es_upcast_chain_of_scope(const EsUpcasters *upcasters, const char *category,
													 const char *type);

/*
 * The chain that the event goes through, or NULL; by its flags, its stream_id and
 * type_id, or where these are 0 by category and type.
 */
extern const EsUpcastChain *es_upcast_chain_of(const EsUpcasters *upcasters, const EsEvent *event);

/* The step that data of this version goes through first; NULL: it is as it should be. */
extern EsUpcaster *es_upcast_first(const EsUpcastChain *chain, int32 version);

/* Compiles what an upcaster says: ZE011 for what is not allowed in one. */
extern EsExpr *es_upcast_compile(const char *source, Oid owner);

/*
 * Would the first registration of a type in a category (NULL: the general one) take
 * events away from upcasters that they are read through?  What is wrong, or NULL.
 */
extern char *es_upcast_registration_problem(const char *category, const char *type);

/* How its definitions are called, and what is in them. */
extern char *es_upcast_definition_name(const char *category, const char *type, int32 from);
extern Jsonb *es_upcast_write(const char *category, const char *type, int32 from, int32 to,
							  const char *source);

/*
 * Until it is called with NULL, this backend reads events as if the definition
 * were in force; the caller sees to that call whatever happens.
 */
extern void es_upcast_propose(EsDefinition *definition);

/* Another number as soon as events of these may be read in another way. */
extern uint64 es_upcast_stamp(List *categories, bool (*has_rule) (const text *type, void *arg), void *arg);

extern void es_upcast_init(void);

#endif							/* ES_RULES_UPCAST_H */
