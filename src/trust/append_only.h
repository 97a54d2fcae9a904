/*
 * append_only.h
 *		Tables of users that are made append-only.
 */
#ifndef ES_TRUST_APPEND_ONLY_H
#define ES_TRUST_APPEND_ONLY_H

#include "postgres.h"

#include "nodes/nodes.h"

/* Guards the partitions that a statement has just given to such a table. */
extern void es_append_only_extend(Node *statement);

#endif							/* ES_TRUST_APPEND_ONLY_H */
