/*
 * track_build.c
 *		A definition of a tracked table, joined with the table as it is today.
 *
 * Everything is palloc'd in the current memory context.
 */
#include "postgres.h"

#include "access/table.h"
#include "capture/track.h"
#include "capture/track_personal.h"
#include "capture/track_text.h"
#include "log/catalog.h"
#include "log/guarded.h"
#include "log/json.h"
#include "log/open.h"
#include "log/read.h"
#include "log/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static int64 unbroken_since(List *versions);
static List *read_versions(const char *category);
static Oid	find_table(const char *category, const EsDefinition *latest,
					   const EsTrackingText *text, bool *by_name);
static Oid	find_by_trigger(const char *category, Oid owner, const char *name);
static bool is_heir(Oid relid, Oid owner);
static void join_table(EsTracking *tracking, const EsTrackingText *latest, bool by_name, Oid owner);
static void take_columns(EsTracking *tracking, List *columns, TupleDesc table, const EsTrackingText *latest);
static List *read_states(Jsonb *object);

EsTracking *
es_tracking_build(const char *category, const EsDefinition *latest)
{
	EsTracking *tracking = palloc0(sizeof(EsTracking));
	EsTrackingText *text = palloc(sizeof(EsTrackingText));
	bool		by_name;

	es_tracking_read(latest->data, text);
	tracking->category = cstring_to_text(category);
	tracking->name = pstrdup(category);
	tracking->created = cstring_to_text(psprintf("%s_created", category));
	tracking->updated = cstring_to_text(psprintf("%s_updated", category));
	tracking->deleted = cstring_to_text(psprintf("%s_deleted", category));
	tracking->is_active = strcmp(latest->type, ES_TRACKING_REMOVED) != 0;
	tracking->records_violations = text->records_violations;

	tracking->position = latest->position;
	tracking->versions = read_versions(category);
	tracking->since = unbroken_since(tracking->versions);
	tracking->states = read_states(text->states);
	tracking->edges = es_tracking_edges(text->edges);
	tracking->relid = find_table(category, latest, text, &by_name);
	if (OidIsValid(tracking->relid))
	{
		es_tracking_watch(tracking->relid);
		join_table(tracking, text, by_name, latest->owner);
	}
	return tracking;
}

/* Not broken by untrack_table(), nor by another table in its place. */
static int64
unbroken_since(List *versions)
{
	const EsTrackingVersion *before = NULL;
	int64		since = 0;
	ListCell   *lc;

	foreach(lc, versions)
	{
		const EsTrackingVersion *version = lfirst(lc);

		if (strcmp(version->type, ES_TRACKING_REMOVED) == 0)
			since = 0;
		else if (since == 0 || (strcmp(version->type, ES_TRACKING_DEFINED) == 0 &&
								version->text.relid != before->text.relid))
			since = version->position;
		before = version;
	}
	return since;
}

/* Everything that the definition ever said, in order. */
static List *
read_versions(const char *category)
{
	text	   *stream = cstring_to_text(psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, ES_TRACKING_KIND,
												  category));
	EsScan	   *scan = es_scan_stream(stream, 1, false, SnapshotSelf);
	EsEvent		event;
	List	   *versions = NIL;

	while (es_scan_next(scan, &event))
	{
		EsTrackingVersion *version = palloc(sizeof(EsTrackingVersion));
		Jsonb	   *data = (Jsonb *) DatumGetPointer(event.value[ES_EVENT_DATA]);
		Jsonb	   *copy = palloc(VARSIZE(data));

		memcpy(copy, data, VARSIZE(data));
		version->position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		version->recorded_at = DatumGetTimestampTz(event.value[ES_EVENT_RECORDED_AT]);
		version->type = text_to_cstring(es_event_text(&event, ES_EVENT_TYPE));
		es_tracking_read(copy, &version->text);
		version->pii = es_track_personal_paths(&version->text);
		versions = lappend(versions, version);
	}
	es_scan_end(scan);
	return versions;
}

/* by_name: it is not the one whose numbers the definition holds. */
static Oid
find_table(const char *category, const EsDefinition *latest, const EsTrackingText *text, bool *by_name)
{
	TimestampTz opened_at;
	Oid			relid;

	*by_name = !es_log_opened_at(&opened_at) || opened_at != text->opened;

	if (!*by_name)
		return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(text->relid)) ? text->relid : InvalidOid;

	relid = find_by_trigger(category, latest->owner, text->table);
	if (!OidIsValid(relid) && text->table != NULL)
	{
		relid = es_guarded_lookup(text->table);
		if (OidIsValid(relid) && (!is_heir(relid, latest->owner) ||
								  (get_rel_relkind(relid) != RELKIND_RELATION &&
								   get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)))
			relid = InvalidOid;
	}
	return relid;
}

/* Of several tables, the one that still has the name. */
static Oid
find_by_trigger(const char *category, Oid owner, const char *name)
{
	Oid			named = name == NULL ? InvalidOid : es_guarded_lookup(name);
	EsTriggerScan scan;
	Form_pg_trigger trigger;
	Oid			result = InvalidOid;

	es_trigger_begin_scan(&scan, InvalidOid, es_tracking_function());
	while ((trigger = es_trigger_next(&scan)) != NULL)
	{
		const char *argument = es_trigger_argument(&scan);

		if (argument == NULL || !TRIGGER_FOR_ROW(trigger->tgtype) || OidIsValid(trigger->tgparentid))
			continue;
		if (strcmp(argument, category) != 0 || !is_heir(trigger->tgrelid, owner))
			continue;
		if (!OidIsValid(result) || trigger->tgrelid == named)
			result = trigger->tgrelid;
	}
	es_trigger_end_scan(&scan);
	return result;
}

/*
 * May a restored table be the one that was defined?  It belongs to whom the
 * definition belongs to, or to whom the log itself belongs to.
 */
static bool
is_heir(Oid relid, Oid owner)
{
	Oid			relowner = es_catalog_relation_owner(relid);

	return OidIsValid(relowner) &&
		(relowner == owner || relowner == es_catalog_owner() || superuser_arg(relowner));
}

/* ---- the table of today ---- */

static void
join_table(EsTracking *tracking, const EsTrackingText *latest, bool by_name, Oid owner)
{
	Relation	rel = try_table_open(tracking->relid, AccessShareLock);
	EsTrackingText *today = palloc(sizeof(EsTrackingText));
	int			next_id = 1;
	ListCell   *lc;
	ListCell   *inner;

	if (rel == NULL)
	{
		tracking->relid = InvalidOid;
		return;
	}
	foreach(lc, tracking->versions)
	{
		foreach(inner, ((EsTrackingVersion *) lfirst(lc))->text.columns)
			next_id = Max(next_id, ((EsColumnText *) lfirst(inner))->id + 1);
	}
	*today = *latest;
	today->columns = es_tracking_renew(latest, RelationGetDescr(rel), by_name, next_id,
									   &tracking->is_outdated);
	today->relid = tracking->relid;
	today->table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											  RelationGetRelationName(rel));
	tracking->definition = today;
	take_columns(tracking, today->columns, RelationGetDescr(rel), latest);
	tracking->pii = es_track_personal_paths(today);
	es_track_personal_compile(tracking, today, rel, owner);
	table_close(rel, AccessShareLock);
}

static void
take_columns(EsTracking *tracking, List *columns, TupleDesc table, const EsTrackingText *latest)
{
	int			nkeys = 0;
	bool		had_state = false;
	ListCell   *lc;

	foreach(lc, latest->columns)
	{
		nkeys = Max(nkeys, ((EsColumnText *) lfirst(lc))->key);
		had_state |= ((EsColumnText *) lfirst(lc))->is_state;
	}
	tracking->nkeys = nkeys;
	tracking->keys = palloc0(Max(1, nkeys) * sizeof(AttrNumber));
	tracking->columns = palloc0(Max(1, list_length(columns)) * sizeof(EsTrackedColumn));
	foreach(lc, columns)
	{
		const EsColumnText *from = lfirst(lc);
		EsTrackedColumn *to = &tracking->columns[tracking->ncolumns++];
		Form_pg_attribute att = TupleDescAttr(table, from->attno - 1);

		to->id = from->id;
		to->attno = from->attno;
		to->name = att->attname;
		to->type = att->atttypid;
		to->length = att->attlen;
		to->by_value = att->attbyval;
		/* A virtual generated column has no value in the row. */
		to->captured = !from->is_ignored &&
			(att->attgenerated == '\0' || att->attgenerated == ATTRIBUTE_GENERATED_STORED) &&
			!es_track_personal_tells(from, table, columns);
		to->is_personal = from->pii != NULL;
		to->event = from->event == NULL ? NULL : cstring_to_text(from->event);
		if (from->key > 0)
			tracking->keys[from->key - 1] = from->attno;
		if (from->is_state)
			tracking->state_column = from->attno;
		if (from->is_reason)
			tracking->reason_column = from->attno;
		if (from->is_actor)
			tracking->actor_column = from->attno;
	}
	for (int i = nkeys; i > 0; i--)
		if (tracking->keys[i - 1] == InvalidAttrNumber)
			tracking->lost_column = i;
	if (had_state && tracking->state_column == InvalidAttrNumber)
		tracking->lost_column = -1;
}

static List *
read_states(Jsonb *object)
{
	List	   *states = NIL;
	JsonbValue	root;
	EsJsonPair *pairs;
	int			count;

	if (object == NULL)
		return NIL;
	es_json_value(object, &root);
	count = es_json_pairs(&root, &pairs);
	for (int i = 0; i < count; i++)
	{
		EsTrackedState *state = palloc(sizeof(EsTrackedState));

		state->word = cstring_to_text(es_json_string(&pairs[i].key));
		state->state = cstring_to_text(es_json_string(&pairs[i].value));
		states = lappend(states, state);
	}
	return states;
}

List *
es_tracking_edges(Jsonb *object)
{
	List	   *edges = NIL;
	ListCell   *lc;

	foreach(lc, read_states(object))
	{
		const EsTrackedState *pair = lfirst(lc);
		EsTrackedEdge *edge = palloc(sizeof(EsTrackedEdge));

		edge->edge = pair->word;
		edge->type = pair->state;
		edges = lappend(edges, edge);
	}
	return edges;
}
