/*
 * correction.h
 *		Corrections: events that say what another event of their stream should
 *		have said, or that it does not count.  Whoever folds or replays events
 *		passes each through es_corrections_apply().
 */
#ifndef ES_LOG_CORRECTION_H
#define ES_LOG_CORRECTION_H

#include "eventsource.h"
#include "utils/snapshot.h"

/* One correction, as the index eventsource.correction keeps it. */
typedef struct EsCorrection
{
	int64		position;		/* of the event that corrects */
	int64		corrects;		/* of the corrected event */
	int64		stream_id;
	int64		upto;			/* events of the stream from corrects on,
								 * below upto, leave it in "state" by this
								 * correction */
	TimestampTz recorded_at;
	int32		state;			/* word, 0: none */
	bool		is_void;
} EsCorrection;

/* The corrections known at a moment. */
typedef struct EsCorrections EsCorrections;

/*
 * Corrections of the whole log, or of one stream alone, recorded up to known_at
 * (DT_NOEND: all).  Lives in the current memory context.  The snapshot, an MVCC
 * snapshot, must stay registered as long.
 */
extern EsCorrections *es_corrections_load(TimestampTz known_at, Snapshot snapshot);
extern EsCorrections *es_corrections_load_stream(int64 stream_id, TimestampTz known_at,
												 Snapshot snapshot);

/*
 * Those at or below a position; or after one, which is all there is to know of
 * events after it.
 */
extern EsCorrections *es_corrections_load_upto(int64 upto, Snapshot snapshot);
extern EsCorrections *es_corrections_load_stream_upto(int64 stream_id, int64 upto, Snapshot snapshot);
extern EsCorrections *es_corrections_load_between(int64 after, int64 upto, Snapshot snapshot);

/*
 * Calls visit() for each correction with after < position <= upto, in order, until
 * it says false.
 */
typedef bool (*EsCorrectionVisit) (const EsCorrection *correction, void *arg);
extern void es_corrections_visit(int64 after, int64 upto, Snapshot snapshot, EsCorrectionVisit visit,
								 void *arg);

/*
 * Makes the event what it is as corrected: data, subject, from_state, to_state;
 * its personal fields are put back first, and its data is upcast then, where the scan
 * that read it did not (log/reading.h).
 * False: leave it out, it was voided or erased, or is itself a correction (its
 * states are corrected all the same).  What is replaced lasts until the next call.
 */
extern bool es_corrections_apply(const EsCorrections *corrections, EsEvent *event);

/* The same, but that no personal field is put back and nothing upcast. */
extern bool es_corrections_apply_stored(const EsCorrections *corrections, EsEvent *event);

/* Events are for this role, and not for the database itself. */
extern void es_corrections_show(EsCorrections *corrections, Oid reader);

/* The correction of an event that counts, or NULL. */
extern const EsCorrection *es_corrections_find(const EsCorrections *corrections, int64 stream_id,
											   int64 position);

/* Has anything of the stream been corrected? */
extern bool es_corrections_touch(const EsCorrections *corrections, int64 stream_id);

/* Adds one to the index; the stream is locked. */
extern void es_correction_insert(const EsCorrection *correction);

static inline bool
es_event_is_correction(const EsEvent *event)
{
	return (event->flags & (ES_EVENT_CORRECTION | ES_EVENT_VOID)) != 0;
}

/* May it do anything to a row, unless it was voided?  A tombstone has nothing left to do. */
static inline bool
es_event_counts(const EsEvent *event)
{
	return (event->flags & (ES_EVENT_CORRECTION | ES_EVENT_VOID | ES_EVENT_ERASED)) == 0;
}

#endif							/* ES_LOG_CORRECTION_H */
