/*
 * archive.h
 *		Full segments of the log that retention has something to say about.
 */
#ifndef ES_TRUST_ARCHIVE_H
#define ES_TRUST_ARCHIVE_H

#include "eventsource.h"

#include "log/final.h"
#include "log/segment.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "trust/retention.h"

/* One run, in one transaction, under es_retention_lock(). */
typedef struct EsArchiveRun
{
	List	   *retentions;		/* of EsRetention */
	EsHolds    *holds;
	EsFinal    *final;			/* what it goes by */
	TimestampTz now;
	EsSegment  *segments;		/* the full ones, in order */
	int			n_segments;
	int			n_before_last;	/* of all there are: these may be merged
								 * (log/segment.c) */
	int64		upto;			/* below the first that is not full */
	bool		is_patient;		/* what was looked at need not be, again */
	bool		has_surveyed;	/* a segment, for the first time */
	bool		log_is_busy;	/* others keep neighbours apart */
	MemoryContext context;		/* of the whole run */
	List	   *pruned;			/* what is to be said of it at its end
								 * (prune_account.h) */
} EsArchiveRun;

/* What a segment holds of one category (word). */
typedef struct EsSegmentFact
{
	int32		category;
	int64		events;
	TimestampTz first_recorded_at;
	TimestampTz last_recorded_at;

	/* Of the last look for what has expired. */
	TimestampTz looked_at;		/* 0: there was none */
	bool		is_held_up;		/* something had expired, and stayed */
	List	   *held_up;		/* of EsHeldUp; written only */
	int64		due;			/* events that may go now; likewise */
	int64		last_due;		/* position of the last of them */
} EsSegmentFact;

/* What has expired, and why it is there still. */
typedef struct EsHeldUp
{
	const char *who;
	int64		events;
	TimestampTz since;			/* the first of them was recorded */
} EsHeldUp;

/* A row of eventsource.archive. */
typedef struct EsArchived
{
	int64		events;
	int64		pruned;
	TimestampTz archived_at;	/* 0: not archived */
	TimestampTz pruned_at;		/* 0: not pruned */
	uint8		digest[ES_HASH_SIZE];
} EsArchived;

/* eventsource.archive_tablespace */
extern char *es_guc_archive_tablespace;

/* Summaries take part when their subject is erased. */
extern void es_archive_erase_init(void);

/* For the worker: see feed/worker.h. */
extern long es_archive_duty(void);

/* The policy of a category (word); NULL if it has none. */
extern const EsRetention *es_archive_retention(const EsArchiveRun *run, int32 category);

/* What a full segment holds, found once.  List of EsSegmentFact. */
extern List *es_archive_survey(EsArchiveRun *run, const EsSegment *segment);

/* It is to be found anew, since events were taken away. */
extern void es_archive_forget_survey(const EsSegment *segment);

/* The same, from the table that takes its place. */
extern void es_archive_survey_anew(const EsSegment *segment, Oid table);

/* What neighbours hold is what one segment holds, with this lower bound. */
extern void es_archive_join_surveys(const EsSegment *members, int count);

/* Writes down what was seen of a category: held_up, looked_at as of now. */
extern void es_archive_note_look(const EsArchiveRun *run, const EsSegment *segment,
								 const EsSegmentFact *fact);

/* What is written about a segment; false if nothing is. */
extern bool es_archive_read(const EsSegment *segment, EsArchived *archived);
extern void es_archive_write(const EsSegment *segment, const EsArchived *archived);
extern void es_archive_forget(const EsSegment *segment);

/*
 * The digest of all that a segment holds, and how many events that is; an error if an
 * event is not what it was.  Of a table, the digest alone.
 */
extern void es_archive_digest(const EsArchiveRun *run, const EsSegment *segment, EsArchived *archived);
extern void es_archive_digest_table(const EsArchiveRun *run, Oid table, EsArchived *archived);

/*
 * Writes summaries of the events of those categories that have a policy, and none in
 * this segment yet.
 */
extern void es_archive_summarise(EsArchiveRun *run, const EsSegment *segment);

/*
 * Takes what has expired out of a segment, and folds the projections that read it from
 * what is left; how many events.
 */
extern int64 es_prune_segment(EsArchiveRun *run, const EsSegment *segment);

/*
 * Merges the first segments from run->segments[*at] on that can be; how many became one,
 * 0: none can.  *at is left behind them.  To be called last in a transaction, which must end soon.
 */
extern int	es_merge_segments(EsArchiveRun *run, int *at);

/*
 * Locks a table to the end of the transaction; an error (55P03) if that is not to be
 * had within a moment, in which others hardly wait for us.
 */
extern void es_archive_lock(Oid table, LOCKMODE mode);

/* The same, without waiting at all: while the whole log is locked. */
extern void es_archive_lock_now(Oid table, LOCKMODE mode);

/* Runs fn, where no lock is waited for longer than others may be kept waiting. */
extern void es_archive_briefly(void (*fn) (void *arg), void *arg);

#endif							/* ES_TRUST_ARCHIVE_H */
