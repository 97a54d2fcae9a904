/*
 * trigger.h
 *		Triggers of ours on the tables of users: made, found, dropped.
 *
 * They fire ALWAYS and have one argument, the name of the definition that they
 * belong to, so that the link outlives renaming, dump and restore.
 */
#ifndef ES_LOG_TRIGGER_H
#define ES_LOG_TRIGGER_H

#include "eventsource.h"

#include "access/genam.h"
#include "catalog/pg_trigger.h"
#include "utils/rel.h"

typedef struct EsTriggerKind
{
	const char *name;
	const char *function;		/* in our schema */
	bool		row;
	int16		timing;			/* TRIGGER_TYPE_* */
	int16		events;
} EsTriggerKind;

/* The table is locked against writers, and the caller may do with it what he likes. */
extern void es_trigger_create(Relation rel, const EsTriggerKind *kind, const char *argument);

/* Drops those of the tables that run the function; clones go with what they are clones of. */
extern void es_trigger_drop(List *relids, Oid function);

/* Makes those that fire on origin only (as a restore leaves them) fire ALWAYS. */
extern void es_trigger_heal(Oid relid, Oid function);

/* Triggers that run a function, of one table or (InvalidOid) of all. */
typedef struct EsTriggerScan
{
	Oid			function;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;
} EsTriggerScan;

/* next: NULL at the end. */
extern void es_trigger_begin_scan(EsTriggerScan *scan, Oid relid, Oid function);
extern Form_pg_trigger es_trigger_next(EsTriggerScan *scan);
extern void es_trigger_end_scan(EsTriggerScan *scan);

/* The argument of the last one; NULL if it has not just one.  Holds until the scan goes on. */
extern const char *es_trigger_argument(const EsTriggerScan *scan);

#endif							/* ES_LOG_TRIGGER_H */
