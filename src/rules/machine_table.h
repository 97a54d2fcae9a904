/*
 * machine_table.h
 *		Insides of a compiled state machine.  For the files machine*.c alone;
 *		the other rooms know machine.h.
 *
 * A machine is data: words numbered from 0, and a table that has, for every
 * state (and for "no state yet") and every event type, the candidate edges in
 * the order in which they are tried.  Nothing in it changes after it was built,
 * except for what EsExpr keeps about its own evaluation.
 */
#ifndef ES_RULES_MACHINE_TABLE_H
#define ES_RULES_MACHINE_TABLE_H

#include "nodes/bitmapset.h"
#include "rules/machine.h"

/* Limits: a definition beyond them is refused. */
#define ES_MACHINE_MAX_SIZE		(1024 * 1024)	/* bytes of jsonb */
#define ES_MACHINE_MAX_STATES	1000
#define ES_MACHINE_MAX_TYPES	1000
#define ES_MACHINE_MAX_REASONS	10000
#define ES_MACHINE_MAX_GUARDS	100 /* of one edge */
#define ES_MACHINE_MAX_TIMEOUTS	20	/* of one state */

/* What stands for a state where there is none. */
#define ES_STATE_NONE		(-1)	/* before the first event; no target: stay */
#define ES_STATE_ANY		(-2)	/* edges of the root "on" */
#define ES_STATE_UNKNOWN	(-3)	/* named, but not defined */

/* Words numbered in the order in which they were added. */
typedef struct EsWordSet
{
	int			count;
	const text **word;
	int			nslots;			/* power of two, 0 while empty */
	int		   *slot;			/* number + 1, 0: free */
} EsWordSet;

typedef enum EsReasonRule
{
	ES_REASON_RULE_UNSAID,		/* like optional, but the session's default is
								 * not for it */
	ES_REASON_RULE_OPTIONAL,
	ES_REASON_RULE_REQUIRED,
	ES_REASON_RULE_FORBIDDEN
} EsReasonRule;

typedef struct EsGuard
{
	char	   *name;			/* comes back as the error's constraint name */
	char	   *source;
	EsExpr	   *expr;			/* NULL while not compiled */
} EsGuard;

typedef struct EsFill
{
	char	   *field;
	char	   *source;
	EsExpr	   *expr;			/* a jsonb value; NULL while not compiled */
} EsFill;

typedef struct EsEdge
{
	struct EsEdge *next;		/* candidate that is tried after this one */
	char	   *path;			/* where it stands in the definition */
	int			number;			/* among the candidates, from 1 */
	int			target;			/* ES_STATE_NONE: the state stays */
	EsReasonRule reason;
	Bitmapset  *reasons;		/* the codes it takes; NULL: any of the
								 * machine */
	int			nguards;
	EsGuard    *guards;
	int			nfills;
	EsFill	   *fills;
	char	   *kind;			/* "forward", "backward" or NULL */
	char	   *label;
} EsEdge;

/* The candidates given for one type under one "on" (or "create"). */
typedef struct EsEntry
{
	int			state;			/* or ES_STATE_NONE (create), ES_STATE_ANY
								 * (root) */
	int			type;
	EsEdge	   *first;
} EsEntry;

/*
 * What may happen at the end of a timeout.  Of the edge: path, number, guards,
 * label, and what is tried after it.
 */
typedef struct EsTimeoutChoice
{
	EsEdge		edge;			/* first */
	text	   *type;			/* NULL: not said */
	text	   *reason;			/* or NULL */
} EsTimeoutChoice;

struct EsTimeout
{
	struct EsTimeout *next;		/* of the same state */
	char	   *path;
	char	   *source;			/* the interval as it was given */
	Interval	length;
	EsEdge	   *first;			/* of EsTimeoutChoice */
};

typedef struct EsState
{
	bool		is_final;
	char	   *label;
	EsTimeout  *timeouts;
} EsState;

typedef struct EsReason
{
	char	   *category;
	char	   *label;
} EsReason;

struct EsMachine
{
	char	   *name;
	text	   *label;			/* "name@version" */
	EsWordSet	states;
	EsState    *state;
	int			initial;		/* or ES_STATE_NONE */
	bool		has_create;
	EsWordSet	types;
	EsWordSet	reasons;		/* declared ones, and those that edges name */
	EsReason   *reason;			/* of the declared ones, which come first */
	int			ndeclared;		/* -1: the machine declares no reasons */
	List	   *entries;		/* EsEntry, as given */
	bool	   *fills;			/* of each type: may an edge of it fill
								 * anything in? */
	EsEdge	  **table;			/* (states + 1) x types; the last row serves
								 * streams without a state */
	bool		has_timeouts;
	bool		had_timeouts;	/* an older version did */
};

/* Problems of a definition, as lines; more than the limit are only counted. */
#define ES_PROBLEMS_LISTED	100

typedef struct EsProblems
{
	List	   *lines;			/* char * */
	int			count;
} EsProblems;

/* machine_words.c */
extern int	es_words_add(EsWordSet *words, const char *bytes, int length);
extern int	es_words_find(const EsWordSet *words, const text *word);
extern char *es_words_list(const EsWordSet *words, const Bitmapset *members);

/* machine_parse.c */
extern EsMachine *es_machine_parse(const char *name, Jsonb *definition, EsProblems *problems);
extern EsMachine *es_machine_expect(Jsonb *definition);
extern void es_machine_problem(EsProblems *problems, const char *format,...) pg_attribute_printf(2, 3);

/* machine_after.c */
extern void es_machine_check_timeouts(const EsMachine *machine, EsProblems *problems);

/* machine_choice.c: the guards as one condition to read, or NULL */
extern char *es_machine_guard_text(const EsEdge *edge);

/* machine_compile.c */
#define ES_COMPILE_SKIP_ROW		0x01	/* leave out what seems to name "row" */
#define ES_COMPILE_CHECK		0x02	/* errors become problems */

extern void es_machine_build_table(EsMachine *machine);
extern EsEdge **es_machine_root_edges(const EsMachine *machine);
extern void es_machine_compile(EsMachine *machine, const EsExprScope *scope,
							   int flags, EsProblems *problems);
extern bool es_machine_source_names(const char *source, const char *word);

/* machine_check.c */
extern int *es_machine_order(const EsMachine *machine, int *count);

/* machine.c */
extern EsMachine *es_machine_inspect(const char *name, int64 version);

/* machine_step.c */
extern int	es_machine_start(const EsMachine *machine);
extern const char *es_machine_given_field(const EsEdge *edge, Jsonb *data);
extern bool es_machine_guard_holds(const EsMachine *machine, EsGuard *guard, const EsBinding *binding);
extern bool es_machine_takes_reason(const EsMachine *machine, const EsEdge *edge, const text *reason);

extern EsVerdict es_machine_judge_reason(const EsMachine *machine, const EsEdge *edge, const text *reason);

/*
 * Starts the step of an event out of a state, by name and number: the candidates
 * of its type; NULL, with the verdict, if there are none.
 */
extern EsEdge *es_machine_begin_step(const EsMachine *machine, const text *from, int state,
									 const EsEvent *event, EsStep *step);

/* machine_judge.c */
extern bool es_machine_guards_hold(const EsMachine *machine, EsEdge *edge, const EsBinding *binding);

/* The candidates of a type from a state (or ES_STATE_NONE); NULL: none. */
static inline EsEdge *
es_machine_candidates(const EsMachine *machine, int state, int type)
{
	int			row = state == ES_STATE_NONE ? machine->states.count : state;

	return machine->table[row * machine->types.count + type];
}

#endif							/* ES_RULES_MACHINE_TABLE_H */
