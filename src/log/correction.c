/*
 * correction.c
 *		Corrections, and events as corrected.
 *
 * A correction is an event in the log; the table eventsource.correction is the
 * index of them.  Of several corrections of one event the last one counts.
 *
 * A correction may change the state in which the corrected event, and events
 * after it that leave the state alone, leave their stream: a run of positions
 * with one state.  The run of a later correction hides those of earlier ones; on
 * loading they are laid side by side, so that looking one up is a binary search.
 *
 * Memory: a few words per correction.  Corrected data is read from the log when
 * its event comes by.
 */
#include "log/correction.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "fmgr.h"
#include "lib/binaryheap.h"
#include "log/catalog.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/rights.h"
#include "log/stream.h"
#include "log/word.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

enum
{
	COL_POSITION = 1,
	COL_CORRECTS,
	COL_STREAM,
	COL_UPTO,
	COL_RECORDED_AT,
	COL_STATE,
	COL_IS_VOID,
	COL_COUNT = COL_IS_VOID
};

/* Events from start on, below end, leave their stream in this state. */
typedef struct Run
{
	int64		start;
	int64		end;
	int32		state;
} Run;

/* The corrections of one stream, by corrected event, the one that counts last. */
typedef struct StreamCorrections
{
	int64		stream_id;		/* hash key */
	EsCorrection *corrections;
	int			count;
	Run		   *runs;			/* in order, none overlapping */
	int			nruns;
} StreamCorrections;

/* Which corrections are wanted. */
typedef struct Extent
{
	int64		stream_id;		/* of this stream, 0: of all */
	TimestampTz known_at;		/* recorded then, at the latest */
	int64		after;
	int64		upto;
} Extent;

PG_FUNCTION_INFO_V1(eventsource_corrected_state);

struct EsCorrections
{
	Snapshot	snapshot;
	TransactionId xmin;			/* of the snapshot, with its command: what */
	TransactionId xmax;			/* tells it from others of this query */
	CommandId	curcid;
	MemoryContext data_context; /* of the data replaced last */
	const EsUpcasters *upcasters;	/* NULL: there are none */
	Oid			reader;			/* who sees personal fields, if he may */
	MemoryContext upcast_context;	/* of what was made of the data last */
	HTAB	   *streams;		/* NULL: there are none */
};

static EsCorrections *load(const Extent *extent, Snapshot snapshot);
static EsCorrection *read_all(const Extent *extent, Snapshot snapshot, int *count);
static void read_row(Relation rel, HeapTuple row, EsCorrection *correction);
static void add_stream(HTAB *streams, EsCorrection *corrections, int count);
static void lay_runs(StreamCorrections *stream);
static void add_run(StreamCorrections *stream, int64 start, int64 end, int32 state);
static int	compare_corrections(const void *a, const void *b);
static int	compare_positions(const void *a, const void *b);
static int	compare_recency(Datum a, Datum b, void *arg);
static const StreamCorrections *find_stream(const EsCorrections *corrections, int64 stream_id);
static const EsCorrection *find_correction(const StreamCorrections *stream, int64 position);
static const Run *run_before(const StreamCorrections *stream, int64 position);
static const Run *run_after(const StreamCorrections *stream, int64 position);
static const Run *last_run(const StreamCorrections *stream, int64 position);
static bool is_loaded_by(const EsCorrections *corrections, Snapshot snapshot);
static void set_state(EsEvent *event, EsEventColumn column, int32 state);
static void make_readable(const EsCorrections *corrections, EsEvent *event);
static void replace_data(const EsCorrections *corrections, const EsCorrection *by, EsEvent *event);

/*
 * corrected_state(stream bigint, event_position bigint, state integer, is_before boolean)
 *
 * Called for every row of a view: what it loads lasts for the query.
 */
Datum
eventsource_corrected_state(PG_FUNCTION_ARGS)
{
	const EsCorrections *all = fcinfo->flinfo->fn_extra;
	const StreamCorrections *stream;
	const Run  *run;

	if (!es_rights_reads_word(ES_STREAM_CATEGORY(PG_GETARG_INT64(0))))
		PG_RETURN_INT32(PG_GETARG_INT32(2));
	if (all == NULL || !is_loaded_by(all, GetActiveSnapshot()))
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		all = fcinfo->flinfo->fn_extra = es_corrections_load(DT_NOEND, GetActiveSnapshot());
		MemoryContextSwitchTo(caller);
	}
	stream = find_stream(all, PG_GETARG_INT64(0));
	run = stream == NULL ? NULL : PG_GETARG_BOOL(3) ? run_before(stream, PG_GETARG_INT64(1)) :
		run_after(stream, PG_GETARG_INT64(1));
	PG_RETURN_INT32(run == NULL ? PG_GETARG_INT32(2) : run->state);
}

EsCorrections *
es_corrections_load(TimestampTz known_at, Snapshot snapshot)
{
	Extent		extent = {.known_at = known_at,.upto = PG_INT64_MAX};

	return load(&extent, snapshot);
}

EsCorrections *
es_corrections_load_stream(int64 stream_id, TimestampTz known_at, Snapshot snapshot)
{
	Extent		extent = {.stream_id = stream_id,.known_at = known_at,.upto = PG_INT64_MAX};

	return load(&extent, snapshot);
}

EsCorrections *
es_corrections_load_upto(int64 upto, Snapshot snapshot)
{
	Extent		extent = {.known_at = DT_NOEND,.upto = upto};

	return load(&extent, snapshot);
}

EsCorrections *
es_corrections_load_stream_upto(int64 stream_id, int64 upto, Snapshot snapshot)
{
	Extent		extent = {.stream_id = stream_id,.known_at = DT_NOEND,.upto = upto};

	return load(&extent, snapshot);
}

EsCorrections *
es_corrections_load_between(int64 after, int64 upto, Snapshot snapshot)
{
	Extent		extent = {.known_at = DT_NOEND,.after = after,.upto = upto};

	return load(&extent, snapshot);
}

void
es_corrections_visit(int64 after, int64 upto, Snapshot snapshot, EsCorrectionVisit visit, void *arg)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_CORRECTION), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_CORRECTION_PKEY), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	row;
	EsCorrection correction;

	ScanKeyInit(&keys[0], COL_POSITION, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	ScanKeyInit(&keys[1], COL_POSITION, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(upto));
	scan = systable_beginscan_ordered(rel, index, snapshot, 2, keys);
	while ((row = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		read_row(rel, row, &correction);
		if (!visit(&correction, arg))
			break;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/* What an event should have said was said under its own version. */
bool
es_corrections_apply(const EsCorrections *corrections, EsEvent *event)
{
	if (!es_corrections_apply_stored(corrections, event))
		return false;
	if (event->vault != 0 || (corrections->upcasters != NULL && !event->is_upcast))
		make_readable(corrections, event);
	return true;
}

bool
es_corrections_apply_stored(const EsCorrections *corrections, EsEvent *event)
{
	const StreamCorrections *stream = find_stream(corrections, event->stream_id);
	const EsCorrection *correction;
	const Run  *run;
	int64		position;

	if (stream == NULL)
		return es_event_counts(event);
	position = DatumGetInt64(event->value[ES_EVENT_POSITION]);

	run = run_before(stream, position);
	if (run != NULL)
		set_state(event, ES_EVENT_FROM_STATE, run->state);
	run = run_after(stream, position);
	if (run != NULL)
		set_state(event, ES_EVENT_TO_STATE, run->state);

	if (!es_event_counts(event))
		return false;
	correction = find_correction(stream, position);
	if (correction == NULL)
		return true;
	if (correction->is_void)
		return false;
	replace_data(corrections, correction, event);
	return true;
}

void
es_corrections_show(EsCorrections *corrections, Oid reader)
{
	corrections->reader = reader;
}

const EsCorrection *
es_corrections_find(const EsCorrections *corrections, int64 stream_id, int64 position)
{
	const StreamCorrections *stream = find_stream(corrections, stream_id);

	return stream == NULL ? NULL : find_correction(stream, position);
}

bool
es_corrections_touch(const EsCorrections *corrections, int64 stream_id)
{
	return find_stream(corrections, stream_id) != NULL;
}

void
es_correction_insert(const EsCorrection *correction)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_CORRECTION), RowExclusiveLock);
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};

	values[COL_POSITION - 1] = Int64GetDatum(correction->position);
	values[COL_CORRECTS - 1] = Int64GetDatum(correction->corrects);
	values[COL_STREAM - 1] = Int64GetDatum(correction->stream_id);
	values[COL_UPTO - 1] = Int64GetDatum(correction->upto);
	values[COL_RECORDED_AT - 1] = TimestampTzGetDatum(correction->recorded_at);
	values[COL_STATE - 1] = Int32GetDatum(correction->state);
	values[COL_IS_VOID - 1] = BoolGetDatum(correction->is_void);
	es_catalog_insert(rel, values, nulls);
	table_close(rel, NoLock);
}

/* ---- loading ---- */

static EsCorrections *
load(const Extent *extent, Snapshot snapshot)
{
	EsCorrections *result = palloc0(sizeof(EsCorrections));
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(StreamCorrections)};
	int			count;
	EsCorrection *all = read_all(extent, snapshot, &count);

	result->snapshot = snapshot;
	result->xmin = snapshot->xmin;
	result->xmax = snapshot->xmax;
	result->curcid = snapshot->curcid;
	result->upcasters = es_reading_begin();
	result->reader = ES_READER_ITSELF;
	result->upcast_context = AllocSetContextCreate(CurrentMemoryContext, "eventsource upcast data",
												   ALLOCSET_SMALL_SIZES);
	if (count == 0)
		return result;
	ctl.hcxt = CurrentMemoryContext;
	result->streams = hash_create("eventsource corrections", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	result->data_context = AllocSetContextCreate(CurrentMemoryContext, "eventsource corrected data",
												 ALLOCSET_SMALL_SIZES);
	qsort(all, count, sizeof(EsCorrection), compare_corrections);
	for (int first = 0, next; first < count; first = next)
	{
		for (next = first + 1; next < count && all[next].stream_id == all[first].stream_id;)
			next++;
		add_stream(result->streams, &all[first], next - first);
	}
	return result;
}

static EsCorrection *
read_all(const Extent *extent, Snapshot snapshot, int *count)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_CORRECTION), AccessShareLock);
	bool		by_stream = extent->stream_id != 0;
	bool		by_index = by_stream || extent->after > 0;
	EsCorrection *all = NULL;
	int			max = 0;
	Oid			index;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	*count = 0;
	if (by_stream)
		ScanKeyInit(&key, COL_STREAM, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(extent->stream_id));
	else
		ScanKeyInit(&key, COL_POSITION, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(extent->after));
	index = es_catalog_oid(by_stream ? ES_REL_CORRECTION_STREAM_IDX : ES_REL_CORRECTION_PKEY);
	scan = systable_beginscan(rel, index, by_index, snapshot, by_index ? 1 : 0, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		EsCorrection correction;

		read_row(rel, row, &correction);
		if (correction.recorded_at > extent->known_at || correction.position <= extent->after ||
			correction.position > extent->upto)
			continue;
		if (*count == max)
		{
			max = Max(16, max * 2);
			all = all == NULL ? palloc(sizeof(EsCorrection) * max) :
				repalloc_huge(all, sizeof(EsCorrection) * max);
		}
		all[(*count)++] = correction;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return all;
}

static void
read_row(Relation rel, HeapTuple row, EsCorrection *correction)
{
	Datum		v[COL_COUNT];
	bool		nulls[COL_COUNT];

	heap_deform_tuple(row, RelationGetDescr(rel), v, nulls);
	correction->position = DatumGetInt64(v[COL_POSITION - 1]);
	correction->corrects = DatumGetInt64(v[COL_CORRECTS - 1]);
	correction->stream_id = DatumGetInt64(v[COL_STREAM - 1]);
	correction->upto = DatumGetInt64(v[COL_UPTO - 1]);
	correction->recorded_at = DatumGetTimestampTz(v[COL_RECORDED_AT - 1]);
	correction->state = DatumGetInt32(v[COL_STATE - 1]);
	correction->is_void = DatumGetBool(v[COL_IS_VOID - 1]);
}

static void
add_stream(HTAB *streams, EsCorrection *corrections, int count)
{
	StreamCorrections *stream = hash_search(streams, &corrections[0].stream_id, HASH_ENTER, NULL);

	stream->corrections = corrections;
	stream->count = count;
	stream->runs = palloc(sizeof(Run) * 2 * count);
	stream->nruns = 0;
	lay_runs(stream);
}

/*
 * Cuts the runs where others begin or end: of those that hold between two
 * neighbouring cuts the latest correction's counts.
 */
static void
lay_runs(StreamCorrections *stream)
{
	int64	   *cuts = palloc(sizeof(int64) * 2 * stream->count);
	binaryheap *open = binaryheap_allocate(stream->count, compare_recency, NULL);
	int			ncuts = 0;
	int			next = 0;

	for (int i = 0; i < stream->count; i++)
	{
		cuts[ncuts++] = stream->corrections[i].corrects;
		cuts[ncuts++] = stream->corrections[i].upto;
	}
	qsort(cuts, ncuts, sizeof(int64), compare_positions);
	for (int i = 0; i + 1 < ncuts; i++)
	{
		EsCorrection *latest;

		for (; next < stream->count && stream->corrections[next].corrects <= cuts[i]; next++)
			binaryheap_add(open, PointerGetDatum(&stream->corrections[next]));
		while (!binaryheap_empty(open))
		{
			latest = (EsCorrection *) DatumGetPointer(binaryheap_first(open));
			if (latest->upto > cuts[i])
			{
				add_run(stream, cuts[i], cuts[i + 1], latest->state);
				break;
			}
			(void) binaryheap_remove_first(open);
		}
	}
	binaryheap_free(open);
	pfree(cuts);
}

static void
add_run(StreamCorrections *stream, int64 start, int64 end, int32 state)
{
	if (start == end)
		return;
	stream->runs[stream->nruns++] = (Run)
	{
		start, end, state
	};
}

static int
compare_corrections(const void *a, const void *b)
{
	const EsCorrection *x = a;
	const EsCorrection *y = b;

	if (x->stream_id != y->stream_id)
		return x->stream_id < y->stream_id ? -1 : 1;
	if (x->corrects != y->corrects)
		return x->corrects < y->corrects ? -1 : 1;
	return x->position < y->position ? -1 : x->position > y->position;
}

static int
compare_positions(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

static int
compare_recency(Datum a, Datum b, void *arg)
{
	int64		x = ((EsCorrection *) DatumGetPointer(a))->position;
	int64		y = ((EsCorrection *) DatumGetPointer(b))->position;

	return x < y ? -1 : x > y;
}

static bool
is_loaded_by(const EsCorrections *corrections, Snapshot snapshot)
{
	return corrections->xmin == snapshot->xmin && corrections->xmax == snapshot->xmax &&
		corrections->curcid == snapshot->curcid;
}

/* ---- looking up ---- */

static const StreamCorrections *
find_stream(const EsCorrections *corrections, int64 stream_id)
{
	if (corrections->streams == NULL)
		return NULL;
	return hash_search(corrections->streams, &stream_id, HASH_FIND, NULL);
}

/* The last one of those that correct the event. */
static const EsCorrection *
find_correction(const StreamCorrections *stream, int64 position)
{
	int			low = 0;
	int			high = stream->count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (stream->corrections[middle].corrects <= position)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || stream->corrections[low - 1].corrects != position)
		return NULL;
	return &stream->corrections[low - 1];
}

/* The run that an event starts from, or NULL: it began earlier, and may end here. */
static const Run *
run_before(const StreamCorrections *stream, int64 position)
{
	const Run  *run = last_run(stream, position - 1);

	return run != NULL && position <= run->end ? run : NULL;
}

/* The run that an event is left in, or NULL. */
static const Run *
run_after(const StreamCorrections *stream, int64 position)
{
	const Run  *run = last_run(stream, position);

	return run != NULL && position < run->end ? run : NULL;
}

/* The last run that starts at a position or before, or NULL. */
static const Run *
last_run(const StreamCorrections *stream, int64 position)
{
	int			low = 0;
	int			high = stream->nruns;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (stream->runs[middle].start <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &stream->runs[low - 1] : NULL;
}

static void
set_state(EsEvent *event, EsEventColumn column, int32 state)
{
	const text *word = es_word_text(state);

	event->value[column] = PointerGetDatum(word);
	event->isnull[column] = word == NULL;
}

/* The correction carries the data that the event should have had. */
static void
replace_data(const EsCorrections *corrections, const EsCorrection *by, EsEvent *event)
{
	EsScan	   *scan;
	EsEvent		correction;
	MemoryContext caller;

	MemoryContextReset(corrections->data_context);
	caller = MemoryContextSwitchTo(corrections->data_context);
	scan = es_scan_whole_log(by->position - 1, by->position, corrections->snapshot);
	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (!es_scan_next(scan, &correction))
		elog(ERROR, "correction at position " INT64_FORMAT " is not in the log", by->position);
	event->value[ES_EVENT_DATA] = datumCopy(correction.value[ES_EVENT_DATA], false, -1);
	event->value[ES_EVENT_SUBJECT] = datumCopy(correction.value[ES_EVENT_SUBJECT], false, -1);
	event->is_upcast = false;
	event->vault = correction.vault;
	event->personal = NULL;
	es_scan_end(scan);
	MemoryContextSwitchTo(caller);
}

static void
make_readable(const EsCorrections *corrections, EsEvent *event)
{
	MemoryContext caller;

	MemoryContextReset(corrections->upcast_context);
	caller = MemoryContextSwitchTo(corrections->upcast_context);
	es_reading_restore(event, corrections->reader, corrections->snapshot);
	es_reading_upcast(corrections->upcasters, event);
	MemoryContextSwitchTo(caller);
}
