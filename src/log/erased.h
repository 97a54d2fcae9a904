/*
 * erased.h
 *		Subjects that were erased: who appends asks here, who erases says so here.
 */
#ifndef ES_LOG_ERASED_H
#define ES_LOG_ERASED_H

#include "eventsource.h"
#include "utils/snapshot.h"

/* How, weakest first; stored as these numbers. */
typedef enum EsErasedMode
{
	ES_ERASED_NOT,
	ES_ERASED_SOFT,				/* deactivated, can be restored */
	ES_ERASED_ANONYMIZE,		/* personal fields replaced for good */
	ES_ERASED_HARD				/* personal fields and payload gone */
} EsErasedMode;

#define ES_ERASED_MODES		4

/* What happens in streams of the category $erasure. */
#define ES_ERASURE_REQUESTED	"erasure_requested"
#define ES_ERASURE_PART			"erasure_part"	/* of what the completion
												 * after it says was left */
#define ES_ERASURE_COMPLETED	"erasure_completed"
#define ES_ERASURE_REVERTED		"erasure_reverted"
#define ES_ERASURE_CLOSED		"erasure_closed"

extern const char *es_erased_mode_name(EsErasedMode mode);

/* ES_ERASED_NOT if it is none. */
extern EsErasedMode es_erased_mode_named(const char *name);

/* The stream that tells about a subject's erasures. */
extern text *es_erasure_stream(const text *subject);

/*
 * Error unless events about a subject may be recorded: ZE009 if it is erased,
 * 40001 if somebody is about to.  is_locked: the caller has locked the event's
 * stream; else it is only what he would hear.  known: he records again what is left
 * of the subject, as he saw it erased, and may as long as it is not more than so.
 */
extern void es_erased_refuse(const text *subject, bool is_locked, EsErasedMode known);

/*
 * How a subject is erased, the strongest way that a snapshot sees (SnapshotSelf
 * under its lock: as it is).
 */
extern EsErasedMode es_erased_find(const text *subject, Snapshot snapshot);

/* The same, as it is or is about to be. */
extern EsErasedMode es_erased_expect(const text *subject);

/* ---- for who erases ---- */

/* Locks the subject against other erasures, to the end of the (sub)transaction. */
extern void es_erased_lock(const text *subject);

/*
 * Marks it, and waits until no appender is left that did not see the mark: all that
 * was ever recorded about it can be seen by a snapshot taken afterwards.
 */
extern void es_erased_mark(const text *subject, EsErasedMode mode);

/* Takes a mark away; the subject is locked. */
extern void es_erased_unmark(const text *subject, EsErasedMode mode);

/*
 * The subject whose events this transaction may record for now, though it is
 * marked (NULL: none).  Returns what was said before, to be said again afterwards,
 * after an error too.
 */
extern const text *es_erased_except(const text *subject);

/* ---- for who verifies ---- */

/* Calls visit() for each mark that a snapshot sees. */
typedef void (*EsErasedVisit) (const text *subject, int mode, void *arg);
extern void es_erased_visit(Snapshot snapshot, EsErasedVisit visit, void *arg);

extern void es_erased_init(void);

#endif							/* ES_LOG_ERASED_H */
