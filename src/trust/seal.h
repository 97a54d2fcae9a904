/*
 * seal.h
 *		Sealing: the tree over the log grows by the events that became final.
 */
#ifndef ES_TRUST_SEAL_H
#define ES_TRUST_SEAL_H

#include "postgres.h"

/* A duty of the worker (feed/worker.h), which the module's load gives to it. */
extern long es_seal_duty(void);

extern void es_seal_init(void);

#endif							/* ES_TRUST_SEAL_H */
