/*
 * worker.c
 *		The background worker of one database.
 *
 * It makes passes over its duties, each call in a transaction of its own, then
 * sleeps until the bell rings (log/bell.h) or a duty wants to be called.  It starts
 * no pass within PASS_SPACING_MS of the one before, so that it does not compete
 * with busy appenders.
 *
 * An error of a duty is logged, kept in the slot, and puts that duty off: 1 s, then
 * twice as long each time, up to 60 s.  It ends when the extension is gone, and when
 * it is told to (SIGTERM); the launcher starts it anew as needed.  It waits for no
 * lock longer than a moment, so that one table hinders no other.  Until the log is
 * open in its database it only waits.
 *
 * It is nobody in particular (the bootstrap superuser); what it runs that is not
 * ours runs as its owner.  Commits are asynchronous: what it had done and a crash
 * undoes, it does again.
 */
#include "feed/worker.h"

#include "access/xact.h"
#include "feed/worker_slots.h"
#include "log/bell.h"
#include "log/catalog.h"
#include "log/open.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MAX_DUTIES			16
#define PASS_SPACING_MS		10
#define FIRST_DELAY_MS		1000
#define LONGEST_DELAY_MS	60000

typedef struct Duty
{
	const char *name;
	EsDuty		work;
	long		delay;			/* ms; after failures, else 0 */
	TimestampTz not_before;
} Duty;

static Duty duties[MAX_DUTIES];
static int	n_duties;

PGDLLEXPORT void eventsource_worker_main(Datum arg);

void
es_worker_add_duty(const char *name, EsDuty work)
{
	if (n_duties == MAX_DUTIES)
		elog(ERROR, "too many duties");
	duties[n_duties].name = name;
	duties[n_duties++].work = work;
}

/* ---- the slot ---- */

static void
detach(int code, Datum arg)
{
	EsWorkerSlot *slot;

	/* Not every major does that before it calls us. */
	LWLockReleaseAll();
	slot = es_worker_slots_find(es_worker_slots_lock(true), DatumGetObjectId(arg));
	if (slot != NULL && slot->pid == MyProcPid)
	{
		slot->pid = 0;
		slot->was_asked = slot->was_asked || slot->holder != 0;
	}
	es_worker_slots_unlock();
	es_worker_slots_wake_launcher();
}

/* Ends the process if the place is taken, or the database not to be entered. */
static void
attach(Oid database)
{
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(true), database);
	bool		may_run = slot != NULL && slot->pid == 0 && slot->holder == 0;

	if (may_run)
	{
		slot->pid = MyProcPid;
		slot->started_at = GetCurrentTimestamp();
		slot->passes = 0;
		slot->was_asked = false;
	}
	else if (slot != NULL && slot->pid == 0)
		slot->was_asked = true;
	es_worker_slots_unlock();
	if (!may_run)
		proc_exit(0);
	before_shmem_exit(detach, ObjectIdGetDatum(database));
}

static void
note_presence(EsWorkerPresence presence)
{
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(true), MyDatabaseId);

	/* Unless an extension came since the worker looked last. */
	if (slot != NULL && (presence != ES_PRESENCE_ABSENT || !slot->extension_made))
		slot->presence = presence;
	es_worker_slots_unlock();
	es_worker_slots_wake_launcher();
}

static void
forget_extension_made(void)
{
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(true), MyDatabaseId);

	if (slot != NULL)
		slot->extension_made = false;
	es_worker_slots_unlock();
}

static void
note_pass(void)
{
	TimestampTz now = GetCurrentTimestamp();
	EsWorkerSlot *slot = es_worker_slots_find(es_worker_slots_lock(true), MyDatabaseId);

	if (slot != NULL)
	{
		slot->last_pass_at = now;
		slot->passes++;
	}
	es_worker_slots_unlock();
}

static void
note_error(const char *duty, const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	char		line[ES_WORKER_ERROR_SIZE];
	EsWorkerSlot *slot;

	snprintf(line, sizeof(line), "%s: %s", duty, message);
	line[pg_mbcliplen(line, strlen(line), sizeof(line) - 1)] = '\0';
	slot = es_worker_slots_find(es_worker_slots_lock(true), MyDatabaseId);
	if (slot != NULL)
	{
		slot->last_error_at = now;
		strlcpy(slot->last_error, line, sizeof(slot->last_error));
	}
	es_worker_slots_unlock();
}

/* ---- passes ---- */

static void
begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* What the duty says; after a failure, how long it is put off. */
static long
call(Duty *duty)
{
	MemoryContext context = CurrentMemoryContext;
	long		result = duty->delay > 0 ?
		TimestampDifferenceMilliseconds(GetCurrentTimestamp(), duty->not_before) : 0;

	/* It is not longer than it was, unless the clock was set back. */
	if (result > 0 && result <= duty->delay)
		return result;
	PG_TRY();
	{
		begin(duty->name);
		/* Else it may be in the midst of a restore, and not to be relied on. */
		result = es_log_is_open() ? duty->work() : ES_DUTY_IDLE;
		commit();
		duty->delay = 0;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		MemoryContextSwitchTo(context);
		note_error(duty->name, error->message);
		FreeErrorData(error);
		RESUME_INTERRUPTS();
		duty->delay = Min(Max(FIRST_DELAY_MS, duty->delay * 2), LONGEST_DELAY_MS);
		duty->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), duty->delay);
		result = duty->delay;
	}
	PG_END_TRY();
	/* Advisory locks of the session, which a handler may have left. */
	LockReleaseSession(USER_LOCKMETHOD);
	MemoryContextSwitchTo(context);
	return result;
}

/* Calls each duty once; in how many ms the next pass is wanted. */
static long
pass(void)
{
	long		wait = es_guc_worker_interval;

	for (int i = 0; i < n_duties; i++)
	{
		CHECK_FOR_INTERRUPTS();
		wait = Min(wait, call(&duties[i]));
	}
	note_pass();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return wait;
}

static bool
extension_is_there(void)
{
	bool		result;

	begin("looking for the extension");
	result = es_catalog_is_installed();
	commit();
	return result;
}

/* So that the worker's own transactions run as they should, whatever is set. */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"},
		{"transaction_timeout", "0"},	/* not in every major */
		{"lock_timeout", "1s"},
		{"idle_in_transaction_session_timeout", "0"},
		{"session_replication_role", "origin"},
		{"synchronous_commit", "off"},
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_OVERRIDE);
}

static void
make_passes(void)
{
	es_bell_prepare();
	while (extension_is_there())
	{
		TimestampTz began = GetCurrentTimestamp();
		long		wait;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		wait = pass();
		if (wait <= 0)
			continue;
		while (wait > 0 && !es_bell_sleep(wait) && !ConfigReloadPending)
			wait -= ES_BELL_LONGEST;
		wait = PASS_SPACING_MS - TimestampDifferenceMilliseconds(began, GetCurrentTimestamp());
		if (wait > 0)
			pg_usleep(wait * 1000L);
	}
	es_bell_cancel();
}

void
eventsource_worker_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	attach(database);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pin_settings();
	for (;;)
	{
		forget_extension_made();
		if (!extension_is_there())
			break;
		note_presence(ES_PRESENCE_PRESENT);
		make_passes();
	}
	note_presence(ES_PRESENCE_ABSENT);
}

void
es_worker_init(void)
{
	es_worker_slots_init();
	es_worker_hooks_init();
	es_launcher_init();
}
