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
 * not covered, or when the parent was invalidated.  Full ones may be merged with
 * their neighbours (trust/merge.c), under ACCESS EXCLUSIVE on the parent and on them:
 * whoever holds a lock on the parent, as appenders do, has the list as it stays; a
 * reader looks again once he has a lock on the segment (es_segment_open()).
 */
#include "log/segment.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/open.h"
#include "log/position.h"
#include "log/segment_table.h"
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
static bool attached_here;		/* or merged: by the open transaction */
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
read_segments(void)
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

static bool
is_same_segment(const EsSegment *a, const EsSegment *b)
{
	return a->lower == b->lower && a->upper == b->upper && a->table == b->table;
}

static bool
has_gaps(void)
{
	int64		end = 1;

	for (int i = 0; i < n_segments; i++)
	{
		if (segments[i].lower != end)
			return true;
		end = segments[i].upper;
	}
	return false;
}

/*
 * Neighbours may be merged while the list is read, row by row: then it has a gap, as the
 * last one is never merged.  If it is the same once more, the gap is the log's own.
 */
static void
load_segments(void)
{
	read_segments();
	while (has_gaps())
	{
		int			before = n_segments;
		EsSegment  *copy = palloc(Max(before, 1) * sizeof(EsSegment));
		bool		is_same;

		CHECK_FOR_INTERRUPTS();
		memcpy(copy, segments, before * sizeof(EsSegment));
		read_segments();
		is_same = n_segments == before;
		for (int i = 0; i < before && is_same; i++)
			is_same = is_same_segment(&copy[i], &segments[i]);
		pfree(copy);
		if (is_same)
			break;
	}
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

Relation
es_segment_open(const EsSegment *segment, LOCKMODE lockmode)
{
	Relation	rel = try_table_open(segment->table, lockmode);
	const EsSegment *now;

	if (rel == NULL)
	{
		segments_valid = false;
		return NULL;
	}
	now = es_segment_at(segment->lower);
	if (now != NULL && is_same_segment(now, segment))
		return rel;
	table_close(rel, lockmode);
	return NULL;
}

void
es_segment_hold_all(void)
{
	int			count;
	const EsSegment *all = es_segment_upto(PG_INT64_MAX, &count);

	for (int i = 0; i < count; i++)
	{
		EsSegment	segment = all[i];
		Relation	rel = es_segment_open(&segment, AccessShareLock);

		CHECK_FOR_INTERRUPTS();
		if (rel != NULL)
			table_close(rel, NoLock);
		else
			i = -1;				/* merged just now */
		all = all_segments(&count);
	}
}

static int64
max_position_in(Relation rel, Snapshot snapshot)
{
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
	return position;
}

int64
es_segment_max_position(Snapshot snapshot)
{
	int			count;
	const EsSegment *all = all_segments(&count);

	for (int i = count - 1; i >= 0; i--)
	{
		EsSegment	segment = all[i];
		Relation	rel = es_segment_open(&segment, AccessShareLock);
		int64		position;

		if (rel == NULL)
		{
			/* Merged just now: from the last one again. */
			all = all_segments(&count);
			i = count;
			continue;
		}
		position = max_position_in(rel, snapshot);
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

typedef struct NewSegment
{
	int64		lower;
	int64		upper;
} NewSegment;

static void
create_segment(void *arg)
{
	NewSegment *bounds = arg;
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "event_" INT64_FORMAT, bounds->lower);
	es_segment_table_make(name);
	es_segment_table_attach(name, bounds->lower, bounds->upper);
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
	es_segment_changed();
	es_catalog_let_execute("guard", es_catalog_owner());
	es_catalog_as_owner(create_segment, &bounds);
	es_segment_changed();
	es_segment_wide_lock();
}

void
es_segment_changed(void)
{
	attached_here = true;
	segments_valid = false;
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
