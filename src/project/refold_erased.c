/*
 * refold_erased.c
 *		Rows of projections when a subject is erased.
 *
 * Which rows the subject's events touched is asked before anything is taken away,
 * as their data tells the keys; and again afterwards, as what personal fields were
 * replaced with may make other keys.  Then these rows are folded anew from what is
 * left and written where they differ, in the erasing transaction: inline projections
 * from all of history, those in mode async up to where they have come.
 *
 * Locks: the subject's streams are locked, and followers kept out; tables, then keys
 * of rows that streams share; to the end of the transaction.
 *
 * Memory: keys and rows, those of a stream apart from others.
 */
#include "postgres.h"

#include "access/xact.h"
#include "log/catalog.h"
#include "log/correction.h"
#include "log/read.h"
#include "log/stream.h"
#include "log/word.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/personal_columns.h"
#include "project/refold.h"
#include "project/refold_erased.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* Rows of one projection: all that streams share, or those of one stream. */
typedef struct Share
{
	EsProjection *projection;
	const text *stream;			/* NULL: shared */
	int64		stream_id;
	int64		upto;			/* to be folded */
	EsRefold   *rows;
} Share;

typedef struct Erasure
{
	const EsErasing *erasing;
	List	   *shares;
} Erasure;

static void *prepare(const EsErasing *erasing);
static int64 erase(const EsErasing *erasing, void *state);
static bool may_hold(const EsErasing *erasing, const Share *share);
static void open_inline(Erasure *erasure);
static void open_async(Erasure *erasure);
static void add_projection(Erasure *erasure, EsProjection *projection, int64 upto);
static void note_stream(Erasure *erasure, int64 stream_id);
static void note_all(Erasure *erasure);

void
es_refold_erased_init(void)
{
	static const EsEraser eraser = {"projection rows", prepare, erase};

	es_eraser_register(&eraser);
}

static void *
prepare(const EsErasing *erasing)
{
	Erasure    *erasure = palloc0(sizeof(Erasure));

	erasure->erasing = erasing;
	open_async(erasure);
	open_inline(erasure);
	if (erasure->shares == NIL)
		return NULL;
	note_all(erasure);
	return erasure;
}

static int64
erase(const EsErasing *erasing, void *state)
{
	Erasure    *erasure = state;
	EsRefoldHistory history = {0};
	List	   *inline_rows = NIL;
	int64		written = 0;
	ListCell   *lc;

	note_all(erasure);
	foreach(lc, erasure->shares)
	{
		Share	   *share = lfirst(lc);

		if (!share->projection->is_async)
			inline_rows = lappend(inline_rows, share->rows);
	}
	es_refold_lock_all(inline_rows);
	CommandCounterIncrement();
	history.snapshot = RegisterSnapshot(GetLatestSnapshot());
	foreach(lc, erasure->shares)
	{
		Share	   *share = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		history.stream = share->stream;
		history.upto = history.corrected_upto = share->upto;
		if (may_hold(erasing, share))
			es_erasing_touch(erasing, share->projection->target->relid);
		written += es_refold_write_from(share->rows, &history);
		CommandCounterIncrement();
	}
	UnregisterSnapshot(history.snapshot);
	return written;
}

/*
 * Did a row ever hold what goes?  That it stays as it is says nothing: its old
 * versions are in the table's file, those of a softer erasure among them.
 */
static bool
may_hold(const EsErasing *erasing, const Share *share)
{
	EsPersonalColumns personal;

	if (es_refold_is_empty(share->rows))
		return false;
	if (es_erasing_is_hard(erasing))
		return true;
	es_personal_columns_find(share->projection, &personal);
	return personal.reads;
}

/* ---- which projections ---- */

/* Categories of the streams, each once. */
static List *
find_categories(const EsErasing *erasing)
{
	List	   *categories = NIL;
	int32		last = 0;

	for (int i = 0; i < erasing->n_streams; i++)
	{
		int32		category = ES_STREAM_CATEGORY(erasing->streams[i]);

		if (category != last)
			categories = lappend(categories, unconstify(text *, es_word_text(category)));
		last = category;
	}
	return categories;
}

/* A table may change until its lock is ours: its projection is looked up then. */
static void
open_inline(Erasure *erasure)
{
	List	   *categories = find_categories(erasure->erasing);
	List	   *projections = NIL;
	ListCell   *lc;

	for (int pass = 0; pass < 2; pass++)
	{
		uint64		generation = es_config_generation();

		projections = NIL;
		foreach(lc, categories)
			projections = list_concat_unique_ptr(projections, es_projection_list(lfirst(lc)));
		foreach(lc, projections)
			LockRelationOid(((EsProjection *) lfirst(lc))->target->relid, RowExclusiveLock);
		if (generation == es_config_generation())
			break;
	}
	foreach(lc, projections)
		add_projection(erasure, lfirst(lc), PG_INT64_MAX);
}

/* One that never ran has nothing to lose, and sees what is left. */
static void
open_async(Erasure *erasure)
{
	ListCell   *lc;

	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);
		EsProjection *projection = es_projection_get(async->relid);
		bool		any = false;
		int64		upto;

		for (int i = 0; projection != NULL && !any && i < erasure->erasing->n_streams; i++)
			any = es_projection_is_of(projection, erasure->erasing->streams[i]);
		if (!any)
			continue;
		upto = es_apply_position(async->name, SnapshotSelf);
		if (upto == 0)
			continue;
		add_projection(erasure, es_projection_open_to_follow(async->relid, async->name), upto);
	}
}

static void
add_share(Erasure *erasure, EsProjection *projection, int64 upto, int64 stream_id)
{
	Share	   *share = palloc0(sizeof(Share));

	share->projection = projection;
	share->upto = upto;
	share->stream_id = stream_id;
	if (stream_id != 0)
	{
		const text *name = es_stream_name(stream_id);

		share->stream = cstring_to_text_with_len(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	share->rows = es_refold_begin_one(projection);
	erasure->shares = lappend(erasure->shares, share);
}

static void
add_projection(Erasure *erasure, EsProjection *projection, int64 upto)
{
	const EsErasing *erasing = erasure->erasing;

	if (projection->sharing == ES_ROW_SHARED)
	{
		add_share(erasure, projection, upto, 0);
		return;
	}
	for (int i = 0; i < erasing->n_streams; i++)
		if (es_projection_is_of(projection, erasing->streams[i]))
			add_share(erasure, projection, upto, erasing->streams[i]);
}

/* ---- which rows ---- */

static void
note_all(Erasure *erasure)
{
	for (int i = 0; i < erasure->erasing->n_streams; i++)
		note_stream(erasure, erasure->erasing->streams[i]);
}

/* As corrected, which is what the rows are made of. */
static void
note_stream(Erasure *erasure, int64 stream_id)
{
	Snapshot	snapshot;
	EsCorrections *corrections;
	EsScan	   *scan;
	EsEvent		event;
	ListCell   *lc;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	corrections = es_corrections_load_stream(stream_id, DT_NOEND, snapshot);
	scan = es_scan_stream(es_stream_name(stream_id), 1, false, snapshot);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (es_erasing_find(erasure->erasing, DatumGetInt64(event.value[ES_EVENT_POSITION])) == NULL ||
			!es_corrections_apply(corrections, &event))
			continue;
		foreach(lc, erasure->shares)
		{
			Share	   *share = lfirst(lc);

			if (share->stream == NULL ? es_projection_is_of(share->projection, stream_id) :
				share->stream_id == stream_id)
				es_refold_note(share->rows, &event);
		}
	}
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
}
