/*
 * track_personal.h
 *		What is personal in the rows of a tracked table, and whom they are about.
 *		For the files of capture alone.
 */
#ifndef ES_CAPTURE_TRACK_PERSONAL_H
#define ES_CAPTURE_TRACK_PERSONAL_H

#include "eventsource.h"

#include "capture/track_check.h"
#include "rules/pii.h"
#include "utils/snapshot.h"

/*
 * Marks the columns that pii says are personal, or those that were before if it says
 * nothing; checks the subject's expression.  Adds to the list what is wrong.
 */
extern void es_track_personal_check(const EsProposal *proposal, Relation rel, EsTrackingText *definition,
									List **problems);

/* Error (ZE011) if something that is defined could not bear it; once it is written. */
extern void es_track_personal_refuse(Relation rel);

/*
 * Would a column that is not personal tell a personal one?  A generated column can come,
 * or change, after the definition; it is not captured then.
 */
extern bool es_track_personal_tells(const EsColumnText *column, TupleDesc row, List *columns);

/* Where events have the personal columns; NULL: there are none.  palloc'd. */
extern EsPii *es_track_personal_paths(const EsTrackingText *definition);

/* The same for data whose members are called as the columns are. */
extern EsPii *es_track_personal_members(const EsTrackingText *definition);

/* Compiles the subject's expression into the tracking, whose table is open. */
extern void es_track_personal_compile(EsTracking *tracking, const EsTrackingText *definition, Relation rel,
									  Oid owner);

/*
 * The tracking of a stream's row, if the row was there when it was captured last, and
 * was about the subject (NULL: whoever) then; else NULL.
 */
extern const EsTracking *es_track_personal_row(const text *stream, const text *subject, Snapshot snapshot);

extern void es_track_personal_init(void);

#endif							/* ES_CAPTURE_TRACK_PERSONAL_H */
