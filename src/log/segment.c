/*
 * segment.c
 *		The log as a chain of segments: tables that hold a range of positions.
 *
 * A segment is made empty, given its indexes and guards, and attached to the
 * log's parent: SHARE UPDATE EXCLUSIVE there, so appenders (ROW EXCLUSIVE) go
 * on.  A one-shot background worker does it as the owner of the log, two
 * segments ahead.  An appender does it in its own transaction when no worker
 * can be had, when the worker would wait for it (it holds the wide lock), or
 * when the extension itself was made by its transaction.
 *
 * Whoever attaches holds SHARE UPDATE EXCLUSIVE on the parent to the end of its
 * transaction, and looks again after getting it.  An appender that waits for a
 * worker is out of the deadlock detector's sight, and may hold what the worker
 * wants or what another waits for in front of it; hence a worker waits for no
 * lock longer than a moment, and the appender then does the work itself.
 *
 * The list of segments is cached per backend and read again when a position is
 * not covered, or when the parent was invalidated.
 */
#include "log/segment.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/open.h"
#include "log/position.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#define SEGMENTS_AHEAD	2

/* How long a worker waits for a lock. */
#define WORKER_PATIENCE_MS	1000
#define WORKER_NAP_MS		10

static EsSegment *segments;		/* in TopMemoryContext */
static int	n_segments;
static int	max_segments;
static bool segments_valid;
static bool attached_here;		/* by the open transaction */
static Oid	parent_oid;			/* of the log the list was read from */
static bool wide_lock_held;		/* a worker would wait for this transaction */
static SubTransactionId wide_lock_subid;	/* which goes with this part of it */
static int64 requested_in;		/* ahead of this segment a worker was sent */

typedef struct AttachRequest
{
	Oid			database;
	int64		position;
	int			segment_size;
} AttachRequest;

StaticAssertDecl(sizeof(AttachRequest) <= BGW_EXTRALEN, "request fits a worker");

PGDLLEXPORT void eventsource_attach_main(Datum arg);

static void
mark_stale(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == parent_oid)
		segments_valid = false;
	for (int i = 0; i < n_segments && segments_valid; i++)
		if (segments[i].table == relid)
			segments_valid = false;
}

static void
load_segments(void)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT), AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;
	Relation	index = index_open(es_catalog_oid(ES_REL_SEGMENT_PKEY), AccessShareLock);

	/* Set before reading: an invalidation meanwhile must not be lost. */
	parent_oid = es_catalog_oid(ES_REL_EVENT);
	segments_valid = true;
	n_segments = 0;
	scan = systable_beginscan_ordered(rel, index, SnapshotSelf, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool		isnull;
		TupleDesc	desc = RelationGetDescr(rel);
		EsSegment	segment;

		segment.lower = DatumGetInt64(heap_getattr(tuple, 1, desc, &isnull));
		segment.upper = DatumGetInt64(heap_getattr(tuple, 2, desc, &isnull));
		segment.table = get_relname_relid(NameStr(*DatumGetName(heap_getattr(tuple, 3, desc, &isnull))),
										  es_catalog_schema());
		if (!OidIsValid(segment.table))
			continue;
		if (n_segments == max_segments)
		{
			int			n = Max(16, max_segments * 2);

			segments = segments == NULL ?
				MemoryContextAlloc(TopMemoryContext, n * sizeof(EsSegment)) :
				repalloc(segments, n * sizeof(EsSegment));
			max_segments = n;
		}
		segments[n_segments++] = segment;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/* The attached segments, in order; valid until they are read anew. */
static const EsSegment *
all_segments(int *count)
{
	if (!segments_valid)
		load_segments();
	*count = n_segments;
	return segments;
}

const EsSegment *
es_segment_upto(int64 position, int *count)
{
	if (!segments_valid || n_segments == 0 || position >= segments[n_segments - 1].upper)
		load_segments();
	*count = n_segments;
	return segments;
}

static const EsSegment *
search(int64 position)
{
	int			low = 0;
	int			high = n_segments - 1;

	/* Appends go to the last ones. */
	while (low <= high)
	{
		int			mid = high - low > 4 ? (low + high) / 2 : high;

		if (position < segments[mid].lower)
			high = mid - 1;
		else if (position >= segments[mid].upper)
			low = mid + 1;
		else
			return &segments[mid];
	}
	return NULL;
}

const EsSegment *
es_segment_at(int64 position)
{
	const EsSegment *segment;

	if (segments_valid)
	{
		segment = search(position);
		if (segment != NULL)
			return segment;
	}
	load_segments();
	return search(position);
}

int64
es_segment_max_position(Snapshot snapshot)
{
	int			count;
	const EsSegment *all = all_segments(&count);

	for (int i = count - 1; i >= 0; i--)
	{
		Relation	rel = table_open(all[i].table, AccessShareLock);
		Relation	index = es_event_open_index(rel, ES_INDEX_POSITION, AccessShareLock);
		SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
		HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
		int64		position = 0;

		if (HeapTupleIsValid(tuple))
		{
			bool		isnull;

			position = DatumGetInt64(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
		}
		systable_endscan_ordered(scan);
		index_close(index, AccessShareLock);
		table_close(rel, AccessShareLock);
		if (position > 0)
			return position;
		if (!segments_valid)
			all = all_segments(&count);
	}
	return 0;
}

/* ---- attaching ---- */

/*
 * Bounds for a new segment that covers position: it starts where the one
 * before it ends and never overlaps the next one.
 */
static void
choose_bounds(int64 position, int segment_size, int64 *lower, int64 *upper)
{
	int64		from = 1;
	int64		to = PG_INT64_MAX;

	for (int i = 0; i < n_segments; i++)
	{
		if (segments[i].upper <= position)
			from = Max(from, segments[i].upper);
		if (segments[i].lower > position)
			to = Min(to, segments[i].lower);
	}
	*lower = from + (position - from) / segment_size * segment_size;
	*upper = (to - *lower > segment_size) ? *lower + segment_size : to;
}

/* Default privileges of the owner's would let others read and write it past all that we grant. */
static void
revoke_defaults(const char *name)
{
	char	   *query = psprintf("SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'"
								 " ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END"
								 " FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
								 " WHERE c.oid = '%s.%s'::pg_catalog.regclass AND a.grantee <> c.relowner",
								 ES_SCHEMA, name);
	SPITupleTable *grantees;
	uint64		count;

	if (SPI_execute(query, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", query);
	grantees = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
		es_catalog_run("REVOKE ALL ON %s.%s FROM %s", ES_SCHEMA, name,
					   SPI_getvalue(grantees->vals[i], grantees->tupdesc, 1));
	SPI_freetuptable(grantees);
	pfree(query);
}

static void
create_segment(int64 lower, int64 upper)
{
	char		name[NAMEDATALEN];
	Relation	rel;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	NameData	table_name;

	snprintf(name, sizeof(name), "event_" INT64_FORMAT, lower);
	es_catalog_run("CREATE TABLE %s.%s (LIKE %s.event INCLUDING STORAGE) USING heap",
				   ES_SCHEMA, name, ES_SCHEMA);
	revoke_defaults(name);
	es_catalog_run("ALTER TABLE %s.%s ADD CONSTRAINT %s_pkey PRIMARY KEY (\"position\")",
				   ES_SCHEMA, name, name);
	es_catalog_run("CREATE UNIQUE INDEX %s_stream_idx ON %s.%s (stream, version)", name, ES_SCHEMA, name);
	es_catalog_run("CREATE TRIGGER guard_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON %s.%s"
				   " FOR EACH STATEMENT EXECUTE FUNCTION %s.guard()", ES_SCHEMA, name, ES_SCHEMA);
	es_catalog_run("ALTER TABLE %s.%s ENABLE ALWAYS TRIGGER guard_statement", ES_SCHEMA, name);
	es_catalog_run("COMMENT ON TABLE %s.%s IS 'Private: a segment of the log. Append-only.'", ES_SCHEMA, name);
	es_catalog_run("ALTER TABLE %s.event ATTACH PARTITION %s.%s FOR VALUES FROM ('" INT64_FORMAT "') TO ('" INT64_FORMAT "')",
				   ES_SCHEMA, ES_SCHEMA, name, lower, upper);

	namestrcpy(&table_name, name);
	values[0] = Int64GetDatum(lower);
	values[1] = Int64GetDatum(upper);
	values[2] = NameGetDatum(&table_name);
	rel = table_open(es_catalog_oid(ES_REL_SEGMENT), RowExclusiveLock);
	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
}

typedef struct NewSegment
{
	int64		lower;
	int64		upper;
} NewSegment;

static void
create_segment_callback(void *arg)
{
	NewSegment *bounds = arg;

	create_segment(bounds->lower, bounds->upper);
}

/* Adds the segment that covers a position, in this transaction. */
static void
attach_segment(int64 position)
{
	NewSegment	bounds;

	es_segment_lock();
	load_segments();
	if (search(position) != NULL)
	{
		UnlockRelationOid(es_catalog_oid(ES_REL_EVENT), ShareUpdateExclusiveLock);
		return;
	}
	choose_bounds(position, es_guc_segment_size, &bounds.lower, &bounds.upper);
	attached_here = true;
	es_catalog_let_execute("guard", es_catalog_owner());
	es_catalog_as_owner(create_segment_callback, &bounds);
	segments_valid = false;
	es_segment_wide_lock();
}

void
es_segment_lock(void)
{
	LockRelationOid(es_catalog_oid(ES_REL_EVENT), ShareUpdateExclusiveLock);
}

/* The same for a worker, which gives up after a while. */
static bool
lock_in_worker(void)
{
	for (int waited = 0; waited < WORKER_PATIENCE_MS; waited += WORKER_NAP_MS)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConditionalLockRelationOid(es_catalog_oid(ES_REL_EVENT), ShareUpdateExclusiveLock))
			return true;
		pg_usleep(WORKER_NAP_MS * 1000L);
	}
	return false;
}

/* Starts a worker; waits for its end if told to.  False if none can be had. */
static bool
attach_in_worker(int64 position, bool wait)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	AttachRequest request;
	pid_t		pid;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = wait ? MyProcPid : 0;
	strlcpy(worker.bgw_library_name, "eventsource", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "eventsource_attach_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "eventsource segment attacher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "eventsource segment attacher", sizeof(worker.bgw_type));
	request.database = MyDatabaseId;
	request.position = position;
	request.segment_size = es_guc_segment_size;
	memcpy(worker.bgw_extra, &request, sizeof(request));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return false;
	if (wait)
		(void) (WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_STARTED &&
				WaitForBackgroundWorkerShutdown(handle));
	return true;
}

/* Was the extension made by this very transaction? */
static bool
is_own_creation(void)
{
	Relation	rel = RelationIdGetRelation(es_catalog_oid(ES_REL_EVENT));
	bool		result = rel->rd_createSubid != InvalidSubTransactionId;

	RelationClose(rel);
	return result;
}

/* Each backend sends one worker while the log is in a segment near the end. */
static void
attach_ahead(const EsSegment *segment, int64 position)
{
	if (n_segments - 1 - (segment - segments) >= SEGMENTS_AHEAD || requested_in == segment->lower)
		return;
	if (wide_lock_held || is_own_creation())
		return;
	requested_in = segment->lower;
	(void) attach_in_worker(position, false);
}

const EsSegment *
es_segment_ensure(int64 position)
{
	const EsSegment *segment = es_segment_at(position);

	if (unlikely(segment == NULL))
	{
		if (!wide_lock_held && !is_own_creation() && attach_in_worker(position, true))
			segment = es_segment_at(position);
		if (segment == NULL)
		{
			attach_segment(position);
			segment = es_segment_at(position);
		}
		if (segment == NULL)
			elog(ERROR, "no segment covers position " INT64_FORMAT, position);
	}
	attach_ahead(segment, position);
	return segment;
}

void
es_segment_open_log(void)
{
	if (!wide_lock_held && !is_own_creation() && attach_in_worker(es_position_last() + 1, true) &&
		es_log_is_open())
		return;
	es_log_open();
}

/*
 * The worker: opens the log if need be, and attaches the segment that covers a position and those ahead of
 * it, each in a transaction of its own.
 */
void
eventsource_attach_main(Datum arg)
{
	AttachRequest request;

	memcpy(&request, MyBgworkerEntry->bgw_extra, sizeof(request));
	BackgroundWorkerUnblockSignals();
	/* As nobody in particular: the owner of the log may have no LOGIN. */
	BackgroundWorkerInitializeConnectionByOid(request.database, InvalidOid, 0);
	es_guc_segment_size = request.segment_size;
	SetConfigOption("lock_timeout", CppAsString2(WORKER_PATIENCE_MS), PGC_SUSET, PGC_S_OVERRIDE);

	for (int i = 0; i <= SEGMENTS_AHEAD; i++)
	{
		CHECK_FOR_INTERRUPTS();
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (!lock_in_worker())
			return;
		if (!es_log_is_open())
			es_log_open();
		attach_segment(request.position + (int64) i * request.segment_size);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
}

void
es_segment_wide_lock(void)
{
	if (wide_lock_held)
		return;
	wide_lock_held = true;
	wide_lock_subid = GetCurrentSubTransactionId();
}

static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		wide_lock_held = false;
		if (event != XACT_EVENT_COMMIT && attached_here)
			segments_valid = false;
		attached_here = false;
	}
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && attached_here)
		segments_valid = false;
	if (!wide_lock_held || wide_lock_subid != mySubid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		wide_lock_held = false;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		wide_lock_subid = parentSubid;
}

void
es_segment_init(void)
{
	CacheRegisterRelcacheCallback(mark_stale, (Datum) 0);
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
