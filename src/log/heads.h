/*
 * heads.h
 *		Heads of streams in shared memory.
 */
#ifndef ES_LOG_HEADS_H
#define ES_LOG_HEADS_H

#include "log/stream.h"

/* Whether there are any: the library was preloaded, and the setting is not 0. */
extern bool es_heads_are_shared(void);

/*
 * Takes the stream and its head out of shared memory; false if it is not there,
 * or not to be used by this transaction.  The stream must be locked, for whoever
 * takes it is about to append.
 */
extern bool es_heads_take(const text *name, EsStream *stream, EsHead *head);

/* What one transaction leaves at most; more is read from the log the next time. */
#define ES_HEADS_MAX_LEFT	500

/*
 * Leaves the head for the next appender, if this transaction commits.  The
 * stream must have been entered by es_heads_take(), once for each time.
 */
extern void es_heads_leave(const text *name, const EsStream *stream, const EsHead *head);

/*
 * The name of the stream of this id, if it is there: bytes are copied to name, and
 * their number returned; 0 if it is not.
 */
#define ES_HEADS_MAX_NAME	64	/* longer names are not kept */

extern int	es_heads_name(int64 id, char *name);

extern void es_heads_init(void);

#endif							/* ES_LOG_HEADS_H */
