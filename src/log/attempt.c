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
#include "mb/pg_wchar.h"
#include "utils/resowner.h"

/* Bytes of a message that are kept: whose code fails may say anything. */
#define MAX_MESSAGE		8192

static bool is_cancel(const ErrorData *error);

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
	if (error != NULL && (is_cancel(error) || !is_expected(error->sqlerrcode)))
		ReThrowError(error);
	return error;
}

bool
es_error_is_answer(int sqlstate)
{
	int			class = ERRCODE_TO_CATEGORY(sqlstate);

	return class != ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) &&
		class != ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) &&
		class != ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR) &&
		class != ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) &&
		class != ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR);
}

char *
es_error_clip(const char *message)
{
	int			length = strlen(message);

	return pnstrdup(message, length <= MAX_MESSAGE ? length : pg_mbcliplen(message, length, MAX_MESSAGE));
}

/*
 * That the statement is to end, not that somebody's code, or a server that it
 * asked, gave an error the same SQLSTATE.
 */
static bool
is_cancel(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->funcname != NULL &&
		strcmp(error->funcname, "ProcessInterrupts") == 0;
}
