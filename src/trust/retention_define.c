/*
 * retention_define.c
 *		set_retention, hold, release_hold: what is said about keeping events.
 *
 * All of it is definitions, that is events of $config.  Whoever says something waits
 * for who takes events away right now, and the other way round: a hold that is
 * committed holds.
 */
#include "postgres.h"

#include "append/define.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "log/chain.h"
#include "log/config.h"
#include "log/json.h"
#include "log/sha256.h"
#include "log/stream.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "rules/category_list.h"
#include "rules/machine.h"
#include "trust/retention.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Added to any moment of a log it is one that a timestamp can hold. */
#define MAX_YEARS	10000

PG_FUNCTION_INFO_V1(eventsource_set_retention);
PG_FUNCTION_INFO_V1(eventsource_hold);
PG_FUNCTION_INFO_V1(eventsource_release_hold);

static List *check_intervals(FunctionCallInfo fcinfo, const char *class);
static List *check_types(FunctionCallInfo fcinfo, int arg, const char *name);
static Jsonb *form_policy(FunctionCallInfo fcinfo, const char *category, const char *class);
static void push_interval(JsonbParseState **state, const char *key, FunctionCallInfo fcinfo, int arg);
static void push_types(JsonbParseState **state, const char *key, FunctionCallInfo fcinfo, int arg);
static void mention_unknown(FunctionCallInfo fcinfo);
static bool change_hold(FunctionCallInfo fcinfo, bool is_placed);

/*
 * set_retention(category, detail, total, class, consent_types, audit_types): version of the policy
 */
Datum
eventsource_set_retention(PG_FUNCTION_ARGS)
{
	char	   *category = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *class = PG_ARGISNULL(3) ? pstrdup("ordinary") : text_to_cstring(PG_GETARG_TEXT_PP(3));
	List	   *problems = NIL;
	char	   *problem;

	PreventCommandIfReadOnly("eventsource.set_retention()");
	if (category == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("category must not be null"),
				 errdetail("A policy is that of one category."),
				 errhint("For example: SELECT eventsource.set_retention('page_view', '90 days', '2 years', 'disposable').")));
	problem = es_category_name_problem(category, strlen(category));
	if (problem != NULL)
		problems = lappend(problems, psprintf("category: %s", problem));
	problems = list_concat(problems, check_intervals(fcinfo, class));
	problems = list_concat(problems, check_types(fcinfo, 4, "consent_types"));
	problems = list_concat(problems, check_types(fcinfo, 5, "audit_types"));
	if (problems != NIL)
		es_machine_refuse(psprintf("retention of category \"%s\"", category), problems);
	(void) es_retention_lock(true, true);
	PG_RETURN_INT64(es_define(ES_RETENTION_KIND, category, ES_RETENTION_SET,
							  form_policy(fcinfo, category, class)));
}

static List *
check_intervals(FunctionCallInfo fcinfo, const char *class)
{
	static const char *const names[] = {NULL, "detail", "total"};
	Interval	zero = {0};
	Interval	longest = {.month = MAX_YEARS * MONTHS_PER_YEAR};
	List	   *problems = NIL;

	for (int arg = 1; arg <= 2; arg++)
	{
		if (PG_ARGISNULL(arg))
			continue;
		if (DatumGetBool(DirectFunctionCall2(interval_lt, PG_GETARG_DATUM(arg), IntervalPGetDatum(&zero))))
			problems = lappend(problems, psprintf("%s: must not be negative", names[arg]));
		if (DatumGetBool(DirectFunctionCall2(interval_gt, PG_GETARG_DATUM(arg), IntervalPGetDatum(&longest))))
			problems = lappend(problems, psprintf("%s: must not exceed %d years; null is for ever", names[arg],
												  MAX_YEARS));
	}
	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2) &&
		DatumGetBool(DirectFunctionCall2(interval_lt, PG_GETARG_DATUM(2), PG_GETARG_DATUM(1))))
		problems = lappend(problems, pstrdup("total: must not be shorter than detail"));
	if (strcmp(class, "kept") == 0)
	{
		if (!PG_ARGISNULL(2))
			problems = lappend(problems, pstrdup("total: a category that is kept has none"));
	}
	else if (strcmp(class, "ordinary") != 0 && strcmp(class, "disposable") != 0)
		problems = lappend(problems, pstrdup("class: must be ordinary, disposable or kept"));
	return problems;
}

static List *
check_types(FunctionCallInfo fcinfo, int arg, const char *name)
{
	List	   *problems = NIL;
	Datum	   *types;
	bool	   *nulls;
	int			count;

	if (PG_ARGISNULL(arg))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT, &types, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (nulls[i])
			problems = lappend(problems, psprintf("%s: a type must not be null", name));
		else if (VARSIZE_ANY_EXHDR(DatumGetPointer(types[i])) == 0 ||
				 VARSIZE_ANY_EXHDR(DatumGetPointer(types[i])) > ES_MAX_WORD)
			problems = lappend(problems, psprintf("%s: a type has 1 to %d bytes", name, ES_MAX_WORD));
	return problems;
}

static Jsonb *
form_policy(FunctionCallInfo fcinfo, const char *category, const char *class)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "category", category);
	es_json_push_string(&state, "class", class);
	push_interval(&state, "detail", fcinfo, 1);
	push_interval(&state, "total", fcinfo, 2);
	push_types(&state, "consent_types", fcinfo, 4);
	push_types(&state, "audit_types", fcinfo, 5);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* As ISO 8601 has it, which every setting reads alike. */
static void
push_interval(JsonbParseState **state, const char *key, FunctionCallInfo fcinfo, int arg)
{
	char		buffer[MAXDATELEN + 1];
	struct pg_itm itm;

	if (PG_ARGISNULL(arg))
	{
		es_json_push_string(state, key, NULL);
		return;
	}
	interval2itm(*PG_GETARG_INTERVAL_P(arg), &itm);
	EncodeInterval(&itm, INTSTYLE_ISO_8601, buffer);
	es_json_push_string(state, key, pstrdup(buffer));
}

static void
push_types(JsonbParseState **state, const char *key, FunctionCallInfo fcinfo, int arg)
{
	Datum	   *types;
	bool	   *nulls;
	int			count = 0;

	if (!PG_ARGISNULL(arg))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT, &types, &nulls,
						  &count);
	es_json_push_key(state, key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		es_json_push_element(state, TextDatumGetCString(types[i]));
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* ---- holds ---- */

/* hold(stream, subject, reason): was it not held yet? */
Datum
eventsource_hold(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("eventsource.hold()");
	PG_RETURN_BOOL(change_hold(fcinfo, true));
}

/* release_hold(stream, subject, reason): was it held? */
Datum
eventsource_release_hold(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("eventsource.release_hold()");
	PG_RETURN_BOOL(change_hold(fcinfo, false));
}

static void
check_hold_arguments(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0) == PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hold is on either a stream or a subject"),
				 errdetail(PG_ARGISNULL(0) ? "Neither is named." : "Both are named."),
				 errhint("For example: SELECT eventsource.hold(stream => 'order-17', reason => 'case 4711').")));
	if (PG_ARGISNULL(2) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) == 0)
		ereport(ERROR,
				(errcode(PG_ARGISNULL(2) ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hold needs a reason"),
				 errdetail("Argument \"reason\" is %s.", PG_ARGISNULL(2) ? "null" : "empty"),
				 errhint("Say what for: it is recorded with the hold.")));
	if (!PG_ARGISNULL(0))
		(void) es_stream_category_length(PG_GETARG_TEXT_PP(0));
}

static bool
note_found(const EsVaultRow *row, void *arg)
{
	*(bool *) arg = true;
	return false;
}

/*
 * A hold may come before the first event, but a slip of the pen must not look like one.
 * A subject goes by the name of a stream, as a rule, or has personal fields: all events are
 * not gone through for it.
 */
static void
mention_unknown(FunctionCallInfo fcinfo)
{
	bool		is_stream = !PG_ARGISNULL(0);
	const text *name = PG_GETARG_TEXT_PP(is_stream ? 0 : 1);
	bool		is_known;
	EsStream	stream;

	is_known = es_stream_find(name, &stream);
	if (!is_known && !is_stream)
		es_vault_visit_subject(name, GetActiveSnapshot(), note_found, &is_known);
	if (is_known)
		return;
	ereport(NOTICE,
			(is_stream ? errmsg("stream \"%s\" has no events yet", text_to_cstring(name)) :
			 errmsg("subject \"%s\" may not be one", text_to_cstring(name)),
			 is_stream ? errdetail("The hold is for those to come.") :
			 errdetail("No stream has this name, and no personal fields are kept of it. The hold is for all events that are about it."),
			 errhint("If this is not what was meant: eventsource.release_hold().")));
}

/* Names of streams and subjects may be longer than a definition's: their digest is that, of UTF-8. */
static char *
hold_name(const char *what, const text *name)
{
	int			length = VARSIZE_ANY_EXHDR(name);
	const char *utf8 = es_chain_utf8(VARDATA_ANY(name), &length);
	uint8		digest[ES_HASH_SIZE];
	char		hex[2 * ES_HASH_SIZE + 1];

	es_sha256(utf8, length, digest);
	hex[hex_encode((const char *) digest, sizeof(digest), hex)] = '\0';
	return psprintf("%s.%s", what, hex);
}

static bool
change_hold(FunctionCallInfo fcinfo, bool is_placed)
{
	const char *what = PG_ARGISNULL(0) ? "subject" : "stream";
	const text *name;
	char	   *definition_name;
	EsDefinition *definition;
	JsonbParseState *state = NULL;

	check_hold_arguments(fcinfo);
	name = PG_GETARG_TEXT_PP(PG_ARGISNULL(0) ? 1 : 0);
	definition_name = hold_name(what, name);
	if (is_placed)
		mention_unknown(fcinfo);
	(void) es_retention_lock(true, true);
	es_define_lock(ES_HOLD_KIND, definition_name);
	definition = es_config_read(ES_HOLD_KIND, definition_name, 0);
	if (is_placed == (definition != NULL && strcmp(definition->type, ES_HOLD_PLACED) == 0))
		return false;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_text(&state, what, name);
	es_json_push_text(&state, "reason", PG_GETARG_TEXT_PP(2));
	(void) es_define(ES_HOLD_KIND, definition_name, is_placed ? ES_HOLD_PLACED : ES_HOLD_RELEASED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	return true;
}
