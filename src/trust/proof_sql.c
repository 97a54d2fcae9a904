/*
 * proof_sql.c
 *		SQL functions of the sealed tree: checkpoint, inclusion_proof,
 *		consistency_proof.
 *
 * They read what is sealed, under the newest snapshot in any isolation level, and
 * cost a few tiles each, however long the log is.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/leaves.h"
#include "log/read.h"
#include "log/rights.h"
#include "trust/checkpoint.h"
#include "trust/tree.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_checkpoint);
PG_FUNCTION_INFO_V1(eventsource_inclusion_proof);
PG_FUNCTION_INFO_V1(eventsource_consistency_proof);

/* A proof has at most two hashes for each level of a tree. */
#define MAX_HASHES	128

typedef struct Proof
{
	int			count;
	Datum		hashes[MAX_HASHES]; /* bytea */
} Proof;

/* What the proofs of one statement have read, most of which the next one needs, too. */
typedef struct Known
{
	MemoryContext context;		/* of the tree */
	EsTree	   *tree;
} Known;

static EsTree *
get_tree(FmgrInfo *function, const EsSeal *seal, Snapshot snapshot)
{
	Known	   *known = function->fn_extra;
	MemoryContext caller;

	if (known == NULL)
	{
		known = MemoryContextAllocZero(function->fn_mcxt, sizeof(Known));
		known->context = AllocSetContextCreate(function->fn_mcxt, "eventsource proofs", ALLOCSET_DEFAULT_SIZES);
		function->fn_extra = known;
	}
	if (known->tree != NULL && es_tree_continue(known->tree, seal, snapshot))
		return known->tree;
	known->tree = NULL;
	MemoryContextReset(known->context);
	caller = MemoryContextSwitchTo(known->context);
	known->tree = es_tree_begin(seal, snapshot);
	MemoryContextSwitchTo(caller);
	return known->tree;
}

static Datum
hash_datum(const uint8 *hash)
{
	bytea	   *value = palloc(VARHDRSZ + ES_HASH_SIZE);

	SET_VARSIZE(value, VARHDRSZ + ES_HASH_SIZE);
	memcpy(VARDATA(value), hash, ES_HASH_SIZE);
	return PointerGetDatum(value);
}

/* What a limited reader does not see is not there. */
static bool
is_visible(int64 position, Snapshot snapshot)
{
	EsScan	   *scan;
	bool		result;

	if (es_rights_reads_all())
		return true;
	scan = es_scan_whole_log(position - 1, position, snapshot);
	es_scan_for_reader(scan);
	result = es_scan_next_tuple(scan) != NULL;
	es_scan_end(scan);
	return result;
}

static void
put_root(Proof *proof, EsTree *tree, int64 from, int64 upto)
{
	uint8		hash[ES_HASH_SIZE];

	es_tree_root(tree, from, upto, hash);
	proof->hashes[proof->count++] = hash_datum(hash);
}

static Datum
proof_datum(Proof *proof)
{
	return PointerGetDatum(construct_array(proof->hashes, proof->count, BYTEAOID, -1, false, TYPALIGN_INT));
}

/* The size asked for, by default (NULL) all that is sealed. */
static int64
get_size(FunctionCallInfo fcinfo, int arg, const char *name, const EsSeal *seal)
{
	int64		size = PG_ARGISNULL(arg) ? seal->size : PG_GETARG_INT64(arg);

	if (size < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", name),
				 errdetail("It is " INT64_FORMAT ".", size),
				 errhint("It is a number of leaves, as in the second line of a checkpoint.")));
	if (size > seal->size)
		ereport(ERROR,
				(errcode(ES_ERRCODE_LOG_DIVERGED),
				 errmsg("the log has no " INT64_FORMAT " sealed events", size),
				 errdetail("Sealed are " INT64_FORMAT ".", seal->size),
				 errhint("Call eventsource.seal(). If a checkpoint says so that is older than this, the log was shortened: eventsource.verify_log(checkpoint) tells.")));
	return size;
}

/* checkpoint(tree_size bigint DEFAULT NULL) */
Datum
eventsource_checkpoint(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EsSeal		seal;
	int64		size;
	uint8		root[ES_HASH_SIZE];
	bool		is_sealed = es_seal_last(snapshot, &seal);

	size = get_size(fcinfo, 0, "tree_size", &seal);
	if (size == 0)
		es_merkle_root(NULL, 0, root);
	else if (size == seal.size)
		memcpy(root, seal.root, ES_HASH_SIZE);
	else
		es_tree_root(es_tree_begin(&seal, snapshot), 0, size, root);
	UnregisterSnapshot(snapshot);
	if (!is_sealed)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(es_checkpoint_form(size, root));
}

/* RFC 6962's PATH(leaf, D[from:upto]). */
static void
put_path(Proof *proof, EsTree *tree, int64 leaf, int64 from, int64 upto)
{
	int64		middle;

	if (upto - from == 1)
		return;
	middle = from + (INT64CONST(1) << es_merkle_split(upto - from));
	if (leaf < middle)
	{
		put_path(proof, tree, leaf, from, middle);
		put_root(proof, tree, middle, upto);
	}
	else
	{
		put_path(proof, tree, leaf, middle, upto);
		put_root(proof, tree, from, middle);
	}
}

static Datum
stored_hash(int64 position, Snapshot snapshot)
{
	EsLeaves   *leaves = es_leaves_begin(position - 1, position, false, snapshot);
	EsLeaf		leaf = {0};

	if (!es_leaves_next(leaves, &leaf))
		es_tree_report_damage(psprintf("There is no event at position " INT64_FORMAT ".", position));
	es_leaves_end(leaves);
	return hash_datum(leaf.entry);
}

/* inclusion_proof(event_position bigint, tree_size bigint DEFAULT NULL) */
Datum
eventsource_inclusion_proof(PG_FUNCTION_ARGS)
{
	int64		position = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Proof	   *proof = palloc0(sizeof(Proof));
	EsSeal		seal;
	EsTree	   *tree;
	int64		leaf;
	int64		size;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {0};
	uint8		root[ES_HASH_SIZE];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	(void) es_seal_last(snapshot, &seal);
	size = get_size(fcinfo, 1, "tree_size", &seal);
	tree = get_tree(fcinfo->flinfo, &seal, snapshot);
	leaf = es_tree_leaf_at(tree, position);
	if (leaf >= 0 && !is_visible(position, snapshot))
		leaf = -1;
	if (leaf < 0 || leaf >= size)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("no event at position " INT64_FORMAT " is in the tree of " INT64_FORMAT " events",
						position, size),
				 errdetail("Sealed are " INT64_FORMAT " events, up to position " INT64_FORMAT ".",
						   seal.size, seal.position),
				 leaf >= size ?
				 errhint("The event was sealed later: without tree_size the newest tree is taken.") :
				 position > seal.position ?
				 errhint("Events that are final are sealed by eventsource.seal(), or by the worker.") :
				 errhint("There is no event at this position; rolled back appends leave gaps.")));
	put_path(proof, tree, leaf, 0, size);
	es_tree_root(tree, 0, size, root);
	values[0] = Int64GetDatum(leaf);
	values[1] = Int64GetDatum(size);
	values[2] = stored_hash(position, snapshot);
	values[3] = hash_datum(root);
	values[4] = proof_datum(proof);
	UnregisterSnapshot(snapshot);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* RFC 6962's SUBPROOF(old, D[from:upto], is_whole). */
static void
put_subproof(Proof *proof, EsTree *tree, int64 old, int64 from, int64 upto, bool is_whole)
{
	int64		middle;

	if (old == upto)
	{
		if (!is_whole)
			put_root(proof, tree, from, upto);
		return;
	}
	middle = from + (INT64CONST(1) << es_merkle_split(upto - from));
	if (old <= middle)
	{
		put_subproof(proof, tree, old, from, middle, is_whole);
		put_root(proof, tree, middle, upto);
	}
	else
	{
		put_subproof(proof, tree, old, middle, upto, false);
		put_root(proof, tree, from, middle);
	}
}

/* consistency_proof(old_size bigint, new_size bigint DEFAULT NULL) */
Datum
eventsource_consistency_proof(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;
	Proof	   *proof = palloc0(sizeof(Proof));
	EsSeal		seal;
	int64		new_size;
	int64		old_size;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	(void) es_seal_last(snapshot, &seal);
	new_size = get_size(fcinfo, 1, "new_size", &seal);
	old_size = get_size(fcinfo, 0, "old_size", &seal);
	if (old_size > new_size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("old_size must not be above new_size"),
				 errdetail("They are " INT64_FORMAT " and " INT64_FORMAT ".", old_size, new_size),
				 errhint("A log never shrinks.")));
	if (old_size > 0)
		put_subproof(proof, es_tree_begin(&seal, snapshot), old_size, 0, new_size, true);
	UnregisterSnapshot(snapshot);
	PG_RETURN_DATUM(proof_datum(proof));
}
