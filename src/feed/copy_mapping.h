/*
 * copy_mapping.h
 *		What becomes of the events of a category that is copied.
 */
#ifndef ES_FEED_COPY_MAPPING_H
#define ES_FEED_COPY_MAPPING_H

#include "append/hall.h"
#include "nodes/pg_list.h"

typedef struct EsMapping EsMapping;
typedef struct EsMappingTarget EsMappingTarget;

/* What is wrong with a mapping whose expressions have the current user's rights, as lines. */
extern List *es_mapping_check(Jsonb *mapping);

/*
 * Compiles one that was checked (NULL: every event stays as it is), into the
 * current memory context.
 */
extern EsMapping *es_mapping_compile(Jsonb *mapping, const char *to, Oid owner);

/* What an event of a type becomes, in order: List of EsMappingTarget; NIL: nothing. */
extern List *es_mapping_targets(const EsMapping *mapping, const text *type);

/*
 * Stream, type, data and schema version of one event that it becomes, palloc'd;
 * false: it does not become that one.
 */
extern bool es_mapping_apply(const EsMapping *mapping, const EsMappingTarget *target, const EsEvent *event,
							 EsDraft *draft);

#endif							/* ES_FEED_COPY_MAPPING_H */
