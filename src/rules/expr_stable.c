/*
 * expr_stable.c
 *		PostgreSQL's own functions that depend on settings, and how.
 *
 * Volatility alone cannot tell a cast to timestamptz, which needs the time zone,
 * from now(), which needs the clock: both are STABLE.  Here are those that
 * depend on nothing but settings that expr_room.c pins.  Words such as "now"
 * that dates and times read off the clock are refused when they are read.
 */
#include "postgres.h"

#include "compat.h"
#include "errors.h"
#include "rules/expr_parts.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

typedef struct StableFunction
{
	Oid			function;
	EsStableKind kind;
} StableFunction;

static void refuse_clock_word(const char *text);

static const StableFunction stable_functions[] = {
	{F_DATE_IN, ES_STABLE_PINNED},
	{F_DATE_OUT, ES_STABLE_PINNED},
	{F_TIME_IN, ES_STABLE_PINNED},
	{F_TIMESTAMP_IN, ES_STABLE_PINNED},
	{F_TIMESTAMP_OUT, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_IN, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_OUT, ES_STABLE_PINNED},
	{F_INTERVAL_IN, ES_STABLE_PINNED},
	{F_INTERVAL_OUT, ES_STABLE_PINNED},
	{F_ENUM_IN, ES_STABLE_PINNED},
	{F_ENUM_OUT, ES_STABLE_PINNED},
	{F_DATE_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIME_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_TIMESTAMP, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_DATE_TIME, ES_STABLE_PINNED},
	{F_DATE_PART_TEXT_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_EXTRACT_TEXT_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_TRUNC_TEXT_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_PL_INTERVAL, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_MI_INTERVAL, ES_STABLE_PINNED},
	{F_INTERVAL_PL_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8, ES_STABLE_PINNED},
	{F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8_TEXT, ES_STABLE_PINNED},
	{F_GENERATE_SERIES_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL, ES_STABLE_PINNED},
	{F_DATE_CMP_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_EQ_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_NE_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_LT_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_LE_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_GT_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_DATE_GE_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_CMP_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_EQ_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_NE_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_LT_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_LE_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_GT_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMP_GE_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_CMP_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_EQ_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_NE_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_LT_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_LE_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_GT_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_GE_DATE, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_CMP_TIMESTAMP, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_EQ_TIMESTAMP, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_NE_TIMESTAMP, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_LT_TIMESTAMP, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_LE_TIMESTAMP, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_GT_TIMESTAMP, ES_STABLE_PINNED},
	{F_TIMESTAMPTZ_GE_TIMESTAMP, ES_STABLE_PINNED},
	{F_OVERLAPS_TIMESTAMPTZ_INTERVAL_TIMESTAMPTZ_INTERVAL, ES_STABLE_PINNED},
	{F_OVERLAPS_TIMESTAMPTZ_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ, ES_STABLE_PINNED},
	{F_OVERLAPS_TIMESTAMPTZ_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL, ES_STABLE_PINNED},
	{F_JSONB_PATH_EXISTS_TZ, ES_STABLE_PINNED},
	{F_JSONB_PATH_MATCH_TZ, ES_STABLE_PINNED},
	{F_JSONB_PATH_QUERY_TZ, ES_STABLE_PINNED},
	{F_JSONB_PATH_QUERY_ARRAY_TZ, ES_STABLE_PINNED},
	{F_JSONB_PATH_QUERY_FIRST_TZ, ES_STABLE_PINNED},
#ifdef F_DATE_ADD_TIMESTAMPTZ_INTERVAL
	{F_DATE_ADD_TIMESTAMPTZ_INTERVAL, ES_STABLE_PINNED},
	{F_DATE_SUBTRACT_TIMESTAMPTZ_INTERVAL, ES_STABLE_PINNED},
#endif
	{F_ARRAY_TO_STRING_ANYARRAY_TEXT, ES_STABLE_PRINTS},
	{F_ARRAY_TO_STRING_ANYARRAY_TEXT_TEXT, ES_STABLE_PRINTS},
	{F_TEXTANYCAT, ES_STABLE_PRINTS},
	{F_ANYTEXTCAT, ES_STABLE_PRINTS},
	{F_CONCAT, ES_STABLE_PRINTS},
	{F_CONCAT_WS, ES_STABLE_PRINTS},
	{F_FORMAT_TEXT, ES_STABLE_PRINTS},
	{F_FORMAT_TEXT_ANY, ES_STABLE_PRINTS},
	{F_QUOTE_LITERAL_ANYELEMENT, ES_STABLE_PRINTS},
	{F_QUOTE_NULLABLE_ANYELEMENT, ES_STABLE_PRINTS},
	{F_TO_JSON, ES_STABLE_PRINTS_JSON},
	{F_TO_JSONB, ES_STABLE_PRINTS_JSON},
	{F_ROW_TO_JSON_RECORD, ES_STABLE_PRINTS_JSON},
	{F_ROW_TO_JSON_RECORD_BOOL, ES_STABLE_PRINTS_JSON},
	{F_ARRAY_TO_JSON_ANYARRAY, ES_STABLE_PRINTS_JSON},
	{F_ARRAY_TO_JSON_ANYARRAY_BOOL, ES_STABLE_PRINTS_JSON},
	{F_JSON_BUILD_ARRAY_, ES_STABLE_PRINTS_JSON},
	{F_JSON_BUILD_ARRAY_ANY, ES_STABLE_PRINTS_JSON},
	{F_JSON_BUILD_OBJECT_, ES_STABLE_PRINTS_JSON},
	{F_JSON_BUILD_OBJECT_ANY, ES_STABLE_PRINTS_JSON},
	{F_JSONB_BUILD_ARRAY_, ES_STABLE_PRINTS_JSON},
	{F_JSONB_BUILD_ARRAY_ANY, ES_STABLE_PRINTS_JSON},
	{F_JSONB_BUILD_OBJECT_, ES_STABLE_PRINTS_JSON},
	{F_JSONB_BUILD_OBJECT_ANY, ES_STABLE_PRINTS_JSON},
	{F_JSON_POPULATE_RECORD, ES_STABLE_READS},
	{F_JSON_POPULATE_RECORDSET, ES_STABLE_READS},
	{F_JSONB_POPULATE_RECORD, ES_STABLE_READS},
	{F_JSONB_POPULATE_RECORDSET, ES_STABLE_READS},
	{F_TO_CHAR_INT4_TEXT, ES_STABLE_FORMATS_NUMBER},
	{F_TO_CHAR_INT8_TEXT, ES_STABLE_FORMATS_NUMBER},
	{F_TO_CHAR_NUMERIC_TEXT, ES_STABLE_FORMATS_NUMBER},
	{F_TO_CHAR_FLOAT4_TEXT, ES_STABLE_FORMATS_NUMBER},
	{F_TO_CHAR_FLOAT8_TEXT, ES_STABLE_FORMATS_NUMBER},
	{F_TO_NUMBER, ES_STABLE_FORMATS_NUMBER},
	{F_TO_CHAR_TIMESTAMP_TEXT, ES_STABLE_FORMATS_TIME},
	{F_TO_CHAR_TIMESTAMPTZ_TEXT, ES_STABLE_FORMATS_TIME},
	{F_TO_CHAR_INTERVAL_TEXT, ES_STABLE_FORMATS_TIME},
	{F_TO_DATE, ES_STABLE_FORMATS_TIME},
	{F_TO_TIMESTAMP_TEXT_TEXT, ES_STABLE_FORMATS_TIME},
};

/* Depend on timezone_abbreviations, whatever their volatility says. */
static const Oid zone_word_functions[] = {
	F_TIMESTAMPTZ_IN,
	F_TIMEZONE_TEXT_TIMESTAMP,
	F_TIMEZONE_TEXT_TIMESTAMPTZ,
	F_TO_TIMESTAMP_TEXT_TEXT,
	F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT,
	F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8_TEXT,
};

EsStableKind
es_expr_stable_kind(Oid function)
{
	for (int i = 0; i < (int) lengthof(stable_functions); i++)
		if (stable_functions[i].function == function)
			return stable_functions[i].kind;
	return ES_STABLE_REFUSED;
}

bool
es_expr_reads_zone_words(Oid function)
{
	for (int i = 0; i < (int) lengthof(zone_word_functions); i++)
		if (zone_word_functions[i] == function)
			return true;
	return false;
}

bool
es_expr_has_clock_word(const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	while (*text !='\0')
	{
		size_t		length = 0;

		while (isalpha((unsigned char) text[length]))
			length++;
		if (length == 0)
		{
			text	  ++;

			continue;
		}
		for (int i = 0; i < (int) lengthof(words); i++)
			if (strlen(words[i]) == length && pg_strncasecmp(text, words[i], length) == 0)
				return true;
		text	  +=length;
	}
	return false;
}

/* The input functions of dates and times, wrapped. */
#define GUARDED_INPUT(function) \
	static Datum \
	guarded_##function(PG_FUNCTION_ARGS) \
	{ \
		refuse_clock_word(PG_GETARG_CSTRING(0)); \
		return function(fcinfo); \
	}

GUARDED_INPUT(date_in)
GUARDED_INPUT(time_in)
GUARDED_INPUT(timestamp_in)
GUARDED_INPUT(timestamptz_in)

static const struct
{
	Oid			function;
	PGFunction	guarded;
}			guarded_inputs[] = {
	{F_DATE_IN, guarded_date_in},
	{F_TIME_IN, guarded_time_in},
	{F_TIMESTAMP_IN, guarded_timestamp_in},
	{F_TIMESTAMPTZ_IN, guarded_timestamptz_in},
};

bool
es_expr_reads_clock(Oid input_function)
{
	for (int i = 0; i < (int) lengthof(guarded_inputs); i++)
		if (guarded_inputs[i].function == input_function)
			return true;
	return false;
}

static void
refuse_clock_word(const char *text)
{
	if (es_expr_has_clock_word(text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("\"%s\" is not a date or time of its own", text),
				 errdetail("It would mean the moment of evaluation, and another one at every replay."),
				 errhint("Let the event carry the date itself.")));
}

/*
 * Steps of a ready expression are only read here, and their function's address
 * replaced: no node of the planned tree could say it without a function that
 * everyone may execute.
 */
void
es_expr_guard_clock(ExprState *state)
{
	for (int i = 0; i < state->steps_len; i++)
	{
		ExprEvalStep *step = &state->steps[i];
		ExprEvalOp	op = ExecEvalStepOp(state, step);
		FmgrInfo   *input;

		if (op == EEOP_ARRAYCOERCE && step->d.arraycoerce.elemexprstate != NULL)
			es_expr_guard_clock(step->d.arraycoerce.elemexprstate);
		if (!es_compat_is_iocoerce(op))
			continue;
		input = step->d.iocoerce.finfo_in;
		for (int k = 0; k < (int) lengthof(guarded_inputs); k++)
			if (guarded_inputs[k].function == input->fn_oid)
				input->fn_addr = guarded_inputs[k].guarded;
	}
}
