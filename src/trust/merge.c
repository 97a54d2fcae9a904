/*
 * merge.c
 *		Full segments that hold little become one with their neighbours, and those that
 *		hold nothing any more go: their range becomes a neighbour's.
 *
 * Neighbours are merged when all that hold something are archived, together they hold no
 * more than one segment may (eventsource.segment_size), and none of them holds more than
 * twice what the others do, so that what is copied comes to be in something that is
 * larger by half at least: an event is copied a few times, whatever comes.  Those that
 * hold nothing become one with any full neighbour, where nothing is copied.
 *
 * It is verified event by event, and written anew beside the log (trust/rewrite.h).
 * What is kept by position, hashes of events that have gone, tiles and summaries, stays as it is.
 *
 * Locks: as for a rewrite; then, for a moment, ACCESS EXCLUSIVE on the log's parent, for
 * whoever appends or reads the log by SQL goes by its list of partitions, and on the segments.
 * Whether that is to be had is asked before anything is copied.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/tablecmds.h"
#include "eventsource.h"
#include "log/catalog.h"
#include "log/segment_table.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "trust/rewrite.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* So many at once: each is locked with its indexes. */
#define MAX_MEMBERS		32

/* Neighbours, from the first one on. */
typedef struct Run
{
	const EsSegment *members;
	int			count;
	int			keeper;			/* the one that holds something, or the first */
	int			n_full;			/* hold something */
	int64		events;
	int64		most;			/* in one of them */
	bool		has_open;		/* that is not archived */
} Run;

static bool extend(EsArchiveRun *run, Run *neighbours);
static bool is_worth_it(const Run *neighbours);
static void merge(EsArchiveRun *run, const Run *neighbours);
static void join_tables(void *arg);
static void join_archived(const Run *neighbours, const EsArchived *content);

int
es_merge_segments(EsArchiveRun *run, int *at)
{
	for (; *at < run->n_before_last; (*at)++)
	{
		Run			neighbours = {.members = &run->segments[*at]};
		Run			best = {0};

		CHECK_FOR_INTERRUPTS();
		while (*at + neighbours.count < run->n_before_last && extend(run, &neighbours))
			if (is_worth_it(&neighbours))
				best = neighbours;
		if (best.count == 0)
			continue;
		*at += best.count;
		merge(run, &best);
		return best.count;
	}
	return 0;
}

static int64
count_events(EsArchiveRun *run, const EsSegment *segment)
{
	int64		events = 0;
	ListCell   *lc;

	foreach(lc, es_archive_survey(run, segment))
		events += ((EsSegmentFact *) lfirst(lc))->events;
	return events;
}

/* By the next one, if that may be. */
static bool
extend(EsArchiveRun *run, Run *neighbours)
{
	const EsSegment *next = &neighbours->members[neighbours->count];
	Run			longer = *neighbours;
	EsArchived	archived;
	int64		events = count_events(run, next);

	if (longer.count == MAX_MEMBERS || (longer.count > 0 && next[-1].upper != next->lower))
		return false;
	if (events > 0)
	{
		if (longer.n_full++ == 0)
			longer.keeper = longer.count;
		longer.has_open |= !es_archive_read(next, &archived) || archived.archived_at == 0;
	}
	longer.count++;
	longer.events += events;
	longer.most = Max(longer.most, events);
	if (longer.n_full > 1 && (longer.has_open || longer.events > es_guc_segment_size))
		return false;
	*neighbours = longer;
	return true;
}

static bool
is_worth_it(const Run *neighbours)
{
	return neighbours->count > 1 &&
		(neighbours->n_full <= 1 || neighbours->most <= 2 * (neighbours->events - neighbours->most));
}

static bool
is_early(const Run *neighbours)
{
	for (int i = 0; i < neighbours->count; i++)
		if (es_rewrite_is_early(&neighbours->members[i]))
			return true;
	return false;
}

static void
copy(EsArchiveRun *run, const Run *neighbours, EsRewrite *rewrite)
{
	EsSegment	whole = {.lower = neighbours->members[0].lower,
	.upper = neighbours->members[neighbours->count - 1].upper};
	EsArchived	before;

	if (is_early(neighbours))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("an older snapshot sees what segments to be merged hold no more"),
				 errdetail("They begin at position " INT64_FORMAT ".", whole.lower),
				 errhint("Call eventsource.archive_due_in_batches() again later.")));
	for (int i = 0; i < neighbours->count; i++)
		es_archive_summarise(run, &neighbours->members[i]);
	es_archive_digest(run, &whole, &before);
	es_rewrite_copy(rewrite);
	if (rewrite->copied.events != before.events ||
		memcmp(rewrite->copied.digest, before.digest, ES_HASH_SIZE) != 0)
		elog(ERROR, "segments from position " INT64_FORMAT " on would not be the same merged", whole.lower);
}

static void
merge(EsArchiveRun *run, const Run *neighbours)
{
	const EsSegment *members = neighbours->members;
	EsRewrite	rewrite = {.run = run,.members = members,.count = neighbours->count,
	.keeper = neighbours->keeper,.tablespace = es_rewrite_tablespace(&members[neighbours->keeper])};
	Oid			log = es_catalog_oid(ES_REL_EVENT);
	bool		copies = neighbours->n_full > 1;

	run->log_is_busy = true;
	es_archive_lock(log, AccessExclusiveLock);
	run->log_is_busy = false;
	UnlockRelationOid(log, AccessExclusiveLock);
	for (int i = 0; i < neighbours->count; i++)
		LockRelationOid(members[i].table, ShareUpdateExclusiveLock);
	if (copies)
		copy(run, neighbours, &rewrite);
	else
		es_archive_digest_table(run, members[neighbours->keeper].table, &rewrite.copied);
	es_archive_join_surveys(members, neighbours->count);
	join_archived(neighbours, &rewrite.copied);
	es_archive_lock(log, AccessExclusiveLock);
	es_segment_wide_lock();
	for (int i = 0; i < neighbours->count; i++)
		es_archive_lock_now(members[i].table, AccessExclusiveLock);
	if (copies)
	{
		es_rewrite_lock(&rewrite, es_archive_lock_now);
		es_rewrite_swap(&rewrite);
	}
	es_segment_changed();
	es_catalog_as_owner(join_tables, unconstify(Run *, neighbours));
	es_segment_changed();
}

static void
join_tables(void *arg)
{
	const Run  *neighbours = arg;

	for (int i = 0; i < neighbours->count; i++)
	{
		Relation	rel = table_open(neighbours->members[i].table, NoLock);

		CheckTableNotInUse(rel, "archive_due");
		table_close(rel, NoLock);
	}
	es_segment_table_join(neighbours->members, neighbours->count, neighbours->keeper);
}

/* What is written about them: of what was archived and what has gone, in all. */
static void
join_archived(const Run *neighbours, const EsArchived *content)
{
	EsArchived	all = *content;
	bool		any = false;

	for (int i = 0; i < neighbours->count; i++)
	{
		EsArchived	one;

		if (!es_archive_read(&neighbours->members[i], &one))
			continue;
		any = true;
		all.pruned += one.pruned;
		all.archived_at = Max(all.archived_at, one.archived_at);
		all.pruned_at = Max(all.pruned_at, one.pruned_at);
		es_archive_forget(&neighbours->members[i]);
	}
	if (neighbours->has_open)
		all.archived_at = 0;
	if (any)
		es_archive_write(&neighbours->members[0], &all);
	CommandCounterIncrement();
}
