/*
 * shared.h
 *		Pieces of shared memory, for servers that preload the library.
 */
#ifndef ES_LOG_SHARED_H
#define ES_LOG_SHARED_H

#include "postgres.h"

#include "storage/lwlock.h"

typedef struct EsShared
{
	const char *name;			/* of the piece and its locks */
	Size		(*size) (void); /* 0: it is not wanted */
	int			n_locks;
	/* In each process: where it is; to be filled by whoever comes first. */
	void		(*attach) (void *memory, LWLockPadded *locks, bool is_new);
} EsShared;

/*
 * Asks for a piece; to be called at load.  False, and nothing will come, unless
 * the library is being preloaded.
 */
extern bool es_shared_want(const EsShared *piece);

extern void es_shared_init(void);

#endif							/* ES_LOG_SHARED_H */
