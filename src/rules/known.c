/*
 * known.c
 *		Names of categories and event types that there are.
 *
 * Who names one that is not there has mistyped it more often than not, and would
 * be told that all is well with nothing.  Both come into being by themselves, so
 * that this is for questions about what is there; who may be about to append is
 * not refused.
 */
#include "postgres.h"

#include "rules/known.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "log/config.h"
#include "log/read.h"
#include "log/rights.h"
#include "log/word.h"
#include "miscadmin.h"
#include "rules/event_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

/* So many are named, none longer than this. */
#define MAX_NEAR	5
#define MAX_NEAR_LENGTH	255

typedef struct Near
{
	char	   *name;
	int			distance;
} Near;

PG_FUNCTION_INFO_V1(eventsource_expect_category);

static List *registered_categories(void);
static List *registered_types(const char *category);
static bool has_name(List *names, const char *name);
static char *near_names(List *names, const char *name);
static void insert_near(Near *near, int *count, char *name, int distance);

/* expect_category(category text) */
Datum
eventsource_expect_category(PG_FUNCTION_ARGS)
{
	char	   *category = text_to_cstring(PG_GETARG_TEXT_PP(0));

	es_rights_expect_read(category);
	es_category_expect(category);
	PG_RETURN_VOID();
}

bool
es_category_is_known(const char *category)
{
	return es_config_read("category", category, 0) != NULL || has_name(registered_categories(), category) ||
		es_category_has_events(category);
}

bool
es_type_is_known(const char *type)
{
	int			nwords;

	(void) es_word_all_ids(type, &nwords);
	return nwords > 0 || has_name(registered_types(NULL), type);
}

void
es_category_expect(const char *category)
{
	char	   *near;

	if (es_category_is_known(category))
		return;
	near = es_category_near(category);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no category \"%s\"", category),
			 errdetail("It has no events, is not declared, and no event type is registered for it."),
			 near != NULL ? errhint("There are: %s.", near) :
			 errhint("eventsource.categories lists those that are declared; eventsource.create_category() declares one.")));
}

void
es_type_expect(const char *type)
{
	char	   *near;

	if (es_type_is_known(type))
		return;
	near = es_type_near(NULL, type);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no event type \"%s\"", type),
			 errdetail("It has no events, and is not registered."),
			 near != NULL ? errhint("Registered are: %s.", near) :
			 errhint("eventsource.event_types lists those that are registered.")));
}

char *
es_category_near(const char *category)
{
	return near_names(list_concat(es_config_names("category"), registered_categories()), category);
}

char *
es_type_near(const char *category, const char *type)
{
	return near_names(registered_types(category), type);
}

/* ---- what there is ---- */

static List *
registered_categories(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_names(ES_EVENT_TYPE_KIND))
	{
		char	   *hyphen = strchr(lfirst(lc), '-');

		if (hyphen != NULL && hyphen > (char *) lfirst(lc))
			result = lappend(result, pnstrdup(lfirst(lc), hyphen - (char *) lfirst(lc)));
	}
	return result;
}

/* For a category and for all; NULL: for any.  Not those that are withdrawn. */
static List *
registered_types(const char *category)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(ES_EVENT_TYPE_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		char	   *hyphen = strchr(definition->name, '-');
		int			length = hyphen == NULL ? -1 : hyphen - definition->name;

		if (strcmp(definition->type, ES_EVENT_TYPE_REGISTERED) != 0)
			continue;
		if (length == 0 || (length > 0 && category == NULL) ||
			(length > 0 && length == (int) strlen(category) &&
			 memcmp(definition->name, category, length) == 0))
			result = lappend(result, hyphen + 1);
	}
	return result;
}

static bool
has_name(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
		return true;
	return false;
}

bool
es_category_has_events(const char *category)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EsScan	   *scan = es_scan_log(0, PG_INT64_MAX, list_make1(unconstify(char *, category)), snapshot);
	bool		result;

	es_scan_expect(scan, 1);
	result = es_scan_next_tuple(scan) != NULL;
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return result;
}

/* ---- what is spelled alike ---- */

static char *
near_names(List *names, const char *name)
{
	Near		near[MAX_NEAR];
	int			count = 0;
	int			length = strlen(name);
	int			limit = Max(2, length / 3);
	StringInfoData list;
	ListCell   *lc;

	if (length > MAX_NEAR_LENGTH)
		return NULL;
	foreach(lc, names)
	{
		int			distance;

		CHECK_FOR_INTERRUPTS();
		if (strlen(lfirst(lc)) > MAX_NEAR_LENGTH)
			continue;
		distance = varstr_levenshtein_less_equal(name, length, lfirst(lc), strlen(lfirst(lc)), 1, 1, 1,
												 limit, true);
		if (distance <= limit)
			insert_near(near, &count, lfirst(lc), distance);
	}
	if (count == 0)
		return NULL;
	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", near[i].name);
	return list.data;
}

/* Keeps them in order of distance, each once. */
static void
insert_near(Near *near, int *count, char *name, int distance)
{
	int			at = *count;

	for (int i = 0; i < *count; i++)
		if (strcmp(near[i].name, name) == 0)
			return;
	while (at > 0 && near[at - 1].distance > distance)
		at--;
	if (at == MAX_NEAR)
		return;
	*count = Min(*count + 1, MAX_NEAR);
	memmove(&near[at + 1], &near[at], (*count - at - 1) * sizeof(Near));
	near[at].name = name;
	near[at].distance = distance;
}
