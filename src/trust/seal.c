/*
 * seal.c
 *		Sealing: the tree over the log grows by the events that became final.
 *
 * Leaves are the events below the watermark in order of position, and nothing
 * can appear among them later: so their numbers have no gaps, the tree only grows,
 * and whoever builds it from the log gets the same one.  A seal that a crash
 * takes back is made again the same.
 *
 * Off the append path: it reads what is final and writes tables that nothing
 * else writes.  Who seals holds an advisory lock on the table of seals to the end
 * of the transaction, and goes by the newest seal of all, whatever the isolation
 * level.  It begins at the last full tile; that the events after it still have the
 * root that was sealed is checked, so that no seal covers up for a changed log.
 *
 * WAL is flushed up to the events before the seal is written, so that no
 * checkpoint tells of an event that a crash could undo.
 */
#include "trust/seal.h"

#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/final.h"
#include "log/leaves.h"
#include "log/open.h"
#include "log/position.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "trust/tree.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Events that the worker seals in one transaction. */
#define EVENTS_PER_TURN		200000

PG_FUNCTION_INFO_V1(eventsource_seal);

static int	seal_interval;		/* ms; 0: the worker does not seal */
static int	max_seal_lag;		/* health(), which is written in SQL, asks for
								 * it */

/* The tree as it grows. */
typedef struct Sealer
{
	EsFrontier	frontier;
	EsTile		tile;			/* of leaves, that is being filled */
	MemoryContext scratch;		/* for a tile */
} Sealer;

static bool
lock_seals(bool may_wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, es_catalog_oid(ES_REL_SEAL), 0, ES_LOCK_READER);
	return LockAcquire(&tag, ExclusiveLock, false, !may_wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* A full tile, and those above that it fills. */
static void
store_tile(const EsTile *full, MemoryContext scratch)
{
	MemoryContext caller = MemoryContextSwitchTo(scratch);
	EsTile	   *tile = palloc(sizeof(EsTile));

	*tile = *full;
	for (;;)
	{
		EsTile		first;

		es_merkle_root(tile->hashes, ES_TILE_WIDTH, tile->root);
		es_tile_insert(tile);
		if ((tile->index + 1) % ES_TILE_WIDTH != 0)
			break;
		tile->index /= ES_TILE_WIDTH;
		if (es_tile_roots(tile->level, tile->index * ES_TILE_WIDTH, ES_TILE_WIDTH, SnapshotSelf,
						  tile->hashes) != ES_TILE_WIDTH ||
			!es_tile_read(tile->level, tile->index * ES_TILE_WIDTH, SnapshotSelf, &first))
			es_tree_report_damage(psprintf("Tiles of level %d are missing.", tile->level));
		tile->first_position = first.first_position;
		tile->level++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(scratch);
}

static void
add_leaf(Sealer *sealer, int64 position, const uint8 *entry)
{
	EsTile	   *tile = &sealer->tile;
	int			place = sealer->frontier.size % ES_TILE_WIDTH;
	uint8	   *hash = tile->hashes + place * ES_HASH_SIZE;

	es_merkle_leaf(entry, hash);
	if (place == 0)
		tile->first_position = position;
	es_frontier_add(&sealer->frontier, hash);
	tile->last_position = position;
	if (place < ES_TILE_WIDTH - 1)
		return;
	store_tile(tile, sealer->scratch);
	tile->index++;
}

/* Once the events that are sealed already were added again. */
static void
check_seal(const Sealer *sealer, const EsSeal *seal)
{
	uint8		root[ES_HASH_SIZE];

	es_frontier_root(&sealer->frontier, root);
	if (sealer->frontier.size != seal->size || memcmp(root, seal->root, ES_HASH_SIZE) != 0)
		es_tree_report_damage(psprintf("The %d event(s) up to position " INT64_FORMAT " do not have the root that was sealed with them.",
									   (int) (seal->size % ES_TILE_WIDTH), seal->position));
}

/* The tree up to the last full tile; the position that this ends with. */
static int64
begin(Sealer *sealer, const EsSeal *seal, Snapshot snapshot)
{
	int64		tiles = es_tile_count(seal->size, 0);
	EsTile	   *last = palloc(sizeof(EsTile));

	memset(sealer, 0, sizeof(Sealer));
	sealer->tile.index = tiles;
	sealer->scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource seal", ALLOCSET_DEFAULT_SIZES);
	if (tiles == 0)
		return 0;
	es_tree_frontier(es_tree_begin(seal, snapshot), tiles * ES_TILE_WIDTH, &sealer->frontier);
	if (!es_tile_read(0, tiles - 1, snapshot, last))
		es_tree_report_damage(psprintf("Tile " INT64_FORMAT " of the leaves is missing.", tiles - 1));
	return last->last_position;
}

static int64
grow(Sealer *sealer, EsSeal *seal, int64 after, EsFinal *final, int64 max_count)
{
	EsLeaves   *leaves = es_leaves_begin(after, es_final_upto(final), false, es_final_snapshot(final));
	bool		is_checked = false;
	int64		count = 0;
	EsLeaf		leaf;

	while (count < max_count && es_leaves_next(leaves, &leaf))
	{
		if (leaf.position > seal->position)
		{
			if (!is_checked)
				check_seal(sealer, seal);
			is_checked = true;
			if (!leaf.is_pruned)
				es_final_note(final, es_leaves_scan(leaves));
			count++;
		}
		add_leaf(sealer, leaf.position, leaf.entry);
		if (count > 0)
			seal->position = leaf.position;
	}
	es_leaves_end(leaves);
	if (!is_checked && max_count > 0)
		check_seal(sealer, seal);
	return count;
}

/*
 * Seals up to so many events; how many it sealed, and the newest seal.  May not
 * wait: none are sealed while somebody else is at it.
 */
static int64
run(int64 max_count, bool may_wait, EsSeal *seal)
{
	bool		is_ours = es_log_is_open() && lock_seals(may_wait);
	EsFinal    *final;
	Sealer	   *sealer;
	int64		count;

	/*
	 * A log that was not opened in this database may be in the middle of a
	 * restore.
	 */
	if (!is_ours)
	{
		(void) es_seal_last(SnapshotSelf, seal);
		return 0;
	}
	final = es_final_begin();
	(void) es_seal_last(SnapshotSelf, seal);
	es_position_expect_drawn(seal->position);
	sealer = palloc(sizeof(Sealer));
	count = grow(sealer, seal, begin(sealer, seal, SnapshotSelf), final, max_count);
	es_final_end(final);
	if (count > 0)
	{
		seal->size = sealer->frontier.size;
		es_frontier_root(&sealer->frontier, seal->root);
		seal->sealed_at = GetCurrentTimestamp();
		es_seal_insert(seal);
	}
	MemoryContextDelete(sealer->scratch);
	pfree(sealer);
	return count;
}

/* seal(max_count bigint DEFAULT NULL) */
Datum
eventsource_seal(PG_FUNCTION_ARGS)
{
	int64		max_count = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT64(0);
	TupleDesc	desc;
	EsSeal		seal;
	bytea	   *root = palloc(VARHDRSZ + ES_HASH_SIZE);
	Datum		values[4];
	bool		nulls[4] = {0};

	PreventCommandIfReadOnly("eventsource.seal()");
	PreventCommandDuringRecovery("eventsource.seal()");
	if (max_count < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_count must be positive"),
				 errdetail("It is " INT64_FORMAT ".", max_count),
				 errhint("NULL means all.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[3] = Int64GetDatum(run(max_count, true, &seal));
	SET_VARSIZE(root, VARHDRSZ + ES_HASH_SIZE);
	memcpy(VARDATA(root), seal.root, ES_HASH_SIZE);
	values[0] = Int64GetDatum(seal.size);
	values[1] = Int64GetDatum(seal.position);
	values[2] = PointerGetDatum(root);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Not more often than asked for, also at once if the clock was set back. */
long
es_seal_duty(void)
{
	static TimestampTz sealed_at;
	TimestampTz now = GetCurrentTimestamp();
	long		waited;
	EsSeal		seal;

	if (seal_interval == 0)
		return INT_MAX;
	waited = sealed_at == 0 || sealed_at > now ? seal_interval :
		TimestampDifferenceMilliseconds(sealed_at, now);
	if (waited < seal_interval)
		return seal_interval - waited;
	if (run(EVENTS_PER_TURN, false, &seal) == EVENTS_PER_TURN)
		return 0;
	sealed_at = now;
	return seal_interval;
}

void
es_seal_init(void)
{
	DefineCustomIntVariable("eventsource.seal_interval",
							"How often the worker seals the events that became final.",
							"0: it does not; seal() does.",
							&seal_interval, 60000, 0, PG_INT32_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("eventsource.max_seal_lag",
							"How long a final event may wait to be sealed before health() calls sealing degraded.",
							NULL,
							&max_seal_lag, 3600, 0, PG_INT32_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
}
