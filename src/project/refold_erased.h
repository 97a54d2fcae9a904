/*
 * refold_erased.h
 *		Rows of projections when a subject is erased: those that its events touched,
 *		folded anew from what is left.
 */
#ifndef ES_PROJECT_REFOLD_ERASED_H
#define ES_PROJECT_REFOLD_ERASED_H

#include "log/erasing.h"

/* At module load. */
extern void es_refold_erased_init(void);

#endif							/* ES_PROJECT_REFOLD_ERASED_H */
