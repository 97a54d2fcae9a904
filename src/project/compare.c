/*
 * compare.c
 *		compare_projection: history folded by the present rules and by proposed
 *		ones, and the rows in which they part.
 *
 * Both sides are replayed from the same events under one snapshot; the table is
 * only asked for its columns.  What is proposed is compiled as create_projection
 * would compile it, with the caller's rights, and is forgotten at the end.
 * Nothing is written and no lock taken that keeps anybody from writing.
 *
 * Memory: where rows belong to one stream (or event) on both sides alike, events
 * are sorted by stream, and the rows of one stream are held at a time.  Where
 * streams share rows, all rows of both sides are, until they outgrow the memory
 * of a hash table: then the keys are divided in two, and history is read once
 * for each part.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/nodeHash.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/by_stream.h"
#include "log/correction.h"
#include "log/position.h"
#include "log/progress.h"
#include "log/read.h"
#include "miscadmin.h"
#include "project/fold_row.h"
#include "rules/filter.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Arguments of compare_projection() */
#define ARG_TARGET		0
#define ARG_RULES		1
#define ARG_KEY			2
#define ARG_FILTER		3		/* and the three after it */
#define ARG_EACH		7

/* Into how many parts keys are divided at most. */
#define MAX_PARTS		4096

/* Events between two looks at the memory in use. */
#define EVENTS_PER_LOOK	1000

enum
{
	CURRENT,
	PROPOSED,
	SIDES
};

typedef struct Comparison
{
	ReturnSetInfo *result;
	EsProjection *side[SIDES];
	EsFilter	filter;
	Snapshot	snapshot;
	EsCorrections *corrections;
	EsProgress	progress;
	const char *what;			/* is being done, for the progress */

	MemoryContext rows;			/* of the folds; reset with them */
	EsFold	   *fold[SIDES];
	MemoryContext per_event;
	List	   *changed[SIDES]; /* of EsRow, by the event at hand; there */
} Comparison;

PG_FUNCTION_INFO_V1(eventsource_compare_projection);

static EsProjection *compile_proposal(FunctionCallInfo fcinfo, const EsProjection *current);
static Jsonb *put_member(Jsonb *object, const char *name, Datum value);
static bool is_by_stream(Comparison *c);
static const EsRowIdentity *identity(const EsProjection *projection);
static void compare_by_stream(Comparison *c);
static void compare_part(Comparison *c, uint32 part, uint32 parts);
static bool fold_part(Comparison *c, EsScan *scan, bool can_divide);
static void begin_folds(Comparison *c, uint32 part, uint32 parts);
static void fold_event(Comparison *c, EsEvent *event);
static void note_change(EsRow *row, void *arg);
static void note_parting(Comparison *c, EsRow *row, int side, int64 position);
static EsRow *find_twin(Comparison *c, const EsRow *row, int side);
static bool same_row(const EsRow *a, const EsRow *b);
static void put_differences(Comparison *c);
static void put_difference(Comparison *c, const EsRow *row, const EsRow *twin, int side);

/* compare_projection(target, rules, key, filter, since, until, basis, each) */
Datum
eventsource_compare_projection(PG_FUNCTION_ARGS)
{
	Comparison	c = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	if (PG_ARGISNULL(ARG_TARGET) || PG_ARGISNULL(ARG_RULES))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("compare_projection needs a table and rules"),
				 errdetail("Argument \"%s\" is null.", PG_ARGISNULL(ARG_TARGET) ? "target" : "rules"),
				 errhint("compare_projection(target, rules): the table of a projection, and the rules to try.")));
	InitMaterializedSRF(fcinfo, 0);
	c.side[CURRENT] = es_projection_open_to_read(PG_GETARG_OID(ARG_TARGET),
												 "Comparing a projection shows rows of its table.");
	c.side[PROPOSED] = compile_proposal(fcinfo, c.side[CURRENT]);
	es_filter_read(&c.filter, fcinfo, ARG_FILTER);
	c.what = psprintf("compare_projection of %s", c.side[CURRENT]->target->name);
	c.rows = AllocSetContextCreate(CurrentMemoryContext, "eventsource comparison", ALLOCSET_DEFAULT_SIZES);
	c.per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource comparison event",
										ALLOCSET_SMALL_SIZES);
	c.snapshot = RegisterSnapshot(GetActiveSnapshot());
	c.corrections = es_corrections_load(DT_NOEND, c.snapshot);
	es_corrections_show(c.corrections, GetUserId());
	if (is_by_stream(&c))
		compare_by_stream(&c);
	else
		compare_part(&c, 0, 1);
	UnregisterSnapshot(c.snapshot);
	return (Datum) 0;
}

/* The definition as it is, with what was given in place of what it says. */
static EsProjection *
compile_proposal(FunctionCallInfo fcinfo, const EsProjection *current)
{
	EsDefinition proposal = *es_config_read("projection", current->name, 0);
	EsProjection *projection;
	List	   *problems = NIL;

	proposal.owner = GetUserId();
	proposal.data = put_member(proposal.data, "rules", PG_GETARG_DATUM(ARG_RULES));
	if (!PG_ARGISNULL(ARG_KEY))
		proposal.data = put_member(proposal.data, "key", PG_GETARG_DATUM(ARG_KEY));
	if (!PG_ARGISNULL(ARG_EACH))
	{
		JsonbValue	each = {.type = jbvString};

		each.val.string.val = text_to_cstring(PG_GETARG_TEXT_PP(ARG_EACH));
		each.val.string.len = strlen(each.val.string.val);
		proposal.data = put_member(proposal.data, "each", JsonbPGetDatum(JsonbValueToJsonb(&each)));
	}
	projection = es_projection_compile(&proposal, current->target->relid, &problems);
	if (problems != NIL)
		es_projection_refuse(get_rel_name(current->target->relid), problems);
	/* So that an error in one of its expressions is told from one in force. */
	projection->target->name = psprintf("%s (as proposed)", current->target->name);
	return projection;
}

static Jsonb *
put_member(Jsonb *object, const char *name, Datum value)
{
	Datum		path = CStringGetTextDatum(name);

	return DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(object),
											  PointerGetDatum(construct_array(&path, 1, TEXTOID, -1, false,
																			  TYPALIGN_INT)),
											  value, BoolGetDatum(true)));
}

/* Do rows belong to one stream, or event, and to the same one on both sides? */
static bool
is_by_stream(Comparison *c)
{
	const EsRowIdentity *current = identity(c->side[CURRENT]);
	const EsRowIdentity *proposed = identity(c->side[PROPOSED]);

	return c->side[CURRENT]->sharing != ES_ROW_SHARED &&
		c->side[CURRENT]->sharing == c->side[PROPOSED]->sharing &&
		current->key == proposed->key && current->column == proposed->column;
}

/* All rules have the same, or rows are shared. */
static const EsRowIdentity *
identity(const EsProjection *projection)
{
	const EsRule *rule = projection->rules != NIL ? linitial(projection->rules) : projection->any;

	return &rule->identity;
}

static void
compare_by_stream(Comparison *c)
{
	EsStreamWalk *walk = es_walk_streams_begin(0, PG_INT64_MAX, c->side[CURRENT]->categories, c->snapshot);
	EsEvent		event;
	bool		is_first;

	es_progress_begin(&c->progress, c->what, es_walk_streams_total(walk));
	begin_folds(c, 0, 1);
	while (es_walk_streams_next(walk, &event, &is_first))
	{
		if (is_first)
		{
			put_differences(c);
			begin_folds(c, 0, 1);
		}
		fold_event(c, &event);
		es_progress_step(&c->progress, 1);
	}
	put_differences(c);
	es_progress_end(&c->progress);
	es_walk_streams_end(walk);
}

/* One part of the keys; where it is too large, both halves of it. */
static void
compare_part(Comparison *c, uint32 part, uint32 parts)
{
	bool		can_divide = parts < MAX_PARTS && c->side[CURRENT]->target->keys[0].hash != NULL;
	int64		upto = es_position_last();
	EsScan	   *scan = es_scan_log(0, upto, c->side[CURRENT]->categories, c->snapshot);
	bool		fits;

	es_progress_begin(&c->progress,
					  parts == 1 ? c->what : psprintf("%s, part %u of %u", c->what, part + 1, parts), upto);
	begin_folds(c, part, parts);
	es_scan_as_stored(scan);
	fits = fold_part(c, scan, can_divide);
	es_scan_end(scan);
	es_progress_end(&c->progress);
	if (fits)
	{
		put_differences(c);
		return;
	}
	compare_part(c, part, 2 * parts);
	compare_part(c, part + parts, 2 * parts);
}

/* False if the rows became too many. */
static bool
fold_part(Comparison *c, EsScan *scan, bool can_divide)
{
	size_t		limit = get_hash_memory_limit();
	int64		done = 0;
	EsEvent		event;

	for (int64 n = 1; es_scan_next(scan, &event); n++)
	{
		int64		position = DatumGetInt64(event.value[ES_EVENT_POSITION]);

		fold_event(c, &event);
		es_progress_step(&c->progress, position - done);
		done = position;
		if (can_divide && n % EVENTS_PER_LOOK == 0 && MemoryContextMemAllocated(c->rows, true) > limit)
			return false;
	}
	return true;
}

static void
begin_folds(Comparison *c, uint32 part, uint32 parts)
{
	MemoryContext caller;

	MemoryContextReset(c->rows);
	caller = MemoryContextSwitchTo(c->rows);
	for (int side = 0; side < SIDES; side++)
	{
		c->fold[side] = es_fold_begin_replay(c->rows, c->side[side]);
		es_fold_take_part(c->fold[side], part, parts);
		es_fold_watch(c->fold[side], note_change, c);
	}
	MemoryContextSwitchTo(caller);
}

static void
fold_event(Comparison *c, EsEvent *event)
{
	int64		position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	MemoryContext caller;

	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(c->per_event);
	caller = MemoryContextSwitchTo(c->per_event);
	if (es_corrections_apply(c->corrections, event) && es_filter_takes(&c->filter, event))
	{
		for (int side = 0; side < SIDES; side++)
			c->changed[side] = NIL;
		for (int side = 0; side < SIDES; side++)
			es_fold_apply(c->fold[side], event);
		for (int side = 0; side < SIDES; side++)
		{
			ListCell   *lc;

			foreach(lc, c->changed[side])
				note_parting(c, lfirst(lc), side, position);
		}
	}
	MemoryContextSwitchTo(caller);
}

static void
note_change(EsRow *row, void *arg)
{
	Comparison *c = arg;
	int			side = row->target == c->side[CURRENT]->target ? CURRENT : PROPOSED;
	MemoryContext caller = MemoryContextSwitchTo(c->per_event);

	c->changed[side] = lappend(c->changed[side], row);
	MemoryContextSwitchTo(caller);
}

/* From which event on the row was never again the same on both sides. */
static void
note_parting(Comparison *c, EsRow *row, int side, int64 position)
{
	EsRow	   *twin = find_twin(c, row, side);
	int64		parted_at = row->parted_at;

	if (same_row(row, twin))
		parted_at = ES_NOT_PARTED;
	else
	{
		if (parted_at == ES_NOT_PARTED && twin != NULL)
			parted_at = twin->parted_at;
		if (parted_at == ES_NOT_PARTED)
			parted_at = position;
	}
	row->parted_at = parted_at;
	if (twin != NULL)
		twin->parted_at = parted_at;
}

/* The row of the same key on the other side, or NULL. */
static EsRow *
find_twin(Comparison *c, const EsRow *row, int side)
{
	int			other = side == CURRENT ? PROPOSED : CURRENT;

	return es_fold_find(c->fold[other], c->side[other]->target, row->key);
}

static bool
same_row(const EsRow *a, const EsRow *b)
{
	if (b == NULL || a->now == NULL || b->now == NULL)
		return a->now == NULL && (b == NULL || b->now == NULL);
	return es_target_same_row(a->target, a->now, b->now);
}

static void
put_differences(Comparison *c)
{
	MemoryContextReset(c->per_event);
	for (int side = 0; side < SIDES; side++)
	{
		EsRowScan	scan = {0};
		EsRow	   *row;

		while ((row = es_fold_next_row(c->fold[side], &scan)) != NULL)
		{
			EsRow	   *twin;

			CHECK_FOR_INTERRUPTS();
			if (row->parted_at == ES_NOT_PARTED)
				continue;
			twin = find_twin(c, row, side);
			if (side == CURRENT || twin == NULL)
				put_difference(c, row, twin, side);
		}
	}
}

static void
put_difference(Comparison *c, const EsRow *row, const EsRow *twin, int side)
{
	const EsRow *rows[SIDES];
	Jsonb	   *shown[SIDES];
	Datum		values[4];
	bool		nulls[4] = {false};
	MemoryContext caller = MemoryContextSwitchTo(c->per_event);

	rows[side] = row;
	rows[side == CURRENT ? PROPOSED : CURRENT] = twin;
	for (int i = 0; i < SIDES; i++)
	{
		nulls[i + 1] = rows[i] == NULL || rows[i]->now == NULL;
		shown[i] = nulls[i + 1] ? NULL : es_target_row_to_jsonb(rows[i]->target, rows[i]->now);
		values[i + 1] = JsonbPGetDatum(shown[i]);
	}
	values[0] = JsonbPGetDatum(es_target_key_to_jsonb(row->target, shown[CURRENT] != NULL ? shown[CURRENT] :
													  shown[PROPOSED]));
	values[3] = Int64GetDatum(row->parted_at);
	tuplestore_putvalues(c->result->setResult, c->result->setDesc, values, nulls);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(c->per_event);
}
