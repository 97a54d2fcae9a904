/*
 * delivery.c
 *		Slots for deliveries under way, and the thread that each is sent in.
 *
 * libcurl waits where it must not always be waited with: for a mail server's answer to
 * QUIT, say.  Hence a thread for each delivery, so that the main thread goes on renewing
 * leases whatever a receiver does.  A delivery belongs to its thread from
 * delivery_start() until its address comes out of the pipe; nothing else is shared.
 */
#include "delivery.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mail.h"
#include "options.h"
#include "outcome.h"
#include "webhook.h"

/* Of what a receiver answers, headers and the rest, so much is waited for. */
#define MOST_RECEIVED	65536

#define STACK_SIZE		(512 * 1024)

static Delivery *slots;
static int	finished[2];

void
delivery_begin(void)
{
	slots = memory_new((size_t) options.concurrency * sizeof(Delivery));
	if (pipe2(finished, O_CLOEXEC) != 0)
	{
		say("no pipe: %s", strerror(errno));
		exit(EXIT_UNRECORDED);
	}
}

int
delivery_pipe(void)
{
	return finished[0];
}

Delivery *
delivery_slot(int number)
{
	return &slots[number];
}

int
delivery_count(DeliveryState state)
{
	int			count = 0;

	for (int i = 0; i < options.concurrency; i++)
		count += slots[i].state == state;
	return count;
}

Delivery *
delivery_take_slot(void)
{
	for (int i = 0; i < options.concurrency; i++)
		if (slots[i].state == DELIVERY_NONE)
			return &slots[i];
	return NULL;
}

void
delivery_forget(Delivery *d)
{
	CURL	   *curl = d->curl;

	free(d->url);
	free(d->body);
	free(d->to);
	free(d->subject);
	free(d->text);
	free(d->from);
	free(d->skip);
	for (int i = 0; i < d->header_count; i++)
	{
		free(d->headers[i].name);
		free(d->headers[i].value);
	}
	text_free(&d->target);
	text_free(&d->content);
	text_free(&d->message);
	text_free(&d->details);
	memset(d, 0, sizeof(*d));
	d->curl = curl;
}

static size_t
receive(char *data, size_t size, size_t count, void *arg)
{
	Delivery   *d = arg;

	d->received += size * count;
	return d->received > MOST_RECEIVED ? 0 : size * count;
}

/* The main thread has no other way to end a transfer. */
static int
look_up(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	return atomic_load(&((Delivery *) arg)->is_aborted) ? 1 : 0;
}

/* What is the same for all receivers. */
static void
set_up(Delivery *d)
{
	if (d->curl == NULL && (d->curl = curl_easy_init()) == NULL)
	{
		say("libcurl gives no handle");
		_exit(EXIT_UNRECORDED);
	}
	curl_easy_reset(d->curl);
	curl_easy_setopt(d->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(d->curl, CURLOPT_ERRORBUFFER, d->curl_error);
	curl_easy_setopt(d->curl, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(d->curl, CURLOPT_WRITEDATA, d);
	curl_easy_setopt(d->curl, CURLOPT_HEADERFUNCTION, receive);
	curl_easy_setopt(d->curl, CURLOPT_HEADERDATA, d);
	curl_easy_setopt(d->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(d->curl, CURLOPT_XFERINFOFUNCTION, look_up);
	curl_easy_setopt(d->curl, CURLOPT_XFERINFODATA, d);
	curl_easy_setopt(d->curl, CURLOPT_TIMEOUT_MS, (long) options.timeout);
	curl_easy_setopt(d->curl, CURLOPT_CONNECTTIMEOUT_MS, (long) options.connect_timeout);

	/*
	 * Of a mail server's good-bye the limit of the whole is none, and this
	 * one is minutes.
	 */
	curl_easy_setopt(d->curl, CURLOPT_SERVER_RESPONSE_TIMEOUT, (long) (options.timeout + 999) / 1000);
	curl_easy_setopt(d->curl, CURLOPT_PROXY, options.proxy != NULL ? options.proxy : "");
	if (options.ca_file != NULL)
		curl_easy_setopt(d->curl, CURLOPT_CAINFO, options.ca_file);
}

/* What the event will say, and the job's error. */
static void
describe(Delivery *d, int64_t took)
{
	const char *text = d->curl_error[0] != '\0' ? d->curl_error : d->problem;

	text_printf(&d->details, "{\"id\": ");
	text_json(&d->details, d->id);
	if (d->status > 0)
		text_printf(&d->details, ", \"status\": %ld", d->status);
	if (d->target.len > 0)
	{
		text_add(&d->details, ", \"target\": ");
		text_json(&d->details, d->target.data);
	}
	if (d->skip != NULL)
	{
		text_add(&d->details, ", \"reason\": ");
		text_json(&d->details, d->skip);
	}
	text_printf(&d->details, ", \"duration_ms\": %lld}", (long long) took);

	if (d->error_code == NULL)
		return;
	if (d->status > 0)
		text_printf(&d->message, "status %ld", d->status);
	if (text !=NULL)
		text_printf(&d->message, "%s%s", d->message.len > 0 ? ", " : "", text);
}

/*
 * To the operator: each failure, and on request what was delivered.  Without what libcurl
 * adds, which may quote the payload's names of hosts.
 */
static void
tell(const Delivery *d)
{
	char		status[32] = "";

	if (d->error_code == NULL && !options.verbose)
		return;
	if (d->status > 0)
		snprintf(status, sizeof(status), ", status %ld", d->status);
	say("job %s, attempt %s: %s%s%s%s", d->job_id, d->attempt,
		d->error_code != NULL ? d->error_code : d->skip != NULL ? "skipped" : "delivered", status, d->problem != NULL ? ", " : "", d->problem != NULL ? d->problem : "");
}

/* A reason of ours says more than libcurl's. */
static void
set_problem(Delivery *d, const char *problem)
{
	d->problem = problem;
	d->curl_error[0] = '\0';
}

static void
judge_mail(Delivery *d, CURLcode result)
{
	d->error_code = outcome_of_mail(result, d->status, d->stage);

	/* What went wrong came after this answer. */
	if (result != CURLE_OK && d->status < 400)
		d->status = 0;
	/* libcurl calls that a failure to send. */
	if (d->status >= 400)
		d->problem = "the mail server refused it";
	if (result == CURLE_USE_SSL_FAILED)
		set_problem(d, "the mail server does no STARTTLS, "
					"and --smtp-plain, which does without TLS, is not given");
}

static void
judge_webhook(Delivery *d, CURLcode result)
{
	curl_off_t	wait = 0;

	d->error_code = d->is_address_refused ? "BAD_REQUEST" : outcome_of_webhook(result, d->status);
	if (d->is_address_refused)
		set_problem(d, "the address is none of the public Internet");
	if (d->error_code != NULL && curl_easy_getinfo(d->curl, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK &&
		wait > 0)
		d->retry_after = wait > options.max_retry_after / 1000 ? options.max_retry_after : wait * 1000;
}

static void
send_it(Delivery *d)
{
	struct curl_slist *list = NULL;
	int64_t		started = now_ms();
	CURLcode	result;

	d->retry_after = -1;
	set_up(d);
	if (d->problem == NULL)
		d->problem = options.smtp != NULL ? mail_prepare(d, &list) : webhook_prepare(d, &list);
	if (d->problem != NULL)
	{
		curl_slist_free_all(list);
		if (d->error_code == NULL)
			d->error_code = "BAD_REQUEST";
		describe(d, 0);
		return;
	}

	result = curl_easy_perform(d->curl);
	curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &d->status);
	if (result != CURLE_OK)
		d->problem = curl_easy_strerror(result);
	else
		d->curl_error[0] = '\0';
	if (options.smtp != NULL)
		judge_mail(d, result);
	else
		judge_webhook(d, result);
	if (d->error_code == NULL)
		set_problem(d, NULL);
	describe(d, now_ms() - started);
	curl_slist_free_all(list);
}

static void *
thread_main(void *arg)
{
	Delivery   *d = arg;

	send_it(d);
	while (write(finished[1], &d, sizeof(d)) < 0 && errno == EINTR)
		;
	return NULL;
}

void
delivery_start(Delivery *d)
{
	pthread_attr_t attributes;
	pthread_t	thread;
	int			problem;

	d->state = DELIVERY_SENDING;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	problem = pthread_create(&thread, &attributes, thread_main, d);
	pthread_attr_destroy(&attributes);
	if (problem != 0)
	{
		say("no thread: %s", strerror(problem));
		d->error_code = "SERVICE_UNAVAILABLE";
		d->problem = "relay has no thread for it";
		delivery_end_unsent(d);
	}
}

void
delivery_end_unsent(Delivery *d)
{
	d->retry_after = -1;
	describe(d, 0);
	tell(d);
	d->state = DELIVERY_UNRECORDED;
	d->record_at = 0;
}

void
delivery_end_sending(void)
{
	Delivery   *d;

	if (read(finished[0], &d, sizeof(d)) != sizeof(d))
		return;
	d->state = DELIVERY_UNRECORDED;
	d->record_at = 0;
	tell(d);
}
