/*
 * segment_table.h
 *		The tables of segments: made, attached, joined.
 *
 * All of it inside es_catalog_as_owner(), by whoever changes the set of segments
 * (log/segment.h).
 */
#ifndef ES_LOG_SEGMENT_TABLE_H
#define ES_LOG_SEGMENT_TABLE_H

#include "log/segment.h"

/* An empty table with its indexes and guards, not attached yet. */
extern void es_segment_table_make(const char *name);

/* Makes it the segment with these bounds. */
extern void es_segment_table_attach(const char *name, int64 lower, int64 upper);

/*
 * Neighbours, in order, become one: the table of one of them, which holds all rows by
 * now, gets the whole range, the others are dropped.  The caller holds ACCESS EXCLUSIVE
 * on all of them and on the log's parent.
 */
extern void es_segment_table_join(const EsSegment *members, int count, int keeper);

#endif							/* ES_LOG_SEGMENT_TABLE_H */
