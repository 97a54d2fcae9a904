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
reserve(Text *text, size_t more)
{
	size_t		size = text->size > 0 ? text->size : 64;

	if (more >= SIZE_MAX / 4 - text->len)
		no_memory();
	while (size < text->len + more + 1)
		size *= 2;
	if (size != text->size)
	{
		text	  ->data = realloc(text->data, size);

		if (text->data == NULL)
			no_memory();
		text	  ->size = size;
	}
}

void
text_append(Text *text, const char *data, size_t len)
{
	reserve(text, len);
	if (len > 0)
		memcpy(text->data + text->len, data, len);
	text	  ->len += len;
	text	  ->data[text->len] = '\0';
}

void
text_add(Text *text, const char *string)
{
	text_append(text, string, strlen(string));
}

void
text_printf(Text *text, const char *format,...)
{
	va_list		args;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		no_memory();
	reserve(text, (size_t) len);
	va_start(args, format);
	vsnprintf(text->data + text->len, (size_t) len + 1, format, args);
	va_end(args);
	text	  ->len += (size_t) len;
}

void
text_json(Text *text, const char *string)
{
	text_add(text, "\"");
	for (; *string != '\0'; string++)
	{
		if (*string == '"' || *string == '\\')
			text_add(text, "\\");
		text_append(text, *string >= ' ' && *string <= '~' ? string : "?", 1);
	}
	text_add(text, "\"");
}

void
text_base64(Text *text, const void *data, size_t len)
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
		text_append(text, out, 4);
	}
}

void
text_free(Text *text)
{
	free(text->data);
	memset(text, 0, sizeof(*text));
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
