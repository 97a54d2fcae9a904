/*
 * worker_slots.h
 *		What the launcher, the workers and other backends know of each other.
 */
#ifndef ES_FEED_WORKER_SLOTS_H
#define ES_FEED_WORKER_SLOTS_H

#include "postgres.h"

#include "utils/timestamp.h"

#define ES_WORKER_MAX_SLOTS		256
#define ES_WORKER_ERROR_SIZE	512

/* Whether the extension is in a database; only who is connected there can tell. */
typedef enum EsWorkerPresence
{
	ES_PRESENCE_UNKNOWN,
	ES_PRESENCE_ABSENT,
	ES_PRESENCE_PRESENT
} EsWorkerPresence;

/* One database. */
typedef struct EsWorkerSlot
{
	Oid			database;		/* InvalidOid: the slot is free */
	EsWorkerPresence presence;
	bool		extension_made; /* any, since the worker looked */
	int			pid;			/* of the worker; 0: none */
	int			holder;			/* backend that wants the database for itself */
	bool		was_asked;		/* to end, when it did */
	int			failures;		/* in a row */
	TimestampTz next_start;		/* not before */
	TimestampTz started_at;		/* 0: never */
	TimestampTz last_pass_at;
	TimestampTz last_error_at;
	int64		passes;			/* since it started */
	char		last_error[ES_WORKER_ERROR_SIZE];
} EsWorkerSlot;

/* Settings. */
extern bool es_guc_worker_enabled;
extern char *es_guc_worker_databases;
extern int	es_guc_worker_interval;
extern char *es_guc_worker_notify_channel;

/* Is there shared memory for all this: was the library preloaded? */
extern bool es_worker_slots_exist(void);

/*
 * All slots, under the lock that es_worker_slots_unlock() releases; to look at
 * shared, to change exclusive.
 */
extern EsWorkerSlot *es_worker_slots_lock(bool exclusive);
extern void es_worker_slots_unlock(void);

/* The database's slot among them, NULL if it has none. */
extern EsWorkerSlot *es_worker_slots_find(EsWorkerSlot *slots, Oid database);

/* Wakes the launcher; this process is it from now on, to its end. */
extern void es_worker_slots_wake_launcher(void);
extern void es_worker_slots_become_launcher(void);

extern void es_worker_slots_init(void);

/* worker_hooks.c */
extern void es_worker_hooks_init(void);

/* launcher.c */
extern void es_launcher_init(void);

#endif							/* ES_FEED_WORKER_SLOTS_H */
