/*
 * hall.c
 *		The hall: the one path by which events enter the log.
 *
 *		draft -> stream (lock, head) -> rules (expected version, transition,
 *		reason, guard, payload) -> locks on shared projection keys -> position
 *		-> row and chain hash -> projections
 *
 * Locks, in this order: ROW EXCLUSIVE on the log, streams (a batch takes them in
 * the order of their hashes), keys of shared projections, the position's bound,
 * relations written.  All are held to the end of the (sub)transaction.
 *
 * A batch decides events one by one and writes them together.  What it has
 * decided but not written is known to nobody but the batch: heads of its streams
 * and projection rows are kept in it.  Heads stay known after they are written,
 * as the streams are locked.  Everything lives in contexts of the batch, events
 * in one that each flush resets; a batch of a statement (INSERT or COPY into the
 * view) outlives the call that began it, so its context hangs below the
 * transaction's and a rollback drops it.
 */
#include "append/hall.h"

#include "access/xact.h"
#include "append/draft.h"
#include "errors.h"
#include "log/chain.h"
#include "log/config.h"
#include "log/idempotency.h"
#include "log/open.h"
#include "log/position.h"
#include "log/read.h"
#include "log/segment.h"
#include "log/stream.h"
#include "log/word.h"
#include "log/writer.h"
#include "miscadmin.h"
#include "project/fold.h"
#include "rules/category.h"
#include "rules/machine.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define BATCH_MAX_EVENTS	2000
#define BATCH_MAX_BYTES		(16 * 1024 * 1024)
#define BATCH_MAX_STREAMS	100000

/* A stream that the batch has appended to, with its head as the batch left it. */
typedef struct BatchStream
{
	int64		id;				/* key */
	EsStream	stream;
	EsHead		head;
} BatchStream;

struct EsBatch
{
	MemoryContext context;
	MemoryContext event_context;	/* reset by each flush */
	EsEvent    *events;			/* decided, not written */
	int			n_events;
	int			max_events;
	Size		bytes;
	HTAB	   *streams;		/* BatchStream by id; made by the second event */
	BatchStream last;			/* stream of the last event */
	EsWriter   *writer;
	EsFold	   *fold;
	bool		has_definition;
	SubTransactionId subid;		/* began in this (sub)transaction */
};

static EsBatch *statement_batch;
static bool in_hall;				/* es_batch_add or es_batch_flush is at work */

/* ---- batches ---- */

static EsBatch *
new_batch(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "eventsource batch", ALLOCSET_DEFAULT_SIZES);
	EsBatch    *batch = MemoryContextAllocZero(context, sizeof(EsBatch));
	MemoryContext old;

	batch->context = context;
	batch->event_context = AllocSetContextCreate(context, "eventsource batch events",
												 ALLOCSET_DEFAULT_SIZES);
	batch->subid = GetCurrentSubTransactionId();
	batch->fold = es_fold_begin(context);
	old = MemoryContextSwitchTo(context);
	batch->writer = es_writer_begin();
	MemoryContextSwitchTo(old);
	return batch;
}

/*
 * What runs while an event is decided or written (a guard, a rule, a CHECK) may
 * be anybody's code, and must not append or look at heads: the batch is in the
 * midst of its work.
 */
static void
enter_hall(void)
{
	if (in_hall)
		ereport(ERROR,
				(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
				 errmsg("cannot append while another event is being decided"),
				 errdetail("A guard, rule, constraint or default that is evaluated for an event called a function that appends or locks a stream."),
				 errhint("Expressions must only compute; append in a statement of its own.")));
	in_hall = true;
}

EsBatch *
es_batch_begin(void)
{
	PreventCommandIfReadOnly("eventsource.append()");
	PreventCommandDuringRecovery("eventsource.append()");
	es_batch_settle();
	return new_batch(CurrentMemoryContext);
}

EsBatch *
es_batch_of_statement(void)
{
	PreventCommandIfReadOnly("INSERT");
	if (statement_batch != NULL && statement_batch->subid != GetCurrentSubTransactionId())
		es_batch_settle();
	if (statement_batch == NULL)
		statement_batch = new_batch(TopTransactionContext);
	return statement_batch;
}

void
es_batch_settle(void)
{
	EsBatch    *batch = statement_batch;

	if (in_hall)
		enter_hall();			/* refuses */
	if (batch == NULL)
		return;
	if (batch->n_events > 0 && batch->subid != GetCurrentSubTransactionId())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot append inside a subtransaction of a statement that is itself inserting into eventsource.events"),
				 errdetail("The statement's own events are not written yet, and would be lost with the subtransaction."),
				 errhint("Call eventsource.append_events for the batch, or append in a statement of its own.")));
	statement_batch = NULL;
	es_batch_flush(batch);
	es_batch_end(batch);
}

bool
es_batch_is_full(const EsBatch *batch)
{
	return batch->n_events >= BATCH_MAX_EVENTS || batch->bytes >= BATCH_MAX_BYTES;
}

static void
write_events(EsBatch *batch)
{
	es_writer_insert(batch->writer, batch->events, batch->n_events);
	es_fold_flush(batch->fold);
	if (batch->has_definition)
		es_config_changed();
	batch->has_definition = false;
	batch->n_events = 0;
	batch->bytes = 0;
	MemoryContextReset(batch->event_context);
	if (batch->streams != NULL && hash_get_num_entries(batch->streams) > BATCH_MAX_STREAMS)
	{
		hash_destroy(batch->streams);
		batch->streams = NULL;
	}
}

void
es_batch_flush(EsBatch *batch)
{
	if (batch->n_events == 0)
		return;
	enter_hall();
	PG_TRY();
	{
		write_events(batch);
	}
	PG_FINALLY();
	{
		in_hall = false;
	}
	PG_END_TRY();
}

void
es_batch_end(EsBatch *batch)
{
	Assert(batch->n_events == 0);
	es_writer_close(batch->writer);
	MemoryContextDelete(batch->context);
}

/* Before any lock is taken that the opening worker could wait for. */
static void
ensure_log_is_open(void)
{
	if (!es_log_is_open())
		es_segment_open_log();
}

static int
compare_locks(const void *a, const void *b)
{
	uint64		x = es_stream_lock_order(*(const text *const *) a);
	uint64		y = es_stream_lock_order(*(const text *const *) b);

	return x < y ? -1 : x > y ? 1 : 0;
}

void
es_batch_lock(EsBatch *batch, const EsDraft *drafts, int count)
{
	const text **names = palloc(count * sizeof(text *));
	EsDraftContext context;

	es_draft_begin_errors(&context);
	for (int i = 0; i < count; i++)
	{
		context.draft = &drafts[i];
		context.number = i + 1;
		(void) es_draft_check(&drafts[i]);
		names[i] = drafts[i].stream;
	}
	es_draft_end_errors(&context);
	qsort(names, count, sizeof(text *), compare_locks);
	ensure_log_is_open();
	es_stream_expect_distinct(names, count);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		es_stream_lock(names[i]);
	}
	pfree(names);
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

/* Locks the stream and makes it the batch's last, with its head. */
static void
enter_stream(EsBatch *batch, const text *name)
{
	BatchStream now;
	BatchStream *known;

	es_stream_lock(name);
	memset(&now, 0, sizeof(now));
	if (!es_stream_find(name, &now.stream))
	{
		save_last_stream(batch);
		batch->last = now;
		return;
	}
	now.id = now.stream.id;
	known = find_batch_stream(batch, now.id);
	if (known == &batch->last)
		return;
	if (known != NULL)
		now = *known;
	else
		es_writer_read_head(batch->writer, &now.stream, &now.head);
	save_last_stream(batch);
	batch->last = now;
}

/* ---- idempotency ---- */

static void
find_pending(EsBatch *batch, int64 stream_id, int64 version, EsAppended *result)
{
	for (int i = batch->n_events - 1; i >= 0; i--)
	{
		EsEvent    *event = &batch->events[i];

		if (event->stream_id == stream_id &&
			DatumGetInt64(event->value[ES_EVENT_VERSION]) == version)
		{
			result->position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
			result->state = es_event_text(event, ES_EVENT_TO_STATE);
			return;
		}
	}
}

static bool
find_duplicate(EsBatch *batch, const EsDraft *draft, EsAppended *result)
{
	uint8		digest[ES_HASH_SIZE];
	uint8		stored[ES_HASH_SIZE];
	EsScan	   *scan;
	EsEvent		event;

	result->version = batch->last.stream.id == 0 ? 0 :
		es_idempotency_find(batch->last.stream.id, draft->idempotency_key, stored);
	if (result->version == 0)
		return false;
	es_draft_digest(draft, digest);
	if (memcmp(digest, stored, ES_HASH_SIZE) != 0)
		ereport(ERROR,
				(errcode(ES_ERRCODE_IDEMPOTENCY_CONFLICT),
				 errmsg("idempotency key \"%s\" was used for another event",
						text_to_cstring(draft->idempotency_key)),
				 errdetail("Version " INT64_FORMAT " of stream \"%s\" has this key, with other content.",
						   result->version, text_to_cstring(draft->stream)),
				 errhint("Use a new key for a new event; repeat the event unchanged to get its first result.")));

	scan = es_scan_stream(draft->stream, result->version, false, SnapshotSelf);
	if (es_scan_next(scan, &event) && DatumGetInt64(event.value[ES_EVENT_VERSION]) == result->version)
	{
		result->position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		result->state = es_event_text(&event, ES_EVENT_TO_STATE);	/* lasts: a word */
	}
	else
		find_pending(batch, batch->last.stream.id, result->version, result);
	es_scan_end(scan);
	result->stream = draft->stream;
	result->is_duplicate = true;
	return true;
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
	int32		schema_version = draft->schema_version != 0 ? draft->schema_version : 1;
	const Jsonb *data = draft->data != NULL ? draft->data : es_draft_empty_object();

	now = Max(now, head->recorded_at);
	memset(event, 0, sizeof(*event));
	memset(event->isnull, true, sizeof(event->isnull));
	event->stream_id = stream_id;
	event->has_key = draft->idempotency_key != NULL;
	es_event_set(event, ES_EVENT_STREAM, PointerGetDatum(draft->stream));
	set_text(event, ES_EVENT_CATEGORY, name, category_len);
	set_text(event, ES_EVENT_KEY, name + category_len + 1, len - category_len - 1);
	es_event_set(event, ES_EVENT_SUBJECT, PointerGetDatum(draft->stream));
	es_event_set(event, ES_EVENT_VERSION, Int64GetDatum(head->version + 1));
	es_event_set(event, ES_EVENT_TYPE, PointerGetDatum(draft->type));
	es_event_set(event, ES_EVENT_SCHEMA_VERSION, Int32GetDatum(schema_version));
	es_event_set(event, ES_EVENT_DATA, PointerGetDatum(data));
	es_event_set(event, ES_EVENT_METADATA, PointerGetDatum(es_draft_metadata(draft)));
	es_event_set(event, ES_EVENT_ACTOR, PointerGetDatum(es_draft_actor(draft)));
	es_event_set(event, ES_EVENT_RECORDED_BY, PointerGetDatum(es_draft_recorded_by()));
	if (draft->reason != NULL)
		es_event_set(event, ES_EVENT_REASON, PointerGetDatum(draft->reason));
	es_event_set(event, ES_EVENT_IS_SYNTHETIC, BoolGetDatum(false));
	es_event_set(event, ES_EVENT_RECORDED_AT, TimestampTzGetDatum(now));
	es_event_set(event, ES_EVENT_OCCURRED_AT,
				 TimestampTzGetDatum(draft->has_occurred_at ? draft->occurred_at : now));
}

static void
apply_machine(EsBatch *batch, const EsCategory *category, EsEvent *event, const EsHead *head)
{
	EsBinding	binding;
	EsStep		step;
	const text *from = es_word_text(head->to_state);

	memset(&binding, 0, sizeof(binding));
	binding.event = event;
	binding.state = from;
	if (OidIsValid(category->context))
		binding.row = es_fold_context_row(batch->fold, category->context, event);
	if (from != NULL)
		es_event_set(event, ES_EVENT_FROM_STATE, PointerGetDatum(from));
	es_machine_step(category->machine, from, &binding, es_draft_default_reason(), true, &step);
	if (step.verdict != ES_LEGAL)
		es_machine_raise(category->machine, &step, event);
	es_event_set(event, ES_EVENT_DATA,
				 PointerGetDatum(es_machine_fill(category->machine, &step, &binding)));
	if (step.reason != NULL)
		es_event_set(event, ES_EVENT_REASON, PointerGetDatum(step.reason));
	es_event_set(event, ES_EVENT_TO_STATE, PointerGetDatum(step.to_state));
	event->machine = es_machine_label(category->machine);
}

static void
apply_rules(EsBatch *batch, EsEvent *event, const EsHead *head)
{
	char	   *name = text_to_cstring(es_event_text(event, ES_EVENT_CATEGORY));
	const EsCategory *category = es_category_get(name);
	const text *subject = es_category_subject(category, event);

	if (subject != NULL)
		es_event_set(event, ES_EVENT_SUBJECT, PointerGetDatum(subject));
	if (category->machine != NULL)
		apply_machine(batch, category, event, head);
	else if (event->isnull[ES_EVENT_REASON])
	{
		const text *reason = es_draft_default_reason();

		if (reason != NULL)
			es_event_set(event, ES_EVENT_REASON, PointerGetDatum(reason));
	}
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
		es_stream_insert(es_event_text(event, ES_EVENT_STREAM), &bs->stream);
	}
	else if (head->position < es_segment_ensure(position)->lower)
		es_stream_enter_segment(&bs->stream, position, head->version + 1);

	SET_VARSIZE(hash, VARHDRSZ + ES_HASH_SIZE);
	es_chain_hash(event, head->hash, (uint8 *) VARDATA(hash));
	es_event_set(event, ES_EVENT_HASH, PointerGetDatum(hash));

	head->version++;
	head->position = position;
	head->to_state = es_word_id(es_event_text(event, ES_EVENT_TO_STATE));
	head->recorded_at = DatumGetTimestampTz(event->value[ES_EVENT_RECORDED_AT]);
	memcpy(head->hash, VARDATA(hash), ES_HASH_SIZE);
	es_stream_note_version(es_event_text(event, ES_EVENT_STREAM), head->version);
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
	batch->bytes += VARSIZE_ANY(DatumGetPointer(event->value[ES_EVENT_DATA])) +
		VARSIZE_ANY(DatumGetPointer(event->value[ES_EVENT_METADATA])) + sizeof(EsEvent) + 256;
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
#undef COPY
}

static void
add_event(EsBatch *batch, const EsDraft *given, EsAppended *result)
{
	MemoryContext old = MemoryContextSwitchTo(batch->event_context);
	EsDraft		copy;
	const EsDraft *draft = given;
	EsEvent		event;
	BatchStream *bs = &batch->last;
	int			category_len = es_draft_check(given);

	memset(result, 0, sizeof(*result));
	ensure_log_is_open();
	enter_stream(batch, draft->stream);
	if (draft->idempotency_key != NULL && find_duplicate(batch, draft, result))
	{
		MemoryContextSwitchTo(old);
		return;
	}
	check_expected_version(draft, bs->head.version);

	if (batch == statement_batch)
	{
		copy_draft(&copy, given);
		draft = &copy;
	}
	if (bs->stream.id == 0)
		bs->stream.id = es_stream_new_id(cstring_to_text_with_len(VARDATA_ANY(draft->stream), category_len));
	fill_event(&event, draft, &bs->head, bs->stream.id, category_len);
	if (!draft->is_definition)
		apply_rules(batch, &event, &bs->head);
	es_fold_lock(batch->fold, &event);
	place_event(batch, &event);
	if (draft->idempotency_key != NULL)
	{
		uint8		digest[ES_HASH_SIZE];

		es_draft_digest(draft, digest);
		es_idempotency_insert(bs->stream.id, draft->idempotency_key, bs->head.version, digest);
	}
	bs->id = bs->stream.id;
	keep_event(batch, &event);
	batch->has_definition |= draft->is_definition;
	es_fold_apply(batch->fold, &event);

	result->position = bs->head.position;
	result->stream = draft->stream;
	result->version = bs->head.version;
	result->state = es_event_text(&event, ES_EVENT_TO_STATE);
	MemoryContextSwitchTo(old);
}

void
es_batch_add(EsBatch *batch, const EsDraft *draft, EsAppended *result)
{
	enter_hall();
	PG_TRY();
	{
		add_event(batch, draft, result);
	}
	PG_FINALLY();
	{
		in_hall = false;
	}
	PG_END_TRY();
}

/* ---- end of transactions ---- */

static void
at_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (statement_batch != NULL && statement_batch->n_events > 0)
				elog(ERROR, "events of an INSERT into eventsource.events were not written");
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			statement_batch = NULL; /* its memory goes with the transaction's */
			break;
		default:
			break;
	}
}

static void
at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (statement_batch == NULL || statement_batch->subid != mySubid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		MemoryContextDelete(statement_batch->context);
		statement_batch = NULL;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		statement_batch->subid = parentSubid;
}

void
es_batch_init(void)
{
	RegisterXactCallback(at_xact, NULL);
	RegisterSubXactCallback(at_subxact, NULL);
}
