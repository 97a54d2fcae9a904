/*
 * correct.h
 *		Corrections: what one does to the history of its stream, judged before it is
 *		appended.
 */
#ifndef ES_APPEND_CORRECT_H
#define ES_APPEND_CORRECT_H

#include "append/hall.h"
#include "project/refold.h"
#include "utils/snapshot.h"

typedef struct EsRevision
{
	/* What is asked for. */
	int64		position;		/* of the event to correct */
	const text *stream;			/* its own; these three are looked up */
	int64		stream_id;
	int64		version;
	Jsonb	   *data;			/* given; then with what the database fills
								 * in, and without personal fields */
	EsPersonal *personal;		/* those, or NULL */
	const EsPersonal *like;		/* data has such where these are; or NULL */
	EsErasedMode erased_as;		/* its subject, when data was read */
	bool		is_void;
	Jsonb	   *unless;			/* data that need no correction, or NULL */
	Snapshot	snapshot;		/* taken after the stream was locked */

	/* What it does. */
	const text *subject;		/* of the corrected event */
	const text *state;			/* in which it, and those after it that leave
								 * the state alone, leave the stream */
	int64		upto;			/* below this position; 0: to the end */
	const text *final_state;	/* of the stream; before: as it is now */
	EsRefold   *rows;			/* that it touches */
} EsRevision;

/*
 * Replays the stream as it would be corrected; an error if that is not legal.
 * The stream is locked.  Everything is palloc'd in the current context.
 */
extern void es_correct_judge(EsRevision *revision);

/*
 * Corrects or voids the event at revision->position, as correct_event() does;
 * false if it says already what it should.  No batch may hold events of the
 * stream.
 */
extern bool es_correct_append(EsRevision *revision, const text *reason, const text *actor,
							  EsAppended *result);

#endif							/* ES_APPEND_CORRECT_H */
