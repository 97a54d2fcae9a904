/*
 * own_ddl.c
 *		Whether a change to the catalogs is our own doing.
 *
 * No setting and no state of the transaction says so, only that a C function of
 * ours is on the stack: nobody else can claim it, and no error leaves it behind.
 */
#include "log/own_ddl.h"

static bool is_own;

void
es_own_ddl(void (*fn) (void *arg), void *arg)
{
	bool		before = is_own;

	is_own = true;
	PG_TRY();
	{
		fn(arg);
	}
	PG_FINALLY();
	{
		is_own = before;
	}
	PG_END_TRY();
}

bool
es_own_ddl_is(void)
{
	return is_own;
}
