/*
 * guard_statement.c
 *		Refuses a statement by what it names.
 *
 * Asked before the statement runs, without a lock on what it names: another session
 * could rename a table meanwhile, but one that is guarded cannot be renamed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "eventsource.h"
#include "log/catalog.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "trust/guard_hooks.h"
#include "trust/protected.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static bool judge_alter_table(AlterTableStmt *stmt);
static void judge_alter_enum(AlterEnumStmt *stmt);
static void refuse_used_type(Oid type, const char *verb);
static bool adds_brief_column(AlterTableCmd *cmd);
static void judge_rename(RenameStmt *stmt);
static void judge_grant(GrantStmt *stmt);
static void judge_default_privileges(AlterDefaultPrivilegesStmt *stmt);
static void judge_extension_member(AlterExtensionContentsStmt *stmt);
static bool is_allowed_command(AlterTableType type);
static bool is_harmless_command(AlterTableType type, EsProtection protection);
static bool grants_only(List *privileges, const char *first, const char *second);
static void judge_publication(List *objects);
static Oid	published_schema(const PublicationObjSpec *object);
static void judge_copy(CopyStmt *stmt);
static void refuse_relation(Oid relid, const char *verb);

bool
es_guard_judge(Node *statement)
{
	if (statement == NULL || !IsTransactionState())
		return false;
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			return judge_alter_table((AlterTableStmt *) statement);
		case T_AlterEnumStmt:
			judge_alter_enum((AlterEnumStmt *) statement);
			break;
		case T_RenameStmt:
			judge_rename((RenameStmt *) statement);
			break;
		case T_GrantStmt:
			judge_grant((GrantStmt *) statement);
			break;
		case T_AlterDefaultPrivilegesStmt:
			judge_default_privileges((AlterDefaultPrivilegesStmt *) statement);
			break;
		case T_AlterExtensionContentsStmt:
			judge_extension_member((AlterExtensionContentsStmt *) statement);
			break;
		case T_CreatePublicationStmt:
			judge_publication(((CreatePublicationStmt *) statement)->pubobjects);
			break;
		case T_AlterPublicationStmt:
			if (((AlterPublicationStmt *) statement)->action != AP_DropObjects)
				judge_publication(((AlterPublicationStmt *) statement)->pubobjects);
			break;
		case T_CopyStmt:
			judge_copy((CopyStmt *) statement);
			break;
		case T_ReindexStmt:
			return true;
		default:
			break;
	}
	return false;
}

static EsProtection
protection_of(RangeVar *relation, Oid *relid)
{
	*relid = RangeVarGetRelid(relation, NoLock, true);
	return OidIsValid(*relid) ? es_protected_relation(*relid) : ES_UNPROTECTED;
}

/* Rows that another parent would show, or another child add, are no rows of the log. */
static bool
judge_alter_table(AlterTableStmt *stmt)
{
	Oid			relid;
	EsProtection protection = protection_of(stmt->relation, &relid);
	bool		has_rows = OidIsValid(relid) && get_rel_relkind(relid) != RELKIND_VIEW;
	bool		is_harmless = true;
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);
		Oid			other;

		is_harmless = is_harmless && has_rows && is_harmless_command(cmd->subtype, protection);
		if ((protection == ES_PROTECTED_OURS && !is_harmless) ||
			(protection == ES_PROTECTED_TABLE && !is_allowed_command(cmd->subtype)))
			refuse_relation(relid, "ALTER TABLE");
		if (cmd->subtype == AT_AddColumn && protection == ES_PROTECTED_TABLE && adds_brief_column(cmd))
			refuse_relation(relid, "ADD COLUMN of a temporary type");
		if (cmd->subtype == AT_DropColumn && protection == ES_UNPROTECTED && OidIsValid(relid))
			refuse_used_type(get_rel_type_id(relid), "ALTER");
		if (cmd->subtype == AT_AddInherit && protection_of((RangeVar *) cmd->def, &other) != ES_UNPROTECTED)
			refuse_relation(other, "INHERIT");
		if (cmd->subtype == AT_AttachPartition && protection == ES_UNPROTECTED &&
			protection_of(((PartitionCmd *) cmd->def)->name, &other) != ES_UNPROTECTED)
			refuse_relation(other, "ATTACH PARTITION");
	}
	return is_harmless;
}

static bool
adds_brief_column(AlterTableCmd *cmd)
{
	TypeName   *name = castNode(ColumnDef, cmd->def)->typeName;
	Oid			type = name == NULL ? InvalidOid : LookupTypeNameOid(NULL, name, true);

	return OidIsValid(type) && es_protected_is_brief_type(type);
}

/* Another label, and what was recorded says something else. */
static void
judge_alter_enum(AlterEnumStmt *stmt)
{
	if (stmt->oldVal != NULL)
		refuse_used_type(LookupTypeNameOid(NULL, makeTypeNameFromNameList(stmt->typeName), true), "ALTER TYPE");
}

/* A type that what is guarded has in a column, by itself or within another. */
static void
refuse_used_type(Oid type, const char *verb)
{
	if (OidIsValid(type) && es_protected_uses_type(type) && es_protected_now())
		es_protected_refuse(ES_PROTECTED_TABLE, verb, psprintf("%s, the type of a column,", format_type_be(type)));
}

/* What leaves the rows of a user's append-only table, its columns and its guards as they are. */
static bool
is_allowed_command(AlterTableType type)
{
	switch (type)
	{
		case AT_AddColumn:
		case AT_AttachPartition:
		case AT_ChangeOwner:
		case AT_EnableAlwaysTrig:
		case AT_ReplicaIdentity:
		case AT_ReplaceRelOptions:
		case AT_SetTableSpace:
		case AT_ValidateConstraint:
			return true;
		default:
			return is_harmless_command(type, ES_PROTECTED_TABLE);
	}
}

/* How it is planned for, vacuumed and put on disk; that of the log's columns is ours to say. */
static bool
is_harmless_command(AlterTableType type, EsProtection protection)
{
	switch (type)
	{
		case AT_ClusterOn:
		case AT_DropCluster:
		case AT_ResetOptions:
		case AT_ResetRelOptions:
		case AT_SetOptions:
		case AT_SetRelOptions:
		case AT_SetStatistics:
			return true;
		case AT_SetCompression:
		case AT_SetStorage:
			return protection != ES_PROTECTED_OURS;
		default:
			return false;
	}
}

/* Renamed columns would swap what the rows say. The table itself may have another name. */
static void
judge_rename(RenameStmt *stmt)
{
	Oid			relid;

	if (stmt->relation == NULL)
		return;
	switch (protection_of(stmt->relation, &relid))
	{
		case ES_UNPROTECTED:
			if (OidIsValid(relid) &&
				(stmt->renameType == OBJECT_ATTRIBUTE || stmt->renameType == OBJECT_COLUMN))
				refuse_used_type(get_rel_type_id(relid), "RENAME");
			return;
		case ES_PROTECTED_TABLE:
			if (stmt->renameType == OBJECT_TABLE)
				return;
			break;
		case ES_PROTECTED_OURS:
			break;
	}
	refuse_relation(relid, "RENAME");
}

/*
 * No right to write into our tables, to put triggers on them or to move our
 * sequences.  What guards a user's table needs no such care.
 */
static void
judge_grant(GrantStmt *stmt)
{
	bool		is_read = grants_only(stmt->privileges, "select", "select");
	ListCell   *lc;

	if (!stmt->is_grant || stmt->targtype == ACL_TARGET_DEFAULTS ||
		(stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_SEQUENCE && stmt->objtype != OBJECT_SCHEMA))
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid;

		if (stmt->targtype == ACL_TARGET_ALL_IN_SCHEMA || stmt->objtype == OBJECT_SCHEMA)
		{
			bool		is_harmless = stmt->objtype == OBJECT_SCHEMA ?
				grants_only(stmt->privileges, "usage", "usage") : is_read;

			if (!is_harmless && strcmp(strVal(lfirst(lc)), ES_SCHEMA) == 0 && es_protected_now())
				es_protected_refuse(ES_PROTECTED_OURS, "GRANT", "schema " ES_SCHEMA);
		}
		else if (!is_read && protection_of(lfirst(lc), &relid) == ES_PROTECTED_OURS &&
				 !(get_rel_relkind(relid) == RELKIND_VIEW && grants_only(stmt->privileges, "select", "insert")))
			refuse_relation(relid, "GRANT");
	}
}

/* Are these privileges, and is none of them another?  NIL is all of them. */
static bool
grants_only(List *privileges, const char *first, const char *second)
{
	ListCell   *lc;

	foreach(lc, privileges)
	{
		AccessPriv *priv = lfirst(lc);

		if (priv->priv_name == NULL ||
			(strcmp(priv->priv_name, first) != 0 && strcmp(priv->priv_name, second) != 0))
			return false;
	}
	return privileges != NIL;
}

/* Rights on segments that are yet to be made. */
static void
judge_default_privileges(AlterDefaultPrivilegesStmt *stmt)
{
	ListCell   *lc;
	ListCell   *schema;

	foreach(lc, stmt->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "schemas") != 0 || !stmt->action->is_grant)
			continue;
		foreach(schema, (List *) option->arg)
			if (strcmp(strVal(lfirst(schema)), ES_SCHEMA) == 0 && es_protected_now())
			es_protected_refuse(ES_PROTECTED_OURS, "ALTER DEFAULT PRIVILEGES", "schema " ES_SCHEMA);
	}
}

/* A segment that belongs to an extension is left out of dumps. */
static void
judge_extension_member(AlterExtensionContentsStmt *stmt)
{
	Oid			relid;

	if ((stmt->objtype == OBJECT_TABLE || stmt->objtype == OBJECT_SEQUENCE || stmt->objtype == OBJECT_VIEW) &&
		protection_of(makeRangeVarFromNameList(castNode(List, stmt->object)), &relid) != ES_UNPROTECTED)
		refuse_relation(relid, "ALTER EXTENSION");
}

/* InvalidOid if there is none. */
static Oid
published_schema(const PublicationObjSpec *object)
{
	List	   *path;

	if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_SCHEMA)
		return get_namespace_oid(object->name, true);
	path = fetch_search_path(false);
	return path == NIL ? InvalidOid : linitial_oid(path);
}

/* Personal fields are not to be had that way; nor would what gets there be the log. */
static void
judge_publication(List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		PublicationObjSpec *object = lfirst(lc);
		Oid			relid;

		if (object->pubtable != NULL && object->pubtable->relation != NULL)
		{
			if (protection_of(object->pubtable->relation, &relid) == ES_PROTECTED_OURS)
				refuse_relation(relid, "PUBLICATION");
		}
		else if (published_schema(object) == get_namespace_oid(ES_SCHEMA, true) && es_protected_now())
			es_protected_refuse(ES_PROTECTED_OURS, "PUBLICATION", "schema " ES_SCHEMA);
	}
}

/* As for other writes of a catalog, but without looking at the rows: nobody copies them. */
static void
judge_copy(CopyStmt *stmt)
{
	Oid			relid;

	if (!stmt->is_from || stmt->relation == NULL)
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (es_guard_is_watched_catalog(relid) && es_protected_now())
		es_protected_refuse(ES_PROTECTED_OURS, "COPY FROM", psprintf("\"pg_catalog.%s\"", get_rel_name(relid)));
}

/* Whoever does not own it, the server refuses for that. */
static void
refuse_relation(Oid relid, const char *verb)
{
	if (has_privs_of_role(GetUserId(), es_catalog_relation_owner(relid)) && es_protected_now())
		es_protected_refuse(es_protected_relation(relid), verb,
							psprintf("\"%s.%s\"", get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)));
}
