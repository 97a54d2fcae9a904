/*
 * history_row.c
 *		The rows that events make of a table, folded one event after the other.
 *
 * Rows of a projection are what its own fold makes of the events.  A row of a
 * tracked table is the last that was said about each of its columns: that is
 * kept as JSON, and read only when the row is asked for.
 *
 * Memory: rows live in contexts of their own, below the one that is current at
 * the begin; a reset empties them.  Of a tracked row's events, a few hundred
 * kilobytes are kept at a time, beyond which what is outdated is thrown away.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "capture/history.h"
#include "capture/value.h"
#include "errors.h"
#include "project/fold_row.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#define KEPT_MAX	(256 * 1024)

/* What was last said about a column: {"old": ..., "new": ...} */
typedef struct Saying
{
	JsonbContainer *json;		/* NULL: nothing */
	int			length;
} Saying;

/* A name that events of the latest definition use. */
typedef struct KnownName
{
	char	   *name;
	int			length;
	AttrNumber	attno;
} KnownName;

struct EsPastRows
{
	const EsHistory *history;
	MemoryContext context;

	/* Of a projection. */
	EsFold	   *fold;
	bool		has_own_key;
	Datum		own_key[INDEX_MAX_KEYS];	/* of the stream's row; in context */

	/* Of a tracked table. */
	MemoryContext row_context;	/* of the row as it was read */
	Saying	   *sayings;		/* by attno - 1; the JSON is in context */
	Size		kept;
	bool		exists;
	int64		created;		/* position of the event that made the row */
	HeapTuple	row;			/* as read; NULL: not yet */
	KnownName  *names;
	int			nnames;
};

static void note_own_key(EsPastRows *rows, const EsEvent *event);
static void keep_own_key(EsPastRows *rows);
static void restore_sayings(EsPastRows *rows, Jsonb *changes, int64 position);
static void restore_fold(EsPastRows *rows, Jsonb *changes);
static Saying find_saying(JsonbContainer *changes, Form_pg_attribute att);
static void apply_changes(EsPastRows *rows, const EsEvent *event);
static void begin_change(EsPastRows *rows, const EsEvent *event, JsonbContainer *column);
static bool has_member(JsonbContainer *column, const char *member);
static AttrNumber find_column(EsPastRows *rows, const JsonbValue *name, int64 position);
static void forget_outdated(EsPastRows *rows);
static void read_column(EsPastRows *rows, AttrNumber column, Datum *value, bool *isnull);
static HeapTuple read_row(EsPastRows *rows);
static JsonbContainer *changes_of(Jsonb *data);

EsPastRows *
es_past_rows_begin(const EsHistory *history)
{
	EsPastRows *rows = palloc0(sizeof(EsPastRows));

	rows->history = history;
	rows->context = AllocSetContextCreate(CurrentMemoryContext, "eventsource past rows", ALLOCSET_DEFAULT_SIZES);
	if (history->tracking != NULL)
	{
		rows->row_context = AllocSetContextCreate(CurrentMemoryContext, "eventsource past row",
												  ALLOCSET_DEFAULT_SIZES);
		rows->sayings = palloc0(sizeof(Saying) * history->desc->natts);
		rows->names = palloc(sizeof(KnownName) * history->desc->natts);
	}
	es_past_rows_reset(rows);
	return rows;
}

void
es_past_rows_reset(EsPastRows *rows)
{
	MemoryContextReset(rows->context);
	if (rows->history->tracking == NULL)
	{
		rows->has_own_key = false;
		rows->fold = es_fold_begin_replay(rows->context, rows->history->projection);
		return;
	}
	MemoryContextReset(rows->row_context);
	memset(rows->sayings, 0, sizeof(Saying) * rows->history->desc->natts);
	rows->kept = 0;
	rows->exists = false;
	rows->row = NULL;
}

bool
es_past_rows_apply(EsPastRows *rows, const EsEvent *event)
{
	if (rows->history->tracking != NULL)
	{
		if ((event->flags & ES_EVENT_CAPTURED) == 0)
			return false;
		apply_changes(rows, event);
		return true;
	}
	if (es_projection_rule(rows->history->projection, es_event_text(event, ES_EVENT_TYPE)) == NULL)
		return false;
	if (!rows->has_own_key && rows->history->is_single)
		note_own_key(rows, event);
	es_fold_apply(rows->fold, event);
	return true;
}

static void
note_own_key(EsPastRows *rows, const EsEvent *event)
{
	const EsProjection *projection = rows->history->projection;
	EsBinding	binding = {.event = event};
	MemoryContext caller = MemoryContextSwitchTo(rows->context);

	es_fold_key(projection, es_projection_rule(projection, es_event_text(event, ES_EVENT_TYPE)), &binding,
				rows->own_key);
	MemoryContextSwitchTo(caller);
	keep_own_key(rows);
}

static void
keep_own_key(EsPastRows *rows)
{
	const EsTarget *target = rows->history->projection->target;
	MemoryContext caller = MemoryContextSwitchTo(rows->context);

	for (int i = 0; i < target->nkeys; i++)
		rows->own_key[i] = datumCopy(rows->own_key[i], target->keys[i].typbyval, target->keys[i].typlen);
	rows->has_own_key = true;
	MemoryContextSwitchTo(caller);
}

void
es_past_rows_restore(EsPastRows *rows, Jsonb *changes, int64 position)
{
	if (rows->history->tracking != NULL)
		restore_sayings(rows, changes, position);
	else
		restore_fold(rows, changes);
}

void
es_past_rows_restrict(EsPastRows *rows, const Datum *key)
{
	(void) es_fold_enter(rows->fold, rows->history->projection->target, key);
	es_fold_restrict(rows->fold);
}

HeapTuple
es_past_rows_own(EsPastRows *rows)
{
	EsRow	   *row;

	if (rows->history->tracking != NULL)
		return read_row(rows);
	if (!rows->has_own_key)
		return NULL;
	row = es_fold_find(rows->fold, rows->history->projection->target, rows->own_key);
	return row == NULL ? NULL : row->now;
}

bool
es_past_rows_own_column(EsPastRows *rows, AttrNumber column, Datum *value, bool *isnull)
{
	HeapTuple	row;

	if (rows->history->tracking != NULL)
	{
		if (rows->exists)
			read_column(rows, column, value, isnull);
		return rows->exists;
	}
	row = es_past_rows_own(rows);
	if (row != NULL)
		*value = heap_getattr(row, column, rows->history->desc, isnull);
	return row != NULL;
}

HeapTuple
es_past_rows_next(EsPastRows *rows, uint32 *next)
{
	EsRowScan	scan = {.next = *next};
	EsRow	   *row;

	if (rows->history->tracking != NULL)
		return (*next)++ == 0 ? read_row(rows) : NULL;
	while ((row = es_fold_next_row(rows->fold, &scan)) != NULL && row->now == NULL)
		;
	*next = scan.next;
	return row == NULL ? NULL : row->now;
}

Jsonb *
es_past_changes(const EsHistory *history, const EsEvent *event)
{
	Jsonb	   *data = (Jsonb *) DatumGetPointer(event->value[ES_EVENT_DATA]);
	JsonbValue *changed;

	if (history->tracking == NULL)
		return NULL;
	changed = JB_ROOT_IS_OBJECT(data) ?
		getKeyJsonValueFromContainer(&data->root, "changed", strlen("changed"), NULL) : NULL;
	return changed == NULL ? NULL : JsonbValueToJsonb(changed);
}

/* ---- rows as they were once ---- */

static void
restore_sayings(EsPastRows *rows, Jsonb *changes, int64 position)
{
	Jsonb	   *copy = MemoryContextAlloc(rows->context, VARSIZE(changes));

	memcpy(copy, changes, VARSIZE(changes));
	rows->kept += VARSIZE(copy);
	rows->exists = true;
	rows->created = position;
	for (int i = 0; i < rows->history->desc->natts; i++)
		rows->sayings[i] = find_saying(&copy->root, TupleDescAttr(rows->history->desc, i));
}

static void
restore_fold(EsPastRows *rows, Jsonb *changes)
{
	TupleDesc	desc = rows->history->desc;
	const EsTarget *target = rows->history->projection->target;
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	EsRow	   *row;
	HeapTuple	tuple;

	for (int i = 0; i < desc->natts; i++)
	{
		Saying		saying = find_saying(&changes->root, TupleDescAttr(desc, i));

		nulls[i] = true;
		if (saying.json != NULL)
			(void) es_value_read_member(saying.json, "new", TupleDescAttr(desc, i)->atttypid,
										&values[i], &nulls[i]);
	}
	for (int i = 0; i < target->nkeys; i++)
		rows->own_key[i] = values[target->keys[i].attno - 1];
	keep_own_key(rows);
	row = es_fold_enter(rows->fold, target, rows->own_key);
	tuple = heap_form_tuple(desc, values, nulls);
	row->now = es_fold_keep(rows->fold, tuple);
	row->now->t_tableOid = rows->history->relid;
}

/* Nothing if the row has no value there. */
static Saying
find_saying(JsonbContainer *changes, Form_pg_attribute att)
{
	const char *name = NameStr(att->attname);
	JsonbValue	buffer;
	JsonbValue *found = att->attisdropped ? NULL :
		getKeyJsonValueFromContainer(changes, name, strlen(name), &buffer);

	if (found == NULL || found->type != jbvBinary)
		return (Saying)
	{
		NULL, 0
	};
	return (Saying)
	{
		found->val.binary.data, found->val.binary.len
	};
}

/* ---- rows of tracked tables ---- */

static void
apply_changes(EsPastRows *rows, const EsEvent *event)
{
	Jsonb	   *given = (Jsonb *) DatumGetPointer(event->value[ES_EVENT_DATA]);
	int64		position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	JsonbContainer *changes;
	JsonbIterator *it;
	JsonbValue	name;
	JsonbValue	value;
	Jsonb	   *data;
	bool		is_first = true;

	if (rows->kept > KEPT_MAX)
		forget_outdated(rows);
	rows->row = NULL;
	data = MemoryContextAlloc(rows->context, VARSIZE(given));
	memcpy(data, given, VARSIZE(given));
	rows->kept += VARSIZE(given);
	changes = changes_of(data);
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
			begin_change(rows, event, value.val.binary.data);
		is_first = false;
		attno = rows->exists ? find_column(rows, &name, position) : InvalidAttrNumber;
		if (attno != InvalidAttrNumber)
			rows->sayings[attno - 1] = (Saying)
		{
			value.val.binary.data, value.val.binary.len
		};
	}
}

/* Columns of a new row have new values alone, those of a deleted one old ones. */
static void
begin_change(EsPastRows *rows, const EsEvent *event, JsonbContainer *column)
{
	bool		exists = has_member(column, "new");

	if (!exists || !has_member(column, "old"))
	{
		memset(rows->sayings, 0, sizeof(Saying) * rows->history->desc->natts);
		rows->created = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	}
	rows->exists = exists;
}

static bool
has_member(JsonbContainer *column, const char *member)
{
	JsonbValue	buffer;

	return getKeyJsonValueFromContainer(column, member, strlen(member), &buffer) != NULL;
}

/* Names mean the same in all events since the latest definition. */
static AttrNumber
find_column(EsPastRows *rows, const JsonbValue *name, int64 position)
{
	const EsTracking *tracking = rows->history->tracking;
	bool		is_settled = position >= tracking->position;
	AttrNumber	attno;
	KnownName  *known;

	for (int i = 0; is_settled && i < rows->nnames; i++)
	{
		known = &rows->names[i];
		if (known->length == name->val.string.len &&
			memcmp(known->name, name->val.string.val, known->length) == 0)
			return known->attno;
	}
	attno = es_tracking_attno(tracking, name->val.string.val, name->val.string.len, position);
	if (is_settled && rows->nnames < rows->history->desc->natts)
	{
		known = &rows->names[rows->nnames++];
		known->name = MemoryContextAlloc(GetMemoryChunkContext(rows), name->val.string.len);
		memcpy(known->name, name->val.string.val, name->val.string.len);
		known->length = name->val.string.len;
		known->attno = attno;
	}
	return attno;
}

static void
forget_outdated(EsPastRows *rows)
{
	MemoryContext old = rows->context;

	rows->context = AllocSetContextCreate(MemoryContextGetParent(old), "eventsource past rows",
										  ALLOCSET_DEFAULT_SIZES);
	rows->kept = 0;
	for (int i = 0; i < rows->history->desc->natts; i++)
	{
		Saying	   *saying = &rows->sayings[i];
		JsonbContainer *copy;

		if (saying->json == NULL)
			continue;
		copy = MemoryContextAlloc(rows->context, saying->length);
		memcpy(copy, saying->json, saying->length);
		saying->json = copy;
	}
	MemoryContextDelete(old);
}

/* A column that came later has its default in rows that were there before. */
static void
read_column(EsPastRows *rows, AttrNumber column, Datum *value, bool *isnull)
{
	const EsHistory *history = rows->history;
	Form_pg_attribute att = TupleDescAttr(history->desc, column - 1);
	const Saying *saying = &rows->sayings[column - 1];

	*value = (Datum) 0;
	*isnull = true;
	if (att->attisdropped)
		return;
	if (saying->json != NULL)
		(void) es_value_read_member(saying->json, "new", att->atttypid, value, isnull);
	else if (att->atthasmissing && !es_tracking_had_column(history->tracking, column, rows->created))
		*value = getmissingattr(history->desc, column, isnull);
}

/* NULL if there is none. */
static HeapTuple
read_row(EsPastRows *rows)
{
	TupleDesc	desc = rows->history->desc;
	MemoryContext caller;
	Datum	   *values;
	bool	   *nulls;

	if (!rows->exists || rows->row != NULL)
		return rows->exists ? rows->row : NULL;
	MemoryContextReset(rows->row_context);
	caller = MemoryContextSwitchTo(rows->row_context);
	values = palloc(sizeof(Datum) * desc->natts);
	nulls = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
		read_column(rows, i + 1, &values[i], &nulls[i]);
	rows->row = heap_form_tuple(desc, values, nulls);
	MemoryContextSwitchTo(caller);
	return rows->row;
}

static JsonbContainer *
changes_of(Jsonb *data)
{
	JsonbValue	buffer;
	JsonbValue *changed = NULL;

	if (JB_ROOT_IS_OBJECT(data))
		changed = getKeyJsonValueFromContainer(&data->root, "changed", strlen("changed"), &buffer);
	return changed != NULL && changed->type == jbvBinary && JsonContainerIsObject(changed->val.binary.data) ?
		changed->val.binary.data : NULL;
}
