/*
 * store.c
 *		The rows of one projection, folded in bounded memory.
 *
 * As long as they fit, rows are folded in memory.  When they outgrow the memory
 * of a hash table (work_mem * hash_mem_multiplier), their keys are divided into
 * PARTS parts by a hash, and each part gets a journal: the rows as they are, then
 * whatever comes for them (events, rows put in their place, rows of the table to
 * compare with), in order.  An event goes to each part that it touches; which
 * these are follows from the event alone.  In the end part after part is read
 * back and folded; one that is still too large is divided anew.  So the log is
 * read once, and each journal is written and read once.
 *
 * Keys whose types cannot be hashed cannot be divided: they stay in memory.
 *
 * Memory: the limit, and a buffer of 8 kB per part.  An error leaves nothing
 * behind: files belong to the resource owner.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/nodeHash.h"
#include "log/event.h"
#include "miscadmin.h"
#include "project/store.h"
#include "project/store_journal.h"
#include "utils/memutils.h"

/* Into how many parts keys are divided at a time, and at most in all. */
#define PARTS			32
#define MAX_PARTS		(1U << 30)

/* Steps between two looks at the memory in use. */
#define STEPS_PER_LOOK	32

/* Keys whose hash is "part" modulo "parts". */
typedef struct Part
{
	uint32		part;
	uint32		parts;
	bool		is_touched;		/* by the event that is routed */
	EsJournal  *journal;
} Part;

struct EsStore
{
	EsProjection *projection;
	MemoryContext context;
	MemoryContext rows;			/* of the fold; reset with it */
	MemoryContext scratch;		/* of one step */
	EsFold	   *fold;			/* all rows, or those of the part being read */
	bool		is_whole;		/* nothing was divided */
	bool		is_read;		/* the rows were handed out */
	bool		can_divide;
	bool		is_restricted;
	Snapshot	base;			/* or NULL */
	const EsCorrections *corrections;
	uint32		steps;
	List	   *parts;			/* of Part, to be read */
};

/* Parts that a key is looked for in. */
typedef struct Route
{
	EsStore    *store;
	List	   *parts;
} Route;

static void begin_fold(EsStore *store, uint32 part, uint32 parts);
static bool is_full(EsStore *store);
static bool correct(EsStore *store, EsEvent *event);
static void put_row(EsStore *store, EsRow *row, const EsEntry *entry);
static void compare_row(EsStore *store, HeapTuple tuple);
static EsEntry row_entry(const EsRow *row);
static HeapTuple key_tuple(const EsRow *row);
static void tuple_key(const EsTarget *target, HeapTuple tuple, Datum *key);
static List *divide(EsStore *store, uint32 part, uint32 parts);
static Part *find_part(const EsStore *store, List *parts, const Datum *key);
static void write_entry(EsStore *store, List *parts, const EsEntry *entry);
static void route_event(EsStore *store, List *parts, const EsEvent *event, HeapTuple row);
static void note_part(const Datum *key, void *arg);
static bool load_part(EsStore *store, Part *part);
static void load_entry(EsStore *store, const EsEntry *entry);
static void divide_part(EsStore *store, Part *part);

EsStore *
es_store_begin(MemoryContext parent, EsProjection *projection)
{
	MemoryContext context = AllocSetContextCreate(parent, "eventsource store", ALLOCSET_SMALL_SIZES);
	EsStore    *store = MemoryContextAllocZero(context, sizeof(EsStore));

	store->projection = projection;
	store->context = context;
	store->rows = AllocSetContextCreate(context, "eventsource store rows", ALLOCSET_DEFAULT_SIZES);
	store->scratch = AllocSetContextCreate(context, "eventsource store scratch", ALLOCSET_DEFAULT_SIZES);
	store->is_whole = true;
	store->can_divide = es_target_can_part(projection->target);
	begin_fold(store, 0, 1);
	return store;
}

void
es_store_restrict(EsStore *store)
{
	store->is_restricted = true;
	es_fold_restrict(store->fold);
}

void
es_store_read_base(EsStore *store, Snapshot base)
{
	store->base = base;
	es_fold_read_base(store->fold, base);
}

void
es_store_use_corrections(EsStore *store, const EsCorrections *corrections)
{
	store->corrections = corrections;
}

void
es_store_fold(EsStore *store, const EsEvent *event, HeapTuple row)
{
	EsEvent		corrected = *event;

	if (!correct(store, &corrected))
		return;
	if (!store->is_whole)
	{
		route_event(store, store->parts, &corrected, row);
		return;
	}
	es_fold_apply(store->fold, &corrected);
	if (is_full(store))
		store->parts = divide(store, 0, 1);
}

void
es_store_put(EsStore *store, const EsRow *row)
{
	EsEntry		entry;
	MemoryContext caller;

	MemoryContextReset(store->scratch);
	caller = MemoryContextSwitchTo(store->scratch);
	entry = row_entry(row);
	if (store->is_whole)
	{
		put_row(store, es_fold_enter(store->fold, store->projection->target, row->key), &entry);
		if (is_full(store))
			store->parts = divide(store, 0, 1);
	}
	else
		write_entry(store, store->parts, &entry);
	MemoryContextSwitchTo(caller);
}

void
es_store_compare(EsStore *store, HeapTuple row)
{
	EsEntry		entry = {.kind = ES_ENTRY_TABLE,.found = row};
	MemoryContext caller;

	MemoryContextReset(store->scratch);
	caller = MemoryContextSwitchTo(store->scratch);
	if (store->is_whole)
	{
		compare_row(store, row);
		if (is_full(store))
			store->parts = divide(store, 0, 1);
	}
	else
		write_entry(store, store->parts, &entry);
	MemoryContextSwitchTo(caller);
}

bool
es_store_row_differs(const EsRow *row)
{
	return row->compared ? row->found != NULL : row->now != NULL;
}

bool
es_store_is_whole(const EsStore *store)
{
	return store->is_whole;
}

EsFold *
es_store_next(EsStore *store)
{
	if (store->is_whole)
	{
		bool		is_first = !store->is_read;

		store->is_read = true;
		return is_first ? store->fold : NULL;
	}
	while (store->parts != NIL)
	{
		Part	   *part = linitial(store->parts);
		bool		is_loaded;

		store->parts = list_delete_first(store->parts);
		is_loaded = load_part(store, part);
		if (!is_loaded)
			divide_part(store, part);
		es_journal_end(part->journal);
		pfree(part);
		if (is_loaded)
			return store->fold;
	}
	return NULL;
}

void
es_store_end(EsStore *store)
{
	ListCell   *lc;

	foreach(lc, store->parts)
		es_journal_end(((Part *) lfirst(lc))->journal);
	MemoryContextDelete(store->context);
}

/* ---- the fold ---- */

static void
begin_fold(EsStore *store, uint32 part, uint32 parts)
{
	MemoryContextReset(store->rows);
	store->fold = es_fold_begin_replay(store->rows, store->projection);
	es_fold_take_part(store->fold, part, parts);
	if (store->is_restricted)
		es_fold_restrict(store->fold);
	es_fold_read_base(store->fold, store->base);
}

static bool
is_full(EsStore *store)
{
	return store->can_divide && ++store->steps % STEPS_PER_LOOK == 0 &&
		MemoryContextMemAllocated(store->rows, true) > get_hash_memory_limit();
}

/* The event as corrected; false if no rule is for it, or it does not count. */
static bool
correct(EsStore *store, EsEvent *event)
{
	return es_projection_rule(store->projection, es_event_text(event, ES_EVENT_TYPE)) != NULL &&
		es_corrections_apply(store->corrections, event);
}

static void
put_row(EsStore *store, EsRow *row, const EsEntry *entry)
{
	if (row->now != NULL && row->now != row->found)
		heap_freetuple(row->now);
	row->now = entry->is_gone ? NULL : es_fold_keep(store->fold, entry->now);
	if (row->now != NULL)
		row->now->t_tableOid = store->projection->target->relid;
	row->found = entry->found == NULL ? NULL : es_fold_keep(store->fold, entry->found);
	row->compared = entry->compared;
	row->last_position = entry->last_position;
	row->parted_at = entry->parted_at;
}

static void
compare_row(EsStore *store, HeapTuple tuple)
{
	const EsTarget *target = store->projection->target;
	Datum		key[INDEX_MAX_KEYS];
	EsRow	   *row;

	tuple_key(target, tuple, key);
	row = es_fold_enter(store->fold, target, key);
	row->compared = true;
	if (row->now == NULL || !es_target_same_row(target, row->now, tuple))
		row->found = es_fold_keep(store->fold, tuple);
}

static EsEntry
row_entry(const EsRow *row)
{
	return (EsEntry)
	{
		.kind = ES_ENTRY_ROW,
			.is_gone = row->now == NULL,
			.compared = row->compared,
			.last_position = row->last_position,
			.parted_at = row->parted_at,
			.now = row->now != NULL ? row->now : key_tuple(row),
			.found = row->found,
	};
}

/* A row of which only the key is known. */
static HeapTuple
key_tuple(const EsRow *row)
{
	TupleDesc	desc = row->target->desc;
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	memset(nulls, true, sizeof(bool) * desc->natts);
	for (int i = 0; i < row->target->nkeys; i++)
	{
		values[row->target->keys[i].attno - 1] = row->key[i];
		nulls[row->target->keys[i].attno - 1] = false;
	}
	return heap_form_tuple(desc, values, nulls);
}

static void
tuple_key(const EsTarget *target, HeapTuple tuple, Datum *key)
{
	bool		isnull;

	for (int i = 0; i < target->nkeys; i++)
		key[i] = heap_getattr(tuple, target->keys[i].attno, target->desc, &isnull);
}

/* ---- parts ---- */

/* The fold's rows, written to the journals of the parts that its keys are divided into. */
static List *
divide(EsStore *store, uint32 part, uint32 parts)
{
	MemoryContext caller = MemoryContextSwitchTo(store->context);
	List	   *result = NIL;
	EsRowScan	scan = {0};
	EsRow	   *row;

	for (uint32 i = 0; i < PARTS; i++)
	{
		Part	   *sub = palloc0(sizeof(Part));

		sub->part = part + i * parts;
		sub->parts = parts * PARTS;
		sub->journal = es_journal_begin();
		result = lappend(result, sub);
	}
	while ((row = es_fold_next_row(store->fold, &scan)) != NULL)
	{
		EsEntry		entry;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(store->scratch);
		MemoryContextSwitchTo(store->scratch);
		entry = row_entry(row);
		write_entry(store, result, &entry);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(store->rows);
	store->fold = NULL;
	store->is_whole = false;
	return result;
}

static Part *
find_part(const EsStore *store, List *parts, const Datum *key)
{
	uint32		hash = es_target_part(store->projection->target, key, MAX_PARTS);
	ListCell   *lc;

	foreach(lc, parts)
	{
		Part	   *part = lfirst(lc);

		if ((hash & (part->parts - 1)) == part->part)
			return part;
	}
	return NULL;
}

/* Of a row, or a row of the table. */
static void
write_entry(EsStore *store, List *parts, const EsEntry *entry)
{
	Datum		key[INDEX_MAX_KEYS];

	tuple_key(store->projection->target, entry->kind == ES_ENTRY_TABLE ? entry->found : entry->now, key);
	es_journal_write(find_part(store, parts, key)->journal, entry);
}

static void
route_event(EsStore *store, List *parts, const EsEvent *event, HeapTuple row)
{
	const EsRule *rule = es_projection_rule(store->projection, es_event_text(event, ES_EVENT_TYPE));
	EsEntry		entry = {.kind = ES_ENTRY_EVENT,.now = row};
	Route		route = {store, parts};
	MemoryContext caller;
	ListCell   *lc;

	MemoryContextReset(store->scratch);
	caller = MemoryContextSwitchTo(store->scratch);
	es_fold_each_key(store->projection, rule, event, note_part, &route);
	MemoryContextSwitchTo(caller);
	foreach(lc, parts)
	{
		Part	   *part = lfirst(lc);

		if (part->is_touched)
			es_journal_write(part->journal, &entry);
		part->is_touched = false;
	}
}

static void
note_part(const Datum *key, void *arg)
{
	Route	   *route = arg;
	Part	   *part = find_part(route->store, route->parts, key);

	if (part != NULL)
		part->is_touched = true;
}

/* False if the part is too large. */
static bool
load_part(EsStore *store, Part *part)
{
	MemoryContext work = AllocSetContextCreate(store->context, "eventsource store entry", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	bool		fits = true;
	EsEntry		entry;

	begin_fold(store, part->part, part->parts);
	while (fits && es_journal_read(part->journal, &entry))
	{
		CHECK_FOR_INTERRUPTS();
		load_entry(store, &entry);
		MemoryContextReset(work);
		fits = part->parts >= MAX_PARTS || !is_full(store);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return fits;
}

static void
load_entry(EsStore *store, const EsEntry *entry)
{
	Datum		key[INDEX_MAX_KEYS];
	EsEvent		event;

	if (entry->kind == ES_ENTRY_TABLE)
		compare_row(store, entry->found);
	else if (entry->kind == ES_ENTRY_ROW)
	{
		tuple_key(store->projection->target, entry->now, key);
		put_row(store, es_fold_enter(store->fold, store->projection->target, key), entry);
	}
	else
	{
		es_event_deform(entry->now, true, &event);
		if (correct(store, &event))
			es_fold_apply(store->fold, &event);
	}
}

/* The rows that were read so far, then the rest of the part's journal. */
static void
divide_part(EsStore *store, Part *part)
{
	List	   *parts = divide(store, part->part, part->parts);
	MemoryContext work = AllocSetContextCreate(store->context, "eventsource store entry", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	EsEntry		entry;
	EsEvent		event;

	while (es_journal_read(part->journal, &entry))
	{
		CHECK_FOR_INTERRUPTS();
		if (entry.kind != ES_ENTRY_EVENT)
			write_entry(store, parts, &entry);
		else
		{
			es_event_deform(entry.now, true, &event);
			if (correct(store, &event))
				route_event(store, parts, &event, entry.now);
		}
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(store->context);
	store->parts = list_concat(parts, store->parts);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}
