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

/* How far a stream has come. */
typedef struct StreamTime
{
	int64		stream_id;		/* hash key; 0: of no stream yet */
	TimestampTz time;			/* of its last event */
	bool		is_over;		/* the moment is passed */
} StreamTime;

struct EsPast
{
	EsMoment	moment;
	EsScan	   *scan;			/* or NULL */
	EsStreamWalk *walk;			/* or NULL */
	EsCorrections *corrections;
	HTAB	   *times;			/* of streams that come mixed, or NULL */
	StreamTime	now;			/* of the stream at hand, if they do not */
	int64		returned;		/* stream of the event returned last */
	bool		is_first;
	TimestampTz time;
	int64		version;		/* of the stream, if streams come one by one */
	const text *state;
};

static EsPast *begin(const EsMoment *moment);
static TimestampTz known_at(const EsMoment *moment);
static bool is_at_end(const EsPast *past);
static bool next_event(EsPast *past, EsEvent *event);
static StreamTime *time_of(EsPast *past, const EsEvent *event);
static bool is_counted(EsPast *past, EsEvent *event);

EsPast *
es_past_begin(List *categories, const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = begin(moment);

	past->corrections = es_corrections_load(known_at(moment), snapshot);
	past->walk = es_walk_streams_begin(0, PG_INT64_MAX, categories, snapshot);
	return past;
}

EsPast *
es_past_begin_stream(const text *stream, const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = begin(moment);
	EsStream	found;

	/* No id: of a stream that does not exist nothing is corrected. */
	past->corrections = es_stream_find(stream, &found) ?
		es_corrections_load_stream(found.id, known_at(moment), snapshot) : NULL;
	past->scan = es_scan_stream(stream, 1, false, snapshot);
	return past;
}

EsPast *
es_past_begin_log(List *categories, const EsMoment *moment, Snapshot snapshot)
{
	EsPast	   *past = begin(moment);
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(StreamTime),.hcxt = CurrentMemoryContext};

	past->corrections = es_corrections_load(known_at(moment), snapshot);
	past->scan = es_scan_log(0, PG_INT64_MAX, categories, snapshot);
	past->times = hash_create("eventsource past streams", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return past;
}

static EsPast *
begin(const EsMoment *moment)
{
	EsPast	   *past = palloc0(sizeof(EsPast));

	past->moment = *moment;
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

bool
es_past_is_first(const EsPast *past)
{
	return past->is_first;
}

TimestampTz
es_past_time(const EsPast *past)
{
	return past->time;
}

int64
es_past_version(const EsPast *past)
{
	return past->version;
}

const text *
es_past_state(const EsPast *past)
{
	return past->state;
}

void
es_past_end(EsPast *past)
{
	if (past->scan != NULL)
		es_scan_end(past->scan);
	if (past->walk != NULL)
		es_walk_streams_end(past->walk);
	if (past->times != NULL)
		hash_destroy(past->times);
	pfree(past);
}

/* Of one stream, nothing after the moment need be read. */
static bool
is_at_end(const EsPast *past)
{
	return past->walk == NULL && past->times == NULL && past->now.is_over;
}

static bool
next_event(EsPast *past, EsEvent *event)
{
	bool		is_first;

	return past->walk != NULL ? es_walk_streams_next(past->walk, event, &is_first) :
		es_scan_next(past->scan, event);
}

static StreamTime *
time_of(EsPast *past, const EsEvent *event)
{
	StreamTime *entry = &past->now;
	bool		found = past->now.stream_id == event->stream_id;

	if (past->times != NULL)
		entry = hash_search(past->times, &event->stream_id, HASH_ENTER, &found);
	if (!found)
	{
		entry->stream_id = event->stream_id;
		entry->time = DT_NOBEGIN;
		entry->is_over = false;
	}
	return entry;
}

/*
 * The stream's clock goes on, up to the moment.  An event that does not count
 * has no business time, but its part in the stream's version and state.
 */
static bool
is_counted(EsPast *past, EsEvent *event)
{
	StreamTime *entry = time_of(past, event);
	bool		is_recorded = past->moment.basis == ES_BASIS_RECORDED;
	bool		counts = es_corrections_apply(past->corrections, event);
	EsEventColumn clock = is_recorded ? ES_EVENT_RECORDED_AT : ES_EVENT_OCCURRED_AT;
	TimestampTz time = DatumGetTimestampTz(event->value[clock]);

	if (entry->is_over)
		return false;
	if (counts || is_recorded)
		entry->time = Max(entry->time, time);
	entry->is_over = entry->time > past->moment.at;
	if (entry->is_over)
		return false;
	past->time = entry->time;
	past->version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	past->state = es_event_text(event, ES_EVENT_TO_STATE);
	return counts;
}
