/*
 * archive.c
 *		archive_due: full segments go to the archive, and expired events go for good.
 *
 * A segment is full when the watermark has passed it: nothing is written into it any
 * more.  It goes to the archive as a whole, when all its events of categories with a
 * detail term are past that; others go along.  It stays a part of the log, under its
 * guards, so that whoever reads finds it as before.  First it is verified and
 * summarised; its digest is written down, and holds after it was moved.  Where little is
 * left, neighbours are merged (merge.c); only in transactions of our own, as all who append
 * wait until that ends.
 *
 * One at a time runs, under es_retention_lock(), in one transaction, or in one for each
 * segment: an error or a crash leaves all as it was.  What needs a lock that others are
 * in the way of, waits for them, but not for long.
 *
 * Memory: a context for each segment.
 */
#include "trust/rewrite.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/attempt.h"
#include "log/catalog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "trust/prune_account.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

/* For how long a lock is waited for: apart, and in line with others behind. */
#define PATIENCE_MS			400
#define NAP_MS				10
#define LINE_PATIENCE		"100ms"

/* How often the worker looks, when nothing was due. */
#define DUTY_INTERVAL_MS	60000

PG_FUNCTION_INFO_V1(eventsource_archive_due);
PG_FUNCTION_INFO_V1(eventsource_archive_due_in_batches);

char	   *es_guc_archive_tablespace;

/* Goes over the segments once, in many transactions. */
typedef struct Round
{
	int64		from;			/* the next segment's lower bound */
	bool		is_merging;		/* all were archived and pruned; once more */
	int64		done;			/* segments with something done */
	int64		merged;			/* that are a part of another now */
	bool		is_busy;		/* the last one: somebody else was at it */
	bool		is_over;
} Round;

static int64 read_max_segments(FunctionCallInfo fcinfo);
static void expect_own_transactions(FunctionCallInfo fcinfo);
static void run_all(int64 max_segments, ReturnSetInfo *rsinfo);
static void go_on(Round *round, bool wait, bool is_patient);
static void find_full_segments(EsArchiveRun *run);
static bool archive_segment(EsArchiveRun *run, const EsSegment *segment, ReturnSetInfo *rsinfo);
static bool prune_segment(EsArchiveRun *run, const EsSegment *segment, ReturnSetInfo *rsinfo);
static bool is_due(EsArchiveRun *run, const EsSegment *segment);
static void put_into_archive(EsArchiveRun *run, const EsSegment *segment, EsArchived *archived);
static void put_row(ReturnSetInfo *rsinfo, const EsSegment *segment, const char *action, int64 events);

/* archive_due(max_segments integer) */
Datum
eventsource_archive_due(PG_FUNCTION_ARGS)
{
	int64		max_segments = read_max_segments(fcinfo);

	PreventCommandIfReadOnly("eventsource.archive_due()");
	InitMaterializedSRF(fcinfo, 0);
	run_all(max_segments, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

static int64
read_max_segments(FunctionCallInfo fcinfo)
{
	int64		max_segments = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT32(0);

	if (max_segments < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_segments must not be negative"),
				 errdetail("It is " INT64_FORMAT ".", max_segments),
				 errhint("NULL means all.")));
	return max_segments;
}

/* CALL archive_due_in_batches(max_segments) */
Datum
eventsource_archive_due_in_batches(PG_FUNCTION_ARGS)
{
	int64		max_segments = read_max_segments(fcinfo);
	Round		round = {0};
	int64		busy = 0;

	PreventCommandIfReadOnly("eventsource.archive_due_in_batches()");
	expect_own_transactions(fcinfo);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	while (!round.is_over && round.done < max_segments)
	{
		MemoryContext procedure = CurrentMemoryContext;
		MemoryContext batch = AllocSetContextCreate(procedure, "eventsource archive batch", ALLOCSET_DEFAULT_SIZES);

		EnsurePortalSnapshotExists();
		MemoryContextSwitchTo(batch);
		go_on(&round, true, false);
		MemoryContextSwitchTo(procedure);
		MemoryContextDelete(batch);
		busy += round.is_busy;
		SPI_commit();
	}
	SPI_finish();
	ereport(NOTICE, (errmsg(INT64_FORMAT " segments were archived or pruned", round.done)));
	if (round.merged > 0)
		ereport(NOTICE, (errmsg(INT64_FORMAT " segments became a part of their neighbours", round.merged)));
	if (busy > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " segments were left alone, as others read them or write what follows from them", busy),
				 errhint("Call it again later.")));
	PG_RETURN_NULL();
}

/* For the worker: one segment at a time, in rounds. */
long
es_archive_duty(void)
{
	static TimestampTz began_at;
	static Round round;			/* outlives errors: then goes on behind them */
	TimestampTz now = GetCurrentTimestamp();
	long		waited = began_at == 0 || began_at > now ? DUTY_INTERVAL_MS :
		TimestampDifferenceMilliseconds(began_at, now);

	if (round.from == 0 || round.is_over)
	{
		if (waited < DUTY_INTERVAL_MS)
			return DUTY_INTERVAL_MS - waited;
		began_at = now;
		memset(&round, 0, sizeof(round));
	}
	go_on(&round, false, true);
	return round.is_over ? DUTY_INTERVAL_MS : 0;
}

static bool
begin_run(EsArchiveRun *run, bool wait)
{
	if (!es_retention_lock(false, wait))
		return false;
	run->retentions = es_retention_load();
	if (run->retentions == NIL)
		return false;
	run->holds = es_holds_load();
	run->now = GetCurrentTimestamp();
	run->context = CurrentMemoryContext;
	run->final = es_final_begin();
	find_full_segments(run);
	PushActiveSnapshot(es_final_snapshot(run->final));
	return true;
}

static void
end_run(EsArchiveRun *run)
{
	es_prune_account_write(run);
	PopActiveSnapshot();
	es_final_end(run->final);
}

/* ---- all at once ---- */

static void
run_all(int64 max_segments, ReturnSetInfo *rsinfo)
{
	EsArchiveRun run = {0};
	int64		done = 0;

	if (!begin_run(&run, true))
		return;
	for (int i = 0; i < run.n_segments && done < max_segments; i++)
		done += archive_segment(&run, &run.segments[i], rsinfo);
	for (int i = 0; i < run.n_segments && done < max_segments; i++)
		done += prune_segment(&run, &run.segments[i], rsinfo);
	end_run(&run);
}

/* ---- a transaction for each segment ---- */

typedef struct Turn
{
	EsArchiveRun *run;
	const EsSegment *segment;
	int			at;
	int			done;
} Turn;

static void
take_turn(void *arg)
{
	Turn	   *turn = arg;

	turn->done = archive_segment(turn->run, turn->segment, NULL);
	turn->done += prune_segment(turn->run, turn->segment, NULL);
}

static void
merge_turn(void *arg)
{
	Turn	   *turn = arg;

	turn->done = es_merge_segments(turn->run, &turn->at);
}

/* It was somebody else's turn. */
static bool
is_busy(int sqlstate)
{
	return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE || sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE || sqlstate == ERRCODE_OBJECT_IN_USE;
}

/*
 * The second time over the segments: those next to each other that can be one become
 * one.  False: there are no more.
 */
static bool
merge_some(Round *round, EsArchiveRun *run)
{
	Turn		turn = {.run = run};

	if (!round->is_merging)
		round->from = 0;
	round->is_merging = true;
	while (turn.at < run->n_before_last && run->segments[turn.at].lower < round->from)
		turn.at++;
	if (turn.at >= run->n_before_last)
		return false;
	round->from = run->segments[turn.at].upper;
	round->is_busy = es_attempt(merge_turn, &turn, is_busy) != NULL;
	if (turn.at > 0)
		round->from = Max(round->from, run->segments[turn.at - 1].upper);
	if (!round->is_busy)
		round->merged += Max(turn.done - 1, 0);
	return !run->log_is_busy && (round->is_busy || turn.done > 0);
}

/*
 * Goes on with the round, up to the next segment with something to do, which is all
 * that is done in this transaction.
 */
static void
go_on(Round *round, bool wait, bool is_patient)
{
	EsArchiveRun run = {.is_patient = is_patient};
	bool		did_much = false;

	round->is_busy = false;
	round->is_over = true;
	if (!begin_run(&run, wait))
		return;
	for (int i = 0; i < run.n_segments && !did_much && !round->is_merging; i++)
	{
		Turn		turn = {.run = &run,.segment = &run.segments[i]};

		if (turn.segment->lower < round->from)
			continue;
		CHECK_FOR_INTERRUPTS();
		round->from = turn.segment->upper;
		round->is_busy = es_attempt(take_turn, &turn, is_busy) != NULL;
		if (round->is_busy)
			es_prune_account_forget(&run);
		round->done += !round->is_busy && turn.done > 0;
		did_much = round->is_busy || turn.done > 0 || run.has_surveyed;
	}
	if (!did_much)
		did_much = merge_some(round, &run);
	round->is_over = !did_much;
	end_run(&run);
}

/* A procedure that commits must have been called outside a transaction block. */
static void
expect_own_transactions(FunctionCallInfo fcinfo)
{
	CallContext *call = (CallContext *) fcinfo->context;

	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("archive_due_in_batches cannot run inside a transaction block"),
				 errdetail("It commits after each segment."),
				 errhint("CALL it by itself, or SELECT eventsource.archive_due() for one transaction.")));
}

/* ---- segments ---- */

static void
find_full_segments(EsArchiveRun *run)
{
	int64		upto = es_final_upto(run->final);
	int			count;
	const EsSegment *all = es_segment_upto(upto, &count);

	run->segments = palloc(Max(count, 1) * sizeof(EsSegment));
	for (int i = 0; i < count && all[i].upper - 1 <= upto; i++)
	{
		run->segments[run->n_segments++] = all[i];
		run->upto = all[i].upper - 1;
	}
	run->n_before_last = Min(run->n_segments, count - 1);
}

/* True if it was archived now. */
static bool
archive_segment(EsArchiveRun *run, const EsSegment *segment, ReturnSetInfo *rsinfo)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource archive", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	EsArchived	archived = {0};
	bool		result;

	CHECK_FOR_INTERRUPTS();
	result = (!es_archive_read(segment, &archived) || archived.archived_at == 0) && is_due(run, segment);
	if (result)
	{
		put_into_archive(run, segment, &archived);
		put_row(rsinfo, segment, "archived", archived.events);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return result;
}

/* True if events were taken out of it. */
static bool
prune_segment(EsArchiveRun *run, const EsSegment *segment, ReturnSetInfo *rsinfo)
{
	int64		count;

	CHECK_FOR_INTERRUPTS();
	count = es_prune_segment(run, segment);
	if (count > 0)
		put_row(rsinfo, segment, "pruned", count);
	return count > 0;
}

const EsRetention *
es_archive_retention(const EsArchiveRun *run, int32 category)
{
	ListCell   *lc;

	foreach(lc, run->retentions)
	{
		const EsRetention *retention = lfirst(lc);

		for (int i = 0; i < retention->n_word_ids; i++)
			if (retention->word_ids[i] == category)
				return retention;
	}
	return NULL;
}

/* Has it events with a detail term, and is none of them short of it? */
static bool
is_due(EsArchiveRun *run, const EsSegment *segment)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, es_archive_survey(run, segment))
	{
		const EsSegmentFact *fact = lfirst(lc);
		const EsRetention *retention = es_archive_retention(run, fact->category);
		const Interval *detail = retention == NULL ? NULL : es_retention_now(retention)->detail;

		if (detail == NULL)
			continue;
		if (!es_retention_is_past(fact->last_recorded_at, detail, run->now))
			return false;
		any = true;
	}
	/* To be moved it is written anew. */
	return any && (es_rewrite_tablespace(segment) == get_rel_tablespace(segment->table) ||
				   !es_rewrite_is_early(segment));
}

static void
put_into_archive(EsArchiveRun *run, const EsSegment *segment, EsArchived *archived)
{
	EsRewrite	rewrite = {.run = run,.members = segment,.count = 1,
	.tablespace = es_rewrite_tablespace(segment)};

	LockRelationOid(segment->table, ShareUpdateExclusiveLock);
	es_archive_digest(run, segment, archived);
	es_archive_summarise(run, segment);
	if (rewrite.tablespace != get_rel_tablespace(segment->table))
	{
		es_rewrite_copy(&rewrite);
		if (rewrite.copied.events != archived->events ||
			memcmp(rewrite.copied.digest, archived->digest, ES_HASH_SIZE) != 0)
			elog(ERROR, "segment at position " INT64_FORMAT " would not be the same after it was moved", segment->lower);
		es_rewrite_lock(&rewrite, es_archive_lock);
		es_rewrite_swap(&rewrite);
	}
	archived->archived_at = GetCurrentTimestamp();
	es_archive_write(segment, archived);
	CommandCounterIncrement();
}

void
es_archive_briefly(void (*fn) (void *arg), void *arg)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LINE_PATIENCE, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	fn(arg);
	AtEOXact_GUC(true, nest_level);
}

typedef struct Wanted
{
	Oid			table;
	LOCKMODE	mode;
} Wanted;

static void
lock_table(void *arg)
{
	const Wanted *wanted = arg;

	LockRelationOid(wanted->table, wanted->mode);
}

/*
 * First without standing in line, where others would stand behind us; then, since
 * where many come and go there is no gap, for a moment.
 */
void
es_archive_lock(Oid table, LOCKMODE mode)
{
	Wanted		wanted = {table, mode};

	for (int waited = 0; waited < PATIENCE_MS; waited += NAP_MS)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConditionalLockRelationOid(table, mode))
			return;
		pg_usleep(NAP_MS * 1000L);
	}
	es_archive_briefly(lock_table, &wanted);
}

void
es_archive_lock_now(Oid table, LOCKMODE mode)
{
	if (!ConditionalLockRelationOid(table, mode))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("\"%s\" is read by others", get_rel_name(table)),
				 errdetail("Nobody is kept waiting for that."),
				 errhint("Try again later.")));
}

static void
put_row(ReturnSetInfo *rsinfo, const EsSegment *segment, const char *action, int64 events)
{
	Datum		values[4] = {Int64GetDatum(segment->lower), Int64GetDatum(segment->upper),
	CStringGetTextDatum(action), Int64GetDatum(events)};
	bool		nulls[4] = {false};

	if (rsinfo != NULL)
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
