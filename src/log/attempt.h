/*
 * attempt.h
 *		Work that may fail without failing the whole.
 */
#ifndef ES_LOG_ATTEMPT_H
#define ES_LOG_ATTEMPT_H

#include "postgres.h"

/*
 * Runs work() in a subtransaction, in the current memory context.  NULL if it is
 * done; else the error, after all that the work did was rolled back.  An error
 * that is_expected() says no to is raised again, and so is the cancelling of the
 * statement, always.
 */
extern ErrorData *es_attempt(void (*work) (void *arg), void *arg, bool (*is_expected) (int sqlstate));

/*
 * Is this what an expression does to itself?  Not so: lost connections, cancellation,
 * exhausted resources, broken rules of our own.
 */
extern bool es_error_is_answer(int sqlstate);

/* As much of a message as is kept; in the current memory context. */
extern char *es_error_clip(const char *message);

#endif							/* ES_LOG_ATTEMPT_H */
