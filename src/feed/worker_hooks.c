/*
 * worker_hooks.c
 *		Keeps the workers out of the way of commands on whole databases, and tells
 *		the launcher of what is new.
 *
 * DROP, RENAME, SET TABLESPACE and use as a template need a database with nobody in
 * it.  Whoever runs one, and owns the database, marks its slot as held, asks the
 * worker to end and waits for that; the launcher starts none while the mark is there
 * and its backend alive.
 *
 * The end of a prepared transaction rings the bell at the end of the transaction
 * that ends it, for its own is over.
 *
 * That an extension was made, or a database made or changed, is told at commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "compat.h"
#include "feed/worker_slots.h"
#include "log/bell.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/utility.h"

#include <signal.h>

/* How long a command waits for the worker, and how often it looks. */
#define PATIENCE_MS		10000
#define LOOK_MS			10

static ProcessUtility_hook_type next_utility_hook;
static object_access_hook_type next_access_hook;

static bool extension_made;		/* by the open transaction, in this database */
static bool databases_changed;

/* ---- holding a database ---- */

static const char *
option_value(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* The database that the statement needs for itself; NULL: none. */
static const char *
database_needed(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_CreatedbStmt:
			return option_value(((CreatedbStmt *) statement)->options, "template");
		case T_AlterDatabaseStmt:
			if (option_value(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL)
				return ((AlterDatabaseStmt *) statement)->dbname;
			return NULL;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) statement)->subname;
			return NULL;
		default:
			return NULL;
	}
}

/* What the prepared transaction appended is final, or never was, once that is done. */
static bool
ends_prepared(Node *statement)
{
	TransactionStmt *end = (TransactionStmt *) statement;

	return IsA(statement, TransactionStmt) &&
		(end->kind == TRANS_STMT_COMMIT_PREPARED || end->kind == TRANS_STMT_ROLLBACK_PREPARED);
}

/* Marks the slot; the worker's pid, 0 if it has none.  False: there is no slot. */
static bool
hold(Oid database, int *pid)
{
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(true), database);

	if (slot != NULL)
	{
		slot->holder = MyProcPid;
		*pid = slot->pid;
		if (slot->pid != 0)
			kill(slot->pid, SIGTERM);
	}
	es_worker_slots_unlock();
	return slot != NULL;
}

static void
release(Oid database)
{
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(true), database);

	if (slot != NULL && slot->holder == MyProcPid)
	{
		slot->holder = 0;
		slot->failures = 0;
		slot->next_start = 0;
	}
	es_worker_slots_unlock();
	es_worker_slots_wake_launcher();
}

static bool
is_attached(Oid database, int pid)
{
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(false), database);
	bool		result = slot != NULL && slot->pid == pid;

	es_worker_slots_unlock();
	return result;
}

/* If it does not end, the statement itself will say that the database is in use. */
static void
wait_for_end(Oid database, int pid)
{
	for (int waited = 0; waited < PATIENCE_MS; waited += LOOK_MS)
	{
		if (!is_attached(database, pid) && BackendPidGetProc(pid) == NULL)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- hooks ---- */

static void
pass_on(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	(next_utility_hook != NULL ? next_utility_hook : standard_ProcessUtility)
		(statement, query, read_only_tree, context, params, env, dest, completion);
}

static void
at_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
		   ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *node = statement->utilityStmt;
	const char *name = es_worker_slots_exist() ? database_needed(node) : NULL;
	Oid			database = name != NULL && IsTransactionState() ? get_database_oid(name, true) : InvalidOid;
	int			pid = 0;

	if (IsA(node, DropdbStmt) || IsA(node, CreatedbStmt) || IsA(node, AlterDatabaseStmt) || name != NULL)
		databases_changed = true;
	if (ends_prepared(node))
		es_bell_ring_later();
	if (!OidIsValid(database) || !es_compat_owns_database(database) || !hold(database, &pid))
	{
		pass_on(statement, query, read_only_tree, context, params, env, dest, completion);
		return;
	}
	PG_TRY();
	{
		if (pid != 0)
			wait_for_end(database, pid);
		pass_on(statement, query, read_only_tree, context, params, env, dest, completion);
	}
	PG_FINALLY();
	{
		release(database);
	}
	PG_END_TRY();
}

/* An extension may have come to the database. */
static void
look_again(Oid database)
{
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(true), database);

	if (slot != NULL)
	{
		slot->extension_made = true;
		if (slot->presence == ES_PRESENCE_ABSENT)
			slot->presence = ES_PRESENCE_UNKNOWN;
	}
	es_worker_slots_unlock();
}

static void
at_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg)
{
	if (next_access_hook != NULL)
		next_access_hook(access, class, object, sub_id, arg);
	if (access != OAT_POST_CREATE || !es_worker_slots_exist())
		return;
	if (class == ExtensionRelationId)
		extension_made = true;
	/* It may have the OID of one that was dropped a moment ago. */
	if (class == DatabaseRelationId)
		look_again(object);
}

static void
at_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && extension_made)
		look_again(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT && (extension_made || databases_changed))
		es_worker_slots_wake_launcher();
	extension_made = databases_changed = false;
}

void
es_worker_hooks_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = at_utility;
	next_access_hook = object_access_hook;
	object_access_hook = at_access;
	RegisterXactCallback(at_xact, NULL);
}
