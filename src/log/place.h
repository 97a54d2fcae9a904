/*
 * place.h
 *		Where rows stood that are written anew again and again.
 */
#ifndef ES_LOG_PLACE_H
#define ES_LOG_PLACE_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* Longest name that a row can be remembered by, with the NUL. */
#define ES_PLACE_NAME_SIZE	320

/*
 * The version that the snapshot sees of whatever row stands now where the one of
 * this name was noted; NULL if none was, or it sees none.  It may be another row:
 * look at its key.  Palloc'd.
 */
extern HeapTuple es_place_read(Relation rel, const char *name, Snapshot snapshot);

/* The row of this name was seen there. */
extern void es_place_note(Relation rel, const char *name, HeapTuple row);

#endif							/* ES_LOG_PLACE_H */
