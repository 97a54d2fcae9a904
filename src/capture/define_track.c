/*
 * define_track.c
 *		track_table and untrack_table, and the triggers that they make.
 *
 * Both lock the table against writers (SHARE ROW EXCLUSIVE, as CREATE TRIGGER
 * does), then append the definition.  Capture itself renews a definition when
 * the table has other columns than it says.
 */
#include "postgres.h"

#include "access/table.h"
#include "append/define.h"
#include "capture/capture.h"
#include "capture/define_track.h"
#include "capture/track_check.h"
#include "capture/track_personal.h"
#include "capture/track_text.h"
#include "catalog/pg_inherits.h"
#include "errors.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "log/stream.h"
#include "log/trigger.h"
#include "log/user_table.h"
#include "miscadmin.h"
#include "project/rebuild.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* Arguments of track_table() that a second call may forget. */
#define TRACK_ARGUMENTS	7

PG_FUNCTION_INFO_V1(eventsource_track_table);
PG_FUNCTION_INFO_V1(eventsource_untrack_table);

static int64 define(const char *category, const char *type, const EsTrackingText *definition);
static void warn_of_loss(const char *category, const EsTrackingText *definition);
static void note_arguments(const EsTrackingText *definition, const char **names);
static void create_triggers(Relation rel, const char *category);
static void drop_triggers(Relation rel);
static void let_owner_attach(Relation rel);

/* track_table(target, category, key, ...): version of the definition */
Datum
eventsource_track_table(PG_FUNCTION_ARGS)
{
	EsProposal	proposal;
	Relation	rel;
	EsTrackingText definition;
	int64		version;

	PreventCommandIfReadOnly("eventsource.track_table()");
	es_proposal_read(fcinfo, &proposal);
	es_rebuild_lock_reading(proposal.pii != NULL);
	es_user_table_expect_owner(proposal.target, "track it");
	rel = es_user_table_open(proposal.target, ShareRowExclusiveLock);
	es_stream_lock(es_proposal_stream(&proposal));
	es_proposal_check(&proposal, rel, &definition);
	warn_of_loss(proposal.category, &definition);
	drop_triggers(rel);
	version = define(proposal.category, ES_TRACKING_DEFINED, &definition);
	es_track_personal_refuse(rel);
	create_triggers(rel, proposal.category);
	let_owner_attach(rel);
	table_close(rel, NoLock);
	PG_RETURN_INT64(version);
}

/* What a second call leaves out is taken away, which is seldom what was meant. */
static void
warn_of_loss(const char *category, const EsTrackingText *definition)
{
	EsDefinition *stored = es_config_read(ES_TRACKING_KIND, category, 0);
	EsTrackingText before;
	const char *had[TRACK_ARGUMENTS] = {NULL};
	const char *has[TRACK_ARGUMENTS] = {NULL};
	StringInfoData lost;

	if (stored == NULL || strcmp(stored->type, ES_TRACKING_REMOVED) == 0)
		return;
	es_tracking_read(stored->data, &before);
	note_arguments(&before, had);
	note_arguments(definition, has);
	initStringInfo(&lost);
	for (int i = 0; i < TRACK_ARGUMENTS; i++)
		if (had[i] != NULL && has[i] == NULL)
			appendStringInfo(&lost, "%s%s", lost.len > 0 ? ", " : "", had[i]);
	if (lost.len > 0)
		ereport(WARNING,
				(errmsg("category \"%s\" is tracked without %s from now on", category, lost.data),
				 errdetail("The call before this one gave it."),
				 errhint("Give all arguments each time.")));
}

/* The names of those arguments that a definition shows were given. */
static void
note_arguments(const EsTrackingText *definition, const char **names)
{
	ListCell   *lc;

	foreach(lc, definition->columns)
	{
		const EsColumnText *column = lfirst(lc);

		if (column->is_state)
			names[0] = "state_column";
		if (column->is_reason)
			names[1] = "reason_column";
		if (column->is_actor)
			names[2] = "actor_column";
		if (column->is_ignored)
			names[3] = definition->only_listed ? "columns" : "ignore";
		if (column->event != NULL)
			names[4] = "event_types";
	}
	if (definition->edges != NULL)
		names[4] = "event_types";
	if (definition->states != NULL)
		names[5] = "states";
	if (definition->subject != NULL)
		names[6] = "subject";
}

/* untrack_table(target) */
Datum
eventsource_untrack_table(PG_FUNCTION_ARGS)
{
	Relation	rel;
	const EsTracking *tracking;

	PreventCommandIfReadOnly("eventsource.untrack_table()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target must not be null"),
				 errdetail("It is the table that shall no longer be tracked."),
				 errhint("For example: SELECT eventsource.untrack_table('leads').")));
	es_user_table_expect_owner(PG_GETARG_OID(0), "untrack it");
	rel = es_user_table_open(PG_GETARG_OID(0), ShareRowExclusiveLock);
	tracking = es_tracking_of_table(RelationGetRelid(rel));
	if (tracking == NULL || !tracking->is_active || tracking->relid != RelationGetRelid(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is not tracked", RelationGetRelationName(rel)),
				 errdetail("No definition names it."),
				 errhint("The view eventsource.tracked_tables lists the tables that are.")));
	drop_triggers(rel);
	(void) define(pstrdup(tracking->name), ES_TRACKING_REMOVED, tracking->definition);
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}

void
es_tracking_write_renewed(const EsTracking *tracking)
{
	char	   *category = pstrdup(tracking->name);
	ListCell   *lc;

	/* Whoever was first wrote it, and we waited for him. */
	es_stream_lock(cstring_to_text(psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, ES_TRACKING_KIND, category)));
	tracking = es_tracking_of_category(category);
	if (tracking == NULL || !tracking->is_outdated || !OidIsValid(tracking->relid))
		return;
	(void) define(category, ES_TRACKING_RENEWED, tracking->definition);
	foreach(lc, find_all_inheritors(tracking->relid, AccessShareLock, NULL))
		es_trigger_heal(lfirst_oid(lc), es_tracking_function());
}

/*
 * The definition belongs to the table's owner, whoever writes it: a restore finds
 * by that which table is meant.
 */
static int64
define(const char *category, const char *type, const EsTrackingText *definition)
{
	Oid			user;
	int			security;
	int64		version;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(es_catalog_relation_owner(definition->relid),
						   security | SECURITY_LOCAL_USERID_CHANGE);
	version = es_define(ES_TRACKING_KIND, category, type, es_tracking_write(category, definition));
	SetUserIdAndSecContext(user, security);
	return version;
}

/* ---- triggers ---- */

/* Row triggers are cloned to partitions, statement triggers are not. */
static void
create_triggers(Relation rel, const char *category)
{
	static const EsTriggerKind row = {
		ES_CAPTURE_ROW, "capture", true, TRIGGER_TYPE_AFTER,
		TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE
	};
	static const EsTriggerKind settle = {
		ES_CAPTURE_SETTLE, "capture", false, TRIGGER_TYPE_AFTER,
		TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE
	};
	static const EsTriggerKind truncate = {
		ES_CAPTURE_TRUNCATE, "capture", false, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_TRUNCATE
	};
	ListCell   *lc;

	es_trigger_create(rel, &row, category);
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), ShareRowExclusiveLock, NULL))
	{
		Relation	part = table_open(lfirst_oid(lc), NoLock);

		es_trigger_create(part, &settle, category);
		es_trigger_create(part, &truncate, category);
		table_close(part, NoLock);
	}
}

static void
drop_triggers(Relation rel)
{
	es_trigger_drop(find_all_inheritors(RelationGetRelid(rel), ShareRowExclusiveLock, NULL),
					es_tracking_function());
}

/* Attaching a partition clones the row trigger, and asks for its function. */
static void
let_owner_attach(Relation rel)
{
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		es_catalog_let_execute("capture", rel->rd_rel->relowner);
}
