/*
 * define_projection.c
 *		create_projection and drop_projection, and the guard on a target.
 *
 * History is folded without a lock that appends wait for (project/rebuild.c).  To
 * switch to a definition takes SHARE ROW EXCLUSIVE on the log, so that no append
 * slips between history and the definition, then on the target; what is async, and
 * was not inline, needs no lock on the log.  Whatever is wrong with a definition is
 * listed at once.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "append/define.h"
#include "append/personal_rules.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "errors.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/guarded.h"
#include "log/json.h"
#include "log/open.h"
#include "log/segment.h"
#include "log/trigger.h"
#include "log/user_table.h"
#include "miscadmin.h"
#include "log/reading.h"
#include "project/apply.h"
#include "project/personal_columns.h"
#include "project/projection.h"
#include "project/rebuild.h"
#include "rules/category.h"
#include "rules/category_list.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_create_projection);
PG_FUNCTION_INFO_V1(eventsource_drop_projection);
PG_FUNCTION_INFO_V1(eventsource_projection_guard);

/* The arguments of create_projection; pointers are NULL for null. */
typedef struct Proposal
{
	Oid			target;
	ArrayType  *category;
	Jsonb	   *rules;
	Jsonb	   *key;
	char	   *mode;
	char	   *each;
	Jsonb	   *settings;
} Proposal;

static const EsTriggerKind guards[] = {
	{
		"eventsource_guard", "projection_guard", true, TRIGGER_TYPE_BEFORE,
		TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE
	},
	{
		"eventsource_guard_truncate", "projection_guard", false, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_TRUNCATE
	},
};

static void read_proposal(FunctionCallInfo fcinfo, Proposal *proposal);
static Relation open_to_define(Oid relid, bool *is_new);
static void lock_to_switch(Oid relid, const EsProjection *projection);
static bool is_inline_now(const char *name);
static int64 current_version(const char *name);
static void expect_version(const EsDefinition *definition);
static EsProjection *compile_proposal(const Proposal *proposal, Relation rel, EsDefinition *definition);
static void check_personal(const EsProjection *projection, Relation rel);
static List *check_rest(const Proposal *proposal, Relation rel, EsDefinition *definition);
static char *qualified_name(Oid relid);
static bool has_rows(Relation rel);
static void refuse_rows(const char *name);
static bool is_async(const Proposal *proposal, EsSharing sharing);
static void refuse_settings(const Proposal *proposal, const EsProjection *projection);
static Jsonb *proposal_to_jsonb(const Proposal *proposal, EsSharing sharing);
static void refuse_if_context(Relation rel, const char *name, const EsProjection *projection);
static bool can_be_context(const EsProjection *projection, const char *category);

Datum
eventsource_create_projection(PG_FUNCTION_ARGS)
{
	Proposal	proposal;
	Relation	rel;
	EsDefinition definition = {.type = "projection_defined",.owner = GetUserId()};
	EsProjection *projection;
	EsRebuild  *rebuild;
	uint64		generation;
	bool		is_new;
	bool		is_filled;
	int64		version;

	PreventCommandIfReadOnly("eventsource.create_projection()");
	read_proposal(fcinfo, &proposal);
	es_user_table_expect_owner(proposal.target, "define a projection that writes it");
	es_rebuild_lock_reading(false);
	rel = open_to_define(proposal.target, &is_new);
	es_user_table_expect_owner(proposal.target, "define a projection that writes it");
	generation = es_config_generation();
	definition.name = es_guarded_name(rel);
	definition.version = current_version(definition.name);
	projection = compile_proposal(&proposal, rel, &definition);
	refuse_if_context(rel, definition.name, projection);

	is_filled = is_new && has_rows(rel);
	rebuild = es_rebuild_begin(projection, is_new && !is_filled ? ES_REBUILD_FILL : ES_REBUILD_REPLACE);
	es_rebuild_catch_up(rebuild);
	lock_to_switch(proposal.target, projection);
	expect_version(&definition);
	if (generation != es_config_generation())
		projection = compile_proposal(&proposal, rel, &definition);
	refuse_if_context(rel, definition.name, projection);

	version = es_define("projection", definition.name, definition.type,
						proposal_to_jsonb(&proposal, projection->sharing));
	for (int i = 0; is_new && i < (int) lengthof(guards); i++)
		es_trigger_create(rel, &guards[i], definition.name);
	if (!projection->is_async)
		es_apply_forget(definition.name);
	if (es_rebuild_finish(rebuild, projection) > 0 && is_filled)
		refuse_rows(definition.name);
	table_close(rel, NoLock);
	PG_RETURN_INT64(version);
}

Datum
eventsource_drop_projection(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel;
	char	   *name;
	EsDefinition *definition;
	JsonbParseState *state = NULL;

	PreventCommandIfReadOnly("eventsource.drop_projection()");
	es_user_table_expect_owner(relid, "drop a projection that writes it");
	es_rebuild_lock(relid);
	es_apply_lock_table(relid);
	LockRelationOid(es_catalog_oid(ES_REL_EVENT), ShareRowExclusiveLock);
	es_segment_wide_lock();
	rel = es_user_table_open(relid, ShareRowExclusiveLock);
	es_user_table_expect_owner(relid, "drop a projection that writes it");
	name = es_guarded_name(rel);
	definition = es_config_read("projection", name, 0);
	if (definition == NULL || strcmp(definition->type, "projection_defined") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a projection", name),
				 errdetail("No definition names it as its target."),
				 errhint("eventsource.projections lists them.")));
	refuse_if_context(rel, name, NULL);
	es_trigger_drop(list_make1_oid(relid), es_guarded_function());
	es_apply_forget(name);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) es_define("projection", name, "projection_dropped",
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * Our own writes fire no trigger, so the guard needs no exception for them.  A
 * restore may COPY rows back until the log is opened in the database.
 */
Datum
eventsource_projection_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventsource.projection_guard() is a trigger function"),
				 errdetail("It was called as an ordinary function."),
				 errhint("create_projection puts it on a table.")));
	rel = trigger->tg_relation;
	if ((TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event)) &&
		has_privs_of_role(GetUserId(), rel->rd_rel->relowner) && !es_log_is_open())
		return PointerGetDatum(trigger->tg_trigtuple);

	ereport(ERROR,
			(errcode(ES_ERRCODE_PROJECTION_WRITE),
			 errmsg("projection \"%s\" is written by events alone", RelationGetRelationName(rel)),
			 errdetail("Its rows are computed from the log; a change by hand would not survive a rebuild."),
			 errhint("Append an event instead: SELECT * FROM eventsource.append(...)."),
			 errtable(rel)));
}

static void
read_proposal(FunctionCallInfo fcinfo, Proposal *proposal)
{
	static const char *const names[] = {"target", "category", "rules"};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a projection needs a %s", names[i]),
					 errdetail("Argument \"%s\" of create_projection is null.", names[i]),
					 errhint("create_projection(target, category, rules): a table, the categories it folds, a rule per event type.")));
	proposal->target = PG_GETARG_OID(0);
	proposal->category = PG_GETARG_ARRAYTYPE_P(1);
	proposal->rules = PG_GETARG_JSONB_P(2);
	proposal->key = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	proposal->mode = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	proposal->each = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
	proposal->settings = PG_ARGISNULL(6) ? NULL : PG_GETARG_JSONB_P(6);
}

/*
 * No append waits for what is locked here: events do not fold into a table that is
 * new, which is locked against all other writers at once.
 */
static Relation
open_to_define(Oid relid, bool *is_new)
{
	Relation	rel;

	es_rebuild_lock(relid);
	rel = es_user_table_open(relid, AccessShareLock);
	*is_new = !es_guarded_is(rel);
	if (*is_new)
		LockRelationOid(relid, ShareRowExclusiveLock);
	es_config_watch(relid);
	return rel;
}

/*
 * The cursor, the log, the table, as appliers and appends do.  The log is spared
 * where no append folds into the table, neither before nor after.
 */
static void
lock_to_switch(Oid relid, const EsProjection *projection)
{
	es_apply_lock_table(relid);
	if (projection->is_async)
		(void) es_apply_lock(projection->name, true);
	if (!projection->is_async || is_inline_now(projection->name))
	{
		LockRelationOid(es_catalog_oid(ES_REL_EVENT), ShareRowExclusiveLock);
		es_segment_wide_lock();
	}
	LockRelationOid(relid, ShareRowExclusiveLock);
}

static bool
is_inline_now(const char *name)
{
	EsDefinition *definition = es_config_read("projection", name, 0);
	char	   *mode;

	if (definition == NULL || strcmp(definition->type, "projection_defined") != 0)
		return false;
	mode = es_json_find_string(&definition->data->root, "mode");
	return mode == NULL || strcmp(mode, "async") != 0;
}

static int64
current_version(const char *name)
{
	EsDefinition *definition = es_config_read("projection", name, 0);

	return definition == NULL ? 0 : definition->version;
}

/* Nobody else defines it meanwhile, but it may be dropped. */
static void
expect_version(const EsDefinition *definition)
{
	if (current_version(definition->name) == definition->version)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("projection %s was changed while it was defined", definition->name),
			 errdetail("Its definition is not the one any more that was to be replaced."),
			 errhint("Define it again if that is still called for.")));
}

/* Lists all problems at once. */
static EsProjection *
compile_proposal(const Proposal *proposal, Relation rel, EsDefinition *definition)
{
	EsProjection *projection = NULL;
	List	   *problems;

	definition->data = proposal_to_jsonb(proposal, ES_ROW_SHARED);
	problems = list_concat(es_category_list_check(proposal->category), check_rest(proposal, rel, definition));
	if (problems == NIL)
		projection = es_projection_compile(definition, proposal->target, &problems);
	if (problems != NIL)
		es_projection_refuse(RelationGetRelationName(rel), problems);
	check_personal(projection, rel);
	projection->is_async = is_async(proposal, projection->sharing);
	refuse_settings(proposal, projection);
	return projection;
}

/* Rules see personal fields as they are: so must who makes them. */
static void
check_personal(const EsProjection *projection, Relation rel)
{
	EsPersonalColumns found;
	List	   *problems;

	es_personal_columns_find(projection, &found);
	if (found.problems != NIL)
		es_projection_refuse(RelationGetRelationName(rel), found.problems);
	problems = es_personal_contexts_problems(projection);
	if (problems != NIL)
		es_projection_refuse(RelationGetRelationName(rel), problems);
	if (found.reads && !es_reading_is_trusted(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("rules of projection \"%s\" read personal fields", RelationGetRelationName(rel)),
				 errdetail("They would put them into a table of yours, and you may not see them."),
				 errhint("Let the owner of the extension call eventsource.grant_personal_data() for your role.")));
}

static List *
check_rest(const Proposal *proposal, Relation rel, EsDefinition *definition)
{
	List	   *problems = es_target_check(rel);
	Oid			other = es_guarded_relid(definition->name);
	EsPace		pace;

	if (OidIsValid(other) && other != RelationGetRelid(rel))
		problems = lappend(problems, psprintf("the name %s still belongs to the projection that is now called %s: drop that first",
											  definition->name,
											  qualified_name(other)));
	if (proposal->mode != NULL && strcmp(proposal->mode, "inline") != 0 && strcmp(proposal->mode, "async") != 0)
		problems = lappend(problems, psprintf("mode: must be inline or async, not \"%s\"", proposal->mode));
	es_pace_read(definition->data, NULL, &pace, &problems);
	return problems;
}

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

static bool
has_rows(Relation rel)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		result = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return result;
}

/* What a user keeps in a table is not ours to overwrite: all of it goes back. */
static void
refuse_rows(const char *name)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("table %s already has rows", name),
			 errdetail("They are not what the events make of it, and would be overwritten."),
			 errhint("Empty the table first; create_projection fills it from the events there are.")));
}

/* Appends that meet in a row wait for each other, unless it follows later. */
static bool
is_async(const Proposal *proposal, EsSharing sharing)
{
	return proposal->mode != NULL ? strcmp(proposal->mode, "async") == 0 : sharing == ES_ROW_SHARED;
}

/* They say at which pace to follow the log. */
static void
refuse_settings(const Proposal *proposal, const EsProjection *projection)
{
	if (!projection->is_async && proposal->settings != NULL && JB_ROOT_COUNT(proposal->settings) > 0)
		es_projection_refuse(projection->name,
							 list_make1(pstrdup("settings: an inline projection has none; they are for mode async")));
}

static Jsonb *
proposal_to_jsonb(const Proposal *proposal, EsSharing sharing)
{
	static const char *const keyed_by[] = {
		[ES_ROW_SHARED] = "data",
		[ES_ROW_OF_STREAM] = "stream",
		[ES_ROW_OF_EVENT] = "event",
	};
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_category_list_push(&state, proposal->category);
	es_json_push_jsonb(&state, "rules", proposal->rules);
	if (proposal->key != NULL)
		es_json_push_jsonb(&state, "key", proposal->key);
	es_json_push_string(&state, "mode", is_async(proposal, sharing) ? "async" : "inline");
	if (proposal->each != NULL)
		es_json_push_string(&state, "each", proposal->each);
	if (proposal->settings != NULL)
		es_json_push_jsonb(&state, "settings", proposal->settings);
	es_json_push_string(&state, "keyed_by", keyed_by[sharing]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Guards of such a category would have no row to look at; projection: what it is to
 * become, or NULL.  Under the table's lock nobody makes it a context meanwhile.
 */
static void
refuse_if_context(Relation rel, const char *name, const EsProjection *projection)
{
	ListCell   *lc;

	foreach(lc, es_config_list("category"))
	{
		EsDefinition *definition = lfirst(lc);
		EsCategoryText category;

		es_category_read(definition->data, &category);
		if (category.context != NULL && es_guarded_relid(category.context) == RelationGetRelid(rel) &&
			(projection == NULL || !can_be_context(projection, definition->name)))
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("projection %s is the context of category \"%s\"", name, definition->name),
					 errdetail("The category's guards look at its rows."),
					 errhint("Define the category without this context first: SELECT eventsource.create_category(%s, ...).",
							 quote_literal_cstr(definition->name))));
	}
}

static bool
can_be_context(const EsProjection *projection, const char *category)
{
	ListCell   *lc;

	if (projection->is_async || projection->stream_row == NULL)
		return false;
	foreach(lc, projection->categories)
		if (strcmp(lfirst(lc), category) == 0)
		return true;
	return false;
}
