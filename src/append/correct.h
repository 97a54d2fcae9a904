/*
 * correct.h
 *		What a correction does to the history of its stream, judged before it is
 *		appended.
 */
#ifndef ES_APPEND_CORRECT_H
#define ES_APPEND_CORRECT_H

#include "eventsource.h"
#include "project/refold.h"
#include "utils/snapshot.h"

typedef struct EsRevision
{
	/* What is asked for. */
	const text *stream;
	int64		stream_id;
	int64		position;		/* of the event to correct */
	int64		version;
	Jsonb	   *data;			/* given; then with what the database fills in */
	bool		is_void;
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

#endif							/* ES_APPEND_CORRECT_H */
