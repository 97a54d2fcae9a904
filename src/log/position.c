/*
 * position.c
 *		Positions: drawing them under a published lower bound, and the
 *		watermark that readers derive from the bounds.
 *
 * Positions come from a sequence, so a lower one can commit after a higher.
 * Before drawing its first, a transaction reads the sequence and holds, until
 * it ends, an advisory lock whose tag is the lowest position it could draw.  A
 * reader reads the sequence (H), then the lowest such tag in this database (B),
 * then takes its snapshot: everything at or below min(H, B - 1) belongs to
 * transactions that ended before the snapshot.  For p <= H was drawn before H
 * was read, hence its owner's bound <= p was there before B was read, unless
 * the owner had ended; locks go after a transaction is out of the snapshots.
 *
 * The lock is Share, because two appenders may read the same bound, and belongs
 * to the top transaction, because a savepoint's rollback would release it.
 *
 * A standby knows neither; it goes by what the primary wrote down: any snapshot
 * that sees that row sees all below it (log/published.c says why).
 */
#include "log/position.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "errors.h"
#include "log/bell.h"
#include "log/catalog.h"
#include "log/published.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

static bool bound_published;
static int64 published_bound;

/* Last value of the sequence as this transaction read it last; -1: not yet. */
static int64 last_read = -1;

/*
 * Highest position this backend has seen drawn.  It survives rollback, as the
 * sequence does; a lower draw means that somebody moved the sequence back.
 */
static int64 highest_seen;
static Oid	highest_seen_seq;

static int64
read_sequence(LOCKMODE lockmode)
{
	Relation	rel = relation_open(es_catalog_oid(ES_REL_POSITION_SEQ), lockmode);
	Buffer		buffer = ReadBuffer(rel, 0);
	Page		page;
	HeapTupleData tuple;
	Form_pg_sequence_data data;
	int64		result;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	tuple.t_data = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	data = (Form_pg_sequence_data) GETSTRUCT(&tuple);
	result = data->is_called ? data->last_value : data->last_value - 1;
	UnlockReleaseBuffer(buffer);
	relation_close(rel, NoLock);
	return result;
}

static void
refuse_sequence(int64 position)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_APPEND_ONLY),
			 errmsg("the sequence of positions was moved backwards"),
			 errdetail("It is about to give " INT64_FORMAT ", but positions up to " INT64_FORMAT " were given already.",
					   position, Max(highest_seen, published_bound - 1)),
			 errhint("As the owner of the extension: SELECT setval('eventsource.position_seq', max(position)) FROM eventsource.events; the sequence must have CACHE 1.")));
}

/*
 * What this backend, which has drawn none, holds the sequence against.  A row
 * that was rolled back was given its position as well, unless it came from a
 * restore that failed; to look for those that were not takes longer.
 */
static int64
highest_in_log(void)
{
	int64		highest = es_segment_max_position(SnapshotAny);
	SnapshotData dirty;

	if (highest <= read_sequence(RowExclusiveLock))
		return highest;
	InitDirtySnapshot(dirty);
	return es_segment_max_position(&dirty);
}

void
es_position_publish(void)
{
	LOCKTAG		tag;
	int64		bound;
	ResourceOwner owner = CurrentResourceOwner;

	if (bound_published)
		return;

	if (unlikely(highest_seen_seq != es_catalog_oid(ES_REL_POSITION_SEQ)))
	{
		highest_seen = highest_in_log();
		highest_seen_seq = es_catalog_oid(ES_REL_POSITION_SEQ);

		/*
		 * Others go on: the sequence must be read after what it is held
		 * against.
		 */
		last_read = -1;
	}

	/* An older value makes a lower bound, which is as good. */
	bound = (last_read >= 0 ? last_read : read_sequence(RowExclusiveLock)) + 1;
	if (bound <= highest_seen)
		refuse_sequence(bound);

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (bound >> 32), (uint32) bound, ES_LOCK_BOUND);
	CurrentResourceOwner = TopTransactionResourceOwner;
	PG_TRY();
	{
		(void) LockAcquire(&tag, ShareLock, false, false);
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	bound_published = true;
	published_bound = bound;
}

int64
es_position_next(void)
{
	int64		position;

	Assert(bound_published);
	position = nextval_internal(es_catalog_oid(ES_REL_POSITION_SEQ), false);
	if (position <= highest_seen || position < published_bound)
		refuse_sequence(position);
	highest_seen = position;
	return position;
}

int64
es_position_last(void)
{
	last_read = read_sequence(RowExclusiveLock);
	return last_read;
}

int64
es_position_watermark(void)
{
	int64		mark;
	LockData   *locks;

	/* A standby sees neither the locks nor the sequence's true value. */
	if (RecoveryInProgress())
	{
		TimestampTz published_at;

		return es_published_position(&published_at);
	}
	mark = read_sequence(AccessShareLock);
	locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		const LOCKTAG *tag = &locks->locks[i].locktag;
		int64		bound;

		if (tag->locktag_type != LOCKTAG_ADVISORY || tag->locktag_field4 != ES_LOCK_BOUND ||
			tag->locktag_field1 != MyDatabaseId)
			continue;
		bound = (int64) (((uint64) tag->locktag_field2 << 32) | tag->locktag_field3);
		mark = Min(mark, bound - 1);
	}
	pfree(locks->locks);
	pfree(locks);
	return mark;
}

void
es_position_expect_drawn(int64 mark)
{
	int64		last = RecoveryInProgress() ? PG_INT64_MAX : read_sequence(AccessShareLock);

	if (mark <= last)
		return;
	ereport(ERROR,
			(errcode(ES_ERRCODE_APPEND_ONLY),
			 errmsg("the sequence of positions was moved backwards"),
			 errdetail("Everything up to " INT64_FORMAT " is dealt with already, but the sequence is at " INT64_FORMAT ": events that are appended now would be passed over.",
					   mark, last),
			 errhint("As the owner of the extension: SELECT setval('eventsource.position_seq', " INT64_FORMAT "); what was appended since it was moved is to be dealt with by hand.",
					 mark)));
}

static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		/* Who prepares passes the bound on. */
		if (bound_published && event != XACT_EVENT_PREPARE)
			es_bell_ring_later();
		bound_published = false;
		last_read = -1;
	}
}

void
es_position_init(void)
{
	RegisterXactCallback(at_xact, NULL);
}
