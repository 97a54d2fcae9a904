/*
 * hall.h
 *		The hall: the one path by which events enter the log.
 */
#ifndef ES_APPEND_HALL_H
#define ES_APPEND_HALL_H

#include "eventsource.h"
#include "log/erased.h"
#include "log/stream.h"
#include "rules/pii.h"

#include "access/htup.h"
#include "access/tupdesc.h"

#define ES_ANY_VERSION	(-1)

/* What the rules do with a draft; append()'s callers have no say in this. */
typedef enum EsPassage
{
	ES_PASSAGE_STEP,			/* the category's machine decides */
	ES_PASSAGE_STAY,			/* outside the machine: the state stays */
	ES_PASSAGE_ENTER			/* to_state is entered, from whatever state;
								 * NULL: the stream leaves the machine, and
								 * starts anew with its next event */
} EsPassage;

/* What a caller wants to append.  Pointers may be NULL for the default. */
typedef struct EsDraft
{
	const text *stream;
	const text *type;
	Jsonb	   *data;
	const text *reason;
	const text *actor;
	Jsonb	   *metadata;
	int64		expected_version;	/* ES_ANY_VERSION, or 0 and up */
	bool		has_occurred_at;
	TimestampTz occurred_at;
	const text *idempotency_key;
	bool		has_own_key;	/* the key may begin as those of the database
								 * do: append/draft.h */
	int32		schema_version; /* 0: default */
	bool		is_definition;	/* may go to $config */
	bool		is_own;			/* the log's own: may go to other categories
								 * that begin with $, past all rules */
	int			flags;			/* ES_EVENT_*, but HAS_KEY */
	EsPassage	passage;
	const text *to_state;		/* for ES_PASSAGE_ENTER; for STEP, where it
								 * must lead (NULL: anywhere) */
	bool		is_caused;		/* by the database itself: settings of the
								 * session say nothing */
	bool		records_violation;	/* STEP: what the rules forbid is recorded */
	const text *subject;		/* NULL: as the category says */
	EsErasedMode erased_as;		/* the subject was, when what is said of it
								 * was read */
	const EsPii *pii;			/* personal fields, besides those of the type */
	const EsPersonal *like;		/* likewise, where these are */
	EsPersonal *personal;		/* those that data lacks, already cut out */
	const struct EsTimedOut *timed_out; /* the timeout that it ends, or NULL:
										 * append/timer.h */
} EsDraft;

typedef struct EsAppended
{
	int64		position;
	const text *stream;
	int64		version;
	const text *state;			/* or NULL */
	bool		is_duplicate;
} EsAppended;

/*
 * A batch of events on their way: decided one by one, written together.  Every
 * append goes through one, of a single event or of many.
 */
typedef struct EsBatch EsBatch;

extern EsBatch *es_batch_begin(void);

/* Of what happened long ago, or elsewhere: reactions come of it only where they say so. */
extern EsBatch *es_batch_begin_import(void);

/*
 * Locks the streams of all drafts, in an order that every batch follows, and with them
 * those that reactions will append to, as far as the drafts tell.
 */
extern void es_batch_lock(const EsDraft *drafts, int count);

/* The same for who appends a single event: its stream alone needs no call. */
extern void es_batch_lock_ahead(const EsDraft *draft);

/*
 * Decides one event: everything but its rows is done when this returns, and
 * the result stands unless the (sub)transaction rolls back.
 */
extern void es_batch_add(EsBatch *batch, const EsDraft *draft, EsAppended *result);

/*
 * What runs while a batch is at work (a guard, a rule, a CHECK, whatever makes
 * the next draft) may be anybody's code, and must not append or look at heads.
 * Whoever enters leaves in PG_FINALLY.
 */
extern void es_hall_enter(void);
extern void es_hall_leave(void);
extern void es_hall_refuse_nested(void);

/* Locks a stream, and tells how it stands in the batch (version 0: not yet). */
extern void es_batch_enter(EsBatch *batch, const text *stream, EsHead *head);

/* The event added last; it lasts until the batch is written. */
extern const EsEvent *es_batch_last_event(const EsBatch *batch);

/* A row of nulls that lasts as long as the batch. */
extern HeapTuple es_batch_blank_row(EsBatch *batch, TupleDesc desc);

/* Whether enough waits to be written. */
extern bool es_batch_is_full(const EsBatch *batch);

/* Writes what is decided, and then does what follows from it by reactions. */
extern void es_batch_flush(EsBatch *batch);
extern void es_batch_end(EsBatch *batch);

/*
 * The batch of the INSERT or COPY into the view that is running; begun if there
 * is none.  It is written by es_batch_settle(), at the latest at the end of the
 * statement.
 */
extern EsBatch *es_batch_of_statement(void);

/* Writes what a running statement holds back; before anyone looks at heads. */
extern void es_batch_settle(void);

/*
 * Who takes snapshots: called with a stream whose snapshot is due, when its
 * events are written.  Must not append, nor fail.
 */
extern void es_batch_on_milestone(void (*take) (const text *stream));

extern void es_batch_init(void);

/* view_trigger.c */
extern void es_view_init(void);

#endif							/* ES_APPEND_HALL_H */
