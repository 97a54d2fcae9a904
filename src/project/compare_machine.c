/*
 * compare_machine.c
 *		compare_machine: the events of a category judged by a proposed state
 *		machine, stream by stream, as if it had been in force from the first.
 *
 * Steps are taken by the machine itself (rules/machine_step.c).  Guards see the
 * context's row as it would have been: the events that the proposed machine
 * allows are folded along by the projection's present rules.  What was appended
 * past the machine (capture, backfill) passes it here, too; corrections count as
 * they are known now.  Nothing is written; an error that an expression raises is
 * a refusal, as it would be for an append, and is caught in a subtransaction.
 *
 * Memory: events are sorted by stream within work_mem; of the streams, the one
 * at hand.
 */
#include "postgres.h"

#include "access/table.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/by_stream.h"
#include "log/config.h"
#include "log/correction.h"
#include "log/guarded.h"
#include "log/progress.h"
#include "log/reading.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "project/fold_row.h"
#include "project/personal_columns.h"
#include "rules/category.h"
#include "rules/filter.h"
#include "rules/machine.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Arguments of compare_machine() */
#define ARG_CATEGORY		0
#define ARG_DEFINITION		1
#define ARG_ALL				2
#define ARG_FILTER			3	/* and the three after it */

/* Columns of its result */
#define DIFFERENCE_COLUMNS	10

typedef struct Comparison
{
	ReturnSetInfo *result;
	EsMachine  *machine;
	EsProjection *context;		/* or NULL */
	bool		may_raise;		/* an event may meet an expression */
	bool		all;			/* not only the first difference of a stream */
	EsFilter	filter;
	Snapshot	snapshot;
	EsCorrections *corrections;
	const EsUpcasters *upcasters;
	EsProgress	progress;
	MemoryContext rows;			/* of the fold; reset with it */
	MemoryContext per_event;

	/* The stream at hand. */
	EsFold	   *fold;			/* NULL without a context */
	const text *state;			/* where it would stand; words last */
	bool		is_over;		/* there is no more to tell of it */

	/* The event at hand. */
	const EsEvent *event;		/* as guards and the filter see it */
	const EsPersonal *personal; /* its personal fields, or NULL; then also */
	Datum		told;			/* its data with them, as folds see it */
	EsStep		step;
	EsRefusal	refusal;		/* message NULL: it would be allowed */
	const text *after;			/* and lead there */
	bool		is_folding;
} Comparison;

PG_FUNCTION_INFO_V1(eventsource_compare_machine);

static void refuse_null(FunctionCallInfo fcinfo);
static void open_rules(Comparison *c, const char *category, Jsonb *definition);
static void refuse_personal(const EsProjection *context, const char *name, Jsonb *definition);
static EsProjection *open_context(const char *name);
static void compare_streams(Comparison *c, const char *category);
static void begin_stream(Comparison *c);
static void compare_event(Comparison *c, EsEvent *event);
static void read_event(Comparison *c, EsEvent *event);
static void judge(Comparison *c);
static bool leaves_machine(const EsEvent *event);
static bool is_passed(const Comparison *c);
static void pass(Comparison *c);
static void step(void *arg);
static void fold(Comparison *c, Datum data);
static bool is_different(const Comparison *c);
static void put_difference(Comparison *c, const text *before);
static void put_text(Datum *values, bool *nulls, int column, const text *value);

/* compare_machine(category, definition, all_differences, filter, since, until, basis) */
Datum
eventsource_compare_machine(PG_FUNCTION_ARGS)
{
	Comparison	c = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	char	   *category;

	refuse_null(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	category = text_to_cstring(PG_GETARG_TEXT_PP(ARG_CATEGORY));
	es_rights_expect_read(category);
	open_rules(&c, category, PG_GETARG_JSONB_P(ARG_DEFINITION));
	c.all = !PG_ARGISNULL(ARG_ALL) && PG_GETARG_BOOL(ARG_ALL);
	es_filter_read(&c.filter, fcinfo, ARG_FILTER);
	c.rows = AllocSetContextCreate(CurrentMemoryContext, "eventsource comparison", ALLOCSET_DEFAULT_SIZES);
	c.per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource comparison event",
										ALLOCSET_DEFAULT_SIZES);
	c.snapshot = RegisterSnapshot(GetActiveSnapshot());
	c.corrections = es_corrections_load(DT_NOEND, c.snapshot);
	c.upcasters = es_reading_begin();
	compare_streams(&c, category);
	UnregisterSnapshot(c.snapshot);
	return (Datum) 0;
}

static void
refuse_null(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(ARG_CATEGORY) || PG_ARGISNULL(ARG_DEFINITION))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("compare_machine needs a category and a definition"),
				 errdetail("Argument \"%s\" is null.", PG_ARGISNULL(ARG_CATEGORY) ? "category" : "definition"),
				 errhint("compare_machine('lead', definition): the definition as create_state_machine takes it.")));
}

/* What is declared of the category, but for its machine. */
static void
open_rules(Comparison *c, const char *category, Jsonb *definition)
{
	EsDefinition *stored = es_config_read("category", category, 0);
	EsCategoryText declared = {0};
	const char *name;

	if (stored != NULL)
		es_category_read(stored->data, &declared);
	if (declared.context != NULL)
		c->context = open_context(declared.context);
	name = declared.state_machine != NULL ? declared.state_machine : category;
	c->machine = es_machine_propose(name, definition, c->context == NULL ? NULL : c->context->target->desc);
	if (c->context != NULL)
		refuse_personal(c->context, name, definition);
	c->may_raise = c->context != NULL || es_machine_evaluates(c->machine);
}

/* As where it is defined: what passes a guard would tell what personal columns have held. */
static void
refuse_personal(const EsProjection *context, const char *name, Jsonb *definition)
{
	EsPersonalColumns personal;
	List	   *problems;

	es_personal_columns_find(context, &personal);
	problems = es_machine_check_personal_row(name, definition, context->target->desc, personal.columns);
	if (problems != NIL)
		es_machine_refuse(psprintf("definition of state machine \"%s\"", name), problems);
}

/* Guards of the caller's would look at its rows. */
static EsProjection *
open_context(const char *name)
{
	Oid			relid = es_guarded_relid(name);
	EsProjection *projection;

	if (!OidIsValid(relid))
		return NULL;
	projection = es_projection_open_to_read(relid, "The guards of the state machine would look at its rows.");
	return projection->stream_row == NULL ? NULL : projection;
}

static void
compare_streams(Comparison *c, const char *category)
{
	List	   *categories = list_make1(unconstify(char *, category));
	EsStreamWalk *walk = es_walk_streams_begin(0, PG_INT64_MAX, categories, c->snapshot);
	EsEvent		event;
	bool		is_first;

	es_progress_begin(&c->progress, psprintf("compare_machine of %s", category), es_walk_streams_total(walk));
	while (es_walk_streams_next(walk, &event, &is_first))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_first)
			begin_stream(c);
		if (!c->is_over && es_corrections_apply_stored(c->corrections, &event))
			compare_event(c, &event);
		es_progress_step(&c->progress, 1);
	}
	es_progress_end(&c->progress);
	es_walk_streams_end(walk);
}

static void
begin_stream(Comparison *c)
{
	c->state = NULL;
	c->is_over = false;
	if (c->context == NULL)
		return;
	MemoryContextReset(c->rows);
	c->fold = es_fold_begin_replay(c->rows, c->context);
}

/* An event that would be refused would not be there: the stream stays as it is. */
static void
compare_event(Comparison *c, EsEvent *event)
{
	const text *before = c->state;
	MemoryContext caller;

	MemoryContextReset(c->per_event);
	caller = MemoryContextSwitchTo(c->per_event);
	read_event(c, event);
	judge(c);
	if (c->refusal.message == NULL)
		c->state = c->after;
	if (is_different(c) && es_filter_takes(&c->filter, event))
	{
		put_difference(c, before);
		c->is_over |= !c->all;
	}
	MemoryContextSwitchTo(caller);
}

/* As guards, and the filter, see it; and with its personal fields, as folds do. */
static void
read_event(Comparison *c, EsEvent *event)
{
	EsEvent		told = *event;

	es_reading_restore(&told, ES_READER_ITSELF, c->snapshot);
	es_reading_upcast(c->upcasters, event);
	c->event = event;
	c->personal = told.personal;
	if (c->personal == NULL)
		return;
	es_reading_upcast(c->upcasters, &told);
	c->told = told.value[ES_EVENT_DATA];
}

static void
judge(Comparison *c)
{
	memset(&c->refusal, 0, sizeof(EsRefusal));
	c->after = NULL;
	c->is_folding = false;
	if (leaves_machine(c->event) || is_passed(c))
		pass(c);
	else if (!c->may_raise)
		step(c);
	else if (!es_machine_attempt(step, c, &c->refusal) && c->is_folding)
		c->is_over = true;		/* the row may be half changed */
}

/* The captured end of a row: the stream may begin anew. */
static bool
leaves_machine(const EsEvent *event)
{
	return (event->flags & ES_EVENT_CAPTURED) != 0 && event->isnull[ES_EVENT_TO_STATE] &&
		!event->isnull[ES_EVENT_FROM_STATE];
}

/*
 * A captured change of state was a step of the machine that it was recorded
 * under; where the proposed one does not know its type, it has no such step.
 */
static bool
is_passed(const Comparison *c)
{
	const text *from = es_event_text(c->event, ES_EVENT_FROM_STATE);
	const text *to = es_event_text(c->event, ES_EVENT_TO_STATE);

	if (!es_machine_is_passed(c->machine, c->event))
		return false;
	return (c->event->flags & (ES_EVENT_SYNTHETIC | ES_EVENT_VIOLATION)) != 0 ||
		to == NULL || es_text_same(from, to);
}

/* It enters the state that is recorded; one that the machine does not know stays. */
static void
pass(Comparison *c)
{
	if (es_machine_is_entered(c->event) || leaves_machine(c->event))
		c->after = es_event_text(c->event, ES_EVENT_TO_STATE);
	else
		c->after = c->state;
	if (c->after != NULL && !es_machine_has_state(c->machine, c->after))
	{
		c->refusal.sqlstate = ES_ERRCODE_ILLEGAL_TRANSITION;
		c->refusal.message = psprintf("state \"%s\" is unknown to state machine \"%s\"",
									  text_to_cstring(c->after),
									  text_to_cstring(es_machine_label(c->machine)));
	}
	else
		fold(c, c->event->value[ES_EVENT_DATA]);
}

/* The event as its caller gave it, judged where the stream would stand. */
static void
step(void *arg)
{
	Comparison *c = arg;
	EsEvent		given = *c->event;
	EsBinding	binding = {.event = &given,.state = c->state};

	given.isnull[ES_EVENT_POSITION] = true;
	given.isnull[ES_EVENT_TO_STATE] = true;
	given.isnull[ES_EVENT_HASH] = true;
	given.isnull[ES_EVENT_FROM_STATE] = c->state == NULL;
	given.value[ES_EVENT_FROM_STATE] = PointerGetDatum(c->state);
	given.value[ES_EVENT_DATA] = es_machine_given_data(c->event);
	if (c->fold != NULL)
		binding.row = es_fold_context_row(c->fold, c->context->target->relid, &given);

	es_machine_step(c->machine, c->state, &binding, NULL, true, &c->step);
	if (c->step.verdict != ES_LEGAL)
		es_machine_refusal(c->machine, &c->step, &given, &c->refusal);
	else
	{
		Jsonb	   *data = es_machine_fill(c->machine, &c->step, &binding,
										   DatumGetJsonbP(given.value[ES_EVENT_DATA]));

		c->after = c->step.to_state;
		fold(c, JsonbPGetDatum(data));
	}
}

/* With the personal fields, which what was filled in stands beside. */
static Datum
told_data(const Comparison *c, Jsonb *data)
{
	if (compareJsonbContainers(&data->root, &DatumGetJsonbP(c->event->value[ES_EVENT_DATA])->root) == 0)
		return c->told;
	return JsonbPGetDatum(es_personal_put_back(data, c->personal));
}

/* As the event would have been recorded. */
static void
fold(Comparison *c, Datum data)
{
	EsEvent		event = *c->event;

	if (c->fold == NULL)
		return;
	event.value[ES_EVENT_DATA] = data;
	if (c->personal != NULL)
		event.value[ES_EVENT_DATA] = told_data(c, DatumGetJsonbP(data));
	event.value[ES_EVENT_FROM_STATE] = PointerGetDatum(c->state);
	event.isnull[ES_EVENT_FROM_STATE] = c->state == NULL;
	event.value[ES_EVENT_TO_STATE] = PointerGetDatum(c->after);
	event.isnull[ES_EVENT_TO_STATE] = c->after == NULL;
	c->is_folding = true;
	es_fold_apply(c->fold, &event);
}

/* An event without a machine has no state that another could differ from. */
static bool
is_different(const Comparison *c)
{
	const text *to = es_event_text(c->event, ES_EVENT_TO_STATE);

	if (c->refusal.message != NULL)
		return true;
	if (c->event->machine == NULL && !leaves_machine(c->event))
		return false;
	return !es_text_same(to, c->after);
}

static void
put_difference(Comparison *c, const text *before)
{
	static const EsEventColumn columns[] = {ES_EVENT_STREAM, ES_EVENT_VERSION, ES_EVENT_POSITION,
	ES_EVENT_TYPE, ES_EVENT_FROM_STATE, ES_EVENT_TO_STATE};
	int			n = lengthof(columns);
	Datum		values[DIFFERENCE_COLUMNS];
	bool		nulls[DIFFERENCE_COLUMNS];
	bool		is_refused = c->refusal.message != NULL;
	char	   *sqlstate = is_refused ? unpack_sql_state(c->refusal.sqlstate) : NULL;

	for (int i = 0; i < n; i++)
	{
		values[i] = c->event->value[columns[i]];
		nulls[i] = c->event->isnull[columns[i]];
	}
	put_text(values, nulls, n, before);
	put_text(values, nulls, n + 1, is_refused ? NULL : c->after);
	put_text(values, nulls, n + 2, is_refused ? cstring_to_text(sqlstate) : NULL);
	put_text(values, nulls, n + 3, is_refused ? cstring_to_text(c->refusal.message) : NULL);
	tuplestore_putvalues(c->result->setResult, c->result->setDesc, values, nulls);
}

static void
put_text(Datum *values, bool *nulls, int column, const text *value)
{
	values[column] = PointerGetDatum(value);
	nulls[column] = value == NULL;
}
