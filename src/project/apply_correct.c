/*
 * apply_correct.c
 *		Corrections on the way of a projection in mode async.
 *
 * The table holds the events before the stretch, with the corrections before it.
 * Where a correction within it changes what one of those events did -- its data,
 * whether it counts, the states of events after it -- the rows that the event
 * touched and those that it touches now are folded anew, up to the stretch.  Then
 * the events of the stretch fold into them as into all others.
 */
#include "postgres.h"

#include "log/correction.h"
#include "log/read.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/apply_correct.h"
#include "project/refold.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* What is corrected of one stream. */
typedef struct Touched
{
	int64		stream_id;		/* hash key */
	int64		first;			/* the earliest event that is corrected */
} Touched;

typedef struct Search
{
	const EsProjection *projection;
	int64		after;			/* the stretch begins after it */
	int64		found;			/* the first correction, 0: none */
	HTAB	   *touched;		/* of Touched, by streams */
} Search;

static bool find_first(const EsCorrection *correction, void *arg);
static bool find_touched(const EsCorrection *correction, void *arg);
static void note_stream(EsRefold *refold, const Touched *touched, const EsStretch *stretch, int64 end);
static bool is_changed(const EsCorrections *then, const EsCorrections *now, const EsEvent *was,
					   const EsEvent *is);

int64
es_apply_next_correction(const EsProjection *projection, const EsStretch *stretch)
{
	Search		search = {.projection = projection};

	es_corrections_visit(stretch->after, stretch->upto, stretch->snapshot, find_first, &search);
	return search.found == 0 ? stretch->upto + 1 : search.found;
}

/* Rows that streams share are folded from all events: once for all corrections. */
void
es_apply_corrections(EsProjection *projection, const EsStretch *stretch, int64 end)
{
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(Touched),.hcxt = CurrentMemoryContext};
	Search		search = {.projection = projection,.after = stretch->after};
	EsRefoldHistory history = {
		.snapshot = stretch->snapshot,
		.upto = stretch->after,
		.corrected_upto = end
	};
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource corrected rows",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;
	EsRefold   *shared = projection->sharing == ES_ROW_SHARED ? es_refold_begin_one(projection) : NULL;
	HASH_SEQ_STATUS scan;
	Touched    *touched;

	search.touched = hash_create("eventsource corrected streams", 64, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	es_corrections_visit(stretch->after, end, stretch->snapshot, find_touched, &search);
	caller = MemoryContextSwitchTo(work);
	hash_seq_init(&scan, search.touched);
	while ((touched = hash_seq_search(&scan)) != NULL)
	{
		EsRefold   *refold = shared != NULL ? shared : es_refold_begin_one(projection);

		CHECK_FOR_INTERRUPTS();
		note_stream(refold, touched, stretch, end);
		history.stream = es_stream_name(touched->stream_id);
		if (shared == NULL)
			(void) es_refold_write_from(refold, &history);
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(caller);
	if (shared != NULL)
		(void) es_refold_write_from(shared, &history);
	MemoryContextDelete(work);
}

static bool
find_first(const EsCorrection *correction, void *arg)
{
	Search	   *search = arg;

	if (es_projection_is_of(search->projection, correction->stream_id))
		search->found = correction->position;
	return search->found == 0;
}

static bool
find_touched(const EsCorrection *correction, void *arg)
{
	Search	   *search = arg;
	Touched    *touched;
	bool		found;

	if (correction->corrects > search->after ||
		!es_projection_is_of(search->projection, correction->stream_id))
		return true;
	touched = hash_search(search->touched, &correction->stream_id, HASH_ENTER, &found);
	if (!found)
		touched->first = correction->corrects;
	touched->first = Min(touched->first, correction->corrects);
	return true;
}

/* Of the events before the stretch, those that are something else now. */
static void
note_stream(EsRefold *refold, const Touched *touched, const EsStretch *stretch, int64 end)
{
	int64		stream_id = touched->stream_id;
	EsCorrections *then = es_corrections_load_stream_upto(stream_id, stretch->after, stretch->snapshot);
	EsCorrections *now = es_corrections_load_stream_upto(stream_id, end, stretch->snapshot);
	EsScan	   *scan = es_scan_stream(es_stream_name(stream_id), 1, false, stretch->snapshot);
	EsEvent		event;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		int64		position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		EsEvent		was = event;
		EsEvent		is = event;
		bool		did_count;
		bool		counts;

		CHECK_FOR_INTERRUPTS();
		if (position > stretch->after)
			break;
		if (position < touched->first)
			continue;
		did_count = es_corrections_apply(then, &was);
		counts = es_corrections_apply(now, &is);
		if (!is_changed(then, now, &was, &is))
			continue;
		if (did_count)
			es_refold_note(refold, &was);
		if (counts)
			es_refold_note(refold, &is);
	}
	es_scan_end(scan);
}

static bool
is_changed(const EsCorrections *then, const EsCorrections *now, const EsEvent *was, const EsEvent *is)
{
	int64		position = DatumGetInt64(was->value[ES_EVENT_POSITION]);
	const EsCorrection *before = es_corrections_find(then, was->stream_id, position);
	const EsCorrection *after = es_corrections_find(now, is->stream_id, position);

	return (before == NULL ? 0 : before->position) != (after == NULL ? 0 : after->position) ||
		!es_text_same(es_event_text(was, ES_EVENT_FROM_STATE), es_event_text(is, ES_EVENT_FROM_STATE)) ||
		!es_text_same(es_event_text(was, ES_EVENT_TO_STATE), es_event_text(is, ES_EVENT_TO_STATE));
}
