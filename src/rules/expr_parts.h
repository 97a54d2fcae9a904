/*
 * expr_parts.h
 *		What the files of the expression compiler share: expr.c (plans and
 *		values), expr_parse.c (text and names), expr_check.c (what is allowed),
 *		expr_room.c (settings and rights).
 */
#ifndef ES_RULES_EXPR_PARTS_H
#define ES_RULES_EXPR_PARTS_H

#include "nodes/execnodes.h"
#include "parser/parse_node.h"
#include "rules/expr.h"

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

/* What a look at the whole tree tells about how it must be evaluated. */
typedef struct EsExprTraits
{
	bool		foreign;		/* calls code that is not PostgreSQL's own: needs
								 * the owner's rights and search_path */
	bool		locale;			/* formats by lc_numeric and friends */
	bool		zone_words;		/* reads time zone abbreviations */
} EsExprTraits;

/*
 * Raises ZE011 unless the value of "node" depends on nothing but its
 * parameters.  set_returning: the node itself, but nothing inside it, may
 * return a set.  clock_words: locations of literals such as 'now'.
 */
extern void es_expr_check_tree(ParseState *pstate, Node *node, bool set_returning,
							   List *clock_words, EsExprTraits *traits);

/* True if the text holds a word that dates and times read off the clock. */
extern bool es_expr_has_clock_word(const char *text);

/* The same traits, refusing nothing: for what PostgreSQL itself accepted. */
extern void es_expr_survey_tree(Node *node, EsExprTraits *traits);

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
