/*
 * guard_catalog.c
 *		Refuses a superuser's INSERT, UPDATE and DELETE in the system catalogs,
 *		where they change a row that concerns what is guarded.
 *
 * Such a statement tells nobody of what it does to which object.  So those rows of the
 * catalog are summed up before it runs and after; an error undoes what made a
 * difference.  Costs nothing where no catalog is written, and keeps no state.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "common/hashfn.h"
#include "compat.h"
#include "eventsource.h"
#include "log/catalog.h"
#include "log/own_ddl.h"
#include "log/trigger.h"
#include "parser/parsetree.h"
#include "trust/guard_hooks.h"
#include "trust/protected.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Columns (0: none) of a catalog by which a row concerns an object. */
typedef struct Watched
{
	Oid			catalog;
	AttrNumber	columns[3];
} Watched;

static const Watched watched[] = {
	{RelationRelationId, {Anum_pg_class_oid, Anum_pg_class_relnamespace}},
	{AttributeRelationId, {Anum_pg_attribute_attrelid}},
	{TriggerRelationId, {Anum_pg_trigger_tgrelid}},
	{RewriteRelationId, {Anum_pg_rewrite_ev_class}},
	{PolicyRelationId, {Anum_pg_policy_polrelid}},
	{IndexRelationId, {Anum_pg_index_indrelid}},
	{InheritsRelationId, {Anum_pg_inherits_inhrelid, Anum_pg_inherits_inhparent}},
	{PartitionedRelationId, {Anum_pg_partitioned_table_partrelid}},
	{ConstraintRelationId, {Anum_pg_constraint_conrelid, Anum_pg_constraint_confrelid}},
	{AttrDefaultRelationId, {Anum_pg_attrdef_adrelid}},
	{SequenceRelationId, {Anum_pg_sequence_seqrelid}},
	{TypeRelationId, {Anum_pg_type_typnamespace, Anum_pg_type_typrelid}},
	{ProcedureRelationId, {Anum_pg_proc_oid, Anum_pg_proc_pronamespace}},
	{EventTriggerRelationId, {Anum_pg_event_trigger_evtfoid}},
	{NamespaceRelationId, {Anum_pg_namespace_oid}},
	{ExtensionRelationId, {Anum_pg_extension_oid}},
	{EnumRelationId, {Anum_pg_enum_enumtypid}},
	{DependRelationId, {Anum_pg_depend_objid, Anum_pg_depend_refobjid}},
};

static ExecutorRun_hook_type next_run_hook;
static ExecutorFinish_hook_type next_finish_hook;

static void finish(QueryDesc *query);
static const Watched *watched_catalog(Oid relid);
static const Watched *written_catalog(QueryDesc *query, const Watched *after);
static List *sums_of(QueryDesc *query, List *guarded);
static uint64 sum_of(const Watched *catalog, List *guarded);
static bool concerns_any(const Watched *catalog, HeapTuple tuple, TupleDesc desc, List *guarded);
static Oid	type_of(Oid catalog, HeapTuple tuple);
static List *guarded_objects(void);
static List *add_objects(List *list, Oid catalog, AttrNumber column, Oid value);
static void refuse_difference(QueryDesc *query, List *guarded, List *before);

static bool
is_judged(QueryDesc *query)
{
	return query->operation != CMD_UTILITY && written_catalog(query, NULL) != NULL && es_protected_now();
}

static void
run(ES_EXECUTOR_RUN_ARGS)
{
	bool		judged = is_judged(queryDesc);
	List	   *guarded = judged ? guarded_objects() : NIL;
	List	   *before = judged ? sums_of(queryDesc, guarded) : NIL;

	if (next_run_hook != NULL)
		next_run_hook(ES_EXECUTOR_RUN_PASS);
	else
		standard_ExecutorRun(ES_EXECUTOR_RUN_PASS);
	if (judged)
		refuse_difference(queryDesc, guarded, before);
}

/* Of a statement of ours only what it does itself is ours (log/own_ddl.h). */
static void
at_run(ES_EXECUTOR_RUN_ARGS)
{
	EsOwnDdl	before;

	if (!es_own_ddl_is())
	{
		run(ES_EXECUTOR_RUN_PASS);
		return;
	}
	before = es_own_ddl_begin_query();
	PG_TRY();
	{
		run(ES_EXECUTOR_RUN_PASS);
	}
	PG_FINALLY();
	{
		es_own_ddl_end(before);
	}
	PG_END_TRY();
}

static void
at_finish(QueryDesc *query)
{
	EsOwnDdl	before;

	if (!es_own_ddl_is())
	{
		finish(query);
		return;
	}
	before = es_own_ddl_begin_query();
	PG_TRY();
	{
		finish(query);
	}
	PG_FINALLY();
	{
		es_own_ddl_end(before);
	}
	PG_END_TRY();
}

/* A statement in a CTE may run only now. */
static void
finish(QueryDesc *query)
{
	bool		judged = is_judged(query);
	List	   *guarded = judged ? guarded_objects() : NIL;
	List	   *before = judged ? sums_of(query, guarded) : NIL;

	if (next_finish_hook != NULL)
		next_finish_hook(query);
	else
		standard_ExecutorFinish(query);
	if (judged)
		refuse_difference(query, guarded, before);
}

bool
es_guard_is_watched_catalog(Oid relid)
{
	return watched_catalog(relid) != NULL;
}

static const Watched *
watched_catalog(Oid relid)
{
	for (int i = 0; i < (int) lengthof(watched); i++)
		if (watched[i].catalog == relid)
			return &watched[i];
	return NULL;
}

/* The first one in our list that the statement writes; the one after that. */
static const Watched *
written_catalog(QueryDesc *query, const Watched *after)
{
	const Watched *first = NULL;
	ListCell   *lc;

	foreach(lc, query->plannedstmt->resultRelations)
	{
		Oid			relid = rt_fetch(lfirst_int(lc), query->plannedstmt->rtable)->relid;
		const Watched *catalog = relid < FirstNormalObjectId ? watched_catalog(relid) : NULL;

		if (catalog != NULL && (after == NULL || catalog > after) && (first == NULL || catalog < first))
			first = catalog;
	}
	return first;
}

/* List of uint64 *, in order of written_catalog(). */
static List *
sums_of(QueryDesc *query, List *guarded)
{
	List	   *sums = NIL;

	for (const Watched *catalog = written_catalog(query, NULL); catalog != NULL;
		 catalog = written_catalog(query, catalog))
	{
		uint64	   *sum = palloc(sizeof(uint64));

		*sum = sum_of(catalog, guarded);
		sums = lappend(sums, sum);
	}
	return sums;
}

static bool
concerns_any(const Watched *catalog, HeapTuple tuple, TupleDesc desc, List *guarded)
{
	Oid			type;

	for (int i = 0; i < (int) lengthof(catalog->columns) && catalog->columns[i] != 0; i++)
	{
		bool		isnull;
		Datum		object = heap_getattr(tuple, catalog->columns[i], desc, &isnull);

		if (list_member_oid(guarded, DatumGetObjectId(object)))
			return true;
	}
	type = type_of(catalog->catalog, tuple);
	return OidIsValid(type) && es_protected_uses_type(type);
}

/* The type that a row is about, or InvalidOid; those that come with PostgreSQL are too many. */
static Oid
type_of(Oid catalog, HeapTuple tuple)
{
	Oid			type = InvalidOid;

	if (catalog == EnumRelationId)
		type = ((Form_pg_enum) GETSTRUCT(tuple))->enumtypid;
	else if (catalog == TypeRelationId)
		type = ((Form_pg_type) GETSTRUCT(tuple))->oid;
	else if (catalog == AttributeRelationId &&
			 ((Form_pg_attribute) GETSTRUCT(tuple))->attrelid >= FirstNormalObjectId)
		type = get_rel_type_id(((Form_pg_attribute) GETSTRUCT(tuple))->attrelid);
	return type >= FirstNormalObjectId ? type : InvalidOid;
}

/* Of the rows that concern what is guarded, whatever their order. */
static uint64
sum_of(const Watched *catalog, List *guarded)
{
	Relation	rel = table_open(catalog->catalog, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	HeapTuple	tuple;
	uint64		sum = 0;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (concerns_any(catalog, tuple, RelationGetDescr(rel), guarded))
			sum += hash_bytes_extended((const unsigned char *) tuple->t_data + SizeofHeapTupleHeader,
									   tuple->t_len - SizeofHeapTupleHeader, 0);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return sum;
}

/* OIDs of what is guarded, of all classes; one of another class costs no more than an error. */
static List *
guarded_objects(void)
{
	Oid			schema = es_catalog_schema();
	List	   *result = list_make2_oid(schema, get_extension_oid(ES_SCHEMA, false));
	EsTriggerScan scan;
	Form_pg_trigger trigger;

	result = add_objects(result, RelationRelationId, Anum_pg_class_relnamespace, schema);
	result = add_objects(result, ProcedureRelationId, Anum_pg_proc_pronamespace, schema);
	es_trigger_begin_scan(&scan, InvalidOid, es_catalog_trigger_function("append_only_guard"));
	while ((trigger = es_trigger_next(&scan)) != NULL)
		result = list_append_unique_oid(result, trigger->tgrelid);
	es_trigger_end_scan(&scan);
	return result;
}

/* Those of a catalog (whose first column is the OID) with that value, and their TOAST tables. */
static List *
add_objects(List *list, Oid catalog, AttrNumber column, Oid value)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		isnull;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);

		if (DatumGetObjectId(heap_getattr(tuple, column, desc, &isnull)) != value)
			continue;
		list = lappend_oid(list, DatumGetObjectId(heap_getattr(tuple, 1, desc, &isnull)));
		if (catalog == RelationRelationId && OidIsValid(((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid))
			list = lappend_oid(list, ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return list;
}

static void
refuse_difference(QueryDesc *query, List *guarded, List *before)
{
	ListCell   *old;
	ListCell   *new;
	const Watched *catalog = NULL;

	forboth(old, before, new, sums_of(query, guarded))
	{
		catalog = written_catalog(query, catalog);
		if (*(uint64 *) lfirst(old) != *(uint64 *) lfirst(new))
			es_protected_refuse(ES_PROTECTED_OURS, "a change of rows about guarded objects",
								psprintf("\"pg_catalog.%s\"", get_rel_name(catalog->catalog)));
	}
}

void
es_guard_catalog_init(void)
{
	next_run_hook = ExecutorRun_hook;
	ExecutorRun_hook = at_run;
	next_finish_hook = ExecutorFinish_hook;
	ExecutorFinish_hook = at_finish;
}
