/*
 * tree.c
 *		Nodes of the sealed tree, from its tiles and from the log's end.
 *
 * A node of height h is found in the tiles of level h / 8: as a hash of such a
 * tile, or as the root of 2^(h % 8) of them.  A tile that is not full has no row:
 * its hashes are the roots of tiles of the level below, or hashes of the last
 * leaves, fewer than 256, which are read from the log.  So a proof reads a tile or
 * two of each level, of which a log of four billion events has four.
 *
 * Memory: the tiles that were read, with the nodes above them 16 kB each, stay for the
 * life of the tree.
 */
#include "trust/tree.h"

#include "errors.h"
#include "log/leaves.h"

/* That a tree has read before a new one is to be begun: 1 MB. */
#define MAX_PIECES		64

/*
 * What is known of one tile: its hashes, and above them the nodes that were asked
 * for, as a heap has them: 1 is the root, and below n stand 2n and 2n + 1.
 */
typedef struct Piece
{
	int			level;
	int64		index;
	int			count;			/* of hashes */
	bool		is_known[ES_TILE_WIDTH];
	uint8		node[2 * ES_TILE_WIDTH][ES_HASH_SIZE];
} Piece;

struct EsTree
{
	MemoryContext context;
	EsSeal		seal;
	Snapshot	snapshot;
	List	   *pieces;			/* of Piece */
};

EsTree *
es_tree_begin(const EsSeal *seal, Snapshot snapshot)
{
	EsTree	   *tree = palloc0(sizeof(EsTree));

	tree->context = CurrentMemoryContext;
	tree->seal = *seal;
	tree->snapshot = snapshot;
	return tree;
}

bool
es_tree_continue(EsTree *tree, const EsSeal *seal, Snapshot snapshot)
{
	tree->snapshot = snapshot;
	return list_length(tree->pieces) < MAX_PIECES &&
		tree->seal.size == seal->size && tree->seal.position == seal->position &&
		memcmp(tree->seal.root, seal->root, ES_HASH_SIZE) == 0;
}

void
es_tree_report_damage(const char *detail)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_LOG_DIVERGED),
			 errmsg("the log is not what was sealed"),
			 errdetail("%s", detail),
			 errhint("eventsource.verify_log() tells which events; keep this database as it is, and compare it with a copy.")));
}

/* ---- pieces ---- */

/* Up to where the last full tile of leaves goes. */
static int64
end_of_tiles(EsTree *tree)
{
	int64		tiles = es_tile_count(tree->seal.size, 0);
	EsTile		last;

	if (tiles == 0)
		return 0;
	if (!es_tile_read_ends(0, tiles - 1, tree->snapshot, &last))
		es_tree_report_damage(psprintf("Tile " INT64_FORMAT " of the leaves is missing.", tiles - 1));
	return last.last_position;
}

/* The last leaves, of which there is no tile yet. */
static int
read_last_leaves(EsTree *tree, uint8 *hashes)
{
	EsLeaves   *leaves = es_leaves_begin(end_of_tiles(tree), tree->seal.position, false, tree->snapshot);
	EsLeaf		leaf;
	int			expected = tree->seal.size % ES_TILE_WIDTH;
	int			count = 0;

	for (; count < ES_TILE_WIDTH && es_leaves_next(leaves, &leaf); count++)
		es_merkle_leaf(leaf.entry, hashes + count * ES_HASH_SIZE);
	es_leaves_end(leaves);
	if (count != expected)
		es_tree_report_damage(psprintf("Up to position " INT64_FORMAT " there should be %d event(s) after the last full tile, and there are %d.",
									   tree->seal.position, expected, count));
	return count;
}

static void
load(EsTree *tree, Piece *piece)
{
	uint8	   *hashes = piece->node[ES_TILE_WIDTH];
	EsTile		tile;
	int64		below;

	if (piece->index < es_tile_count(tree->seal.size, piece->level))
	{
		if (!es_tile_read(piece->level, piece->index, tree->snapshot, &tile))
			es_tree_report_damage(psprintf("Tile " INT64_FORMAT " of level %d is missing.",
										   piece->index, piece->level));
		memcpy(hashes, tile.hashes, sizeof(tile.hashes));
		piece->count = ES_TILE_WIDTH;
		return;
	}
	if (piece->level == 0)
	{
		piece->count = read_last_leaves(tree, hashes);
		return;
	}
	below = piece->index * ES_TILE_WIDTH;
	piece->count = es_tile_count(tree->seal.size, piece->level - 1) - below;
	if (es_tile_roots(piece->level - 1, below, piece->count, tree->snapshot, hashes) != piece->count)
		es_tree_report_damage(psprintf("Tiles of level %d are missing.", piece->level - 1));
}

static Piece *
get_piece(EsTree *tree, int level, int64 index)
{
	MemoryContext caller;
	ListCell   *lc;
	Piece	   *piece;

	foreach(lc, tree->pieces)
	{
		piece = lfirst(lc);
		if (piece->level == level && piece->index == index)
			return piece;
	}
	piece = MemoryContextAlloc(tree->context, sizeof(Piece));
	piece->level = level;
	piece->index = index;
	memset(piece->is_known, 0, sizeof(piece->is_known));
	load(tree, piece);
	caller = MemoryContextSwitchTo(tree->context);
	tree->pieces = lappend(tree->pieces, piece);
	MemoryContextSwitchTo(caller);
	return piece;
}

/* ---- nodes ---- */

static const uint8 *
node_in_piece(Piece *piece, int n)
{
	if (n < ES_TILE_WIDTH && !piece->is_known[n])
	{
		es_merkle_node(node_in_piece(piece, 2 * n), node_in_piece(piece, 2 * n + 1), piece->node[n]);
		piece->is_known[n] = true;
	}
	return piece->node[n];
}

/* The perfect tree over the leaves from index << height on. */
static void
get_node(EsTree *tree, int height, int64 index, uint8 *hash)
{
	int			rest = height % ES_TILE_HEIGHT;
	int64		first = index << rest;
	Piece	   *piece = get_piece(tree, height / ES_TILE_HEIGHT, first / ES_TILE_WIDTH);
	int			place = first % ES_TILE_WIDTH;

	if (place + (1 << rest) > piece->count)
		elog(ERROR, "node " INT64_FORMAT " of height %d is beyond the tree", index, height);
	memcpy(hash, node_in_piece(piece, (ES_TILE_WIDTH + place) >> rest), ES_HASH_SIZE);
}

void
es_tree_root(EsTree *tree, int64 from, int64 upto, uint8 *root)
{
	int64		size = upto - from;
	int			height;
	uint8		right[ES_HASH_SIZE];

	Assert(size > 0);
	height = size == 1 ? 0 : es_merkle_split(size);
	if (size == 1 || size == INT64CONST(1) << (height + 1))
	{
		/*
		 * What RFC 6962 asks for of perfect trees begins at a multiple of
		 * their size.
		 */
		get_node(tree, size == 1 ? 0 : height + 1, from / size, root);
		return;
	}
	es_tree_root(tree, from, from + (INT64CONST(1) << height), root);
	es_tree_root(tree, from + (INT64CONST(1) << height), upto, right);
	es_merkle_node(root, right, root);
}

void
es_tree_frontier(EsTree *tree, int64 size, EsFrontier *frontier)
{
	int64		from = 0;

	memset(frontier, 0, sizeof(EsFrontier));
	for (int height = 62; height >= 0; height--)
	{
		if (((size >> height) & 1) == 0)
			continue;
		get_node(tree, height, from >> height, frontier->node[height]);
		from += INT64CONST(1) << height;
	}
	frontier->size = size;
}

int64
es_tree_leaf_at(EsTree *tree, int64 position)
{
	EsTile		tile;
	EsLeaves   *leaves;
	EsLeaf		one;
	int64		after;
	int64		last = tree->seal.position;
	int64		leaf;
	int			count = tree->seal.size % ES_TILE_WIDTH;
	bool		found = false;

	if (position < 1 || position > tree->seal.position)
		return -1;
	if (es_tile_find(position, tree->snapshot, &tile) && position <= tile.last_position)
	{
		after = tile.first_position - 1;
		last = tile.last_position;
		leaf = tile.index * ES_TILE_WIDTH - 1;
		count = ES_TILE_WIDTH;
	}
	else
	{
		after = end_of_tiles(tree);
		leaf = es_tile_count(tree->seal.size, 0) * ES_TILE_WIDTH - 1;
	}
	if (last - after == count)
	{
		/* Without gaps those before need not be counted. */
		leaf += position - 1 - after;
		after = position - 1;
	}
	leaves = es_leaves_begin(after, position, false, tree->snapshot);
	for (; es_leaves_next(leaves, &one); leaf++)
		found = one.position == position;
	es_leaves_end(leaves);
	return found ? leaf : -1;
}
