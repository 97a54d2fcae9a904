/*
 * change.h
 *		Changes of rows of tracked tables as events.
 *
 * A row is given as values by attno - 1 of the tracked table (the root, where it
 * is partitioned).
 */
#ifndef ES_CAPTURE_CHANGE_H
#define ES_CAPTURE_CHANGE_H

#include "append/hall.h"
#include "capture/track.h"
#include "rules/category.h"

typedef struct EsRowImage
{
	const Datum *values;		/* NULL: there is no such row */
	const bool *nulls;
} EsRowImage;

/* One change of one row, on its way to the log. */
typedef struct EsChange
{
	const EsTracking *tracking;
	const EsCategory *category;
	EsBatch    *batch;
	EsRowImage	old;
	EsRowImage	new;
	bool	   *changed;		/* by column of the tracking; NULL: not an
								 * update */
	const EsRowImage *about;	/* whose subject events have; NULL: that of
								 * the new row, or of the old if there is none */
	bool		is_passed_on;	/* an update: the row is about somebody else
								 * now */
	text	   *stream;
	EsHead		head;			/* of the stream, as it stands now */
	const text *actor;			/* or NULL for the default */
	const text *reason;			/* of the reason column, or NULL for the
								 * default */
} EsChange;

/* Adds what an INSERT, UPDATE or DELETE did to a row. */
extern void es_change_capture(const EsTracking *tracking, EsBatch *batch, const EsRowImage *old,
							  const EsRowImage *new);

/*
 * The genesis event of a row: what there was before it was tracked.  Type
 * "<category>_created", SYNTHETIC and CAPTURED, enters the row's state.  The
 * caller sets what it knows better (occurred_at, actor) and adds it to a batch.
 */
extern void es_change_genesis(const EsTracking *tracking, const Datum *values, const bool *nulls,
							  EsDraft *draft);

/* The state column's state, if the category follows a machine; else NULL. */
extern const text *es_change_state(const EsChange *change, const EsRowImage *row);

/* Adds an event to the batch; the head goes on with it. */
extern void es_change_add(EsChange *change, EsDraft *draft);

/*
 * reconcile.c: makes the stream end as the row was before the change, where the
 * row has a past that was not captured.
 */
extern void es_change_reconcile(EsChange *change);

/* edge.c: what the machine calls a change of state. */
typedef struct EsEdgePick
{
	const text *type;			/* NULL: a violation */
	EsPassage	passage;
	bool		gives_reason;	/* the reason column's value goes with it */
	List	   *reasons;		/* codes to choose from; const text * */
	int			sqlstate;		/* of the violation */
	char	   *message;
	char	   *detail;
	char	   *hint;
} EsEdgePick;

extern void es_edge_pick(const EsChange *change, const text *from, const text *to, EsEdgePick *pick);

/* How a column's event is judged: false if the machine does not know its type. */
extern bool es_edge_of_type(const EsChange *change, const text *type, EsEdgePick *pick);

/*
 * Changes of state that several event types of the machine could stand for, as
 * lines for track_table() to refuse; NIL: none.
 */
extern List *es_edge_ambiguities(EsMachine *machine, List *edges);

#endif							/* ES_CAPTURE_CHANGE_H */
