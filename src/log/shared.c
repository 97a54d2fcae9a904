/*
 * shared.c
 *		Pieces of shared memory, for servers that preload the library.
 *
 * The list of those wanted is made while the library is loaded, and lives as
 * long as the process.
 */
#include "log/shared.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define MAX_PIECES	8

static const EsShared *pieces[MAX_PIECES];
static int	n_pieces;

static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static void
request_memory(void)
{
	if (next_request_hook != NULL)
		next_request_hook();
	for (int i = 0; i < n_pieces; i++)
	{
		Size		size = pieces[i]->size();

		if (size == 0)
			continue;
		RequestAddinShmemSpace(size);
		if (pieces[i]->n_locks > 0)
			RequestNamedLWLockTranche(pieces[i]->name, pieces[i]->n_locks);
	}
}

static void
attach_memory(void)
{
	if (next_startup_hook != NULL)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < n_pieces; i++)
	{
		Size		size = pieces[i]->size();
		void	   *memory;
		bool		found;

		if (size == 0)
			continue;
		memory = ShmemInitStruct(pieces[i]->name, size, &found);
		pieces[i]->attach(memory,
						  pieces[i]->n_locks > 0 ? GetNamedLWLockTranche(pieces[i]->name) : NULL,
						  !found);
	}
	LWLockRelease(AddinShmemInitLock);
}

bool
es_shared_want(const EsShared *piece)
{
	if (!process_shared_preload_libraries_in_progress)
		return false;
	if (n_pieces == MAX_PIECES)
		elog(ERROR, "too many pieces of shared memory");
	pieces[n_pieces++] = piece;
	return true;
}

void
es_shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}
