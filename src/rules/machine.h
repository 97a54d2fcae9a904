/*
 * machine.h
 *		State machines: definitions compiled to tables, stepped by one function.
 */
#ifndef ES_RULES_MACHINE_H
#define ES_RULES_MACHINE_H

#include "eventsource.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "rules/expr.h"

typedef struct EsMachine EsMachine;

typedef enum EsVerdict
{
	ES_LEGAL,
	ES_UNKNOWN_TYPE,			/* ZE006 */
	ES_ILLEGAL_TRANSITION,		/* ZE002 */
	ES_GUARD_REJECTED,			/* ZE005 */
	ES_REASON_REQUIRED,			/* ZE003 */
	ES_REASON_UNKNOWN,			/* ZE004: not a code of the machine, or not of
								 * the edge */
	ES_REASON_FORBIDDEN,		/* ZE004 */
	ES_FILL_GIVEN				/* ZE007: the caller gave a value the database
								 * fills in, or data that cannot take one */
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

/*
 * A machine that is not defined, to be tried on history with the caller's rights
 * ("name@proposed").  Lives in the current memory context.  Raises ZE011 with all
 * problems, as for a category with this context.
 */
extern EsMachine *es_machine_propose(const char *name, Jsonb *definition, TupleDesc context_row);

/* Can stepping the machine raise an error of an expression's? */
extern bool es_machine_evaluates(const EsMachine *machine);

/* What a refused step tells the user. */
typedef struct EsRefusal
{
	int			sqlstate;
	char	   *message;
	char	   *detail;
	char	   *hint;
	const char *constraint;		/* name of the guard, or NULL */
} EsRefusal;

extern void es_machine_refusal(EsMachine *machine, const EsStep *step, const EsEvent *event,
							   EsRefusal *refusal);

/*
 * Does the work; false if it raised an error that an append would have been
 * refused with, which becomes the refusal.  Runs in an internal subtransaction.
 */
extern bool es_machine_attempt(void (*work) (void *arg), void *arg, EsRefusal *refusal);

/*
 * One edge that a type can take from the state.  List of EsChoice *, in the
 * order in which candidates are tried.
 */
typedef struct EsChoice
{
	const text *type;
	const text *target;			/* the state itself where the edge has none */
	const char *reason;			/* "required", "optional" or "forbidden" */
	List	   *reasons;		/* const text *; NIL: no list to choose from */
	const char *guard;			/* the expressions, or NULL */
	const char *label;
	void	   *edge;			/* machine.c's own */
} EsChoice;

extern List *es_machine_choices(EsMachine *machine, const text *from);

/* Can this reason be given with the choice? */
extern bool es_machine_choice_takes(EsMachine *machine, const EsChoice *choice, const text *reason);

extern bool es_machine_knows_type(const EsMachine *machine, const text *type);
extern bool es_machine_knows_state(const EsMachine *machine, const text *state);

/* All states, in the order of the definition.  List of const text *. */
extern List *es_machine_states(const EsMachine *machine);

/* All event types that it knows, in that order.  List of const text *. */
extern List *es_machine_types(const EsMachine *machine);

/* The state that a stream in "from" steps from; NULL: only creation is possible. */
extern const text *es_machine_stands(const EsMachine *machine, const text *from);

/*
 * Do the guards of the choice hold?  *is_known is set to false where that
 * depends on what only the caller of append() will say: data, reason and such.
 */
extern bool es_machine_choice_holds(EsMachine *machine, const EsChoice *choice, const text *from,
									const EsBinding *binding, bool *is_known);

/*
 * Grows when machines are forgotten: whoever keeps a pointer to one beyond its
 * transaction must drop it then.
 */
extern uint64 es_machine_epoch(void);

/* "name@version", as events remember it. */
extern const text *es_machine_label(const EsMachine *machine);

/*
 * Decides one event from state "from" (NULL: the stream has no event yet).
 * Never raises for an illegal step.  binding->event needs type, data, reason;
 * default_reason (or NULL) serves an event without one where the edge says that
 * it takes a reason; check_guards false takes the first candidate as it stands.
 */
extern void es_machine_step(EsMachine *machine, const text *from, const EsBinding *binding,
							const text *default_reason, bool check_guards, EsStep *step);

/*
 * The machine that an event names ("name@version"), to judge it again; NULL if
 * it is not defined.  Guards that name "row" are not evaluated in it.
 */
extern EsMachine *es_machine_named(const text *label);

/* Name and version in such a label; NULL if it is none. */
extern char *es_machine_read_label(const text *label, int64 *version);

/* Was the event appended past the machine: by capture, backfill or a correction? */
extern bool es_machine_is_passed(const EsMachine *machine, const EsEvent *event);

/* Does such an event enter its to_state?  Else the state stays. */
extern bool es_machine_is_entered(const EsEvent *event);

typedef struct EsTimeout EsTimeout;

/*
 * "after" in a state.  Does any state of the machine have it, and did it in an older
 * version, under which a stream may have entered the state that it is in?
 */
extern bool es_machine_has_timeouts(const EsMachine *machine);
extern bool es_machine_had_timeouts(const EsMachine *machine);

/* Has the state any, or one of this length? */
extern bool es_machine_state_times(const EsMachine *machine, const text *state);
extern bool es_machine_has_timeout(const EsMachine *machine, const text *state, const char *after);

/* One timeout of a state, for a stream that entered it. */
typedef struct EsDue
{
	const char *after;			/* its length, as given: its name in the state */
	TimestampTz due;
} EsDue;

/*
 * Those of a state that was entered then, List of EsDue *, palloc'd; NIL: it has none.
 * Intervals are added in UTC.  What would be due beyond all times is left out.
 */
extern List *es_machine_due(const EsMachine *machine, const text *state, TimestampTz entered);

/* What ends a timeout. */
typedef struct EsTimeoutEnd
{
	const text *type;
	const text *reason;			/* or NULL */
	const char *guard;			/* that rejected; NULL: there is no such
								 * timeout */
} EsTimeoutEnd;

/*
 * The first choice of a timeout whose guards hold; false: there is none.  Guards see
 * binding->event with the type and the reason of their choice.
 */
extern bool es_machine_time_out(EsMachine *machine, const text *state, const char *after,
								const EsBinding *binding, EsTimeoutEnd *end);

/* Did an event enter its to_state, be it anew?  By the machine that allowed it. */
extern bool es_machine_step_enters(const EsMachine *machine, const EsStep *step);
extern bool es_machine_reenters(const EsEvent *event);

extern bool es_machine_has_state(const EsMachine *machine, const text *state);

/*
 * Decides an event of history once more, from another state or with other data,
 * which may hold what the database filled in.  Guards that the machine cannot
 * evaluate count as holding, for the edge to the event's own to_state first.
 */
extern void es_machine_restep(EsMachine *machine, const text *from, const EsBinding *binding,
							  EsStep *step);

/*
 * Data given anew for an event that was decided by restep: with the values that
 * the edge fills in as they were before, where it does not give them itself.
 */
extern Jsonb *es_machine_refill(EsMachine *machine, const EsStep *step, const EsBinding *binding,
								Jsonb *given, Jsonb *before);

/* Raises the error of a step that is not ES_LEGAL; never returns. */
extern void es_machine_raise(EsMachine *machine, const EsStep *step, const EsEvent *event);

/*
 * Does data of a type get values from the machine, in some state?  Else the event
 * is complete before the machine is asked.  NULL is no machine.
 */
extern bool es_machine_fills(const EsMachine *machine, const text *type);

/*
 * "data", which the event has as it is stored, with the edge's fill values added;
 * the same pointer if it has none.
 */
extern Jsonb *es_machine_fill(EsMachine *machine, const EsStep *step, const EsBinding *binding,
							  Jsonb *data);

/*
 * All problems of a definition, as lines; NIL if it is good.  List of char *.
 * Expressions that name "row" are judged only for a machine that is bound to a
 * category, whose context has these columns (NULL: it has no context).
 */
extern List *es_machine_check(const char *name, Jsonb *definition, bool is_bound,
							  TupleDesc context_row);

/* Of these, those about personal fields; expressions that do not compile are left out. */
extern List *es_machine_check_personal(const char *name, Jsonb *definition);

/* Likewise: those about personal columns (attribute numbers) of its context. */
extern List *es_machine_check_personal_row(const char *name, Jsonb *definition, TupleDesc context_row,
										   const Bitmapset *personal);

/* Raises ZE011 with these lines; never returns. */
extern void es_machine_refuse(const char *what, List *problems);

/* Data of a recorded event without what its own machine filled in. */
extern Datum es_machine_given_data(const EsEvent *event);

/* States that a definition had and its next version has not, as a list to read;
 * NULL if there are none. */
extern char *es_machine_lost_states(Jsonb *before, Jsonb *after);

/* Does what was stored say that an older version had timeouts; and has it any itself? */
extern bool es_machine_stored_had_timeouts(Jsonb *stored);
extern bool es_machine_stored_timeouts(Jsonb *stored);

/* The definition inside what was stored by create_state_machine(). */
extern Jsonb *es_machine_definition(const char *name, Jsonb *stored);

/* What is wrong with the name of a state, a type or the like; NULL if nothing. */
extern char *es_machine_name_problem(const char *bytes, int length);

#endif							/* ES_RULES_MACHINE_H */
