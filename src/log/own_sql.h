/*
 * own_sql.h
 *		Statements on those private tables whose rows come and go (jobs): their text and
 *		arguments side by side, their plans kept.
 */
#ifndef ES_LOG_OWN_SQL_H
#define ES_LOG_OWN_SQL_H

#include "eventsource.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "executor/spi.h"
#include "executor/tuptable.h"

#define ES_OWN_SQL_ARGS		24

/* To be declared static, with text, nargs and types alone. */
typedef struct EsOwnSql
{
	const char *text;			/* names qualified; no code of users in it */
	int			nargs;
	Oid			types[ES_OWN_SQL_ARGS];
	SPIPlanPtr	plan;			/* NULL: not prepared yet */
} EsOwnSql;

/*
 * Called for each row that comes back, in the caller's memory context.  The row is gone
 * afterwards, and no other statement may be run.
 */
typedef void (*EsOwnSqlRow) (HeapTuple row, TupleDesc desc, void *arg);

/*
 * Executes it as the owner of the log, past the guards, with a snapshot of its own (in
 * REPEATABLE READ, too), and returns how many rows it came to.  isnull: NULL if no argument
 * is; each: NULL if no rows are wanted.  In the hall only where no event is being decided (append/timer.c).
 */
extern int64 es_own_sql(EsOwnSql *sql, const Datum *values, const bool *isnull,
						EsOwnSqlRow each, void *arg);

/*
 * Likewise, for a query that is executed row by row, no further than is wanted: what comes after
 * the row for which false is returned is neither looked at nor locked.
 */
typedef bool (*EsOwnSqlStep) (TupleTableSlot *slot, void *arg);
extern void es_own_sql_walk(EsOwnSql *sql, const Datum *values, EsOwnSqlStep step, void *arg);

/* A column of such a row, copied; NULL and 0 where it is null. */
extern text *es_own_sql_text(HeapTuple row, TupleDesc desc, int column);
extern Jsonb *es_own_sql_jsonb(HeapTuple row, TupleDesc desc, int column);
extern int64 es_own_sql_int64(HeapTuple row, TupleDesc desc, int column);
extern int32 es_own_sql_int32(HeapTuple row, TupleDesc desc, int column);
extern bool es_own_sql_time(HeapTuple row, TupleDesc desc, int column, TimestampTz *time);

#endif							/* ES_LOG_OWN_SQL_H */
