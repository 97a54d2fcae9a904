/*
 * cursor.h
 *		How far those have come who follow the log by themselves: projections
 *		in mode async, and handlers.
 *
 * A follower is known by its definition: "projection.public.balance",
 * "handler.mailer".
 */
#ifndef ES_LOG_CURSOR_H
#define ES_LOG_CURSOR_H

#include "eventsource.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

typedef struct EsCursor
{
	int64		position;		/* of the last event that it has dealt with */
	TimestampTz applied_at;		/* when it came there */
} EsCursor;

/* Why a follower stands still. */
typedef struct EsFailure
{
	int64		position;		/* of the event that it failed at, 0: of none */
	TimestampTz failed_at;
	char	   *sqlstate;
	char	   *message;
	char	   *detail;			/* or NULL */
} EsFailure;

/* The name of a follower, palloc'd; kind is that of its definition. */
extern char *es_cursor_name(const char *kind, const char *name);

/*
 * Locks its progress until the (sub)transaction ends.  Whoever moves a cursor, or
 * writes what the follower writes, holds this, and takes it before the lock of a
 * table.  False if it would have to wait and should not.
 */
extern bool es_cursor_lock(const char *follower, bool wait);

/*
 * What a snapshot shows; SnapshotSelf under the lock shows what is.  False if
 * there is none.
 */
extern bool es_cursor_read(const char *follower, Snapshot snapshot, EsCursor *cursor);
extern bool es_cursor_read_failure(const char *follower, Snapshot snapshot, EsFailure *failure);

/*
 * Under the lock: was it written by somebody whose work this transaction's snapshot
 * hides, or that of who is about to go on (or NULL)?  It need not have been moved:
 * who erases what was folded already writes it, too.
 */
extern bool es_cursor_is_hidden(const char *follower, Snapshot snapshot);

/* Under the lock: the cursor comes to stand here, made if there is none. */
extern void es_cursor_set(const char *follower, int64 position);

/* Under the lock: it failed; it does so no longer (false: it did not). */
extern void es_cursor_fail(const char *follower, int64 position, const ErrorData *error);
extern bool es_cursor_mend(const char *follower);

/* Names of those that failed. List of char *. */
extern List *es_cursor_list_failures(void);

/* Under the lock: that it failed stays, what was said is forgotten. */
extern void es_cursor_silence(const char *follower);

/* Under the lock: it follows no more. */
extern void es_cursor_drop(const char *follower);

/*
 * Whoever makes something of events and keeps it, consumers of subscriptions too, is
 * among the followers before he takes a lock of his own, to the end of the
 * (sub)transaction.  False if he would have to wait and should not: somebody erases.
 * leave: for who did nothing after all.
 */
extern bool es_followers_enter(bool wait);
extern void es_followers_leave(void);

/*
 * Waits for all of them and keeps them out, to the end of the transaction, those too
 * that are defined meanwhile; who has looked at the log before that is committed must
 * not go on by what it saw (es_cursor_is_hidden() tells).
 */
extern void es_followers_keep_out(void);

#endif							/* ES_LOG_CURSOR_H */
