/*
 * own_ddl.c
 *		Whether a change to the catalogs is our own doing.
 *
 * No setting and no state of the transaction says so, only that a C function of
 * ours is on the stack: nobody else can claim it, and no error leaves it behind.
 * A statement of ours may fire event triggers; what those run is not ours.
 */
#include "log/own_ddl.h"

static EsOwnDdl now;

void
es_own_ddl(void (*fn) (void *arg), void *arg)
{
	EsOwnDdl	before = now;

	now = ES_OWN_CODE;
	PG_TRY();
	{
		fn(arg);
	}
	PG_FINALLY();
	{
		now = before;
	}
	PG_END_TRY();
}

bool
es_own_ddl_is(void)
{
	return now != ES_NOT_OWN;
}

EsOwnDdl
es_own_ddl_begin_statement(bool is_part)
{
	EsOwnDdl	before = now;

	if (now == ES_OWN_CODE)
		now = ES_OWN_STATEMENT;
	else if (!is_part)
		now = ES_NOT_OWN;
	return before;
}

EsOwnDdl
es_own_ddl_begin_query(void)
{
	EsOwnDdl	before = now;

	if (now == ES_OWN_STATEMENT)
		now = ES_NOT_OWN;
	return before;
}

void
es_own_ddl_end(EsOwnDdl before)
{
	now = before;
}
