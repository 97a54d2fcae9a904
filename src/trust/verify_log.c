/*
 * verify_log.c
 *		SQL function verify_log: the whole log, once, against everything that is
 *		known of it.
 *
 * Each event against its own hash and the one before it in its stream
 * (log/chain_check.h); its hash against the tree (verify.h); the tree against a
 * checkpoint that was kept outside; what is gone against what retention said that it
 * took out (prune_account.h).  Under the newest snapshot in any isolation level: what is
 * sealed must be seen.  Segments are locked (ACCESS SHARE) to the end of the transaction,
 * so that nothing goes meanwhile.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/chain_check.h"
#include "log/final.h"
#include "log/leaves.h"
#include "log/segment.h"
#include "log/stream.h"
#include "trust/checkpoint.h"
#include "trust/prune_account.h"
#include "trust/verify.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(eventsource_verify_log);

typedef struct Verification
{
	ReturnSetInfo *result;
	bool		all_events;
	int64		n_tampered;
} Verification;

static const char *const status_names[] = {
	[ES_VERIFY_OK] = "ok",
	[ES_VERIFY_REDACTED] = "redacted",
	[ES_VERIFY_PRUNED] = "pruned",
	[ES_VERIFY_TAMPERED] = "tampered",
};

static void
put_row(void *arg, const EsVerified *event, const char *problem)
{
	Verification *it = arg;
	EsVerifyStatus status = event == NULL ? ES_VERIFY_TAMPERED : event->status;
	Datum		values[5] = {0};
	bool		nulls[5] = {true, true, true, false, true};

	if (status == ES_VERIFY_TAMPERED)
		it->n_tampered++;
	if ((status == ES_VERIFY_OK || status == ES_VERIFY_PRUNED) && !it->all_events)
		return;
	if (event != NULL && event->stream_id == 0)
	{
		values[0] = Int64GetDatum(event->position);
		nulls[0] = false;
	}
	else if (event != NULL)
	{
		values[0] = Int64GetDatum(event->position);
		values[1] = PointerGetDatum(es_stream_name(event->stream_id));
		values[2] = Int64GetDatum(event->version);
		nulls[0] = nulls[2] = false;
		nulls[1] = DatumGetPointer(values[1]) == NULL;
	}
	values[3] = CStringGetTextDatum(status_names[status]);
	if (problem != NULL)
	{
		values[4] = CStringGetTextDatum(problem);
		nulls[4] = false;
	}
	tuplestore_putvalues(it->result->setResult, it->result->setDesc, values, nulls);
}

static void
judge(EsChainCheck *chain, const EsEvent *event, EsVerified *verified)
{
	EsChainVerdict verdict;
	uint8		entry[ES_HASH_SIZE] = {0};
	bytea	   *hash = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);

	es_chain_check_event(chain, event, &verdict);
	memcpy(entry, VARDATA_ANY(hash), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(hash)));
	es_merkle_leaf(entry, verified->leaf);
	verified->position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	verified->stream_id = event->stream_id;
	verified->version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	verified->problem = es_chain_gap(&verdict, event);
	if (verified->problem == NULL)
		verified->problem = verdict.problem;
	verified->status = verified->problem != NULL ? ES_VERIFY_TAMPERED :
		verdict.is_redacted ? ES_VERIFY_REDACTED : ES_VERIFY_OK;
}

static void
verify_events(EsFinal *final, EsVerifyTree *tree, Verification *it)
{
	EsLeaves   *leaves = es_leaves_begin(0, PG_INT64_MAX, true, es_final_snapshot(final));
	EsChainCheck *chain = es_chain_check_begin(es_final_snapshot(final));
	EsPruneCheck *pruned = es_prune_check_begin(es_final_snapshot(final));
	MemoryContext per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource verify",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(per_event);
	EsLeaf		leaf;
	EsVerified	verified;
	bool		any_pruned = false;

	while (es_leaves_next(leaves, &leaf))
	{
		if (leaf.is_pruned)
		{
			verified = (EsVerified)
			{
				.position = leaf.position,.status = ES_VERIFY_PRUNED,
					.problem = es_prune_check_leaf(pruned, leaf.position, leaf.entry)
			};
			if (verified.problem != NULL)
				verified.status = ES_VERIFY_TAMPERED;
			es_merkle_leaf(leaf.entry, verified.leaf);
			any_pruned = true;
		}
		else
			judge(chain, leaf.event, &verified);
		es_verify_tree_event(tree, &verified);
		MemoryContextReset(per_event);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(per_event);
	es_leaves_end(leaves);
	es_prune_check_end(pruned, put_row, it);
	es_verify_erasures(es_chain_check_accounts(chain), es_final_snapshot(final), any_pruned, put_row, it);
	es_chain_check_end(chain);
}

static void
refuse(const Verification *it, char *detail)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_LOG_DIVERGED),
			 errmsg("the log is not the one that the checkpoint was made of"),
			 errdetail("%s %s", detail,
					   it->n_tampered == 0 ? "Within itself it verifies: it was shortened, restored from before the checkpoint, or written anew." :
					   psprintf("Within itself there are " INT64_FORMAT " problem(s).", it->n_tampered)),
			 it->n_tampered == 0 ?
			 errhint("Compare this database with the server, replica or backup that the checkpoint came from.") :
			 errhint("eventsource.verify_log() without a checkpoint lists them.")));
}

/* verify_log(checkpoint text DEFAULT NULL, all_events boolean DEFAULT false) */
Datum
eventsource_verify_log(PG_FUNCTION_ARGS)
{
	Verification it = {(ReturnSetInfo *) fcinfo->resultinfo, !PG_ARGISNULL(1) && PG_GETARG_BOOL(1), 0};
	bool		has_checkpoint = !PG_ARGISNULL(0);
	EsFinal    *final;
	EsVerifyTree *tree;
	int64		size = -1;
	int64		leaves;
	uint8		expected[ES_HASH_SIZE];
	uint8		root[ES_HASH_SIZE] = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (has_checkpoint)
		es_checkpoint_parse(PG_GETARG_TEXT_PP(0), &size, expected);
	es_segment_hold_all();
	final = es_final_begin();
	tree = es_verify_tree_begin(es_final_snapshot(final), es_final_upto(final), put_row, &it);
	es_verify_tree_remember(tree, size);
	verify_events(final, tree, &it);
	leaves = es_verify_tree_end(tree, root);
	es_final_end(final);
	if (leaves < size)
		refuse(&it, psprintf("The checkpoint is of " INT64_FORMAT " events, and there are " INT64_FORMAT " up to the watermark%s.",
							 size, leaves, RecoveryInProgress() ? " that this standby has" : ""));
	if (has_checkpoint && memcmp(root, expected, ES_HASH_SIZE) != 0)
		refuse(&it, psprintf("The root of its first " INT64_FORMAT " events is another one.", size));
	return (Datum) 0;
}
