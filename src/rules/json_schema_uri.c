/*
 * json_schema_uri.c
 *		URI references as RFC 3986 has them: taken apart, checked, resolved against
 *		a base, decoded.
 *
 * Everything is palloc'd in the current memory context.
 */
#include "postgres.h"

#include "common/string.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "rules/json_schema_parts.h"

/* A part of a URI; bytes is NULL where there is none. */
typedef struct Part
{
	const char *bytes;
	int			length;
} Part;

typedef struct Uri
{
	Part		scheme;
	Part		authority;
	Part		path;
	Part		query;
	Part		fragment;
} Uri;

static Part part_of(const char *from, const char *to);
static void take_apart(const char *bytes, int length, Uri *uri);
static char *merge_paths(const Uri *base, Part path);
static char *remove_dots(const char *bytes, int length);
static bool is_reference(const Uri *uri);
static bool is_authority(Part authority);
static bool is_made_of(Part part, const char *others);
static int	hex_value(char c);

/* The URI of a reference in a document whose URI is base, which may be relative itself. */
char *
es_uri_resolve(const char *base, const char *reference)
{
	StringInfoData result;
	Uri			from;
	Uri			to;
	char	   *path;

	take_apart(base, strlen(base), &from);
	take_apart(reference, strlen(reference), &to);
	if (to.scheme.bytes != NULL || to.authority.bytes != NULL || to.path.length > 0)
	{
		path = to.scheme.bytes != NULL || to.authority.bytes != NULL ||
			to.path.bytes[0] == '/' ? remove_dots(to.path.bytes, to.path.length)
			: merge_paths(&from, to.path);
		if (to.scheme.bytes == NULL)
		{
			to.scheme = from.scheme;
			if (to.authority.bytes == NULL)
				to.authority = from.authority;
		}
	}
	else
	{
		to.scheme = from.scheme;
		to.authority = from.authority;
		path = pnstrdup(from.path.bytes, from.path.length);
		if (to.query.bytes == NULL)
			to.query = from.query;
	}

	initStringInfo(&result);
	if (to.scheme.bytes != NULL)
		appendStringInfo(&result, "%.*s:", to.scheme.length, to.scheme.bytes);
	if (to.authority.bytes != NULL)
		appendStringInfo(&result, "//%.*s", to.authority.length, to.authority.bytes);
	appendStringInfoString(&result, path);
	if (to.query.bytes != NULL)
		appendStringInfo(&result, "?%.*s", to.query.length, to.query.bytes);
	if (to.fragment.bytes != NULL && to.fragment.length > 0)
		appendStringInfo(&result, "#%.*s", to.fragment.length, to.fragment.bytes);
	return result.data;
}

bool
es_uri_is_reference(const char *bytes, int length)
{
	Uri			uri;

	take_apart(bytes, length, &uri);
	return is_reference(&uri);
}

bool
es_uri_is_absolute(const char *bytes, int length)
{
	Uri			uri;

	take_apart(bytes, length, &uri);
	return uri.scheme.bytes != NULL && is_reference(&uri);
}

char *
es_uri_decode(const char *bytes)
{
	char	   *result = palloc(strlen(bytes) + 1);
	int			length = 0;
	bool		decoded = false;

	for (const char *p = bytes; *p != '\0'; p++)
	{
		if (p[0] == '%' && hex_value(p[1]) >= 0 && hex_value(p[2]) >= 0)
		{
			result[length] = (char) (hex_value(p[1]) * 16 + hex_value(p[2]));
			if (result[length++] == '\0')
				return NULL;
			p += 2;
			decoded = true;
		}
		else
			result[length++] = *p;
	}
	result[length] = '\0';
	if (!decoded || pg_is_ascii(result))
		return result;
	if (!pg_verify_mbstr(PG_UTF8, result, length, true))
		return NULL;
	return pg_any_to_server(result, length, PG_UTF8);
}

static Part
part_of(const char *from, const char *to)
{
	Part		part;

	part.bytes = from;
	part.length = to - from;
	return part;
}

/* As the expression in appendix B of the RFC does: whatever it is, it has parts. */
static void
take_apart(const char *bytes, int length, Uri *uri)
{
	const char *end = bytes + length;
	const char *p = bytes;

	memset(uri, 0, sizeof(Uri));
	while (p < end && strchr(":/?#", *p) == NULL)
		p++;
	if (p < end && *p == ':' && p > bytes)
	{
		uri->scheme = part_of(bytes, p);
		bytes = p + 1;
	}
	if (end - bytes >= 2 && bytes[0] == '/' && bytes[1] == '/')
	{
		for (p = bytes += 2; p < end && strchr("/?#", *p) == NULL;)
			p++;
		uri->authority = part_of(bytes, p);
		bytes = p;
	}
	for (p = bytes; p < end && *p != '?' && *p != '#';)
		p++;
	uri->path = part_of(bytes, p);
	if (p < end && *p == '?')
	{
		for (bytes = ++p; p < end && *p != '#';)
			p++;
		uri->query = part_of(bytes, p);
	}
	if (p < end)
		uri->fragment = part_of(p + 1, end);
}

static char *
merge_paths(const Uri *base, Part path)
{
	StringInfoData merged;
	int			keep = base->path.length;

	initStringInfo(&merged);
	if (keep == 0 && base->authority.bytes != NULL)
		appendStringInfoChar(&merged, '/');
	while (keep > 0 && base->path.bytes[keep - 1] != '/')
		keep--;
	appendBinaryStringInfo(&merged, base->path.bytes, keep);
	appendBinaryStringInfo(&merged, path.bytes, path.length);
	return remove_dots(merged.data, merged.len);
}

/* "a/./b/../c" as "a/c" */
static char *
remove_dots(const char *bytes, int length)
{
	char	   *result = palloc(length + 1);
	int			n = 0;
	int			at = 0;

	while (at < length)
	{
		int			end = at;
		int			size;

		/* a segment, and the slash behind it */
		while (end < length && bytes[end] != '/')
			end++;
		size = end - at;
		if (size == 2 && bytes[at] == '.' && bytes[at + 1] == '.')
		{
			/*
			 * takes the segment before it away, and leaves the slash in front
			 * of that
			 */
			if (n > 0 && result[n - 1] == '/')
				n--;
			while (n > 0 && result[n - 1] != '/')
				n--;
			if (n == 0 && length > 0 && bytes[0] == '/')
				result[n++] = '/';
		}
		else if (size != 1 || bytes[at] != '.')
		{
			memcpy(result + n, bytes + at, size);
			n += size;
			if (end < length)
				result[n++] = '/';
		}
		at = end + 1;
	}
	result[n] = '\0';
	return result;
}

static bool
is_reference(const Uri *uri)
{
	if (uri->scheme.bytes != NULL)
	{
		Part		rest = {uri->scheme.bytes + 1, uri->scheme.length - 1};

		if (!isalpha((unsigned char) uri->scheme.bytes[0]) || IS_HIGHBIT_SET(uri->scheme.bytes[0]))
			return false;
		for (int i = 0; i < rest.length; i++)
		{
			if (IS_HIGHBIT_SET(rest.bytes[i]) ||
				!(isalnum((unsigned char) rest.bytes[i]) || strchr("+-.", rest.bytes[i]) != NULL))
				return false;
		}
	}
	return (uri->authority.bytes == NULL || is_authority(uri->authority)) &&
		is_made_of(uri->path, ":@/") && is_made_of(uri->query, ":@/?") && is_made_of(uri->fragment, ":@/?");
}

/* [userinfo@]host[:port], where the host may be an [IPv6] address */
static bool
is_authority(Part authority)
{
	const char *end = authority.bytes + authority.length;
	const char *host = authority.bytes;
	const char *port;

	for (const char *p = host; p < end; p++)
	{
		if (*p == '@')
		{
			if (!is_made_of(part_of(host, p), ":"))
				return false;
			host = p + 1;
			break;
		}
	}
	if (host < end && *host == '[')
	{
		EsFormatCheck is_ipv6 = es_format_find("ipv6");
		const char *close = memchr(host, ']', end - host);

		if (close == NULL)
			return false;
		if (host[1] == 'v')
		{
			if (!is_made_of(part_of(host + 1, close), ":"))
				return false;
		}
		else if (!is_ipv6(host + 1, close - host - 1))
			return false;
		port = close + 1;
		if (port < end && *port != ':')
			return false;
	}
	else
	{
		port = memchr(host, ':', end - host);
		if (port == NULL)
			port = end;
		if (!is_made_of(part_of(host, port), ""))
			return false;
	}
	for (port++; port < end; port++)
	{
		if (*port < '0' || *port > '9')
			return false;
	}
	return true;
}

/* Of unreserved characters, %XX, sub-delims and those others? */
static bool
is_made_of(Part part, const char *others)
{
	for (int i = 0; i < part.length; i++)
	{
		char		c = part.bytes[i];

		if (c == '%')
		{
			if (i + 2 >= part.length || hex_value(part.bytes[i + 1]) < 0 || hex_value(part.bytes[i + 2]) < 0)
				return false;
			i += 2;
		}
		else if (c == '\0' || IS_HIGHBIT_SET(c) ||
				 !(isalnum((unsigned char) c) || strchr("-._~!$&'()*+,;=", c) != NULL ||
				   strchr(others, c) != NULL))
			return false;
	}
	return true;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}
