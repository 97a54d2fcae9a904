/*
 * chain.h
 *		The hash that binds each event to the one before it in its stream.
 */
#ifndef ES_LOG_CHAIN_H
#define ES_LOG_CHAIN_H

#include "eventsource.h"

/*
 * Hash of an event (all columns but the hash set) after "previous" (zeros for
 * version 1).
 */
extern void es_chain_hash(const EsEvent *event, const uint8 *previous, uint8 *hash);

/* Those of the event's flags that are hashed. */
extern int	es_chain_hashed_flags(const EsEvent *event);

/*
 * Commitments to personal fields (log/vault.h): of one, hidden by its salt, and of an
 * event's, in the order of their paths.
 */
extern void es_chain_commit_field(const uint8 *salt, const char *path, int length, const JsonbValue *value,
								  uint8 *commit);
extern void es_chain_commit(const uint8 *commits, int count, uint8 *commitment);

/*
 * What is left of an event that something was taken from, by its row as it is stored
 * and its personal fields with their commitments (NULL: it has none, or they are lost).
 */
extern void es_chain_left(const EsEvent *event, const struct EsPersonal *personal, uint8 *digest);

/* A string in UTF-8; the one given if it is so already. */
extern const char *es_chain_utf8(const char *data, int *len);

/* Digest of the columns that are not null and the commitment, bound to no log and no place. */
extern void es_chain_digest(const EsEvent *event, uint8 *digest);

#endif							/* ES_LOG_CHAIN_H */
