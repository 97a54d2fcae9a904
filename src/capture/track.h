/*
 * track.h
 *		Tables under capture: what the definition says, joined with the table as
 *		it is today.
 */
#ifndef ES_CAPTURE_TRACK_H
#define ES_CAPTURE_TRACK_H

#include "eventsource.h"

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "rules/expr.h"
#include "rules/pii.h"
#include "utils/rel.h"

/* Kind of the defining streams: "$config-tracking.<category>". */
#define ES_TRACKING_KIND	"tracking"

/* A column of a tracked table. */
typedef struct EsTrackedColumn
{
	int			id;				/* stays with it through renames and restores */
	AttrNumber	attno;			/* today; InvalidAttrNumber: dropped */
	NameData	name;			/* today */
	Oid			type;
	int16		length;
	bool		by_value;
	bool		captured;		/* its changes become events */
	const text *event;			/* type of the event that its change makes, or
								 * NULL */
	bool		is_personal;
} EsTrackedColumn;

/* A word of the table for a state of the machine. */
typedef struct EsTrackedState
{
	const text *word;
	const text *state;
} EsTrackedState;

/* What event_types says about an edge: "OLD->NEW", of which OLD may be empty. */
typedef struct EsTrackedEdge
{
	const text *edge;
	const text *type;
} EsTrackedEdge;

struct EsTrackingText;

/* Valid until the end of the transaction. */
typedef struct EsTracking
{
	const text *category;
	const char *name;			/* of the category */
	const text *created;		/* "<category>_created" and so on */
	const text *updated;
	const text *deleted;
	Oid			relid;			/* the table named to track_table();
								 * InvalidOid: it is gone */
	bool		is_active;		/* false: untracked since */
	bool		records_violations;
	int64		since;			/* position of the track_table() that it has
								 * been tracked from without a break */
	int64		position;		/* of the latest definition */

	int			ncolumns;		/* in order of attno, those of today alone */
	EsTrackedColumn *columns;
	int			nkeys;
	AttrNumber *keys;			/* in the order of the key */
	AttrNumber	state_column;	/* InvalidAttrNumber: none */
	AttrNumber	reason_column;
	AttrNumber	actor_column;
	AttrNumber	lost_column;	/* a column without which nothing can be
								 * captured is gone: its place in the key from
								 * 1, or -1 for the state column; 0: none is */

	List	   *states;			/* EsTrackedState */
	List	   *edges;			/* EsTrackedEdge */
	const EsPii *pii;			/* where events have personal fields from now
								 * on, or NULL */
	EsExpr	   *subject;		/* whom a row is about, or NULL */
	TupleDesc	row;			/* that it sees */

	/* Of the files of capture alone. */
	const struct EsTrackingText *definition;	/* with the columns of today */
	bool		is_outdated;	/* the one in the log has others */
	List	   *versions;		/* who was called what, when */
} EsTracking;

/* A table whose rows are captured: the tracked one, or one of its partitions. */
typedef struct EsTrackedTable
{
	Oid			relid;			/* key */
	const EsTracking *tracking;
	int			natts;			/* of the tracked table */
	AttrNumber *map;			/* this table's number of each of its columns,
								 * 0: none; NULL: the same */
	bool		batches;		/* its events may wait for the end of the
								 * statement */
} EsTrackedTable;

/*
 * The tracking of a table, or of the partitioned table that it is part of; of a
 * table that is untracked by now, too (is_active is false then).  NULL: it was
 * never tracked.
 */
extern const EsTracking *es_tracking_of_table(Oid relid);

/* The same by category. */
extern const EsTracking *es_tracking_of_category(const char *category);

/*
 * The column that was called so when the event at that position was captured,
 * as it is numbered in the table today; InvalidAttrNumber: it is gone.
 */
extern AttrNumber es_tracking_attno(const EsTracking *tracking, const char *name, int len,
									int64 position);

/* Did the table have this column of today when the event at that position was captured? */
extern bool es_tracking_had_column(const EsTracking *tracking, AttrNumber attno, int64 position);

/* The column with this number; NULL if the definition does not know it. */
extern const EsTrackedColumn *es_tracking_column(const EsTracking *tracking, AttrNumber attno);

/* Key of a row (values by attno - 1, of the tracked table), as in its stream's name. */
extern text *es_tracking_key(const EsTracking *tracking, const Datum *values, const bool *nulls);

/* "<category>-<key>" */
extern text *es_tracking_stream(const EsTracking *tracking, const Datum *values, const bool *nulls);

/* Whom a row is about; NULL: its stream, or whom its category says. */
extern const text *es_tracking_subject(const EsTracking *tracking, const Datum *values, const bool *nulls);

/* The state that a row is in, by its state column; NULL: none. */
extern const text *es_tracking_state(const EsTracking *tracking, const Datum *values,
									 const bool *nulls);

/* The table's word for a state. */
extern const text *es_tracking_word(const EsTracking *tracking, const text *state);

/*
 * The table of a row trigger that was made for a category; an error if the
 * definition of that category does not name it.
 */
extern const EsTrackedTable *es_tracking_of_trigger(Relation rel, const char *category);

/* eventsource.capture() */
extern Oid	es_tracking_function(void);

extern void es_tracking_init(void);

#endif							/* ES_CAPTURE_TRACK_H */
