/*
 * launcher.c
 *		Starts a worker for each database that has the extension.
 *
 * A static background worker that is connected to no database.  It reads
 * pg_database now and then, and when it is woken: after databases were made,
 * changed or dropped, after any extension was made, when a worker ends, and on
 * reload.  Whether a database has the extension only a worker can tell, once it is
 * connected there; one that finds none ends, and is not sent again until an
 * extension is made there.
 *
 * A worker that ends by itself is started anew: after 1 s, then after twice as
 * long each time, up to 60 s; one that had lived for so long counts as well again.
 *
 * It alone frees and gives slots (worker_slots.h).  The handle of a worker that it
 * started is its own; workers of a launcher before it are known by their pid.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "feed/worker_slots.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include <signal.h>

#define LOOK_AGAIN_MS		60000
#define PROBE_MS			50	/* while a worker is on its way */
#define FIRST_DELAY_MS		1000
#define LONGEST_DELAY_MS	60000
#define RESTART_SECONDS		1	/* of the launcher itself */

/* The workers that this launcher started, by slot. */
static BackgroundWorkerHandle *handles[ES_WORKER_MAX_SLOTS];

PGDLLEXPORT void eventsource_launcher_main(Datum arg);

/* ---- databases ---- */

/* NIL: all */
static List *
chosen_names(void)
{
	List	   *names = NIL;

	/* The setting's check has seen to it that it can be split. */
	(void) SplitGUCList(pstrdup(es_guc_worker_databases), ',', &names);
	return names;
}

static bool
is_chosen(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
		return true;
	return names == NIL;
}

/* A name in the setting that no database has is said once for each reload. */
static void
complain_of_unknown(List *names, List *known)
{
	static char *said_of;
	ListCell   *name;
	ListCell   *database;

	if (said_of != NULL && strcmp(said_of, es_guc_worker_databases) == 0)
		return;
	if (said_of != NULL)
		pfree(said_of);
	said_of = MemoryContextStrdup(TopMemoryContext, es_guc_worker_databases);
	foreach(name, names)
	{
		bool		found = false;

		foreach(database, known)
			found = found || strcmp(lfirst(database), lfirst(name)) == 0;
		if (!found)
			ereport(LOG,
					(errmsg("database \"%s\" of eventsource.worker_databases is not there, is a template or takes no connections",
							(char *) lfirst(name)),
					 errhint("It gets its worker when it is made.")));
	}
}

/*
 * OIDs of the databases that are to have a worker if the extension is there.
 * Templates are not: whoever copies one must be alone in it.
 */
static List *
read_databases(void)
{
	List	   *result = NIL;
	List	   *known = NIL;
	List	   *names = chosen_names();
	MemoryContext context = CurrentMemoryContext;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	MemoryContextSwitchTo(context);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		/* A limit below -1: what an interrupted DROP DATABASE left. */
		if (!form->datallowconn || form->datistemplate || form->datconnlimit < -1)
			continue;
		known = lappend(known, pstrdup(NameStr(form->datname)));
		if (is_chosen(names, NameStr(form->datname)))
			result = lappend_oid(result, form->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	complain_of_unknown(names, known);
	return result;
}

/* Gives a slot to each that has none. */
static void
give_slots(EsWorkerSlot *slots, List *databases)
{
	static bool said_full;
	ListCell   *lc;

	foreach(lc, databases)
	{
		EsWorkerSlot *slot = es_worker_slots_find(slots, lfirst_oid(lc));

		if (slot != NULL)
			continue;
		slot = es_worker_slots_find(slots, InvalidOid);
		if (slot != NULL)
		{
			memset(slot, 0, sizeof(EsWorkerSlot));
			slot->database = lfirst_oid(lc);
		}
		else if (!said_full)
		{
			said_full = true;
			ereport(LOG,
					(errmsg("there are more than %d databases for workers of eventsource", ES_WORKER_MAX_SLOTS),
					 errhint("Name those that need one in eventsource.worker_databases.")));
		}
	}
}

/* ---- workers ---- */

static bool
start(int i, Oid database)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		done;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	strlcpy(worker.bgw_library_name, "eventsource", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "eventsource_worker_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "eventsource worker", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "eventsource worker", sizeof(worker.bgw_type));
	done = RegisterDynamicBackgroundWorker(&worker, &handles[i]);
	MemoryContextSwitchTo(old);
	return done;
}

static bool
is_running(int i, const EsWorkerSlot *slot)
{
	pid_t		pid;

	if (slot->pid != 0)
		return true;
	if (handles[i] == NULL)
		return false;
	return GetBackgroundWorkerPid(handles[i], &pid) != BGWH_STOPPED;
}

static void
put_off(EsWorkerSlot *slot, TimestampTz now)
{
	long		delay;

	if (slot->started_at != 0 && TimestampDifferenceMilliseconds(slot->started_at, now) >= LONGEST_DELAY_MS)
		slot->failures = 0;
	delay = Min(FIRST_DELAY_MS << Min(slot->failures, 6), LONGEST_DELAY_MS);
	slot->failures++;
	slot->next_start = TimestampTzPlusMilliseconds(now, delay);
}

/* The worker that was started is no more. */
static void
note_end(int i, EsWorkerSlot *slot, TimestampTz now)
{
	pfree(handles[i]);
	handles[i] = NULL;
	if (slot->presence != ES_PRESENCE_ABSENT && !slot->was_asked)
		put_off(slot, now);
}

/*
 * One step for one database, under the lock; in how many ms the next is wanted.
 * Of the databases of which nothing is known one at a time is looked at, for the
 * server has few processes for all.
 */
static long
look_after(int i, EsWorkerSlot *slot, bool is_wanted, bool *is_probing)
{
	TimestampTz now = GetCurrentTimestamp();
	long		delay;

	if (is_running(i, slot))
	{
		*is_probing = *is_probing || slot->presence == ES_PRESENCE_UNKNOWN;
		if (is_wanted || slot->pid == 0)
			return is_wanted ? LOOK_AGAIN_MS : PROBE_MS;
		slot->was_asked = true;
		kill(slot->pid, SIGTERM);
		return LOOK_AGAIN_MS;
	}
	if (handles[i] != NULL)
		note_end(i, slot, now);
	if (slot->holder != 0 && BackendPidGetProc(slot->holder) == NULL)
		slot->holder = 0;
	if (!is_wanted)
	{
		if (slot->holder == 0)
			slot->database = InvalidOid;
		return LOOK_AGAIN_MS;
	}
	if (slot->presence == ES_PRESENCE_ABSENT)
		return LOOK_AGAIN_MS;
	if (slot->holder != 0)
		return FIRST_DELAY_MS;
	/* Unless the clock was set back. */
	delay = TimestampDifferenceMilliseconds(now, slot->next_start);
	if (delay > 0 && delay <= LONGEST_DELAY_MS)
		return delay;
	if (slot->presence == ES_PRESENCE_UNKNOWN && *is_probing)
		return LOOK_AGAIN_MS;
	slot->was_asked = false;
	if (start(i, slot->database))
	{
		*is_probing = *is_probing || slot->presence == ES_PRESENCE_UNKNOWN;
		return LOOK_AGAIN_MS;
	}
	if (slot->failures == 0)
		ereport(LOG,
				(errmsg("no background worker can be had for eventsource"),
				 errhint("You might need to increase max_worker_processes.")));
	put_off(slot, now);
	return TimestampDifferenceMilliseconds(now, slot->next_start);
}

static long
look_after_all(List *databases)
{
	EsWorkerSlot *slots = es_worker_slots_lock(true);
	long		wait = LOOK_AGAIN_MS;
	bool		is_probing = false;

	give_slots(slots, databases);
	for (int i = 0; i < ES_WORKER_MAX_SLOTS; i++)
	{
		bool		is_wanted = list_member_oid(databases, slots[i].database);

		if (OidIsValid(slots[i].database))
			wait = Min(wait, look_after(i, &slots[i], is_wanted, &is_probing));
	}
	es_worker_slots_unlock();
	return wait;
}

void
eventsource_launcher_main(Datum arg)
{
	MemoryContext round_context;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_OVERRIDE);
	es_worker_slots_become_launcher();
	round_context = AllocSetContextCreate(TopMemoryContext, "eventsource launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(round_context);

	for (;;)
	{
		long		wait;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		wait = look_after_all(es_guc_worker_enabled ? read_databases() : NIL);
		pgstat_report_activity(STATE_IDLE, NULL);
		MemoryContextReset(round_context);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(wait, 1), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
es_launcher_init(void)
{
	BackgroundWorker worker;

	/* pg_upgrade wants its databases for itself. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "eventsource", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "eventsource_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "eventsource launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "eventsource launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
