/*
 * chain_check.h
 *		Whether events are what their hashes say, and whole from the first on.
 */
#ifndef ES_LOG_CHAIN_CHECK_H
#define ES_LOG_CHAIN_CHECK_H

#include "eventsource.h"

#include "utils/snapshot.h"

/* Memory: 80 bytes per stream, but maintenance_work_mem at most, in the current context. */
typedef struct EsChainCheck EsChainCheck;

typedef struct EsChainVerdict
{
	bool		follows;		/* its version is the next one */
	bool		matches;		/* its hash is that of the event and the one
								 * before it, and its personal fields are what
								 * it commits to; but for what erasures
								 * account for */
	bool		is_redacted;	/* there is such */
	const char *problem;		/* why it does not match, or NULL */
	int64		after;			/* the version before it, 0: it is the first */
} EsChainVerdict;

/* The snapshot, registered as long, is that which the events are read with. */
extern EsChainCheck *es_chain_check_begin(Snapshot snapshot);

/*
 * The next event, as stored; those of each stream come in order.  The first of a
 * stream follows the one before it in the log, or the last one that was taken away
 * (log/pruned.h).
 */
extern void es_chain_check_event(EsChainCheck *check, const EsEvent *event, EsChainVerdict *verdict);

/* What is wrong with its place in the stream; NULL: nothing. */
extern const char *es_chain_gap(const EsChainVerdict *verdict, const EsEvent *event);

/* Of the erasures that were met on the way. */
struct EsAccounts;
extern struct EsAccounts *es_chain_check_accounts(const EsChainCheck *check);

extern void es_chain_check_end(EsChainCheck *check);

#endif							/* ES_LOG_CHAIN_CHECK_H */
