/*
 * fold.c
 *		Applies events to projection rows.
 *
 * A row is read once per batch, changed in memory by each event, and written
 * once when the batch is flushed.  Events of one batch that fold into the same
 * row see each other; NOT NULL and CHECK constraints are checked after each
 * event, UNIQUE by the index entries at the flush.
 *
 * Locks: ROW EXCLUSIVE on each target from the first event that touches it, to
 * the end of the transaction.  A key is protected by its stream's lock, or by
 * one of its own (fold_lock.c).
 *
 * Memory: rows live in the fold's context; what an event leaves behind lives in
 * "scratch" and is reset with the next one.  Nothing stays open or pinned
 * between calls, since a batch can span several.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/executor.h"
#include "log/correction.h"
#include "miscadmin.h"
#include "project/fold_row.h"
#include "project/personal_columns.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

typedef struct RowEntry
{
	EsRow	   *row;
	uint32		hash;
	char		status;
} RowEntry;

static bool same_row(const EsRow *a, const EsRow *b);

#define SH_PREFIX		rowtable
#define SH_ELEMENT_TYPE	RowEntry
#define SH_KEY_TYPE		EsRow *
#define SH_KEY			row
#define SH_HASH_KEY(tb, key)	(key)->hash
#define SH_EQUAL(tb, a, b)		same_row(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, entry)	(entry)->hash
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct EsFold
{
	MemoryContext parent;
	MemoryContext context;		/* NULL until there is a row */
	MemoryContext scratch;
	rowtable_hash *rows;
	List	   *order;			/* of EsRow, as they were entered */
	uint64		generation;		/* of the projections the rows belong to */
	List	   *only;			/* the one projection, or NIL: all inline */
	bool		is_replay;		/* of history: the table is not looked at */
	bool		only_entered;	/* a replay of rows that are there already */
	Snapshot	base;			/* a replay that goes on from the table's rows */
	uint32		part;			/* a replay of a part of the keys */
	uint32		parts;			/* 0: of all */
	EsRowWatch	watch;			/* of a replay, or NULL */
	void	   *watch_arg;
};

/* One event on its way into one projection. */
typedef struct Step
{
	EsFold	   *fold;
	const EsProjection *projection;
	const EsRule *rule;
	const EsEvent *event;
	bool		hides;			/* what an error quotes */
} Step;

static void wake(EsFold *fold);
static List *projections_of(EsFold *fold, const EsEvent *event);
static void lock_target(Oid relid);
static void apply_rule(EsFold *fold, const EsProjection *projection, const EsRule *rule,
					   const EsEvent *event);
static void apply_item(Datum item, bool isnull, void *arg);
static void apply_once(Step *step, EsBinding *binding);
static void change_row(Step *step, EsBinding *binding, EsRow *row);
static HeapTuple next_image(Step *step, EsBinding *binding);
static void set_image(EsRow *row, HeapTuple image);
static void note_position(Step *step, EsRow *row);
static TupleTableSlot *row_slot(const EsTarget *target, HeapTuple image);
static TupleTableSlot *start_slot(const EsTarget *target, const Datum *key);
static EsRow *read_row(EsFold *fold, const EsTarget *target, const Datum *key);
static void write_rows(const EsTarget *target, List *rows, bool at_once);
static void describe_step(void *arg);

EsFold *
es_fold_begin(MemoryContext parent)
{
	EsFold	   *fold = MemoryContextAllocZero(parent, sizeof(EsFold));

	fold->parent = parent;
	return fold;
}

EsFold *
es_fold_begin_replay(MemoryContext parent, EsProjection *projection)
{
	EsFold	   *fold = es_fold_begin_follow(parent, projection);

	fold->is_replay = true;
	return fold;
}

EsFold *
es_fold_begin_follow(MemoryContext parent, EsProjection *projection)
{
	EsFold	   *fold = es_fold_begin(parent);
	MemoryContext caller = MemoryContextSwitchTo(parent);

	fold->only = list_make1(projection);
	MemoryContextSwitchTo(caller);
	return fold;
}

void
es_fold_restrict(EsFold *fold)
{
	fold->only_entered = true;
}

void
es_fold_read_base(EsFold *fold, Snapshot base)
{
	fold->base = base;
}

void
es_fold_take_part(EsFold *fold, uint32 part, uint32 parts)
{
	fold->part = part;
	fold->parts = parts;
}

void
es_fold_watch(EsFold *fold, EsRowWatch changed, void *arg)
{
	fold->watch = changed;
	fold->watch_arg = arg;
}

TupleTableSlot *
es_fold_context_row(EsFold *fold, Oid target, const EsEvent *event)
{
	EsBinding	binding = {.event = event};
	MemoryContext caller;
	TupleTableSlot *slot = NULL;
	ListCell   *lc;

	if (fold->only == NIL)
		lock_target(target);
	foreach(lc, projections_of(fold, event))
	{
		EsProjection *projection = lfirst(lc);
		Datum		key[INDEX_MAX_KEYS];
		EsRow	   *row;

		if (projection->target->relid != target || projection->stream_row == NULL)
			continue;
		wake(fold);
		MemoryContextReset(fold->scratch);
		caller = MemoryContextSwitchTo(fold->scratch);
		es_fold_key(projection, projection->stream_row, &binding, key);
		row = read_row(fold, projection->target, key);
		if (row->now != NULL)
			slot = row_slot(projection->target, row->now);
		MemoryContextSwitchTo(caller);
		return slot;
	}
	ereport(ERROR,
			(errcode(ES_ERRCODE_INVALID_DEFINITION),
			 errmsg("the context of category \"%s\" is no projection of it with a row per stream",
					text_to_cstring(es_event_text(event, ES_EVENT_CATEGORY))),
			 errdetail("Guards look at the stream's row in %s.",
					   get_rel_name(target) != NULL ? get_rel_name(target) : "a table that was dropped"),
			 errhint("Define the projection again, or the category without a context.")));
	return NULL;
}

void
es_fold_apply(EsFold *fold, const EsEvent *event)
{
	List	   *projections = es_event_is_correction(event) ? NIL : projections_of(fold, event);
	ListCell   *lc;

	if (projections == NIL)
		return;
	wake(fold);
	foreach(lc, projections)
	{
		const EsProjection *projection = lfirst(lc);
		const EsRule *rule = es_projection_rule(projection, es_event_text(event, ES_EVENT_TYPE));

		if (rule != NULL)
			apply_rule(fold, projection, rule, event);
	}
}

/* Deletes first, so that what they free can be taken; then in the order of the rows. */
void
es_fold_flush(EsFold *fold)
{
	MemoryContext caller;
	List	   *targets = NIL;
	ListCell   *lc;

	if (fold->rows == NULL)
		return;
	caller = MemoryContextSwitchTo(fold->context);
	foreach(lc, fold->order)
	{
		EsRow	   *row = lfirst(lc);

		if (row->changed)
			targets = list_append_unique_ptr(targets, unconstify(EsTarget *, row->target));
	}
	foreach(lc, targets)
		write_rows(lfirst(lc), fold->order, fold->only != NIL);
	MemoryContextSwitchTo(caller);
	if (targets != NIL)
		CommandCounterIncrement();

	MemoryContextDelete(fold->context);
	fold->context = NULL;
	fold->scratch = NULL;
	fold->rows = NULL;
	fold->order = NIL;
}

bool
es_fold_is_restricted(const EsFold *fold)
{
	return fold->only_entered;
}

HeapTuple
es_fold_keep(EsFold *fold, HeapTuple row)
{
	MemoryContext caller = MemoryContextSwitchTo(fold->context);
	HeapTuple	copy = heap_copytuple(row);

	MemoryContextSwitchTo(caller);
	return copy;
}

EsRow *
es_fold_find(EsFold *fold, const EsTarget *target, const Datum *key)
{
	EsRow		probe = {.target = target,.key = unconstify(Datum *, key)};
	RowEntry   *entry;

	if (fold->rows == NULL)
		return NULL;
	probe.hash = es_target_hash(target, key);
	entry = rowtable_lookup(fold->rows, &probe);
	return entry == NULL ? NULL : entry->row;
}

EsRow *
es_fold_enter(EsFold *fold, const EsTarget *target, const Datum *key)
{
	EsRow	   *row = es_fold_find(fold, target, key);
	MemoryContext caller;
	bool		found;

	if (row != NULL)
		return row;
	wake(fold);
	caller = MemoryContextSwitchTo(fold->context);
	row = palloc0(sizeof(EsRow));
	row->target = target;
	row->hash = es_target_hash(target, key);
	row->key = palloc(sizeof(Datum) * target->nkeys);
	for (int i = 0; i < target->nkeys; i++)
		row->key[i] = datumCopy(key[i], target->keys[i].typbyval, target->keys[i].typlen);
	/* Should the second fail, the row is one that did not change. */
	fold->order = lappend(fold->order, row);
	rowtable_insert(fold->rows, row, &found)->row = row;
	MemoryContextSwitchTo(caller);
	return row;
}

EsRow *
es_fold_next_row(EsFold *fold, EsRowScan *scan)
{
	if (scan->next >= (uint32) list_length(fold->order))
		return NULL;
	return list_nth(fold->order, scan->next++);
}

/* A fold without rows costs next to nothing: most appends have none. */
static void
wake(EsFold *fold)
{
	if (fold->context != NULL)
		return;
	/* Blocks that stay small against the limits that replays are held to. */
	fold->context = AllocSetContextCreate(fold->parent, "eventsource fold", ALLOCSET_DEFAULT_MINSIZE,
										  ALLOCSET_DEFAULT_INITSIZE, 32 * ALLOCSET_DEFAULT_INITSIZE);
	fold->scratch = AllocSetContextCreate(fold->context, "eventsource fold scratch", ALLOCSET_DEFAULT_SIZES);
	fold->rows = rowtable_create(fold->context, 8, NULL);
}

/*
 * The projections of the event's category, those with a rule for it locked.  A
 * table may change until the lock is ours; then they are looked up once more,
 * under the lock, which no change can follow.  (Definitions do not change: an
 * append holds the log against that.)  Rows of old ones are written first.
 */
static List *
projections_of(EsFold *fold, const EsEvent *event)
{
	List	   *projections = NIL;
	ListCell   *lc;

	if (fold->only != NIL)
		return fold->only;
	for (int pass = 0; pass < 2; pass++)
	{
		uint64		generation = es_config_generation();

		projections = es_projection_list(es_event_text(event, ES_EVENT_CATEGORY));
		if (projections == NIL)
			return NIL;
		if (fold->rows != NULL && fold->generation != generation)
			es_fold_flush(fold);
		fold->generation = generation;
		foreach(lc, projections)
		{
			EsProjection *projection = lfirst(lc);

			if (es_projection_rule(projection, es_event_text(event, ES_EVENT_TYPE)) != NULL)
				lock_target(projection->target->relid);
		}
		if (generation == es_config_generation())
			break;
	}
	return projections;
}

/* A standby may ask what would be allowed, but not lock to write. */
static void
lock_target(Oid relid)
{
	LockRelationOid(relid, RecoveryInProgress() ? AccessShareLock : RowExclusiveLock);
}

static void
apply_rule(EsFold *fold, const EsProjection *projection, const EsRule *rule, const EsEvent *event)
{
	Step		step = {.fold = fold,.projection = projection,.rule = rule,.event = event};
	EsBinding	binding = {.event = event};
	ErrorContextCallback context = {.previous = error_context_stack,.callback = describe_step,.arg = &step};
	MemoryContext caller;

	MemoryContextReset(fold->scratch);
	caller = MemoryContextSwitchTo(fold->scratch);
	step.hides = es_personal_columns_hide(projection);
	error_context_stack = &context;
	if (rule->each == NULL)
		apply_once(&step, &binding);
	else
		es_expr_eval_set(rule->each, &binding, apply_item, &step);
	MemoryContextSwitchTo(caller);
	error_context_stack = context.previous;
}

static void
apply_item(Datum item, bool isnull, void *arg)
{
	Step	   *step = arg;
	EsBinding	binding = {.event = step->event,.item = item,.item_isnull = isnull};

	apply_once(step, &binding);
}

static void
apply_once(Step *step, EsBinding *binding)
{
	const EsTarget *target = step->projection->target;
	const EsRule *rule = step->rule;
	Datum		key[INDEX_MAX_KEYS];
	EsRow	   *row;

	es_fold_key(step->projection, rule, binding, key);
	if (step->fold->only_entered && es_fold_find(step->fold, target, key) == NULL)
		return;
	if (step->fold->parts > 1 && es_target_part(target, key, step->fold->parts) != step->fold->part)
		return;
	row = read_row(step->fold, target, key);
	binding->row = row->now != NULL ? row_slot(target, row->now) : start_slot(target, key);
	if (rule->where != NULL && !es_expr_eval_bool(rule->where, binding))
		return;
	if (row->now == NULL && rule->missing == ES_MISSING_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("projection %s has no row for event \"%s\" of stream \"%s\"", target->name,
						text_to_cstring(es_event_text(step->event, ES_EVENT_TYPE)),
						text_to_cstring(es_event_text(step->event, ES_EVENT_STREAM))),
				 errdetail("The rule says \"missing\": \"error\"."),
				 errhint("The event that creates the row must come first.")));
	if (row->now == NULL && (rule->missing == ES_MISSING_SKIP || rule->deletes))
		return;
	change_row(step, binding, row);
	note_position(step, row);
}

static void
change_row(Step *step, EsBinding *binding, EsRow *row)
{
	set_image(row, step->rule->deletes ? NULL : next_image(step, binding));
}

/* The row after the event, checked; right sides see the row before it. */
static HeapTuple
next_image(Step *step, EsBinding *binding)
{
	const EsTarget *target = step->projection->target;
	TupleTableSlot *next = MakeSingleTupleTableSlot(target->desc, &TTSOpsVirtual);
	MemoryContext caller;
	HeapTuple	image;
	ListCell   *attno;
	ListCell   *expr;

	slot_getallattrs(binding->row);
	memcpy(next->tts_values, binding->row->tts_values, sizeof(Datum) * target->desc->natts);
	memcpy(next->tts_isnull, binding->row->tts_isnull, sizeof(bool) * target->desc->natts);
	forboth(attno, step->rule->set_attnos, expr, step->rule->set)
	{
		int			i = lfirst_int(attno) - 1;

		next->tts_values[i] = es_expr_eval(lfirst(expr), binding, &next->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(next);
	if (target->generated != NIL)
		es_target_compute_generated(target, next);
	if (!step->fold->is_replay)
		es_target_check_row(target, next);

	caller = MemoryContextSwitchTo(step->fold->context);
	image = heap_form_tuple(target->desc, next->tts_values, next->tts_isnull);
	MemoryContextSwitchTo(caller);
	image->t_tableOid = target->relid;
	return image;
}

static void
set_image(EsRow *row, HeapTuple image)
{
	if (row->now != NULL && row->now != row->found)
		heap_freetuple(row->now);
	row->now = image;
	row->changed = true;
}

/* From which event on a replayed row was never again what the table has. */
static void
note_position(Step *step, EsRow *row)
{
	int64		position = DatumGetInt64(step->event->value[ES_EVENT_POSITION]);
	bool		same;

	row->last_position = position;
	if (!step->fold->is_replay)
		return;
	if (step->fold->watch != NULL)
		step->fold->watch(row, step->fold->watch_arg);
	if (!step->fold->only_entered)
		return;
	same = row->now == NULL || row->found == NULL ? row->now == row->found :
		es_target_same_row(row->target, row->now, row->found);
	if (same)
		row->parted_at = ES_NOT_PARTED;
	else if (row->parted_at == ES_NOT_PARTED)
		row->parted_at = position;
}

static TupleTableSlot *
row_slot(const EsTarget *target, HeapTuple image)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(target->desc, &TTSOpsHeapTuple);

	return ExecStoreHeapTuple(image, slot, false);
}

/* A missing row begins with the table's defaults, and its key. */
static TupleTableSlot *
start_slot(const EsTarget *target, const Datum *key)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(target->desc, &TTSOpsVirtual);

	memcpy(slot->tts_values, target->start, sizeof(Datum) * target->desc->natts);
	memcpy(slot->tts_isnull, target->start_isnull, sizeof(bool) * target->desc->natts);
	for (int i = 0; i < target->nkeys; i++)
	{
		slot->tts_values[target->keys[i].attno - 1] = key[i];
		slot->tts_isnull[target->keys[i].attno - 1] = false;
	}
	return ExecStoreVirtualTuple(slot);
}

/* From memory, else from the table, unless a replay begins without it. */
static EsRow *
read_row(EsFold *fold, const EsTarget *target, const Datum *key)
{
	EsRow	   *row = es_fold_find(fold, target, key);
	MemoryContext caller;

	if (row != NULL)
		return row;
	row = es_fold_enter(fold, target, key);
	caller = MemoryContextSwitchTo(fold->context);
	if (!fold->is_replay)
		row->now = row->found = es_target_read(target, key);
	else if (fold->base != NULL)
		row->now = es_target_read_seen(target, key, fold->base);
	MemoryContextSwitchTo(caller);
	return row;
}

/*
 * At once: where events of long ago and of many transactions change many rows,
 * these may exchange unique values; all old versions go before the first new one
 * comes.
 */
static void
write_rows(const EsTarget *target, List *rows, bool at_once)
{
	bool		replace = at_once && target->has_other_unique;
	EsTargetWriter *writer = es_target_begin_write(target);
	EsRowContext context;
	ListCell   *lc;

	es_row_begin_context(&context, target);
	foreach(lc, rows)
	{
		EsRow	   *row = lfirst(lc);

		context.row = row;
		if (row->target == target && row->changed && row->found != NULL && (row->now == NULL || replace))
			es_target_delete(writer, row->found);
	}
	foreach(lc, rows)
	{
		EsRow	   *row = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		context.row = row;
		if (row->target != target || !row->changed || row->now == NULL)
			continue;
		if (row->found == NULL || replace)
			es_target_insert(writer, row->now);
		else if (!es_target_same_image(row->found, row->now))
			es_target_update(writer, row->found, row->now);
	}
	es_row_end_context(&context);
	es_target_end_write(writer);
}

static void
describe_step(void *arg)
{
	Step	   *step = arg;
	const text *stream = es_event_text(step->event, ES_EVENT_STREAM);
	const text *type = es_event_text(step->event, ES_EVENT_TYPE);

	if (step->hides)
		es_row_hide_error();
	errcontext("event \"%.*s\" of stream \"%.*s\" (version " INT64_FORMAT ") in projection %s",
			   (int) VARSIZE_ANY_EXHDR(type), VARDATA_ANY(type),
			   (int) VARSIZE_ANY_EXHDR(stream), VARDATA_ANY(stream),
			   DatumGetInt64(step->event->value[ES_EVENT_VERSION]), step->projection->target->name);
}

static bool
same_row(const EsRow *a, const EsRow *b)
{
	return a->target == b->target && es_target_same_key(a->target, a->key, b->key);
}
