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

typedef enum EsOwnDdl
{
	ES_NOT_OWN,
	ES_OWN_CODE,				/* C code of ours: what it runs is ours */
	ES_OWN_STATEMENT			/* a utility statement of that: its parts are,
								 * but no other statement */
} EsOwnDdl;

/*
 * Runs fn as our own doing.  However it ends, what comes after is the caller's
 * doing again.  es_catalog_as_owner() is in here by itself.  fn runs no code of users.
 */
extern void es_own_ddl(void (*fn) (void *arg), void *arg);

extern bool es_own_ddl_is(void);

/*
 * For the hooks: a utility statement begins, which may be a part of another one, or a
 * query.  What is returned is for es_own_ddl_end(), which is called whether it fails or not.
 */
extern EsOwnDdl es_own_ddl_begin_statement(bool is_part);
extern EsOwnDdl es_own_ddl_begin_query(void);
extern void es_own_ddl_end(EsOwnDdl before);

#endif							/* ES_LOG_OWN_DDL_H */
