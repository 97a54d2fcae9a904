/*
 * queue.h
 *		Queues of jobs: what they are defined as, and who may send and work there.
 *
 *		A queue need not be defined: then it has what create_queue() has by default, and
 *		is for those who append to every category.
 */
#ifndef ES_APPEND_QUEUE_H
#define ES_APPEND_QUEUE_H

#include "eventsource.h"
#include "nodes/pg_list.h"

#define ES_QUEUE_KIND		"queue"
#define ES_QUEUE_DEFINED	"queue_defined"
#define ES_QUEUE_DROPPED	"queue_dropped"

#define ES_QUEUE_MAX_ATTEMPTS	3
#define ES_QUEUE_BACKOFF		(300 * USECS_PER_SEC)
#define ES_QUEUE_JITTER			0.1
#define ES_QUEUE_MAX_BACKOFF	USECS_PER_DAY
#define ES_QUEUE_LEASE			(5 * USECS_PER_MINUTE)
#define ES_QUEUE_KEEP			(14 * USECS_PER_DAY)
#define ES_QUEUE_MAX_DEAD		100

/* Lengths of time are in microseconds. */
typedef struct EsQueue
{
	char		name[ES_MAX_WORD + 1];
	int64		version;		/* 0: it is not defined */
	Oid			owner;			/* of its definition; InvalidOid: none, or
								 * gone */
	Oid			workers;		/* role whose members work there, or
								 * InvalidOid */
	Oid			senders;		/* role whose members send there, or
								 * InvalidOid */
	int32		max_attempts;
	int64		backoff;		/* after the first failure */
	bool		is_fixed;		/* after each of them; else doubled each time */
	double		jitter;			/* up to such a part more or less */
	int64		max_backoff;
	int64		lease;
	int64		keep;			/* how long finished jobs are kept */
	int32		max_dead_per_hour;
} EsQueue;

/* Never NULL; valid until the end of the transaction. */
extern const EsQueue *es_queue_get(const text *name);

/* Those that are defined, in order of name; List of EsQueue. */
extern List *es_queue_list(void);

/* What is wrong with the name of a queue of users, or NULL. */
extern const char *es_queue_name_problem(const char *name);

/*
 * Errors for whom the current user may not send to, or work in, a queue: 42501, and
 * 22023 for what cannot be a queue's name.  Those of the database's own are for the owner of the
 * log.
 */
extern void es_queue_expect_sender(const text *name);
extern void es_queue_expect_worker(const text *name);
extern bool es_queue_may_work(const text *name);

/* How long to wait after so many failures, by dice. */
extern int64 es_queue_delay(const EsQueue *queue, int failures);

/* The length of an interval in microseconds; 22023 if it is less than least, or more than a century. */
extern int64 es_queue_length(const Interval *interval, const char *what, int64 least);

#endif							/* ES_APPEND_QUEUE_H */
