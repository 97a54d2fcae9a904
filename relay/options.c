/*
 * options.c
 *		What the operator said: command line, environment, files.
 *
 * One table says it all: names, defaults, bounds and the text of --help.  An option is
 * also an environment variable; the command line comes first.  Secrets come from files
 * or the environment alone: others see a command line.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mail.h"
#include "webhook.h"

#define ENVIRONMENT		"EVENTSOURCE_RELAY_"
#define MAX_FILE		4096

Options		options;

typedef enum OptionKind
{
	TEXT,
	LIST,
	FLAG,
	COUNT,
	SECONDS,
} OptionKind;

typedef struct OptionRule
{
	const char *name;
	OptionKind	kind;
	void	   *value;
	const char *fallback;
	double		least;
	double		most;
	const char *help;
} OptionRule;

static const OptionRule rules[] = {
	{"dbname", TEXT, &options.dbname, "", 0, 0, "connection string of libpq; what it lacks is from PG* variables"},
	{"queue", TEXT, &options.queue, NULL, 0, 0, "the queue whose jobs are delivered (required)"},
	{"category", TEXT, &options.category, "delivery", 0, 0, "category of the streams that tell of deliveries"},
	{"render", TEXT, &options.render, NULL, 0, 0, "schema.function(payload jsonb, event_position bigint): what to send instead of payloads"},
	{"record", TEXT, &options.record, "eventsource.record_delivery", 0, 0, "schema.function with the arguments of that one: takes outcomes down"},
	{"concurrency", COUNT, &options.concurrency, "10", 1, 1000, "deliveries under way at a time"},
	{"lease", SECONDS, &options.lease, "60", 0.5, 86400, "how long a job is lent; renewed while it is under way"},
	{"poll", SECONDS, &options.poll, "1", 0.01, 3600, "how often an empty queue is looked at"},
	{"db-timeout", SECONDS, &options.db_timeout, "15", 0.5, 3600, "limit of a statement; of waiting for a lock, a fifth of it"},
	{"grace", SECONDS, &options.grace, "60", 0, 86400, "after SIGTERM, how long it goes on with what is under way"},
	{"drain", FLAG, &options.drain, NULL, 0, 0, "end when the queue has nothing to claim"},
	{"verbose", FLAG, &options.verbose, NULL, 0, 0, "a line for each delivery, not only for those that failed"},
	{"timeout", SECONDS, &options.timeout, "30", 0.1, 3600, "limit of one delivery"},
	{"connect-timeout", SECONDS, &options.connect_timeout, "10", 0.1, 3600, "limit of its connection"},
	{"max-body", COUNT, &options.max_body, "1048576", 1, 1 << 30, "bytes of a body; longer ones are not sent"},
	{"max-retry-after", SECONDS, &options.max_retry_after, "3600", 0, 604800, "the longest Retry-After that is followed"},
	{"ca-file", TEXT, &options.ca_file, NULL, 0, 0, "certificates to trust instead of the system's"},
	{"proxy", TEXT, &options.proxy, NULL, 0, 0, "HTTP proxy; those of the environment are not used"},
	{"url", TEXT, &options.url, NULL, 0, 0, "post all jobs there, each payload as the body"},
	{"allow-url", LIST, &options.allow_url, NULL, 0, 0, "where payloads may send to (repeat it); default: public https"},
	{"allow-header", LIST, &options.allow_header, NULL, 0, 0, "a header that payloads may set (repeat it); default: none"},
	{"secret-file", TEXT, &options.secret_file, NULL, 0, 0, "secrets to sign with, whsec_..., one a line; or the variable SECRET"},
	{"unsigned", FLAG, &options.is_unsigned, NULL, 0, 0, "send webhooks without signature"},
	{"smtp", TEXT, &options.smtp, NULL, 0, 0, "send jobs as mail, by this server: smtp://host:port or smtps://"},
	{"smtp-plain", FLAG, &options.smtp_plain, NULL, 0, 0, "do without TLS on smtp://"},
	{"smtp-user", TEXT, &options.smtp_user, NULL, 0, 0, "user name for that server"},
	{"smtp-password-file", TEXT, &options.smtp_password_file, NULL, 0, 0, "its password; or the variable SMTP_PASSWORD"},
	{"from", LIST, &options.from, NULL, 0, 0, "sender, the first one is the default (repeat it for others)"},
};

#define RULE_COUNT		((int) (sizeof(rules) / sizeof(rules[0])))

static void
__attribute__((noreturn))
usage_error(const char *what, const char *about)
{
	say("%s: %s", what, about);
	say("try --help");
	exit(EXIT_USAGE);
}

static void
print_help(void)
{
	puts("eventsource-relay claims jobs of a queue of eventsource and delivers them as webhooks or mail.\n\n"
		 "  eventsource-relay --queue NAME --secret-file FILE [--url URL | --allow-url PREFIX ...]\n"
		 "  eventsource-relay --queue NAME --smtp URL --from ADDRESS\n");
	for (int i = 0; i < RULE_COUNT; i++)
	{
		static const char *const arguments[] = {"=TEXT", "=TEXT", "", "=COUNT", "=SECONDS"};
		char		left[64];

		snprintf(left, sizeof(left), "--%s%s", rules[i].name, arguments[rules[i].kind]);
		printf("  %-28s %s", left, rules[i].help);
		if (rules[i].fallback != NULL && rules[i].fallback[0] != '\0')
			printf(" (%s)", rules[i].fallback);
		putchar('\n');
	}
	puts("  --help, --version\n\n"
		 "Each is also an environment variable, --db-timeout as " ENVIRONMENT "DB_TIMEOUT (lists by blanks, flags as 1).\n"
		 "It runs until SIGTERM or SIGINT, and finishes what is under way; at the second one it ends at once.\n"
		 "Exit codes: 0 all is recorded, 1 something is not (it is delivered again when its lease is over),\n"
		 "2 wrong options, 3 the database lacks the functions or does not let this role call them.");
}

static void
take_number(const OptionRule *rule, const char *said)
{
	char	   *end;
	double		number = strtod(said, &end);

	if (end == said || *end != '\0' || !(number >= rule->least && number <= rule->most) ||
		(rule->kind == COUNT && number != (double) (int64_t) number))
	{
		char		bounds[80];

		snprintf(bounds, sizeof(bounds), "a number from %g to %.0f is wanted", rule->least, rule->most);
		usage_error(rule->name, bounds);
	}
	*(int64_t *) rule->value = (int64_t) (rule->kind == SECONDS ? number * 1000 : number);
}

static void
take(const OptionRule *rule, const char *said)
{
	switch (rule->kind)
	{
		case TEXT:
			*(const char **) rule->value = said;
			break;
		case LIST:
			{
				List	   *list = rule->value;

				if (list->count == MAX_LIST)
					usage_error(rule->name, "too many of them");
				list->items[list->count++] = said;
				break;
			}
		case FLAG:
			*(bool *) rule->value = strcmp(said, "0") != 0 && said[0] != '\0';
			break;
		case COUNT:
		case SECONDS:
			take_number(rule, said);
			break;
	}
}

/* The environment's word on an option, NULL if it has none. */
static const char *
from_environment(const char *name)
{
	char		variable[80];

	snprintf(variable, sizeof(variable), "%s%s", ENVIRONMENT, name);
	for (char *c = variable; *c != '\0'; c++)
		*c = *c == '-' ? '_' : (char) toupper((unsigned char) *c);
	return getenv(variable);
}

static void
take_environment(const OptionRule *rule)
{
	const char *said = from_environment(rule->name);

	if (said == NULL)
		return;
	if (rule->kind != LIST)
		take(rule, said);
	else
	{
		char	   *rest = text_copy(said);

		for (char *item = strtok(rest, " \t\n"); item != NULL; item = strtok(NULL, " \t\n"))
			take(rule, item);
	}
}

static void
take_arguments(int argc, char **argv)
{
	struct option long_options[RULE_COUNT + 3] = {0};
	bool		is_said[RULE_COUNT] = {false};
	int			found;

	for (int i = 0; i < RULE_COUNT; i++)
	{
		long_options[i].name = rules[i].name;
		long_options[i].has_arg = rules[i].kind == FLAG ? no_argument : required_argument;
		long_options[i].val = i;
	}
	long_options[RULE_COUNT].name = "help";
	long_options[RULE_COUNT].val = RULE_COUNT;
	long_options[RULE_COUNT + 1].name = "version";
	long_options[RULE_COUNT + 1].val = RULE_COUNT + 1;

	while ((found = getopt_long(argc, argv, "", long_options, NULL)) != -1)
	{
		if (found == RULE_COUNT)
		{
			print_help();
			exit(EXIT_DONE);
		}
		if (found == RULE_COUNT + 1)
		{
			puts("eventsource-relay " RELAY_VERSION);
			exit(EXIT_DONE);
		}
		if (found < 0 || found >= RULE_COUNT)
			exit(EXIT_USAGE);
		if (rules[found].kind == LIST && !is_said[found])
			((List *) rules[found].value)->count = 0;
		is_said[found] = true;
		take(&rules[found], rules[found].kind == FLAG ? "1" : optarg);
	}
	if (optind < argc)
		usage_error(argv[optind], "is no option");
}

/* A file of secrets, whole. */
static char *
read_file(const char *path)
{
	char	   *content = memory_new(MAX_FILE + 1);
	FILE	   *file = fopen(path, "r");
	size_t		len;

	if (file == NULL)
		usage_error(path, strerror(errno));
	len = fread(content, 1, MAX_FILE + 1, file);
	if (ferror(file) || len > MAX_FILE || memchr(content, '\0', len) != NULL)
		usage_error(path, "cannot be read, or is no short text");
	fclose(file);
	content[len] = '\0';
	return content;
}

static void
read_secrets(void)
{
	const char *said = from_environment("SECRET");
	char	   *rest;

	if (options.secret_file != NULL)
		rest = read_file(options.secret_file);
	else if (said != NULL)
		rest = text_copy(said);
	else
		return;
	for (char *item = strtok(rest, " \t\r\n"); item != NULL; item = strtok(NULL, " \t\r\n"))
	{
		if (options.secret_count == MAX_SECRETS)
			usage_error("secret", "more than four of them");
		if (!secret_parse(item, &options.secrets[options.secret_count]))
			usage_error("secret", "is not whsec_ and base64 of 24 to 64 bytes");
		options.secret_count++;
	}
	free(rest);
}

static void
read_password(void)
{
	options.smtp_password = from_environment("SMTP_PASSWORD");
	if (options.smtp_password_file != NULL)
	{
		char	   *content = read_file(options.smtp_password_file);

		content[strcspn(content, "\r\n")] = '\0';
		options.smtp_password = content;
	}
	if ((options.smtp_user != NULL) != (options.smtp_password != NULL && options.smtp_password[0] != '\0'))
		usage_error("smtp-user", "goes with a password, and a password with it");
}

static void
check_webhook_options(void)
{
	const char *problem;

	read_secrets();
	if (options.secret_count == 0 && !options.is_unsigned)
		usage_error("secret-file", "is needed (or --unsigned, or --smtp for mail)");
	if (options.secret_count > 0 && options.is_unsigned)
		usage_error("unsigned", "there is a secret");
	if (options.from.count > 0 || options.smtp_user != NULL)
		usage_error("smtp", "is missing");
	if (options.url != NULL && options.allow_url.count > 0)
		usage_error("allow-url", "has no meaning beside --url");
	if (options.url != NULL && (problem = webhook_prefix_problem(options.url)) != NULL)
		usage_error("url", problem);
	for (int i = 0; i < options.allow_url.count; i++)
		if ((problem = webhook_prefix_problem(options.allow_url.items[i])) != NULL)
			usage_error(options.allow_url.items[i], problem);
	for (int i = 0; i < options.allow_header.count; i++)
		if (!webhook_header_is_free(options.allow_header.items[i]))
			usage_error(options.allow_header.items[i], "is no header that payloads may set");
}

static void
check_mail_options(void)
{
	read_password();
	if (strncmp(options.smtp, "smtp://", 7) != 0 && strncmp(options.smtp, "smtps://", 8) != 0)
		usage_error("smtp", "begins with smtp:// or smtps://");
	if (strchr(options.smtp, '@') != NULL)
		usage_error("smtp", "has no user in it, --smtp-user is for that");
	if (options.from.count == 0)
		usage_error("from", "is missing");
	for (int i = 0; i < options.from.count; i++)
		if (!mail_is_address(options.from.items[i]))
			usage_error("from", "is the bare address of a sender");
	if (options.url != NULL || options.allow_url.count > 0 || options.allow_header.count > 0 ||
		options.secret_file != NULL || options.is_unsigned)
		usage_error("smtp", "goes with no option of webhooks");
}

static void
check_function(const char *option, const char *name)
{
	if (name != NULL && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.")] != '\0')
		usage_error(option, "is a function's name, with its schema, that needs no quotes");
}

void
options_read(int argc, char **argv)
{
	for (int i = 0; i < RULE_COUNT; i++)
	{
		if (rules[i].fallback != NULL)
			take(&rules[i], rules[i].fallback);
		take_environment(&rules[i]);
	}
	take_arguments(argc, argv);

	if (options.queue == NULL || options.queue[0] == '\0')
		usage_error("queue", "is missing");
	check_function("render", options.render);
	check_function("record", options.record);
	if (options.connect_timeout > options.timeout)
		options.connect_timeout = options.timeout;
	if (options.smtp != NULL)
		check_mail_options();
	else
		check_webhook_options();
}
