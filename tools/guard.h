/*
 * guard.h
 *		For tools/sanitize.sh, which includes it before all else: memory that our code
 *		takes from a context lies in a block of its own, whose rest is poisoned.
 *
 * AddressSanitizer sees what malloc() gives, and a context takes that in large pieces
 * and cuts them up.  A request of more than a context cuts from is passed on, and given
 * back when it is freed; so each request is made that large.  Arguments of type jsonb
 * are copied likewise.  What the server's own functions allocate is not guarded.
 */
#ifndef ES_GUARD_H
#define ES_GUARD_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include <sanitizer/asan_interface.h>

/* More than any context cuts from its blocks. */
#define ES_GUARD_LEAST	(ALLOCSET_SEPARATE_THRESHOLD + 1)

static inline void *
es_guard(void *pointer, Size size)
{
	if (pointer != NULL && size < ES_GUARD_LEAST)
		ASAN_POISON_MEMORY_REGION((char *) pointer + size, ES_GUARD_LEAST - size);
	return pointer;
}

static inline void *
es_guard_alloc(MemoryContext context, Size size, int flags)
{
	return es_guard(MemoryContextAllocExtended(context, Max(size, ES_GUARD_LEAST), flags), size);
}

static inline void *
es_guard_repalloc(void *pointer, Size size)
{
	return es_guard(repalloc(pointer, Max(size, ES_GUARD_LEAST)), size);
}

static inline char *
es_guard_copy(const void *bytes, Size length, Size size)
{
	char	   *copy = es_guard_alloc(CurrentMemoryContext, size, 0);

	memcpy(copy, bytes, length);
	if (size > length)
		copy[length] = '\0';
	return copy;
}

static inline Jsonb *
es_guard_jsonb(Datum datum)
{
	Jsonb	   *jsonb = DatumGetJsonbP(datum);

	return (Jsonb *) es_guard_copy(jsonb, VARSIZE(jsonb), VARSIZE(jsonb));
}

#undef palloc
#define palloc(size)				es_guard_alloc(CurrentMemoryContext, size, 0)
#define palloc0(size)				es_guard_alloc(CurrentMemoryContext, size, MCXT_ALLOC_ZERO)
#define palloc_extended(size, flags)	es_guard_alloc(CurrentMemoryContext, size, flags)
#define MemoryContextAlloc(context, size)	es_guard_alloc(context, size, 0)
#define MemoryContextAllocZero(context, size)	es_guard_alloc(context, size, MCXT_ALLOC_ZERO)
#define repalloc(pointer, size)		es_guard_repalloc(pointer, size)
#define pstrdup(string)				es_guard_copy(string, strlen(string), strlen(string) + 1)
#define pnstrdup(string, length)	es_guard_copy(string, strnlen(string, length), strnlen(string, length) + 1)
#undef PG_GETARG_JSONB_P
#define PG_GETARG_JSONB_P(n)		es_guard_jsonb(PG_GETARG_DATUM(n))

#endif							/* ES_GUARD_H */
