/*
 * verify.h
 *		The log held against what was sealed of it.
 */
#ifndef ES_TRUST_VERIFY_H
#define ES_TRUST_VERIFY_H

#include "trust/merkle.h"
#include "trust/tile.h"

typedef enum EsVerifyStatus
{
	ES_VERIFY_OK,
	ES_VERIFY_REDACTED,			/* its data was erased, lawfully */
	ES_VERIFY_PRUNED,			/* it is gone, but for its hash, as retention
								 * has it */
	ES_VERIFY_TAMPERED
} EsVerifyStatus;

/* An event, as far as it was verified. */
typedef struct EsVerified
{
	int64		position;
	int64		stream_id;
	int64		version;
	EsVerifyStatus status;
	const char *problem;		/* or NULL */
	uint8		leaf[ES_HASH_SIZE];
} EsVerified;

/* Told of every event in order of position, and of what is no event (NULL). */
typedef void (*EsVerifyReport) (void *arg, const EsVerified *event, const char *problem);

/*
 * The leaves of the tree are the events up to a position.  Snapshot registered;
 * lives in the current memory context.
 */
typedef struct EsVerifyTree EsVerifyTree;
extern EsVerifyTree *es_verify_tree_begin(Snapshot snapshot, int64 upto, EsVerifyReport report, void *arg);

/* Also finds the root of the first so many leaves. */
extern void es_verify_tree_remember(EsVerifyTree *tree, int64 size);

/* The next event, in order of position.  Its problem is copied. */
extern void es_verify_tree_event(EsVerifyTree *tree, const EsVerified *event);

/* How many leaves there are; root (may be NULL) is what was to be remembered. */
extern int64 es_verify_tree_end(EsVerifyTree *tree, uint8 *root);

/*
 * Holds what erasures say against their marks, and against the events that were met
 * (all of them, unless some are pruned).  Reports what is wrong.
 */
struct EsAccounts;
extern void es_verify_erasures(struct EsAccounts *accounts, Snapshot snapshot, bool any_pruned,
							   EsVerifyReport report, void *arg);

#endif							/* ES_TRUST_VERIFY_H */
