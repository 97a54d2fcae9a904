/*
 * history_events.c
 *		Events of streams up to a moment, as corrected by what was known then.
 *
 * Both clocks never go back within a stream: recorded_at by itself, business
 * time because an event counts as no earlier than those before it.  So what has
 * happened by a moment is a beginning of each stream.
 *
 * Memory: lives in the context that is current at its begin.  A log in order of
 * position keeps the time of each stream: some 50 bytes.
 */
#include "postgres.h"

#include "capture/history.h"
#include "log/by_stream.h"
#include "log/correction.h"
#include "log/read.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

static EsPast *begin(const EsMoment *moment, Snapshot snapshot);
static TimestampTz known_at(const EsMoment *moment);
static bool is_at_end(const EsPast *past);
static bool next_event(EsPast *past, EsEvent *event);
static EsPastClock *clock_of(EsPast *past, const EsEvent *event);
static bool is_counted(EsPast *past, EsEvent *event);

EsPast *
es_past_begin(List *categories, const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = begin(moment, snapshot);

	past->corrections = es_corrections_load(known_at(moment), snapshot);
	es_corrections_show(past->corrections, moment->reader);
	past->walk = es_walk_streams_begin(0, PG_INT64_MAX, categories, snapshot);
	return past;
}

EsPast *
es_past_begin_stream(const text *stream, const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = begin(moment, snapshot);
	EsStream	found;

	past->stream = stream;
	if (es_stream_find(stream, &found))
	{
		past->stream_id = found.id;
		past->corrections = es_corrections_load_stream(found.id, known_at(moment), snapshot);
		es_corrections_show(past->corrections, moment->reader);
	}
	past->scan = es_scan_stream(stream, 1, false, snapshot);
	es_scan_as_stored(past->scan);
	return past;
}

EsPast *
es_past_begin_log(List *categories, const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = begin(moment, snapshot);
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(EsPastClock)};

	past->corrections = es_corrections_load(known_at(moment), snapshot);
	es_corrections_show(past->corrections, moment->reader);
	past->scan = es_scan_log(0, PG_INT64_MAX, categories, snapshot);
	es_scan_as_stored(past->scan);
	ctl.hcxt = CurrentMemoryContext;
	past->clocks = hash_create("eventsource past streams", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return past;
}

void
es_past_skip(EsPast *past, int64 version, const EsPastClock *clock, const text *state)
{
	es_scan_end(past->scan);
	past->scan = es_scan_stream(past->stream, version + 1, false, past->snapshot);
	es_scan_as_stored(past->scan);
	past->clock = *clock;
	past->returned = clock->stream_id;
	past->version = version;
	past->state = state;
}

static EsPast *
begin(const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = palloc0(sizeof(EsPast));

	past->moment = *moment;
	past->snapshot = snapshot;
	return past;
}

/* Up to when corrections count. */
static TimestampTz
known_at(const EsMoment *moment)
{
	return moment->basis == ES_BASIS_RECORDED ? moment->at : DT_NOEND;
}

bool
es_past_next(EsPast *past, EsEvent *event)
{
	while (!is_at_end(past) && next_event(past, event))
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_counted(past, event))
			continue;
		past->is_first = event->stream_id != past->returned;
		past->returned = event->stream_id;
		return true;
	}
	return false;
}

void
es_past_end(EsPast *past)
{
	if (past->scan != NULL)
		es_scan_end(past->scan);
	if (past->walk != NULL)
		es_walk_streams_end(past->walk);
	if (past->clocks != NULL)
		hash_destroy(past->clocks);
	pfree(past);
}

/* Of one stream, nothing after the moment need be read. */
static bool
is_at_end(const EsPast *past)
{
	return past->stream != NULL && past->clock.is_over;
}

static bool
next_event(EsPast *past, EsEvent *event)
{
	bool		is_first;

	return past->walk != NULL ? es_walk_streams_next(past->walk, event, &is_first) :
		es_scan_next(past->scan, event);
}

static EsPastClock *
clock_of(EsPast *past, const EsEvent *event)
{
	EsPastClock *clock = &past->clock;
	bool		found = clock->stream_id == event->stream_id;

	if (past->clocks != NULL)
		clock = hash_search(past->clocks, &event->stream_id, HASH_ENTER, &found);
	if (!found)
		*clock = es_past_clock(event->stream_id);
	return clock;
}

/* An event that does not count has its part in the stream's version and state. */
static bool
is_counted(EsPast *past, EsEvent *event)
{
	EsPastClock *clock = clock_of(past, event);
	bool		counts;

	if (clock->is_over)
		return false;
	counts = es_past_count(clock, &past->moment, past->corrections, event);
	if (clock->is_over)
		return false;
	past->time = clock->time;
	past->version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	past->state = es_event_text(event, ES_EVENT_TO_STATE);
	return counts;
}

bool
es_past_count(EsPastClock *clock, const EsMoment *moment, const EsCorrections *corrections, EsEvent *event)
{
	bool		counts = es_corrections_apply(corrections, event);

	if (counts)
		clock->occurred_at = Max(clock->occurred_at, DatumGetTimestampTz(event->value[ES_EVENT_OCCURRED_AT]));
	clock->time = moment->basis == ES_BASIS_OCCURRED ? clock->occurred_at :
		DatumGetTimestampTz(event->value[ES_EVENT_RECORDED_AT]);
	clock->is_over = clock->time > moment->at;
	return counts && !clock->is_over;
}

EsPastClock
es_past_clock(int64 stream_id)
{
	return (EsPastClock)
	{
		stream_id, DT_NOBEGIN, DT_NOBEGIN, false
	};
}

EsCorrections *
es_past_corrections(const EsMoment *moment, Snapshot snapshot)
{
	EsCorrections *corrections = es_corrections_load(known_at(moment), snapshot);

	es_corrections_show(corrections, moment->reader);
	return corrections;
}
