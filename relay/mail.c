/*
 * mail.c
 *		Deliveries by SMTP: a message of plain text to one recipient.
 *
 * One recipient a job: what becomes of it has one answer then, and to try again reaches
 * nobody twice who had it.  The sender is one that the operator named.  Message-ID is
 * made of the log and the job: the same in each attempt.
 */
#include "mail.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "options.h"

#define MAX_ADDRESS		254
#define MAX_SUBJECT		998

/* Bytes of UTF-8 in an encoded word, which is 75 characters at most, and in a line of the body. */
#define WORD_BYTES		42
#define LINE_BYTES		57

/* What stands between < and > in an envelope, with nothing in it that could end it. */
bool
mail_is_address(const char *address)
{
	const char *at = strrchr(address, '@');

	if (at == NULL || at == address || at[1] == '\0' || strlen(address) > MAX_ADDRESS ||
		strchr(address, '@') != at)
		return false;
	for (const char *c = address; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~' || strchr("<>()[]\\,;:\"", *c) != NULL)
			return false;
	return true;
}

static bool
has_control(const char *string)
{
	for (const char *c = string; *c != '\0'; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			return true;
	return false;
}

static void
add_subject(Text *message, const char *subject)
{
	size_t		len = strlen(subject);
	bool		is_plain = len <= 60;

	for (size_t i = 0; i < len; i++)
		is_plain &= subject[i] <= '~' && subject[i] >= ' ' && subject[i] != '=';
	text_add(message, "Subject: ");
	if (is_plain)
		text_add(message, subject);
	for (size_t at = 0; !is_plain && at < len;)
	{
		size_t		end = len - at > WORD_BYTES ? at + WORD_BYTES : len;

		/* Characters are not cut. */
		while (end < len && end > at + 1 && ((unsigned char) subject[end] & 0xc0) == 0x80)
			end--;
		text_add(message, at > 0 ? "\r\n =?UTF-8?B?" : "=?UTF-8?B?");
		text_base64(message, subject + at, end - at);
		text_add(message, "?=");
		at = end;
	}
	text_add(message, "\r\n");
}

static void
add_body(Text *message, const char *body)
{
	size_t		len = strlen(body);

	for (size_t at = 0; at < len; at += LINE_BYTES)
	{
		text_base64(message, body + at, len - at < LINE_BYTES ? len - at : LINE_BYTES);
		text_add(message, "\r\n");
	}
}

static void
make_message(Delivery *d, const char *from)
{
	char		date[64];
	time_t		now = time(NULL);
	struct tm	parts;

	gmtime_r(&now, &parts);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &parts);
	text_printf(&d->content, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n",
				from, d->to, date, d->id, strrchr(from, '@') + 1);
	add_subject(&d->content, d->subject);
	text_add(&d->content, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\n"
			 "Content-Transfer-Encoding: base64\r\nAuto-Submitted: auto-generated\r\n\r\n");
	add_body(&d->content, d->text);
}

static size_t
give(char *buffer, size_t size, size_t count, void *arg)
{
	Delivery   *d = arg;
	size_t		len = d->content.len - d->content_sent;

	if (len > size * count)
		len = size * count;
	memcpy(buffer, d->content.data + d->content_sent, len);
	d->content_sent += len;
	return len;
}

/*
 * libcurl tells what it says to the server only to who is debugging, and what the server
 * answers.  A refusal with 5.7.x is one of policy: to this sender, whoever the recipient.
 */
static int
watch(CURL *curl, curl_infotype type, char *data, size_t len, void *arg)
{
	static const struct
	{
		const char *command;
		MailStage	stage;
	}			stages[] = {{"MAIL", MAIL_SENDER}, {"RCPT", MAIL_RECIPIENT}, {"DATA", MAIL_CONTENT}};
	Delivery   *d = arg;

	if (type == CURLINFO_HEADER_OUT)
		for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++)
			if (len >= 4 && memcmp(data, stages[i].command, 4) == 0)
				d->stage = stages[i].stage;
	if (type == CURLINFO_HEADER_IN && d->stage == MAIL_RECIPIENT && len >= 8 && data[0] == '5' &&
		memcmp(data + 4, "5.7.", 4) == 0)
		d->stage = MAIL_SENDER;
	return 0;
}

/* The sender, if it is one that the operator named; the first one if the payload names none. */
static const char *
sender_of(const Delivery *d)
{
	if (d->from == NULL)
		return options.from.items[0];
	for (int i = 0; i < options.from.count; i++)
		if (strcmp(options.from.items[i], d->from) == 0)
			return options.from.items[i];
	return NULL;
}

static void
set_up(Delivery *d, const char *from, struct curl_slist *recipients)
{
	Text		envelope_from = {0};

	text_printf(&envelope_from, "<%s>", from);
	curl_easy_setopt(d->curl, CURLOPT_URL, options.smtp);
	curl_easy_setopt(d->curl, CURLOPT_USE_SSL, (long) (options.smtp_plain ? CURLUSESSL_TRY : CURLUSESSL_ALL));
	if (options.smtp_user != NULL)
	{
		curl_easy_setopt(d->curl, CURLOPT_USERNAME, options.smtp_user);
		curl_easy_setopt(d->curl, CURLOPT_PASSWORD, options.smtp_password);
	}
	curl_easy_setopt(d->curl, CURLOPT_MAIL_FROM, envelope_from.data);
	curl_easy_setopt(d->curl, CURLOPT_MAIL_RCPT, recipients);
	curl_easy_setopt(d->curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(d->curl, CURLOPT_READFUNCTION, give);
	curl_easy_setopt(d->curl, CURLOPT_READDATA, d);
	curl_easy_setopt(d->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t) d->content.len);
	curl_easy_setopt(d->curl, CURLOPT_VERBOSE, 1L);
	curl_easy_setopt(d->curl, CURLOPT_DEBUGFUNCTION, watch);
	curl_easy_setopt(d->curl, CURLOPT_DEBUGDATA, d);

	/*
	 * A server may have gone away between two mails: that would cost the
	 * second one an attempt.
	 */
	curl_easy_setopt(d->curl, CURLOPT_FORBID_REUSE, 1L);
	text_free(&envelope_from);
}

const char *
mail_prepare(Delivery *d, struct curl_slist **recipients)
{
	const char *from = sender_of(d);
	Text		recipient = {0};

	if (from == NULL)
		return "the payload's sender is none that the operator of the relay named";
	if (d->to == NULL || d->text == NULL || d->subject == NULL)
		return "the payload lacks one of to, subject and text";
	if (strlen(d->subject) > MAX_SUBJECT || has_control(d->subject))
		return "the subject is too long, or no line of text";
	if (!mail_is_address(d->to))
	{
		d->error_code = "INVALID_RECIPIENT";
		return "the recipient is no address";
	}
	make_message(d, from);
	text_add(&d->target, options.smtp);
	text_printf(&recipient, "<%s>", d->to);
	*recipients = curl_slist_append(NULL, recipient.data);
	text_free(&recipient);
	set_up(d, from, *recipients);
	return NULL;
}
