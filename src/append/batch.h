/*
 * batch.h
 *		What a batch holds, for the hall alone.
 */
#ifndef ES_APPEND_BATCH_H
#define ES_APPEND_BATCH_H

#include "append/hall.h"
#include "log/stream.h"
#include "log/writer.h"
#include "project/fold.h"
#include "utils/hsearch.h"

/* A stream that the batch has appended to, with its head as the batch left it. */
typedef struct BatchStream
{
	int64		id;				/* key */
	EsStream	stream;
	EsHead		head;
	const text *name;			/* to leave the head under, or NULL */
	bool		is_noted;		/* its version, for who looks for the head
								 * next */
} BatchStream;

struct EsBatch
{
	MemoryContext context;
	MemoryContext event_context;	/* reset by each flush */
	EsEvent    *events;			/* decided, not written */
	int			n_events;
	int			max_events;
	Size		bytes;
	HTAB	   *streams;		/* BatchStream by id; made by the second event */
	BatchStream last;			/* stream of the last event */
	int			n_named;		/* streams whose heads are to be left */
	EsRoster   *roster;
	EsWriter   *writer;
	EsFold	   *fold;
	HeapTuple	blank_row;		/* or NULL */
	HTAB	   *timers;			/* timer.c's notes; NULL: none */
	int64		timed_out;		/* job of the timeout that the batch ends, or
								 * 0 */
	bool		step_enters;	/* the machine's step last decided names a
								 * state */
	bool		has_definition;
	bool		has_personal;	/* fields to be written */
	List	   *milestones;		/* text *: streams of which a snapshot is due */
	bool		is_of_statement;
	bool		is_import;		/* most reactions let its events be */
	struct EsFollowing *following;	/* what reactions do once the events are
									 * written; or NULL */
	SubTransactionId subid;		/* began in this (sub)transaction */
};

/* The result of the event that has the draft's idempotency key; false: none has. */
extern bool es_batch_find_duplicate(EsBatch *batch, const EsDraft *draft, EsAppended *result);

/* Writes the events; what reactions do is left for es_batch_flush(). */
extern void es_batch_write(EsBatch *batch);

/* A snapshot of the stream is due once its events are written. */
extern void es_batch_note_milestone(EsBatch *batch, const text *stream);

/* Before any lock is taken that the opening worker could wait for. */
extern void es_hall_open_log(void);

/* Locks streams in the order that every batch follows; list of text *. */
extern void es_batch_lock_streams(const List *names);

/*
 * What a draft would be as the first event of its stream, before it is placed and the machine
 * asked: as far as this is known without the stream.  Errors as the draft's own.
 */
extern void es_hall_preview(const EsDraft *draft, EsEvent *event);

#endif							/* ES_APPEND_BATCH_H */
