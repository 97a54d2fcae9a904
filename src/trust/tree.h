/*
 * tree.h
 *		Nodes of the sealed tree, from its tiles and from the log's end.
 */
#ifndef ES_TRUST_TREE_H
#define ES_TRUST_TREE_H

#include "compat.h"
#include "trust/merkle.h"
#include "trust/tile.h"

typedef struct EsTree EsTree;

/*
 * The tree of a seal.  The snapshot, which sees all up to the seal, is registered
 * as long as it lasts; so does the current memory context.
 */
extern EsTree *es_tree_begin(const EsSeal *seal, Snapshot snapshot);

/*
 * May it go on, for this seal and under this snapshot?  Not if the seal is another one,
 * or it has read so much that a new one is better.
 */
extern bool es_tree_continue(EsTree *tree, const EsSeal *seal, Snapshot snapshot);

/* Root of the leaves from <= leaf < upto: RFC 6962's MTH(D[from:upto]). */
extern void es_tree_root(EsTree *tree, int64 from, int64 upto, uint8 *root);

/* The tree of its first so many leaves, to be grown; size is a multiple of a tile's width. */
extern void es_tree_frontier(EsTree *tree, int64 size, EsFrontier *frontier);

/* Number of the leaf, from 0, that the event at a position is; -1 if there is none. */
extern int64 es_tree_leaf_at(EsTree *tree, int64 position);

/* An event of the log below the seal is not what was sealed. */
ES_NORETURN extern void es_tree_report_damage(const char *detail);

#endif							/* ES_TRUST_TREE_H */
