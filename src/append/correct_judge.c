/*
 * correct_judge.c
 *		What a correction does to the history of its stream.
 *
 * From the corrected event on, the stream is replayed twice: as it is believed
 * to be now, with the corrections there are, and as it would be with the new
 * one.  Each event is judged by the version of the machine that allowed it, as
 * far as the states of both differ.  Every other event must lead to the state
 * that it led to, or leave the state alone as it did; so both meet again at the
 * next event that changes the state, or the stream's own state differs.
 *
 * Guards may ask for the stream's row, where its category has a context: then
 * the row is folded along, as it is and as it would be, from the stream's first
 * event, and events that would see another row are judged, too.  Guards on the
 * row are evaluated for the machine in force, whose row it is; not for older
 * versions of it.
 *
 * Reads what is committed, or our own, under the stream's lock.
 */
#include "postgres.h"

#include "append/correct.h"
#include "append/personal.h"
#include "errors.h"
#include "log/attempt.h"
#include "log/correction.h"
#include "log/json.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/fold_row.h"
#include "rules/event_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* An event, and whether it counts. */
typedef struct Version
{
	EsEvent		event;
	Datum		stored;			/* its data before upcasters */
	Datum		told;			/* its data with personal fields, as folds see
								 * it; guards do not */
	bool		is_told;		/* else it has none */
	bool		counts;
	bool		is_readable;	/* upcasters can do with it */
} Version;

typedef struct Replay
{
	EsRevision *revision;
	const EsCategory *category;
	EsCorrections *known;
	const EsUpcasters *upcasters;
	EsProjection *context;		/* whose row guards see; NULL: none */
	EsFold	   *rows_now;		/* its rows as they are now */
	EsFold	   *rows_then;		/* and as they would be */
	MemoryContext result;		/* what the revision keeps */
	const text *now;			/* the state after the event seen last */
	const text *state;			/* and as it would be */
	bool		has_begun;		/* the corrected event was seen */
	bool		differs;		/* from what it is now */
} Replay;

/* For es_attempt(). */
typedef struct Reading
{
	const Replay *replay;
	Version    *version;
} Reading;

static void begin_context(Replay *replay);
static void read_now(Replay *replay, Version *now, bool is_target);
static void read_event(void *arg);
static EsEvent *as_told(Version *version, EsEvent *copy);
static bool is_of_data(int sqlstate);
static bool replay_event(Replay *replay, const EsEvent *recorded);
static bool pass_correction(Replay *replay, const EsEvent *now);
static void correct_target(Replay *replay, const Version *now, Version *then);
static const text *subject_of(const Replay *replay, const EsEventType *type, const EsEvent *event);
static void check_data(const EsRevision *revision, const EsEventType *type, const EsEvent *then);
static void take_personal(Replay *replay, const Version *now);
static void say(const Replay *replay, Version *version);
static void decide(Replay *replay, const Version *version, Version *changed, bool is_target);
static bool passes(const EsMachine *machine, const EsEvent *event, bool is_target);
static bool is_touched(Replay *replay, const EsMachine *machine, const EsEvent *now, const EsEvent *then);
static EsMachine *machine_of(const Replay *replay, const EsEvent *event);
static void note_state(Replay *replay, int64 position, const text *now, bool is_target);
static void keep_data(Replay *replay, const EsEvent *then);
static void expect_same_changes(const EsEvent *now, const EsRevision *revision);
static bool same_member(Jsonb *a, Jsonb *b, const char *name);
static void expect_same_target(const EsMachine *machine, const EsEvent *now, const EsEvent *then);
static void refuse_step(EsMachine *machine, const EsStep *step, const EsEvent *event, bool is_target);
static void expect_known_state(const Replay *replay);
static void set_text(EsEvent *event, EsEventColumn column, const text *value);
static const char *show(const text *state);

void
es_correct_judge(EsRevision *revision)
{
	text	   *category = cstring_to_text_with_len(VARDATA_ANY(revision->stream),
													es_stream_category_length(revision->stream));
	Replay		replay = {.revision = revision,.result = CurrentMemoryContext};
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource correction",
											   ALLOCSET_DEFAULT_SIZES);
	bool		goes_on = true;
	EsScan	   *scan;
	EsEvent		event;

	revision->rows = es_refold_begin(category);
	replay.category = es_category_get(text_to_cstring(category));
	replay.upcasters = es_reading_begin();
	replay.known = es_corrections_load_stream(revision->stream_id, DT_NOEND, revision->snapshot);
	begin_context(&replay);
	scan = es_scan_stream(revision->stream, replay.context != NULL ? 1 : revision->version, false,
						  revision->snapshot);
	es_scan_as_stored(scan);
	while (goes_on && es_scan_next(scan, &event))
	{
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(work);
		caller = MemoryContextSwitchTo(work);
		goes_on = replay_event(&replay, &event);
		MemoryContextSwitchTo(caller);
	}
	es_scan_end(scan);
	MemoryContextDelete(work);
	if (replay.differs)
	{
		expect_known_state(&replay);
		revision->final_state = replay.state;
	}
}

/* Rows that guards see are folded along if the stream alone makes them. */
static void
begin_context(Replay *replay)
{
	EsProjection *projection;

	if (replay->category->machine == NULL || !OidIsValid(replay->category->context))
		return;
	projection = es_projection_get(replay->category->context);
	if (projection == NULL || projection->sharing != ES_ROW_OF_STREAM || projection->stream_row == NULL)
		return;
	replay->context = projection;
	replay->rows_now = es_fold_begin_replay(CurrentMemoryContext, projection);
	replay->rows_then = es_fold_begin_replay(CurrentMemoryContext, projection);
}

/*
 * What upcasters fail by may be what is to be corrected: then nothing can have
 * been made of it.
 */
static void
read_now(Replay *replay, Version *now, bool is_target)
{
	Reading		reading = {replay, now};

	now->is_readable = true;
	now->is_told = false;
	if (!now->counts || (replay->upcasters == NULL && now->event.vault == 0))
		return;
	if (is_target)
		now->is_readable = es_attempt(read_event, &reading, is_of_data) == NULL;
	else
		read_event(&reading);
}

static void
read_event(void *arg)
{
	const Replay *replay = ((Reading *) arg)->replay;
	Version    *version = ((Reading *) arg)->version;
	EsEvent		told = version->event;

	es_reading_restore(&told, ES_READER_ITSELF, replay->revision->snapshot);
	es_reading_upcast(replay->upcasters, &version->event);
	version->is_told = version->event.vault != 0;
	if (version->is_told)
		es_reading_upcast(replay->upcasters, &told);
	version->told = told.value[ES_EVENT_DATA];
}

/* The event as folds see it: it, or a copy. */
static EsEvent *
as_told(Version *version, EsEvent *copy)
{
	if (!version->is_told)
		return &version->event;
	*copy = version->event;
	copy->value[ES_EVENT_DATA] = version->told;
	return copy;
}

static bool
is_of_data(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION || sqlstate == ES_ERRCODE_INVALID_PAYLOAD;
}

/* False if nothing that follows can be another than it is. */
static bool
replay_event(Replay *replay, const EsEvent *recorded)
{
	int64		position = DatumGetInt64(recorded->value[ES_EVENT_POSITION]);
	bool		is_target = position == replay->revision->position;
	bool		is_noted = is_target || replay->differs;
	Version		now = {.event = *recorded};
	Version		then;
	EsEvent		told;

	now.counts = es_corrections_apply_stored(replay->known, &now.event);
	now.stored = now.event.value[ES_EVENT_DATA];
	read_now(replay, &now, is_target);
	if (es_event_is_correction(recorded))
		return pass_correction(replay, &now.event);
	then = now;
	if (is_target)
		correct_target(replay, &now, &then);
	else if (!now.counts)
		return true;
	else if (replay->has_begun)
		decide(replay, &now, &then, false);

	if (replay->has_begun)
	{
		if (then.counts)
			replay->state = es_event_text(&then.event, ES_EVENT_TO_STATE);
		note_state(replay, position,
				   es_event_text(&now.event, now.counts ? ES_EVENT_TO_STATE : ES_EVENT_FROM_STATE),
				   is_target);
	}
	if (is_noted && now.counts && now.is_readable)
		es_refold_note(replay->revision->rows, as_told(&now, &told));
	if (is_noted && then.counts)
		es_refold_note(replay->revision->rows, as_told(&then, &told));
	if (replay->context != NULL && now.counts && now.is_readable)
		es_fold_apply(replay->rows_now, as_told(&now, &told));
	if (replay->context != NULL && then.counts)
		es_fold_apply(replay->rows_then, as_told(&then, &told));
	return !replay->has_begun || replay->differs || replay->context != NULL;
}

/* It leaves the state as it is, unless the category had no machine: then there is none. */
static bool
pass_correction(Replay *replay, const EsEvent *now)
{
	const text *state = es_event_text(now, ES_EVENT_TO_STATE);

	if (!replay->has_begun || es_text_same(replay->now, state))
		return true;
	replay->state = state;
	note_state(replay, DatumGetInt64(now->value[ES_EVENT_POSITION]), state, false);
	return replay->differs || replay->context != NULL;
}

/* The event to correct, as it would be. */
static void
correct_target(Replay *replay, const Version *now, Version *then)
{
	EsRevision *revision = replay->revision;
	const EsEventType *type = NULL;

	replay->has_begun = true;
	replay->state = es_event_text(&now->event, ES_EVENT_FROM_STATE);
	then->counts = !revision->is_void;
	if (then->counts)
	{
		take_personal(replay, now);
		if ((now->event.flags & ES_EVENT_CAPTURED) != 0)
			expect_same_changes(&now->event, revision);
		say(replay, then);
		decide(replay, now, then, true);
		if (es_event_type_counts(then->event.flags))
			type = es_event_type_get(es_event_text(&then->event, ES_EVENT_CATEGORY),
									 es_event_text(&then->event, ES_EVENT_TYPE));
		check_data(revision, type, &then->event);
		if (es_text_same(es_event_text(&now->event, ES_EVENT_SUBJECT), subject_of(replay, type, &now->event)))
			set_text(&then->event, ES_EVENT_SUBJECT, subject_of(replay, type, &then->event));
	}
	keep_data(replay, &then->event);
}

/* A subject that is another was given with the event (that of a copy, or of a row), and stays. */
static const text *
subject_of(const Replay *replay, const EsEventType *type, const EsEvent *event)
{
	const text *subject = es_event_type_subject(type, replay->category, event);

	return subject != NULL ? subject : replay->revision->stream;
}

/* What is to be stored is judged by the version that the event was stored at. */
static void
check_data(const EsRevision *revision, const EsEventType *type, const EsEvent *then)
{
	EsEvent		stored = *then;
	Jsonb	   *data = revision->data;

	if (revision->personal != NULL)
		data = es_personal_put_back(data, revision->personal);
	es_event_set(&stored, ES_EVENT_DATA, JsonbPGetDatum(data));
	es_event_type_check(type, &stored,
						"A correction has the version of its event: change what eventsource.stored_data(event_position) shows.");
}

/*
 * Cuts the personal fields out of what is to be stored: those that the type has, and
 * those that the event has, which stay as they are where nothing is said of them.
 */
static void
take_personal(Replay *replay, const Version *now)
{
	EsRevision *revision = replay->revision;
	MemoryContext caller = MemoryContextSwitchTo(replay->result);
	const EsPii *pii = es_event_type_counts(now->event.flags) ? es_event_type_pii_of(&now->event) : NULL;
	EsEvent		given = now->event;
	EsPersonalPath *paths = NULL;
	int			n = 0;

	es_event_set(&given, ES_EVENT_DATA, JsonbPGetDatum(revision->data));
	given.flags &= ~ES_EVENT_CAPTURED;	/* a null that is given takes a field
										 * away */
	es_reading_restore(&given, ES_READER_ITSELF, revision->snapshot);
	paths = es_personal_add_paths(paths, &n, pii);
	paths = es_personal_add_fields(paths, &n, given.personal);
	paths = es_personal_add_fields(paths, &n, revision->like);
	es_personal_keep_places(paths, n, now->event.flags);
	revision->data = es_personal_cut(DatumGetJsonbP(given.value[ES_EVENT_DATA]), paths, n,
									 &revision->personal);
	MemoryContextSwitchTo(caller);
}

/* What is to be stored, as guards and as folds see it. */
static void
say(const Replay *replay, Version *version)
{
	const EsRevision *revision = replay->revision;
	EsEvent    *then = &version->event;
	EsEvent		told;

	es_event_set(then, ES_EVENT_DATA, JsonbPGetDatum(revision->data));
	then->is_upcast = false;
	then->vault = 0;
	told = *then;
	es_reading_upcast(replay->upcasters, then);
	version->is_told = revision->personal != NULL;
	if (!version->is_told)
		return;
	es_event_set(&told, ES_EVENT_DATA,
				 JsonbPGetDatum(es_personal_put_back(revision->data, revision->personal)));
	es_reading_upcast(replay->upcasters, &told);
	version->told = told.value[ES_EVENT_DATA];
}

/* Lets the event step from the state in which the stream would be. */
static void
decide(Replay *replay, const Version *version, Version *changed, bool is_target)
{
	const EsEvent *now = &version->event;
	EsEvent    *then = &changed->event;
	EsMachine  *machine = machine_of(replay, then);
	EsBinding	binding = {.event = then,.state = replay->state};
	EsStep		step;

	set_text(then, ES_EVENT_FROM_STATE, replay->state);
	if (machine == NULL)
		return;
	if (passes(machine, then, is_target))
	{
		if (es_text_same(es_event_text(now, ES_EVENT_FROM_STATE), es_event_text(now, ES_EVENT_TO_STATE)))
			set_text(then, ES_EVENT_TO_STATE, replay->state);
		return;
	}
	if (!is_target && !is_touched(replay, machine, now, then))
		return;
	if (machine == replay->category->machine && replay->context != NULL)
		binding.row = es_fold_context_row(replay->rows_then, replay->category->context, then);
	es_machine_restep(machine, replay->state, &binding, &step);
	if (step.verdict != ES_LEGAL)
		refuse_step(machine, &step, then, is_target);
	set_text(then, ES_EVENT_TO_STATE, step.to_state);
	if (is_target)
	{
		EsRevision *revision = replay->revision;

		/*
		 * Of what was filled in, what is stored is kept: it will be upcast
		 * again.
		 */
		revision->data = es_machine_refill(machine, &step, &binding, revision->data,
										   DatumGetJsonbP(version->stored));
		say(replay, changed);
	}
	else
		expect_same_target(machine, now, then);
}

/* Does the state of the event follow from something else than the machine? */
static bool
passes(const EsMachine *machine, const EsEvent *event, bool is_target)
{
	return es_machine_is_passed(machine, event) || (is_target && (event->flags & ES_EVENT_CAPTURED) != 0);
}

/* Would the machine see another state, or another row? */
static bool
is_touched(Replay *replay, const EsMachine *machine, const EsEvent *now, const EsEvent *then)
{
	TupleTableSlot *row_now;
	TupleTableSlot *row_then;
	bool		free_now;
	bool		free_then;

	if (replay->differs)
		return true;
	if (replay->context == NULL || machine != replay->category->machine)
		return false;
	row_now = es_fold_context_row(replay->rows_now, replay->category->context, now);
	row_then = es_fold_context_row(replay->rows_then, replay->category->context, then);
	if (row_now == NULL || row_then == NULL)
		return row_now != row_then;
	return !es_target_same_row(replay->context->target,
							   ExecFetchSlotHeapTuple(row_now, false, &free_now),
							   ExecFetchSlotHeapTuple(row_then, false, &free_then));
}

/* The version that allowed the event; with the context's row if it is in force. */
static EsMachine *
machine_of(const Replay *replay, const EsEvent *event)
{
	EsMachine  *current = replay->category->machine;

	if (event->machine == NULL)
		return NULL;
	if (current != NULL && es_text_same(event->machine, es_machine_label(current)) &&
		(replay->context != NULL || !OidIsValid(replay->category->context)))
		return current;
	return es_machine_named(event->machine);
}

/* now: the state after the event as it is now. */
static void
note_state(Replay *replay, int64 position, const text *now, bool is_target)
{
	EsRevision *revision = replay->revision;
	bool		differed = replay->differs;

	replay->now = now;
	replay->differs = !es_text_same(replay->state, now);
	if (is_target)
		revision->state = replay->state;
	if ((is_target || differed) && !replay->differs)
		revision->upto = position;
}

/* In memory that lasts; a subject that is the stream is the stream's own text. */
static void
keep_data(Replay *replay, const EsEvent *then)
{
	EsRevision *revision = replay->revision;
	const text *subject = es_event_text(then, ES_EVENT_SUBJECT);
	MemoryContext caller = MemoryContextSwitchTo(replay->result);

	if (!revision->is_void)
		revision->data = DatumGetJsonbP(datumCopy(JsonbPGetDatum(revision->data), false, -1));
	revision->subject = es_text_same(subject, revision->stream) ? revision->stream :
		(text *) DatumGetPointer(datumCopy(PointerGetDatum(subject), false, -1));
	MemoryContextSwitchTo(caller);
}

/* ---- refusals ---- */

/* What a tracked table held, and where its rows went, is told by the table. */
static void
expect_same_changes(const EsEvent *now, const EsRevision *revision)
{
	static const char *const members[] = {"changed", "key_changed_from", "key_changed_to"};
	Jsonb	   *data = revision->personal == NULL ? revision->data :
		es_personal_put_back(revision->data, revision->personal);
	EsEvent		held = *now;

	es_reading_restore(&held, ES_READER_ITSELF, revision->snapshot);
	for (int i = 0; i < (int) lengthof(members); i++)
		if (!same_member(DatumGetJsonbP(held.value[ES_EVENT_DATA]), data, members[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("\"%s\" of a captured event cannot be corrected", members[i]),
					 errdetail("It is what a tracked table held."),
					 errhint("UPDATE the table; in data, leave \"%s\" as it is.", members[i])));
}

static bool
same_member(Jsonb *a, Jsonb *b, const char *name)
{
	JsonbValue	a_buffer;
	JsonbValue	b_buffer;
	JsonbValue *a_value = es_json_find(&a->root, name, &a_buffer);
	JsonbValue *b_value = es_json_find(&b->root, name, &b_buffer);

	if (a_value == NULL || b_value == NULL)
		return a_value == b_value;
	return DatumGetBool(DirectFunctionCall2(jsonb_eq, JsonbPGetDatum(JsonbValueToJsonb(a_value)),
											JsonbPGetDatum(JsonbValueToJsonb(b_value))));
}

static void
expect_same_target(const EsMachine *machine, const EsEvent *now, const EsEvent *then)
{
	const text *to = es_event_text(then, ES_EVENT_TO_STATE);

	if (es_text_same(to, es_event_text(now, ES_EVENT_TO_STATE)))
		return;
	if (es_text_same(es_event_text(now, ES_EVENT_FROM_STATE), es_event_text(now, ES_EVENT_TO_STATE)) &&
		es_text_same(es_event_text(then, ES_EVENT_FROM_STATE), to))
		return;
	ereport(ERROR,
			(errcode(ES_ERRCODE_ILLEGAL_TRANSITION),
			 errmsg("correction would lead stream \"%s\" elsewhere",
					text_to_cstring(es_event_text(then, ES_EVENT_STREAM))),
			 errdetail("Event \"%s\", version " INT64_FORMAT " at position " INT64_FORMAT
					   ", would go from %s to %s by state machine \"%s\"; it went from %s to %s.",
					   text_to_cstring(es_event_text(then, ES_EVENT_TYPE)),
					   DatumGetInt64(then->value[ES_EVENT_VERSION]),
					   DatumGetInt64(then->value[ES_EVENT_POSITION]),
					   show(es_event_text(then, ES_EVENT_FROM_STATE)), show(to),
					   text_to_cstring(es_machine_label(machine)),
					   show(es_event_text(now, ES_EVENT_FROM_STATE)),
					   show(es_event_text(now, ES_EVENT_TO_STATE))),
			 errhint("Correct or void that event first.")));
}

/* As the machine would refuse it; the event is another than the user named. */
static void
refuse_step(EsMachine *machine, const EsStep *step, const EsEvent *event, bool is_target)
{
	EsRefusal	refusal;

	es_machine_refusal(machine, step, event, &refusal);
	ereport(ERROR,
			(errcode(refusal.sqlstate),
			 errmsg("correction would make stream \"%s\" illegal: %s",
					text_to_cstring(es_event_text(event, ES_EVENT_STREAM)), refusal.message),
			 errdetail("The first illegal event would be \"%s\", version " INT64_FORMAT " at position " INT64_FORMAT
					   ". %s",
					   text_to_cstring(es_event_text(event, ES_EVENT_TYPE)),
					   DatumGetInt64(event->value[ES_EVENT_VERSION]),
					   DatumGetInt64(event->value[ES_EVENT_POSITION]), refusal.detail),
			 is_target ? errhint("Give data with which the event is legal, or void it.") :
			 errhint("Correct or void that event first."),
			 refusal.constraint == NULL ? 0
			 : err_generic_string(PG_DIAG_CONSTRAINT_NAME, refusal.constraint)));
}

/* The stream goes on from here. */
static void
expect_known_state(const Replay *replay)
{
	const EsMachine *machine = replay->category->machine;

	if (machine == NULL || replay->state == NULL || es_machine_has_state(machine, replay->state))
		return;
	ereport(ERROR,
			(errcode(ES_ERRCODE_ILLEGAL_TRANSITION),
			 errmsg("correction would leave stream \"%s\" in state %s",
					text_to_cstring(replay->revision->stream), show(replay->state)),
			 errdetail("State machine \"%s\" does not have this state any more.",
					   text_to_cstring(es_machine_label(machine))),
			 errhint("Define the machine again with this state, and edges that lead out of it.")));
}

/* ---- small things ---- */

static void
set_text(EsEvent *event, EsEventColumn column, const text *value)
{
	event->value[column] = PointerGetDatum(value);
	event->isnull[column] = value == NULL;
}

static const char *
show(const text *state)
{
	return state == NULL ? "(none)" : psprintf("\"%s\"", text_to_cstring(state));
}
