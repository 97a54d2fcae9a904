/*
 * view_trigger.c
 *		INSERT and COPY into the view eventsource.events append; UPDATE and
 *		DELETE are refused.
 *
 * The row trigger decides each event and returns the row as it will be; rows
 * are written in batches, the last by the AFTER STATEMENT trigger.
 *
 * A view's triggers do not fire under session_replication_role = replica (ALTER
 * TABLE cannot make them ALWAYS, and pg_upgrade would not survive it).  An
 * INSERT would then vanish: the default of a column refuses it.  An UPDATE or
 * DELETE would report success for nothing: an executor hook refuses it, in every
 * session that has loaded the library before.
 */
#include "postgres.h"

#include "append/draft.h"
#include "append/hall.h"
#include "catalog/pg_trigger.h"
#include "commands/copy.h"
#include "commands/trigger.h"
#include "errors.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "log/event.h"
#include "log/reading.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

PG_FUNCTION_INFO_V1(eventsource_append_row);
PG_FUNCTION_INFO_V1(eventsource_position_by_trigger);
PG_FUNCTION_INFO_V1(eventsource_occurred_at);

static const bool writable[ES_VIEW_NCOLUMNS] = {
	[ES_EVENT_STREAM] = true,
	[ES_EVENT_VERSION] = true,
	[ES_EVENT_TYPE] = true,
	[ES_EVENT_SCHEMA_VERSION] = true,
	[ES_EVENT_DATA] = true,
	[ES_EVENT_METADATA] = true,
	[ES_EVENT_ACTOR] = true,
	[ES_EVENT_REASON] = true,
	[ES_EVENT_OCCURRED_AT] = true,
	[ES_VIEW_IDEMPOTENCY_KEY] = true,
};

static void
refuse_columns(TupleDesc desc, const bool *nulls)
{
	for (int i = 0; i < ES_VIEW_NCOLUMNS; i++)
	{
		if (!nulls[i] && !writable[i])
			ereport(ERROR,
					(errcode(ES_ERRCODE_APPEND_ONLY),
					 errmsg("column \"%s\" of eventsource.events cannot be written",
							NameStr(TupleDescAttr(desc, i)->attname)),
					 errdetail("The database decides it."),
					 errhint("Writable: stream, version (expected version + 1), type, schema_version, data, metadata, actor, reason, occurred_at, idempotency_key.")));
	}
}

static void
draft_from_row(EsDraft *draft, const Datum *values, const bool *nulls)
{
#define TEXT(col)	(nulls[col] ? NULL : DatumGetTextPP(values[col]))
#define JSONB(col)	(nulls[col] ? NULL : DatumGetJsonbP(values[col]))
	es_draft_init(draft);
	draft->stream = TEXT(ES_EVENT_STREAM);
	draft->type = TEXT(ES_EVENT_TYPE);
	draft->data = JSONB(ES_EVENT_DATA);
	draft->metadata = JSONB(ES_EVENT_METADATA);
	draft->actor = TEXT(ES_EVENT_ACTOR);
	draft->reason = TEXT(ES_EVENT_REASON);
	draft->idempotency_key = TEXT(ES_VIEW_IDEMPOTENCY_KEY);
#undef TEXT
#undef JSONB
	draft->has_occurred_at = !nulls[ES_EVENT_OCCURRED_AT];
	draft->occurred_at = draft->has_occurred_at ?
		DatumGetTimestampTz(values[ES_EVENT_OCCURRED_AT]) : 0;
	if (!nulls[ES_EVENT_SCHEMA_VERSION])
		es_draft_set_schema_version(draft, DatumGetInt32(values[ES_EVENT_SCHEMA_VERSION]));
	if (!nulls[ES_EVENT_VERSION])
	{
		int64		version = DatumGetInt64(values[ES_EVENT_VERSION]);

		if (version < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("version must be 1 or greater"),
					 errdetail("It is " INT64_FORMAT ".", version),
					 errhint("In an INSERT it is the expected version of the stream + 1; leave it out for any.")));
		draft->expected_version = version - 1;
	}
}

/*
 * The row as RETURNING shows it: the event; of one that was there already, what
 * was given and its place.
 */
static HeapTuple
returned_row(TupleDesc desc, Datum *values, bool *nulls, const EsBatch *batch,
			 const EsAppended *result)
{
	if (!result->is_duplicate)
	{
		EsEvent		event = *es_batch_last_event(batch);

		es_reading_restore(&event, GetUserId(), SnapshotSelf);
		es_reading_upcast(es_reading_begin(), &event);
		memcpy(values, event.value, sizeof(event.value));
		memcpy(nulls, event.isnull, sizeof(event.isnull));
		values[ES_VIEW_IS_UPCAST] = BoolGetDatum(event.is_upcast);
	}
	else
		values[ES_VIEW_IS_UPCAST] = BoolGetDatum(false);
	nulls[ES_VIEW_IS_UPCAST] = false;
	values[ES_EVENT_POSITION] = Int64GetDatum(result->position);
	nulls[ES_EVENT_POSITION] = false;
	values[ES_EVENT_VERSION] = Int64GetDatum(result->version);
	nulls[ES_EVENT_VERSION] = false;
	values[ES_EVENT_TO_STATE] = PointerGetDatum(result->state);
	nulls[ES_EVENT_TO_STATE] = result->state == NULL;
	return heap_form_tuple(desc, values, nulls);
}

/*
 * COPY returns no rows, so that what its trigger returns is seen by nobody but
 * another such trigger.  It calls triggers with nothing in between; an executor
 * or a function in between would have an error context of its own.
 */
static bool
is_row_of_copy(const TriggerDesc *triggers)
{
	int			count = 0;

	if (error_context_stack == NULL || error_context_stack->callback != CopyFromErrorCallback)
		return false;
	for (int i = 0; i < triggers->numtriggers; i++)
		if (TRIGGER_TYPE_MATCHES(triggers->triggers[i].tgtype,
								 TRIGGER_TYPE_ROW, TRIGGER_TYPE_INSTEAD, TRIGGER_TYPE_INSERT))
			count++;
	return count == 1;
}

static HeapTuple
append_row(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Datum		values[ES_VIEW_NCOLUMNS];
	bool		nulls[ES_VIEW_NCOLUMNS];
	bool		is_copy = is_row_of_copy(trigger->tg_relation->trigdesc);
	EsDraft		draft;
	EsDraftContext context;
	EsAppended	result;
	EsBatch    *batch;
	HeapTuple	row;

	if (desc->natts != ES_VIEW_NCOLUMNS)
		elog(ERROR, "unexpected row type of eventsource.events");
	heap_deform_tuple(trigger->tg_trigtuple, desc, values, nulls);
	refuse_columns(desc, nulls);
	draft_from_row(&draft, values, nulls);
	batch = es_batch_of_statement();
	es_draft_begin_errors(&context);
	context.draft = &draft;
	if (draft.stream != NULL)
		es_rights_expect_write_stream(draft.stream);
	es_batch_add(batch, &draft, &result);
	es_draft_end_errors(&context);
	row = is_copy ? es_batch_blank_row(batch, desc) :
		returned_row(desc, values, nulls, batch, &result);
	if (es_batch_is_full(batch))
		es_batch_flush(batch);
	return row;
}

static void
refuse_change(const char *operation)
{
	ereport(ERROR,
			(errcode(ES_ERRCODE_APPEND_ONLY),
			 errmsg("%s on \"eventsource.events\" is not allowed", operation),
			 errdetail("The event log is append-only."),
			 errhint("What happened stays; append an event that corrects it.")));
}

Datum
eventsource_append_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("eventsource.append_row() is a trigger function"),
				 errdetail("It was called as an ordinary function."),
				 errhint("It stands on the view eventsource.events by itself.")));
	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		refuse_change(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "UPDATE" : "DELETE");
	if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
	{
		es_batch_settle();
		return PointerGetDatum(NULL);
	}
	return PointerGetDatum(append_row(trigger));
}

/* Default of the view's column position, which no INSERT may give. */
Datum
eventsource_position_by_trigger(PG_FUNCTION_ARGS)
{
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		ereport(ERROR,
				(errcode(ES_ERRCODE_APPEND_ONLY),
				 errmsg("INSERT on \"eventsource.events\" is not possible under session_replication_role = replica"),
				 errdetail("The triggers of a view do not fire then."),
				 errhint("Append with eventsource.append(), which works under every setting.")));
	PG_RETURN_NULL();
}

/* The view's column occurred_at. */
Datum
eventsource_occurred_at(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(es_event_occurred_at(PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_BYTEA_PP(1)));
}

static ExecutorStart_hook_type next_executor_start;

static void
refuse_change_under_replica(QueryDesc *query, int eflags)
{
	ListCell   *lc;

	if (unlikely(SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA))
	{
		foreach(lc, query->plannedstmt->resultRelations)
		{
			RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->plannedstmt->rtable);

			if (query->operation != CMD_INSERT && es_catalog_is(ES_REL_EVENTS_VIEW, rte->relid))
				refuse_change(query->operation == CMD_DELETE ? "DELETE" : "UPDATE");
		}
	}
	if (next_executor_start)
		next_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

void
es_view_init(void)
{
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = refuse_change_under_replica;
}
