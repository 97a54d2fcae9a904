/*
 * publish.h
 *		Publications: events as messages in the WAL, for who decodes it.
 */
#ifndef ES_FEED_PUBLISH_H
#define ES_FEED_PUBLISH_H

#include "log/config.h"
#include "project/follow.h"

#define ES_PUBLICATION_KIND		"publication"
#define ES_PUBLICATION_DEFINED	"publication_started"
#define ES_PUBLICATION_DROPPED	"publication_stopped"

typedef struct EsPublication
{
	const char *prefix;			/* of its messages; its definition has this
								 * name */
	int64		version;		/* of that */
	const char *follower;		/* name of its cursor */
	Oid			definer;		/* whose rights it has, InvalidOid: gone */
	List	   *categories;		/* of char *; NIL: all */
	const char *filter;			/* or NULL */
	EsPace		pace;
} EsPublication;

/* All that were started and not stopped, in order of prefix.  List of EsPublication, palloc'd. */
extern List *es_publication_list(void);

/* The one of that prefix, or NULL. */
extern EsPublication *es_publication_find(const char *prefix);

/* Error (55000) unless what is published can be decoded. */
extern void es_publication_expect_decoding(void);

/* Writes the messages of what is left below the watermark; see es_follow_run(). */
extern void es_publication_run(const EsPublication *publication, const EsFinal *final, int64 max_events,
							   EsFollowed *result);

/* The worker's duty: a turn of each publication that is behind; see EsDuty. */
extern long es_publication_duty(void);

#endif							/* ES_FEED_PUBLISH_H */
