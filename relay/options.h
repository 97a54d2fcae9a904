/*
 * options.h
 *		What the operator said: command line, environment, files.
 */
#ifndef RELAY_OPTIONS_H
#define RELAY_OPTIONS_H

#include "sign.h"

/* Exit codes. */
#define EXIT_DONE		0
#define EXIT_UNRECORDED	1		/* stopped before every outcome was recorded,
								 * or out of memory */
#define EXIT_USAGE		2		/* wrong options, or a file of theirs that
								 * cannot be read */
#define EXIT_DATABASE	3		/* the database has no such functions, or they
								 * are not for this role */

#define MAX_LIST		32

typedef struct List
{
	const char *items[MAX_LIST];
	int			count;
} List;

/* Times are milliseconds. */
typedef struct Options
{
	/* The work. */
	const char *dbname;
	const char *queue;
	const char *category;
	int64_t		concurrency;
	int64_t		lease;
	int64_t		poll;
	int64_t		db_timeout;
	int64_t		grace;
	const char *render;			/* function that makes of a payload what is
								 * sent, or NULL */
	const char *record;			/* function that takes outcomes down */
	bool		drain;
	bool		verbose;

	/* Any delivery. */
	int64_t		timeout;
	int64_t		connect_timeout;
	int64_t		max_body;		/* bytes */
	int64_t		max_retry_after;
	const char *ca_file;
	const char *proxy;

	/* Webhooks. */
	const char *url;			/* all go there, if it is given */
	List		allow_url;
	List		allow_header;
	const char *secret_file;
	bool		is_unsigned;
	Secret		secrets[MAX_SECRETS];
	int			secret_count;

	/* Mail, if smtp is given. */
	const char *smtp;
	bool		smtp_plain;
	const char *smtp_user;
	const char *smtp_password_file;
	const char *smtp_password;
	List		from;
} Options;

/* Set once, by options_read; only read afterwards. */
extern Options options;

/* Ends the program, with a message, if they make no sense or only --help was wanted. */
extern void options_read(int argc, char **argv);

#endif							/* RELAY_OPTIONS_H */
