/*
 * fold_row.h
 *		The rows of a fold: what fold.c, fold_lock.c and replay.c share.
 */
#ifndef ES_PROJECT_FOLD_ROW_H
#define ES_PROJECT_FOLD_ROW_H

#include "project/fold.h"
#include "project/projection.h"

/* A row in memory, with the image it was found with. */
typedef struct EsRow
{
	const EsTarget *target;
	uint32		hash;
	Datum	   *key;
	HeapTuple	found;			/* as the table has it, NULL: not there */
	HeapTuple	now;			/* as folded so far, NULL: not there */
	bool		changed;
	int64		last_position;	/* of the last event that folded into it; 0:
								 * none yet */

	/* Of a replay. */
	bool		compared;		/* the table's row was seen */
	int64		parted_at;		/* of the first event after which it was never
								 * again as found */
} EsRow;

#define ES_NOT_PARTED	0		/* it is as found */
#define ES_NEVER_EQUAL	(-1)	/* it was at no time as found */

/* An empty fold of one projection that neither reads its table nor locks. */
extern EsFold *es_fold_begin_replay(MemoryContext parent, EsProjection *projection);

/*
 * An empty fold of one projection that goes on from the rows of its table.  The
 * caller holds the table and keeps out whoever else writes it.
 */
extern EsFold *es_fold_begin_follow(MemoryContext parent, EsProjection *projection);

/* From now on it leaves rows alone that were not entered before. */
extern void es_fold_restrict(EsFold *fold);
extern bool es_fold_is_restricted(const EsFold *fold);

/*
 * From now on rows that it has not begin as the table's are under the snapshot,
 * which the caller registers.
 */
extern void es_fold_read_base(EsFold *fold, Snapshot base);

/*
 * For a replay: calls changed() after each change of a row by an event; a row
 * that is not (or no longer) there has "now" NULL.
 */
typedef void (*EsRowWatch) (EsRow *row, void *arg);
extern void es_fold_watch(EsFold *fold, EsRowWatch changed, void *arg);

/*
 * For a replay: from now on it leaves rows alone whose key is not of this part,
 * of so many into which keys are divided (es_target_part).
 */
extern void es_fold_take_part(EsFold *fold, uint32 part, uint32 parts);

/* A copy that lasts as long as the fold's rows; there is one at least. */
extern HeapTuple es_fold_keep(EsFold *fold, HeapTuple row);

/* The row of a key, NULL if the replay has none. */
extern EsRow *es_fold_find(EsFold *fold, const EsTarget *target, const Datum *key);

/* The same, made if there is none. */
extern EsRow *es_fold_enter(EsFold *fold, const EsTarget *target, const Datum *key);

/* All rows, in no order: NULL ends. */
typedef struct EsRowScan
{
	uint32		next;
} EsRowScan;

extern EsRow *es_fold_next_row(EsFold *fold, EsRowScan *scan);

/*
 * While it is in force, an error says in its CONTEXT which row it met; the caller
 * sets row (NULL: none).
 */
typedef struct EsRowContext
{
	ErrorContextCallback callback;
	const EsRow *row;
	bool		hides;			/* rows of personal columns are not for who
								 * asks */
	bool		is_limited;		/* nor is all that the rows are made of */
} EsRowContext;

/* target: of all the rows; NULL: they are of several. */
extern void es_row_begin_context(EsRowContext *context, const EsTarget *target);
extern void es_row_end_context(EsRowContext *context);

/*
 * In such a callback: takes away what the error may quote.  What tells which
 * constraint it was stays, and so does what is no answer of an expression.
 */
extern void es_row_hide_error(void);

/* The locks of shared rows, for all rows of these replays at once. */
extern void es_fold_lock_rows(List *folds);

/* Values of the rule's key columns for an event; an error where one is null. */
extern void es_fold_key(const EsProjection *projection, const EsRule *rule,
						const EsBinding *binding, Datum *key);

/* Calls take() with the key of each row that the event folds into. */
typedef void (*EsKeyTaker) (const Datum *key, void *arg);
extern void es_fold_each_key(const EsProjection *projection, const EsRule *rule, const EsEvent *event,
							 EsKeyTaker take, void *arg);

#endif							/* ES_PROJECT_FOLD_ROW_H */
