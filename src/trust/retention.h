/*
 * retention.h
 *		How long events are kept, and what must not go.
 */
#ifndef ES_TRUST_RETENTION_H
#define ES_TRUST_RETENTION_H

#include "eventsource.h"

#include "nodes/pg_list.h"
#include "utils/hsearch.h"

/* Kinds of definitions, and the types of their events. */
#define ES_RETENTION_KIND	"retention"
#define ES_HOLD_KIND		"hold"
#define ES_RETENTION_SET	"retention_set"
#define ES_HOLD_PLACED		"hold_placed"
#define ES_HOLD_RELEASED	"hold_released"

typedef enum EsRetentionClass
{
	ES_RETENTION_ORDINARY,		/* a stream goes as a whole, once it rests */
	ES_RETENTION_DISPOSABLE,	/* its oldest events go one by one */
	ES_RETENTION_KEPT			/* consent, money, audit: nothing ever goes */
} EsRetentionClass;

/* What was said about a category at some position of the log. */
typedef struct EsRetentionTerm
{
	int64		position;
	EsRetentionClass class;
	Interval   *detail;			/* NULL: no end */
	Interval   *total;			/* likewise */
	List	   *consent_types;	/* of char * */
	List	   *audit_types;
	int32	   *kept_types;		/* ids of the words of both */
	int			n_kept_types;
} EsRetentionTerm;

typedef struct EsRetention
{
	char	   *category;
	List	   *terms;			/* of EsRetentionTerm, oldest first */
	int32	   *word_ids;		/* of the category */
	int			n_word_ids;
	bool		is_tracked;		/* a table records into it */
	bool		has_context;	/* guards of it see rows of a projection */
} EsRetention;

/* All categories that have a policy; palloc'd.  Sees what is committed, and our own. */
extern List *es_retention_load(void);

/* The policy in force, which says what moves to the archive. */
extern const EsRetentionTerm *es_retention_now(const EsRetention *retention);

/* Has a moment come that lies an interval after another?  In UTC, whatever the session's zone. */
extern bool es_retention_is_past(TimestampTz recorded_at, const Interval *interval, TimestampTz now);

/*
 * Is the event past the longest term that it ever was promised: that in force when
 * it was recorded, and all later ones?  What was recorded before the first policy
 * of its category was promised to stay.  *as_a_whole: only with its whole stream.
 */
extern bool es_retention_is_expired(const EsRetention *retention, int64 position, TimestampTz recorded_at,
									int32 type, TimestampTz now, bool *as_a_whole);

/* ---- what keeps events that have expired (retention_holds.c) ---- */

typedef struct EsHolds
{
	HTAB	   *streams;		/* by hash of the name: who shares one is held
								 * as well */
	HTAB	   *subjects;
	HTAB	   *owed;			/* ids of streams that are needed whole, and
								 * who needs them */
	List	   *needs;			/* of EsNeed: of all others */
} EsHolds;

/* What is held; palloc'd in the current context. */
extern EsHolds *es_holds_load(void);
extern bool es_holds_any_subject(const EsHolds *holds);
extern bool es_holds_stream(const EsHolds *holds, const text *stream);

/* Who needs the stream whole, as it has parked an event of it; NULL: nobody. */
extern const char *es_holds_owed(const EsHolds *holds, int64 stream_id);

/*
 * Up to which position all who read a category (word) have dealt with it, and who is
 * behind the others; PG_INT64_MAX and NULL: nobody reads it.
 */
extern int64 es_holds_upto(const EsHolds *holds, int32 category, const char **who);
extern bool es_holds_subject(const EsHolds *holds, const text *subject);

/*
 * An error (55000) if the subject, or one of the streams (ids), is held.  Whoever erases
 * asks, under es_retention_lock(true, true).
 */
extern void es_holds_expect_none(const text *subject, const int64 *streams, int64 n_streams);

/*
 * Serialises, to the end of the transaction, whoever takes events away; shared: whoever
 * says what may not be taken, or changes events as they stand, which may not happen
 * while they are copied.  False: somebody else has it, and wait is false.
 */
extern bool es_retention_lock(bool shared, bool wait);

#endif							/* ES_TRUST_RETENTION_H */
