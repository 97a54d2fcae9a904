/*
 * call.h
 *		Calling functions of users with an event: handlers, and calls of reactions.
 */
#ifndef ES_APPEND_CALL_H
#define ES_APPEND_CALL_H

#include "eventsource.h"
#include "rules/expr_parts.h"

/* What a function must be to be called so. */
typedef struct EsCallKind
{
	const char *what;			/* "a handler" */
	bool		has_call;		/* takes a jsonb after the event, and returns
								 * a jsonb */
	const char *shape;			/* what it must be, a sentence */
	const char *example;		/* a hint */
	const char *whose;			/* "The handler", who would have the rights */
} EsCallKind;

extern const EsCallKind es_call_handler;
extern const EsCallKind es_call_reaction;

/*
 * The function of that name, as regprocedure prints it; raises an error if there is none,
 * if it is of another shape, or if the definer may not execute it.
 */
extern Oid	es_call_find(const EsCallKind *kind, const char *function, Oid definer);

/*
 * From enter to leave: rights of the definer, under SECURITY_RESTRICTED_OPERATION, with settings
 * as expressions have them; what is appended is recorded by him, and no setting says more.  The
 * caller leaves in PG_FINALLY.
 */
typedef struct EsCallRoom
{
	EsRoom		room;
	Oid			recorded_as;
} EsCallRoom;

extern void es_call_enter(EsCallRoom *room, Oid definer);
extern void es_call_leave(const EsCallRoom *room);

/*
 * Do deferred triggers of this transaction wait for its end?  What is called and makes constraints immediate
 * would run them, with its definer's rights: so nothing is called then.
 */
extern bool es_call_triggers_wait(void);

/* The event as the view shows it, a row of its type; palloc'd. */
extern Datum es_call_event(const EsEvent *event);

#endif							/* ES_APPEND_CALL_H */
