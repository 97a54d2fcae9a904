/*
 * merkle.h
 *		The arithmetic of a Merkle tree as RFC 6962 has it.
 */
#ifndef ES_TRUST_MERKLE_H
#define ES_TRUST_MERKLE_H

#include "eventsource.h"

/* Hash of a leaf, whose entry is the chain hash of an event. */
extern void es_merkle_leaf(const uint8 *entry, uint8 *hash);

extern void es_merkle_node(const uint8 *left, const uint8 *right, uint8 *hash);

/*
 * A tree that grows by one leaf at a time: of it only the roots of the perfect
 * trees that make it up are kept, node[h] of 2^h leaves if bit h of size is set.
 * All zero, it is empty.
 */
typedef struct EsFrontier
{
	int64		size;
	uint8		node[63][ES_HASH_SIZE];
} EsFrontier;

extern void es_frontier_add(EsFrontier *frontier, const uint8 *leaf_hash);
extern void es_frontier_root(const EsFrontier *frontier, uint8 *root);

/* Root over the hashes of so many trees of the same height, side by side. */
extern void es_merkle_root(const uint8 *hashes, int count, uint8 *root);

/* The height of the highest perfect tree that is smaller than one of so many leaves (> 1). */
extern int	es_merkle_split(int64 size);

#endif							/* ES_TRUST_MERKLE_H */
