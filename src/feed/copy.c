/*
 * copy.c
 *		Copying a category: a follower of the final feed whose work is to append.
 *
 * Events are read below the watermark, in order, as corrected and upcast, mapped
 * (copy_mapping.c), and appended through the hall, in the transaction that moves
 * the cursor: each counts once, whatever is killed.  No WAL is flushed before, as
 * our own commit comes behind those that are read.
 *
 * It is the caller who records, with no setting of his: what is copied is the same
 * whoever copies.
 *
 * Locks: the copy's progress, by the caller; streams of the new category.
 *
 * Memory: drafts live until the batch is written.
 */
#include "feed/copy.h"

#include "append/draft.h"
#include "append/hall.h"
#include "errors.h"
#include "feed/copy_correct.h"
#include "feed/copy_mapping.h"
#include "log/config.h"
#include "log/correction.h"
#include "log/cursor.h"
#include "log/final.h"
#include "log/json.h"
#include "log/position.h"
#include "log/progress.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A stretch at work. */
typedef struct Stretch
{
	const EsCopy *copy;
	EsMapping  *mapping;
	Snapshot	snapshot;
	int64		upto;			/* the watermark */
	EsCorrections *corrections; /* of events after the cursor */
	EsBatch    *batch;
	MemoryContext context;		/* of what the batch has not written */
	int64		after;			/* the cursor */
	int64		appended;
	EsProgress	progress;		/* in positions */
	int64		told;			/* up to here */
	const EsEvent *event;		/* at hand, for errors */
} Stretch;

static int64 read_cursor(const EsCopy *copy, int64 upto);
static void begin_progress(Stretch *stretch, const EsCopied *copied);
static int64 copy_events(Stretch *stretch, int64 max_events, bool is_brief);
static void copy_event(Stretch *stretch, EsEvent *event);
static void append_copy(Stretch *stretch, const EsMappingTarget *target, const EsEvent *event);
static void carry_correction(Stretch *stretch, const EsEvent *correction);
static void write_batch(Stretch *stretch);
static void set_subject(const Stretch *stretch, const EsEvent *event, EsDraft *draft);
static Jsonb *metadata_with_source(const EsEvent *event);
static const text *copy_text(const EsEvent *event, EsEventColumn column);
static void describe_event(void *arg);

EsCopy *
es_copy_find(const char *to)
{
	EsDefinition *definition = es_config_read(ES_COPY_KIND, to, 0);
	EsCopy	   *copy;
	JsonbValue	buffer;
	JsonbValue *mapping;

	if (definition == NULL || strcmp(definition->type, ES_COPY_DEFINED) != 0)
		return NULL;
	copy = palloc0(sizeof(EsCopy));
	copy->from = es_json_find_string(&definition->data->root, "from");
	copy->to = definition->name;
	mapping = es_json_find(&definition->data->root, "mapping", &buffer);
	if (mapping != NULL && mapping->type != jbvNull)
		copy->mapping = JsonbValueToJsonb(mapping);
	copy->definer = definition->owner;
	copy->follower = es_cursor_name(ES_COPY_KIND, definition->name);
	return copy;
}

void
es_copy_run(const EsCopy *copy, int64 max_events, bool is_brief, EsCopied *result)
{
	EsFinal    *final = es_final_begin();
	ErrorContextCallback context = {.previous = error_context_stack,.callback = describe_event};
	Stretch		stretch = {.copy = copy,.snapshot = es_final_snapshot(final),.upto = es_final_upto(final)};
	int			settings = NewGUCNestLevel();

	result->upto = stretch.upto;
	stretch.after = stretch.told = result->position = read_cursor(copy, stretch.upto);
	if (result->began < 0)
		result->began = stretch.after;
	es_draft_forget_settings();
	if (stretch.after < stretch.upto)
	{
		stretch.mapping = es_mapping_compile(copy->mapping, copy->to, copy->definer);
		stretch.corrections = es_corrections_load_between(stretch.after, stretch.upto, stretch.snapshot);
		stretch.context = AllocSetContextCreate(CurrentMemoryContext, "eventsource copy", ALLOCSET_DEFAULT_SIZES);
		stretch.batch = es_batch_begin_import();
		begin_progress(&stretch, result);
		context.arg = &stretch;
		error_context_stack = &context;
		result->position = copy_events(&stretch, max_events, is_brief);
		error_context_stack = context.previous;
		es_progress_end(&stretch.progress);
		MemoryContextDelete(stretch.context);
		es_cursor_set(copy->follower, result->position);
	}
	result->appended = stretch.appended;
	AtEOXact_GUC(false, settings);
	es_final_end(final);
}

/* Where it stands, if what it has done so far can be built on. */
static int64
read_cursor(const EsCopy *copy, int64 upto)
{
	EsCursor	cursor = {0};

	/* From the start, everything would be copied twice. */
	if (!es_cursor_read(copy->follower, SnapshotSelf, &cursor))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the progress of the copy to category \"%s\" is lost", copy->to),
				 errdetail("Table eventsource.projection_cursor has no row of it, as after a partial restore."),
				 errhint("Restore that table, or copy into another category.")));
	if (es_cursor_is_hidden(copy->follower, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to another run"),
				 errdetail("The copy to category \"%s\" went on after the snapshot of this transaction was taken.",
						   copy->to),
				 errhint("Retry the transaction.")));
	if (cursor.position > upto)
		es_position_expect_drawn(cursor.position);
	if (copy->mapping != NULL && !OidIsValid(copy->definer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that began the copy to category \"%s\" is gone", copy->to),
				 errdetail("The expressions of its mapping have the rights of that role."),
				 errhint("Copy into another category.")));
	return cursor.position;
}

/* Of the whole call, whose end moves on. */
static void
begin_progress(Stretch *stretch, const EsCopied *copied)
{
	es_progress_begin(&stretch->progress, psprintf("copy of %s to %s", stretch->copy->from, stretch->copy->to),
					  copied->upto - copied->began);
	es_progress_step(&stretch->progress, stretch->after - copied->began);
}

/* Position up to which all is copied now. */
static int64
copy_events(Stretch *stretch, int64 max_events, bool is_brief)
{
	int64		reached = stretch->upto;
	int64		events = 0;
	EsScan	   *scan = es_scan_log(stretch->after, stretch->upto,
								   list_make1(unconstify(char *, stretch->copy->from)), stretch->snapshot);
	EsEvent		event;

	es_scan_expect(scan, max_events);
	es_scan_as_stored(scan);	/* corrections come first */
	while (reached == stretch->upto && es_scan_next(scan, &event))
	{
		int64		position = DatumGetInt64(event.value[ES_EVENT_POSITION]);

		CHECK_FOR_INTERRUPTS();
		stretch->event = &event;
		copy_event(stretch, &event);
		if (++events == max_events || (is_brief && es_stream_locks_are_many()))
			reached = position;
		es_progress_step(&stretch->progress, position - stretch->told);
		stretch->told = position;
		if (es_batch_is_full(stretch->batch))
		{
			es_batch_flush(stretch->batch);
			MemoryContextReset(stretch->context);
		}
	}
	write_batch(stretch);
	stretch->event = NULL;
	es_scan_end(scan);
	return reached;
}

static void
copy_event(Stretch *stretch, EsEvent *event)
{
	MemoryContext caller;
	ListCell   *lc;

	if (es_event_is_correction(event))
	{
		carry_correction(stretch, event);
		return;
	}
	caller = MemoryContextSwitchTo(stretch->context);
	if (es_corrections_apply(stretch->corrections, event))
		foreach(lc, es_mapping_targets(stretch->mapping, es_event_text(event, ES_EVENT_TYPE)))
			append_copy(stretch, lfirst(lc), event);
	MemoryContextSwitchTo(caller);
}

static void
append_copy(Stretch *stretch, const EsMappingTarget *target, const EsEvent *event)
{
	EsDraft		draft;
	EsAppended	result;

	es_draft_init(&draft);
	if (!es_mapping_apply(stretch->mapping, target, event, &draft))
		return;
	draft.reason = copy_text(event, ES_EVENT_REASON);
	draft.actor = copy_text(event, ES_EVENT_ACTOR);
	draft.metadata = metadata_with_source(event);
	draft.has_occurred_at = true;
	draft.occurred_at = DatumGetTimestampTz(event->value[ES_EVENT_OCCURRED_AT]);
	draft.flags = event->flags & ES_EVENT_SYNTHETIC;
	draft.like = event->personal;
	set_subject(stretch, event, &draft);
	es_batch_add(stretch->batch, &draft, &result);
	stretch->appended++;
}

/*
 * What corrects an event of this stretch has been applied.  The batch that goes on
 * must outlive what is forgotten whenever one is written.
 */
static void
carry_correction(Stretch *stretch, const EsEvent *correction)
{
	MemoryContext caller;

	if (es_copy_corrected(correction) > stretch->after)
		return;
	write_batch(stretch);
	caller = MemoryContextSwitchTo(stretch->context);
	es_copy_correct(stretch->copy, stretch->mapping, correction, stretch->upto, stretch->snapshot);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(stretch->context);
	stretch->batch = es_batch_begin_import();
}

/* Who asks for heads, or corrects, finds all that is copied so far. */
static void
write_batch(Stretch *stretch)
{
	es_batch_flush(stretch->batch);
	es_batch_end(stretch->batch);
	stretch->batch = NULL;
}

/* Its own, and where it comes from. */
static Jsonb *
metadata_with_source(const EsEvent *event)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_members(&state, event->isnull[ES_EVENT_METADATA] ? NULL :
						 DatumGetJsonbP(event->value[ES_EVENT_METADATA]));
	es_json_push_key(&state, ES_COPY_SOURCE);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "position", DatumGetInt64(event->value[ES_EVENT_POSITION]));
	es_json_push_text(&state, "stream", es_event_text(event, ES_EVENT_STREAM));
	es_json_push_number(&state, "version", DatumGetInt64(event->value[ES_EVENT_VERSION]));
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Erasing whom the event is about must reach its copies: so whoever it names, or has
 * personal fields of, stays, whatever the copy's category says.  Of who is erased for
 * good nothing is left that could name him, and nothing is recorded about him.
 */
static void
set_subject(const Stretch *stretch, const EsEvent *event, EsDraft *draft)
{
	const text *subject = es_event_text(event, ES_EVENT_SUBJECT);

	draft->erased_as = es_erased_find(subject, stretch->snapshot);
	if (draft->erased_as > ES_ERASED_SOFT)
		draft->subject = draft->stream;
	else if (event->personal != NULL || !es_text_same(subject, es_event_text(event, ES_EVENT_STREAM)))
		draft->subject = copy_text(event, ES_EVENT_SUBJECT);
}

/* The event does not last as long as the batch. */
static const text *
copy_text(const EsEvent *event, EsEventColumn column)
{
	return event->isnull[column] ? NULL :
		(const text *) DatumGetPointer(datumCopy(event->value[column], false, -1));
}

static void
describe_event(void *arg)
{
	const Stretch *stretch = arg;
	const EsEvent *event = stretch->event;

	if (event == NULL)
		errcontext("copy of category \"%s\" to \"%s\"", stretch->copy->from, stretch->copy->to);
	else
		errcontext("copy of category \"%s\" to \"%s\", event at position " INT64_FORMAT ", type \"%s\"",
				   stretch->copy->from, stretch->copy->to, DatumGetInt64(event->value[ES_EVENT_POSITION]),
				   text_to_cstring(es_event_text(event, ES_EVENT_TYPE)));
}
