/*
 * erase.c
 *		erase_subject and revert_erasure.
 *
 * In one transaction: the subject is marked, and all who may have recorded something
 * about it before they could see the mark are waited for; functions of users do
 * their part; then each room clears what it keeps (log/erasing.h), and what was done
 * is recorded.
 *
 * Locks, in this order: retention's, shared; the subject; transactions that append
 * (waited for, not kept out); all who follow the log (async projections, handlers,
 * copies, consumers), or are about to be defined to: what they have kept is seen by
 * whoever clears it, functions of users too; the log and the subject's streams, in the
 * order that batches follow; what the rooms lock.  Who has appended, or erased another
 * subject, in the same transaction holds what others wait for while it waits for them:
 * one of them is then refused as a deadlock's victim.
 *
 * Memory: 40 bytes per event about the subject, 16 per stream, the keys of projection rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "append/hall.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/accounts.h"
#include "log/cursor.h"
#include "log/json.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "trust/erase.h"
#include "trust/erase_args.h"
#include "trust/retention.h"
#include "trust/scrub.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(eventsource_erase_subject);
PG_FUNCTION_INFO_V1(eventsource_revert_erasure);
PG_FUNCTION_INFO_V1(eventsource_subject_events);

static void begin(const char *function);
static void expect_stronger(const text *subject, EsErasedMode mode);
static List *clear_foreign(const text *subject, EsErasedMode mode);
static void find_events(EsErasing *erasing);
static void lock_streams(const EsErasing *erasing);
static List *clear_all(const EsErasing *erasing);
static void expect_something(const EsErasing *erasing, List *counts);
static int64 record(const EsErasing *erasing, List *counts, const EsErasureArgs *args);
static void put_counts(FunctionCallInfo fcinfo, List *counts);

/* erase_subject(subject text, mode text, reason text, actor text): target, affected */
Datum
eventsource_erase_subject(PG_FUNCTION_ARGS)
{
	EsErasureArgs args;
	EsErasing	erasing = {0};
	List	   *touched = NIL;
	List	   *counts;

	begin("eventsource.erase_subject()");
	es_erasure_args(fcinfo, 0, 1, 2, 3, &args);
	es_erasure_expect_right(args.mode);
	erasing.subject = args.subject;
	erasing.mode = args.mode;
	erasing.touched = &touched;
	(void) es_retention_lock(true, true);
	es_erased_lock(args.subject);
	expect_stronger(args.subject, args.mode);
	es_erased_mark(args.subject, args.mode);
	es_followers_keep_out();
	counts = clear_foreign(args.subject, args.mode);
	find_events(&erasing);
	if (args.mode != ES_ERASED_SOFT)
		es_holds_expect_none(args.subject, erasing.streams, erasing.n_streams);
	counts = list_concat(clear_all(&erasing), counts);
	expect_something(&erasing, counts);
	(void) record(&erasing, counts, &args);
	if (es_erasing_is_final(&erasing))
		es_scrub_note(touched);
	put_counts(fcinfo, counts);
	return (Datum) 0;
}

/* revert_erasure(subject text, reason text, actor text): target, affected */
Datum
eventsource_revert_erasure(PG_FUNCTION_ARGS)
{
	EsErasureArgs args;
	EsErasing	erasing = {0};
	EsErasedMode mode;
	List	   *touched = NIL;
	List	   *counts;

	begin("eventsource.revert_erasure()");
	es_erasure_args(fcinfo, 0, -1, 1, 2, &args);
	es_erasure_expect_right(ES_ERASED_SOFT);
	(void) es_retention_lock(true, true);
	es_erased_lock(args.subject);
	mode = es_erased_find(args.subject, SnapshotSelf);
	if (mode != ES_ERASED_SOFT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("erasure of subject \"%s\" cannot be reverted", text_to_cstring(args.subject)),
				 mode == ES_ERASED_NOT ? errdetail("It is not erased.") :
				 errdetail("It was erased in mode %s, which is for good.", es_erased_mode_name(mode)),
				 errhint("Only mode soft can be reverted.")));
	erasing.subject = args.subject;
	erasing.touched = &touched;
	es_followers_keep_out();
	find_events(&erasing);
	counts = clear_all(&erasing);
	es_erased_unmark(args.subject, ES_ERASED_SOFT);
	(void) record(&erasing, counts, &args);
	put_counts(fcinfo, counts);
	return (Datum) 0;
}

/* subject_events(subject text): positions of all events about it */
Datum
eventsource_subject_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		count;
	EsAbout    *events;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	events = es_tombstone_find(PG_GETARG_TEXT_PP(0), GetActiveSnapshot(), &count);
	for (int64 i = 0; i < count; i++)
	{
		Datum		value = Int64GetDatum(events[i].position);
		bool		isnull = false;

		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* What is committed while we wait must be seen. */
static void
begin(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	es_batch_settle();
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s needs isolation level READ COMMITTED", function),
				 errdetail("An event that was committed after this transaction's snapshot was taken would not be found."),
				 errhint("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, as the first statement of the transaction.")));
}

static void
expect_stronger(const text *subject, EsErasedMode mode)
{
	EsErasedMode now = es_erased_find(subject, SnapshotSelf);

	if (now < mode)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("subject \"%s\" is erased already", text_to_cstring(subject)),
			 errdetail("It was erased in mode %s.", es_erased_mode_name(now)),
			 now == ES_ERASED_HARD ? errhint("Nothing is left to be done.") :
			 errhint("A stronger mode than this can follow: soft, anonymize, hard.")));
}

/* What they record about the subject now is erased with the rest. */
static List *
clear_foreign(const text *subject, EsErasedMode mode)
{
	const text *before = es_erased_except(subject);
	List	   *volatile counts = NIL;

	PG_TRY();
	{
		counts = es_eraser_call_all(subject, mode);
	}
	PG_FINALLY();
	{
		(void) es_erased_except(before);
	}
	PG_END_TRY();
	return counts;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* All that is committed, or ours; no other can come. */
static void
find_events(EsErasing *erasing)
{
	Snapshot	snapshot;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	erasing->events = es_tombstone_find(erasing->subject, snapshot, &erasing->count);
	UnregisterSnapshot(snapshot);
	if (erasing->count == 0)
		return;
	erasing->streams = palloc_extended(erasing->count * sizeof(int64), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < erasing->count; i++)
		erasing->streams[i] = erasing->events[i].stream_id;
	qsort(erasing->streams, erasing->count, sizeof(int64), compare_ids);
	for (int64 i = 0; i < erasing->count; i++)
		if (i == 0 || erasing->streams[i] != erasing->streams[erasing->n_streams - 1])
			erasing->streams[erasing->n_streams++] = erasing->streams[i];
	lock_streams(erasing);
}

typedef struct LockOrder
{
	uint64		order;
	int64		stream_id;
} LockOrder;

static int
compare_locks(const void *a, const void *b)
{
	uint64		x = ((const LockOrder *) a)->order;
	uint64		y = ((const LockOrder *) b)->order;

	return x < y ? -1 : x > y;
}

static void
lock_streams(const EsErasing *erasing)
{
	LockOrder  *locks = palloc_extended(erasing->n_streams * sizeof(LockOrder), MCXT_ALLOC_HUGE);

	for (int i = 0; i < erasing->n_streams; i++)
	{
		locks[i].stream_id = erasing->streams[i];
		locks[i].order = es_stream_lock_order(es_stream_name(locks[i].stream_id));
	}
	qsort(locks, erasing->n_streams, sizeof(LockOrder), compare_locks);
	es_stream_expect_distinct(erasing->n_streams);
	for (int i = 0; i < erasing->n_streams; i++)
	{
		CHECK_FOR_INTERRUPTS();
		es_stream_lock(es_stream_name(locks[i].stream_id));
	}
	pfree(locks);
}

/* Rules of projections are evaluated, which must not append. */
static List *
clear_all(const EsErasing *erasing)
{
	List	   *erasers = es_eraser_list();
	List	   *volatile counts = NIL;
	void	  **states = palloc0((list_length(erasers) + 1) * sizeof(void *));

	es_hall_enter();
	PG_TRY();
	{
		ListCell   *lc;

		foreach(lc, erasers)
		{
			const EsEraser *eraser = lfirst(lc);

			if (eraser->prepare != NULL)
				states[foreach_current_index(lc)] = eraser->prepare(erasing);
		}
		foreach(lc, erasers)
		{
			const EsEraser *eraser = lfirst(lc);
			void	   *state = states[foreach_current_index(lc)];
			EsErasedCount *count = palloc(sizeof(EsErasedCount));

			count->target = eraser->target;
			count->count = eraser->prepare != NULL && state == NULL ? 0 : eraser->erase(erasing, state);
			counts = lappend(counts, count);
		}
	}
	PG_FINALLY();
	{
		es_hall_leave();
	}
	PG_END_TRY();
	CommandCounterIncrement();
	return counts;
}

/* A slip of the pen must not look like an erasure. */
static void
expect_something(const EsErasing *erasing, List *counts)
{
	ListCell   *lc;

	if (erasing->count > 0)
		return;
	foreach(lc, counts)
		if (((EsErasedCount *) lfirst(lc))->count > 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("nothing is known about subject \"%s\"", text_to_cstring(erasing->subject)),
			 errdetail("No event is about it, and no eraser has found anything."),
			 errhint("A subject is the stream's name, unless its category or event type says otherwise.")));
}

static int64
record(const EsErasing *erasing, List *counts, const EsErasureArgs *args)
{
	JsonbParseState *state = NULL;
	EsErasureRequest request;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (erasing->mode != ES_ERASED_NOT)
		es_json_push_string(&state, ES_ERASURE_MODE, es_erased_mode_name(erasing->mode));
	es_json_push_number(&state, "found", erasing->count);
	es_json_push_number(&state, ES_ERASURE_UPTO,
						erasing->count == 0 ? 0 : erasing->events[erasing->count - 1].position);
	if (es_erasure_find_request(erasing->subject, &request) && request.mode <= erasing->mode)
		es_json_push_number(&state, "request", request.position);
	if (es_erasing_is_final(erasing))
		es_erasure_push_left(&state, erasing, args->reason, args->actor);
	es_json_push_key(&state, "targets");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	foreach(lc, counts)
	{
		EsErasedCount *count = lfirst(lc);

		es_json_push_number(&state, count->target, count->count);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return es_erasure_append(erasing->subject,
							 erasing->mode == ES_ERASED_NOT ? ES_ERASURE_REVERTED : ES_ERASURE_COMPLETED,
							 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)),
							 args->reason, args->actor);
}

static void
put_counts(FunctionCallInfo fcinfo, List *counts)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, counts)
	{
		EsErasedCount *count = lfirst(lc);
		Datum		values[2] = {CStringGetTextDatum(count->target), Int64GetDatum(count->count)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
