/*
 * roster.h
 *		The table of streams, open for finding and entering them.
 */
#ifndef ES_LOG_ROSTER_H
#define ES_LOG_ROSTER_H

#include "log/stream.h"

/* Lives in the current memory context; nothing is opened yet. */
extern EsRoster *es_roster_begin(void);

/*
 * Finds the row of a stream, ours or committed, and the transaction that wrote
 * it; false if there is none.
 */
extern bool es_roster_find(EsRoster *roster, const text *name, EsStream *stream, TransactionId *xmin);

/* Writes the row of a new stream. */
extern void es_roster_insert(EsRoster *roster, const text *name, const EsStream *stream);

/* Closes what is open. */
extern void es_roster_end(EsRoster *roster);

#endif							/* ES_LOG_ROSTER_H */
