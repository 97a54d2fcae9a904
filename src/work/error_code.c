/*
 * error_code.c
 *		Codes of errors that jobs fail with, and whether it is worth to try again.
 */
#include "work/job.h"

#include "append/define.h"
#include "funcapi.h"
#include "log/config.h"
#include "log/json.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(eventsource_set_error_code);
PG_FUNCTION_INFO_V1(eventsource_error_code_list);

#define ES_ERROR_CODE_KIND		"error_code"
#define ES_ERROR_CODE_DEFINED	"error_code_defined"

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

static void put_code(ReturnSetInfo *result, const char *code, bool is_retryable, const char *description,
					 bool is_built_in);
static bool read_flag(const EsDefinition *definition, bool *is_retryable);

/* set_error_code(code, is_retryable, description) */
Datum
eventsource_set_error_code(PG_FUNCTION_ARGS)
{
	static const char example[] = "SELECT eventsource.set_error_code('MAILBOX_FULL', true)";
	JsonbParseState *state = NULL;
	char	   *code;

	PreventCommandIfReadOnly("eventsource.set_error_code()");
	es_job_expect_argument(fcinfo, 0, "code", example);
	es_job_expect_argument(fcinfo, 1, "is_retryable", example);
	code = text_to_cstring(es_job_text_argument(fcinfo, 0, "code", ES_MAX_WORD));
	for (const char *byte = code; *byte != '\0'; byte++)
		if ((unsigned char) *byte < ' ' || *byte == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("code must not contain control characters"),
					 errdetail("It names a definition."),
					 errhint("For example: %s.", example)));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_bool(&state, "is_retryable", PG_GETARG_BOOL(1));
	if (!PG_ARGISNULL(2))
		es_json_push_text(&state, "description", es_job_text_argument(fcinfo, 2, "description", ES_JOB_MAX_TEXT));
	(void) es_define(ES_ERROR_CODE_KIND, code, ES_ERROR_CODE_DEFINED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* What the view eventsource.error_codes shows. */
Datum
eventsource_error_code_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(known_codes); i++)
		if (es_config_read(ES_ERROR_CODE_KIND, known_codes[i].code, 0) == NULL)
			put_code(result, known_codes[i].code, known_codes[i].is_retryable,
					 known_codes[i].description, true);
	foreach(lc, es_config_list(ES_ERROR_CODE_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		bool		is_retryable;

		if (read_flag(definition, &is_retryable))
			put_code(result, definition->name, is_retryable,
					 es_json_find_string(&definition->data->root, "description"), false);
	}
	return (Datum) 0;
}

static void
put_code(ReturnSetInfo *result, const char *code, bool is_retryable, const char *description,
		 bool is_built_in)
{
	Datum		values[] = {
		CStringGetTextDatum(code), BoolGetDatum(is_retryable),
		description == NULL ? (Datum) 0 : CStringGetTextDatum(description), BoolGetDatum(is_built_in)
	};
	bool		nulls[] = {false, false, description == NULL, false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static bool
read_flag(const EsDefinition *definition, bool *is_retryable)
{
	JsonbValue	buffer;
	JsonbValue *member = es_json_find(&definition->data->root, "is_retryable", &buffer);

	if (member == NULL || member->type != jbvBool)
		return false;
	*is_retryable = member->val.boolean;
	return true;
}

bool
es_error_code_is_retryable(const text *code)
{
	const char *name = text_to_cstring(code);
	EsDefinition *definition = es_config_read(ES_ERROR_CODE_KIND, name, 0);
	bool		is_retryable;

	if (definition != NULL && read_flag(definition, &is_retryable))
		return is_retryable;
	for (int i = 0; i < (int) lengthof(known_codes); i++)
		if (strcmp(known_codes[i].code, name) == 0)
			return known_codes[i].is_retryable;
	return true;
}
