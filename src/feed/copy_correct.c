/*
 * copy_correct.c
 *		Corrections of events that are copied already.
 *
 * An event is copied as it is corrected then.  When its correction itself comes by
 * in a later stretch, the copies are made what the mapping makes of the event now:
 * by corrections of their own, with the same reason and actor.  That is for the
 * rules of the new category to allow; and the event must still become the same
 * types of events in the same streams, or be voided.
 *
 * A copy is found by its metadata in the streams that the event may have been
 * copied to, as it was corrected from time to time: no list of copies is kept.
 *
 * Memory: the current context.  Locks: the streams of the copies.
 */
#include "feed/copy_correct.h"

#include "access/xact.h"
#include "append/correct.h"
#include "append/draft.h"
#include "log/attempt.h"
#include "log/correction.h"
#include "log/json.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

/* The copy of an event, as it is corrected now, its data with personal fields, not upcast. */
typedef struct Found
{
	int64		position;
	const text *stream;
	const text *type;
	Jsonb	   *data;
	bool		is_void;
} Found;

/* A corrected event. */
typedef struct Carry
{
	const EsCopy *copy;
	const EsMapping *mapping;
	EsEvent		event;			/* as recorded */
	int64		position;
	Snapshot	snapshot;		/* that it is read by */
	int64		upto;			/* and its corrections, to there */
	List	   *times;			/* int64 *: positions of these */
	int64		time;			/* as of which it is mapped */
	List	   *wanted;			/* EsDraft *: what it becomes then */
	List	   *streams;		/* text *: that it may be copied to */
	List	   *found;			/* Found * */
} Carry;

static void note_times(Carry *carry);
static void map_event(void *arg);
static bool is_survived(int sqlstate);
static void note_stream(Carry *carry, const text *stream);
static void find_copies(Carry *carry, const text *stream, Snapshot snapshot);
static void add_found(Carry *carry, const text *stream, EsEvent *copy, Snapshot snapshot);
static void correct_found(Carry *carry, EsEvent *correction, Snapshot snapshot);
static int64 source_position(const EsEvent *event);
static void reconcile(Carry *carry, const EsEvent *correction);
static void correct_copy(const Carry *carry, const Found *found, const EsDraft *wanted,
						 const EsEvent *correction);
static int	compare_positions(const ListCell *a, const ListCell *b);
static bool is_same_kind(const Found *found, const EsDraft *wanted);
static void refuse_other(const Carry *carry, const EsEvent *correction);

int64
es_copy_corrected(const EsEvent *correction)
{
	Jsonb	   *metadata = DatumGetJsonbP(correction->value[ES_EVENT_METADATA]);
	int64		position;

	if (!es_json_find_number(&metadata->root, "corrects", &position))
		elog(ERROR, "correction at position " INT64_FORMAT " does not say what it corrects",
			 DatumGetInt64(correction->value[ES_EVENT_POSITION]));
	return position;
}

void
es_copy_correct(const EsCopy *copy, const EsMapping *mapping, const EsEvent *correction, int64 upto,
				Snapshot snapshot)
{
	Carry		carry = {.copy = copy,.mapping = mapping,.snapshot = snapshot,.upto = upto};
	EsScan	   *scan;
	ListCell   *lc;
	Snapshot	now;

	carry.position = es_copy_corrected(correction);
	scan = es_scan_log(carry.position - 1, carry.position, list_make1(unconstify(char *, copy->from)),
					   snapshot);
	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (!es_scan_next(scan, &carry.event))
		elog(ERROR, "there is no event at position " INT64_FORMAT, carry.position);
	note_times(&carry);

	/* It was copied as one of these; one that cannot be mapped was not. */
	(void) es_attempt(map_event, &carry, is_survived);
	foreach(lc, carry.times)
	{
		carry.time = *(int64 *) lfirst(lc);
		if (lnext(carry.times, lc) != NULL)
			(void) es_attempt(map_event, &carry, is_survived);
		else
			map_event(&carry);
	}
	es_scan_end(scan);

	CommandCounterIncrement();
	now = RegisterSnapshot(GetLatestSnapshot());
	foreach(lc, carry.streams)
		find_copies(&carry, lfirst(lc), now);
	UnregisterSnapshot(now);
	list_sort(carry.found, compare_positions);
	reconcile(&carry, correction);
}

/* The corrections of the event are in its stream. */
static void
note_times(Carry *carry)
{
	const text *stream = es_event_text(&carry->event, ES_EVENT_STREAM);
	int64		version = DatumGetInt64(carry->event.value[ES_EVENT_VERSION]);
	EsScan	   *scan = es_scan_stream(stream, version + 1, false, carry->snapshot);
	EsEvent		event;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		int64	   *time;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt64(event.value[ES_EVENT_POSITION]) > carry->upto)
			break;
		if (!es_event_is_correction(&event) || es_copy_corrected(&event) != carry->position)
			continue;
		time = palloc(sizeof(int64));
		*time = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		carry->times = lappend(carry->times, time);
	}
	es_scan_end(scan);
}

/* What it becomes as of a time. */
static void
map_event(void *arg)
{
	Carry	   *carry = arg;
	EsEvent		event = carry->event;
	EsCorrections *known = es_corrections_load_stream_upto(event.stream_id, carry->time, carry->snapshot);
	ListCell   *lc;

	carry->wanted = NIL;
	if (!es_corrections_apply(known, &event))
		return;
	foreach(lc, es_mapping_targets(carry->mapping, es_event_text(&event, ES_EVENT_TYPE)))
	{
		EsDraft    *draft = palloc(sizeof(EsDraft));

		es_draft_init(draft);
		if (!es_mapping_apply(carry->mapping, lfirst(lc), &event, draft))
			continue;
		draft->like = event.personal;
		carry->wanted = lappend(carry->wanted, draft);
		note_stream(carry, draft->stream);
	}
}

static bool
is_survived(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		sqlstate == ERRCODE_INVALID_NAME || sqlstate == ERRCODE_NAME_TOO_LONG;
}

static void
note_stream(Carry *carry, const text *stream)
{
	ListCell   *lc;

	foreach(lc, carry->streams)
		if (es_text_same(lfirst(lc), stream))
		return;
	carry->streams = lappend(carry->streams, unconstify(text *, stream));
}

static void
find_copies(Carry *carry, const text *stream, Snapshot snapshot)
{
	EsStream	target;
	EsScan	   *scan;
	EsEvent		event;

	if (!es_stream_find(stream, &target))
		return;
	scan = es_scan_stream(stream, 1, false, snapshot);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (es_event_is_correction(&event))
			correct_found(carry, &event, snapshot);
		else if (source_position(&event) == carry->position)
			add_found(carry, stream, &event, snapshot);
	}
	es_scan_end(scan);
}

static void
add_found(Carry *carry, const text *stream, EsEvent *copy, Snapshot snapshot)
{
	Found	   *found = palloc0(sizeof(Found));

	found->position = DatumGetInt64(copy->value[ES_EVENT_POSITION]);
	found->stream = stream;
	found->type = (text *) DatumGetPointer(datumCopy(copy->value[ES_EVENT_TYPE], false, -1));
	es_reading_restore(copy, ES_READER_ITSELF, snapshot);
	found->data = DatumGetJsonbPCopy(copy->value[ES_EVENT_DATA]);
	carry->found = lappend(carry->found, found);
}

static void
correct_found(Carry *carry, EsEvent *correction, Snapshot snapshot)
{
	int64		position = carry->found == NIL ? 0 : es_copy_corrected(correction);
	ListCell   *lc;

	foreach(lc, carry->found)
	{
		Found	   *found = lfirst(lc);

		if (found->position != position)
			continue;
		found->is_void = (correction->flags & ES_EVENT_VOID) != 0;
		es_reading_restore(correction, ES_READER_ITSELF, snapshot);
		found->data = DatumGetJsonbPCopy(correction->value[ES_EVENT_DATA]);
	}
}

/* Of what event is it a copy?  0: of none. */
static int64
source_position(const EsEvent *event)
{
	Jsonb	   *metadata = DatumGetJsonbP(event->value[ES_EVENT_METADATA]);
	JsonbValue	buffer;
	JsonbValue *source = es_json_find(&metadata->root, ES_COPY_SOURCE, &buffer);
	int64		position;

	if (source == NULL || !es_json_is_object(source) ||
		!es_json_find_number(source->val.binary.data, "position", &position))
		return 0;
	return position;
}

/* The copies become what is wanted. */
static void
reconcile(Carry *carry, const EsEvent *correction)
{
	int			count = list_length(carry->wanted);

	if (count > 0 && count != list_length(carry->found))
		refuse_other(carry, correction);
	for (int i = 0; i < count; i++)
		if (!is_same_kind(list_nth(carry->found, i), list_nth(carry->wanted, i)))
			refuse_other(carry, correction);
	for (int i = 0; i < list_length(carry->found); i++)
		correct_copy(carry, list_nth(carry->found, i),
					 count == 0 ? NULL : list_nth(carry->wanted, i), correction);
}

/* wanted NULL: it does not count. */
static void
correct_copy(const Carry *carry, const Found *found, const EsDraft *wanted, const EsEvent *correction)
{
	Jsonb	   *data = wanted == NULL ? NULL : wanted->data;
	EsRevision	revision = {.position = found->position,.data = data,.unless = found->data};
	EsAppended	result;

	revision.like = wanted == NULL ? NULL : wanted->like;
	revision.erased_as = es_erased_find(es_event_text(correction, ES_EVENT_SUBJECT), carry->snapshot);
	/* Nothing is recorded about who is erased for good. */
	if (revision.erased_as > ES_ERASED_SOFT || (data == NULL && found->is_void))
		return;
	if (data == NULL)
	{
		revision.is_void = true;
		revision.data = es_draft_empty_object();
	}
	if (data == NULL || found->is_void)
		revision.unless = NULL;
	else if (compareJsonbContainers(&data->root, &found->data->root) == 0)
		return;
	(void) es_correct_append(&revision, es_event_text(correction, ES_EVENT_REASON),
							 es_event_text(correction, ES_EVENT_ACTOR), &result);
}

static int
compare_positions(const ListCell *a, const ListCell *b)
{
	int64		left = ((const Found *) lfirst(a))->position;
	int64		right = ((const Found *) lfirst(b))->position;

	return left < right ? -1 : left > right;
}

static bool
is_same_kind(const Found *found, const EsDraft *wanted)
{
	return es_text_same(found->stream, wanted->stream) && es_text_same(found->type, wanted->type);
}

static void
refuse_other(const Carry *carry, const EsEvent *correction)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("correction of the event at position " INT64_FORMAT " cannot be carried over to its copies",
					carry->position),
			 errdetail("It was copied as %d events; as corrected by the event at position " INT64_FORMAT ", it becomes %d, of other types or in other streams.",
					   list_length(carry->found), DatumGetInt64(correction->value[ES_EVENT_POSITION]),
					   list_length(carry->wanted)),
			 errhint("Copy anew, into another category.")));
}
