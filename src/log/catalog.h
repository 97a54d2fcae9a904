/*
 * catalog.h
 *		OIDs of our private relations, and plain inserts into the small ones.
 */
#ifndef ES_LOG_CATALOG_H
#define ES_LOG_CATALOG_H

#include "eventsource.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef enum EsRelation
{
	ES_REL_EVENT,				/* the log's parent; never opened, only locked */
	ES_REL_EVENTS_VIEW,
	ES_REL_WORD,
	ES_REL_WORD_PKEY,
	ES_REL_WORD_WORD_IDX,
	ES_REL_WORD_SEQ,
	ES_REL_STREAM,
	ES_REL_STREAM_PKEY,
	ES_REL_STREAM_NAME_IDX,
	ES_REL_STREAM_SEQ,
	ES_REL_STREAM_SEGMENT,
	ES_REL_STREAM_SEGMENT_PKEY,
	ES_REL_SEGMENT,
	ES_REL_SEGMENT_PKEY,
	ES_REL_IDEMPOTENCY,
	ES_REL_IDEMPOTENCY_PKEY,
	ES_REL_IDEMPOTENCY_VERSION_IDX,
	ES_REL_CORRECTION,
	ES_REL_CORRECTION_PKEY,
	ES_REL_CORRECTION_STREAM_IDX,
	ES_REL_VAULT,
	ES_REL_VAULT_PKEY,
	ES_REL_VAULT_SUBJECT_IDX,
	ES_REL_ERASED,
	ES_REL_ERASED_PKEY,
	ES_REL_SCRUB,
	ES_REL_SNAPSHOT,
	ES_REL_SNAPSHOT_PKEY,
	ES_REL_SUBSCRIPTION_CURSOR,
	ES_REL_SUBSCRIPTION_CURSOR_PKEY,
	ES_REL_SUBSCRIPTION_PARKED,
	ES_REL_SUBSCRIPTION_PARKED_PKEY,
	ES_REL_LOG,
	ES_REL_LOCAL,
	ES_REL_PUBLISHED_WATERMARK,
	ES_REL_PROJECTION_CURSOR,
	ES_REL_PROJECTION_CURSOR_PKEY,
	ES_REL_PROJECTION_FAILURE,
	ES_REL_PROJECTION_FAILURE_PKEY,
	ES_REL_TILE,
	ES_REL_TILE_PKEY,
	ES_REL_TILE_POSITION_IDX,
	ES_REL_SEAL,
	ES_REL_SEAL_PKEY,
	ES_REL_POSITION_SEQ,
	ES_REL_SEGMENT_CATEGORY,
	ES_REL_SEGMENT_CATEGORY_PKEY,
	ES_REL_ARCHIVE,
	ES_REL_ARCHIVE_PKEY,
	ES_REL_SUMMARY,
	ES_REL_SUMMARY_PKEY,
	ES_REL_SUMMARY_SUBJECT_IDX,
	ES_REL_PRUNED_HEAD,
	ES_REL_PRUNED_HEAD_PKEY,
	ES_REL_PRUNED_LEAF,
	ES_REL_PRUNED_LEAF_PKEY,
	ES_REL_JOB,
	ES_REL_COUNT
} EsRelation;

/* OID of one of them; an error if the extension is not there. */
extern Oid	es_catalog_oid(EsRelation which);
extern Oid	es_catalog_schema(void);

/* Is the extension there?  Costs nothing once it was found. */
extern bool es_catalog_is_installed(void);

/* Is it this one?  False, without an error, if the extension is not there. */
extern bool es_catalog_is(EsRelation which, Oid relid);

/*
 * A function of ours without arguments, as triggers are; InvalidOid if the extension is not there.  Asks for
 * no right on the schema: triggers fire for whoever writes their table.
 */
extern Oid	es_catalog_trigger_function(const char *name);

/* Owner of the log. */
extern Oid	es_catalog_owner(void);

/* Owner of any relation; InvalidOid if it is not there. */
extern Oid	es_catalog_relation_owner(Oid relid);

/* A copy of the row that has this bigint in its first column; NULL if there is none. */
extern HeapTuple es_catalog_find(Relation rel, EsRelation key_index, int64 key, Snapshot snapshot);

/* Inserts a row with its index entries, past the guards. */
extern void es_catalog_insert(Relation rel, Datum *values, bool *nulls);

/*
 * Writes such a row anew, or takes it away; for the few tables that are not
 * append-only.  The caller serialises writers of the row and read its newest
 * version (SnapshotSelf, after the lock).
 */
extern void es_catalog_update(Relation rel, HeapTuple old, Datum *values, bool *nulls);
extern void es_catalog_delete(Relation rel, HeapTuple old);

/*
 * Is the row, read so, the work of a transaction that a snapshot does not show?
 * Then neither does it show what else that has written.
 */
extern bool es_catalog_is_hidden(HeapTuple row, Snapshot snapshot);

/*
 * Runs fn with SPI connected, as the owner of the log and with a pinned
 * search_path: for the rare DDL of our own (log/own_ddl.h).  An error leaves nothing behind,
 * as the end of the (sub)transaction restores user and settings.
 */
extern void es_catalog_as_owner(void (*fn) (void *arg), void *arg);

/*
 * Lets a role put a trigger function of ours on tables, as who owns those tables must be
 * let to make partitions of them.
 */
extern void es_catalog_let_execute(const char *function, Oid role);

/* Executes one statement, for use inside such an fn. */
extern void es_catalog_run(const char *fmt,...) pg_attribute_printf(1, 2);

/*
 * Advisory lock classes (field 4 of the tag).  SQL functions use 1 and 2, so
 * no user can take or forge ours.
 */
#define ES_LOCK_STREAM	3		/* hash of a stream's name, Exclusive */
#define ES_LOCK_BOUND	4		/* a position below which the owner draws
								 * none, Share */
#define ES_LOCK_KEY		5		/* hash of a shared projection's key,
								 * Exclusive */
#define ES_LOCK_READER	6		/* hash of whose progress it is, Exclusive */
#define ES_LOCK_SUBJECT	7		/* hash of the subject that is erased,
								 * Exclusive */
#define ES_LOCK_FOLLOWERS	8	/* 0: Share by who follows the log, Exclusive
								 * by who erases */
#define ES_LOCK_DUE		9		/* number of a slot of jobs that are due,
								 * Exclusive */

extern void es_catalog_init(void);

#endif							/* ES_LOG_CATALOG_H */
