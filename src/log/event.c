/*
 * event.c
 *		Rows of the log: the one place that knows the table's column numbers.
 *
 * The words of an event are stored as ids of the dictionary (0: none), its
 * category, key and stream name as the stream's id, its subject as '' when that
 * is the stream itself.  "extra" is '' most often; else its business time, where that
 * is not recorded_at or something follows, then the commitment to its personal fields,
 * if it has any.  No column is ever null, which spares the null bitmap.
 */
#include "log/event.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_index.h"
#include "log/json.h"
#include "log/stream_name.h"
#include "log/word.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

typedef enum Column
{
	COL_POSITION,
	COL_STREAM,
	COL_VERSION,
	COL_RECORDED_AT,
	COL_TYPE,
	COL_ACTOR,
	COL_RECORDED_BY,
	COL_FROM_STATE,
	COL_TO_STATE,
	COL_REASON,
	COL_MACHINE,
	COL_SCHEMA_VERSION,
	COL_FLAGS,
	COL_HASH,
	COL_DATA,
	COL_METADATA,
	COL_SUBJECT,
	COL_EXTRA,
	COL_COUNT
} Column;

/* How a row begins: none of these is ever null, nor padded. */
typedef struct FixedColumns
{
	int64		position;
	int64		stream;
	int64		version;
	TimestampTz recorded_at;
	int32		type;
	int32		actor;
	int32		recorded_by;
	int32		from_state;
	int32		to_state;
	int32		reason;
	int32		machine;
	int16		schema_version;
	int16		flags;
} FixedColumns;

StaticAssertDecl(sizeof(FixedColumns) == 4 * sizeof(int64) + 7 * sizeof(int32) + 2 * sizeof(int16),
				 "fixed columns have no padding");

/* ---- business time ---- */

TimestampTz
es_event_occurred_at(TimestampTz recorded_at, const bytea *extra)
{
	uint64		n;

	if (VARSIZE_ANY_EXHDR(extra) < sizeof(n))
		return recorded_at;
	memcpy(&n, VARDATA_ANY(extra), sizeof(n));
	return (TimestampTz) pg_ntoh64(n);
}

const uint8 *
es_event_commitment(const bytea *extra)
{
	if (VARSIZE_ANY_EXHDR(extra) != sizeof(uint64) + ES_HASH_SIZE)
		return NULL;
	return (const uint8 *) VARDATA_ANY(extra) + sizeof(uint64);
}

static const bytea *
form_extra(const EsEvent *event)
{
	TimestampTz occurred = DatumGetTimestampTz(event->value[ES_EVENT_OCCURRED_AT]);
	uint64		n = pg_hton64((uint64) occurred);
	Size		size = VARHDRSZ + sizeof(n) + (event->commitment != NULL ? ES_HASH_SIZE : 0);
	bytea	   *result;

	if (occurred == DatumGetTimestampTz(event->value[ES_EVENT_RECORDED_AT]) && event->commitment == NULL)
		return es_empty_text();
	result = palloc(size);
	SET_VARSIZE(result, size);
	memcpy(VARDATA(result), &n, sizeof(n));
	if (event->commitment != NULL)
		memcpy(VARDATA(result) + sizeof(n), event->commitment, ES_HASH_SIZE);
	return result;
}

static void
set_extra(EsEvent *event, const FixedColumns *row, const struct varlena *stored)
{
	const bytea *extra = (const bytea *) stored;
	TimestampTz occurred_at = row->recorded_at;

	event->commitment = NULL;
	if (unlikely(VARSIZE_ANY_EXHDR(extra) > 0))
	{
		occurred_at = es_event_occurred_at(row->recorded_at, extra);
		event->commitment = es_event_commitment(extra);
	}
	es_event_set(event, ES_EVENT_OCCURRED_AT, TimestampTzGetDatum(occurred_at));
	event->vault = event->commitment != NULL ? row->position : 0;
	event->personal = NULL;
}

/* ---- indexes ---- */

bool
es_event_is_index(Relation index, EsEventIndex which)
{
	Form_pg_index form = index->rd_index;
	const int16 *keys = form->indkey.values;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	if (which == ES_INDEX_POSITION)
		return form->indnkeyatts == 1 && keys[0] == COL_POSITION + 1;
	return form->indnkeyatts == 2 && keys[0] == COL_STREAM + 1 && keys[1] == COL_VERSION + 1;
}

/*
 * The list is asked for under the table's lock, as everywhere: a concurrent
 * REINDEX may have put another index into an old one's place.
 */
Relation
es_event_open_index(Relation segment, EsEventIndex which, LOCKMODE lockmode)
{
	List	   *indexes = RelationGetIndexList(segment);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), lockmode);

		if (es_event_is_index(index, which))
		{
			list_free(indexes);
			return index;
		}
		index_close(index, lockmode);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("segment \"%s\" of the log lacks an index", RelationGetRelationName(segment)),
			 errdetail("Each segment needs a unique index on (position) and one on (stream, version)."),
			 errhint("Finish the restore, or create the index.")));
}

/* ---- columns ---- */

void
es_event_key_stream(ScanKey key, int64 stream_id)
{
	ScanKeyInit(key, COL_STREAM + 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
}

static void
key_int8(ScanKey key, Column column, StrategyNumber strategy, int64 value)
{
	RegProcedure procedure;

	switch (strategy)
	{
		case BTEqualStrategyNumber:
			procedure = F_INT8EQ;
			break;
		case BTGreaterStrategyNumber:
			procedure = F_INT8GT;
			break;
		case BTGreaterEqualStrategyNumber:
			procedure = F_INT8GE;
			break;
		case BTLessEqualStrategyNumber:
			procedure = F_INT8LE;
			break;
		default:
			elog(ERROR, "unexpected strategy %d", strategy);
	}
	ScanKeyInit(key, column + 1, strategy, procedure, Int64GetDatum(value));
}

void
es_event_key_version(ScanKey key, StrategyNumber strategy, int64 version)
{
	key_int8(key, COL_VERSION, strategy, version);
}

void
es_event_key_category(ScanKey keys, int32 category)
{
	int64		first = (int64) category << 40;

	key_int8(&keys[0], COL_STREAM, BTGreaterEqualStrategyNumber, first);
	key_int8(&keys[1], COL_STREAM, BTLessEqualStrategyNumber, first | ES_STREAM_NUMBER_MASK);
	/* The index has the stream first. */
	keys[0].sk_attno = keys[1].sk_attno = 1;
}

void
es_event_key_position(ScanKey key, StrategyNumber strategy, int64 position)
{
	key_int8(key, COL_POSITION, strategy, position);
}

static Datum
column(Relation segment, HeapTuple tuple, Column col)
{
	bool		isnull;

	return heap_getattr(tuple, col + 1, RelationGetDescr(segment), &isnull);
}

void
es_event_sort_columns(AttrNumber *columns)
{
	columns[0] = COL_STREAM + 1;
	columns[1] = COL_VERSION + 1;
}

static const FixedColumns *
fixed_columns(HeapTuple tuple)
{
	if (unlikely(HeapTupleHasNulls(tuple) || HeapTupleHeaderGetNatts(tuple->t_data) < COL_COUNT))
		elog(ERROR, "a row of the log lacks columns");
	return (const FixedColumns *) ((char *) tuple->t_data + tuple->t_data->t_hoff);
}

int64
es_event_position(HeapTuple tuple)
{
	return fixed_columns(tuple)->position;
}

int64
es_event_stream_id(HeapTuple tuple)
{
	return fixed_columns(tuple)->stream;
}

int64
es_event_version(HeapTuple tuple)
{
	return fixed_columns(tuple)->version;
}

TimestampTz
es_event_recorded_at(HeapTuple tuple)
{
	return fixed_columns(tuple)->recorded_at;
}

static void
copy_hash(const bytea *stored, uint8 *hash)
{
	memset(hash, 0, ES_HASH_SIZE);
	memcpy(hash, VARDATA_ANY(stored), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(stored)));
}

int32
es_event_type_id(HeapTuple tuple)
{
	return fixed_columns(tuple)->type;
}

void
es_event_deform_head(Relation segment, HeapTuple tuple, EsHead *head)
{
	bytea	   *hash;

	head->version = DatumGetInt64(column(segment, tuple, COL_VERSION));
	head->position = DatumGetInt64(column(segment, tuple, COL_POSITION));
	head->to_state = DatumGetInt32(column(segment, tuple, COL_TO_STATE));
	head->recorded_at = DatumGetTimestampTz(column(segment, tuple, COL_RECORDED_AT));
	hash = DatumGetByteaPP(column(segment, tuple, COL_HASH));
	copy_hash(hash, head->hash);
}

static void
set_text(EsEvent *event, EsEventColumn col, const text *value)
{
	event->value[col] = PointerGetDatum(value);
	event->isnull[col] = value == NULL;
}

static void
set_stream(EsEvent *event, int64 stream_id)
{
	const text *name = es_stream_name(stream_id);

	event->stream_id = stream_id;
	set_text(event, ES_EVENT_STREAM, name);
	set_text(event, ES_EVENT_KEY, es_stream_name_key(name));
}

static void
set_words(EsEvent *event, const FixedColumns *row)
{
	int32		ids[] = {ES_STREAM_CATEGORY(row->stream), row->type, row->actor, row->recorded_by,
	row->reason, row->from_state, row->to_state, row->machine};
	const text *words[lengthof(ids)];

	es_word_texts(ids, words, lengthof(ids));
	set_text(event, ES_EVENT_CATEGORY, words[0]);
	set_text(event, ES_EVENT_TYPE, words[1]);
	set_text(event, ES_EVENT_ACTOR, words[2]);
	set_text(event, ES_EVENT_RECORDED_BY, words[3]);
	set_text(event, ES_EVENT_REASON, words[4]);
	set_text(event, ES_EVENT_FROM_STATE, words[5]);
	set_text(event, ES_EVENT_TO_STATE, words[6]);
	event->machine = words[7];
}

/* The value at a place in the row, which moves behind it. */
static const struct varlena *
next_value(const char **place)
{
	const char *value = *place;

	if (likely(VARATT_IS_SHORT(value) && !VARATT_IS_EXTERNAL(value)))
	{
		*place = value + VARSIZE_SHORT(value);
		return (const struct varlena *) value;
	}
	if (!VARATT_NOT_PAD_BYTE(value))
		value = (const char *) INTALIGN(value);
	*place = value + VARSIZE_ANY(value);
	return (const struct varlena *) value;
}

void
es_event_hash(HeapTuple tuple, uint8 *hash)
{
	const char *place = (const char *) fixed_columns(tuple) + sizeof(FixedColumns);
	struct varlena *stored = unconstify(struct varlena *, next_value(&place));

	copy_hash(pg_detoast_datum_packed(stored), hash);
}

void
es_event_read_head(HeapTuple tuple, EsHead *head)
{
	const FixedColumns *row = fixed_columns(tuple);

	head->version = row->version;
	head->position = row->position;
	head->to_state = row->to_state;
	head->recorded_at = row->recorded_at;
	es_event_hash(tuple, head->hash);
}

static void
set_value(EsEvent *event, EsEventColumn col, const struct varlena *value, bool packed)
{
	struct varlena *given = unconstify(struct varlena *, value);

	/* Most are short, and stay so. */
	if (!packed)
		given = pg_detoast_datum(given);
	else if (!VARATT_IS_SHORT(given) || VARATT_IS_EXTERNAL(given))
		given = pg_detoast_datum_packed(given);
	event->value[col] = PointerGetDatum(given);
}

void
es_event_deform(HeapTuple tuple, bool packed, EsEvent *event)
{
	const FixedColumns *row = fixed_columns(tuple);
	const char *place = (const char *) row + sizeof(FixedColumns);
	const struct varlena *subject;

	memset(event->isnull, 0, sizeof(event->isnull));
	set_stream(event, row->stream);
	set_words(event, row);
	event->flags = row->flags;
	event->type_id = row->type;
	event->is_upcast = false;
	event->value[ES_EVENT_POSITION] = Int64GetDatum(row->position);
	event->value[ES_EVENT_VERSION] = Int64GetDatum(row->version);
	event->value[ES_EVENT_RECORDED_AT] = TimestampTzGetDatum(row->recorded_at);
	event->value[ES_EVENT_SCHEMA_VERSION] = Int32GetDatum(row->schema_version);
	event->value[ES_EVENT_IS_SYNTHETIC] = BoolGetDatum((row->flags & ES_EVENT_SYNTHETIC) != 0);
	set_value(event, ES_EVENT_HASH, next_value(&place), packed);
	set_value(event, ES_EVENT_DATA, next_value(&place), packed);
	set_value(event, ES_EVENT_METADATA, next_value(&place), packed);
	subject = next_value(&place);
	if (VARSIZE_ANY_EXHDR(subject) > 0)
		set_value(event, ES_EVENT_SUBJECT, subject, true);
	else
		set_text(event, ES_EVENT_SUBJECT, es_event_text(event, ES_EVENT_STREAM));
	set_extra(event, row, next_value(&place));
}

void
es_event_deform_lean(HeapTuple tuple, EsEvent *event)
{
	const FixedColumns *row = fixed_columns(tuple);
	const char *place = (const char *) row + sizeof(FixedColumns);
	const struct varlena *data;

	memset(event->isnull, true, sizeof(event->isnull));
	event->stream_id = row->stream;
	event->machine = NULL;
	event->flags = row->flags;
	event->type_id = row->type;
	event->is_upcast = false;
	es_event_set(event, ES_EVENT_POSITION, Int64GetDatum(row->position));
	es_event_set(event, ES_EVENT_VERSION, Int64GetDatum(row->version));
	es_event_set(event, ES_EVENT_RECORDED_AT, TimestampTzGetDatum(row->recorded_at));
	(void) next_value(&place);	/* hash */
	data = next_value(&place);
	set_value(event, ES_EVENT_DATA, data, false);
	event->isnull[ES_EVENT_DATA] = false;
	(void) next_value(&place);	/* metadata */
	(void) next_value(&place);	/* subject */
	set_extra(event, row, next_value(&place));
}

int
es_event_flags(HeapTuple tuple)
{
	return fixed_columns(tuple)->flags;
}

bool
es_event_is_about(HeapTuple tuple, const text *subject, int64 stream, bool may_look_up)
{
	const FixedColumns *row = fixed_columns(tuple);
	const char *place = (const char *) row + sizeof(FixedColumns);
	struct varlena *stored;
	text	   *whole;
	bool		result;

	(void) next_value(&place);	/* hash */
	(void) next_value(&place);	/* data */
	(void) next_value(&place);	/* metadata */
	stored = unconstify(struct varlena *, next_value(&place));
	if (VARSIZE_ANY_EXHDR(stored) == 0)
		return stream != 0 && row->stream == stream;
	if (!VARATT_IS_EXTERNAL(stored) && !VARATT_IS_COMPRESSED(stored))
		return es_text_same((const text *) stored, subject);
	if (!may_look_up)
		return true;
	whole = (text *) pg_detoast_datum_packed(stored);
	result = es_text_same(whole, subject);
	pfree(whole);
	return result;
}

/* That it corrects another event, and which, is no data of anybody's. */
HeapTuple
es_event_form_tombstone(HeapTuple tuple, TupleDesc desc)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	JsonbParseState *state = NULL;
	Jsonb	   *metadata;
	int64		corrects;

	heap_deform_tuple(tuple, desc, values, nulls);
	metadata = DatumGetJsonbP(values[COL_METADATA]);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if ((es_event_flags(tuple) & (ES_EVENT_CORRECTION | ES_EVENT_VOID)) != 0 &&
		es_json_find_number(&metadata->root, "corrects", &corrects))
		es_json_push_number(&state, "corrects", corrects);
	values[COL_METADATA] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	state = NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	values[COL_DATA] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	values[COL_FLAGS] = Int16GetDatum((int16) (es_event_flags(tuple) | ES_EVENT_ERASED));
	return heap_form_tuple(desc, values, nulls);
}

void
es_event_form(const EsEvent *event, TupleTableSlot *slot)
{
	Datum	   *v = slot->tts_values;
	const text *subject = es_event_text(event, ES_EVENT_SUBJECT);

	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, COL_COUNT * sizeof(bool));
	v[COL_POSITION] = event->value[ES_EVENT_POSITION];
	v[COL_STREAM] = Int64GetDatum(event->stream_id);
	v[COL_VERSION] = event->value[ES_EVENT_VERSION];
	v[COL_RECORDED_AT] = event->value[ES_EVENT_RECORDED_AT];
	v[COL_EXTRA] = PointerGetDatum(form_extra(event));
	v[COL_TYPE] = Int32GetDatum(es_word_id(es_event_text(event, ES_EVENT_TYPE)));
	v[COL_ACTOR] = Int32GetDatum(es_word_id(es_event_text(event, ES_EVENT_ACTOR)));
	v[COL_RECORDED_BY] = Int32GetDatum(es_word_id(es_event_text(event, ES_EVENT_RECORDED_BY)));
	v[COL_FROM_STATE] = Int32GetDatum(es_word_id(es_event_text(event, ES_EVENT_FROM_STATE)));
	v[COL_TO_STATE] = Int32GetDatum(es_word_id(es_event_text(event, ES_EVENT_TO_STATE)));
	v[COL_REASON] = Int32GetDatum(es_word_id(es_event_text(event, ES_EVENT_REASON)));
	v[COL_MACHINE] = Int32GetDatum(es_word_id(event->machine));
	v[COL_SCHEMA_VERSION] = Int16GetDatum((int16) DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]));
	v[COL_FLAGS] = Int16GetDatum((int16) event->flags);
	v[COL_HASH] = event->value[ES_EVENT_HASH];
	v[COL_DATA] = event->value[ES_EVENT_DATA];
	v[COL_METADATA] = event->value[ES_EVENT_METADATA];
	v[COL_SUBJECT] = PointerGetDatum(subject == es_event_text(event, ES_EVENT_STREAM) ?
									 es_empty_text() : subject);
	ExecStoreVirtualTuple(slot);
}
