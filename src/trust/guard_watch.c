/*
 * guard_watch.c
 *		The worker looks after the guards, and tells the server's log of one that is broken.
 *
 * health() looks for itself.  This is for those whom nobody asks.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "log/open.h"
#include "trust/guard_hooks.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static int	guard_interval = 60000; /* ms; 0: never */

/* What was broken when the worker looked last, one per line; in TopMemoryContext. */
static char *told;

static char *broken_guards(void);
static void tell(const char *broken);

/* Not more often than asked for, also at once if the clock was set back. */
long
es_guard_watch_duty(void)
{
	static TimestampTz looked_at;
	TimestampTz now = GetCurrentTimestamp();
	long		waited;
	char	   *broken;

	if (guard_interval == 0)
		return INT_MAX;
	waited = looked_at == 0 || looked_at > now ? guard_interval :
		TimestampDifferenceMilliseconds(looked_at, now);
	if (waited < guard_interval)
		return guard_interval - waited;
	looked_at = now;

	/* What a restore has yet to make is not broken. */
	if (!es_log_was_opened())
		return guard_interval;
	broken = broken_guards();
	if (strcmp(broken, told != NULL ? told : "") != 0)
		tell(broken);
	return guard_interval;
}

static char *
broken_guards(void)
{
	StringInfoData list;
	MemoryContext caller = CurrentMemoryContext;

	initStringInfo(&list);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT pg_catalog.format('%s, %s: %s', g.guard, g.protects, g.detail)"
					" FROM eventsource.check_guards() g WHERE NOT g.is_intact ORDER BY 1", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look after the guards");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(caller);

		appendStringInfo(&list, "%s%s", i == 0 ? "" : "\n",
						 SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return list.data;
}

/* Once for each change of what is broken. */
static void
tell(const char *broken)
{
	char	   *copy = MemoryContextStrdup(TopMemoryContext, broken);

	if (told != NULL)
		pfree(told);
	told = copy;
	if (broken[0] == '\0')
		ereport(LOG, (errmsg("eventsource: the guards are intact again")));
	else
		ereport(WARNING,
				(errmsg("eventsource: guards are not intact"),
				 errdetail("%s", broken),
				 errhint("SELECT * FROM eventsource.check_guards() WHERE NOT is_intact.")));
}

void
es_guard_watch_init(void)
{
	DefineCustomIntVariable("eventsource.guard_interval",
							"How often the worker looks whether the guards are intact.",
							"0: it does not; health() does.",
							&guard_interval, 60000, 0, PG_INT32_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}
