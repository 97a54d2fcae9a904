/*
 * webhook.c
 *		Deliveries by HTTP: POST, a JSON body, signed as Standard Webhooks has it.
 *
 * Who may enqueue may not be who runs the relay.  So a payload says where to only within
 * what the operator allowed (by default: https, to addresses of the public Internet), sets
 * no header that he did not name, and sees no secret.  Redirects are not followed.  URLs
 * are compared, and sent to, in the form that libcurl gives them.
 */
#include "webhook.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "options.h"

#define MAX_URL			2048
#define MAX_HEADER		1024

/* ---- where to ---- */

typedef struct Place
{
	char	   *url;
	char	   *scheme;
	char	   *host;
	char	   *port;
	char	   *path;
	char	   *plain_path;		/* decoded */
	char	   *query;
} Place;

static void
place_free(Place *place)
{
	curl_free(place->url);
	curl_free(place->scheme);
	curl_free(place->host);
	curl_free(place->port);
	curl_free(place->path);
	curl_free(place->plain_path);
	curl_free(place->query);
}

/* Segments that a server could take for a way up, once it has decoded them. */
static bool
has_dots(const char *path)
{
	while (*path != '\0')
	{
		size_t		len;

		path += strspn(path, "/\\");
		len = strcspn(path, "/\\;");
		if ((len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
			return true;
		path += strcspn(path, "/\\");
	}
	return false;
}

/*
 * NULL and a place to free, or what is wrong.  Which ways up libcurl would take out of a path
 * depends on its version; so none is.
 */
static const char *
place_parse(const char *url, Place *place)
{
	CURLU	   *parts = curl_url();
	const char *problem = NULL;

	memset(place, 0, sizeof(*place));
	if (parts == NULL || strlen(url) > MAX_URL)
		problem = "the URL is too long";
	else if (curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER | CURLU_PATH_AS_IS) != CURLUE_OK ||
			 curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK ||
			 curl_url_get(parts, CURLUPART_URL, &place->url, 0) != CURLUE_OK ||
			 curl_url_get(parts, CURLUPART_SCHEME, &place->scheme, 0) != CURLUE_OK ||
			 curl_url_get(parts, CURLUPART_HOST, &place->host, 0) != CURLUE_OK ||
			 curl_url_get(parts, CURLUPART_PORT, &place->port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
			 curl_url_get(parts, CURLUPART_PATH, &place->path, 0) != CURLUE_OK ||
			 curl_url_get(parts, CURLUPART_PATH, &place->plain_path, CURLU_URLDECODE) != CURLUE_OK)
		problem = "is no URL, or one with a user name";
	else if (strcmp(place->scheme, "https") != 0 && strcmp(place->scheme, "http") != 0)
		problem = "the URL is none of https or http";
	else if (has_dots(place->plain_path))
		problem = "the path of the URL goes up";
	else
		curl_url_get(parts, CURLUPART_QUERY, &place->query, 0);
	curl_url_cleanup(parts);
	if (problem != NULL)
		place_free(place);
	return problem;
}

/* /hooks allows /hooks and /hooks/a, not /hooks-too. */
static bool
is_below(const Place *place, const Place *prefix)
{
	size_t		len = strlen(prefix->path);

	return strcmp(place->scheme, prefix->scheme) == 0 && strcasecmp(place->host, prefix->host) == 0 &&
		strcmp(place->port, prefix->port) == 0 && strncmp(place->path, prefix->path, len) == 0 &&
		(prefix->path[len - 1] == '/' || place->path[len] == '\0' || place->path[len] == '/');
}

static bool
is_allowed(const Place *place)
{
	bool		allowed = false;

	if (options.url != NULL)
		return true;
	if (options.allow_url.count == 0)
		return strcmp(place->scheme, "https") == 0;
	for (int i = 0; i < options.allow_url.count && !allowed; i++)
	{
		Place		prefix;

		if (place_parse(options.allow_url.items[i], &prefix) != NULL)
			continue;
		allowed = is_below(place, &prefix);
		place_free(&prefix);
	}
	return allowed;
}

const char *
webhook_prefix_problem(const char *url)
{
	Place		place;
	const char *problem = place_parse(url, &place);

	if (problem != NULL)
		return problem;
	if (place.query != NULL && options.url == NULL)
		problem = "a prefix has no query";
	place_free(&place);
	return problem;
}

/* ---- addresses ---- */

static bool
is_public_v4(uint32_t address)
{
	static const struct
	{
		uint32_t	net;
		int			bits;
	}			others[] = {
		{0x00000000, 8}, {0x0a000000, 8}, {0x64400000, 10}, {0x7f000000, 8}, {0xa9fe0000, 16},
		{0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16},
		{0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if ((address ^ others[i].net) >> (32 - others[i].bits) == 0)
			return false;
	return true;
}

static bool
is_public_v6(const unsigned char *a)
{
	static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	uint32_t	first = (uint32_t) a[0] << 24 | (uint32_t) a[1] << 16 | (uint32_t) a[2] << 8 | a[3];

	if (memcmp(a, mapped, sizeof(mapped)) == 0)
		return is_public_v4((uint32_t) a[12] << 24 | (uint32_t) a[13] << 16 | (uint32_t) a[14] << 8 | a[15]);

	/*
	 * Global unicast, without what tunnels to addresses of version 4 and what
	 * is for prose.
	 */
	return first >> 29 == 1 && first != 0x20010000 && first != 0x20010db8 && first >> 16 != 0x2002;
}

/* The last moment to look at an address: names may lead anywhere, and elsewhere the next time. */
static curl_socket_t
open_public_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Delivery   *d = arg;
	bool		is_public = false;

	if (address->family == AF_INET)
	{
		struct sockaddr_in v4;

		memcpy(&v4, &address->addr, sizeof(v4));
		is_public = is_public_v4(ntohl(v4.sin_addr.s_addr));
	}
	else if (address->family == AF_INET6)
	{
		struct sockaddr_in6 v6;

		memcpy(&v6, &address->addr, sizeof(v6));
		is_public = is_public_v6(v6.sin6_addr.s6_addr);
	}
	if (!is_public)
	{
		d->is_address_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- headers ---- */

/* Ours, the connection's, or what others take for proof of who is calling. */
static const char *const reserved_headers[] = {
	"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "expect", "te",
	"trailer", "upgrade", "keep-alive", "user-agent", "authorization", "proxy-authorization", "proxy-connection",
	"cookie", "idempotency-key", "webhook-id", "webhook-timestamp", "webhook-signature", "forwarded", "via",
	"x-real-ip",
};

bool
webhook_header_is_free(const char *name)
{
	size_t		len = strlen(name);

	if (len == 0 || len > 64 ||
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != len ||
		strncasecmp(name, "x-forwarded-", 12) == 0)
		return false;
	for (size_t i = 0; i < sizeof(reserved_headers) / sizeof(reserved_headers[0]); i++)
		if (strcasecmp(name, reserved_headers[i]) == 0)
			return false;
	return true;
}

static bool
header_is_allowed(const Header *header)
{
	bool		is_named = false;

	for (int i = 0; i < options.allow_header.count && !is_named; i++)
		is_named = strcasecmp(header->name, options.allow_header.items[i]) == 0;
	if (!is_named || !webhook_header_is_free(header->name) || strlen(header->value) > MAX_HEADER)
		return false;
	for (const char *c = header->value; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			return false;
	return true;
}

static void
add_header(struct curl_slist **headers, const char *name, const char *value)
{
	Text		line = {0};
	struct curl_slist *longer;

	/*
	 * With a semicolon, libcurl sends a header without value rather than
	 * none.
	 */
	if (value[strspn(value, " ")] == '\0')
		text_printf(&line, "%s;", name);
	else
		text_printf(&line, "%s: %s", name, value);
	longer = curl_slist_append(*headers, line.data);
	if (longer == NULL)
	{
		say("out of memory");
		_Exit(EXIT_UNRECORDED);
	}
	*headers = longer;
	text_free(&line);
}

static const char *
add_headers(Delivery *d, struct curl_slist **headers)
{
	Text		signature = {0};
	Text		timestamp = {0};

	for (int i = 0; i < d->header_count; i++)
	{
		if (!header_is_allowed(&d->headers[i]))
			return "a header that the operator of the relay did not allow, or not with this value";
		add_header(headers, d->headers[i].name, d->headers[i].value);
	}
	text_printf(&timestamp, "%lld", (long long) time(NULL));
	add_header(headers, "Content-Type", "application/json");
	add_header(headers, "Idempotency-Key", d->id);
	add_header(headers, "webhook-id", d->id);
	add_header(headers, "webhook-timestamp", timestamp.data);
	if (options.secret_count > 0)
	{
		sign_message(&signature, options.secrets, options.secret_count, d->id, timestamp.data, d->body,
					 strlen(d->body));
		add_header(headers, "webhook-signature", signature.data);
	}

	/*
	 * Not to be asked whether to go on: that takes a second where nobody
	 * answers.
	 */
	*headers = curl_slist_append(*headers, "Expect:");
	text_free(&signature);
	text_free(&timestamp);
	return NULL;
}

/* ---- the request ---- */

const char *
webhook_prepare(Delivery *d, struct curl_slist **headers)
{
	const char *url = options.url != NULL ? options.url : d->url;
	Place		place;
	const char *problem;

	if (url == NULL)
		return "the payload has no url";
	if (d->body == NULL)
		return "the payload has no body";
	problem = place_parse(url, &place);
	if (problem != NULL)
		return problem;
	if (!is_allowed(&place))
		problem = "the URL is not one that the operator of the relay allowed";
	else
	{
		text_printf(&d->target, "%s://%s:%s", place.scheme, place.host, place.port);
		problem = add_headers(d, headers);
	}
	if (problem == NULL)
	{
		curl_easy_setopt(d->curl, CURLOPT_URL, place.url);
		curl_easy_setopt(d->curl, CURLOPT_POST, 1L);
		curl_easy_setopt(d->curl, CURLOPT_POSTFIELDS, d->body);
		curl_easy_setopt(d->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(d->body));
		curl_easy_setopt(d->curl, CURLOPT_HTTPHEADER, *headers);
		curl_easy_setopt(d->curl, CURLOPT_USERAGENT, "eventsource-relay/" RELAY_VERSION);
		curl_easy_setopt(d->curl, CURLOPT_FOLLOWLOCATION, 0L);
		if (options.url == NULL && options.allow_url.count == 0 && options.proxy == NULL)
		{
			curl_easy_setopt(d->curl, CURLOPT_OPENSOCKETFUNCTION, open_public_socket);
			curl_easy_setopt(d->curl, CURLOPT_OPENSOCKETDATA, d);
		}
	}
	place_free(&place);
	return problem;
}
