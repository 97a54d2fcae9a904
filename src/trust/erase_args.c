/*
 * erase_args.c
 *		What the functions about erasures have in common: their arguments, and who
 *		may call them.
 *
 * To erase softly, to anonymize and to erase for good are three rights: EXECUTE on
 * three functions that do nothing else.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "log/catalog.h"
#include "miscadmin.h"
#include "trust/erase_args.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/datetime.h"
#include "utils/json.h"

static const text *
word(FunctionCallInfo fcinfo, int number, const char *name)
{
	const text *value = PG_ARGISNULL(number) ? NULL : PG_GETARG_TEXT_PP(number);

	if (value == NULL || VARSIZE_ANY_EXHDR(value) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null or empty", name),
				 errdetail("An erasure says whom it is about, how it is done, and why."),
				 errhint("SELECT * FROM eventsource.erase_subject('customer-7', 'anonymize', 'gdpr-request').")));
	return value;
}

void
es_erasure_args(FunctionCallInfo fcinfo, int subject, int mode, int reason, int actor, EsErasureArgs *args)
{
	char	   *name;

	args->subject = word(fcinfo, subject, "subject");
	args->reason = word(fcinfo, reason, "reason");
	args->actor = PG_ARGISNULL(actor) ? NULL : PG_GETARG_TEXT_PP(actor);
	args->mode = ES_ERASED_NOT;
	if (VARDATA_ANY(args->subject)[0] == '$')
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("\"%s\" cannot be erased", text_to_cstring(args->subject)),
				 errdetail("Names that begin with \"$\" are the log's own."),
				 errhint("A subject is whom events are about: see eventsource.events.subject.")));
	if (mode < 0)
		return;
	name = text_to_cstring(word(fcinfo, mode, "mode"));
	args->mode = es_erased_mode_named(name);
	if (args->mode == ES_ERASED_NOT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown mode \"%s\"", name),
				 errdetail("Modes are soft, anonymize and hard."),
				 errhint("soft: can be restored; anonymize: personal fields are replaced for good; hard: the payload goes, too.")));
}

void
es_erasure_expect_right(EsErasedMode mode)
{
	static const char *const rights[ES_ERASED_MODES] = {
		[ES_ERASED_SOFT] = "may_erase_softly",
		[ES_ERASED_ANONYMIZE] = "may_anonymize",
		[ES_ERASED_HARD] = "may_erase_hard"
	};
	Oid			function = es_catalog_trigger_function(rights[mode]);

	if (OidIsValid(function) && es_compat_may_execute(function, GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to erase a subject in mode %s", es_erased_mode_name(mode)),
			 errdetail("Role \"%s\" was not given this right.", GetUserNameFromId(GetUserId(), false)),
			 errhint("The owner of the extension gives it: SELECT eventsource.grant_eraser(role, '{%s}').",
					 es_erased_mode_name(mode))));
}

char *
es_erasure_time(TimestampTz time)
{
	char	   *buffer = palloc(MAXDATELEN + 1);
	int			utc = 0;

	(void) JsonEncodeDateTime(buffer, TimestampTzGetDatum(time), TIMESTAMPTZOID, &utc);
	return buffer;
}
