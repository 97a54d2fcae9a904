/*
 * seal.h
 *		Sealing: the tree over the log grows by the events that became final.
 */
#ifndef ES_TRUST_SEAL_H
#define ES_TRUST_SEAL_H

#include "trust/tile.h"

/*
 * Seals up to so many events; how many it sealed, and the newest seal.  May not
 * wait: none are sealed while somebody else is at it.
 */
extern int64 es_seal_run(int64 max_count, bool may_wait, EsSeal *seal);

/* A duty of the worker (feed/worker.h), which the module's load gives to it. */
extern long es_seal_duty(void);

extern void es_seal_init(void);

#endif							/* ES_TRUST_SEAL_H */
