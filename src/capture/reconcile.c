/*
 * reconcile.c
 *		Makes a stream end as its row was before the change that is being
 *		captured, where the row has a past that was not captured: rows that were
 *		there before the table was tracked, and changes made while it was not.
 *
 * A stream whose last event is younger than the tracking needs no look: that is
 * all the ordinary change pays.  The others are read whole, once.
 */
#include "postgres.h"

#include "append/draft.h"
#include "capture/change.h"
#include "capture/value.h"
#include "log/json.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/word.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* A row as captured events left it, by column of the tracking. */
typedef struct Image
{
	bool		is_alive;
	JsonbValue *values;			/* jbvNull: NULL */
	bool	   *json_null;
} Image;

static void read_image(const EsChange *change, Image *image);
static void apply_event(const EsChange *change, Image *image, const EsEvent *event);
static void apply_column(const EsChange *change, Image *image, const EsEvent *event,
						 const JsonbValue *name, const JsonbValue *value);
static Jsonb *differences(const EsChange *change, const Image *image, const EsRowImage *row);
static bool differs(const Image *image, int column_index, const EsTrackedColumn *column,
					const EsRowImage *row);
static void put_difference(JsonbParseState **state, const Image *image, int column_index,
						   const EsTrackedColumn *column, const EsRowImage *row);
static void add_genesis(EsChange *change);
static void add_synthetic(EsChange *change, const text *type, Jsonb *data, const text *state);
static Jsonb *empty_changes(void);

void
es_change_reconcile(EsChange *change)
{
	const EsTracking *tracking = change->tracking;
	const text *state = es_change_state(change, &change->old);
	bool		is_insert = change->old.values == NULL;
	Image		image;
	Jsonb	   *data;

	if (change->head.version == 0)
	{
		if (!is_insert)
			add_genesis(change);
		return;
	}

	/*
	 * A stream without a state, of a row that has one, was deleted or is
	 * older than its machine.
	 */
	if (change->head.position > tracking->since && (state == NULL || change->head.to_state != 0))
		return;

	es_batch_flush(change->batch);
	read_image(change, &image);
	if (is_insert)
	{
		if (image.is_alive)
			add_synthetic(change, tracking->deleted, empty_changes(), NULL);
		return;
	}
	if (!image.is_alive)
	{
		add_genesis(change);
		return;
	}
	data = differences(change, &image, &change->old);
	if (data == NULL && (state == NULL || change->head.to_state == es_word_id(state)))
		return;
	add_synthetic(change, tracking->updated, data != NULL ? data : empty_changes(), state);
}

static void
add_genesis(EsChange *change)
{
	EsDraft		draft;

	es_change_genesis(change->tracking, change->old.values, change->old.nulls, &draft);
	es_change_add(change, &draft);
}

static void
add_synthetic(EsChange *change, const text *type, Jsonb *data, const text *state)
{
	EsDraft		draft;

	es_draft_init(&draft);
	draft.type = type;
	draft.data = data;
	draft.flags = ES_EVENT_SYNTHETIC;
	draft.passage = ES_PASSAGE_ENTER;
	draft.to_state = state;
	es_change_add(change, &draft);
}

/* {"changed": {}} */
static Jsonb *
empty_changes(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_key(&state, "changed");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---- the row as it was captured ---- */

static void
read_image(const EsChange *change, Image *image)
{
	EsScan	   *scan = es_scan_stream(change->stream, 1, false, SnapshotSelf);
	int			count = Max(1, change->tracking->ncolumns);
	EsEvent		event;

	memset(image, 0, sizeof(*image));
	image->values = palloc0(count * sizeof(JsonbValue));
	image->json_null = palloc0(count * sizeof(bool));
	es_scan_show(scan, ES_READER_ITSELF);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if ((event.flags & ES_EVENT_CAPTURED) != 0)
			apply_event(change, image, &event);
	}
	es_scan_end(scan);
}

static void
apply_event(const EsChange *change, Image *image, const EsEvent *event)
{
	const text *type = es_event_text(event, ES_EVENT_TYPE);
	Jsonb	   *data = (Jsonb *) DatumGetPointer(event->value[ES_EVENT_DATA]);
	JsonbValue	changed;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	if (strcmp(text_to_cstring(type), text_to_cstring(change->tracking->deleted)) == 0)
	{
		image->is_alive = false;
		return;
	}
	if (!image->is_alive)
		memset(image->values, 0, Max(1, change->tracking->ncolumns) * sizeof(JsonbValue));
	image->is_alive = true;
	if (es_json_find(&data->root, "changed", &changed) == NULL || !es_json_is_object(&changed))
		return;
	it = JsonbIteratorInit(changed.val.binary.data);
	(void) JsonbIteratorNext(&it, &name, true);
	while ((token = JsonbIteratorNext(&it, &name, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&it, &value, true);
		apply_column(change, image, event, &name, &value);
	}
}

static void
apply_column(const EsChange *change, Image *image, const EsEvent *event,
			 const JsonbValue *name, const JsonbValue *value)
{
	AttrNumber	attno = es_tracking_attno(change->tracking, name->val.string.val, name->val.string.len,
										  DatumGetInt64(event->value[ES_EVENT_POSITION]));
	JsonbValue	member;
	JsonbValue	marks;

	if (value->type != jbvBinary ||
		es_json_find(value->val.binary.data, "new", &member) == NULL)
		return;
	for (int i = 0; i < change->tracking->ncolumns; i++)
	{
		Jsonb	   *copy;

		if (change->tracking->columns[i].attno != attno)
			continue;
		/* Out of the scan's memory. */
		copy = JsonbValueToJsonb(&member);
		es_json_value(copy, &image->values[i]);
		image->json_null[i] = member.type == jbvNull &&
			es_json_find(value->val.binary.data, "json_null", &marks) != NULL;
	}
}

/* ---- compared with the row as it is ---- */

/* {"changed": {...}} from the image to the row, or NULL. */
static Jsonb *
differences(const EsChange *change, const Image *image, const EsRowImage *row)
{
	JsonbParseState *state = NULL;
	bool		any = false;
	JsonbValue *result;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_key(&state, "changed");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < change->tracking->ncolumns; i++)
	{
		const EsTrackedColumn *column = &change->tracking->columns[i];

		if (!column->captured || !differs(image, i, column, row))
			continue;
		put_difference(&state, image, i, column, row);
		any = true;
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return any ? JsonbValueToJsonb(result) : NULL;
}

static bool
differs(const Image *image, int column_index, const EsTrackedColumn *column, const EsRowImage *row)
{
	Datum		value = row->values[column->attno - 1];
	bool		isnull = row->nulls[column->attno - 1];
	JsonbParseState *was = NULL;
	JsonbParseState *is = NULL;
	JsonbValue	v = image->values[column_index];
	Jsonb	   *a;
	Jsonb	   *b;

	if (es_value_is_json_null(value, isnull, column->type) != image->json_null[column_index])
		return true;
	pushJsonbValue(&was, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&was, WJB_ELEM, &v);
	a = JsonbValueToJsonb(pushJsonbValue(&was, WJB_END_ARRAY, NULL));
	pushJsonbValue(&is, WJB_BEGIN_ARRAY, NULL);
	es_value_push(&is, WJB_ELEM, value, isnull, column->type);
	b = JsonbValueToJsonb(pushJsonbValue(&is, WJB_END_ARRAY, NULL));
	return compareJsonbContainers(&a->root, &b->root) != 0;
}

static void
put_difference(JsonbParseState **state, const Image *image, int column_index,
			   const EsTrackedColumn *column, const EsRowImage *row)
{
	Datum		value = row->values[column->attno - 1];
	bool		isnull = row->nulls[column->attno - 1];
	bool		is_json_null = es_value_is_json_null(value, isnull, column->type);
	JsonbValue	v = image->values[column_index];

	es_json_push_key(state, NameStr(column->name));
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_value(state, "old", &v);
	es_json_push_key(state, "new");
	es_value_push(state, WJB_VALUE, value, isnull, column->type);
	if (is_json_null || image->json_null[column_index])
	{
		es_json_push_key(state, "json_null");
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		if (is_json_null)
			es_json_push_element(state, "new");
		if (image->json_null[column_index])
			es_json_push_element(state, "old");
		pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}
