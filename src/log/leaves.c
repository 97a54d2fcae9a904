/*
 * leaves.c
 *		The leaves of the log: its events in order of position, those that are gone
 *		among them.
 *
 * Goes segment by segment.  What is gone of a segment is looked up once its first
 * row was asked for, that is, once its table is locked: nothing can be taken out of
 * it from then on, and what was taken out before has left its hash.
 */
#include "log/leaves.h"

#include "log/event.h"
#include "log/pruned.h"
#include "log/segment.h"
#include "utils/memutils.h"

struct EsLeaves
{
	MemoryContext context;
	Snapshot	snapshot;
	int64		after;
	int64		upto;
	bool		with_events;
	EsSegment  *segments;		/* that are still to come */
	int			n_segments;

	EsScan	   *scan;			/* of the segment; NULL: none is open */
	HeapTuple	row;			/* the next one; NULL: no more */
	EsEvent		event;
	bool		was_row;		/* it was returned */
	EsPrunedScan *pruned;
	bool		has_pruned;		/* the next one */
	int64		pruned_position;
	uint8		pruned_entry[ES_HASH_SIZE];
};

static void open_segment(EsLeaves *leaves);
static void close_segment(EsLeaves *leaves);
static void next_row(EsLeaves *leaves);
static void next_pruned(EsLeaves *leaves);

EsLeaves *
es_leaves_begin(int64 after, int64 upto, bool with_events, Snapshot snapshot)
{
	EsLeaves   *leaves = palloc0(sizeof(EsLeaves));
	int			count;
	const EsSegment *all = es_segment_upto(upto, &count);

	leaves->context = CurrentMemoryContext;
	leaves->snapshot = snapshot;
	leaves->after = after;
	leaves->upto = upto;
	leaves->with_events = with_events;
	leaves->segments = palloc(Max(count, 1) * sizeof(EsSegment));
	for (int i = 0; i < count; i++)
		if (all[i].upper - 1 > after && all[i].lower <= upto)
			leaves->segments[leaves->n_segments++] = all[i];
	return leaves;
}

bool
es_leaves_next(EsLeaves *leaves, EsLeaf *leaf)
{
	/* Indexes keep things in it from one row to the next. */
	MemoryContext caller = MemoryContextSwitchTo(leaves->context);

	if (leaves->was_row)
		next_row(leaves);
	while (leaves->row == NULL && !leaves->has_pruned)
	{
		if (leaves->scan != NULL)
			close_segment(leaves);
		if (leaves->n_segments == 0)
			break;
		open_segment(leaves);
	}
	if (leaves->row == NULL && !leaves->has_pruned)
	{
		MemoryContextSwitchTo(caller);
		return false;
	}
	leaf->is_pruned = leaves->row == NULL ||
		(leaves->has_pruned && leaves->pruned_position < es_event_position(leaves->row));
	leaf->event = leaf->is_pruned || !leaves->with_events ? NULL : &leaves->event;
	if (leaf->is_pruned)
	{
		leaf->position = leaves->pruned_position;
		memcpy(leaf->entry, leaves->pruned_entry, ES_HASH_SIZE);
		next_pruned(leaves);
	}
	else
	{
		leaf->position = es_event_position(leaves->row);
		es_event_hash(leaves->row, leaf->entry);
		leaves->was_row = true;
	}
	MemoryContextSwitchTo(caller);
	return true;
}

static void
open_segment(EsLeaves *leaves)
{
	int64		after = Max(leaves->after, leaves->segments->lower - 1);
	int64		upto = Min(leaves->upto, leaves->segments->upper - 1);

	leaves->segments++;
	leaves->n_segments--;
	leaves->scan = es_scan_whole_log(after, upto, leaves->snapshot);
	if (leaves->with_events)
		es_scan_as_stored(leaves->scan);
	else
		es_scan_spare_names(leaves->scan);
	next_row(leaves);
	leaves->pruned = es_pruned_begin(after, upto);
	next_pruned(leaves);
}

static void
close_segment(EsLeaves *leaves)
{
	es_scan_end(leaves->scan);
	es_pruned_end(leaves->pruned);
	leaves->scan = NULL;
}

static void
next_row(EsLeaves *leaves)
{
	leaves->was_row = false;
	if (leaves->with_events)
		leaves->row = es_scan_next(leaves->scan, &leaves->event) ? es_scan_row(leaves->scan) : NULL;
	else
		leaves->row = es_scan_next_tuple(leaves->scan);
}

static void
next_pruned(EsLeaves *leaves)
{
	leaves->has_pruned = es_pruned_next(leaves->pruned, &leaves->pruned_position, leaves->pruned_entry);
}

const EsScan *
es_leaves_scan(const EsLeaves *leaves)
{
	return leaves->scan;
}

void
es_leaves_end(EsLeaves *leaves)
{
	if (leaves->scan != NULL)
		close_segment(leaves);
	leaves->n_segments = 0;
	leaves->row = NULL;
	leaves->has_pruned = false;
}
