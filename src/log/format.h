/*
 * format.h
 *		appendStringInfo() for functions that take a format and arguments themselves.
 */
#ifndef ES_LOG_FORMAT_H
#define ES_LOG_FORMAT_H

#include "eventsource.h"

#include <stdarg.h>

#include "lib/stringinfo.h"

/* The arguments are read anew whenever the string has to grow. */
pg_attribute_printf(2, 0)
static inline void
es_append_va(StringInfo str, const char *format, va_list args)
{
	int			needed;

	do
	{
		va_list		again;

		va_copy(again, args);
		needed = appendStringInfoVA(str, format, again);
		va_end(again);
		if (needed > 0)
			enlargeStringInfo(str, needed);
	} while (needed > 0);
}

#endif							/* ES_LOG_FORMAT_H */
