/*
 * machine_verify.c
 *		Replays history through the machines that allowed it: every event must
 *		have been legal under the version that it names, and be so as corrected.
 *
 * Reads with the caller's snapshot; memory grows with the number of streams
 * when all are verified.  Guards that name "row" are not evaluated, the others
 * are, on the event as its caller gave it, upcast.  What upcasters fail by may have
 * been corrected, which is then what counts.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/attempt.h"
#include "log/correction.h"
#include "log/read.h"
#include "log/rights.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "rules/machine_table.h"
#include "rules/upcast.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Columns of eventsource.verify_transitions() */
#define PROBLEM_COLUMNS		4

/* Where a stream stood after its last event seen. */
typedef struct Track
{
	int64		stream_id;		/* hash key */
	const text *state;			/* NULL: none */
	const text *corrected;		/* likewise as corrected */
} Track;

typedef struct Replay
{
	ReturnSetInfo *rsinfo;
	HTAB	   *tracks;
	MemoryContext per_event;
	MemoryContext states;		/* of the tracks */
	EsWordSet	seen;			/* states, so that each is kept once */
	EsCorrections *corrections;
	const EsUpcasters *upcasters;
} Replay;

/* For es_attempt(). */
typedef struct Reading
{
	const EsUpcasters *upcasters;
	EsEvent		event;
} Reading;

PG_FUNCTION_INFO_V1(eventsource_verify_transitions);

static void replay_event(Replay *replay, const EsEvent *event);
static char *find_corrected_problem(Replay *replay, const EsEvent *event, Track *track, bool is_known);
static char *find_read_problem(Replay *replay, const EsEvent *event, const text *before, bool is_known,
							   bool is_corrected);
static void read_event(void *arg);
static void put_problem(Replay *replay, const EsEvent *event, const char *problem);
static char *find_problem(const EsEvent *event, const text *before, bool is_known);
static char *judge_passage(EsMachine *machine, const EsEvent *event);
static char *judge_event(EsMachine *machine, const EsEvent *event);
static bool edge_allows(const EsMachine *machine, const EsEdge *edge, int from, const EsEvent *event);
static const text *remember(Replay *replay, const text *state);
static char *say_broken(const text *from, const text *before);
static const char *show(const text *state);

/* verify_transitions(stream text) */
Datum
eventsource_verify_transitions(PG_FUNCTION_ARGS)
{
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(Track)};
	Replay		replay = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	Snapshot	snapshot;
	EsScan	   *scan;
	EsEvent		event;

	if (!PG_ARGISNULL(0))
	{
		es_rights_expect_read_stream(PG_GETARG_TEXT_PP(0));
		es_stream_mention_missing(PG_GETARG_TEXT_PP(0));
	}
	InitMaterializedSRF(fcinfo, 0);
	ctl.hcxt = CurrentMemoryContext;
	replay.tracks = hash_create("eventsource verify transitions", 1024, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	replay.states = CurrentMemoryContext;
	replay.per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource verify event",
											 ALLOCSET_DEFAULT_SIZES);
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	replay.corrections = es_corrections_load(DT_NOEND, snapshot);
	replay.upcasters = es_reading_begin();
	if (PG_ARGISNULL(0))
		scan = es_scan_log(0, PG_INT64_MAX, NIL, snapshot);
	else
		scan = es_scan_stream(PG_GETARG_TEXT_PP(0), 1, false, snapshot);
	if (PG_ARGISNULL(0))
		es_scan_for_reader(scan);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		replay_event(&replay, &event);
	}
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/* Each event must have been legal when it was appended, and be so as corrected. */
static void
replay_event(Replay *replay, const EsEvent *event)
{
	MemoryContext caller;
	bool		is_known;
	Track	   *track = hash_search(replay->tracks, &event->stream_id, HASH_ENTER, &is_known);
	char	   *problem;

	if (!is_known)
		track->state = track->corrected = NULL;
	is_known |= DatumGetInt64(event->value[ES_EVENT_VERSION]) == 1;
	MemoryContextReset(replay->per_event);
	caller = MemoryContextSwitchTo(replay->per_event);
	problem = find_read_problem(replay, event, track->state, is_known,
								es_corrections_find(replay->corrections, event->stream_id,
													DatumGetInt64(event->value[ES_EVENT_POSITION])) != NULL);
	if (problem != NULL)
		put_problem(replay, event, problem);
	if (es_corrections_touch(replay->corrections, event->stream_id))
	{
		problem = find_corrected_problem(replay, event, track, is_known);
		if (problem != NULL)
			put_problem(replay, event, psprintf("as corrected: %s", problem));
	}
	MemoryContextSwitchTo(caller);
	track->state = remember(replay, es_event_text(event, ES_EVENT_TO_STATE));
}

/* Nothing is judged twice: an event that was not corrected must only follow. */
static char *
find_corrected_problem(Replay *replay, const EsEvent *event, Track *track, bool is_known)
{
	EsEvent		corrected = *event;
	const text *before = track->corrected;
	const text *from;

	if (!es_corrections_apply_stored(replay->corrections, &corrected))
	{
		/*
		 * A void event changes nothing, but that there was no machine; a
		 * correction may leave it; a tombstone did what it did.
		 */
		if (!es_event_counts(event) || event->machine == NULL)
			track->corrected = remember(replay, es_event_text(&corrected, ES_EVENT_TO_STATE));
		return NULL;
	}
	from = es_event_text(&corrected, ES_EVENT_FROM_STATE);
	track->corrected = remember(replay, es_event_text(&corrected, ES_EVENT_TO_STATE));
	/* Without a machine, whatever the state was, there is none. */
	if (event->machine == NULL && event->isnull[ES_EVENT_FROM_STATE] && track->corrected == NULL)
		return NULL;
	if (corrected.value[ES_EVENT_DATA] != event->value[ES_EVENT_DATA] ||
		!es_text_same(from, es_event_text(event, ES_EVENT_FROM_STATE)) ||
		!es_text_same(track->corrected, es_event_text(event, ES_EVENT_TO_STATE)))
		return find_read_problem(replay, &corrected, before, is_known, false);
	if (!is_known || es_text_same(before, from))
		return NULL;
	return say_broken(from, before);
}

/* Only guards look at data. */
static char *
find_read_problem(Replay *replay, const EsEvent *event, const text *before, bool is_known, bool is_corrected)
{
	Reading		reading = {replay->upcasters, *event};
	const EsUpcastChain *chain = replay->upcasters == NULL || event->machine == NULL ? NULL :
		es_upcast_chain_of(replay->upcasters, event);
	ErrorData  *error;

	if (chain == NULL || es_upcast_first(chain, DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION])) == NULL)
		return find_problem(event, before, is_known);
	error = es_attempt(read_event, &reading, es_error_is_answer);
	if (error == NULL)
		return find_problem(&reading.event, before, is_known);
	return is_corrected ? NULL : psprintf("an upcaster fails: %s", es_error_clip(error->message));
}

static void
read_event(void *arg)
{
	Reading    *reading = arg;

	es_reading_upcast(reading->upcasters, &reading->event);
}

static void
put_problem(Replay *replay, const EsEvent *event, const char *problem)
{
	Datum		values[PROBLEM_COLUMNS] = {
		event->value[ES_EVENT_STREAM],
		event->value[ES_EVENT_VERSION],
		event->value[ES_EVENT_POSITION],
		CStringGetTextDatum(problem)
	};
	bool		nulls[PROBLEM_COLUMNS] = {0};

	tuplestore_putvalues(replay->rsinfo->setResult, replay->rsinfo->setDesc, values, nulls);
}

/*
 * What is wrong with an event after state "before", or NULL.  is_known: the
 * history before it was seen (it may have been pruned).
 */
static char *
find_problem(const EsEvent *event, const text *before, bool is_known)
{
	const text *from = es_event_text(event, ES_EVENT_FROM_STATE);
	const text *to = es_event_text(event, ES_EVENT_TO_STATE);
	EsMachine  *machine;

	if (event->machine == NULL)
	{
		/*
		 * A captured row may be deleted, a creation voided: the stream left
		 * the machine.
		 */
		if (to != NULL || (from != NULL && (event->flags & ES_EVENT_CAPTURED) == 0 &&
						   !es_event_is_correction(event)))
			return pstrdup("has a state, but names no state machine");
		if (from == NULL)
			return NULL;
	}
	else if (to == NULL)
		return pstrdup("names a state machine, but has no state");
	if (is_known && !es_text_same(before, from))
		return say_broken(from, before);
	/* What a tombstone's guards looked at is gone. */
	if (event->machine == NULL || (event->flags & ES_EVENT_ERASED) != 0)
		return NULL;
	machine = es_machine_named(event->machine);
	if (machine == NULL)
		return psprintf("names state machine \"%s\", which is not defined",
						text_to_cstring(event->machine));
	return es_machine_is_passed(machine, event) ? judge_passage(machine, event) : judge_event(machine, event);
}

/*
 * A row that was there before may enter any state, a correction may lead back to
 * one; else an event that the machine does not know leaves the state alone.
 */
static char *
judge_passage(EsMachine *machine, const EsEvent *event)
{
	const text *from = es_event_text(event, ES_EVENT_FROM_STATE);
	const text *to = es_event_text(event, ES_EVENT_TO_STATE);

	if ((event->flags & ES_EVENT_VIOLATION) != 0)
		return psprintf("step from %s to %s was recorded as a violation of state machine \"%s\"",
						show(from), show(to), text_to_cstring(machine->label));
	if (es_words_find(&machine->states, to) < 0)
		return psprintf("state %s is unknown to state machine \"%s\"", show(to),
						text_to_cstring(machine->label));
	if (!es_machine_is_entered(event) && !es_event_is_correction(event) && !es_text_same(from, to))
		return psprintf("type is unknown to state machine \"%s\", and the state changes from %s to %s",
						text_to_cstring(machine->label), show(from), show(to));
	return NULL;
}

/* Does an edge of the machine allow the event as it was recorded? */
static char *
judge_event(EsMachine *machine, const EsEvent *event)
{
	const text *from = es_event_text(event, ES_EVENT_FROM_STATE);
	int			state = from == NULL ? es_machine_start(machine) : es_words_find(&machine->states, from);
	int			type = es_words_find(&machine->types, es_event_text(event, ES_EVENT_TYPE));
	EsBinding	binding = {.event = event,.state = es_machine_stands(machine, from)};
	EsEdge	   *edge;
	const char *rejecting = NULL;

	if (type < 0)
		return psprintf("type is unknown to state machine \"%s\"", text_to_cstring(machine->label));
	if (from != NULL && state < 0)
		return psprintf("state %s is unknown to state machine \"%s\"", show(from),
						text_to_cstring(machine->label));
	for (edge = es_machine_candidates(machine, state, type); edge != NULL; edge = edge->next)
	{
		if (!edge_allows(machine, edge, state, event))
			continue;
		if (es_machine_guards_hold(machine, edge, &binding))
			return NULL;
		rejecting = edge->path;
	}
	if (rejecting != NULL)
		return psprintf("a guard of %s in state machine \"%s\" does not hold", rejecting,
						text_to_cstring(machine->label));
	return psprintf("step from %s to %s is not allowed by state machine \"%s\"", show(from),
					show(es_event_text(event, ES_EVENT_TO_STATE)), text_to_cstring(machine->label));
}

/* Target and reason, as recorded. */
static bool
edge_allows(const EsMachine *machine, const EsEdge *edge, int from, const EsEvent *event)
{
	int			target = edge->target >= 0 ? edge->target : from >= 0 ? from : machine->initial;
	const text *reason = es_event_text(event, ES_EVENT_REASON);

	if (!es_text_same(machine->states.word[target], es_event_text(event, ES_EVENT_TO_STATE)))
		return false;
	if (reason == NULL)
		return edge->reason != ES_REASON_RULE_REQUIRED;
	return es_machine_takes_reason(machine, edge, reason);
}

/* The state in memory that lasts. */
static const text *
remember(Replay *replay, const text *state)
{
	MemoryContext caller;
	int			number;

	if (state == NULL)
		return NULL;
	caller = MemoryContextSwitchTo(replay->states);
	number = es_words_add(&replay->seen, VARDATA_ANY(state), VARSIZE_ANY_EXHDR(state));
	MemoryContextSwitchTo(caller);
	return replay->seen.word[number];
}

static char *
say_broken(const text *from, const text *before)
{
	return psprintf("starts from state %s, but the stream was in state %s", show(from), show(before));
}

static const char *
show(const text *state)
{
	return state == NULL ? "(none)" : psprintf("\"%s\"", text_to_cstring(state));
}
