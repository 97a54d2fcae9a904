/*
 * history_tracked.c
 *		Rows of a tracked table, told by the events that captured them.
 *
 * A row is the last that was said about each of its columns.  That is kept as
 * JSON, in a place of its own for each column, and read only when the row is
 * asked for.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "capture/history_tracked.h"
#include "capture/value.h"
#include "log/json.h"
#include "utils/memutils.h"

/* A name that events of the latest definition use. */
typedef struct KnownName
{
	char	   *name;
	int			length;
	AttrNumber	attno;
} KnownName;

struct EsTrackedReader
{
	const EsHistory *history;
	MemoryContext context;
	KnownName  *names;
	int			nnames;
};

static JsonbContainer *changes_of(Jsonb *data);
static void begin_change(EsTrackedReader *reader, EsTrackedRow *row, const EsEvent *event,
						 JsonbContainer *column);
static bool has_member(JsonbContainer *column, const char *member);
static AttrNumber find_column(EsTrackedReader *reader, const JsonbValue *name, int64 position);
static void keep(EsSaying *saying, MemoryContext context, JsonbContainer *json, int length);

EsTrackedReader *
es_tracked_begin(const EsHistory *history)
{
	EsTrackedReader *reader = palloc0(sizeof(EsTrackedReader));

	reader->history = history;
	reader->context = CurrentMemoryContext;
	reader->names = palloc(sizeof(KnownName) * history->desc->natts);
	return reader;
}

Size
es_tracked_size(const EsTrackedReader *reader)
{
	return offsetof(EsTrackedRow, sayings) + sizeof(EsSaying) * reader->history->desc->natts;
}

void
es_tracked_clear(const EsTrackedReader *reader, EsTrackedRow *row)
{
	row->exists = false;
	row->created = 0;
	for (int i = 0; i < reader->history->desc->natts; i++)
		row->sayings[i].length = 0;
}

void
es_tracked_apply(EsTrackedReader *reader, EsTrackedRow *row, MemoryContext context, const EsEvent *event)
{
	JsonbContainer *changes = changes_of((Jsonb *) DatumGetPointer(event->value[ES_EVENT_DATA]));
	int64		position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	JsonbIterator *it;
	JsonbValue	name;
	JsonbValue	value;
	bool		is_first = true;

	if (changes == NULL)
		return;
	it = JsonbIteratorInit(changes);
	(void) JsonbIteratorNext(&it, &name, true);
	while (JsonbIteratorNext(&it, &name, true) == WJB_KEY)
	{
		AttrNumber	attno;

		(void) JsonbIteratorNext(&it, &value, true);
		if (value.type != jbvBinary)
			continue;
		if (is_first)
			begin_change(reader, row, event, value.val.binary.data);
		is_first = false;
		if (!row->exists)
			break;
		attno = find_column(reader, &name, position);
		if (attno != InvalidAttrNumber)
			keep(&row->sayings[attno - 1], context, value.val.binary.data, value.val.binary.len);
	}
}

void
es_tracked_restore(EsTrackedReader *reader, EsTrackedRow *row, MemoryContext context,
				   Jsonb *changes, int64 position)
{
	es_tracked_clear(reader, row);
	row->exists = true;
	row->created = position;
	for (int i = 0; i < reader->history->desc->natts; i++)
	{
		EsSaying	found = es_tracked_find(&changes->root, TupleDescAttr(reader->history->desc, i));

		if (found.json != NULL)
			keep(&row->sayings[i], context, found.json, found.length);
	}
}

EsSaying
es_tracked_find(JsonbContainer *changes, Form_pg_attribute att)
{
	const char *name = NameStr(att->attname);
	EsSaying	saying = {NULL};
	JsonbValue	buffer;
	JsonbValue *found = att->attisdropped ? NULL :
		es_json_find(changes, name, &buffer);

	if (found != NULL && found->type == jbvBinary)
	{
		saying.json = found->val.binary.data;
		saying.length = found->val.binary.len;
	}
	return saying;
}

/* A column that came later has its default in rows that were there before. */
void
es_tracked_column(EsTrackedReader *reader, const EsTrackedRow *row, AttrNumber column,
				  Datum *value, bool *isnull)
{
	const EsHistory *history = reader->history;
	Form_pg_attribute att = TupleDescAttr(history->desc, column - 1);
	const EsSaying *saying = &row->sayings[column - 1];

	*value = (Datum) 0;
	*isnull = true;
	if (att->attisdropped)
		return;
	if (saying->length > 0)
		(void) es_value_read_member(saying->json, "new", att->atttypid, value, isnull);
	else if (att->atthasmissing && !es_tracking_had_column(history->tracking, column, row->created))
		*value = getmissingattr(history->desc, column, isnull);
}

HeapTuple
es_tracked_read(EsTrackedReader *reader, const EsTrackedRow *row)
{
	TupleDesc	desc = reader->history->desc;
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	for (int i = 0; i < desc->natts; i++)
		es_tracked_column(reader, row, i + 1, &values[i], &nulls[i]);
	return heap_form_tuple(desc, values, nulls);
}

static JsonbContainer *
changes_of(Jsonb *data)
{
	JsonbValue	buffer;
	JsonbValue *changed = es_json_find(&data->root, "changed", &buffer);

	return changed != NULL && es_json_is_object(changed) ? changed->val.binary.data : NULL;
}

/* Columns of a new row have new values alone, those of a deleted one old ones. */
static void
begin_change(EsTrackedReader *reader, EsTrackedRow *row, const EsEvent *event, JsonbContainer *column)
{
	bool		exists = has_member(column, "new");

	if (!exists || !has_member(column, "old"))
	{
		es_tracked_clear(reader, row);
		row->created = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	}
	row->exists = exists;
}

static bool
has_member(JsonbContainer *column, const char *member)
{
	JsonbValue	buffer;

	return es_json_find(column, member, &buffer) != NULL;
}

/* Names mean the same in all events since the latest definition. */
static AttrNumber
find_column(EsTrackedReader *reader, const JsonbValue *name, int64 position)
{
	const EsTracking *tracking = reader->history->tracking;
	bool		is_settled = position >= tracking->position;
	AttrNumber	attno;
	KnownName  *known;

	for (int i = 0; is_settled && i < reader->nnames; i++)
	{
		known = &reader->names[i];
		if (known->length == name->val.string.len &&
			memcmp(known->name, name->val.string.val, known->length) == 0)
			return known->attno;
	}
	attno = es_tracking_attno(tracking, name->val.string.val, name->val.string.len, position);
	if (is_settled && reader->nnames < reader->history->desc->natts)
	{
		known = &reader->names[reader->nnames++];
		known->name = MemoryContextAlloc(reader->context, Max(name->val.string.len, 1));
		memcpy(known->name, name->val.string.val, name->val.string.len);
		known->length = name->val.string.len;
		known->attno = attno;
	}
	return attno;
}

/* Into the place of what it replaces, where that is large enough. */
static void
keep(EsSaying *saying, MemoryContext context, JsonbContainer *json, int length)
{
	if (saying->room < length)
	{
		if (saying->json != NULL)
			pfree(saying->json);
		saying->room = MAXALIGN(length);
		saying->json = MemoryContextAlloc(context, saying->room);
	}
	memcpy(saying->json, json, length);
	saying->length = length;
}
