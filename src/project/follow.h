/*
 * follow.h
 *		Following the log: whoever deals with events by himself, in order and
 *		each once, goes through here.
 */
#ifndef ES_PROJECT_FOLLOW_H
#define ES_PROJECT_FOLLOW_H

#include "log/cursor.h"
#include "log/final.h"
#include "project/pace.h"

/* A stretch of the log, dealt with in one subtransaction. */
typedef struct EsStretch
{
	Snapshot	snapshot;		/* sees all of it */
	int64		after;			/* it begins after this position */
	int64		upto;			/* the watermark */
	int			size;			/* events at most */

	/* Told by who deals with it. */
	int64		at;				/* the event at hand, 0: none yet */
	int			events;			/* so many, with the one at hand */
	int64		reached;		/* all up to here is done */
} EsStretch;

typedef struct EsFollower
{
	const char *name;			/* of the cursor */
	int			size;			/* of the first stretch; each is twice the one
								 * before it, up to the largest */
	int			max_size;
	void	   *arg;

	/* Deals with the next stretch; what it raises is the follower's failure. */
	void		(*apply) (const struct EsFollower *follower, EsStretch *stretch);

	/*
	 * Asked of a failure: may what it deals with have personal fields in it?
	 * Then no text of an error is kept, and it is told to who may see them
	 * alone.
	 */
	bool		(*sees_personal) (const struct EsFollower *follower);
} EsFollower;

typedef enum EsFollowStatus
{
	ES_FOLLOW_CURRENT,			/* nothing is left below the watermark */
	ES_FOLLOW_BEHIND,			/* it stopped where it was told to */
	ES_FOLLOW_PARKED,			/* it failed, and stands still until mended */
	ES_FOLLOW_RETRY,			/* it failed by no fault of its own */
	ES_FOLLOW_BUSY				/* somebody else is at it */
} EsFollowStatus;

typedef struct EsFollowed
{
	EsFollowStatus status;
	int64		events;
	int64		position;		/* of the cursor now; 0 if busy */
	char	   *error;			/* or NULL */
} EsFollowed;

extern const char *es_follow_status_name(EsFollowStatus status);

/*
 * Brings a follower up to the watermark, or so many events (0: no limit) further.
 * Its progress is locked to the end of the transaction; cursor and what it
 * writes are one.  An error of its own is noted and returned, all others are
 * raised.
 */
extern void es_follow_run(const EsFollower *follower, const EsFinal *final, int64 max_events,
						  EsFollowed *result);

#endif							/* ES_PROJECT_FOLLOW_H */
