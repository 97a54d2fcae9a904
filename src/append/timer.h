/*
 * timer.h
 *		Timeouts of state machines, as jobs of the queue $timeout: scheduled when a stream
 *		enters a state that has some, cancelled when it leaves.
 */
#ifndef ES_APPEND_TIMER_H
#define ES_APPEND_TIMER_H

#include "append/hall.h"
#include "rules/machine.h"

/* The timeout that an event ends. */
typedef struct EsTimedOut
{
	int64		job;			/* which is not cancelled, whatever state the
								 * event leads to: its caller finishes it */
	const Jsonb *late_states;	/* as in EsVisit */
} EsTimedOut;

/* Notes what an event that was decided does to the timeouts of its stream. */
extern void es_timer_note(EsBatch *batch, const EsMachine *machine, const EsDraft *draft,
						  const EsEvent *event);

/* Writes what was noted, in one statement. */
extern void es_timer_write(EsBatch *batch);

/* A visit of a stream to a state. */
typedef struct EsVisit
{
	const text *stream;
	const text *subject;
	const text *state;
	int64		version;		/* of the event that entered it */
	int64		position;
	TimestampTz entered;		/* on occurred_at */
	const EsMachine *machine;	/* by which it was entered, or is scheduled */
	const EsMachine *known_to;	/* what this one has, too, is left out; or
								 * NULL */
	List	   *happened;		/* char *: timeouts that happened in it
								 * already */
	const Jsonb *late;			/* array of states that timeouts led through
								 * which were late; NULL: none did */
} EsVisit;

/* Why a timeout ended whose state was left first. */
#define ES_TIMER_LEFT		"the stream has left the state"

/* A member of the metadata of the event that a timeout made: which one it was. */
#define ES_TIMER_HAPPENED	"timeout"

/* The timeout that an event was made by, palloc'd; NULL: it was made by none. */
extern char *es_timer_happened(const EsEvent *event);

/* Members of a job's payload. */
#define ES_TIMER_STATE		"state"
#define ES_TIMER_VERSION	"entered_version"
#define ES_TIMER_AFTER		"after"
#define ES_TIMER_DUE		"due"
#define ES_TIMER_MACHINE	"machine"
#define ES_TIMER_LATE		"late_states"

/*
 * Schedules the timeouts of visits, and before it cancels those of streams (text *).
 * Those that are scheduled already stay as they are; so do, with unless_done, those that
 * have been, as far as their jobs are not forgotten.  Returns how many are new.  One job (or 0) is spared.
 */
extern int64 es_timer_schedule(List *visits, List *cancelled, int64 spared, bool unless_done);

#endif							/* ES_APPEND_TIMER_H */
