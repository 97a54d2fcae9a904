/*
 * prune_choose.c
 *		Which events of a segment go: those that have expired and nobody keeps.
 *
 * A stream loses its first events alone.  Of a category that is not disposable it
 * loses all or nothing.  What has expired stays where it is held, or where somebody
 * who follows the log has not dealt with it; who that is, is noted.
 *
 * Memory: the positions of one stream in the segment.
 */
#include "postgres.h"

#include "log/event.h"
#include "log/read.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "trust/prune.h"
#include "utils/memutils.h"

#define LEGAL_HOLD		"a legal hold"
#define OPEN_SEGMENT	"a segment that is not full"

/* The stream that is being looked at. */
typedef struct Candidate
{
	int64		stream_id;		/* 0: none */
	const text *name;
	const char *kept_by;		/* the stream is, from here on; or NULL */
	int64		last_version;	/* that may go; 0: none */
	bool		as_a_whole;
	bool		is_ended;		/* by one that has not expired */
	int64	   *positions;
	int			n_positions;
	int			max_positions;
	int64		n_kept;			/* that have expired */
	TimestampTz kept_since;		/* the first of them was recorded */
} Candidate;

typedef struct Look
{
	EsSegmentFact *fact;
	const EsRetention *retention;
	int64		upto;			/* positions that all have dealt with */
	const char *laggard;
	Candidate	candidate;
	MemoryContext context;		/* of the candidate */
} Look;

static void look_at_row(EsPrune *prune, HeapTuple row, void *arg);
static void begin_candidate(const EsPrune *prune, Candidate *candidate, HeapTuple row);
static void end_candidate(EsPrune *prune, Look *look);
static bool has_all_expired(const EsPrune *prune, const Look *look, const char **kept_by);
static const char *who_keeps(const EsPrune *prune, const Look *look, HeapTuple row);
static void note_held_up(EsSegmentFact *fact, const char *who, int64 count, TimestampTz since);

void
es_prune_choose(EsPrune *prune, EsSegmentFact *fact)
{
	Look		look = {.fact = fact,.retention = es_archive_retention(prune->run, fact->category)};

	look.upto = es_holds_upto(prune->run->holds, fact->category, &look.laggard);
	look.context = AllocSetContextCreate(CurrentMemoryContext, "eventsource prune stream", ALLOCSET_DEFAULT_SIZES);
	es_prune_visit(prune, fact->category, look_at_row, &look);
	end_candidate(prune, &look);
	if (look.candidate.positions != NULL)
		pfree(look.candidate.positions);
	MemoryContextDelete(look.context);
}

static void
look_at_row(EsPrune *prune, HeapTuple row, void *arg)
{
	Look	   *look = arg;
	Candidate  *candidate = &look->candidate;
	bool		as_a_whole;
	MemoryContext caller;

	if (es_event_stream_id(row) != candidate->stream_id)
	{
		end_candidate(prune, look);
		MemoryContextReset(look->context);
		caller = MemoryContextSwitchTo(look->context);
		begin_candidate(prune, candidate, row);
		MemoryContextSwitchTo(caller);
	}
	if (candidate->is_ended)
		return;
	if (candidate->kept_by == NULL && es_event_version(row) != candidate->last_version + 1)
		candidate->is_ended = true;
	else
		candidate->is_ended =
			!es_retention_is_expired(look->retention, es_event_position(row), es_event_recorded_at(row),
									 es_event_type_id(row), prune->run->now, &as_a_whole);
	if (candidate->is_ended)
		return;
	candidate->as_a_whole |= as_a_whole;
	caller = MemoryContextSwitchTo(look->context);
	if (candidate->kept_by == NULL)
		candidate->kept_by = who_keeps(prune, look, row);
	MemoryContextSwitchTo(caller);
	if (candidate->kept_by != NULL)
	{
		if (candidate->n_kept++ == 0)
			candidate->kept_since = es_event_recorded_at(row);
		return;
	}
	candidate->last_version = es_event_version(row);
	if (candidate->n_positions == 0)
		candidate->kept_since = es_event_recorded_at(row);
	if (candidate->n_positions == candidate->max_positions)
	{
		candidate->max_positions = Max(64, candidate->max_positions * 2);
		candidate->positions = candidate->positions == NULL ?
			palloc(candidate->max_positions * sizeof(int64)) :
			repalloc_huge(candidate->positions, candidate->max_positions * sizeof(int64));
	}
	candidate->positions[candidate->n_positions++] = es_event_position(row);
}

static void
begin_candidate(const EsPrune *prune, Candidate *candidate, HeapTuple row)
{
	EsHead		head = {0};

	candidate->stream_id = es_event_stream_id(row);
	candidate->name = es_stream_find_name(candidate->stream_id);
	(void) es_pruned_head(candidate->stream_id, &head);
	candidate->last_version = head.version;
	candidate->n_positions = 0;
	candidate->n_kept = 0;
	candidate->as_a_whole = false;
	candidate->is_ended = candidate->name == NULL;
	candidate->kept_by = candidate->is_ended ? NULL :
		es_holds_stream(prune->run->holds, candidate->name) ? LEGAL_HOLD :
		es_holds_owed(prune->run->holds, candidate->stream_id);
}

static void
end_candidate(EsPrune *prune, Look *look)
{
	Candidate  *candidate = &look->candidate;
	const char *kept_by = candidate->kept_by;
	bool		goes;

	if (candidate->n_positions + candidate->n_kept == 0)
		return;

	/*
	 * One that goes as a whole and has an event that has not expired: nothing
	 * is due.
	 */
	if (candidate->as_a_whole && candidate->is_ended)
		kept_by = NULL;
	goes = !candidate->as_a_whole ||
		(!candidate->is_ended && has_all_expired(prune, look, &kept_by) && kept_by == NULL);
	if (goes)
	{
		for (int i = 0; i < candidate->n_positions; i++)
		{
			es_prune_set_gone(prune, candidate->positions[i]);
			look->fact->last_due = Max(look->fact->last_due, candidate->positions[i]);
		}
		look->fact->due += candidate->n_positions;
		prune->count += candidate->n_positions;
		candidate->n_positions = 0;
	}
	if (kept_by != NULL && candidate->n_positions + candidate->n_kept > 0)
		note_held_up(look->fact, kept_by, candidate->n_positions + candidate->n_kept, candidate->kept_since);
}

/*
 * Has all that follows in the stream expired, up to its end?  *kept_by: if so, who
 * keeps some of it.  It is NULL if not all has: nothing is due then.
 */
static bool
has_all_expired(const EsPrune *prune, const Look *look, const char **kept_by)
{
	EsScan	   *scan = es_scan_stream(look->candidate.name, look->candidate.last_version + 1, false,
									  es_final_snapshot(prune->run->final));
	bool		result = true;
	HeapTuple	row;

	while (result && (row = es_scan_next_tuple(scan)) != NULL)
	{
		bool		as_a_whole;

		result = es_retention_is_expired(look->retention, es_event_position(row), es_event_recorded_at(row),
										 es_event_type_id(row), prune->run->now, &as_a_whole);
		if (result && *kept_by == NULL)
			*kept_by = who_keeps(prune, look, row);
	}
	es_scan_end(scan);
	if (!result)
		*kept_by = NULL;
	return result;
}

/* Who keeps an event that has expired; NULL: nobody.  Of the stream itself it is known. */
static const char *
who_keeps(const EsPrune *prune, const Look *look, HeapTuple row)
{
	if (es_event_position(row) > look->upto)
		return look->laggard;
	if (es_event_position(row) > prune->run->upto)
		return OPEN_SEGMENT;
	if (es_holds_any_subject(prune->run->holds))
	{
		EsEvent		event;

		es_event_deform(row, true, &event);
		if (es_holds_subject(prune->run->holds, es_event_text(&event, ES_EVENT_SUBJECT)))
			return LEGAL_HOLD;
	}
	return NULL;
}

static void
note_held_up(EsSegmentFact *fact, const char *who, int64 count, TimestampTz since)
{
	ListCell   *lc;
	EsHeldUp   *held;

	foreach(lc, fact->held_up)
	{
		held = lfirst(lc);
		if (strcmp(held->who, who) != 0)
			continue;
		held->events += count;
		held->since = Min(held->since, since);
		return;
	}
	held = palloc(sizeof(EsHeldUp));
	held->who = who;
	held->events = count;
	held->since = since;
	fact->held_up = lappend(fact->held_up, held);
}
