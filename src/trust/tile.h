/*
 * tile.h
 *		What is stored of the tree over the log: tiles and seals.
 */
#ifndef ES_TRUST_TILE_H
#define ES_TRUST_TILE_H

#include "eventsource.h"

#include "utils/snapshot.h"

#define ES_TILE_HEIGHT	8
#define ES_TILE_WIDTH	(1 << ES_TILE_HEIGHT)

/* The tree as it was when it had so many leaves, up to a position. */
typedef struct EsSeal
{
	int64		size;
	int64		position;
	uint8		root[ES_HASH_SIZE];
	TimestampTz sealed_at;
} EsSeal;

/*
 * So many nodes of height 8 * level, side by side; index counts the tiles of a
 * level.  Those of level 0 are hashes of leaves.
 */
typedef struct EsTile
{
	int			level;
	int64		index;
	int64		first_position;
	int64		last_position;
	uint8		root[ES_HASH_SIZE];
	uint8		hashes[ES_TILE_WIDTH * ES_HASH_SIZE];
} EsTile;

/* The newest seal; false, and a tree of no leaves, if there is none. */
extern bool es_seal_last(Snapshot snapshot, EsSeal *seal);
extern void es_seal_insert(const EsSeal *seal);

/* The seals in order of size; valid to the end of the memory context. */
typedef struct EsSealScan EsSealScan;
extern EsSealScan *es_seal_scan_begin(Snapshot snapshot);
extern bool es_seal_scan_next(EsSealScan *scan, EsSeal *seal);
extern void es_seal_scan_end(EsSealScan *scan);

extern void es_tile_insert(const EsTile *tile);
extern bool es_tile_read(int level, int64 index, Snapshot snapshot, EsTile *tile);

/* The same without its hashes, which are left as they were. */
extern bool es_tile_read_ends(int level, int64 index, Snapshot snapshot, EsTile *tile);

/* The last tile of level 0 that begins at a position or before, without its hashes. */
extern bool es_tile_find(int64 position, Snapshot snapshot, EsTile *tile);

/* Roots of up to so many tiles from one on; how many there are without a gap. */
extern int	es_tile_roots(int level, int64 from, int count, Snapshot snapshot, uint8 *roots);

/* How many tiles a tree of so many leaves fills on a level. */
static inline int64
es_tile_count(int64 size, int level)
{
	int			shift = ES_TILE_HEIGHT * (level + 1);

	return shift > 62 ? 0 : size >> shift;
}

#endif							/* ES_TRUST_TILE_H */
