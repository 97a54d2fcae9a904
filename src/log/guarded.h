/*
 * guarded.h
 *		Tables that are projections, told by the guard on them.
 */
#ifndef ES_LOG_GUARDED_H
#define ES_LOG_GUARDED_H

#include "eventsource.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

/*
 * Table of the projection of that name ("schema.table", quoted where needed), by
 * its guard if it was renamed; InvalidOid if it is gone.  Takes no lock.
 */
extern Oid	es_guarded_relid(const char *name);

/* The table that has this name now, guarded or not; InvalidOid if none. */
extern Oid	es_guarded_lookup(const char *name);

/* Name under which a table is defined: its guard's, or its own if it has none. */
extern char *es_guarded_name(Relation rel);

/* Has the table a guard?  Is it one? */
extern bool es_guarded_is(Relation rel);
extern bool es_guarded_is_guard(const Trigger *trigger);

/* eventsource.projection_guard() */
extern Oid	es_guarded_function(void);

#endif							/* ES_LOG_GUARDED_H */
