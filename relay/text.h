/*
 * text.h
 *		Strings that grow, messages to the operator, and the clock.
 */
#ifndef RELAY_TEXT_H
#define RELAY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ends with a zero byte that does not count.  All zeros is an empty one. */
typedef struct Text
{
	char	   *data;
	size_t		len;
	size_t		size;
} Text;

extern void text_append(Text *to, const char *data, size_t len);
extern void text_add(Text *to, const char *string);
extern void text_printf(Text *to, const char *format,...) __attribute__((format(printf, 2, 3)));

/* A string as JSON has it; what is not printable ASCII becomes a question mark. */
extern void text_json(Text *to, const char *string);

extern void text_base64(Text *to, const void *data, size_t len);
extern void text_free(Text *to);

/* A copy in new memory. */
extern char *text_copy(const char *string);

/* Memory, all zeros.  Where there is none the program ends: what it was at is lent to it for a while only. */
extern void *memory_new(size_t size);

/* A line on standard error.  Never payloads, addresses of people or secrets. */
extern void say(const char *format,...) __attribute__((format(printf, 1, 2)));

/* Milliseconds of a clock that is never set. */
extern int64_t now_ms(void);

#endif							/* RELAY_TEXT_H */
