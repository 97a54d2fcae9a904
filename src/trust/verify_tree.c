/*
 * verify_tree.c
 *		The log held against what was sealed of it.
 *
 * Events are held against the tile that has their position, as many as it has
 * hashes; tiles against the seals, by growing the tree anew from their hashes.  So
 * one event that was changed is told by name and spoils no other, whoever changed
 * the tiles is told by the seals, and who changed those, too, by the checkpoints
 * outside.  The last events, of which there is no full tile, are held against the
 * seals alone.
 *
 * Memory: the events of one tile, in a context of their own.
 */
#include "trust/verify.h"

#include "lib/stringinfo.h"
#include "log/format.h"
#include "utils/memutils.h"

struct EsVerifyTree
{
	Snapshot	snapshot;
	EsVerifyReport report;
	void	   *arg;
	int64		upto;			/* where leaves end */
	EsSeal		seal;			/* the newest */
	EsFrontier	frontier;		/* as tiles and events have it so far */

	EsTile		tile;			/* the one at hand, if there is one */
	int64		tiles;			/* full ones */
	bool		has_tile;

	MemoryContext context;		/* of what follows */
	EsVerified *events;
	int			n_events;
	int			max_events;

	EsSealScan *seals;
	EsSeal		next_seal;
	bool		has_seal;
	bool		is_broken;		/* seals do not fit any more: said once */

	int64		remembered_size;
	uint8		remembered[ES_HASH_SIZE];
	bool		is_remembered;
};

static void
			report(EsVerifyTree *tree, const char *fmt,...) pg_attribute_printf(2, 3);

static void
report(EsVerifyTree *tree, const char *fmt,...)
{
	StringInfoData problem;
	va_list		args;

	initStringInfo(&problem);
	va_start(args, fmt);
	es_append_va(&problem, fmt, args);
	va_end(args);
	tree->report(tree->arg, NULL, problem.data);
	pfree(problem.data);
}

/* ---- the tree ---- */

/* The seals and what is to be remembered of the size that the tree has now. */
static void
look_at_size(EsVerifyTree *tree)
{
	uint8		root[ES_HASH_SIZE];

	if (tree->frontier.size == tree->remembered_size)
	{
		es_frontier_root(&tree->frontier, tree->remembered);
		tree->is_remembered = true;
	}
	while (tree->has_seal && tree->next_seal.size <= tree->frontier.size)
	{
		es_frontier_root(&tree->frontier, root);
		if (!tree->is_broken &&
			(tree->next_seal.size != tree->frontier.size ||
			 memcmp(root, tree->next_seal.root, ES_HASH_SIZE) != 0))
		{
			report(tree, "the first " INT64_FORMAT " events, up to position " INT64_FORMAT ", do not have the root that was sealed with them",
				   tree->next_seal.size, tree->next_seal.position);
			tree->is_broken = true;
		}
		tree->has_seal = es_seal_scan_next(tree->seals, &tree->next_seal);
	}
}

static void
add_leaf(EsVerifyTree *tree, const uint8 *leaf)
{
	es_frontier_add(&tree->frontier, leaf);
	look_at_size(tree);
}

/* ---- tiles of leaves ---- */

static void
report_events(EsVerifyTree *tree)
{
	for (int i = 0; i < tree->n_events; i++)
		tree->report(tree->arg, &tree->events[i], tree->events[i].problem);
	tree->n_events = 0;
	tree->events = NULL;
	tree->max_events = 0;
	MemoryContextReset(tree->context);
}

/*
 * Those that have no hash in the tile, in its order, were changed or put in;
 * hashes that have none and are more than these are of events that are missing.
 */
static void
compare_with_tile(EsVerifyTree *tree)
{
	int			next = 0;
	int			matched = 0;
	int			strangers = 0;

	for (int i = 0; i < tree->n_events; i++)
	{
		int			place = next;

		while (place < ES_TILE_WIDTH &&
			   memcmp(tree->tile.hashes + place * ES_HASH_SIZE, tree->events[i].leaf, ES_HASH_SIZE) != 0)
			place++;
		if (place < ES_TILE_WIDTH)
		{
			next = place + 1;
			matched++;
			continue;
		}
		strangers++;
		tree->events[i].status = ES_VERIFY_TAMPERED;
		if (tree->events[i].problem == NULL)
			tree->events[i].problem = "its hash is not one that was sealed here";
	}
	if (matched + strangers < ES_TILE_WIDTH)
		report(tree, "%d event(s) between positions " INT64_FORMAT " and " INT64_FORMAT " are missing",
			   ES_TILE_WIDTH - matched - strangers, tree->tile.first_position, tree->tile.last_position);
}

static void
end_tile(EsVerifyTree *tree)
{
	uint8		root[ES_HASH_SIZE];
	bool		is_same = tree->n_events == ES_TILE_WIDTH;

	for (int i = 0; is_same && i < ES_TILE_WIDTH; i++)
		is_same = memcmp(tree->tile.hashes + i * ES_HASH_SIZE, tree->events[i].leaf, ES_HASH_SIZE) == 0;
	if (!is_same)
		compare_with_tile(tree);
	report_events(tree);
	es_merkle_root(tree->tile.hashes, ES_TILE_WIDTH, root);
	if (memcmp(root, tree->tile.root, ES_HASH_SIZE) != 0)
		report(tree, "tile " INT64_FORMAT " of level 0 does not have the root of its hashes", tree->tile.index);
	for (int i = 0; i < ES_TILE_WIDTH; i++)
		add_leaf(tree, tree->tile.hashes + i * ES_HASH_SIZE);
}

/* The next tile of leaves, if one is full.  Of one that is missing events stand for themselves. */
static void
next_tile(EsVerifyTree *tree)
{
	int64		index = tree->frontier.size / ES_TILE_WIDTH;

	tree->has_tile = false;
	if (index >= tree->tiles || tree->frontier.size % ES_TILE_WIDTH != 0)
		return;
	tree->has_tile = es_tile_read(0, index, tree->snapshot, &tree->tile);
	if (!tree->has_tile)
		report(tree, "tile " INT64_FORMAT " of level 0 is missing", index);
}

static void
keep_event(EsVerifyTree *tree, const EsVerified *event)
{
	MemoryContext caller = MemoryContextSwitchTo(tree->context);

	if (tree->n_events == tree->max_events)
	{
		tree->max_events = Max(ES_TILE_WIDTH, 2 * tree->max_events);
		tree->events = tree->events == NULL ? palloc(tree->max_events * sizeof(EsVerified)) :
			repalloc_huge(tree->events, tree->max_events * sizeof(EsVerified));
	}
	tree->events[tree->n_events] = *event;
	if (event->problem != NULL)
		tree->events[tree->n_events].problem = pstrdup(event->problem);
	tree->n_events++;
	MemoryContextSwitchTo(caller);
}

/* ---- the end ---- */

/* Called once all events up to the seal were there. */
static void
end_seal(EsVerifyTree *tree)
{
	if (!tree->is_broken && tree->frontier.size < tree->seal.size)
	{
		report(tree, INT64_FORMAT " event(s) up to position " INT64_FORMAT " are missing",
			   tree->seal.size - tree->frontier.size, tree->seal.position);
		tree->is_broken = true;
	}
	tree->seal.size = 0;
}

static void
check_upper_tile(EsVerifyTree *tree, int level, int64 index)
{
	uint8		root[ES_HASH_SIZE];
	uint8	   *below = palloc0(ES_TILE_WIDTH * ES_HASH_SIZE);

	if (!es_tile_read(level, index, tree->snapshot, &tree->tile))
		report(tree, "tile " INT64_FORMAT " of level %d is missing", index, level);
	else
	{
		(void) es_tile_roots(level - 1, index * ES_TILE_WIDTH, ES_TILE_WIDTH, tree->snapshot, below);
		es_merkle_root(tree->tile.hashes, ES_TILE_WIDTH, root);
		if (memcmp(below, tree->tile.hashes, sizeof(tree->tile.hashes)) != 0)
			report(tree, "tile " INT64_FORMAT " of level %d does not have the roots of the tiles below", index, level);
		if (memcmp(root, tree->tile.root, ES_HASH_SIZE) != 0)
			report(tree, "tile " INT64_FORMAT " of level %d does not have the root of its hashes", index, level);
	}
	pfree(below);
}

static void
check_upper_tiles(EsVerifyTree *tree, int64 size)
{
	for (int level = 1; es_tile_count(size, level) > 0; level++)
		for (int64 index = 0; index < es_tile_count(size, level); index++)
			check_upper_tile(tree, level, index);
	for (int level = 0; level == 0 || es_tile_count(size, level - 1) > 0; level++)
		if (es_tile_read(level, es_tile_count(size, level), tree->snapshot, &tree->tile))
			report(tree, "tile " INT64_FORMAT " of level %d is beyond what was sealed", tree->tile.index, level);
}

/* ---- interface ---- */

EsVerifyTree *
es_verify_tree_begin(Snapshot snapshot, int64 upto, EsVerifyReport report, void *arg)
{
	EsVerifyTree *tree = palloc0(sizeof(EsVerifyTree));

	tree->snapshot = snapshot;
	tree->report = report;
	tree->arg = arg;
	(void) es_seal_last(snapshot, &tree->seal);
	/* On a standby more may be sealed than was published. */
	tree->upto = Max(upto, tree->seal.position);
	tree->tiles = es_tile_count(tree->seal.size, 0);
	tree->context = AllocSetContextCreate(CurrentMemoryContext, "eventsource verify tile", ALLOCSET_DEFAULT_SIZES);
	tree->seals = es_seal_scan_begin(snapshot);
	tree->has_seal = es_seal_scan_next(tree->seals, &tree->next_seal);
	tree->remembered_size = -1;
	next_tile(tree);
	return tree;
}

void
es_verify_tree_remember(EsVerifyTree *tree, int64 size)
{
	tree->remembered_size = size;
	if (size == 0)
		look_at_size(tree);
}

void
es_verify_tree_event(EsVerifyTree *tree, const EsVerified *event)
{
	while (tree->has_tile && event->position > tree->tile.last_position)
	{
		end_tile(tree);
		next_tile(tree);
	}
	keep_event(tree, event);
	if (tree->has_tile)
		return;
	report_events(tree);
	if (tree->seal.size > 0 && event->position > tree->seal.position)
		end_seal(tree);
	if (event->position > tree->upto)
		return;
	add_leaf(tree, event->leaf);
	next_tile(tree);
}

int64
es_verify_tree_end(EsVerifyTree *tree, uint8 *root)
{
	EsSeal		seal;
	int64		leaves;

	while (tree->has_tile)
	{
		end_tile(tree);
		next_tile(tree);
	}
	if (tree->seal.size > 0)
		end_seal(tree);
	es_seal_scan_end(tree->seals);
	(void) es_seal_last(tree->snapshot, &seal);
	check_upper_tiles(tree, seal.size);
	if (root != NULL && tree->is_remembered)
		memcpy(root, tree->remembered, ES_HASH_SIZE);
	leaves = tree->frontier.size;
	MemoryContextDelete(tree->context);
	pfree(tree);
	return leaves;
}
