/*
 * archive.c
 *		archive_due: full segments go to the archive, and expired events go for good.
 *
 * A segment is full when the watermark has passed it: nothing is written into it any
 * more.  It goes to the archive as a whole, when all its events of categories with a
 * detail term are past that; others go along.  It stays a part of the log, under its
 * guards, so that whoever reads finds it as before.  First it is verified and
 * summarised; its digest is written down, and holds after it was moved.
 *
 * One at a time runs, under es_retention_lock(), in one transaction: an error or a
 * crash leaves all as it was.  A move waits for readers of the segment, but not for
 * long; nothing but they and the segment's new readers waits for it.
 *
 * Memory: a context for each segment.
 */
#include "trust/archive.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "commands/tablespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#define ARCHIVE_COLUMNS		6	/* lower_bound, events, pruned, digest,
								 * archived_at, pruned_at */
#define LOCK_PATIENCE		"500ms"

/* How often the worker looks, when nothing was due. */
#define DUTY_INTERVAL_MS	60000

PG_FUNCTION_INFO_V1(eventsource_archive_due);

char	   *es_guc_archive_tablespace;

static int64 run_all(int64 max_segments, bool wait, ReturnSetInfo *rsinfo);
static void find_full_segments(EsArchiveRun *run);
static int64 archive_segments(EsArchiveRun *run, int64 max_segments, ReturnSetInfo *rsinfo);
static int64 prune_segments(EsArchiveRun *run, int64 max_segments, ReturnSetInfo *rsinfo);
static bool is_due(EsArchiveRun *run, const EsSegment *segment);
static void archive_segment(EsArchiveRun *run, const EsSegment *segment, EsArchived *archived);
static void move_segment(void *arg);
static void put_row(ReturnSetInfo *rsinfo, const EsSegment *segment, const char *action, int64 events);

/* archive_due(max_segments integer) */
Datum
eventsource_archive_due(PG_FUNCTION_ARGS)
{
	int64		max_segments = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT32(0);

	PreventCommandIfReadOnly("eventsource.archive_due()");
	PreventCommandDuringRecovery("eventsource.archive_due()");
	if (max_segments < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_segments must not be negative"),
				 errdetail("It is " INT64_FORMAT ".", max_segments),
				 errhint("NULL means all.")));
	InitMaterializedSRF(fcinfo, 0);
	(void) run_all(max_segments, true, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* For the worker: one segment at a time. */
long
es_archive_duty(void)
{
	static TimestampTz looked_at;
	TimestampTz now = GetCurrentTimestamp();
	long		waited = looked_at == 0 || looked_at > now ? DUTY_INTERVAL_MS :
		TimestampDifferenceMilliseconds(looked_at, now);

	if (waited < DUTY_INTERVAL_MS)
		return DUTY_INTERVAL_MS - waited;
	if (run_all(1, false, NULL) > 0)
		return 0;
	looked_at = now;
	return DUTY_INTERVAL_MS;
}

/* What is due; how many segments it was. */
static int64
run_all(int64 max_segments, bool wait, ReturnSetInfo *rsinfo)
{
	EsArchiveRun run = {0};
	int64		done;

	if (!es_retention_lock(false, wait))
		return 0;
	run.retentions = es_retention_load();
	if (run.retentions == NIL)
		return 0;
	run.holds = es_holds_load();
	run.now = GetCurrentTimestamp();
	run.final = es_final_begin();
	find_full_segments(&run);
	PushActiveSnapshot(es_final_snapshot(run.final));
	done = archive_segments(&run, max_segments, rsinfo);
	done += prune_segments(&run, max_segments - done, rsinfo);
	PopActiveSnapshot();
	es_final_end(run.final);
	return done;
}

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
}

static int64
archive_segments(EsArchiveRun *run, int64 max_segments, ReturnSetInfo *rsinfo)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource archive", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	int64		done = 0;

	for (int i = 0; i < run->n_segments && done < max_segments; i++)
	{
		const EsSegment *segment = &run->segments[i];
		EsArchived	archived = {0};

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(work);
		if ((es_archive_read(segment, &archived) && archived.archived_at != 0) || !is_due(run, segment))
			continue;
		archive_segment(run, segment, &archived);
		put_row(rsinfo, segment, "archived", archived.events);
		done++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return done;
}

static int64
prune_segments(EsArchiveRun *run, int64 max_segments, ReturnSetInfo *rsinfo)
{
	List	   *categories = NIL;
	int64		done = 0;

	for (int i = 0; i < run->n_segments && done < max_segments; i++)
	{
		int64		count;

		CHECK_FOR_INTERRUPTS();
		count = es_prune_segment(run, &run->segments[i], &categories);
		if (count == 0)
			continue;
		put_row(rsinfo, &run->segments[i], "pruned", count);
		done++;
	}
	if (done > 0)
		es_prune_refold(categories);
	return done;
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
	return any;
}

static void
archive_segment(EsArchiveRun *run, const EsSegment *segment, EsArchived *archived)
{
	EsArchived	after;

	LockRelationOid(segment->table, ShareUpdateExclusiveLock);
	es_archive_digest(run, segment, true, archived);
	es_archive_summarise(run, segment);
	if (es_guc_archive_tablespace[0] != '\0')
	{
		es_archive_briefly(move_segment, unconstify(EsSegment *, segment));
		es_archive_digest(run, segment, false, &after);
		if (after.events != archived->events || memcmp(after.digest, archived->digest, ES_HASH_SIZE) != 0)
			elog(ERROR, "segment at position " INT64_FORMAT " is not the same after it was moved", segment->lower);
	}
	archived->archived_at = GetCurrentTimestamp();
	es_archive_write(segment, archived);
	CommandCounterIncrement();
}

void
es_archive_briefly(void (*fn) (void *arg), void *arg)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LOCK_PATIENCE, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	fn(arg);
	AtEOXact_GUC(true, nest_level);
}

static void
move_as_owner(void *arg)
{
	const EsSegment *segment = arg;
	const char *tablespace = quote_identifier(es_guc_archive_tablespace);
	Relation	rel;
	List	   *indexes;
	ListCell   *lc;

	rel = table_open(segment->table, AccessExclusiveLock);
	indexes = list_copy(RelationGetIndexList(rel));
	table_close(rel, NoLock);
	es_catalog_run("ALTER TABLE %s.%s SET TABLESPACE %s", ES_SCHEMA,
				   quote_identifier(get_rel_name(segment->table)), tablespace);
	foreach(lc, indexes)
		es_catalog_run("ALTER INDEX %s.%s SET TABLESPACE %s", ES_SCHEMA,
					   quote_identifier(get_rel_name(lfirst_oid(lc))), tablespace);
}

static void
move_segment(void *arg)
{
	es_catalog_as_owner(move_as_owner, arg);
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

/* ---- eventsource.archive ---- */

/* A copy of the row of a segment; NULL if there is none. */
static HeapTuple
find_row(Relation rel, const EsSegment *segment)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(segment->lower));
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_ARCHIVE_PKEY), true, SnapshotSelf, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		row = heap_copytuple(row);
	systable_endscan(scan);
	return row;
}

bool
es_archive_read(const EsSegment *segment, EsArchived *archived)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ARCHIVE), AccessShareLock);
	HeapTuple	row = find_row(rel, segment);
	Datum		values[ARCHIVE_COLUMNS];
	bool		nulls[ARCHIVE_COLUMNS];

	memset(archived, 0, sizeof(*archived));
	if (row != NULL)
	{
		bytea	   *digest;

		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		archived->events = DatumGetInt64(values[1]);
		archived->pruned = DatumGetInt64(values[2]);
		digest = DatumGetByteaPP(values[3]);
		memcpy(archived->digest, VARDATA_ANY(digest), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(digest)));
		archived->archived_at = nulls[4] ? 0 : DatumGetTimestampTz(values[4]);
		archived->pruned_at = nulls[5] ? 0 : DatumGetTimestampTz(values[5]);
	}
	table_close(rel, AccessShareLock);
	return row != NULL;
}

void
es_archive_write(const EsSegment *segment, const EsArchived *archived)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ARCHIVE), RowExclusiveLock);
	HeapTuple	old = find_row(rel, segment);
	bytea	   *digest = palloc(VARHDRSZ + ES_HASH_SIZE);
	Datum		values[ARCHIVE_COLUMNS] = {Int64GetDatum(segment->lower), Int64GetDatum(archived->events),
		Int64GetDatum(archived->pruned), PointerGetDatum(digest), TimestampTzGetDatum(archived->archived_at),
	TimestampTzGetDatum(archived->pruned_at)};
	bool		nulls[ARCHIVE_COLUMNS] = {false, false, false, false, archived->archived_at == 0,
	archived->pruned_at == 0};

	SET_VARSIZE(digest, VARHDRSZ + ES_HASH_SIZE);
	memcpy(VARDATA(digest), archived->digest, ES_HASH_SIZE);
	if (old == NULL)
		es_catalog_insert(rel, values, nulls);
	else
		es_catalog_update(rel, old, values, nulls);
	table_close(rel, NoLock);
}
