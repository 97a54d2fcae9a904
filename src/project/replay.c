/*
 * replay.c
 *		History folded anew, as corrected: verify_projection compares the table
 *		with it, rebuild_projection writes the rows that differ.
 *
 * Log and table are read under one snapshot.  A rebuild takes SHARE ROW
 * EXCLUSIVE on the table first and its snapshot then: whoever has appended but
 * not folded yet waits for the table, with the lock of its stream or key in
 * hand, so nothing later can be in the snapshot.  Of a projection in mode async
 * history ends where its cursor stands (project/apply.h).
 *
 * Memory: the rows of the projection, for the time of the call.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "errors.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/correction.h"
#include "log/final.h"
#include "log/guarded.h"
#include "log/json.h"
#include "log/read.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/fold_row.h"
#include "project/replay.h"
#include "rules/expr_parts.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_verify_projection);
PG_FUNCTION_INFO_V1(eventsource_rebuild_projection);
PG_FUNCTION_INFO_V1(eventsource_projection_definitions);

static EsProjection *open_to_write(Oid relid);
static int64 history_end(const EsProjection *projection, const EsFinal *final, bool stays);
static void fold_history(EsFold *fold, EsProjection *projection, int64 upto, Snapshot snapshot);
static int64 mark_differences(EsFold *fold, EsProjection *projection, Snapshot snapshot);
static bool mark_row(EsFold *fold, const EsTarget *target, TupleTableSlot *slot);
static EsFold *trace_differences(EsFold *fold, EsProjection *projection, int64 upto, Snapshot snapshot);
static void put_difference(ReturnSetInfo *result, EsRow *row);
static int64 parting_position(const EsRow *row);
static void row_key(const EsTarget *target, TupleTableSlot *slot, Datum *key);
static void read_key(const EsTarget *target, Jsonb *given, Datum *key);
static Datum read_key_column(const EsTarget *target, const EsKeyColumn *column, Jsonb *given);
static Datum read_value(const EsTarget *target, Form_pg_attribute att, char *string);

Datum
eventsource_verify_projection(PG_FUNCTION_ARGS)
{
	EsProjection *projection = es_projection_open_to_read(PG_GETARG_OID(0),
														  "Verifying a projection shows rows of its table.");
	Snapshot	snapshot = RegisterSnapshot(GetActiveSnapshot());
	int64		upto = es_apply_shown(projection, snapshot);
	EsFold	   *fold = es_fold_begin_replay(CurrentMemoryContext, projection);

	InitMaterializedSRF(fcinfo, 0);
	fold_history(fold, projection, upto, snapshot);
	if (mark_differences(fold, projection, snapshot) > 0)
	{
		EsFold	   *traced = trace_differences(fold, projection, upto, snapshot);
		EsRowScan	scan = {0};
		EsRow	   *row;

		while ((row = es_fold_next_row(traced, &scan)) != NULL)
			put_difference((ReturnSetInfo *) fcinfo->resultinfo, row);
	}
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

Datum
eventsource_rebuild_projection(PG_FUNCTION_ARGS)
{
	EsProjection *projection;
	Datum		key[INDEX_MAX_KEYS];

	PreventCommandIfReadOnly("eventsource.rebuild_projection()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rebuild_projection needs a table"),
				 errdetail("Argument \"target\" is null."),
				 errhint("Name the table: eventsource.rebuild_projection('my_table').")));
	projection = open_to_write(PG_GETARG_OID(0));
	if (PG_ARGISNULL(1))
		PG_RETURN_INT64(es_replay_rebuild(projection, NULL));
	read_key(projection->target, PG_GETARG_JSONB_P(1), key);
	PG_RETURN_INT64(es_replay_rebuild(projection, key));
}

/* What the view eventsource.projections shows. */
Datum
eventsource_projection_definitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_config_list("projection"))
	{
		EsDefinition *definition = lfirst(lc);
		Datum		values[5];
		bool		nulls[5] = {false};

		if (strcmp(definition->type, "projection_defined") != 0)
			continue;
		values[0] = CStringGetTextDatum(definition->name);
		values[1] = ObjectIdGetDatum(es_guarded_relid(definition->name));
		nulls[1] = !OidIsValid(DatumGetObjectId(values[1]));
		values[2] = Int64GetDatum(definition->version);
		values[3] = Int64GetDatum(definition->position);
		values[4] = JsonbPGetDatum(definition->data);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

int64
es_replay_rebuild(EsProjection *projection, const Datum *only_key)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource rebuild", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	EsFinal    *final = es_final_begin();
	int64		upto = history_end(projection, final, only_key != NULL);
	EsFold	   *fold = es_fold_begin_replay(work, projection);
	int64		count;

	if (only_key != NULL)
	{
		(void) es_fold_enter(fold, projection->target, only_key);
		es_fold_restrict(fold);
	}
	fold_history(fold, projection, upto, es_final_snapshot(final));
	count = mark_differences(fold, projection, es_final_snapshot(final));
	es_final_end(final);
	es_replay_check_rows(fold);
	es_fold_flush(fold);
	if (projection->is_async && only_key == NULL)
		es_apply_set(projection->name, upto);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return count;
}

int64
es_replay_differences(EsProjection *projection)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource replay", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	EsFinal    *final = es_final_begin();
	EsFold	   *fold = es_fold_begin_replay(work, projection);
	int64		count;

	fold_history(fold, projection, history_end(projection, final, false), es_final_snapshot(final));
	count = mark_differences(fold, projection, es_final_snapshot(final));
	es_final_end(final);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return count;
}

/* An inline projection folds what is not final yet, too. */
static int64
history_end(const EsProjection *projection, const EsFinal *final, bool stays)
{
	if (!projection->is_async)
		return PG_INT64_MAX;
	return stays ? es_apply_position(projection->name, SnapshotSelf) : es_final_upto(final);
}

/* Locks the table, after the cursor if it has one; the caller must own it. */
static EsProjection *
open_to_write(Oid relid)
{
	EsProjection *projection;
	char	   *name = get_rel_name(relid);

	if (name != NULL && !has_privs_of_role(GetUserId(), es_catalog_relation_owner(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", name),
				 errdetail("Rebuilding a projection writes its table."),
				 errhint("Let the table's owner do it.")));
	es_apply_lock_table(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
	projection = es_projection_expect(relid);
	es_projection_expect_target(projection, false);
	return projection;
}

static void
fold_history(EsFold *fold, EsProjection *projection, int64 upto, Snapshot snapshot)
{
	EsCorrections *corrections = es_corrections_load_upto(upto, snapshot);
	EsScan	   *scan = es_scan_log(0, upto, projection->categories, snapshot);
	EsEvent		event;

	es_scan_pack(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (es_corrections_apply(corrections, &event))
			es_fold_apply(fold, &event);
	}
	es_scan_end(scan);
}

/*
 * Marks as changed, and counts, the rows that are not what the table has; those
 * that only the table has are entered.
 */
static int64
mark_differences(EsFold *fold, EsProjection *projection, Snapshot snapshot)
{
	const EsTarget *target = projection->target;
	Relation	rel = table_open(target->relid, NoLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc table = table_beginscan(rel, snapshot, 0, NULL);
	EsRowScan	scan = {0};
	EsRow	   *row;
	int64		count = 0;

	while ((row = es_fold_next_row(fold, &scan)) != NULL)
		row->changed = false;
	while (table_scan_getnextslot(table, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (mark_row(fold, target, slot))
			count++;
	}
	table_endscan(table);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);

	scan.next = 0;
	while ((row = es_fold_next_row(fold, &scan)) != NULL)
	{
		if (!row->compared && row->now != NULL)
		{
			row->changed = true;
			count++;
		}
	}
	return count;
}

/* True if the row of the table differs. */
static bool
mark_row(EsFold *fold, const EsTarget *target, TupleTableSlot *slot)
{
	Datum		key[INDEX_MAX_KEYS];
	bool		free_tuple;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &free_tuple);
	EsRow	   *row;

	row_key(target, slot, key);
	row = es_fold_find(fold, target, key);
	if (row == NULL && es_fold_is_restricted(fold))
		return false;
	if (row == NULL)
		row = es_fold_enter(fold, target, key);
	row->compared = true;
	row->changed = row->now == NULL || !es_target_same_row(target, row->now, tuple);
	if (row->changed)
		row->found = es_fold_keep(fold, tuple);
	if (free_tuple)
		heap_freetuple(tuple);
	return row->changed;
}

/* The rows that differ, folded once more with what was found in sight. */
static EsFold *
trace_differences(EsFold *fold, EsProjection *projection, int64 upto, Snapshot snapshot)
{
	EsFold	   *traced = es_fold_begin_replay(CurrentMemoryContext, projection);
	EsRowScan	scan = {0};
	EsRow	   *row;

	while ((row = es_fold_next_row(fold, &scan)) != NULL)
	{
		EsRow	   *copy;

		if (!row->changed)
			continue;
		copy = es_fold_enter(traced, projection->target, row->key);
		copy->found = row->found;
		copy->parted_at = row->found == NULL ? ES_NOT_PARTED : ES_NEVER_EQUAL;
	}
	es_fold_restrict(traced);
	fold_history(traced, projection, upto, snapshot);
	return traced;
}

static void
put_difference(ReturnSetInfo *result, EsRow *row)
{
	Jsonb	   *expected = row->now == NULL ? NULL : es_target_row_to_jsonb(row->target, row->now);
	Jsonb	   *found = row->found == NULL ? NULL : es_target_row_to_jsonb(row->target, row->found);
	int64		position = parting_position(row);
	Datum		values[4];
	bool		nulls[4];

	values[0] = JsonbPGetDatum(es_target_key_to_jsonb(row->target, expected != NULL ? expected : found));
	values[1] = JsonbPGetDatum(expected);
	values[2] = JsonbPGetDatum(found);
	values[3] = Int64GetDatum(position);
	nulls[0] = false;
	nulls[1] = expected == NULL;
	nulls[2] = found == NULL;
	nulls[3] = position == 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Where the row was at no time as found, the last event is all there is to tell. */
static int64
parting_position(const EsRow *row)
{
	return row->parted_at == ES_NEVER_EQUAL ? row->last_position : row->parted_at;
}

/* A replay checks constraints at the end, as rows come to the table. */
void
es_replay_check_rows(EsFold *fold)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource row check", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	EsRowScan	scan = {0};
	EsRow	   *row;

	while ((row = es_fold_next_row(fold, &scan)) != NULL)
	{
		TupleTableSlot *slot;

		if (!row->changed || row->now == NULL)
			continue;
		slot = MakeSingleTupleTableSlot(row->target->desc, &TTSOpsHeapTuple);
		ExecStoreHeapTuple(row->now, slot, false);
		slot_getallattrs(slot);
		es_target_check_row(row->target, slot);
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

static void
row_key(const EsTarget *target, TupleTableSlot *slot, Datum *key)
{
	for (int i = 0; i < target->nkeys; i++)
	{
		bool		isnull;

		key[i] = slot_getattr(slot, target->keys[i].attno, &isnull);
	}
}

/* A key given as an object: {"column": value}. */
static void
read_key(const EsTarget *target, Jsonb *given, Datum *key)
{
	if (!JB_ROOT_IS_OBJECT(given) || (int) JB_ROOT_COUNT(given) != target->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key of projection %s must be an object with its %d key column(s)",
						target->name, target->nkeys),
				 errdetail("Given is %s.", JsonbToCString(NULL, &given->root, VARSIZE(given))),
				 errhint("For instance: {\"%s\": ...}.",
						 NameStr(TupleDescAttr(target->desc, target->keys[0].attno - 1)->attname))));
	for (int i = 0; i < target->nkeys; i++)
		key[i] = read_key_column(target, &target->keys[i], given);
}

void
es_replay_read_text_key(const EsTarget *target, const char *text, Datum *key)
{
	if (target->nkeys == 1)
		key[0] = read_value(target, TupleDescAttr(target->desc, target->keys[0].attno - 1), pstrdup(text));
	else
		read_key(target, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))), key);
}

static Datum
read_key_column(const EsTarget *target, const EsKeyColumn *column, Jsonb *given)
{
	Form_pg_attribute att = TupleDescAttr(target->desc, column->attno - 1);
	const char *name = NameStr(att->attname);
	JsonbValue	buffer;
	JsonbValue *value = es_json_find(&given->root, name, &buffer);
	char	   *string;

	if (value == NULL || value->type == jbvNull || value->type == jbvBinary)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key of projection %s has no value for column \"%s\"", target->name, name),
				 errdetail("Given is %s.", JsonbToCString(NULL, &given->root, VARSIZE(given))),
				 errhint("Give a string, number or boolean for each column of the primary key.")));
	if (value->type == jbvString)
		string = es_json_string(value);
	else if (value->type == jbvNumeric)
		string = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	else
		string = pstrdup(value->val.boolean ? "true" : "false");
	return read_value(target, att, string);
}

/* The constraints of a domain belong to the table, too. */
static Datum
read_value(const EsTarget *target, Form_pg_attribute att, char *string)
{
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;
	Oid			input;
	Oid			param;
	Datum		value;

	getTypeInputInfo(att->atttypid, &input, &param);
	es_expr_enter_room(&room, target->owner, false, &traits);
	value = OidInputFunctionCall(input, string, param, att->atttypmod);
	es_expr_leave_room(&room);
	return value;
}
