/*
 * scrub.h
 *		Tables whose files still hold what was taken away.
 */
#ifndef ES_TRUST_SCRUB_H
#define ES_TRUST_SCRUB_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* List of OIDs; to be scrubbed once this transaction is committed. */
extern void es_scrub_note(List *tables);

/* The same of these, and of the private tables that say something of single events. */
extern void es_scrub_note_pruned(List *tables);

#endif							/* ES_TRUST_SCRUB_H */
