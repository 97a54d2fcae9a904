/*
 * progress.h
 *		How far long work has come, for other sessions to see.
 */
#ifndef ES_LOG_PROGRESS_H
#define ES_LOG_PROGRESS_H

#include "eventsource.h"

/* Total of a work whose end is not known. */
#define ES_PROGRESS_UNKNOWN		(-1)

/* Room for what is done, in bytes with the end; what is longer is clipped. */
#define ES_PROGRESS_WHAT_SIZE	64

/* The caller's, on its stack. */
typedef struct EsProgress
{
	char		what[ES_PROGRESS_WHAT_SIZE];
	bool		is_told;		/* false for work within work */
	int64		done;
	int64		total;
	int64		reported;		/* of those done */
	TimestampTz started_at;
	TimestampTz noticed_at;
} EsProgress;

/*
 * Work of so many units begins; "what" says which, as in "backfill of public.leads".
 * An error ends it, so nothing has to be caught.
 */
extern void es_progress_begin(EsProgress *progress, const char *what, int64 total);

/* n more units are done; cheap enough to be called for every event. */
extern void es_progress_step(EsProgress *progress, int64 n);

extern void es_progress_end(EsProgress *progress);

#endif							/* ES_LOG_PROGRESS_H */
