/*
 * read.c
 *		Reading events in order, segment by segment, as EsEvent.
 *
 * The log's parent is never planned over: a scan visits the segments that can
 * hold what it looks for, one after the other, by the index that has the order.
 * A segment's table is locked ACCESS SHARE while the scan is in it; the lock
 * stays to the end of the transaction, like any reader's.
 *
 * Segments may be merged before the scan gets there: then it looks anew for what holds
 * the rest.
 *
 * By position rows come in batches (gather.c), of a stream one by one.
 *
 * Memory: a scan lives in the context it was started in; each event in its batch
 * or in a context of the scan's that the next event resets.
 */
#include "log/read.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "log/event.h"
#include "log/gather.h"
#include "log/reading.h"
#include "log/rights.h"
#include "log/segment.h"
#include "log/stream.h"
#include "log/word.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_VERDICTS	64

/* Whether events of a category (word id) are wanted; ids are few. */
typedef struct CategoryVerdict
{
	int32		category;
	bool		wanted;
} CategoryVerdict;

/* A segment to visit. */
typedef struct Stop
{
	EsSegment	segment;
	int64		first_version;	/* of the stream in it, for the scan of one */
} Stop;

struct EsScan
{
	MemoryContext context;
	MemoryContext event_context;
	Snapshot	snapshot;
	Snapshot	seen;			/* what it sees is left out; NULL: nothing */
	Stop	   *stops;			/* in order of the scan */
	int			n_stops;
	int			next_stop;

	bool		by_position;
	bool		backward;
	EsStream	stream;
	int64		from;			/* version, or position to start after */
	int64		upto;			/* position */

	bool		whole;			/* no filter on categories */
	List	   *categories;
	CategoryVerdict *verdicts;
	int			n_verdicts;
	int32	   *category_ids;	/* NULL: not looked for yet */
	int			n_category_ids;

	int64		expected;		/* events that may still be asked for */
	uint32		part;			/* of so many parts of the streams */
	uint32		parts;			/* 0: all streams are wanted */
	bool		packed;
	bool		as_stored;		/* data is not upcast */
	bool		has_begun;		/* upcasters were looked for */
	const EsUpcasters *upcasters;
	Oid			reader;			/* whom personal fields are shown or masked */
	bool		nameless;		/* names of streams are not asked for */
	const text *subject;		/* NULL: events about anybody */
	int64		subject_stream;

	/* The segment that is open: one of the two scans, or none. */
	Relation	rel;
	Relation	index;
	SysScanDesc scan;
	EsGather   *gather;

	HeapTuple	row;			/* of the event returned last */
	TransactionId xmin;			/* likewise */
	bool		xmin_hinted;	/* its commit is known to be flushed */
};

static EsScan *
new_scan(Snapshot snapshot)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource scan",
												  ALLOCSET_SMALL_SIZES);
	EsScan	   *scan = MemoryContextAllocZero(context, sizeof(EsScan));

	scan->context = context;
	scan->event_context = AllocSetContextCreate(context, "eventsource scan event",
												ALLOCSET_DEFAULT_SIZES);
	scan->snapshot = snapshot;
	scan->expected = PG_INT64_MAX;
	scan->reader = GetUserId();
	return scan;
}

void
es_scan_expect(EsScan *scan, int64 count)
{
	scan->expected = count;
}

void
es_scan_pack(EsScan *scan)
{
	scan->packed = true;
}

void
es_scan_as_stored(EsScan *scan)
{
	scan->as_stored = true;
}

/* Of a limited reader: the categories that he reads, and none of $config. */
void
es_scan_for_reader(EsScan *scan)
{
	Assert(scan->by_position && scan->categories == NIL);
	if (es_rights_reads_all())
		return;
	scan->whole = false;
	scan->categories = es_rights_categories();
	if (scan->verdicts == NULL)
		scan->verdicts = MemoryContextAlloc(scan->context, MAX_VERDICTS * sizeof(CategoryVerdict));
	if (scan->categories == NIL)
		scan->n_stops = 0;
}

void
es_scan_show(EsScan *scan, Oid reader)
{
	scan->reader = reader;
}

void
es_scan_spare_names(EsScan *scan)
{
	scan->nameless = true;
}

void
es_scan_about(EsScan *scan, const text *subject, int64 stream_id)
{
	Assert(scan->by_position && scan->whole);
	scan->subject = subject;
	scan->subject_stream = stream_id;
}

void
es_scan_take_part(EsScan *scan, uint32 part, uint32 parts)
{
	Assert(scan->by_position && !scan->whole);
	scan->part = part;
	scan->parts = parts;
}

void
es_scan_leave_out(EsScan *scan, Snapshot seen)
{
	scan->seen = seen;
}

HeapTuple
es_scan_row(const EsScan *scan)
{
	return scan->row;
}

static void
find_positions(EsScan *scan)
{
	int			count;
	const EsSegment *all = es_segment_upto(scan->upto, &count);

	scan->stops = MemoryContextAlloc(scan->context, Max(count, 1) * sizeof(Stop));
	scan->n_stops = scan->next_stop = 0;
	for (int i = 0; i < count; i++)
		if (all[i].upper - 1 > scan->from && all[i].lower <= scan->upto)
			scan->stops[scan->n_stops++].segment = all[i];
}

static EsScan *
scan_positions(int64 after, int64 upto, Snapshot snapshot)
{
	EsScan	   *scan = new_scan(snapshot);

	scan->by_position = true;
	scan->from = after;
	scan->upto = upto;
	find_positions(scan);
	return scan;
}

EsScan *
es_scan_log(int64 after, int64 upto, List *categories, Snapshot snapshot)
{
	EsScan	   *scan = scan_positions(after, upto, snapshot);

	scan->categories = categories;
	scan->verdicts = MemoryContextAlloc(scan->context, MAX_VERDICTS * sizeof(CategoryVerdict));
	return scan;
}

EsScan *
es_scan_whole_log(int64 after, int64 upto, Snapshot snapshot)
{
	EsScan	   *scan = scan_positions(after, upto, snapshot);

	scan->whole = true;
	return scan;
}

/* Parts of the stream that are in one segment, merged since they began, are one stop. */
static void
add_part(EsScan *scan, const EsStreamPart *part)
{
	const EsSegment *segment = es_segment_at(part->first_position);
	Stop	   *last = scan->n_stops == 0 ? NULL : &scan->stops[scan->n_stops - 1];

	if (segment == NULL)
		return;
	if (last != NULL && last->segment.lower == segment->lower)
	{
		last->first_version = Min(last->first_version, part->first_version);
		return;
	}
	scan->stops[scan->n_stops].segment = *segment;
	scan->stops[scan->n_stops++].first_version = part->first_version;
}

static void
find_parts(EsScan *scan)
{
	List	   *parts = es_stream_parts(&scan->stream, scan->snapshot);
	int			n_parts = list_length(parts);

	scan->stops = MemoryContextAlloc(scan->context, n_parts * sizeof(Stop));
	scan->n_stops = scan->next_stop = 0;
	for (int k = 0; k < n_parts; k++)
	{
		int			i = scan->backward ? n_parts - 1 - k : k;
		EsStreamPart *part = list_nth(parts, i);
		bool		is_last = i == n_parts - 1;

		if (scan->backward ? part->first_version <= scan->from :
			is_last || ((EsStreamPart *) list_nth(parts, i + 1))->first_version > scan->from)
			add_part(scan, part);
	}
	list_free_deep(parts);
}

EsScan *
es_scan_stream(const text *name, int64 from_version, bool backward, Snapshot snapshot)
{
	EsScan	   *scan = new_scan(snapshot);

	scan->backward = backward;
	scan->from = from_version;
	scan->whole = true;
	if (es_stream_find(name, &scan->stream))
		find_parts(scan);
	else
		es_stream_note_missing(name, snapshot);
	return scan;
}

/* What was to be visited is not that segment any more: what comes, anew. */
static void
find_rest(EsScan *scan)
{
	const Stop *stop = &scan->stops[scan->next_stop - 1];

	if (scan->by_position)
		scan->from = Max(scan->from, stop->segment.lower - 1);
	else if (!scan->backward)
		scan->from = Max(scan->from, stop->first_version);
	else if (scan->next_stop > 1)
		scan->from = Min(scan->from, stop[-1].first_version - 1);
	if (scan->by_position)
		find_positions(scan);
	else
		find_parts(scan);
}

static bool
decide_category(EsScan *scan, int32 category)
{
	ListCell   *lc;

	if (scan->categories == NIL)
		return !es_word_is(category, ES_CONFIG_CATEGORY);
	foreach(lc, scan->categories)
	{
		if (es_word_is(category, lfirst(lc)))
			return true;
	}
	return false;
}

/* Of an EsScan. */
static bool
is_wanted(void *arg, HeapTuple row, bool may_look_up)
{
	EsScan	   *scan = arg;
	int64		stream_id = es_event_stream_id(row);
	int32		category = ES_STREAM_CATEGORY(stream_id);
	bool		wanted;

	if (scan->parts > 1 && es_stream_part(stream_id, scan->parts) != scan->part)
		return false;
	for (int i = 0; i < scan->n_verdicts; i++)
		if (scan->verdicts[i].category == category)
			return scan->verdicts[i].wanted;
	if (!may_look_up)
		return true;
	wanted = decide_category(scan, category);
	if (scan->n_verdicts == MAX_VERDICTS)
		scan->n_verdicts = 0;
	scan->verdicts[scan->n_verdicts].category = category;
	scan->verdicts[scan->n_verdicts++].wanted = wanted;
	return wanted;
}

/* Likewise.  A tombstone stays about whom its event was. */
static bool
is_about(void *arg, HeapTuple row, bool may_look_up)
{
	EsScan	   *scan = arg;

	return es_event_is_about(row, scan->subject, scan->subject_stream, may_look_up);
}

/* A word may have several ids. */
static void
find_category_ids(EsScan *scan)
{
	ListCell   *lc;

	scan->category_ids = palloc(sizeof(int32));
	foreach(lc, scan->categories)
	{
		int			n;
		int32	   *ids = es_word_all_ids(lfirst(lc), &n);

		scan->category_ids = repalloc(scan->category_ids, (scan->n_category_ids + n + 1) * sizeof(int32));
		memcpy(scan->category_ids + scan->n_category_ids, ids, n * sizeof(int32));
		scan->n_category_ids += n;
		pfree(ids);
	}
}

static void
close_segment(EsScan *scan)
{
	if (scan->scan == NULL && scan->gather == NULL)
		return;
	if (scan->scan != NULL)
		systable_endscan_ordered(scan->scan);
	else
		es_gather_end(scan->gather);
	scan->scan = NULL;
	scan->gather = NULL;
	index_close(scan->index, NoLock);
	table_close(scan->rel, NoLock);
}

/*
 * All events of some categories in the segment; NULL where the index of positions
 * serves as well.
 */
static EsGather *
pick_categories(EsScan *scan, const EsSegment *segment)
{
	EsPick	   *pick;

	/* Under SERIALIZABLE, what is read must be what a writer would change. */
	if (scan->categories == NIL || scan->parts > 1 || scan->expected != PG_INT64_MAX ||
		scan->from >= segment->lower || IsolationIsSerializable())
		return NULL;
	if (scan->category_ids == NULL)
		find_category_ids(scan);
	pick = es_pick_begin(segment, scan->rel, scan->snapshot, scan->upto,
						 scan->category_ids, scan->n_category_ids);
	return pick == NULL ? NULL : es_gather_begin_picked(scan->rel, scan->snapshot, pick);
}

static EsGather *
gather_positions(EsScan *scan)
{
	EsGatherFilter filter = scan->subject != NULL ? is_about : scan->whole ? NULL : is_wanted;

	return es_gather_begin(scan->rel, scan->index, scan->snapshot, scan->from, scan->upto,
						   scan->expected, filter, scan);
}

/* False: it is not that segment any more. */
static bool
open_segment(EsScan *scan, const EsSegment *segment)
{
	scan->rel = es_segment_open(segment, AccessShareLock);
	if (scan->rel == NULL)
		return false;
	scan->index = es_event_open_index(scan->rel, scan->by_position ? ES_INDEX_POSITION : ES_INDEX_STREAM,
									  AccessShareLock);
	if (scan->by_position)
	{
		scan->gather = pick_categories(scan, segment);
		if (scan->gather == NULL)
			scan->gather = gather_positions(scan);
		if (scan->nameless)
			es_gather_spare_names(scan->gather);
	}
	else
	{
		ScanKeyData keys[2];

		es_event_key_stream(&keys[0], scan->stream.id);
		es_event_key_version(&keys[1],
							 scan->backward ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber,
							 scan->from);
		scan->scan = systable_beginscan_ordered(scan->rel, scan->index, scan->snapshot, 2, keys);
	}
	return true;
}

/* The current context is the scan's, since indexes keep things in it. */
static HeapTuple
next_row(EsScan *scan)
{
	for (;;)
	{
		HeapTuple	row;

		CHECK_FOR_INTERRUPTS();
		if (scan->gather != NULL)
			row = es_gather_next(scan->gather);
		else if (scan->scan != NULL)
			row = systable_getnext_ordered(scan->scan,
										   scan->backward ? BackwardScanDirection : ForwardScanDirection);
		else if (scan->next_stop < scan->n_stops)
		{
			if (!open_segment(scan, &scan->stops[scan->next_stop++].segment))
				find_rest(scan);
			continue;
		}
		else
			return NULL;
		if (HeapTupleIsValid(row))
			return row;
		close_segment(scan);
	}
}

/*
 * Is a row, visible to the scan, also to the snapshot that saw before?  What is
 * frozen is, as nothing that an open snapshot does not see can be frozen.
 */
static bool
was_seen(const EsScan *scan, HeapTuple row)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(row->t_data);

	return !TransactionIdIsNormal(xmin) || TransactionIdIsCurrentTransactionId(xmin) ||
		!XidInMVCCSnapshot(xmin, scan->seen);
}

HeapTuple
es_scan_next_tuple(EsScan *scan)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->context);
	HeapTuple	row;

	do
	{
		row = next_row(scan);
	} while (row != NULL && scan->seen != NULL && was_seen(scan, row));
	MemoryContextSwitchTo(caller);
	if (row == NULL)
		return NULL;
	scan->row = row;
	scan->xmin = HeapTupleHeaderGetXmin(row->t_data);
	scan->xmin_hinted = HeapTupleHeaderXminCommitted(row->t_data);
	return row;
}

bool
es_scan_next(EsScan *scan, EsEvent *event)
{
	HeapTuple	row = es_scan_next_tuple(scan);
	MemoryContext caller;

	if (row == NULL)
		return false;
	if (!scan->has_begun && !scan->as_stored)
		scan->upcasters = es_reading_begin();
	scan->has_begun = true;
	MemoryContextReset(scan->event_context);
	caller = MemoryContextSwitchTo(scan->event_context);
	es_event_deform(row, scan->packed, event);
	if (event->vault != 0 && !scan->as_stored)
		es_reading_restore(event, scan->reader, scan->snapshot);
	if (scan->upcasters != NULL)
		es_reading_upcast(scan->upcasters, event);
	MemoryContextSwitchTo(caller);
	if (scan->expected != PG_INT64_MAX)
		scan->expected--;
	return true;
}

XLogRecPtr
es_scan_commit_lsn(const EsScan *scan)
{
	if (scan->xmin_hinted || !TransactionIdIsNormal(scan->xmin) ||
		TransactionIdIsCurrentTransactionId(scan->xmin))
		return InvalidXLogRecPtr;
	return TransactionIdGetCommitLSN(scan->xmin);
}

void
es_scan_end(EsScan *scan)
{
	close_segment(scan);
	MemoryContextDelete(scan->context);
}
