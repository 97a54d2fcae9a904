/*
 * retention.c
 *		How long events are kept: policies as they were defined, and what they say
 *		about an event.
 *
 * A promise is not taken back: an event stays as long as the longest of the terms
 * that were in force since it was recorded.  By position, not by the clock, it is
 * told which were.  Age is that since it was recorded, which no caller can choose.
 *
 * Read anew for each use; memory is the caller's.
 */
#include "trust/retention.h"

#include "log/catalog.h"
#include "log/config.h"
#include "log/json.h"
#include "log/word.h"
#include "miscadmin.h"
#include "rules/category.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* As src/capture has it, which is no room below this one. */
#define TRACKING_KIND	"tracking"

static EsRetention *read_category(const char *category);
static EsRetentionTerm *read_term(const EsDefinition *definition);
static Interval *read_interval(Jsonb *data, const char *key);
static void find_kept_types(EsRetentionTerm *term);
static bool is_tracked(const char *category);

bool
es_retention_lock(bool shared, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, es_catalog_oid(ES_REL_ARCHIVE), 0, ES_LOCK_READER);
	return LockAcquire(&tag, shared ? ShareLock : ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---- policies ---- */

List *
es_retention_load(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_names(ES_RETENTION_KIND))
		result = lappend(result, read_category(lfirst(lc)));
	return result;
}

static EsRetention *
read_category(const char *category)
{
	EsRetention *retention = palloc0(sizeof(EsRetention));
	EsDefinition *declared = es_config_read("category", category, 0);
	ListCell   *lc;

	retention->category = pstrdup(category);
	retention->word_ids = es_word_all_ids(category, &retention->n_word_ids);
	foreach(lc, es_config_history(ES_RETENTION_KIND, category))
		retention->terms = lappend(retention->terms, read_term(lfirst(lc)));
	retention->is_tracked = is_tracked(category);
	if (declared != NULL)
	{
		EsCategoryText text;

		es_category_read(declared->data, &text);
		retention->has_context = text.context != NULL;
	}
	return retention;
}

static EsRetentionTerm *
read_term(const EsDefinition *definition)
{
	EsRetentionTerm *term = palloc0(sizeof(EsRetentionTerm));
	char	   *class = es_json_find_string(&definition->data->root, "class");

	term->position = definition->position;
	/* What is not understood is kept. */
	term->class = class != NULL && strcmp(class, "ordinary") == 0 ? ES_RETENTION_ORDINARY :
		class != NULL && strcmp(class, "disposable") == 0 ? ES_RETENTION_DISPOSABLE : ES_RETENTION_KEPT;
	term->detail = read_interval(definition->data, "detail");
	term->total = read_interval(definition->data, "total");
	term->consent_types = es_json_find_strings(definition->data, "consent_types");
	term->audit_types = es_json_find_strings(definition->data, "audit_types");
	find_kept_types(term);
	return term;
}

static Interval *
read_interval(Jsonb *data, const char *key)
{
	char	   *value = es_json_find_string(&data->root, key);

	if (value == NULL)
		return NULL;
	return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(value),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
find_kept_types(EsRetentionTerm *term)
{
	ListCell   *lc;

	term->kept_types = palloc(sizeof(int32));
	foreach(lc, list_concat_copy(term->consent_types, term->audit_types))
	{
		int			count;
		int32	   *ids = es_word_all_ids(lfirst(lc), &count);

		term->kept_types = repalloc(term->kept_types, (term->n_kept_types + count + 1) * sizeof(int32));
		memcpy(term->kept_types + term->n_kept_types, ids, count * sizeof(int32));
		term->n_kept_types += count;
	}
}

/* A table's past is told from its events, from the first one on. */
static bool
is_tracked(const char *category)
{
	return es_config_read(TRACKING_KIND, category, 0) != NULL;
}

const EsRetentionTerm *
es_retention_now(const EsRetention *retention)
{
	return llast(retention->terms);
}

bool
es_retention_is_past(TimestampTz recorded_at, const Interval *interval, TimestampTz now)
{
	Datum		end = DirectFunctionCall2(timestamp_pl_interval, TimestampGetDatum(recorded_at),
										  IntervalPGetDatum(interval));

	return DatumGetTimestamp(end) <= now;
}

static bool
is_kept_type(const EsRetentionTerm *term, int32 type)
{
	for (int i = 0; i < term->n_kept_types; i++)
		if (term->kept_types[i] == type)
			return true;
	return false;
}

bool
es_retention_is_expired(const EsRetention *retention, int64 position, TimestampTz recorded_at, int32 type,
						TimestampTz now, bool *as_a_whole)
{
	bool		was_promised = false;

	*as_a_whole = retention->has_context;
	if (retention->is_tracked)
		return false;
	for (int i = list_length(retention->terms) - 1; i >= 0 && !was_promised; i--)
	{
		const EsRetentionTerm *term = list_nth(retention->terms, i);

		if (term->class == ES_RETENTION_KEPT || term->total == NULL || is_kept_type(term, type) ||
			!es_retention_is_past(recorded_at, term->total, now))
			return false;
		*as_a_whole |= term->class != ES_RETENTION_DISPOSABLE;
		was_promised = term->position < position;
	}
	return was_promised;
}
