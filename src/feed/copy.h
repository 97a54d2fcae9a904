/*
 * copy.h
 *		Copies of categories: the events of one category, written anew into another.
 */
#ifndef ES_FEED_COPY_H
#define ES_FEED_COPY_H

#include "eventsource.h"

#define ES_COPY_KIND		"category_copy"
#define ES_COPY_DEFINED		"category_copy_defined"
#define ES_COPY_DROPPED		"category_copy_dropped"

/* In the metadata of a copied event: {position, stream, version} of the original. */
#define ES_COPY_SOURCE		"copied_from"

typedef struct EsCopy
{
	const char *from;
	const char *to;				/* its definition has this name */
	Jsonb	   *mapping;		/* or NULL: every event as it is */
	Oid			definer;		/* whose rights the mapping has, InvalidOid:
								 * gone */
	const char *follower;		/* name of its cursor */
} EsCopy;

/* How far a stretch came. */
typedef struct EsCopied
{
	int64		began;			/* where the first stretch of the call did; -1
								 * before that */
	int64		appended;		/* events of the new category */
	int64		position;		/* all up to here is copied */
	int64		upto;			/* the watermark */
} EsCopied;

/* The copy to a category, or NULL; palloc'd. */
extern EsCopy *es_copy_find(const char *to);

/*
 * Copies what follows the cursor, up to the watermark, at most so many events of
 * the old category (PG_INT64_MAX: all); if is_brief, no more than what needs few
 * locks.  The cursor is locked; it moves along.
 */
extern void es_copy_run(const EsCopy *copy, int64 max_events, bool is_brief, EsCopied *result);

#endif							/* ES_FEED_COPY_H */
