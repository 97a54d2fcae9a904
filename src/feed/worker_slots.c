/*
 * worker_slots.c
 *		What the launcher, the workers and other backends know of each other.
 *
 * One slot for each database that the launcher looks after, in shared memory,
 * under one lock that is held for moments only.  The launcher makes and frees
 * slots; a worker enters its pid and takes it out when it ends, however it ends (a
 * process that is killed takes all shared memory along).
 */
#include "feed/worker_slots.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/reading.h"
#include "log/shared.h"
#include "miscadmin.h"
#include "rules/pii_use.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/varlena.h"

/* Columns of eventsource.worker_slots() */
#define COLUMNS		9

typedef struct Shared
{
	Latch	   *launcher;		/* NULL: none runs */
	EsWorkerSlot slots[ES_WORKER_MAX_SLOTS];
} Shared;

bool		es_guc_worker_enabled;
char	   *es_guc_worker_databases;
int			es_guc_worker_interval;
char	   *es_guc_worker_notify_channel;

static Shared *shared;			/* NULL: the library was not preloaded */
static LWLock *lock;

PG_FUNCTION_INFO_V1(eventsource_worker_slots);

bool
es_worker_slots_exist(void)
{
	return shared != NULL;
}

EsWorkerSlot *
es_worker_slots_lock(bool exclusive)
{
	LWLockAcquire(lock, exclusive ? LW_EXCLUSIVE : LW_SHARED);
	return shared->slots;
}

void
es_worker_slots_unlock(void)
{
	LWLockRelease(lock);
}

EsWorkerSlot *
es_worker_slots_find(EsWorkerSlot *slots, Oid database)
{
	for (int i = 0; i < ES_WORKER_MAX_SLOTS; i++)
		if (slots[i].database == database)
			return &slots[i];
	return NULL;
}

void
es_worker_slots_wake_launcher(void)
{
	if (shared == NULL)
		return;
	LWLockAcquire(lock, LW_SHARED);
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
	LWLockRelease(lock);
}

static void
launcher_ends(int code, Datum arg)
{
	/* Not every major does that before it calls us. */
	LWLockReleaseAll();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher = NULL;
	LWLockRelease(lock);
}

void
es_worker_slots_become_launcher(void)
{
	before_shmem_exit(launcher_ends, (Datum) 0);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->launcher = MyLatch;
	LWLockRelease(lock);
}

/* ---- the view ---- */

static const char *
status_of(const EsWorkerSlot *slot)
{
	if (slot->presence == ES_PRESENCE_ABSENT)
		return "no extension";
	if (slot->pid != 0)
		return "running";
	if (slot->holder != 0)
		return "held";
	return slot->failures > 0 ? "waiting" : "starting";
}

static Datum
time_or_null(TimestampTz at, bool *isnull)
{
	*isnull = at == 0;
	return TimestampTzGetDatum(at);
}

Datum
eventsource_worker_slots(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EsWorkerSlot *copy;
	bool		may_see_errors;

	InitMaterializedSRF(fcinfo, 0);
	if (shared == NULL)
		return (Datum) 0;
	may_see_errors = DatumGetBool(DirectFunctionCall2(has_function_privilege_name,
													  CStringGetTextDatum("eventsource.publish_watermark()"),
													  CStringGetTextDatum("EXECUTE"))) &&
		(es_reading_is_trusted(GetUserId()) || es_pii_declared(NIL, NULL) == NIL);
	copy = palloc(sizeof(shared->slots));
	memcpy(copy, es_worker_slots_lock(false), sizeof(shared->slots));
	es_worker_slots_unlock();

	for (EsWorkerSlot *slot = copy; slot < copy + ES_WORKER_MAX_SLOTS; slot++)
	{
		Datum		values[COLUMNS];
		bool		nulls[COLUMNS] = {false};

		if (!OidIsValid(slot->database))
			continue;
		values[0] = ObjectIdGetDatum(slot->database);
		values[1] = CStringGetTextDatum(status_of(slot));
		values[2] = Int32GetDatum(slot->pid);
		nulls[2] = slot->pid == 0;
		values[3] = time_or_null(slot->started_at, &nulls[3]);
		values[4] = time_or_null(slot->last_pass_at, &nulls[4]);
		values[5] = Int64GetDatum(slot->passes);
		values[6] = Int32GetDatum(slot->failures);
		/* It is in the encoding of its database, and may speak of its data. */
		nulls[7] = slot->last_error_at == 0 || slot->database != MyDatabaseId || !may_see_errors;
		values[7] = nulls[7] ? (Datum) 0 : CStringGetTextDatum(slot->last_error);
		values[8] = time_or_null(slot->last_error_at, &nulls[8]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- memory and settings ---- */

static Size
memory_size(void)
{
	return sizeof(Shared);
}

static void
attach_memory(void *memory, LWLockPadded *locks, bool is_new)
{
	shared = memory;
	lock = &locks[0].lock;
	if (is_new)
		memset(shared, 0, sizeof(Shared));
}

static bool
check_databases(char **value, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*value);
	List	   *names;
	bool		ok = SplitGUCList(copy, ',', &names);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return ok;
}

static bool
check_channel(char **value, void **extra, GucSource source)
{
	if (strlen(*value) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("The name of a channel is shorter than %d bytes.", NAMEDATALEN);
	return false;
}

void
es_worker_slots_init(void)
{
	static const EsShared piece = {"eventsource workers", memory_size, 1, attach_memory};

	DefineCustomBoolVariable("eventsource.worker_enabled",
							 "Whether background workers run, one for each database that has the extension.",
							 "Without effect unless the library is preloaded.",
							 &es_guc_worker_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("eventsource.worker_databases",
							   "Databases that get a worker: names, separated by commas.",
							   "Empty: all that have the extension.",
							   &es_guc_worker_databases, "", PGC_SIGHUP, GUC_LIST_INPUT, check_databases, NULL, NULL);
	DefineCustomIntVariable("eventsource.worker_interval",
							"Longest time between two passes of a worker.",
							"Events wake it before. The watermark is published for standby servers at most so often.",
							&es_guc_worker_interval, 1000, 10, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("eventsource.worker_notify_channel",
							   "Channel that the worker notifies after the watermark moved, with the watermark as payload.",
							   "Empty: none.",
							   &es_guc_worker_notify_channel, "", PGC_SIGHUP, 0, check_channel, NULL, NULL);
	(void) es_shared_want(&piece);
}
