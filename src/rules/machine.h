/*
 * machine.h
 *		State machines: definitions compiled to tables, stepped by one function.
 */
#ifndef ES_RULES_MACHINE_H
#define ES_RULES_MACHINE_H

#include "eventsource.h"
#include "executor/tuptable.h"
#include "rules/expr.h"

typedef struct EsMachine EsMachine;

typedef enum EsVerdict
{
	ES_LEGAL,
	ES_UNKNOWN_TYPE,			/* ZE006 */
	ES_ILLEGAL_TRANSITION,		/* ZE002 */
	ES_GUARD_REJECTED,			/* ZE005 */
	ES_REASON_REQUIRED,			/* ZE003 */
	ES_REASON_UNKNOWN,			/* ZE004: not a code of the machine, or not of the edge */
	ES_REASON_FORBIDDEN,		/* ZE004 */
	ES_FILL_GIVEN				/* ZE007: the caller gave a value the database fills in */
} EsVerdict;

/* What a step decided. */
typedef struct EsStep
{
	EsVerdict	verdict;
	const text *from_state;		/* NULL before the first event */
	const text *to_state;
	const text *reason;			/* the event's, or the default where the edge
								 * takes one */
	const char *guard;			/* name of the guard that rejected */
	void	   *edge;			/* machine.c's own */
} EsStep;

/*
 * The compiled machine, latest version (0) or a given one; NULL if it is not
 * defined.  context_row: columns of the category's context, or NULL.
 * Valid until the end of the transaction.
 */
extern EsMachine *es_machine_get(const char *name, int64 version, TupleDesc context_row,
								 Oid context_relid);
extern int64 es_machine_version(const EsMachine *machine);

/* "name@version", as events remember it. */
extern const text *es_machine_label(const EsMachine *machine);

/*
 * Decides one event from state "from" (NULL: the stream has no event yet).
 * Never raises for an illegal step.  binding->event needs type, data, reason;
 * default_reason (or NULL) serves an event without one where the edge takes a
 * reason; check_guards false takes the first candidate as it stands.
 */
extern void es_machine_step(EsMachine *machine, const text *from, const EsBinding *binding,
							const text *default_reason, bool check_guards, EsStep *step);

/* Raises the error of a step that is not ES_LEGAL. */
extern void es_machine_raise(EsMachine *machine, const EsStep *step, const EsEvent *event)
			pg_attribute_noreturn();

/* Event data with the edge's fill values added; same pointer if it has none. */
extern Jsonb *es_machine_fill(EsMachine *machine, const EsStep *step, const EsBinding *binding);

/*
 * All problems of a definition, as lines; NIL if it is good.  List of char *.
 */
extern List *es_machine_check(const char *name, Jsonb *definition);

#endif							/* ES_RULES_MACHINE_H */
