/*
 * config.c
 *		Definitions are events of streams "$config-<kind>.<name>"; this reads
 *		them, and tells caches when they must be built anew.
 *
 * A change of definitions is announced by a relcache invalidation of the view
 * eventsource.events, which nothing else causes but DDL on it.  The callback
 * only counts.
 */
#include "log/config.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "log/catalog.h"
#include "log/json.h"
#include "log/open.h"
#include "log/read.h"
#include "storage/sinval.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static uint64 generation = 1;

/* Relations whose change ends the generation; a few hundred at most. */
static Oid *watched;
static int	n_watched;
static int	max_watched;
static Oid	events_view;
static bool changed_here;		/* by the open transaction */

static void
mark_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == events_view)
	{
		generation++;
		return;
	}
	for (int i = 0; i < n_watched; i++)
	{
		if (watched[i] == relid)
		{
			generation++;
			return;
		}
	}
}

uint64
es_config_generation(void)
{
	AcceptInvalidationMessages();
	events_view = es_catalog_oid(ES_REL_EVENTS_VIEW);
	return generation;
}

uint64
es_config_generation_seen(void)
{
	return generation;
}

void
es_config_watch(Oid relid)
{
	for (int i = 0; i < n_watched; i++)
		if (watched[i] == relid)
			return;
	if (n_watched == max_watched)
	{
		int			n = Max(64, max_watched * 2);

		watched = watched == NULL ?
			MemoryContextAlloc(TopMemoryContext, n * sizeof(Oid)) :
			repalloc(watched, n * sizeof(Oid));
		max_watched = n;
	}
	watched[n_watched++] = relid;
}

void
es_config_changed(void)
{
	CacheInvalidateRelcacheByRelid(es_catalog_oid(ES_REL_EVENTS_VIEW));
	changed_here = true;
	generation++;
}

/* What was built from a definition that is rolled back must go. */
static void
at_xact(XactEvent event, void *arg)
{
	if (changed_here && (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE))
		generation++;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		changed_here = false;
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (changed_here && event == SUBXACT_EVENT_ABORT_SUB)
		generation++;
}

/*
 * Where the log was opened when it was noted (as es_define() does for the owner),
 * the OID decides, since the name may have come to another role; in a restored log
 * OIDs mean nothing, and the name does.
 */
Oid
es_config_role(Jsonb *data, const char *what)
{
	TimestampTz opened_at;
	int64		noted;
	int64		role;
	char	   *name;
	Oid			result;

	if (!JB_ROOT_IS_OBJECT(data))
		return InvalidOid;
	if (es_log_opened_at(&opened_at) && es_json_find_number(&data->root, "owner_opened", &noted) && noted == opened_at &&
		es_json_find_number(&data->root, psprintf("%s_oid", what), &role))
		return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum((Oid) role)) ? (Oid) role : InvalidOid;
	name = es_json_find_string(&data->root, what);
	if (name == NULL)
		return InvalidOid;
	result = get_role_oid(name, true);
	pfree(name);
	return result;
}

static Jsonb *
copy_jsonb(Jsonb *source)
{
	Jsonb	   *copy = palloc(VARSIZE(source));

	memcpy(copy, source, VARSIZE(source));
	return copy;
}

static EsDefinition *
make_definition(const EsEvent *event, const char *name)
{
	EsDefinition *result = palloc(sizeof(EsDefinition));

	result->name = pstrdup(name);
	result->type = text_to_cstring(es_event_text(event, ES_EVENT_TYPE));
	result->data = copy_jsonb((Jsonb *) DatumGetPointer(event->value[ES_EVENT_DATA]));
	result->version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	result->position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	result->owner = es_config_role(result->data, "owner");
	return result;
}

static EsDefinition *
read_stream(const text *stream, const char *name, int64 version)
{
	EsScan	   *scan = es_scan_stream(stream, version > 0 ? version : PG_INT64_MAX,
									  version == 0, SnapshotSelf);
	EsEvent		event;
	EsDefinition *result = NULL;

	es_scan_as_stored(scan);
	if (es_scan_next(scan, &event) &&
		(version == 0 || DatumGetInt64(event.value[ES_EVENT_VERSION]) == version))
		result = make_definition(&event, name);
	es_scan_end(scan);
	return result;
}

EsDefinition *
es_config_read(const char *kind, const char *name, int64 version)
{
	char	   *stream = psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, kind, name);

	if (strlen(stream) > ES_MAX_STREAM_NAME)
		return NULL;
	return read_stream(cstring_to_text(stream), name, version);
}

List *
es_config_history(const char *kind, const char *name)
{
	char	   *stream = psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, kind, name);
	List	   *result = NIL;
	EsScan	   *scan;
	EsEvent		event;

	if (strlen(stream) > ES_MAX_STREAM_NAME)
		return NIL;
	scan = es_scan_stream(cstring_to_text(stream), 1, false, SnapshotSelf);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
		result = lappend(result, make_definition(&event, name));
	es_scan_end(scan);
	return result;
}

int64
es_config_version_seen(const char *kind, const char *name, Snapshot snapshot)
{
	char	   *stream = psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, kind, name);
	EsScan	   *scan = es_scan_stream(cstring_to_text(stream), PG_INT64_MAX, true, snapshot);
	EsEvent		event;
	int64		version;

	es_scan_as_stored(scan);
	version = es_scan_next(scan, &event) ? DatumGetInt64(event.value[ES_EVENT_VERSION]) : 0;
	es_scan_end(scan);
	return version;
}

List *
es_config_streams(const char *prefix, int max)
{
	int			prefix_len = strlen(prefix);
	Relation	rel = table_open(es_catalog_oid(ES_REL_STREAM), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_STREAM_NAME_IDX), AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *streams = NIL;

	ScanKeyInit(&key, 3, BTGreaterEqualStrategyNumber, F_TEXT_GE,
				PointerGetDatum(cstring_to_text(prefix)));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan_ordered(rel, index, SnapshotSelf, 1, &key);
	while (list_length(streams) < max &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool		isnull;
		text	   *name = DatumGetTextPCopy(heap_getattr(tuple, 3, RelationGetDescr(rel), &isnull));

		if ((int) VARSIZE_ANY_EXHDR(name) < prefix_len ||
			memcmp(VARDATA_ANY(name), prefix, prefix_len) != 0)
			break;
		streams = lappend(streams, name);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return streams;
}

bool
es_config_any(const char *kind)
{
	return es_config_streams(psprintf("%s-%s.", ES_CONFIG_CATEGORY, kind), 1) != NIL;
}

List *
es_config_names(const char *kind)
{
	char	   *prefix = psprintf("%s-%s.", ES_CONFIG_CATEGORY, kind);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_streams(prefix, PG_INT32_MAX))
		result = lappend(result, text_to_cstring(lfirst(lc)) + strlen(prefix));
	return result;
}

List *
es_config_list(const char *kind)
{
	char	   *prefix = psprintf("%s-%s.", ES_CONFIG_CATEGORY, kind);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_streams(prefix, PG_INT32_MAX))
	{
		text	   *stream = lfirst(lc);
		EsDefinition *definition = read_stream(stream, text_to_cstring(stream) + strlen(prefix), 0);

		if (definition != NULL)
			result = lappend(result, definition);
	}
	return result;
}

/* With whose rights code of a definition runs may follow from who is in which role. */
static void
mark_roles_changed(Datum arg, int cache, uint32 hash)
{
	generation++;
}

void
es_config_init(void)
{
	CacheRegisterRelcacheCallback(mark_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, mark_roles_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, mark_roles_changed, (Datum) 0);
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
