/*
 * maintenance.h
 *		The one way past the guards, which leaves an event.
 */
#ifndef ES_TRUST_MAINTENANCE_H
#define ES_TRUST_MAINTENANCE_H

#include "postgres.h"

/* Was it allowed in this transaction? */
extern bool es_maintenance_is_allowed(void);

/*
 * After an upgrade of the extension: what it is now is what it is to be.  Does nothing where
 * maintenance was not allowed.
 */
extern void es_maintenance_renew_manifest(void);

extern void es_maintenance_init(void);

#endif							/* ES_TRUST_MAINTENANCE_H */
