/*
 * event_type_check.c
 *		An event and what is registered about its type.
 *
 * An event is judged by the schema of its own version, whatever came later; its
 * data is then what is stored, fill values included.
 */
#include "rules/event_type.h"

#include "errors.h"
#include "lib/stringinfo.h"
#include "log/config.h"
#include "log/json_walk.h"
#include "miscadmin.h"
#include "rules/known.h"
#include "utils/builtins.h"

/* Bytes of failures that an error lists; the rest is counted. */
#define MAX_DETAIL	8000

int			es_guc_unregistered_types = ES_UNREGISTERED_ALLOW;

static void meet_unregistered(const EsCategory *category, const EsEvent *event, bool is_withdrawn);
static void refuse_version(const EsEventType *type, int32 number);
static void refuse_data(const EsEventType *type, EsTypeVersion *version, JsonbValue *data, const char *hint);
static char *list_versions(const EsEventType *type);
static int32 matching_version(const EsEventType *type, JsonbValue *data);

const EsEventType *
es_event_type_admit(const EsCategory *category, EsEvent *event, int32 given)
{
	const EsEventType *type = NULL;

	if (es_event_type_counts(event->flags))
	{
		type = es_event_type_get(es_event_text(event, ES_EVENT_CATEGORY),
								 es_event_text(event, ES_EVENT_TYPE));
		if (es_event_type_in_force(type) == NULL &&
			(category->strict || es_guc_unregistered_types != ES_UNREGISTERED_ALLOW))
			meet_unregistered(category, event, type != NULL);
	}
	if (given == 0)
		given = type != NULL ? es_event_type_latest(type)->number : 1;
	else if (type != NULL && es_event_type_version(type, given) == NULL)
		refuse_version(type, given);
	es_event_set(event, ES_EVENT_SCHEMA_VERSION, Int32GetDatum(given));
	return type;
}

const text *
es_event_type_subject(const EsEventType *type, const EsCategory *category, const EsEvent *event)
{
	EsBinding	binding = {.event = event};
	EsExprUse	use = {.what = "subject",.owner_kind = "event type"};
	Datum		subject;
	bool		isnull;

	if (type == NULL || type->subject == NULL)
		return es_category_subject(category, event);
	use.owner = es_event_text(event, ES_EVENT_TYPE);
	es_expr_begin_use(&use, event);
	subject = es_expr_eval(type->subject, &binding, &isnull);
	es_expr_end_use(&use);
	if (isnull || VARSIZE_ANY_EXHDR(DatumGetPointer(subject)) == 0)
		return NULL;
	return (const text *) DatumGetPointer(subject);
}

void
es_event_type_check(const EsEventType *type, const EsEvent *event, const char *hint)
{
	EsTypeVersion *version;
	EsSchema   *program;
	JsonbValue	data;

	if (type == NULL || !es_event_type_counts(event->flags))
		return;
	/* There is none where the event is older than the registration. */
	version = es_event_type_version(type, DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
	program = version == NULL ? NULL : es_event_type_program(type, version);
	if (program == NULL)
		return;
	es_json_root(DatumGetJsonbP(event->value[ES_EVENT_DATA]), &data);
	if (!es_schema_valid(program, &data))
		refuse_data(type, version, &data, hint);
}

/* ---- types that are not registered ---- */

static void
meet_unregistered(const EsCategory *category, const EsEvent *event, bool is_withdrawn)
{
	char	   *where = text_to_cstring(es_event_text(event, ES_EVENT_CATEGORY));
	char	   *name = text_to_cstring(es_event_text(event, ES_EVENT_TYPE));
	char	   *near;

	if (!category->strict &&
		!es_event_type_is_news(es_event_text(event, ES_EVENT_CATEGORY), es_event_text(event, ES_EVENT_TYPE)))
		return;
	near = es_type_near(where, name);
	ereport(category->strict ? ERROR : WARNING,
			(errcode(ES_ERRCODE_UNKNOWN_EVENT_TYPE),
			 is_withdrawn ? errmsg("event type \"%s\" is not registered any more", name) :
			 errmsg("event type \"%s\" is not registered", name),
			 category->strict ?
			 errdetail("Category \"%s\" is strict: it takes only registered types.", where) :
			 errdetail("Category \"%s\" takes it all the same; this session will not be told again.", where),
			 near != NULL ? errhint("Registered are: %s.", near) :
			 is_withdrawn ? errhint("It was withdrawn; eventsource.register_event_type() registers it again.") :
			 errhint("Register it with eventsource.register_event_type().")));
}

/* ---- refusals ---- */

static void
refuse_version(const EsEventType *type, int32 number)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_UNKNOWN_EVENT_TYPE),
			 errmsg("event type \"%s\" has no schema version %d", type->name, number),
			 errdetail("Registered: %s.", list_versions(type)),
			 errhint("Leave schema_version out for the latest, or register the version with eventsource.register_event_type().")));
}

static void
refuse_data(const EsEventType *type, EsTypeVersion *version, JsonbValue *data, const char *hint)
{
	List	   *errors = es_schema_errors(version->program, data);
	StringInfoData lines;
	int			left = list_length(errors);
	int32		other = matching_version(type, data);
	ListCell   *lc;

	initStringInfo(&lines);
	foreach(lc, errors)
	{
		char	   *line = es_schema_error_line(lfirst(lc));

		if (lines.len > 0 && lines.len + strlen(line) > MAX_DETAIL)
			break;
		appendStringInfo(&lines, "%s%s", lines.len > 0 ? "\n" : "", line);
		left--;
	}
	if (left > 0)
		appendStringInfo(&lines, "\n... and %d more", left);
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_PAYLOAD),
			 errmsg("data does not match version %d of event type \"%s\"", version->number, type->name),
			 errdetail_internal("%s", lines.data),
			 hint != NULL ? errhint("%s", hint) :
			 other != 0 ? errhint("It matches version %d: give schema_version => %d if that is what it is.", other, other) :
			 errhint("The schema is in the view eventsource.event_type_versions.")));
}

static char *
list_versions(const EsEventType *type)
{
	StringInfoData list;
	int			first = Max(0, type->n_versions - 20);

	initStringInfo(&list);
	for (int i = first; i < type->n_versions; i++)
		appendStringInfo(&list, "%s%d", i > first ? ", " : first > 0 ? "..., " : "", type->version[i].number);
	return list.data;
}

/* The latest version that the data matches, among those that say anything; or 0. */
static int32
matching_version(const EsEventType *type, JsonbValue *data)
{
	for (int i = type->n_versions - 1; i >= 0; i--)
	{
		EsSchema   *program = es_event_type_program(type, &type->version[i]);

		CHECK_FOR_INTERRUPTS();
		if (program != NULL && es_schema_valid(program, data))
			return type->version[i].number;
	}
	return 0;
}
