/*
 * pace.c
 *		The settings of those who follow the log by themselves.
 */
#include "project/pace.h"

#include "fmgr.h"
#include "log/attempt.h"
#include "log/json.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define MAX_BATCH	1000000

/* A text on its way to microseconds. */
typedef struct Span
{
	char	   *text;
	int64		value;
} Span;

static void read_setting(const char *name, const JsonbValue *value, const char *extra, EsPace *pace,
						 List **problems);
static bool read_span(const JsonbValue *value, bool is_checked, int64 *result);
static void parse_span(void *arg);
static bool is_bad_input(int sqlstate);
static bool read_count(const JsonbValue *value, int *result);
static void complain(List **problems, char *problem);

void
es_pace_read(Jsonb *definition, const char *extra, EsPace *pace, List **problems)
{
	JsonbValue	buffer;
	JsonbValue *settings = es_json_find(&definition->root, "settings", &buffer);
	EsJsonPair *pairs;
	int			count;

	*pace = (EsPace)
	{
		.interval = 5 * USECS_PER_SEC,.max_lag = 60 * USECS_PER_SEC,.max_batch = 100
	};
	if (settings == NULL || settings->type == jbvNull)
		return;
	if (!es_json_is_object(settings))
	{
		complain(problems, pstrdup("settings: must be an object"));
		return;
	}
	count = es_json_pairs(settings, &pairs);
	for (int i = 0; i < count; i++)
	{
		char	   *name = es_json_string(&pairs[i].key);

		if (extra == NULL || strcmp(name, extra) != 0)
			read_setting(name, &pairs[i].value, extra, pace, problems);
	}
}

static void
read_setting(const char *name, const JsonbValue *value, const char *extra, EsPace *pace, List **problems)
{
	if (strcmp(name, "interval") == 0 || strcmp(name, "max_lag") == 0)
	{
		int64	   *span = strcmp(name, "interval") == 0 ? &pace->interval : &pace->max_lag;

		if (!read_span(value, problems == NULL, span))
			complain(problems, psprintf("settings: %s must be a length of time like \"5 s\", without months",
										name));
	}
	else if (strcmp(name, "max_batch") == 0)
	{
		if (!read_count(value, &pace->max_batch))
			complain(problems, psprintf("settings: max_batch must be a number from 1 to %d", MAX_BATCH));
	}
	else
		complain(problems,
				 psprintf("settings: there is no \"%s\"; there are %s%sinterval, max_batch and max_lag", name,
						  extra == NULL ? "" : extra, extra == NULL ? "" : ", "));
}

/* What was checked as it was defined needs no subtransaction. */
static bool
read_span(const JsonbValue *value, bool is_checked, int64 *result)
{
	Span		span = {0};

	if (value->type != jbvString)
		return false;
	span.text = es_json_string(value);
	if (is_checked)
		parse_span(&span);
	else if (es_attempt(parse_span, &span, is_bad_input) != NULL)
		return false;
	if (span.value < 0)
		return false;
	*result = span.value;
	return true;
}

static void
parse_span(void *arg)
{
	Span	   *span = arg;
	Datum		value = DirectFunctionCall3(interval_in, CStringGetDatum(span->text),
											ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	Interval   *interval = DatumGetIntervalP(value);

	span->value = interval->month != 0 || abs(interval->day) > 10000 ? -1 :
		interval->time + interval->day * USECS_PER_DAY;
}

static bool
is_bad_input(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION);
}

/* A whole number, however large or long it is written. */
static bool
read_count(const JsonbValue *value, int *result)
{
	char	   *end;
	long		number;

	if (value->type != jbvNumeric)
		return false;
	errno = 0;
	number = strtol(numeric_normalize(value->val.numeric), &end, 10);
	if (*end != '\0' || errno != 0 || number < 1 || number > MAX_BATCH)
		return false;
	*result = (int) number;
	return true;
}

static void
complain(List **problems, char *problem)
{
	if (problems != NULL)
		*problems = lappend(*problems, problem);
}
