/*
 * rewrite.h
 *		Full segments written anew beside the log, and put into the place of one of them.
 */
#ifndef ES_TRUST_REWRITE_H
#define ES_TRUST_REWRITE_H

#include "postgres.h"

#include "access/htup.h"
#include "trust/archive.h"

typedef struct EsRewrite
{
	const EsArchiveRun *run;
	const EsSegment *members;	/* neighbours, in order */
	int			count;
	int			keeper;			/* whose table gets it all */
	Oid			tablespace;		/* 0: that of the database */
	bool		(*keep) (void *arg, HeapTuple row); /* NULL: all stay */
	void	   *arg;

	/* Of the copy, once it is made. */
	EsArchived	copied;			/* events and digest alone */
	Oid			new_heap;
	TransactionId frozen_xid;
	MultiXactId min_multi;
} EsRewrite;

/*
 * Are there versions of rows that an older snapshot may see, and that would not be
 * in the segment as it is written anew?  An erasure just before leaves them.
 */
extern bool es_rewrite_is_early(const EsSegment *segment);

/*
 * Makes the copy, with its indexes, and reads it once.  The caller holds SHARE UPDATE
 * EXCLUSIVE on the segments: readers go on.
 */
extern void es_rewrite_copy(EsRewrite *rewrite);

/*
 * Locks what the swap needs, the keeper and its TOAST table, by es_archive_lock() or
 * es_archive_lock_now().
 */
extern void es_rewrite_lock(const EsRewrite *rewrite, void (*lock) (Oid table, LOCKMODE mode));

/* The keeper becomes what was copied, in a moment. */
extern void es_rewrite_swap(EsRewrite *rewrite);

/* Where segments are to be that are archived now; else where this one is. */
extern Oid	es_rewrite_tablespace(const EsSegment *segment);

#endif							/* ES_TRUST_REWRITE_H */
