/*
 * append_only.c
 *		make_append_only: a table of a user's gets the protection of the log.
 *
 * Triggers that fire ALWAYS refuse UPDATE, DELETE and TRUNCATE, on every partition;
 * that they are there is what makes the table guarded (protected.c).  The definition
 * is an event, by which check_guards() misses what is gone.
 *
 * Locks: the table and its partitions, SHARE ROW EXCLUSIVE, to the end of the
 * transaction.  A new partition is locked by the statement that made it.
 */
#include "trust/append_only.h"

#include "access/relation.h"
#include "access/table.h"
#include "append/define.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/guarded.h"
#include "log/json.h"
#include "log/trigger.h"
#include "log/user_table.h"
#include "nodes/parsenodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "trust/maintenance.h"
#include "trust/protected.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

#define KIND		"append_only"
#define MADE		"append_only_made"
#define ENDED		"append_only_ended"

PG_FUNCTION_INFO_V1(eventsource_make_append_only);
PG_FUNCTION_INFO_V1(eventsource_drop_append_only);
PG_FUNCTION_INFO_V1(eventsource_append_only_guard);
PG_FUNCTION_INFO_V1(eventsource_append_only_names);

static const EsTriggerKind row_guard = {
	"eventsource_append_only_row", "append_only_guard", true, TRIGGER_TYPE_BEFORE,
	TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE
};
static const EsTriggerKind statement_guard = {
	"eventsource_append_only", "append_only_guard", false, TRIGGER_TYPE_BEFORE,
	TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_TRUNCATE
};

static void check_table(Relation rel);
static void refuse_table(Relation rel, const char *detail, const char *hint);
static char *definition_name(Relation rel);
static char *name_when_made(char *name);
static List *guarded_tables(const char *name, Oid function);
static const EsDefinition *definition_in_force(const char *name);
static void guard_table(Relation rel, const char *name);
static void guard_part(Oid relid, const char *name, bool is_new);
static bool has_guard(Oid relid, bool row);
static Jsonb *text_member(const char *key, const char *value);

/* make_append_only(table): version of the definition */
Datum
eventsource_make_append_only(PG_FUNCTION_ARGS)
{
	Relation	rel;
	char	   *name;
	const EsDefinition *definition;
	int64		version;

	PreventCommandIfReadOnly("eventsource.make_append_only()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table must not be null"),
				 errdetail("It says which table is to be append-only."),
				 errhint("Write, for example: SELECT eventsource.make_append_only('audit_log').")));
	es_user_table_expect_owner(PG_GETARG_OID(0), "make it append-only");
	rel = es_user_table_open(PG_GETARG_OID(0), ShareRowExclusiveLock);
	check_table(rel);
	name = definition_name(rel);
	es_define_lock(KIND, name);
	guard_table(rel, name);
	definition = definition_in_force(name);
	version = definition != NULL ? definition->version :
		es_define(KIND, name, MADE, text_member("table", name));
	table_close(rel, NoLock);
	PG_RETURN_INT64(version);
}

/* drop_append_only(name), during maintenance alone; the table may be gone. */
Datum
eventsource_drop_append_only(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			function = es_catalog_trigger_function("append_only_guard");

	PreventCommandIfReadOnly("eventsource.drop_append_only()");
	if (!es_maintenance_is_allowed())
		es_protected_refuse(ES_PROTECTED_TABLE, "drop_append_only()", psprintf("\"%s\"", name));
	if (definition_in_force(name) == NULL)
		name = name_when_made(name);
	es_define_lock(KIND, name);
	if (definition_in_force(name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no table \"%s\" was made append-only", name),
				 errdetail("No definition has this name."),
				 errhint("SELECT protects FROM eventsource.check_guards() lists the tables.")));
	es_trigger_drop(guarded_tables(name, function), function);
	(void) es_define(KIND, name, ENDED, text_member("table", name));
	PG_RETURN_VOID();
}

/* append_only_names(): those of the definitions in force. */
Datum
eventsource_append_only_names(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	foreach(lc, es_config_list(KIND))
	{
		const EsDefinition *definition = lfirst(lc);
		Datum		value = CStringGetTextDatum(definition->name);
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(definition->type, MADE) == 0)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* The trigger. */
Datum
eventsource_append_only_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *operation;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventsource.append_only_guard() is a trigger function"),
				 errdetail("It was called as an ordinary function."),
				 errhint("make_append_only() puts it on a table.")));
	operation = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "UPDATE" :
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "DELETE" :
		TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) ? "TRUNCATE" : "INSERT";
	ereport(ERROR,
			(errcode(ES_ERRCODE_APPEND_ONLY),
			 errmsg("%s on \"%s.%s\" is not allowed", operation,
					get_namespace_name(RelationGetNamespace(trigger->tg_relation)),
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("The table is append-only."),
			 errhint("What happened stays; append what corrects it.")));
}

/* ---- the table ---- */

static void
check_table(Relation rel)
{
	Form_pg_class form = rel->rd_rel;

	if (es_protected_object(NamespaceRelationId, form->relnamespace, NULL) != ES_UNPROTECTED)
		refuse_table(rel, "It belongs to the event log.", "What belongs to the log is guarded already.");
	if ((form->relkind != RELKIND_RELATION && form->relkind != RELKIND_PARTITIONED_TABLE) ||
		IsCatalogRelation(rel))
		refuse_table(rel, "It is no ordinary or partitioned table.", "Name the table that has the rows.");
	if (form->relpersistence != RELPERSISTENCE_PERMANENT)
		refuse_table(rel, "Its rows do not outlast a session or a crash.", "Make it an ordinary table: ALTER TABLE ... SET LOGGED.");
	if (es_guarded_is(rel))
		refuse_table(rel, "It is a projection: events change its rows.", "The events themselves are append-only.");
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), i);

		if (!column->attisdropped && es_protected_is_brief_type(column->atttypid))
			refuse_table(rel, "A column goes with its temporary type.", "Use types that last.");
	}
	if (form->relhasrules)
		refuse_table(rel, "It has rules, and they could lose what is inserted.", "Drop them: DROP RULE.");
	if (form->relkind == RELKIND_RELATION &&
		find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		refuse_table(rel, "Other tables inherit from it.", "Use partitions, or make each of them append-only.");
}

static void
refuse_table(Relation rel, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("table \"%s\" cannot be made append-only", RelationGetRelationName(rel)),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

/* That on its guard, whatever the table is called now. */
static char *
definition_name(Relation rel)
{
	EsTriggerScan scan;
	char	   *name = NULL;

	es_trigger_begin_scan(&scan, RelationGetRelid(rel), es_catalog_trigger_function("append_only_guard"));
	while (name == NULL && es_trigger_next(&scan) != NULL)
		if (es_trigger_argument(&scan) != NULL)
			name = pstrdup(es_trigger_argument(&scan));
	es_trigger_end_scan(&scan);
	return name != NULL ? name :
		quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
								   RelationGetRelationName(rel));
}

/* Of a table that goes by another name now, or whose schema was not given. */
static char *
name_when_made(char *name)
{
	List	   *names = *name == '\0' ? NIL : textToQualifiedNameList(cstring_to_text(name));
	Relation	rel = names == NIL ? NULL :
		relation_openrv_extended(makeRangeVarFromNameList(names), AccessShareLock, true);

	if (rel != NULL)
	{
		name = definition_name(rel);
		relation_close(rel, NoLock);
	}
	return name;
}

/* Those with the guards of a definition, and their partitions, whatever they are called now. */
static List *
guarded_tables(const char *name, Oid function)
{
	List	   *roots = NIL;
	List	   *result = NIL;
	EsTriggerScan scan;
	Form_pg_trigger trigger;
	ListCell   *lc;

	es_trigger_begin_scan(&scan, InvalidOid, function);
	while ((trigger = es_trigger_next(&scan)) != NULL)
	{
		const char *argument = es_trigger_argument(&scan);

		if (argument != NULL && strcmp(argument, name) == 0 && !get_rel_relispartition(trigger->tgrelid))
			roots = list_append_unique_oid(roots, trigger->tgrelid);
	}
	es_trigger_end_scan(&scan);
	foreach(lc, roots)
	{
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
		result = list_concat_unique_oid(result,
										find_all_inheritors(lfirst_oid(lc), AccessExclusiveLock, NULL));
	}
	return result;
}

/* NULL if there is none, or it has ended. */
static const EsDefinition *
definition_in_force(const char *name)
{
	const EsDefinition *definition = es_config_read(KIND, name, 0);

	return definition != NULL && strcmp(definition->type, MADE) == 0 ? definition : NULL;
}

static Jsonb *
text_member(const char *key, const char *value)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, key, value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---- guards ---- */

/* Puts up what is missing, on the table and its partitions. */
static void
guard_table(Relation rel, const char *name)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(RelationGetRelid(rel), ShareRowExclusiveLock, NULL))
		guard_part(lfirst_oid(lc), name, false);

	/*
	 * Attaching a partition clones the row trigger, and asks for its
	 * function.
	 */
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		es_catalog_let_execute("append_only_guard", rel->rd_rel->relowner);
}

/*
 * Row triggers are cloned to partitions, statement triggers are not.  A partition that
 * was just attached must be empty: nothing guarded its rows.
 */
static void
guard_part(Oid relid, const char *name, bool is_new)
{
	Relation	rel = table_open(relid, NoLock);

	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		refuse_table(rel, "It is no table of this database's.", "Use ordinary partitions.");
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		refuse_table(rel, "A crash would empty it.", "Use partitions that are logged.");
	if (!has_guard(relid, false))
	{
		if (is_new && rel->rd_rel->relkind == RELKIND_RELATION && RelationGetNumberOfBlocks(rel) > 0)
			ereport(ERROR,
					(errcode(ES_ERRCODE_APPEND_ONLY),
					 errmsg("ATTACH PARTITION of \"%s\" is not allowed", RelationGetRelationName(rel)),
					 errdetail("The table is append-only, and this partition has, or had, rows that nothing guarded."),
					 errhint("Attach an empty table (TRUNCATE it first), and insert the rows then.")));
		es_trigger_create(rel, &statement_guard, name);
	}
	if (!has_guard(relid, true))
		es_trigger_create(rel, &row_guard, name);
	es_trigger_heal(relid, es_catalog_trigger_function("append_only_guard"));
	table_close(rel, NoLock);
}

static bool
has_guard(Oid relid, bool row)
{
	EsTriggerScan scan;
	Form_pg_trigger trigger;
	bool		result = false;

	es_trigger_begin_scan(&scan, relid, es_catalog_trigger_function("append_only_guard"));
	while (!result && (trigger = es_trigger_next(&scan)) != NULL)
		result = TRIGGER_FOR_ROW(trigger->tgtype) == row;
	es_trigger_end_scan(&scan);
	return result;
}

/* ---- partitions that come later ---- */

static RangeVar *
parent_of_new(Node *statement)
{
	ListCell   *lc;

	if (statement == NULL)
		return NULL;
	/* The latter begins with the former. */
	if ((IsA(statement, CreateStmt) || IsA(statement, CreateForeignTableStmt)) &&
		((CreateStmt *) statement)->partbound != NULL)
		return linitial(((CreateStmt *) statement)->inhRelations);
	if (!IsA(statement, AlterTableStmt))
		return NULL;
	foreach(lc, ((AlterTableStmt *) statement)->cmds)
		if (((AlterTableCmd *) lfirst(lc))->subtype == AT_AttachPartition)
		return ((AlterTableStmt *) statement)->relation;
	return NULL;
}

void
es_append_only_extend(Node *statement)
{
	RangeVar   *parent = parent_of_new(statement);
	Oid			relid = parent == NULL ? InvalidOid : RangeVarGetRelid(parent, NoLock, true);
	Relation	rel;
	ListCell   *lc;

	if (!OidIsValid(relid) || es_protected_relation(relid) != ES_PROTECTED_TABLE)
		return;
	rel = table_open(relid, AccessShareLock);
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		if (!has_guard(lfirst_oid(lc), false))
		guard_part(lfirst_oid(lc), definition_name(rel), true);
	table_close(rel, NoLock);
}
