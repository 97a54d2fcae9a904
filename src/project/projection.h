/*
 * projection.h
 *		Definitions of projections, compiled and cached for this backend.
 */
#ifndef ES_PROJECT_PROJECTION_H
#define ES_PROJECT_PROJECTION_H

#include "eventsource.h"
#include "log/config.h"
#include "project/pace.h"
#include "project/target.h"
#include "rules/expr.h"

typedef enum EsMissing
{
	ES_MISSING_CREATE,
	ES_MISSING_SKIP,
	ES_MISSING_ERROR
} EsMissing;

/*
 * Which events can meet in one row.  Rows of a stream are covered by the
 * stream's lock, rows of one event by nothing at all; others need locks of
 * their own.
 */
typedef enum EsSharing
{
	ES_ROW_SHARED,
	ES_ROW_OF_STREAM,
	ES_ROW_OF_EVENT
} EsSharing;

typedef struct EsRowIdentity
{
	EsSharing	sharing;
	int			key;			/* the key column that tells streams (or
								 * events) apart */
	EsEventColumn column;		/* what that column is */
	bool		must_spell;		/* it is read as another type, and must be
								 * written the way that type prints it, lest
								 * two streams meet in one row */
} EsRowIdentity;

/* What the events of one type do to a row. */
typedef struct EsRule
{
	text	   *type;			/* NULL: every type that has no rule of its
								 * own */
	bool		deletes;
	EsMissing	missing;
	EsExpr	   *each;			/* or NULL: once */
	EsExpr	  **key;			/* per column of the primary key */
	EsExpr	   *where;			/* or NULL: always */
	List	   *set_attnos;
	List	   *set;			/* EsExpr, as set_attnos */

	EsRowIdentity identity;
} EsRule;

/* Valid until the end of the transaction. */
typedef struct EsProjection
{
	char	   *name;			/* as the definition is called */
	int64		version;
	Oid			definer;		/* whose rights the expressions have */
	List	   *categories;		/* of char * */
	bool		is_async;		/* follows the log at its own pace */
	EsTarget   *target;
	List	   *rules;			/* of EsRule */
	EsRule	   *any;			/* of type '*', or NULL */
	EsSharing	sharing;		/* of all rules together */
	const EsRule *stream_row;	/* a rule whose key follows from the stream
								 * alone, or NULL: then it is no context */
	bool		is_looked_at;	/* target->sees_personal is known */
} EsProjection;

/*
 * Inline projections that events of a category fold into.  Those of a table that
 * is not there any more are left out.
 */
extern List *es_projection_list(const text *category);

/* A projection that follows the log at its own pace. */
typedef struct EsAsync
{
	char	   *name;
	Oid			relid;
	EsPace		pace;
} EsAsync;

/*
 * All of them whose table is there, in order of name; none is compiled, so that
 * one that cannot be does not hinder the others.  List of EsAsync, palloc'd.
 */
extern List *es_projection_list_async(void);

/*
 * One of them, to be written by who holds its cursor's lock: locks the table ROW
 * EXCLUSIVE.  Raises an error if it is none any more, has another name (of its
 * definition), or cannot be written.
 */
extern EsProjection *es_projection_open_to_follow(Oid relid, const char *name);

/* The projection of a table; NULL if it is none. */
extern EsProjection *es_projection_get(Oid relid);

/*
 * The same for a caller who wants to know what its rows are ("why"): raises an
 * error unless he may read all of them, or if it is no projection.  Locks the
 * table ACCESS SHARE.
 */
extern EsProjection *es_projection_open_to_read(Oid relid, const char *why);

/* The projection of a table, locked; an error (42809) if there is none. */
extern EsProjection *es_projection_expect(Oid relid);

/* Is the stream of one of its categories? */
extern bool es_projection_is_of(const EsProjection *projection, int64 stream_id);

/* The rule for events of a type, or NULL. */
extern EsRule *es_projection_rule(const EsProjection *projection, const text *type);

/*
 * Compiles a definition.  problems NULL: the first problem is raised, else all
 * of them are listed and NULL is returned if there are any.  The target is
 * locked by the caller.
 */
extern EsProjection *es_projection_compile(const EsDefinition *definition, Oid relid, List **problems);

/* Raises ZE011 with all problems of a definition for this table; never returns. */
extern void es_projection_refuse(const char *table, List *problems);

/*
 * Raises ZE011 if the table may no longer be written by a fold; guarded: nor if
 * others can write it.  It is locked by the caller.
 */
extern void es_projection_expect_target(const EsProjection *projection, bool guarded);

#endif							/* ES_PROJECT_PROJECTION_H */
