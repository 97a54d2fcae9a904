/*
 * error_code.c
 *		Codes of errors that jobs fail with, and whether it is worth to try again.
 */
#include "work/job.h"

#include "log/config.h"
#include "log/json.h"
#include "utils/builtins.h"

#define ES_ERROR_CODE_KIND		"error_code"

typedef struct KnownCode
{
	const char *code;
	bool		is_retryable;
	const char *description;
} KnownCode;

/* Where no definition says otherwise. */
static const KnownCode known_codes[] = {
	{"RATE_LIMIT", true, "The receiver is asked too often."},
	{"TIMEOUT", true, "There was no answer in time."},
	{"SERVICE_UNAVAILABLE", true, "The receiver cannot be reached, or cannot answer now."},
	{ES_JOB_LEASE_EXPIRED, true, "The worker was not heard of any more."},
	{"INVALID_RECIPIENT", false, "There is no such recipient."},
	{"BOUNCED", false, "It was sent, and came back."},
	{"REJECTED", false, "The receiver does not want it."},
	{"BAD_REQUEST", false, "The receiver does not understand it."}
};

bool
es_error_code_is_retryable(const text *code)
{
	const char *name = text_to_cstring(code);
	EsDefinition *definition = es_config_read(ES_ERROR_CODE_KIND, name, 0);
	JsonbValue	buffer;
	JsonbValue *member;

	if (definition != NULL &&
		(member = es_json_find(&definition->data->root, "is_retryable", &buffer)) != NULL && member->type == jbvBool)
		return member->val.boolean;
	for (int i = 0; i < (int) lengthof(known_codes); i++)
		if (strcmp(known_codes[i].code, name) == 0)
			return known_codes[i].is_retryable;
	return true;
}
