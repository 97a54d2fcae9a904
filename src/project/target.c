/*
 * target.c
 *		The table of a projection: its columns, constraints and key, reading a
 *		row by its key.
 *
 * What belongs to the table -- defaults, CHECKs, generated columns, index
 * expressions -- is evaluated with the rights of the table's owner.  So is what
 * a look at them may evaluate, since planning computes what is constant.
 *
 * Locks: the caller holds ROW EXCLUSIVE on the table, to the end of the
 * transaction.  Rows are read with SnapshotSelf: whoever writes a key holds the
 * lock of its stream or of the key, so the latest version is the right one.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "common/hashfn.h"
#include "compat.h"
#include "errors.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "project/target.h"
#include "rewrite/rewriteHandler.h"
#include "rules/expr_parts.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

static void add_key(EsTarget *target, Relation rel);
static void add_columns(EsTarget *target, Relation rel);
static void add_start(EsTarget *target, Relation rel, const EsExprScope *scope, AttrNumber attno);
static void add_domain(EsTarget *target, const EsExprScope *scope, Form_pg_attribute att);
static void survey_indexes(EsTarget *target, Relation rel);
static bool may_call(const EsTarget *target, Relation index);
static bool same_value(Form_pg_attribute att, Datum a, Datum b);
static HeapTuple read_row(const EsTarget *target, const Datum *key, Snapshot snapshot, Snapshot seen);
static void check_visible(const EsTarget *target, HeapTuple row);
static void check_invisible(const EsTarget *target, Relation rel, Relation index, ScanKey keys,
							TupleTableSlot *slot);
static bool fetch_by_key(Relation rel, Relation index, Snapshot snapshot, ScanKey keys, int nkeys,
						 TupleTableSlot *slot);
static int	name_table(const EsTarget *target);

EsTarget *
es_target_make(Oid relid)
{
	EsTarget   *target = palloc0(sizeof(EsTarget));
	EsExprTraits traits = {.foreign = true};
	Relation	rel = table_open(relid, NoLock);
	EsRoom		room;

	target->relid = relid;
	target->owner = rel->rd_rel->relowner;
	es_expr_enter_room(&room, target->owner, false, &traits);
	target->name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											  RelationGetRelationName(rel));
	target->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	add_key(target, rel);
	add_columns(target, rel);
	survey_indexes(target, rel);
	es_expr_leave_room(&room);
	table_close(rel, NoLock);
	return target;
}

Oid
es_target_key_index(Relation rel)
{
	Oid			relid = es_compat_primary_key_index(rel);
	Relation	index;
	bool		finds_equal;

	if (!OidIsValid(relid))
		return InvalidOid;
	index = index_open(relid, AccessShareLock);
	finds_equal = index->rd_rel->relam == BTREE_AM_OID;
	index_close(index, NoLock);
	return finds_equal ? relid : InvalidOid;
}

uint32
es_target_hash(const EsTarget *target, const Datum *key)
{
	uint32		hash = 0;

	for (int i = 0; i < target->nkeys; i++)
		if (target->keys[i].hash != NULL)
			hash = pg_rotate_left32(hash, 5) ^
				DatumGetUInt32(FunctionCall1Coll(target->keys[i].hash, target->keys[i].collation, key[i]));
	return hash;
}

/* Mixed once more: rows of a part would meet in a table by the plain hash. */
uint32
es_target_part(const EsTarget *target, const Datum *key, uint32 parts)
{
	return murmurhash32(es_target_hash(target, key)) & (parts - 1);
}

bool
es_target_can_part(const EsTarget *target)
{
	for (int i = 0; i < target->nkeys; i++)
		if (target->keys[i].hash != NULL)
			return true;
	return false;
}

/* The same for equal keys; names the table, so that others do not wait. */
uint64
es_target_lock_hash(const EsTarget *target, const Datum *key)
{
	uint64		hash = target->relid;

	for (int i = 0; i < target->nkeys; i++)
		if (target->keys[i].hash_extended != NULL)
			hash = DatumGetUInt64(FunctionCall2Coll(target->keys[i].hash_extended, target->keys[i].collation,
													key[i], UInt64GetDatum(hash)));
	return hash;
}

bool
es_target_same_key(const EsTarget *target, const Datum *a, const Datum *b)
{
	for (int i = 0; i < target->nkeys; i++)
		if (!DatumGetBool(FunctionCall2Coll(target->keys[i].equal, target->keys[i].collation, a[i], b[i])))
			return false;
	return true;
}

bool
es_target_same_image(HeapTuple a, HeapTuple b)
{
	return a->t_len == b->t_len &&
		HeapTupleHeaderGetNatts(a->t_data) == HeapTupleHeaderGetNatts(b->t_data) &&
		HeapTupleHasNulls(a) == HeapTupleHasNulls(b) &&
		memcmp(&a->t_data->t_bits, &b->t_data->t_bits,
			   a->t_len - offsetof(HeapTupleHeaderData, t_bits)) == 0;
}

bool
es_target_same_row(const EsTarget *target, HeapTuple a, HeapTuple b)
{
	if (es_target_same_image(a, b))
		return true;
	for (int i = 0; i < target->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(target->desc, i);
		bool		a_isnull;
		bool		b_isnull;
		Datum		a_value;
		Datum		b_value;

		if (att->attisdropped)
			continue;
		a_value = heap_getattr(a, i + 1, target->desc, &a_isnull);
		b_value = heap_getattr(b, i + 1, target->desc, &b_isnull);
		if (a_isnull != b_isnull || (!a_isnull && !same_value(att, a_value, b_value)))
			return false;
	}
	return true;
}

HeapTuple
es_target_read(const EsTarget *target, const Datum *key)
{
	Snapshot	seen = IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : NULL;
	HeapTuple	row = read_row(target, key, SnapshotSelf, seen);

	if (row != NULL && seen != NULL)
		check_visible(target, row);
	return row;
}

HeapTuple
es_target_read_seen(const EsTarget *target, const Datum *key, Snapshot snapshot)
{
	return read_row(target, key, snapshot, NULL);
}

/* A row that is not there must not be there for "seen" either, if one is given. */
static HeapTuple
read_row(const EsTarget *target, const Datum *key, Snapshot snapshot, Snapshot seen)
{
	Relation	rel = table_open(target->relid, NoLock);
	Relation	index = index_open(target->key_index, AccessShareLock);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(target->desc, table_slot_callbacks(rel));
	ScanKeyData keys[INDEX_MAX_KEYS];
	HeapTuple	row = NULL;

	for (int i = 0; i < target->nkeys; i++)
	{
		keys[i] = target->scan_keys[i];
		keys[i].sk_argument = key[i];
	}
	if (fetch_by_key(rel, index, snapshot, keys, target->nkeys, slot))
		row = ExecCopySlotHeapTuple(slot);
	else if (seen != NULL)
		check_invisible(target, rel, index, keys, slot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return row;
}

void
es_target_compute_generated(const EsTarget *target, TupleTableSlot *slot)
{
	EsBinding	binding = {.row = slot};
	ListCell   *lc;

	foreach(lc, target->generated)
	{
		EsColumnRule *rule = lfirst(lc);
		int			i = rule->attno - 1;

		slot->tts_values[i] = es_expr_eval(rule->expr, &binding, &slot->tts_isnull[i]);
	}
}

/* Under the names and SQLSTATEs that an INSERT or UPDATE would give them. */
void
es_target_check_row(const EsTarget *target, TupleTableSlot *slot)
{
	EsBinding	binding = {.row = slot};
	ListCell   *lc;

	for (int i = 0; target->has_not_null && i < target->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(target->desc, i);

		if (att->attnotnull && slot->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of projection %s violates not-null constraint",
							NameStr(att->attname), target->name),
					 errdetail("The event would leave the row without it."),
					 errhint("Give the column a default, or let the rule set it."),
					 name_table(target),
					 err_generic_string(PG_DIAG_COLUMN_NAME, NameStr(att->attname))));
	}
	foreach(lc, target->domains)
	{
		EsColumnRule *rule = lfirst(lc);
		bool		isnull;

		if (slot->tts_isnull[rule->attno - 1])
			(void) es_expr_eval(rule->expr, &binding, &isnull);
	}
	foreach(lc, target->checks)
	{
		EsColumnRule *rule = lfirst(lc);
		bool		isnull;

		if (!DatumGetBool(es_expr_eval(rule->expr, &binding, &isnull)) && !isnull)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("new row for projection %s violates check constraint \"%s\"",
							target->name, rule->name),
					 errdetail("The event would leave a row that the constraint forbids."),
					 errhint("The event is refused; append one that keeps the constraint."),
					 name_table(target),
					 err_generic_string(PG_DIAG_CONSTRAINT_NAME, rule->name)));
	}
}

/* The fields of an error that tell the table. */
static int
name_table(const EsTarget *target)
{
	err_generic_string(PG_DIAG_SCHEMA_NAME, get_namespace_name(get_rel_namespace(target->relid)));
	return err_generic_string(PG_DIAG_TABLE_NAME, get_rel_name(target->relid));
}

static void
add_key(EsTarget *target, Relation rel)
{
	Relation	index;

	target->key_index = es_target_key_index(rel);
	if (!OidIsValid(target->key_index))
		ereport(ERROR,
				(errcode(ES_ERRCODE_INVALID_DEFINITION),
				 errmsg("table %s has no primary key any more", target->name),
				 errdetail("It is the target of a projection, whose rows are found by their key."),
				 errhint("Add it again, or drop the projection: SELECT eventsource.drop_projection('%s').",
						 target->name)));
	index = index_open(target->key_index, AccessShareLock);
	target->nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	target->keys = palloc0(sizeof(EsKeyColumn) * target->nkeys);
	target->scan_keys = palloc0(sizeof(ScanKeyData) * target->nkeys);
	for (int i = 0; i < target->nkeys; i++)
	{
		EsKeyColumn *key = &target->keys[i];
		Form_pg_attribute att = TupleDescAttr(target->desc, index->rd_index->indkey.values[i] - 1);
		Oid			optype = index->rd_opcintype[i];
		Oid			equal = get_opfamily_member(index->rd_opfamily[i], optype, optype, BTEqualStrategyNumber);
		TypeCacheEntry *type = lookup_type_cache(att->atttypid,
												 TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO |
												 TYPECACHE_HASH_EXTENDED_PROC_FINFO);

		key->attno = att->attnum;
		key->type = att->atttypid;
		key->typlen = att->attlen;
		key->typbyval = att->attbyval;
		key->collation = index->rd_indcollation[i];
		key->equal = &type->eq_opr_finfo;
		key->hash = OidIsValid(type->hash_proc) ? &type->hash_proc_finfo : NULL;
		key->hash_extended = OidIsValid(type->hash_extended_proc) ? &type->hash_extended_proc_finfo : NULL;
		ScanKeyEntryInitialize(&target->scan_keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   key->collation, get_opcode(equal), (Datum) 0);
	}
	index_close(index, NoLock);
}

static void
add_columns(EsTarget *target, Relation rel)
{
	EsExprScope whole = {.row = target->desc,.owner = target->owner};
	EsExprScope nothing = {.owner = target->owner};
	TupleConstr *constr = target->desc->constr;

	target->start = palloc0(sizeof(Datum) * target->desc->natts);
	target->start_isnull = palloc(sizeof(bool) * target->desc->natts);
	for (int i = 0; i < target->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(target->desc, i);

		target->start_isnull[i] = true;
		if (att->attisdropped)
			continue;
		target->has_not_null |= att->attnotnull;
		if (att->attgenerated != '\0')
		{
			EsColumnRule *rule = palloc0(sizeof(EsColumnRule));

			rule->attno = att->attnum;
			rule->expr = es_expr_compile_node(&whole, build_column_default(rel, att->attnum));
			target->generated = lappend(target->generated, rule);
		}
		else
			add_start(target, rel, &nothing, att->attnum);
		if (DomainHasConstraints(att->atttypid))
			add_domain(target, &nothing, att);
	}
	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		EsColumnRule *rule = palloc0(sizeof(EsColumnRule));

		if (!es_compat_is_enforced(&constr->check[i]))
			continue;
		rule->name = constr->check[i].ccname;
		rule->expr = es_expr_compile_node(&whole, stringToNode(constr->check[i].ccbin));
		target->checks = lappend(target->checks, rule);
	}
}

static void
add_start(EsTarget *target, Relation rel, const EsExprScope *scope, AttrNumber attno)
{
	Node	   *node = build_column_default(rel, attno);
	EsBinding	binding = {0};
	EsExpr	   *expr;

	if (node == NULL)
		return;
	expr = es_expr_compile_node(scope, node);
	target->start[attno - 1] = es_expr_eval(expr, &binding, &target->start_isnull[attno - 1]);
}

/* Values are checked as they are assigned, but nobody assigns what is missing. */
static void
add_domain(EsTarget *target, const EsExprScope *scope, Form_pg_attribute att)
{
	EsColumnRule *rule = palloc0(sizeof(EsColumnRule));
	int32		typmod = att->atttypmod;
	Oid			base = getBaseTypeAndTypmod(att->atttypid, &typmod);
	Node	   *null = (Node *) makeNullConst(base, typmod, att->attcollation);

	rule->attno = att->attnum;
	null = coerce_to_domain(null, base, typmod, att->atttypid, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST,
							-1, false);
	rule->expr = es_expr_compile_node(scope, null);
	target->domains = lappend(target->domains, rule);
}

static void
survey_indexes(EsTarget *target, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		target->foreign_indexes |= may_call(target, index);
		target->has_other_unique |= lfirst_oid(lc) != target->key_index &&
			(index->rd_index->indisunique || index->rd_index->indisexclusion);
		index_close(index, NoLock);
	}
	list_free(indexes);
}

/*
 * May an entry call code of users?  An expression or a predicate may, even where
 * it looks constant by now; types bring support functions, as a range does its
 * subtype_diff.
 */
static bool
may_call(const EsTarget *target, Relation index)
{
	if (!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return true;
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		AttrNumber	attno = index->rd_index->indkey.values[i];

		if (attno > 0 && TupleDescAttr(target->desc, attno - 1)->atttypid >= FirstNormalObjectId)
			return true;
	}
	return false;
}

/*
 * 1.0 is 1.00 and jsonb has no image of its own; but texts that some collation
 * calls equal are not.
 */
static bool
same_value(Form_pg_attribute att, Datum a, Datum b)
{
	TypeCacheEntry *type;

	if (datum_image_eq(a, b, att->attbyval, att->attlen))
		return true;
	if (OidIsValid(att->attcollation))
		return false;
	type = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR_FINFO);
	return OidIsValid(type->eq_opr) && type->eq_opr < FirstNormalObjectId &&
		DatumGetBool(FunctionCall2(&type->eq_opr_finfo, a, b));
}

/* Written by a transaction that ours regards as still running? */
static void
check_visible(const EsTarget *target, HeapTuple row)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(row->t_data);

	if (TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) &&
		XidInMVCCSnapshot(xmin, GetTransactionSnapshot()))
		es_target_lost_race(target);
}

/* Gone, but there for our snapshot: deleted by such a transaction. */
static void
check_invisible(const EsTarget *target, Relation rel, Relation index, ScanKey keys, TupleTableSlot *slot)
{
	if (fetch_by_key(rel, index, GetTransactionSnapshot(), keys, target->nkeys, slot))
	{
		HeapTuple	row = ExecCopySlotHeapTuple(slot);

		/* Not if it was we who deleted it, earlier in this command. */
		if (!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(row->t_data)))
			es_target_lost_race(target);
	}
}

static bool
fetch_by_key(Relation rel, Relation index, Snapshot snapshot, ScanKey keys, int nkeys, TupleTableSlot *slot)
{
	IndexScanDesc scan = es_compat_index_beginscan(rel, index, snapshot, nkeys);
	bool		found;

	index_rescan(scan, keys, nkeys, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	return found;
}

void
es_target_lost_race(const EsTarget *target)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access to projection %s due to concurrent update", target->name),
			 errdetail("Another transaction changed the row after this one took its snapshot."),
			 errhint("Retry the transaction.")));
}
