/*
 * reaction.h
 *		Reactions: what is done because of an event, compiled.
 *
 * A reaction is of one type (or of all, "*") in one category.  Its condition, key and
 * run_at are evaluated while the event is decided, over event, state (that it led to)
 * and row (the stream's own before it, where the category has a context).  What its steps
 * say is evaluated when they are performed: at once, in the writer's transaction, or
 * when due; row is then the row as it stands.
 */
#ifndef ES_RULES_REACTION_H
#define ES_RULES_REACTION_H

#include "eventsource.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "rules/expr.h"

#define ES_REACTION_KIND		"reaction"
#define ES_REACTION_DEFINED		"reaction_defined"
#define ES_REACTION_DROPPED		"reaction_dropped"

/* Of every type. */
#define ES_REACTION_ANY_TYPE	"*"

#define ES_REACTION_MAX_NAME	200 /* bytes: names are part of actors and
									 * keys */
#define ES_REACTION_MAX_STEPS	100
#define ES_REACTION_MAX_DEPTH	16	/* reactions that cause each other */

typedef enum EsReactionAct
{
	ES_REACT_ENQUEUE,
	ES_REACT_APPEND,
	ES_REACT_CANCEL,
	ES_REACT_CALL
} EsReactionAct;

/* What a step does, or what makes up for it. */
typedef struct EsReactionAction
{
	EsReactionAct act;

	/* ES_REACT_ENQUEUE */
	char	   *queue;
	EsExpr	   *payload;		/* jsonb; NULL: event.data */
	EsExpr	   *order_key;		/* text, or NULL */
	int32		priority;
	int32		max_attempts;	/* 0: the queue's */

	/* ES_REACT_APPEND */
	text	   *type;
	EsExpr	   *stream;			/* text */
	EsExpr	   *data;			/* jsonb; NULL: {} */
	EsExpr	   *reason;			/* text, or NULL */
	EsExpr	   *occurred_at;	/* timestamptz, or NULL: when it is appended */
	char	   *category;		/* of all streams that it can be; NULL: not
								 * known before */

	/* ES_REACT_CANCEL */
	List	   *reactions;		/* char *: names */

	/* ES_REACT_CALL */
	char	   *function;		/* with the types of its arguments */
} EsReactionAction;

typedef struct EsReactionStep
{
	EsReactionAction action;
	Interval   *wait;			/* since the step before ended (the first:
								 * since it was due), or NULL */
	EsReactionAction *compensate;	/* or NULL */
} EsReactionStep;

/* What is done about what was due in the past. */
typedef enum EsReactionPast
{
	ES_PAST_RUN,				/* it is done, however late */
	ES_PAST_SKIP,				/* not if it was due before it was scheduled,
								 * or is later than max_past */
	ES_PAST_CAP					/* not if it is later than max_past */
} EsReactionPast;

typedef struct EsReaction
{
	char	   *name;
	int64		version;		/* of its definition */
	Oid			definer;		/* whose rights it has */
	char	   *category;
	char	   *type;
	EsExpr	   *condition;		/* boolean, or NULL */
	EsExpr	   *key;			/* text, or NULL */
	EsExpr	   *run_at;			/* timestamptz, or NULL: at once */
	EsReactionPast past;
	Interval   *max_past;		/* NULL: ES_PAST_RUN */
	bool		imports;		/* for imported events, too */
	bool		keeps;			/* what is scheduled stays, rather than what
								 * comes later with the same key */
	bool		is_immediate;	/* one step, done in the writer's transaction */
	bool		is_allowed_cycle;
	Oid			context;		/* projection of "row", or InvalidOid */
	int			n_steps;
	EsReactionStep *step;
} EsReaction;

/* Is anything defined for the category, whatever the type?  Cheap: asked for each event's category. */
extern bool es_reaction_any(const char *category);

/* The same of those whose action is an append. */
extern bool es_reaction_any_append(const char *category, int length);

/*
 * Those of an event, compiled, in order of their names; List of EsReaction.  Valid until
 * the end of the transaction.  Errors where one cannot be compiled any more.
 */
extern List *es_reaction_of(const text *category, const text *type);

/*
 * A certain version, as jobs know it, or the latest (0); NULL if there is none, or it was dropped
 * by that version.  Valid until the end of the transaction.
 */
extern const EsReaction *es_reaction_get(const char *name, int64 version);

/*
 * Why what was due then must not be done now any more, palloc'd; NULL: it must.  was_scheduled: when
 * it was said that it is to be done.
 */
extern char *es_reaction_lapsed(const EsReaction *reaction, TimestampTz due, TimestampTz was_scheduled,
								TimestampTz now);

/*
 * Compiles what was proposed or stored, with the rights of a definer, into the current
 * memory context.  Problems are added as lines, and NULL is returned then.
 */
extern EsReaction *es_reaction_compile(const char *name, Jsonb *definition, Oid definer, List **problems);

/* Who defined what is in force under that name; InvalidOid: there is none, or the role is gone. */
extern Oid	es_reaction_owner(const char *name);

/* What is wrong now with the reactions of a category, as lines. */
extern List *es_reaction_problems(const char *category);

/* Calls each() with every expression of it, and what that is. */
extern void es_reaction_each_expr(const EsReaction *reaction,
								  void (*each) (const char *what, EsExpr *expr, void *arg), void *arg);

/* ---- reaction_graph.c: which lead to which ---- */

/* The names on a way from it to itself, among those that are defined; NULL: there is none. */
extern char *es_reaction_cycle(const EsReaction *reaction);

/* What it appends, as its definition keeps it in this member: [{"category", "type"}]. */
#define ES_REACTION_APPENDS		"appends"
extern Jsonb *es_reaction_appends(const EsReaction *reaction);

#endif							/* ES_RULES_REACTION_H */
