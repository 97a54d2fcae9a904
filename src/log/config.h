/*
 * config.h
 *		Definitions (state machines, categories, projections) are events of
 *		streams "$config-<kind>.<name>": this reads them, and tells caches when
 *		what they were built from may have changed.
 */
#ifndef ES_LOG_CONFIG_H
#define ES_LOG_CONFIG_H

#include "eventsource.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

typedef struct EsDefinition
{
	char	   *name;			/* without the "$config-<kind>." */
	char	   *type;			/* event type, e.g. "state_machine_defined" */
	Jsonb	   *data;
	int64		version;
	int64		position;		/* of the defining event */
	Oid			owner;			/* role that recorded it, InvalidOid if it is
								 * gone */
} EsDefinition;

/*
 * The generation grows whenever a definition, or a relation that some cache
 * watches, may have changed: a cache built under another generation must be
 * built anew.  Read it before building, so that a change during the build is
 * not lost.  Also accepts pending invalidations.
 */
extern uint64 es_config_generation(void);

/* The same as far as invalidations were accepted. */
extern uint64 es_config_generation_seen(void);

/* Changes of this relation (ALTER, DROP) also end the generation. */
extern void es_config_watch(Oid relid);

/* Latest definition (or version n > 0 of it); NULL if there is none.  palloc'd
 * in the current context.  Sees committed ones and our own uncommitted. */
extern EsDefinition *es_config_read(const char *kind, const char *name, int64 version);

/* All its definitions, oldest first.  List of EsDefinition. */
extern List *es_config_history(const char *kind, const char *name);

/* Names of a kind, in order.  List of char *. */
extern List *es_config_names(const char *kind);

/* Names of all streams that begin so, in order, at most so many.  List of text *. */
extern List *es_config_streams(const char *prefix, int max);

/* Was anything of this kind ever defined? */
extern bool es_config_any(const char *kind);

/* Version of the latest definition that a snapshot sees, registered; 0 if it sees none. */
extern int64 es_config_version_seen(const char *kind, const char *name, Snapshot snapshot);

/* Latest definitions of a kind, in order of name. List of EsDefinition. */
extern List *es_config_list(const char *kind);

/*
 * A role that a definition names, by the members "<what>" and "<what>_oid";
 * InvalidOid if it names none, or it is gone.
 */
extern Oid	es_config_role(Jsonb *data, const char *what);

/* Called by the hall after appending to $config: every backend's generation
 * ends when we commit, ours at once. */
extern void es_config_changed(void);

extern void es_config_init(void);

#endif							/* ES_LOG_CONFIG_H */
