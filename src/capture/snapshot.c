/*
 * snapshot.c
 *		Snapshots: what a stream had come to at some of its versions.
 *
 * By its category's policy a snapshot is taken with every n-th event of a stream,
 * in the transaction that appends it, once its events are written: the stream is
 * folded from its last snapshot on.  The stream's lock is held, so nobody else
 * takes the same one.  Whatever is wrong with a fold is a warning then: to append
 * does not depend on it.
 *
 * A snapshot counts where it says what a replay from the first event would:
 * nothing of its stream may have been corrected, and what its row was made under
 * (the projection's version, the table's columns) must be what there is now.
 *
 * Rows are kept as captured events have them: {"column": {"new": value}}.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "append/hall.h"
#include "capture/snapshot.h"
#include "capture/value.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "log/attempt.h"
#include "log/catalog.h"
#include "log/correction.h"
#include "log/json.h"
#include "log/read.h"
#include "log/stream.h"
#include "log/word.h"
#include "rules/category.h"
#include "rules/upcast.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

enum
{
	COL_STREAM,
	COL_TARGET,
	COL_VERSION,
	COL_POSITION,
	COL_RECORDED_AT,
	COL_OCCURRED_AT,
	COL_EVENTS,
	COL_STATE,
	COL_DEFINITION,
	COL_ROW_DATA,
	COL_COUNT
};

/* A snapshot on its way into the table. */
typedef struct Draft
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
} Draft;

/* Snapshots of one stream, before they are written. */
typedef struct Taking
{
	const text *stream;
	List	   *drafts;			/* of Draft */
} Taking;

static void take(const text *stream);
static bool may_fail(int sqlstate);
static void draft_all(void *arg);
static List *histories_of(const char *category);
static Draft *draft_one(const text *stream, int64 upto, const EsHistory *history);
static int64 head_of(const text *stream);
static bool find(const EsHistory *history, const EsPast *past, Draft *found);
static int	clock_column(const EsPast *past);
static const text *target_name(const EsHistory *history);
static int64 definition_of(const EsHistory *history);
static bool has_rule(const text *type, void *arg);
static uint64 add_hash(uint64 hash, const void *bytes, int length);
static Jsonb *row_to_changes(const EsHistory *history, HeapTuple row);

int64
es_snapshot_resume(EsPast *past, const EsHistory *history, EsPastRows *rows)
{
	EsPastClock clock = {.stream_id = past->stream_id};
	Draft		found;

	/* A snapshot shows all that there is. */
	if (OidIsValid(past->moment.reader) || past->stream_id == 0 ||
		es_corrections_touch(past->corrections, past->stream_id) ||
		(history != NULL && !history->is_single) || !find(history, past, &found))
		return 0;
	clock.time = DatumGetTimestampTz(found.values[clock_column(past)]);
	clock.occurred_at = DatumGetTimestampTz(found.values[COL_OCCURRED_AT]);
	es_past_skip(past, DatumGetInt64(found.values[COL_VERSION]), &clock,
				 es_word_text(DatumGetInt32(found.values[COL_STATE])));
	if (rows != NULL && !found.nulls[COL_ROW_DATA])
		es_past_rows_restore(rows, DatumGetJsonbP(found.values[COL_ROW_DATA]),
							 DatumGetInt64(found.values[COL_POSITION]));
	return DatumGetInt64(found.values[COL_EVENTS]);
}

/* ---- taking ---- */

/* A fold may fail; so it runs in a subtransaction, what it found is written after. */
static void
take(const text *stream)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource snapshot", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	Taking		taking = {.stream = stream};
	ErrorData  *error = es_attempt(draft_all, &taking, may_fail);
	ListCell   *lc;

	if (error != NULL)
		ereport(WARNING,
				(errmsg("no snapshot was taken of stream \"%s\"", text_to_cstring(stream)),
				 errdetail("%s", error->message)));
	foreach(lc, error == NULL ? taking.drafts : NIL)
	{
		Relation	rel = table_open(es_catalog_oid(ES_REL_SNAPSHOT), RowExclusiveLock);
		Draft	   *draft = lfirst(lc);

		es_catalog_insert(rel, draft->values, draft->nulls);
		table_close(rel, NoLock);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

/* All but a cancelled statement and the like. */
static bool
may_fail(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_OPERATOR_INTERVENTION;
}

/* At the last version that is due; versions between it and the one before are not. */
static void
draft_all(void *arg)
{
	Taking	   *taking = arg;
	const text *stream = taking->stream;
	char	   *category = pnstrdup(VARDATA_ANY(stream), es_stream_category_length(stream));
	int32		every = es_category_get(category)->snapshot_every;
	int64		head = head_of(stream);
	ListCell   *lc;

	if (every <= 0 || head < every)
		return;
	foreach(lc, histories_of(category))
	{
		Draft	   *draft = draft_one(stream, head - head % every, lfirst(lc));

		if (draft != NULL)
			taking->drafts = lappend(taking->drafts, draft);
	}
}

/* Version of the stream's last event, ours too; 0 if corrections make snapshots useless. */
static int64
head_of(const text *stream)
{
	EsMoment	now = {.at = DT_NOEND};
	EsPast	   *past = es_past_begin_stream(stream, &now, SnapshotSelf);
	EsScan	   *scan = es_scan_stream(stream, PG_INT64_MAX, true, SnapshotSelf);
	EsEvent		last;
	int64		version = 0;

	es_scan_as_stored(scan);
	if (!es_corrections_touch(past->corrections, past->stream_id) && es_scan_next(scan, &last))
		version = DatumGetInt64(last.value[ES_EVENT_VERSION]);
	es_scan_end(scan);
	es_past_end(past);
	return version;
}

/* The tables with a row for each stream of a category; NULL stands for the state alone. */
static List *
histories_of(const char *category)
{
	const EsTracking *tracking = es_tracking_of_category(category);
	EsHistory  *history = NULL;
	List	   *histories;
	ListCell   *lc;

	if (tracking != NULL && tracking->is_active && OidIsValid(tracking->relid))
		history = es_history_make(tracking->relid);
	histories = list_make1(history);
	foreach(lc, es_projection_list(cstring_to_text(category)))
	{
		history = es_history_make(((EsProjection *) lfirst(lc))->target->relid);
		if (history != NULL && history->is_single)
			histories = lappend(histories, history);
	}
	return histories;
}

/* NULL if there is one of this version, or it is one that counts for nothing. */
static Draft *
draft_one(const text *stream, int64 upto, const EsHistory *history)
{
	Draft	   *draft = palloc0(sizeof(Draft));
	EsMoment	now = {.at = DT_NOEND};
	EsPast	   *past = es_past_begin_stream(stream, &now, SnapshotSelf);
	EsPastRows *rows = history == NULL ? NULL : es_past_rows_begin(history);
	int64		events = es_snapshot_resume(past, history, rows);
	int64		version = 0;
	EsEvent		event;
	HeapTuple	row;

	while (past->version < upto && es_past_next(past, &event))
	{
		events++;
		version = past->version;
		draft->values[COL_POSITION] = event.value[ES_EVENT_POSITION];
		draft->values[COL_RECORDED_AT] = event.value[ES_EVENT_RECORDED_AT];
		if (rows != NULL)
			(void) es_past_rows_apply(rows, &event);
	}
	draft->values[COL_STREAM] = Int64GetDatum(past->stream_id);
	draft->values[COL_TARGET] = PointerGetDatum(target_name(history));
	draft->values[COL_VERSION] = Int64GetDatum(version);
	draft->values[COL_OCCURRED_AT] = TimestampTzGetDatum(past->clock.occurred_at);
	draft->values[COL_EVENTS] = Int64GetDatum(events);
	draft->values[COL_STATE] = Int32GetDatum(es_word_id(past->state));
	draft->values[COL_DEFINITION] = Int64GetDatum(definition_of(history));
	row = rows == NULL ? NULL : es_past_rows_own(rows);
	draft->nulls[COL_ROW_DATA] = row == NULL;
	if (row != NULL)
		draft->values[COL_ROW_DATA] = JsonbPGetDatum(row_to_changes(history, row));
	es_past_end(past);
	return version == upto ? draft : NULL;
}

/* ---- finding ---- */

/* Clocks of a stream never go back, so the first that is not too late is the one. */
static bool
find(const EsHistory *history, const EsPast *past, Draft *found)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SNAPSHOT), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_SNAPSHOT_PKEY), AccessShareLock);
	int64		definition = definition_of(history);
	int			clock = clock_column(past);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	ScanKeyInit(&keys[0], COL_STREAM + 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(past->stream_id));
	ScanKeyInit(&keys[1], COL_TARGET + 1, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(target_name(history)));
	keys[1].sk_collation = C_COLLATION_OID;
	scan = systable_beginscan_ordered(rel, index, past->snapshot, 2, keys);
	while (!result && HeapTupleIsValid(tuple = systable_getnext_ordered(scan, BackwardScanDirection)))
	{
		heap_deform_tuple(tuple, RelationGetDescr(rel), found->values, found->nulls);
		if (DatumGetTimestampTz(found->values[clock]) > past->moment.at ||
			DatumGetInt64(found->values[COL_DEFINITION]) != definition)
			continue;
		result = true;
		if (!found->nulls[COL_ROW_DATA])
			found->values[COL_ROW_DATA] = JsonbPGetDatum(DatumGetJsonbPCopy(found->values[COL_ROW_DATA]));
	}
	systable_endscan_ordered(scan);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return result;
}

static int
clock_column(const EsPast *past)
{
	return past->moment.basis == ES_BASIS_RECORDED ? COL_RECORDED_AT : COL_OCCURRED_AT;
}

static const text *
target_name(const EsHistory *history)
{
	return history == NULL || history->projection == NULL ? es_empty_text() :
		cstring_to_text(history->projection->name);
}

/* A number that is another one as soon as a fold may come to another row. */
static int64
definition_of(const EsHistory *history)
{
	TupleConstr *constr;
	uint64		hash;

	if (history == NULL)
		return 0;
	constr = history->desc->constr;
	hash = history->projection == NULL ? 0 : (uint64) history->projection->version +
		es_upcast_stamp(history->projection->categories, has_rule, history->projection);
	for (int i = 0; i < history->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(history->desc, i);

		hash = add_hash(hash, NameStr(att->attname), strlen(NameStr(att->attname)));
		hash = add_hash(hash, &att->atttypid, sizeof(att->atttypid));
		hash = add_hash(hash, &att->atttypmod, sizeof(att->atttypmod));
		hash = add_hash(hash, &att->attisdropped, sizeof(att->attisdropped));
	}
	for (int i = 0; constr != NULL && i < constr->num_defval; i++)
		hash = add_hash(hash, constr->defval[i].adbin, strlen(constr->defval[i].adbin));
	return (int64) hash;
}

static bool
has_rule(const text *type, void *arg)
{
	return es_projection_rule(arg, type) != NULL;
}

static uint64
add_hash(uint64 hash, const void *bytes, int length)
{
	return hash_bytes_extended(bytes, length, hash);
}

static Jsonb *
row_to_changes(const EsHistory *history, HeapTuple row)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < history->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(history->desc, i);
		bool		isnull;
		Datum		value = att->attisdropped ? (Datum) 0 : heap_getattr(row, i + 1, history->desc, &isnull);

		if (att->attisdropped || isnull)
			continue;
		es_json_push_key(&state, NameStr(att->attname));
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		es_json_push_key(&state, "new");
		es_value_push(&state, WJB_VALUE, value, false, att->atttypid);
		if (es_value_is_json_null(value, false, att->atttypid))
		{
			es_json_push_key(&state, "json_null");
			pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
			es_json_push_element(&state, "new");
			pushJsonbValue(&state, WJB_END_ARRAY, NULL);
		}
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
es_snapshot_init(void)
{
	es_batch_on_milestone(take);
}
