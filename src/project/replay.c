/*
 * replay.c
 *		History folded anew, as corrected: verify_projection compares the table
 *		with it.
 *
 * Log and table are read under one snapshot, which sees the definition in force, with
 * all segments locked (ACCESS SHARE), as what is taken out of them is gone for every
 * snapshot; history ends where it shows the cursor of a projection in mode async
 * (project/apply.h).  Rows that differ are folded once more with what was found in
 * sight, to tell where they parted.
 *
 * Memory: that of two stores (store.c).
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
#include "log/guarded.h"
#include "log/json.h"
#include "log/progress.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/fold_row.h"
#include "project/replay.h"
#include "rules/expr_parts.h"
#include "rules/upcast.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_verify_projection);
PG_FUNCTION_INFO_V1(eventsource_projection_definitions);

static EsProjection *open_as_seen(Oid relid, Snapshot *snapshot);
static bool is_seen(const EsProjection *projection, Snapshot snapshot, bool is_latest);
static bool is_version_seen(const char *kind, const char *name, int64 version, Snapshot snapshot,
							bool is_latest);
static void fold_history(EsStore *store, EsProjection *projection, int64 upto, Snapshot snapshot);
static EsStore *begin_trace(EsStore *store, EsProjection *projection, bool *differs);
static void put_difference(ReturnSetInfo *result, EsRow *row);
static int64 parting_position(const EsRow *row);
static Datum read_key_column(const EsTarget *target, const EsKeyColumn *column, Jsonb *given);
static Datum read_value(const EsTarget *target, Form_pg_attribute att, char *string);

Datum
eventsource_verify_projection(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;
	EsProjection *projection = open_as_seen(PG_GETARG_OID(0), &snapshot);
	int64		upto = es_apply_shown(projection, snapshot);
	EsStore    *store = es_store_begin(CurrentMemoryContext, projection);
	EsStore    *traced;
	EsFold	   *fold;
	bool		differs;

	InitMaterializedSRF(fcinfo, 0);
	fold_history(store, projection, upto, snapshot);
	es_replay_compare(store, projection, snapshot);
	traced = begin_trace(store, projection, &differs);
	es_store_end(store);
	if (differs)
		fold_history(traced, projection, upto, snapshot);
	while (differs && (fold = es_store_next(traced)) != NULL)
	{
		EsRowScan	scan = {0};
		EsRow	   *row;

		while ((row = es_fold_next_row(fold, &scan)) != NULL)
			put_difference((ReturnSetInfo *) fcinfo->resultinfo, row);
	}
	es_store_end(traced);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/*
 * The projection, with a registered snapshot that shows the table by its rules, by the
 * upcasters in force, and without what has been taken out of the log: all of it may
 * have changed since the statement began.
 */
static EsProjection *
open_as_seen(Oid relid, Snapshot *snapshot)
{
	EsProjection *projection = es_projection_open_to_read(relid, "Verifying a projection shows rows of its table.");
	bool		is_latest = false;

	es_segment_hold_all();
	*snapshot = RegisterSnapshot(GetActiveSnapshot());
	while (!is_seen(projection, *snapshot, is_latest))
	{
		CHECK_FOR_INTERRUPTS();
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("projection %s was made anew since the transaction began", projection->target->name),
					 errdetail("The transaction's snapshot shows the table as it was by its former rules, by other upcasters, or before events were taken out of the log."),
					 errhint("Verify it in a new transaction.")));
		UnregisterSnapshot(*snapshot);
		projection = es_projection_expect(relid);
		*snapshot = RegisterSnapshot(GetLatestSnapshot());
		is_latest = true;
	}
	return projection;
}

/* Does the snapshot show what is in force of all that rows follow from? */
static bool
is_seen(const EsProjection *projection, Snapshot snapshot, bool is_latest)
{
	ListCell   *lc;

	if (!is_version_seen("projection", projection->name, projection->version, snapshot, is_latest) ||
		!es_pruned_is_seen(snapshot))
		return false;
	foreach(lc, es_config_list(ES_UPCASTER_KIND))
	{
		EsDefinition *upcaster = lfirst(lc);
		char	   *type = es_json_find_string(&upcaster->data->root, "type");

		if (type != NULL && es_projection_rule(projection, cstring_to_text(type)) != NULL &&
			!is_version_seen(ES_UPCASTER_KIND, upcaster->name, upcaster->version, snapshot, is_latest))
			return false;
	}
	return true;
}

/* What the latest one does not show yet we have defined ourselves, in this very statement. */
static bool
is_version_seen(const char *kind, const char *name, int64 version, Snapshot snapshot, bool is_latest)
{
	int64		seen = es_config_version_seen(kind, name, snapshot);

	return seen == version || (is_latest && seen < version);
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

/* History up to a position, folded into a store whose corrections stay in use. */
static void
fold_history(EsStore *store, EsProjection *projection, int64 upto, Snapshot snapshot)
{
	EsScan	   *scan = es_scan_log(0, upto, projection->categories, snapshot);
	EsEvent		event;

	es_store_use_corrections(store, es_corrections_load_upto(upto, snapshot));
	es_scan_pack(scan);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (!es_event_is_correction(&event))
			es_store_fold(store, &event, es_scan_row(scan));
	}
	es_scan_end(scan);
}

void
es_replay_compare(EsStore *store, EsProjection *projection, Snapshot snapshot)
{
	Relation	rel = table_open(projection->target->relid, NoLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc table = table_beginscan(rel, snapshot, 0, NULL);
	EsProgress	progress;

	es_progress_begin(&progress, psprintf("comparing %s with history", projection->target->name),
					  rel->rd_rel->reltuples < 0 ? ES_PROGRESS_UNKNOWN : (int64) rel->rd_rel->reltuples);
	while (table_scan_getnextslot(table, ForwardScanDirection, slot))
	{
		bool		free_tuple;
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &free_tuple);

		CHECK_FOR_INTERRUPTS();
		es_store_compare(store, tuple);
		if (free_tuple)
			heap_freetuple(tuple);
		es_progress_step(&progress, 1);
	}
	es_progress_end(&progress);
	table_endscan(table);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/* A store of the rows that differ, each with what the table has, before any event. */
static EsStore *
begin_trace(EsStore *store, EsProjection *projection, bool *differs)
{
	EsStore    *traced = es_store_begin(CurrentMemoryContext, projection);
	EsFold	   *fold;

	*differs = false;
	es_store_restrict(traced);
	while ((fold = es_store_next(store)) != NULL)
	{
		EsRowScan	scan = {0};
		EsRow	   *row;

		while ((row = es_fold_next_row(fold, &scan)) != NULL)
		{
			EsRow		start = {.target = row->target,.key = row->key,.found = row->found};

			if (!es_store_row_differs(row))
				continue;
			start.parted_at = row->found == NULL ? ES_NOT_PARTED : ES_NEVER_EQUAL;
			es_store_put(traced, &start);
			*differs = true;
		}
	}
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
	EsRowContext context;

	es_row_begin_context(&context, NULL);
	while ((row = es_fold_next_row(fold, &scan)) != NULL)
	{
		TupleTableSlot *slot;

		if (!row->changed || row->now == NULL)
			continue;
		slot = MakeSingleTupleTableSlot(row->target->desc, &TTSOpsHeapTuple);
		ExecStoreHeapTuple(row->now, slot, false);
		slot_getallattrs(slot);
		context.row = row;
		es_target_check_row(row->target, slot);
		MemoryContextReset(work);
	}
	es_row_end_context(&context);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

/* A key given as an object: {"column": value}. */
void
es_replay_read_key(const EsTarget *target, Jsonb *given, Datum *key)
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
		es_replay_read_key(target, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))), key);
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
