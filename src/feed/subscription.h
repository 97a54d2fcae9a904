/*
 * subscription.h
 *		Subscriptions: what each is defined as, how far it has come, and what is
 *		to be delivered next.  For the files of feed alone.
 */
#ifndef ES_FEED_SUBSCRIPTION_H
#define ES_FEED_SUBSCRIPTION_H

#include "eventsource.h"

#include "access/htup.h"
#include "fmgr.h"
#include "log/final.h"
#include "nodes/pg_list.h"
#include "rules/expr.h"

#define ES_SUBSCRIPTION_KIND	"subscription"
#define ES_SUBSCRIPTION_DEFINED	"subscription_defined"
#define ES_SUBSCRIPTION_DROPPED	"subscription_dropped"

/* What is done about progress by hand, for the record. */
#define ES_PARKING_KIND			"parking"

#define ES_MAX_PARTITIONS	1024

/* ---- definitions (subscription.c) ---- */

typedef struct EsSubscription
{
	char		name[ES_MAX_WORD + 1];
	const text *name_text;
	List	   *categories;		/* char *; NIL: all */
	char	   *filter_source;	/* or NULL */
	EsExpr	   *filter;			/* or NULL */
	int32		partitions;
	int32		max_attempts;
	int64		retry_delay;	/* microseconds */
	bool		holds;			/* a poison event holds its stream */
	Oid			owner;			/* InvalidOid: the role is gone */
	Oid			consumers;		/* or InvalidOid */
} EsSubscription;

/* NULL: there is none of that name.  Valid to the end of the transaction. */
extern const EsSubscription *es_subscription_find(const char *name);

/*
 * The subscription that an argument names, for its owner and its consumers alone.
 * Errors: 22004, 42704, 42501.
 */
extern const EsSubscription *es_subscription_of_consumer(const text *name);

/* The same for its owner alone; the role may be gone. */
extern const EsSubscription *es_subscription_of_owner(const text *name);

/* Whether it is about the event: by category and filter. */
extern bool es_subscription_wants(const EsSubscription *subscription, const EsEvent *event);

/* ---- progress (subscription_rows.c) ---- */

/*
 * How far a line of events has come.  The event that failed last is delivered
 * again, and until it is done with, whatever may be to blame comes alone.
 */
typedef struct EsLine
{
	int64		position;		/* all up to here is done with */
	int64		failing;		/* the event that failed last; 0: none */
	int32		attempts;		/* how often it failed */
	int64		single_upto;	/* up to here events come one at a time */
	TimestampTz retry_at;		/* nothing before; DT_NOBEGIN: at once */
	text	   *error;			/* or NULL */
} EsLine;

/* The progress of one partition, and to whom what is lent. */
typedef struct EsPartition
{
	int32		number;
	EsLine		line;			/* of all streams but those held */
	int64		lane;			/* what is lent is of this lane; 0: the line */
	int64		delivered;		/* last position that is lent; 0: nothing is */
	int64		scanned;		/* where the line is once that is done with */
	bool		is_begun;		/* some of what was lent is done with */
	TimestampTz lease_until;
	TimestampTz served_at;
	text	   *consumer;		/* who has it; NULL: nobody */
	int64		session;		/* from which it was heard of last */
	HeapTuple	tuple;			/* as it was read */
} EsPartition;

/*
 * A parked event, and the line of its own that it makes: the event alone or, if it
 * holds its stream, all of the stream from it up to the part.
 */
typedef struct EsLane
{
	int64		origin;			/* the event that was parked first */
	bool		is_parked;		/* else it is being delivered */
	bool		is_holding;
	EsLine		line;
	int64		stream_id;
	int64		version;		/* of the stream, up to line.position */
	TimestampTz parked_at;
	HeapTuple	tuple;
} EsLane;

/*
 * Whoever changes the progress of a partition holds its lock to the end of the
 * transaction, and reads under it with SnapshotSelf.  unlock: for who took the
 * lock and changed nothing.
 */
extern bool es_partition_try_lock(const EsSubscription *subscription, int32 partition);
extern void es_partition_lock(const EsSubscription *subscription, int32 partition);
extern void es_partition_unlock(const EsSubscription *subscription, int32 partition);

/* In the current memory context. */
extern void es_partition_read(const EsSubscription *subscription, int32 partition, Snapshot snapshot,
							  EsPartition *part);
extern void es_partition_write(const EsSubscription *subscription, EsPartition *part);

/* A partition begins after a position. */
extern void es_partition_create(const EsSubscription *subscription, int32 partition, int64 position);

/* Under its lock; if it is there. */
extern void es_partition_delete(const EsSubscription *subscription, int32 partition);

/* What was lent is not lent any more. */
extern void es_partition_end_lease(EsPartition *part);

/*
 * By name, as it is committed, and our own: where the partition is that is behind the
 * others, 0 if there is none; the streams that events were parked of, List of int64 *.
 */
extern int64 es_partition_slowest(const char *subscription);
extern List *es_lane_streams(const char *subscription);

/* Is what is lent with this consumer? */
extern bool es_partition_is_lent_to(const EsPartition *part, const text *consumer);

/*
 * Of a partition, in order of origin; idle: also those that hold nothing and are
 * not being delivered.  List of EsLane.
 */
extern List *es_lane_list(const EsSubscription *subscription, int32 partition, bool idle_too,
						  Snapshot snapshot);
extern void es_lane_insert(const EsSubscription *subscription, int32 partition, EsLane *lane);
extern void es_lane_write(const EsSubscription *subscription, int32 partition, EsLane *lane);
extern void es_lane_delete(EsLane *lane);

/* No failure is on record any more. */
extern void es_line_forgive(EsLine *line);

/* ---- what comes next (subscription_line.c) ---- */

/* The wanted events of a line, from where it is. */
typedef struct EsLineScan EsLineScan;

/*
 * lane: NULL for the partition's own line.  lanes: those of the partition that are
 * not idle.  expected: how many events will be asked for, most likely.
 */
extern EsLineScan *es_line_scan_begin(const EsSubscription *subscription, const EsPartition *part,
									  const EsLane *lane, const List *lanes, EsFinal *final,
									  int32 expected);
extern bool es_line_scan_next(EsLineScan *scan, EsEvent *event);

/* Is there a next event?  Instead of asking for it, and cheaper. */
extern bool es_line_scan_has_next(EsLineScan *scan);

/* The event returned last will be acted on. */
extern void es_line_scan_note(EsLineScan *scan);

/* Up to where there is nothing more, once next returned false. */
extern int64 es_line_scan_upto(const EsLineScan *scan);
extern void es_line_scan_end(EsLineScan *scan);

extern EsLane *es_lane_find(const List *lanes, int64 origin);

/*
 * Nothing is left in a lane of which nothing is lent, and nothing will come.  A
 * filter that fails is no error here: something may be left.
 */
extern bool es_lane_is_empty(const EsSubscription *subscription, const EsPartition *part, const EsLane *lane);

/* May reading what it delivers fail, by its filter or an upcaster?  Then by es_attempt(). */
extern bool es_subscription_can_fail(const EsSubscription *subscription);

/* Likewise: may one of them have raised that? */
extern bool es_is_of_filter(int sqlstate);

/* ---- failures (subscription_fail.c) ---- */

/*
 * An event of a line failed; parks it after the last of its attempts, if it is
 * the line's next.  Writes part and lane.
 */
extern void es_line_fail(const EsSubscription *subscription, EsPartition *part, EsLane *lane,
						 int64 position, text *error, EsFinal *final);

/*
 * The next event of a line, of which nothing is lent, failed often enough already,
 * before it was its turn: it is parked.  True if that is so; writes part and lane.
 */
extern bool es_line_park_next(const EsSubscription *subscription, EsPartition *part, EsLane *lane,
							  EsFinal *final);

/*
 * A lease is over, or its consumer began anew, and its events are not done with: the
 * next one is to blame.
 */
extern void es_partition_expire(const EsSubscription *subscription, EsPartition *part, EsFinal *final);

/* ---- waiting (subscription_wait.c) ---- */

extern void es_subscription_wait_init(void);

/* ---- arguments ---- */

/* An event that a caller speaks of. */
typedef struct EsSpoken
{
	const EsSubscription *subscription;
	int64		position;
	int32		partition;
	int64		stream_id;
	int64		version;
} EsSpoken;

/*
 * From the arguments 0 (subscription) and 1 (position) of a consumer's function.
 * wanted_only: refuses what the filter does not let through.
 */
extern void es_spoken_read(FunctionCallInfo fcinfo, bool wanted_only, EsSpoken *spoken);

/* Who this session is where it does not say. */
extern const text *es_consumer_name(const text *argument);

/* A number that no other session has had. */
extern int64 es_consumer_session(void);

/* Microseconds, a month being 30 days; an error if it is below the least or beyond a century. */
extern int64 es_interval_length(const Interval *interval, const char *what, int64 least);

#endif							/* ES_FEED_SUBSCRIPTION_H */
