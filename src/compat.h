/*
 * compat.h
 *		The only place that knows how PostgreSQL majors differ.
 */
#ifndef ES_COMPAT_H
#define ES_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "eventsource supports PostgreSQL 15 to 18"
#endif

/* 18 moved the attribute in front of the declaration, under another name. */
#if PG_VERSION_NUM >= 180000
#define ES_NORETURN pg_noreturn
#elif defined(__GNUC__)
#define ES_NORETURN __attribute__((noreturn))
#else
#define ES_NORETURN
#endif

#include "access/genam.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "executor/execExpr.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "replication/message.h"
#include "storage/buffile.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/tuplesort.h"

/* 16 added onlySummarizing. */
static inline List *
es_compat_insert_index_tuples(ResultRelInfo *rel, TupleTableSlot *slot,
							  EState *estate, bool update)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rel, slot, estate, update, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(rel, slot, estate, update, false, NULL, NIL);
#endif
}

/*
 * The range table of an EState that writes one relation.  16 split off the
 * permissions, 18 added the unpruned relations.
 */
static inline void
es_compat_init_range_table(EState *estate, Relation rel)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		List	   *perminfos = NIL;

		addRTEPermissionInfo(&perminfos, rte);
#if PG_VERSION_NUM >= 180000
		ExecInitRangeTable(estate, list_make1(rte), perminfos, bms_make_singleton(1));
#else
		ExecInitRangeTable(estate, list_make1(rte), perminfos);
#endif
	}
#else
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/*
 * table_tuple_update, and the index entries it makes necessary (16 may ask for
 * those of summarizing indexes alone).  "open_indexes" is called first if there
 * are any.
 */
static inline TM_Result
es_compat_update(ResultRelInfo *rel, ItemPointer tid, TupleTableSlot *slot, EState *estate,
				 TM_FailureData *failure)
{
	LockTupleMode lock_mode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes which;

	result = table_tuple_update(rel->ri_RelationDesc, tid, slot, estate->es_output_cid,
								InvalidSnapshot, InvalidSnapshot, true, failure,
								&lock_mode, &which);
	if (result == TM_Ok && which != TU_None)
	{
		if (rel->ri_IndexRelationDescs == NULL)
			ExecOpenIndices(rel, false);
		ExecInsertIndexTuples(rel, slot, estate, true, false, NULL, NIL, which == TU_Summarizing);
	}
#else
	bool		which;

	result = table_tuple_update(rel->ri_RelationDesc, tid, slot, estate->es_output_cid,
								InvalidSnapshot, InvalidSnapshot, true, failure,
								&lock_mode, &which);
	if (result == TM_Ok && which)
	{
		if (rel->ri_IndexRelationDescs == NULL)
			ExecOpenIndices(rel, false);
		ExecInsertIndexTuples(rel, slot, estate, true, false, NULL, NIL);
	}
#endif
	return result;
}

/* 16 renamed the number of a relation's file. */
static inline Oid
es_compat_filenumber(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return rel->rd_locator.relNumber;
#else
	return rel->rd_node.relNode;
#endif
}

/*
 * One relation is about to get the files of another, which are new in this transaction;
 * 16 renamed it all, 18 counts frozen pages.
 */
static inline void
es_compat_note_swap(Oid relid, Oid new_relid, Form_pg_class form, Form_pg_class new_form)
{
	Relation	rel = relation_open(relid, NoLock);
	Relation	new_rel = relation_open(new_relid, NoLock);

	new_rel->rd_createSubid = rel->rd_createSubid;
#if PG_VERSION_NUM >= 160000
	new_rel->rd_newRelfilelocatorSubid = rel->rd_newRelfilelocatorSubid;
	new_rel->rd_firstRelfilelocatorSubid = rel->rd_firstRelfilelocatorSubid;
	RelationAssumeNewRelfilelocator(rel);
#else
	new_rel->rd_newRelfilenodeSubid = rel->rd_newRelfilenodeSubid;
	new_rel->rd_firstRelfilenodeSubid = rel->rd_firstRelfilenodeSubid;
	RelationAssumeNewRelfilenode(rel);
#endif
#if PG_VERSION_NUM >= 180000
	{
		int32		frozen = form->relallfrozen;

		form->relallfrozen = new_form->relallfrozen;
		new_form->relallfrozen = frozen;
	}
#endif
	relation_close(new_rel, NoLock);
	relation_close(rel, NoLock);
}

/* It got them: before 17 a relcache entry may hold on to the other's files. */
static inline void
es_compat_end_swap(Oid relid, Oid new_relid)
{
#if PG_VERSION_NUM < 170000
	RelationCloseSmgrByOid(relid);
	RelationCloseSmgrByOid(new_relid);
#endif
}

/* Which indexes need entries for a row that was written anew. */
typedef enum EsIndexNeed
{
	ES_INDEX_NEED_NONE,
	ES_INDEX_NEED_SUMMARIES,	/* since 16: those that summarize blocks */
	ES_INDEX_NEED_ALL
} EsIndexNeed;

/* table_tuple_update without an executor. */
static inline TM_Result
es_compat_rewrite(Relation rel, ItemPointer tid, TupleTableSlot *slot, CommandId cid, EsIndexNeed *need)
{
	TM_FailureData failure;
	LockTupleMode lock_mode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes which = TU_None;

	result = table_tuple_update(rel, tid, slot, cid, InvalidSnapshot, InvalidSnapshot, true, &failure,
								&lock_mode, &which);
	*need = which == TU_All ? ES_INDEX_NEED_ALL :
		which == TU_Summarizing ? ES_INDEX_NEED_SUMMARIES : ES_INDEX_NEED_NONE;
#else
	bool		which = false;

	result = table_tuple_update(rel, tid, slot, cid, InvalidSnapshot, InvalidSnapshot, true, &failure,
								&lock_mode, &which);
	*need = which ? ES_INDEX_NEED_ALL : ES_INDEX_NEED_NONE;
#endif
	return result;
}

static inline bool
es_compat_is_summarizing(const IndexInfo *info)
{
#if PG_VERSION_NUM >= 160000
	return info->ii_Summarizing;
#else
	return false;
#endif
}

/* 18 added the place for statistics. */
static inline IndexScanDesc
es_compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* 17 lets an index keep things between entries, until it is told the end. */
static inline void
es_compat_index_insert_cleanup(Relation index, IndexInfo *info)
{
#if PG_VERSION_NUM >= 170000
	index_insert_cleanup(index, info);
#endif
}

/* The next of values passed by value; 16 asks whether to copy. */
static inline bool
es_compat_tuplesort_getdatum(Tuplesortstate *sort, Datum *value, bool *isnull)
{
#if PG_VERSION_NUM >= 160000
	return tuplesort_getdatum(sort, true, false, value, isnull, NULL);
#else
	return tuplesort_getdatum(sort, true, value, isnull, NULL);
#endif
}

/* 18 asks whether a deferrable one will do. */
static inline Oid
es_compat_primary_key_index(Relation rel)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(rel, false);
#else
	return RelationGetPrimaryKeyIndex(rel);
#endif
}

/* 18 can have CHECK constraints that are not enforced. */
static inline bool
es_compat_is_enforced(const ConstrCheck *check)
{
#if PG_VERSION_NUM >= 180000
	return check->ccenforced;
#else
	return true;
#endif
}

/*
 * 16 brought JSON_OBJECT and JSON_ARRAY.  "printed" receives the expressions
 * whose values become JSON.
 */
static inline bool
es_compat_is_json_constructor(Node *node, List **printed)
{
#if PG_VERSION_NUM >= 160000
	if (IsA(node, JsonConstructorExpr))
	{
		*printed = ((JsonConstructorExpr *) node)->args;
		return true;
	}
	return IsA(node, JsonValueExpr) || IsA(node, JsonIsPredicate);
#else
	return false;
#endif
}

/* Casts through text; 17 added one that returns errors softly. */
static inline bool
es_compat_is_iocoerce(ExprEvalOp op)
{
#if PG_VERSION_NUM >= 170000
	return op == EEOP_IOCOERCE || op == EEOP_IOCOERCE_SAFE;
#else
	return op == EEOP_IOCOERCE;
#endif
}

/* 18 gave RETURNING a node of its own. */
static inline bool
es_compat_is_returning(const UpdateStmt *stmt)
{
#if PG_VERSION_NUM >= 180000
	return stmt->returningClause != NULL;
#else
	return stmt->returningList != NIL;
#endif
}

/* False at the end of the file; 16 split reading in two. */
static inline bool
es_compat_read_file(BufFile *file, void *ptr, size_t size)
{
#if PG_VERSION_NUM >= 160000
	return BufFileReadMaybeEOF(file, ptr, size, true) == size;
#else
	size_t		got = BufFileRead(file, ptr, size);

	if (got != 0 && got != size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read a temporary file: read only %zu of %zu bytes", got, size)));
	return got == size;
#endif
}

/* Status of the i-th backend, from 1; 16 renamed it. */
static inline const PgBackendStatus *
es_compat_backend_status(int i)
{
#if PG_VERSION_NUM >= 160000
	return &pgstat_get_local_beentry_by_index(i)->backendStatus;
#else
	return &pgstat_fetch_stat_local_beentry(i)->backendStatus;
#endif
}

/* 16 has one function for all kinds of objects. */
static inline bool
es_compat_owns_database(Oid database)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
	return pg_database_ownercheck(database, GetUserId());
#endif
}

/* Likewise. */
static inline bool
es_compat_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/* Of an ExecutorRun hook; 18 took "once" away. */
#if PG_VERSION_NUM >= 180000
#define ES_EXECUTOR_RUN_ARGS	QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define ES_EXECUTOR_RUN_PASS	queryDesc, direction, count
#else
#define ES_EXECUTOR_RUN_ARGS	QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool once
#define ES_EXECUTOR_RUN_PASS	queryDesc, direction, count, once
#endif

/* All rows, or as many as the receiver wants. */
static inline void
es_compat_executor_run(QueryDesc *query)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(query, ForwardScanDirection, 0);
#else
	ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

/* A message that is decoded if, and when, this (sub)transaction commits.  17 added the flush. */
static inline void
es_compat_log_message(const char *prefix, const char *message, size_t size)
{
#if PG_VERSION_NUM >= 170000
	(void) LogLogicalMessage(prefix, message, size, true, false);
#else
	(void) LogLogicalMessage(prefix, message, size, true);
#endif
}

#endif							/* ES_COMPAT_H */
