/*
 * compat.h
 *		The only place that knows how PostgreSQL majors differ.
 */
#ifndef ES_COMPAT_H
#define ES_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "eventsource supports PostgreSQL 15 to 18"
#endif

#include "access/genam.h"
#include "executor/executor.h"

/* 16 added onlySummarizing. */
static inline List *
es_compat_insert_index_tuples(ResultRelInfo *rel, TupleTableSlot *slot,
							  EState *estate, bool update)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rel, slot, estate, update, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(rel, slot, estate, update, false, NULL, NIL);
#endif
}

#endif							/* ES_COMPAT_H */
