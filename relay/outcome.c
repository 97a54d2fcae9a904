/*
 * outcome.c
 *		Which error code of the database an answer is.
 *
 * Tables, the first row that fits counts.  What is tried again, and when, the database
 * decides by the code: here nothing is repeated.
 */
#include "outcome.h"

typedef struct StatusRule
{
	long		least;
	long		most;
	const char *error_code;
} StatusRule;

static const StatusRule webhook_rules[] = {
	{200, 299, NULL},
	{400, 400, "BAD_REQUEST"},
	{408, 408, "TIMEOUT"},
	{413, 415, "BAD_REQUEST"},
	{422, 422, "BAD_REQUEST"},
	{425, 425, "SERVICE_UNAVAILABLE"},
	{429, 429, "RATE_LIMIT"},
	{300, 499, "REJECTED"},		/* redirects too: nobody is followed to where
								 * the payload did not say */
	{500, 999, "SERVICE_UNAVAILABLE"},
};

/* What was said to the server last, and what it answered. */
static const struct
{
	MailStage	stage;
	StatusRule	rule;
}			mail_rules[] = {

	/* These are about the mailbox; 554, say, is about us. */
	{MAIL_RECIPIENT, {550, 551, "INVALID_RECIPIENT"}},
	{MAIL_RECIPIENT, {553, 553, "INVALID_RECIPIENT"}},
	{MAIL_RECIPIENT, {500, 599, "REJECTED"}},
	{MAIL_SENDER, {500, 599, "REJECTED"}},
	{MAIL_CONTENT, {500, 599, "REJECTED"}},
};

/* No answer, or none that tells. */
static const struct
{
	CURLcode	result;
	const char *error_code;
}			transfer_rules[] = {
	{CURLE_OPERATION_TIMEDOUT, "TIMEOUT"},
	{CURLE_URL_MALFORMAT, "BAD_REQUEST"},
	{CURLE_UNSUPPORTED_PROTOCOL, "BAD_REQUEST"},
};

#define COUNT(table)	((int) (sizeof(table) / sizeof((table)[0])))

static const char *
outcome_of_transfer(CURLcode result)
{
	for (int i = 0; i < COUNT(transfer_rules); i++)
		if (transfer_rules[i].result == result)
			return transfer_rules[i].error_code;
	return "SERVICE_UNAVAILABLE";
}

const char *
outcome_of_webhook(CURLcode result, long status)
{
	/*
	 * Once there is a status the receiver has spoken, whatever becomes of the
	 * rest of its answer.
	 */
	for (int i = 0; i < COUNT(webhook_rules); i++)
		if (status >= webhook_rules[i].least && status <= webhook_rules[i].most)
			return webhook_rules[i].error_code;
	return outcome_of_transfer(result);
}

const char *
outcome_of_mail(CURLcode result, long status, MailStage stage)
{
	if (result == CURLE_OK)
		return NULL;
	for (int i = 0; i < COUNT(mail_rules); i++)
		if (mail_rules[i].stage == stage && status >= mail_rules[i].rule.least &&
			status <= mail_rules[i].rule.most)
			return mail_rules[i].rule.error_code;
	return outcome_of_transfer(result);
}
