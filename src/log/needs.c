/*
 * needs.c
 *		Who still needs events that are in the log.
 *
 * Whoever follows the log says so through what it registers here; progress that
 * another transaction has not committed does not count, so what is told is never too little.
 */
#include "log/needs.h"

/* Rooms that follow the log. */
#define MAX_SOURCES		4

static EsNeedsOf sources[MAX_SOURCES];
static int	n_sources;

void
es_needs_register(EsNeedsOf fn)
{
	if (n_sources == MAX_SOURCES)
		elog(ERROR, "too many kinds of readers of the log");
	sources[n_sources++] = fn;
}

List *
es_needs_list(void)
{
	List	   *result = NIL;

	for (int i = 0; i < n_sources; i++)
		result = list_concat(result, sources[i] ());
	return result;
}
