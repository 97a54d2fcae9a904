/*
 * protected.h
 *		What is guarded, and when.
 */
#ifndef ES_TRUST_PROTECTED_H
#define ES_TRUST_PROTECTED_H

#include "postgres.h"

#include "compat.h"
#include "utils/snapshot.h"

typedef enum EsProtection
{
	ES_UNPROTECTED,
	ES_PROTECTED_OURS,			/* of the extension, or in its schema */
	ES_PROTECTED_TABLE			/* a table of a user's that is append-only */
} EsProtection;

/*
 * Of an object or what it belongs to (a trigger to its table).  Snapshot: NULL for the
 * catalogs as they were before this command; SnapshotSelf for what it just made.
 */
extern EsProtection es_protected_object(Oid class, Oid object, Snapshot snapshot);
extern EsProtection es_protected_relation(Oid relid);

/* Is it a trigger that guards, or the clone that a partition has of its parent's? */
extern bool es_protected_is_harmless_trigger(Oid trigger);

/* Has the command left a trigger that fires always? */
extern bool es_protected_fires_always(Oid trigger);

/* Has something guarded a column of the type, or of one that is made of it? */
extern bool es_protected_uses_type(Oid type);

/* Is a type, or part of it, dropped when a session ends? */
extern bool es_protected_is_brief_type(Oid type);

/* Is it a function that was just made of the library pg_surgery? */
extern bool es_protected_is_surgery(Oid function);

/*
 * Are the guards up?  Not before the log was opened in this database (a restore), not
 * in pg_upgrade, and neither for what we do ourselves nor during maintenance.
 */
extern bool es_protected_now(void);

/* Refuses; says what was tried on what. */
ES_NORETURN extern void es_protected_refuse(EsProtection protection, const char *verb, const char *object);

#endif							/* ES_TRUST_PROTECTED_H */
