/*
 * batch.c
 *		Events on their way: kept while the hall decides, and written together.
 *
 * What a batch has decided but not written is known to nobody but the batch:
 * heads of its streams and projection rows are kept in it.  Heads stay known
 * after they are written, as the streams are locked.
 *
 * Everything lives in contexts of the batch, events in one that each flush
 * resets.  A batch of a statement (INSERT or COPY into the view) outlives the
 * call that began it, so its context hangs below the transaction's and a
 * rollback drops it.
 */
#include "append/batch.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "append/draft.h"
#include "append/react.h"
#include "append/timer.h"
#include "errors.h"
#include "log/config.h"
#include "log/heads.h"
#include "log/roster.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define BATCH_MAX_EVENTS	2000
#define BATCH_MAX_BYTES		(16 * 1024 * 1024)
#define BATCH_MAX_STREAMS	100000

static EsBatch *statement_batch;
static void (*take_snapshot) (const text *stream);

static void take_snapshots(EsBatch *batch);

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
	batch->roster = es_roster_begin();
	batch->writer = es_writer_begin();
	MemoryContextSwitchTo(old);
	return batch;
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
es_batch_begin_import(void)
{
	EsBatch    *batch = es_batch_begin();

	batch->is_import = true;
	return batch;
}

EsBatch *
es_batch_of_statement(void)
{
	PreventCommandIfReadOnly("INSERT");
	if (statement_batch != NULL && statement_batch->subid != GetCurrentSubTransactionId())
		es_batch_settle();
	if (statement_batch == NULL)
	{
		statement_batch = new_batch(TopTransactionContext);
		statement_batch->is_of_statement = true;
	}
	return statement_batch;
}

void
es_batch_settle(void)
{
	EsBatch    *batch = statement_batch;

	es_hall_refuse_nested();
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

const EsEvent *
es_batch_last_event(const EsBatch *batch)
{
	Assert(batch->n_events > 0);
	return &batch->events[batch->n_events - 1];
}

HeapTuple
es_batch_blank_row(EsBatch *batch, TupleDesc desc)
{
	if (batch->blank_row == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(batch->context);
		Datum	   *values = palloc0(desc->natts * sizeof(Datum));
		bool	   *nulls = palloc(desc->natts * sizeof(bool));

		memset(nulls, true, desc->natts * sizeof(bool));
		batch->blank_row = heap_form_tuple(desc, values, nulls);
		MemoryContextSwitchTo(old);
	}
	return batch->blank_row;
}

bool
es_batch_is_full(const EsBatch *batch)
{
	return batch->n_events >= BATCH_MAX_EVENTS || batch->bytes >= BATCH_MAX_BYTES;
}

void
es_batch_on_milestone(void (*take) (const text *stream))
{
	take_snapshot = take;
}

/* Once for a stream, however many are due. */
void
es_batch_note_milestone(EsBatch *batch, const text *stream)
{
	MemoryContext caller;
	ListCell   *lc;

	if (take_snapshot == NULL)
		return;
	foreach(lc, batch->milestones)
	{
		if (es_text_same(lfirst(lc), stream))
			return;
	}
	caller = MemoryContextSwitchTo(batch->context);
	batch->milestones = lappend(batch->milestones,
								cstring_to_text_with_len(VARDATA_ANY(stream), VARSIZE_ANY_EXHDR(stream)));
	MemoryContextSwitchTo(caller);
}

static void
write_events(EsBatch *batch)
{
	es_writer_insert(batch->writer, batch->events, batch->n_events);
	if (batch->has_personal)
		es_vault_insert(batch->events, batch->n_events);
	batch->has_personal = false;
	es_fold_flush(batch->fold);
	if (batch->timers != NULL)
		es_timer_write(batch);
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
	if (batch->milestones != NIL)
		take_snapshots(batch);
}

static void
take_snapshots(EsBatch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->milestones)
		take_snapshot(lfirst(lc));
	list_free_deep(batch->milestones);
	batch->milestones = NIL;
}

/* What reactions do may add events, which are written, too. */
void
es_batch_flush(EsBatch *batch)
{
	es_batch_write(batch);
	if (batch->following != NULL)
		es_react_follow(batch);
}

void
es_batch_write(EsBatch *batch)
{
	if (batch->n_events == 0)
		return;
	es_hall_enter();
	PG_TRY();
	{
		write_events(batch);
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
}

/* For the next appender to each stream; the last one is newer than its copy. */
static void
leave_heads(EsBatch *batch)
{
	HASH_SEQ_STATUS scan;
	BatchStream *bs;

	if (batch->last.id != 0 && batch->last.name != NULL)
		es_heads_leave(batch->last.name, &batch->last.stream, &batch->last.head);
	if (batch->streams == NULL)
		return;
	hash_seq_init(&scan, batch->streams);
	while ((bs = hash_seq_search(&scan)) != NULL)
		if (bs->name != NULL && bs->id != batch->last.id)
			es_heads_leave(bs->name, &bs->stream, &bs->head);
}

void
es_batch_end(EsBatch *batch)
{
	Assert(batch->n_events == 0 && batch->following == NULL);
	if (batch->n_named > 0)
		leave_heads(batch);
	es_writer_close(batch->writer);
	es_roster_end(batch->roster);
	MemoryContextDelete(batch->context);
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
				ereport(ERROR,
						(errcode(ES_ERRCODE_APPEND_ONLY),
						 errmsg("events of an INSERT into \"eventsource.events\" were not written"),
						 errdetail("The trigger at the end of the statement did not fire."),
						 errhint("Do not change session_replication_role within the statement.")));
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
