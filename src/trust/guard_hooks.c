/*
 * guard_hooks.c
 *		Refuses DDL on what is guarded: hooks, and the event trigger.
 *
 * Two nets.  A statement is judged by what it names (guard_statement.c), before it
 * runs; for the few ways to change a table that nothing else tells of.  What it does
 * to an object, named or reached by CASCADE, the server tells the object access hook.
 * The hook sees it done, in a transaction that its error ends.
 *
 * Both are there as soon as the library is in a process.  Where it is not preloaded
 * the event trigger loads it, before the first DDL of the session.
 */
#include "trust/guard_hooks.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_trigger.h"
#include "commands/event_trigger.h"
#include "compat.h"
#include "eventsource.h"
#include "fmgr.h"
#include "log/own_ddl.h"
#include "tcop/utility.h"
#include "miscadmin.h"
#include "trust/append_only.h"
#include "trust/maintenance.h"
#include "trust/protected.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_guard_ddl);
PG_FUNCTION_INFO_V1(eventsource_is_preloaded);

static ProcessUtility_hook_type next_utility_hook;
static object_access_hook_type next_access_hook;
static bool is_preloaded;

/* Does the statement that runs leave the rows of what is guarded, and what they mean, as they are? */
static bool is_harmless;
static SubTransactionId harmless_in;	/* where the event trigger said so */

static void extend(Node *statement);
static void judge_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg);
static bool is_guarded_class(Oid class);
static bool is_internal(ObjectAccessType access, const void *arg);
static bool is_allowed_on_table(ObjectAccessType access, Oid class, Oid object, int sub_id, const void *arg);
static const char *verb_of(ObjectAccessType access);
static const char *name_of(Oid class, Oid object, int sub_id);

static void
at_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
		   ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *node = statement->utilityStmt;

	/* Others may end the transaction, and their own text with it. */
	bool		is_about_table = IsA(node, CreateStmt) || IsA(node, CreateForeignTableStmt) ||
		IsA(node, AlterTableStmt);

	bool		is_update = IsA(node, AlterExtensionStmt) &&
		strcmp(((AlterExtensionStmt *) node)->extname, ES_SCHEMA) == 0;
	bool		was_harmless = is_harmless;
	EsOwnDdl	was_own = es_own_ddl_begin_statement(context == PROCESS_UTILITY_SUBCOMMAND);

	PG_TRY();
	{
		is_harmless = es_guard_judge(node);
		(next_utility_hook != NULL ? next_utility_hook : standard_ProcessUtility)
			(statement, query, read_only_tree, context, params, env, dest, completion);
		if (is_about_table)
			extend(node);
		if (is_update)
			es_maintenance_renew_manifest();
	}
	PG_FINALLY();
	{
		is_harmless = was_harmless;
		es_own_ddl_end(was_own);
	}
	PG_END_TRY();
}

/* The table may have become append-only while the statement waited for its lock. */
static void
extend(Node *statement)
{
	if (statement != NULL && IsA(statement, AlterTableStmt))
		(void) es_guard_judge(statement);
	es_append_only_extend(statement);
}

/* The event trigger. */
Datum
eventsource_guard_ddl(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = (EventTriggerData *) fcinfo->context;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventsource.guard_ddl() is an event trigger function"),
				 errdetail("It was called as an ordinary function."),
				 errhint("It guards the log by itself.")));
	if (strcmp(event->event, "ddl_command_start") == 0)
	{
		is_harmless = es_guard_judge(event->parsetree);
		harmless_in = GetCurrentSubTransactionId();
	}
	else
	{
		/* Where this is what loaded the library, nobody else puts it back. */
		is_harmless = false;
		extend(event->parsetree);
	}
	PG_RETURN_NULL();
}

Datum
eventsource_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_preloaded);
}

static void
at_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg)
{
	if (next_access_hook != NULL)
		next_access_hook(access, class, object, sub_id, arg);
	if (access != OAT_NAMESPACE_SEARCH && access != OAT_FUNCTION_EXECUTE && is_guarded_class(class))
		judge_access(access, class, object, sub_id, arg);
}

static void
judge_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg)
{
	EsProtection protection;

	if (!IsTransactionState() || (is_internal(access, arg) && class != TriggerRelationId))
		return;

	/* REINDEX CONCURRENTLY makes an index to put into its place. */
	if (is_harmless && class == RelationRelationId && (access == OAT_POST_ALTER || access == OAT_POST_CREATE))
		return;
	protection = es_protected_object(class, object, access == OAT_POST_CREATE ? SnapshotSelf : NULL);
	/* A table that is to become the child of another, or its parent. */
	if (protection == ES_UNPROTECTED && class == InheritsRelationId && access == OAT_POST_ALTER)
		protection = es_protected_relation(((ObjectAccessPostAlter *) arg)->auxiliary_id);
	if (protection == ES_UNPROTECTED && class == ProcedureRelationId && access == OAT_POST_CREATE &&
		es_protected_is_surgery(object) && es_protected_now())
		es_protected_refuse(ES_PROTECTED_OURS, "CREATE FUNCTION", "functions of pg_surgery");
	if (protection == ES_UNPROTECTED)
		return;
	if (protection == ES_PROTECTED_TABLE &&
		(is_internal(access, arg) || is_allowed_on_table(access, class, object, sub_id, arg)))
		return;
	/* Asked before the server looks at rights; those it refuses by itself. */
	if (access == OAT_TRUNCATE && pg_class_aclcheck(object, GetUserId(), ACL_TRUNCATE) != ACLCHECK_OK)
		return;
	if (!es_protected_now())
		return;

	/*
	 * Of a child that is being made, it is the parent that is guarded, as a
	 * rule.
	 */
	if (class == InheritsRelationId && access == OAT_POST_ALTER)
	{
		Oid			parent = ((const ObjectAccessPostAlter *) arg)->auxiliary_id;

		if (OidIsValid(parent) && es_protected_object(RelationRelationId, parent, NULL) != ES_UNPROTECTED)
			object = parent;
		es_protected_refuse(protection, "INHERIT", name_of(class, object, sub_id));
	}
	es_protected_refuse(protection, verb_of(access), name_of(class, object, sub_id));
}

static bool
is_guarded_class(Oid class)
{
	switch (class)
	{
		case RelationRelationId:
		case NamespaceRelationId:
		case ExtensionRelationId:
		case ProcedureRelationId:
		case TriggerRelationId:
		case RewriteRelationId:
		case PolicyRelationId:
		case ConstraintRelationId:
		case AttrDefaultRelationId:
		case EventTriggerRelationId:
		case InheritsRelationId:
			return true;
		default:
			return false;
	}
}

/* VACUUM FULL, CLUSTER and REINDEX make and drop relations of their own. */
static bool
is_internal(ObjectAccessType access, const void *arg)
{
	switch (access)
	{
		case OAT_POST_CREATE:
			return ((const ObjectAccessPostCreate *) arg)->is_internal;
		case OAT_POST_ALTER:
			return ((const ObjectAccessPostAlter *) arg)->is_internal;
		case OAT_DROP:
			return (((const ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) != 0;
		default:
			return false;
	}
}

/*
 * A user may do to his own table what leaves its rows, and the meaning of its columns,
 * as they are; statements about it were judged.
 */
static bool
is_allowed_on_table(ObjectAccessType access, Oid class, Oid object, int sub_id, const void *arg)
{
	Oid			parent;

	switch (class)
	{
		case RelationRelationId:
			return access == OAT_POST_CREATE || (access == OAT_POST_ALTER && sub_id == 0);
		case InheritsRelationId:

			/*
			 * Partitions come and are guarded; other children would add rows
			 * of their own.
			 */
			if (access != OAT_POST_ALTER)
				return false;
			parent = ((const ObjectAccessPostAlter *) arg)->auxiliary_id;
			return get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE;
		case ConstraintRelationId:
		case AttrDefaultRelationId:
			return true;
		case TriggerRelationId:
			if (access == OAT_POST_CREATE)
				return es_protected_is_harmless_trigger(object);
			return access == OAT_POST_ALTER && es_protected_fires_always(object);
		default:
			return false;
	}
}

static const char *
verb_of(ObjectAccessType access)
{
	switch (access)
	{
		case OAT_POST_CREATE:
			return "CREATE";
		case OAT_DROP:
			return "DROP";
		case OAT_TRUNCATE:
			return "TRUNCATE";
		default:
			return "ALTER";
	}
}

/* What was just made has no description yet. */
static const char *
name_of(Oid class, Oid object, int sub_id)
{
	ObjectAddress address;
	char	   *description;

	if (class == InheritsRelationId)
		class = RelationRelationId;
	if (class == RelationRelationId && sub_id == 0 && get_rel_name(object) != NULL)
		return psprintf("\"%s.%s\"", get_namespace_name(get_rel_namespace(object)), get_rel_name(object));
	ObjectAddressSubSet(address, class, object, sub_id);
	description = getObjectDescription(&address, true);
	return description != NULL ? description : "what is guarded";
}

/* Where the event trigger has loaded the library, the hook does not see the statement fail. */
static void
at_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		is_harmless = false;
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && harmless_in == mySubid)
		is_harmless = false;
}

void
es_guard_hooks_init(void)
{
	is_preloaded = process_shared_preload_libraries_in_progress;
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = at_utility;
	next_access_hook = object_access_hook;
	object_access_hook = at_access;
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
