/*
 * json_schema_format.c
 *		The formats that can be asserted: each a function over a string's bytes that
 *		allocates nothing.
 *
 * Dates and times are RFC 3339's, addresses of mail RFC 5321's, names of hosts RFC
 * 1123's, URIs RFC 3986's, IPv6 RFC 4291's.
 */
#include "postgres.h"

#include "rules/json_schema_parts.h"

/* A string being read. */
typedef struct Reader
{
	const char *at;
	const char *end;
} Reader;

static bool is_date(const char *bytes, int length);
static bool is_time(const char *bytes, int length);
static bool is_date_time(const char *bytes, int length);
static bool is_email(const char *bytes, int length);
static bool is_hostname(const char *bytes, int length);
static bool is_ipv4(const char *bytes, int length);
static bool is_ipv6(const char *bytes, int length);
static bool is_uuid(const char *bytes, int length);
static bool read_date(Reader *r);
static bool read_time(Reader *r);
static bool read_offset(Reader *r, int *minutes);
static bool read_number(Reader *r, int digits, int *number);
static bool take(Reader *r, char c);
static bool is_digit(char c);
static bool is_hex(char c);
static bool is_alnum(char c);
static bool is_local_part(const char *bytes, int length);

static const struct
{
	const char *name;
	EsFormatCheck check;
}			formats[] = {
	{"date-time", is_date_time},
	{"date", is_date},
	{"time", is_time},
	{"email", is_email},
	{"hostname", is_hostname},
	{"ipv4", is_ipv4},
	{"ipv6", is_ipv6},
	{"uri", es_uri_is_absolute},
	{"uuid", is_uuid},
};

EsFormatCheck
es_format_find(const char *name)
{
	for (int i = 0; i < (int) lengthof(formats); i++)
	{
		if (strcmp(name, formats[i].name) == 0)
			return formats[i].check;
	}
	return NULL;
}

/* ---- dates and times ---- */

static bool
is_date(const char *bytes, int length)
{
	Reader		r = {bytes, bytes + length};

	return read_date(&r) && r.at == r.end;
}

static bool
is_time(const char *bytes, int length)
{
	Reader		r = {bytes, bytes + length};

	return read_time(&r) && r.at == r.end;
}

static bool
is_date_time(const char *bytes, int length)
{
	Reader		r = {bytes, bytes + length};

	return read_date(&r) && (take(&r, 'T') || take(&r, 't')) && read_time(&r) && r.at == r.end;
}

static bool
read_date(Reader *r)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			year;
	int			month;
	int			day;
	bool		is_leap;

	if (!read_number(r, 4, &year) || !take(r, '-') || !read_number(r, 2, &month) || !take(r, '-') ||
		!read_number(r, 2, &day) || month < 1 || month > 12 || day < 1)
		return false;
	is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return day <= days[month - 1] + (month == 2 && is_leap);
}

/* A leap second is the last one of a day in UTC. */
static bool
read_time(Reader *r)
{
	int			hour;
	int			minute;
	int			second;
	int			offset;

	if (!read_number(r, 2, &hour) || !take(r, ':') || !read_number(r, 2, &minute) || !take(r, ':') ||
		!read_number(r, 2, &second) || hour > 23 || minute > 59 || second > 60)
		return false;
	if (take(r, '.'))
	{
		if (r->at == r->end || !is_digit(*r->at))
			return false;
		while (r->at < r->end && is_digit(*r->at))
			r->at++;
	}
	if (!read_offset(r, &offset))
		return false;
	return second < 60 || (hour * 60 + minute - offset + 2 * 1440) % 1440 == 1439;
}

static bool
read_offset(Reader *r, int *minutes)
{
	int			sign = 1;
	int			hour;
	int			minute;

	*minutes = 0;
	if (take(r, 'Z') || take(r, 'z'))
		return true;
	if (take(r, '-'))
		sign = -1;
	else if (!take(r, '+'))
		return false;
	if (!read_number(r, 2, &hour) || !take(r, ':') || !read_number(r, 2, &minute) ||
		hour > 23 || minute > 59)
		return false;
	*minutes = sign * (hour * 60 + minute);
	return true;
}

static bool
read_number(Reader *r, int digits, int *number)
{
	*number = 0;
	for (int i = 0; i < digits; i++)
	{
		if (r->at == r->end || !is_digit(*r->at))
			return false;
		*number = *number * 10 + (*r->at++ - '0');
	}
	return true;
}

static bool
take(Reader *r, char c)
{
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

/* ---- hosts and addresses ---- */

static bool
is_hostname(const char *bytes, int length)
{
	int			label = 0;

	if (length < 1 || length > 253)
		return false;
	for (int i = 0; i < length; i++)
	{
		bool		is_last = i + 1 == length || bytes[i + 1] == '.';

		if (bytes[i] == '.')
		{
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (++label > 63 || !(is_alnum(bytes[i]) || (bytes[i] == '-' && label > 1 && !is_last)))
			return false;
	}
	return label > 0;
}

static bool
is_ipv4(const char *bytes, int length)
{
	const char *end = bytes + length;

	for (int part = 0; part < 4; part++)
	{
		const char *start = bytes;
		int			value = 0;

		while (bytes < end && is_digit(*bytes) && bytes - start < 4)
			value = value * 10 + (*bytes++ - '0');
		if (bytes == start || value > 255 || (*start == '0' && bytes - start > 1))
			return false;
		if (part < 3 && (bytes == end || *bytes++ != '.'))
			return false;
	}
	return bytes == end;
}

/* Eight groups of hexadecimal digits, the last two maybe an IPv4; one :: for groups of 0. */
static bool
is_ipv6(const char *bytes, int length)
{
	const char *end = bytes + length;
	bool		has_gap = false;
	int			groups = 0;

	if (length >= 2 && bytes[0] == ':' && bytes[1] == ':')
	{
		has_gap = true;
		bytes += 2;
	}
	while (bytes < end)
	{
		const char *start = bytes;

		while (bytes < end && is_hex(*bytes))
			bytes++;
		if (bytes < end && *bytes == '.')
		{
			groups += 2;
			return is_ipv4(start, end - start) && (has_gap ? groups < 8 : groups == 8);
		}
		if (bytes == start || bytes - start > 4 || ++groups > 8)
			return false;
		if (bytes == end)
			break;
		if (*bytes++ != ':' || bytes == end)
			return false;
		if (*bytes == ':')
		{
			if (has_gap)
				return false;
			has_gap = true;
			bytes++;
		}
	}
	return has_gap ? groups < 8 : groups == 8;
}

static bool
is_uuid(const char *bytes, int length)
{
	if (length != 36)
		return false;
	for (int i = 0; i < length; i++)
	{
		bool		is_dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (is_dash ? bytes[i] != '-' : !is_hex(bytes[i]))
			return false;
	}
	return true;
}

static bool
is_email(const char *bytes, int length)
{
	int			at = length - 1;
	const char *domain;
	int			size;

	while (at > 0 && bytes[at] != '@')
		at--;
	domain = bytes + at + 1;
	size = length - at - 1;
	if (at < 1 || !is_local_part(bytes, at))
		return false;
	if (size > 2 && domain[0] == '[' && domain[size - 1] == ']')
		return is_ipv4(domain + 1, size - 2) ||
			(size > 7 && strncmp(domain, "[IPv6:", 6) == 0 && is_ipv6(domain + 6, size - 7));
	return is_hostname(domain, size);
}

/* Words between dots, or one in quotes. */
static bool
is_local_part(const char *bytes, int length)
{
	if (bytes[0] == '"')
	{
		if (length < 2 || bytes[length - 1] != '"')
			return false;
		for (int i = 1; i < length - 1; i++)
		{
			if (bytes[i] == '\\' && ++i >= length - 1)
				return false;
			if (bytes[i] < ' ' || bytes[i] > '~' || (bytes[i] == '"' && bytes[i - 1] != '\\'))
				return false;
		}
		return true;
	}
	for (int i = 0; i < length; i++)
	{
		if (bytes[i] == '.')
		{
			if (i == 0 || i + 1 == length || bytes[i - 1] == '.')
				return false;
		}
		else if (!is_alnum(bytes[i]) && (bytes[i] == '\0' || strchr("!#$%&'*+-/=?^_`{|}~", bytes[i]) == NULL))
			return false;
	}
	return true;
}

/* The same in every locale. */
static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool
is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
