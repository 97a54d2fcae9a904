/*
 * text.c
 *		Strings that grow, messages to the operator, and the clock.
 *
 * Who makes a Text frees it.  There is no way on without memory: the program ends, and
 * what it was at is delivered again when its lease is over.
 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void
no_memory(void)
{
	say("out of memory");
	_Exit(1);
}

void *
memory_new(size_t size)
{
	void	   *memory = calloc(1, size);

	if (memory == NULL)
		no_memory();
	return memory;
}

static void
reserve(Text *to, size_t more)
{
	size_t		size = to->size > 0 ? to->size : 64;

	if (more >= SIZE_MAX / 4 - to->len)
		no_memory();
	while (size < to->len + more + 1)
		size *= 2;
	if (size != to->size)
	{
		to->data = realloc(to->data, size);

		if (to->data == NULL)
			no_memory();
		to->size = size;
	}
}

void
text_append(Text *to, const char *data, size_t len)
{
	reserve(to, len);
	if (len > 0)
		memcpy(to->data + to->len, data, len);
	to->len += len;
	to->data[to->len] = '\0';
}

void
text_add(Text *to, const char *string)
{
	text_append(to, string, strlen(string));
}

void
text_printf(Text *to, const char *format,...)
{
	va_list		args;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		no_memory();
	reserve(to, (size_t) len);
	va_start(args, format);
	vsnprintf(to->data + to->len, (size_t) len + 1, format, args);
	va_end(args);
	to->len += (size_t) len;
}

void
text_json(Text *to, const char *string)
{
	text_add(to, "\"");
	for (; *string != '\0'; string++)
	{
		if (*string == '"' || *string == '\\')
			text_add(to, "\\");
		text_append(to, *string >= ' ' && *string <= '~' ? string : "?", 1);
	}
	text_add(to, "\"");
}

void
text_base64(Text *to, const void *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *bytes = data;

	for (size_t i = 0; i < len; i += 3)
	{
		uint32_t	group = (uint32_t) bytes[i] << 16;
		char		out[4];

		if (i + 1 < len)
			group |= (uint32_t) bytes[i + 1] << 8;
		if (i + 2 < len)
			group |= bytes[i + 2];
		for (int n = 0; n < 4; n++)
			out[n] = i + n > len ? '=' : digits[(group >> (18 - 6 * n)) & 63];
		text_append(to, out, 4);
	}
}

void
text_free(Text *to)
{
	free(to->data);
	memset(to, 0, sizeof(*to));
}

char *
text_copy(const char *string)
{
	size_t		size = strlen(string) + 1;
	char	   *copy = memory_new(size);

	memcpy(copy, string, size);
	return copy;
}

void
say(const char *format,...)
{
	va_list		args;

	fputs("eventsource-relay: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
