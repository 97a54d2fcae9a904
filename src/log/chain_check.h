/*
 * chain_check.h
 *		Whether events are what their hashes say, and whole from the first on.
 */
#ifndef ES_LOG_CHAIN_CHECK_H
#define ES_LOG_CHAIN_CHECK_H

#include "eventsource.h"

/* Memory: 56 bytes and overhead per stream, in the current context. */
typedef struct EsChainCheck EsChainCheck;

typedef struct EsChainVerdict
{
	bool		follows;		/* its version is the next one */
	bool		matches;		/* its hash is that of the event and the one
								 * before it */
	int64		after;			/* the version before it, 0: it is the first */
} EsChainVerdict;

extern EsChainCheck *es_chain_check_begin(void);

/* The next event, as stored; those of each stream come in order. */
extern void es_chain_check_event(EsChainCheck *check, const EsEvent *event, EsChainVerdict *verdict);

extern void es_chain_check_end(EsChainCheck *check);

#endif							/* ES_LOG_CHAIN_CHECK_H */
