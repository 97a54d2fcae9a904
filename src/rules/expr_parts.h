/*
 * expr_parts.h
 *		What the files of the expression compiler share: expr.c (plans),
 *		expr_eval.c (values), expr_parse.c and expr_names.c (text and names),
 *		expr_check.c and expr_stable.c (what is allowed), expr_room.c (settings
 *		and rights).  The room also serves project/, where code that belongs to
 *		a table is run.
 */
#ifndef ES_RULES_EXPR_PARTS_H
#define ES_RULES_EXPR_PARTS_H

#include "postgres.h"

#include "compat.h"
#include "nodes/execnodes.h"
#include "parser/parse_node.h"
#include "rules/expr.h"
#include "utils/plancache.h"

/* What a name in an expression stands for. */
typedef enum EsNameKind
{
	ES_NAME_EVENT,
	ES_NAME_ROW,
	ES_NAME_STATE,
	ES_NAME_ITEM
} EsNameKind;

typedef struct EsNameUse
{
	EsNameKind	kind;
	int			column;			/* EsEventColumn, or attribute number of row */
	Oid			type;
	int32		typmod;
	Oid			collation;
} EsNameUse;

/*
 * The text being parsed.  Parameter n of the resulting tree is uses[n - 1];
 * the list grows as names are met.
 */
typedef struct EsExprText
{
	const EsExprScope *scope;
	const char *source;
	int			prefix;			/* characters put before it */
	int			nuses;
	int			max_uses;
	EsNameUse  *uses;
	List	   *clock_words;	/* locations of literals such as 'now' */
} EsExprText;

/* What a look at the whole tree tells about how it must be evaluated. */
typedef struct EsExprTraits
{
	bool		foreign;		/* calls code that is not PostgreSQL's own:
								 * needs the owner's rights and search_path */
	bool		transient;		/* functions may keep things for the time of
								 * the transaction */
	bool		locale;			/* formats by lc_numeric and friends */
	bool		zone_words;		/* reads time zone abbreviations */
	Oid			serial;			/* a function not to be run by parallel
								 * workers, or InvalidOid */
} EsExprTraits;

/* How much there is to do at an evaluation. */
typedef enum EsExprShape
{
	ES_SHAPE_GENERAL,
	ES_SHAPE_NAME,				/* a parameter as it stands */
	ES_SHAPE_CONSTANT
} EsExprShape;

struct EsExpr
{
	/* What to compile, and for whom. */
	MemoryContext context;
	EsExprScope scope;			/* with a row descriptor of its own */
	const char *source;			/* NULL if node is given */
	Node	   *node;			/* given expression, columns already named */
	AttrNumber	target;			/* column of a SET list, or 0 */
	bool		returns_set;
	Oid			wanted_type;
	int32		wanted_typmod;

	/* What came of it. */
	EsExprTraits traits;
	EsExprShape shape;
	Oid			type;
	int16		typlen;
	bool		typbyval;
	int			nuses;
	EsNameUse  *uses;
	ParamListInfo params;
	CachedExpression *plan;
	MemoryContextCallback cleanup;

	/* Executable, see expr_eval.c. */
	uint64		made_in;
	ExprState  *state;
	MemoryContext lasting_context;
	bool		running;		/* code of users is being evaluated */
};

/* Compiles what the expression says, anew if its plan is no longer valid. */
extern void es_expr_recompile(EsExpr *expr);

/*
 * Text to a tree with collations, not yet checked or planned.  target: column
 * of a SET list, or 0 for a scalar expression; a valid type: what to coerce to.
 */
extern Node *es_expr_parse(EsExprText *text, AttrNumber target, Oid type, int32 typmod,
						   ParseState **pstate);

/* Attribute numbers that a SET list assigns to, in its order. */
extern List *es_expr_parse_targets(EsExprText *text);

/* Turns columns of a relation's own expression (Vars) into "row". */
extern Node *es_expr_name_columns(EsExprText *text, Node *node);

/*
 * While it is in force, what the parser objects to is reported as ZE011, with
 * places in the text.
 */
extern void es_expr_begin_errors(EsExprText *text, ErrorContextCallback *callback);
extern void es_expr_end_errors(ErrorContextCallback *callback);

/* p_pre_columnref_hook, with an EsExprText as its state. */
extern Node *es_expr_resolve_name(ParseState *pstate, ColumnRef *cref);

/* Columns of "row"; InvalidAttrNumber for a name it has not. */
extern AttrNumber es_expr_find_row_column(TupleDesc row, const char *name);
extern Node *es_expr_use_row_column(EsExprText *text, AttrNumber attno, int location);
extern char *es_expr_row_hint(TupleDesc row);

/* Raises ZE011.  hint may be NULL; so may pstate where the place is not known. */
ES_NORETURN extern void es_expr_invalid(ParseState *pstate, int location, char *message, char *hint);

/*
 * Raises ZE011 unless the value of "node" depends on nothing but its
 * parameters.  set_returning: the node itself, but nothing inside it, may
 * return a set.  clock_words: locations of literals such as 'now'.
 */
extern void es_expr_check_tree(ParseState *pstate, Node *node, bool set_returning,
							   List *clock_words, EsExprTraits *traits);

/* How a STABLE function of PostgreSQL's own depends on its surroundings. */
typedef enum EsStableKind
{
	ES_STABLE_REFUSED,
	ES_STABLE_PINNED,			/* on pinned settings alone */
	ES_STABLE_PRINTS,			/* on how its arguments are printed */
	ES_STABLE_PRINTS_JSON,		/* the same, through casts to json */
	ES_STABLE_READS,			/* on how its result's columns are read */
	ES_STABLE_FORMATS_NUMBER,	/* on lc_numeric, by format */
	ES_STABLE_FORMATS_TIME		/* on lc_time, by format */
} EsStableKind;

extern EsStableKind es_expr_stable_kind(Oid function);

/* Depends on the setting timezone_abbreviations. */
extern bool es_expr_reads_zone_words(Oid function);

/* An input function that reads words such as 'now'. */
extern bool es_expr_reads_clock(Oid input_function);

/* True if the text holds a word that dates and times read off the clock. */
extern bool es_expr_has_clock_word(const char *text);

/* Makes the datetime input functions in a ready state refuse 'now' and its like. */
extern void es_expr_guard_clock(ExprState *state);

/*
 * Settings that change what a cast prints or reads are C variables of the
 * backend.  Built-in code is evaluated with them swapped (es_expr_pin, undone
 * in PG_FINALLY); foreign code, which may itself set them, in a room made of
 * GUC levels and the owner's identity (undone also by any abort).
 */
typedef struct EsPins
{
	void	   *zone;
	int			number[5];
	bool		flag[3];
} EsPins;

typedef struct EsRoom
{
	Oid			user;
	int			security;
	int			guc_level;
} EsRoom;

extern void es_expr_pin(EsPins *saved);
extern void es_expr_unpin(const EsPins *saved);

/* An invalid owner keeps the current user. */
extern void es_expr_enter_room(EsRoom *room, Oid owner, bool parsing, const EsExprTraits *traits);
extern void es_expr_leave_room(const EsRoom *room);

/* True if built-in code with these traits must go through a room as well. */
extern bool es_expr_wants_room(const EsExprTraits *traits);

#endif							/* ES_RULES_EXPR_PARTS_H */
