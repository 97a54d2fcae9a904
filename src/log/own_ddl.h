/*
 * own_ddl.h
 *		Whether a change to the catalogs is our own doing.
 *
 * What is guarded (src/trust) refuses DDL from outside.  What the extension does
 * itself, to tables that it makes and moves at run time, it does in here.
 */
#ifndef ES_LOG_OWN_DDL_H
#define ES_LOG_OWN_DDL_H

#include "postgres.h"

/*
 * Runs fn as our own doing.  However it ends, what comes after is the caller's
 * doing again.  es_catalog_as_owner() is in here by itself.  fn runs no code of users.
 */
extern void es_own_ddl(void (*fn) (void *arg), void *arg);

extern bool es_own_ddl_is(void);

#endif							/* ES_LOG_OWN_DDL_H */
