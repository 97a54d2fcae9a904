/*
 * track_check.h
 *		What track_table() was asked for, and whether it can be.  For the files of
 *		capture alone.
 */
#ifndef ES_CAPTURE_TRACK_CHECK_H
#define ES_CAPTURE_TRACK_CHECK_H

#include "eventsource.h"

#include "capture/track_text.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/rel.h"

/* The arguments of track_table; pointers are NULL for null. */
typedef struct EsProposal
{
	Oid			target;
	char	   *category;
	char	   *key;
	char	   *state_column;
	char	   *state_machine;
	Jsonb	   *states;
	Jsonb	   *event_types;
	char	   *reason_column;
	char	   *actor_column;
	ArrayType  *columns;
	ArrayType  *ignore;
	char	   *on_violation;
	Jsonb	   *pii;			/* NULL: as it was */
	char	   *subject;
} EsProposal;

extern void es_proposal_read(FunctionCallInfo fcinfo, EsProposal *proposal);

/* The stream of its definition. */
extern text *es_proposal_stream(const EsProposal *proposal);

/*
 * Lists all that is wrong with it in one error (ZE011), or makes the definition.
 * Binds the category to the state machine.  The table is locked.
 */
extern void es_proposal_check(const EsProposal *proposal, Relation rel, EsTrackingText *definition);

/* The column that is called so, or NULL. */
extern EsColumnText *es_proposal_column(EsTrackingText *definition, const char *name);

/* track_table_check.c: why a table cannot be tracked.  List of char *. */
extern List *es_tracking_check_table(Relation rel);

/*
 * The columns of the key: the primary key's, or those of a list of names.
 * Problems are added to the list.
 */
extern List *es_tracking_check_key(Relation rel, const char *key, List **problems);

#endif							/* ES_CAPTURE_TRACK_CHECK_H */
