/*
 * main.c
 *		eventsource-relay: claims jobs of a queue, delivers them, and has the database
 *		take down what became of them.
 *
 * The main thread talks to the database and never waits for a receiver, nor for the
 * database.  What it knows that the database does not is only what is under way: killed
 * at any moment it leaves leases that end, and jobs that are delivered again under the
 * same id.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"
#include "delivery.h"
#include "options.h"
#include "work.h"

static volatile sig_atomic_t signals;
static int	wake_up[2];

static void
on_signal(int number)
{
	int			error = errno;

	if (signals++ > 0)
		_exit(EXIT_UNRECORDED);
	if (write(wake_up[1], "", 1) < 0)
		_exit(EXIT_UNRECORDED);
	errno = error;
}

static void
catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	if (pipe2(wake_up, O_CLOEXEC | O_NONBLOCK) != 0)
	{
		say("no pipe: %s", strerror(errno));
		exit(EXIT_UNRECORDED);
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

/* Sleeps until something has come or the time is there. */
static void
wait_for_something(int64_t wake_at)
{
	struct pollfd fds[3] = {
		{.fd = signals == 0 ? wake_up[0] : -1,.events = POLLIN},
		{.fd = delivery_pipe(),.events = POLLIN},
	};
	int64_t		left = wake_at - now_ms();

	db_set_poll(&fds[2]);
	if (poll(fds, 3, left < 0 ? 0 : left > 60000 ? 60000 : (int) left) > 0 && fds[1].revents != 0)
		delivery_end_sending();
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Until all is done that will be; false if the time for that was over before. */
static bool
run(void)
{
	int64_t		end = INT64_MAX;

	for (;;)
	{
		int64_t		now = now_ms();
		int64_t		wake_at = db_step(now);

		if (signals > 0 && end == INT64_MAX)
		{
			say("stopping");
			work_stop_claiming();
			end = now + options.grace;
		}
		if (db_refusal() != NULL || work_is_done())
			return true;
		if (now >= end)
			return false;
		wake_at = earlier(wake_at, work_step(now));
		/* What was sent just now has a time limit of its own. */
		wait_for_something(earlier(wake_at, earlier(end, now + (db_is_free() ? 60000 : 500))));
	}
}

int
main(int argc, char **argv)
{
	int			code = EXIT_DONE;

	setlocale(LC_ALL, "C");
	options_read(argc, argv);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
	{
		say("libcurl does not start");
		return EXIT_UNRECORDED;
	}
	catch_signals();
	delivery_begin();
	work_begin();

	if (!run())
	{
		say("%d deliveries are not recorded, and will be made again", (int) options.concurrency -
			delivery_count(DELIVERY_NONE));
		code = EXIT_UNRECORDED;
	}
	if (db_refusal() != NULL || work_refusal() != NULL)
	{
		say("%s", db_refusal() != NULL ? db_refusal() : work_refusal());
		code = EXIT_DATABASE;
	}
	db_close();
	/* Threads may be left that a receiver holds up. */
	_exit(code);
}
