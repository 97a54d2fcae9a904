/*
 * attempt.c
 *		Work that may fail without failing the whole.
 *
 * Whatever the error, the subtransaction is ended before it goes on: a PL/pgSQL
 * block that catches it rolls back what is then the current one, which must be
 * its own.
 */
#include "log/attempt.h"

#include "access/xact.h"
#include "utils/resowner.h"

ErrorData *
es_attempt(void (*work) (void *arg), void *arg, bool (*is_expected) (int sqlstate))
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error != NULL && !is_expected(error->sqlerrcode))
		ReThrowError(error);
	return error;
}
