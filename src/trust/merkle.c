/*
 * merkle.c
 *		The arithmetic of a Merkle tree as RFC 6962 has it.
 *
 * Leaves and nodes are hashed under different prefixes, so that no node can be
 * passed off as a leaf.  The tree of n > 1 leaves has the first 2^k of them, the
 * highest power of two below n, to its left.
 *
 * Memory: none.
 */
#include "trust/merkle.h"

#include "log/sha256.h"
#include "port/pg_bitutils.h"

#define PREFIX_LEAF		0x00
#define PREFIX_NODE		0x01

void
es_merkle_leaf(const uint8 *entry, uint8 *hash)
{
	uint8		input[1 + ES_HASH_SIZE] = {PREFIX_LEAF};

	memcpy(input + 1, entry, ES_HASH_SIZE);
	es_sha256(input, sizeof(input), hash);
}

void
es_merkle_node(const uint8 *left, const uint8 *right, uint8 *hash)
{
	uint8		input[1 + 2 * ES_HASH_SIZE] = {PREFIX_NODE};

	memcpy(input + 1, left, ES_HASH_SIZE);
	memcpy(input + 1 + ES_HASH_SIZE, right, ES_HASH_SIZE);
	es_sha256(input, sizeof(input), hash);
}

void
es_frontier_add(EsFrontier *frontier, const uint8 *leaf_hash)
{
	uint8		hash[ES_HASH_SIZE];
	int			height = 0;

	memcpy(hash, leaf_hash, ES_HASH_SIZE);
	for (; ((frontier->size >> height) & 1) != 0; height++)
		es_merkle_node(frontier->node[height], hash, hash);
	memcpy(frontier->node[height], hash, ES_HASH_SIZE);
	frontier->size++;
}

void
es_frontier_root(const EsFrontier *frontier, uint8 *root)
{
	bool		is_first = true;

	if (frontier->size == 0)
		es_sha256("", 0, root);
	for (int height = 0; (frontier->size >> height) > 0; height++)
	{
		if (((frontier->size >> height) & 1) == 0)
			continue;
		if (is_first)
			memcpy(root, frontier->node[height], ES_HASH_SIZE);
		else
			es_merkle_node(frontier->node[height], root, root);
		is_first = false;
	}
}

void
es_merkle_root(const uint8 *hashes, int count, uint8 *root)
{
	EsFrontier	frontier;

	frontier.size = 0;
	for (int i = 0; i < count; i++)
		es_frontier_add(&frontier, hashes + i * ES_HASH_SIZE);
	es_frontier_root(&frontier, root);
}

int
es_merkle_split(int64 size)
{
	return pg_leftmost_one_pos64((uint64) size - 1);
}
