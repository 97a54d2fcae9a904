/*
 * history_row.c
 *		The rows that events make of a table, folded one event after the other.
 *
 * Rows of a projection are what its own fold makes of the events, those of a
 * tracked table what history_tracked.c does.
 *
 * Memory: rows live in contexts of their own, below the one that is current at
 * the begin; a reset empties them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "capture/history_tracked.h"
#include "capture/value.h"
#include "errors.h"
#include "log/json.h"
#include "project/fold_row.h"
#include "utils/datum.h"
#include "utils/memutils.h"

struct EsPastRows
{
	const EsHistory *history;
	MemoryContext context;

	/* Of a projection. */
	EsFold	   *fold;
	bool		has_own_key;
	Datum		own_key[INDEX_MAX_KEYS];	/* of the stream's row; in context */

	/* Of a tracked table. */
	EsTrackedReader *reader;
	EsTrackedRow *tracked;		/* its JSON is in context */
	MemoryContext row_context;	/* of the row as it was read */
	HeapTuple	row;			/* as read; NULL: not yet */
};

static void note_own_key(EsPastRows *rows, const EsEvent *event);
static void keep_own_key(EsPastRows *rows);
static void restore_fold(EsPastRows *rows, Jsonb *changes);
static HeapTuple read_row(EsPastRows *rows);

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
		rows->reader = es_tracked_begin(history);
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
	rows->tracked = MemoryContextAllocZero(rows->context, es_tracked_size(rows->reader));
	rows->row = NULL;
}

bool
es_past_rows_apply(EsPastRows *rows, const EsEvent *event)
{
	if (rows->history->tracking != NULL)
	{
		if ((event->flags & ES_EVENT_CAPTURED) == 0)
			return false;
		es_tracked_apply(rows->reader, rows->tracked, rows->context, event);
		rows->row = NULL;
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
		es_tracked_restore(rows->reader, rows->tracked, rows->context, changes, position);
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
		if (rows->tracked->exists)
			es_tracked_column(rows->reader, rows->tracked, column, value, isnull);
		return rows->tracked->exists;
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
	changed = es_json_find(&data->root, "changed", NULL);
	return changed == NULL ? NULL : JsonbValueToJsonb(changed);
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
		EsSaying	saying = es_tracked_find(&changes->root, TupleDescAttr(desc, i));

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

/* NULL if there is none. */
static HeapTuple
read_row(EsPastRows *rows)
{
	MemoryContext caller;

	if (!rows->tracked->exists)
		return NULL;
	if (rows->row != NULL)
		return rows->row;
	MemoryContextReset(rows->row_context);
	caller = MemoryContextSwitchTo(rows->row_context);
	rows->row = es_tracked_read(rows->reader, rows->tracked);
	MemoryContextSwitchTo(caller);
	return rows->row;
}
