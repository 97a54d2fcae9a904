/*
 * hall.c
 *		The hall: the one path by which events enter the log.
 *
 *		draft -> stream (lock, head) -> rules (expected version, type,
 *		payload, transition, reason, guard) -> locks on shared projection keys -> position
 *		-> row and chain hash -> projections
 *
 * Locks, in this order: ROW EXCLUSIVE on the log, streams (a batch takes them in
 * the order of their hashes, batch_lock.c; those that reactions append to are among
 * them), keys of shared projections, the position's bound, relations written.  All are
 * held to the end of the (sub)transaction.
 *
 * Events are decided one by one here; batch.c keeps and writes them.
 */
#include "append/hall.h"

#include "append/batch.h"
#include "append/draft.h"
#include "append/personal.h"
#include "append/react.h"
#include "append/timer.h"
#include "append/violation.h"
#include "errors.h"
#include "log/chain.h"
#include "log/erased.h"
#include "log/heads.h"
#include "log/idempotency.h"
#include "log/open.h"
#include "log/position.h"
#include "log/reading.h"
#include "log/segment.h"
#include "log/word.h"
#include "rules/category.h"
#include "rules/event_type.h"
#include "rules/machine.h"
#include "rules/upcast.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

/* What readers will see of an event that is being decided. */
typedef struct Reading
{
	Datum		stored;			/* data that this was made of; 0: none yet */
	Datum		data;
	bool		is_upcast;
	EsEvent		event;
} Reading;

static bool in_hall;			/* es_batch_add or es_batch_flush is at work */

/*
 * What runs while an event is decided or written (a guard, a rule, a CHECK) may
 * be anybody's code, and must not append or look at heads: the batch is in the
 * midst of its work.
 */
void
es_hall_refuse_nested(void)
{
	if (in_hall)
		ereport(ERROR,
				(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
				 errmsg("cannot append while another event is being decided"),
				 errdetail("A guard, rule, constraint or default that is evaluated for an event called a function that appends or locks a stream."),
				 errhint("Expressions must only compute; append in a statement of its own.")));
}

void
es_hall_enter(void)
{
	es_hall_refuse_nested();
	in_hall = true;
}

void
es_hall_leave(void)
{
	in_hall = false;
}

/* Before any lock is taken that the opening worker could wait for. */
void
es_hall_open_log(void)
{
	if (!es_log_is_open())
		es_segment_open_log();
}

/* ---- the stream and its head ---- */

static BatchStream *
find_batch_stream(EsBatch *batch, int64 id)
{
	if (batch->last.id == id)
		return &batch->last;
	return batch->streams == NULL ? NULL : hash_search(batch->streams, &id, HASH_FIND, NULL);
}

static void
save_last_stream(EsBatch *batch)
{
	bool		found;

	if (batch->last.id == 0)
		return;
	if (batch->streams == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(int64);
		ctl.entrysize = sizeof(BatchStream);
		ctl.hcxt = batch->context;
		batch->streams = hash_create("eventsource batch streams", 64, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	*(BatchStream *) hash_search(batch->streams, &batch->last.id, HASH_ENTER, &found) = batch->last;
}

/* The name to leave the stream's head under; NULL: it is not left. */
static const text *
name_to_leave(EsBatch *batch, const text *name)
{
	text	   *copy;

	if (!es_heads_are_shared() || batch->n_named == ES_HEADS_MAX_LEFT)
		return NULL;
	batch->n_named++;
	copy = MemoryContextAlloc(batch->context, VARSIZE_ANY(name));
	memcpy(copy, name, VARSIZE_ANY(name));
	return copy;
}

/*
 * A stream that the batch does not know by its name: it may yet by its id, which
 * returns it.  Else NULL, and *now is the stream with its head, or a new one.
 */
static BatchStream *
meet_stream(EsBatch *batch, const text *name, BatchStream *now)
{
	bool		has_head;
	bool		is_new = false;
	BatchStream *known;

	memset(now, 0, sizeof(*now));
	has_head = es_heads_take(name, &now->stream, &now->head);
	if (!has_head)
		is_new = !es_stream_find_in(batch->roster, name, &now->stream);
	else if (batch->last.id != 0)
		es_stream_remember(name, &now->stream);
	now->id = now->stream.id;
	known = is_new ? NULL : find_batch_stream(batch, now->id);
	if (known != NULL)
		return known;
	if (!is_new && !has_head)
		es_writer_read_head(batch->writer, &now->stream, &now->head);
	now->name = name_to_leave(batch, name);
	return NULL;
}

/* Locks the stream and makes it the batch's last, with its head. */
static void
enter_stream(EsBatch *batch, const text *name)
{
	BatchStream now;
	BatchStream *known = NULL;

	/* As ever so often, the stream of the event before, which is locked. */
	if (batch->last.id != 0 && batch->last.name != NULL && es_text_same(batch->last.name, name))
		return;
	es_stream_lock(name);
	if (batch->last.id != 0 && es_stream_recall(name, &now.stream))
		known = find_batch_stream(batch, now.stream.id);
	if (known == NULL)
		known = meet_stream(batch, name, &now);
	if (known == &batch->last)
		return;
	if (known != NULL)
		now = *known;
	save_last_stream(batch);
	batch->last = now;
}

/* ---- deciding ---- */

static void
check_expected_version(const EsDraft *draft, int64 version)
{
	if (draft->expected_version == ES_ANY_VERSION || draft->expected_version == version)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("wrong expected version for stream \"%s\"", text_to_cstring(draft->stream)),
			 errdetail("Expected version " INT64_FORMAT ", but the stream is at version " INT64_FORMAT ".",
					   draft->expected_version, version),
			 errhint("Read the stream again, decide again, and retry the transaction.")));
}

static void
set_text(EsEvent *event, EsEventColumn col, const char *data, int len)
{
	es_event_set(event, col, PointerGetDatum(cstring_to_text_with_len(data, len)));
}

/* Everything that is known before the rules speak. */
static void
fill_event(EsEvent *event, const EsDraft *draft, const EsHead *head, int64 stream_id, int category_len)
{
	const char *name = VARDATA_ANY(draft->stream);
	int			len = VARSIZE_ANY_EXHDR(draft->stream);
	TimestampTz now = GetCurrentTimestamp();
	const Jsonb *data = draft->data != NULL ? draft->data : es_draft_empty_object();

	now = Max(now, head->recorded_at);
	memset(event, 0, sizeof(*event));
	memset(event->isnull, true, sizeof(event->isnull));
	event->stream_id = stream_id;
	event->flags = draft->flags | (draft->idempotency_key != NULL ? ES_EVENT_HAS_KEY : 0);
	es_event_set(event, ES_EVENT_STREAM, PointerGetDatum(draft->stream));
	set_text(event, ES_EVENT_CATEGORY, name, category_len);
	set_text(event, ES_EVENT_KEY, name + category_len + 1, len - category_len - 1);
	es_event_set(event, ES_EVENT_SUBJECT, PointerGetDatum(draft->stream));
	es_event_set(event, ES_EVENT_VERSION, Int64GetDatum(head->version + 1));
	es_event_set(event, ES_EVENT_TYPE, PointerGetDatum(draft->type));
	es_event_set(event, ES_EVENT_SCHEMA_VERSION, Int32GetDatum(1));
	es_event_set(event, ES_EVENT_DATA, PointerGetDatum(data));
	es_event_set(event, ES_EVENT_METADATA, PointerGetDatum(es_draft_metadata(draft)));
	es_event_set(event, ES_EVENT_ACTOR, PointerGetDatum(es_draft_actor(draft)));
	es_event_set(event, ES_EVENT_RECORDED_BY, PointerGetDatum(es_draft_recorded_by()));
	if (draft->reason != NULL)
		es_event_set(event, ES_EVENT_REASON, PointerGetDatum(draft->reason));
	es_event_set(event, ES_EVENT_IS_SYNTHETIC,
				 BoolGetDatum((draft->flags & ES_EVENT_SYNTHETIC) != 0));
	es_event_set(event, ES_EVENT_RECORDED_AT, TimestampTzGetDatum(now));
	es_event_set(event, ES_EVENT_OCCURRED_AT,
				 TimestampTzGetDatum(draft->has_occurred_at ? draft->occurred_at : now));
}

void
es_hall_preview(const EsDraft *draft, EsEvent *event)
{
	const EsHead none = {0};
	const text *subject = draft->subject;
	const EsCategory *category;
	const EsEventType *type;

	fill_event(event, draft, &none, 0, es_draft_check(draft));
	category = es_category_get(text_to_cstring(es_event_text(event, ES_EVENT_CATEGORY)));
	type = es_event_type_admit(category, event, draft->schema_version);
	if (subject == NULL)
		subject = es_event_type_subject(type, category, event);
	if (subject != NULL)
		es_event_set(event, ES_EVENT_SUBJECT, PointerGetDatum(subject));
}

/*
 * What readers will see of an event: it, or a copy of it with upcast data.  By the
 * definitions that its category was looked up in.  Upcasters see nothing that rules
 * decide, so they are asked again only if data was filled in since.
 */
static EsEvent *
as_read(EsEvent *event, Reading *reading)
{
	const EsUpcasters *upcasters = es_upcasters_known();
	EsEvent    *copy = &reading->event;

	if (upcasters == NULL)
		return event;
	*copy = *event;
	if (reading->stored == event->value[ES_EVENT_DATA])
	{
		copy->value[ES_EVENT_DATA] = reading->data;
		copy->is_upcast = reading->is_upcast;
	}
	else
	{
		copy->type_id = es_word_id(es_event_text(event, ES_EVENT_TYPE));
		es_reading_upcast(upcasters, copy);
		reading->stored = event->value[ES_EVENT_DATA];
		reading->data = copy->value[ES_EVENT_DATA];
		reading->is_upcast = copy->is_upcast;
	}
	return copy->is_upcast ? copy : event;
}

static const text *
default_reason(const EsDraft *draft)
{
	return draft->is_caused ? NULL : es_draft_default_reason();
}

static void
apply_machine(EsBatch *batch, const EsCategory *category, EsEvent *event, Reading *reading,
			  const EsDraft *draft, const EsHead *head)
{
	EsBinding	binding;
	EsStep		step;
	const text *from = es_word_text(head->to_state);

	if (from != NULL)
		es_event_set(event, ES_EVENT_FROM_STATE, PointerGetDatum(from));
	memset(&binding, 0, sizeof(binding));
	binding.event = as_read(event, reading);
	binding.state = from;
	if (OidIsValid(category->context))
		binding.row = es_fold_context_row(batch->fold, category->context, binding.event);
	es_machine_step(category->machine, from, &binding, default_reason(draft), true, &step);
	batch->step_enters = es_machine_step_enters(category->machine, &step);
	event->machine = es_machine_label(category->machine);
	if (!es_violation_judge(category->machine, &step, draft, event))
	{
		if (draft->to_state != NULL)
			es_event_set(event, ES_EVENT_TO_STATE, PointerGetDatum(draft->to_state));
		return;
	}
	es_event_set(event, ES_EVENT_DATA,
				 PointerGetDatum(es_machine_fill(category->machine, &step, &binding,
												 DatumGetJsonbP(event->value[ES_EVENT_DATA]))));
	if (step.reason != NULL)
		es_event_set(event, ES_EVENT_REASON, PointerGetDatum(step.reason));
	es_event_set(event, ES_EVENT_TO_STATE, PointerGetDatum(step.to_state));
}

/* An event that the machine is not asked about. */
static void
pass_machine(const EsCategory *category, EsEvent *event, const EsDraft *draft, const EsHead *head)
{
	const text *from = es_word_text(head->to_state);
	const text *to = draft->passage == ES_PASSAGE_STAY ? from : draft->to_state;

	if (from != NULL)
		es_event_set(event, ES_EVENT_FROM_STATE, PointerGetDatum(from));
	if (to != NULL)
	{
		es_event_set(event, ES_EVENT_TO_STATE, PointerGetDatum(to));
		event->machine = es_machine_label(category->machine);
	}
}

/* Nothing is recorded about who is erased. */
static void
apply_subject(const EsCategory *category, const EsEventType *type, EsEvent *event, Reading *reading,
			  const EsDraft *draft)
{
	const text *subject = draft->subject;

	if (subject == NULL)
		subject = es_event_type_subject(type, category, as_read(event, reading));
	if (subject != NULL)
		es_event_set(event, ES_EVENT_SUBJECT, PointerGetDatum(subject));
	es_erased_refuse(es_event_text(event, ES_EVENT_SUBJECT), true, draft->erased_as);
}

static const EsCategory *
apply_rules(EsBatch *batch, EsEvent *event, Reading *reading, const EsDraft *draft, const EsHead *head)
{
	char	   *name = text_to_cstring(es_event_text(event, ES_EVENT_CATEGORY));
	const EsCategory *category = es_category_get(name);
	const EsEventType *type = es_event_type_admit(category, event, draft->schema_version);
	bool		is_filled_in = type != NULL && draft->passage == ES_PASSAGE_STEP &&
		es_machine_fills(category->machine, es_event_text(event, ES_EVENT_TYPE));
	EsEvent		told;

	/*
	 * Expressions may trust data that is as its type says, where it is
	 * complete.
	 */
	if (!is_filled_in)
		es_event_type_check(es_event_type_in_force(type), event, NULL);
	es_personal_take(event, type, draft);
	apply_subject(category, type, event, reading, draft);
	if (category->machine != NULL && draft->passage != ES_PASSAGE_STEP)
		pass_machine(category, event, draft, head);
	else if (category->machine != NULL)
	{
		Datum		data = event->value[ES_EVENT_DATA];

		apply_machine(batch, category, event, reading, draft, head);
		/* What was filled in may say whom it is about. */
		if (event->value[ES_EVENT_DATA] != data)
			apply_subject(category, type, event, reading, draft);
	}
	else if (event->isnull[ES_EVENT_REASON])
	{
		const text *reason = default_reason(draft);

		if (reason != NULL)
			es_event_set(event, ES_EVENT_REASON, PointerGetDatum(reason));
	}
	if (is_filled_in)
	{
		es_personal_refuse_filled(event, type);
		es_event_type_check(es_event_type_in_force(type), es_personal_told(event, &told), NULL);
	}
	return category;
}

/* ---- position, hash, and the batch's memory of it ---- */

static void
place_event(EsBatch *batch, EsEvent *event)
{
	BatchStream *bs = &batch->last;
	EsHead	   *head = &bs->head;
	int64		position;
	bytea	   *hash = palloc(VARHDRSZ + ES_HASH_SIZE);

	es_position_publish();
	position = es_position_next();
	es_event_set(event, ES_EVENT_POSITION, Int64GetDatum(position));
	if (head->version == 0)
	{
		bs->stream.first_position = position;
		es_stream_insert(batch->roster, es_event_text(event, ES_EVENT_STREAM), &bs->stream);
	}
	else if (head->position < es_segment_ensure(position)->lower)
		es_stream_enter_segment(&bs->stream, position, head->version + 1);

	if (event->personal != NULL)
		event->vault = position;
	SET_VARSIZE(hash, VARHDRSZ + ES_HASH_SIZE);
	es_chain_hash(event, head->hash, (uint8 *) VARDATA(hash));
	es_event_set(event, ES_EVENT_HASH, PointerGetDatum(hash));

	head->version++;
	head->position = position;
	head->to_state = es_word_id(es_event_text(event, ES_EVENT_TO_STATE));
	head->recorded_at = DatumGetTimestampTz(event->value[ES_EVENT_RECORDED_AT]);
	memcpy(head->hash, VARDATA(hash), ES_HASH_SIZE);
	if (!bs->is_noted)
		es_stream_note_version(es_event_text(event, ES_EVENT_STREAM), head->version);
	bs->is_noted = true;
}

static void
keep_event(EsBatch *batch, const EsEvent *event)
{
	if (batch->n_events == batch->max_events)
	{
		batch->max_events = batch->max_events == 0 ? 1 : Max(16, batch->max_events * 2);
		batch->events = batch->events == NULL ?
			MemoryContextAlloc(batch->context, batch->max_events * sizeof(EsEvent)) :
			repalloc(batch->events, batch->max_events * sizeof(EsEvent));
	}
	batch->events[batch->n_events++] = *event;
	batch->has_personal |= event->personal != NULL;
	batch->bytes += VARSIZE_ANY(DatumGetPointer(event->value[ES_EVENT_DATA])) +
		VARSIZE_ANY(DatumGetPointer(event->value[ES_EVENT_METADATA])) + sizeof(EsEvent) + 256;
	if (event->personal != NULL)
		batch->bytes += event->personal->n * sizeof(EsPersonalField);
}

/* The caller's values may not live as long as the batch. */
static void
copy_draft(EsDraft *copy, const EsDraft *draft)
{
#define COPY(field) \
	if (draft->field != NULL) \
		copy->field = (void *) DatumGetPointer(datumCopy(PointerGetDatum(draft->field), false, -1))
	*copy = *draft;
	COPY(stream);
	COPY(type);
	COPY(data);
	COPY(reason);
	COPY(actor);
	COPY(metadata);
	COPY(to_state);
	COPY(subject);
#undef COPY
}

/* What follows is decided on what everybody can be shown: without personal fields. */
static void
ask_reactions(EsBatch *batch, const EsCategory *category, EsEvent *event, const EsEvent *read,
			  void (*ask) (EsBatch *batch, const EsCategory *category, const EsEvent *event))
{
	Reading		bare = {.stored = (Datum) 0};

	if (category == NULL || !category->reacts)
		return;
	if (event->personal != NULL)
		read = as_read(event, &bare);
	ask(batch, category, read);
}

static void
add_event(EsBatch *batch, const EsDraft *given, EsAppended *result)
{
	MemoryContext old = MemoryContextSwitchTo(batch->event_context);
	EsDraft		copy;
	const EsDraft *draft = given;
	EsEvent		event;
	EsEvent		told;
	Reading		reading;
	EsEvent    *read = &event;
	const EsCategory *category = NULL;
	BatchStream *bs = &batch->last;
	int			category_len = es_draft_check(given);

	memset(result, 0, sizeof(*result));
	es_hall_open_log();
	enter_stream(batch, draft->stream);
	if (draft->idempotency_key != NULL && es_batch_find_duplicate(batch, draft, result))
	{
		MemoryContextSwitchTo(old);
		return;
	}
	check_expected_version(draft, bs->head.version);

	if (batch->is_of_statement)
	{
		copy_draft(&copy, given);
		draft = &copy;
	}
	if (bs->stream.id == 0)
		bs->stream.id = es_stream_new_id(cstring_to_text_with_len(VARDATA_ANY(draft->stream), category_len));
	fill_event(&event, draft, &bs->head, bs->stream.id, category_len);
	if (draft->is_own)
		es_event_set(&event, ES_EVENT_SUBJECT, PointerGetDatum(draft->subject));
	else if (!draft->is_definition)
	{
		reading.stored = (Datum) 0;
		category = apply_rules(batch, &event, &reading, draft, &bs->head);
		read = as_read(es_personal_told(&event, &told), &reading);
	}
	ask_reactions(batch, category, &event, read, es_react_lock);
	es_fold_lock(read);
	place_event(batch, &event);
	read->value[ES_EVENT_POSITION] = event.value[ES_EVENT_POSITION];
	read->value[ES_EVENT_HASH] = event.value[ES_EVENT_HASH];
	read->isnull[ES_EVENT_POSITION] = read->isnull[ES_EVENT_HASH] = false;
	if (draft->idempotency_key != NULL)
	{
		uint8		digest[ES_HASH_SIZE];

		es_personal_digest(draft, &event, digest);
		es_idempotency_insert(bs->stream.id, draft->idempotency_key, bs->head.version, digest);
	}
	bs->id = bs->stream.id;
	keep_event(batch, &event);
	batch->has_definition |= draft->is_definition;
	ask_reactions(batch, category, &event, read, es_react_decide);
	es_fold_apply(batch->fold, read);
	if (category != NULL && category->machine != NULL)
		es_timer_note(batch, category->machine, draft, &event);
	if (category != NULL && category->snapshot_every > 0 && bs->head.version % category->snapshot_every == 0)
		es_batch_note_milestone(batch, draft->stream);

	result->position = bs->head.position;
	result->stream = draft->stream;
	result->version = bs->head.version;
	result->state = es_event_text(&event, ES_EVENT_TO_STATE);
	MemoryContextSwitchTo(old);
}

void
es_batch_add(EsBatch *batch, const EsDraft *draft, EsAppended *result)
{
	es_hall_enter();
	PG_TRY();
	{
		add_event(batch, draft, result);
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
}

void
es_batch_enter(EsBatch *batch, const text *stream, EsHead *head)
{
	MemoryContext old = MemoryContextSwitchTo(batch->event_context);

	es_hall_enter();
	PG_TRY();
	{
		es_hall_open_log();
		enter_stream(batch, stream);
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
	*head = batch->last.head;
	MemoryContextSwitchTo(old);
}
