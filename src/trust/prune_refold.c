/*
 * prune_refold.c
 *		Rows of projections that events touched which go: folded anew from what is left,
 *		in the transaction that takes the events away, so that they are what a replay
 *		makes.
 *
 * It is done before the segment is swapped, by leaving the events out, while nobody
 * waits for the segment.  A row of a stream is folded from that stream; rows that
 * streams share, from all of history at once.
 *
 * Locks: whoever else computes the table's rows anew, cursors of projections in mode
 * async, then SHARE ROW EXCLUSIVE on the tables, in order of their OIDs: whoever has
 * appended what folds into them has ended.  If one is not to be had within a moment,
 * it gives up (55P03), and with it what is to be taken away.
 *
 * Memory: rows of one stream, and keys and rows that streams share.
 */
#include "postgres.h"

#include "access/xact.h"
#include "log/config.h"
#include "log/correction.h"
#include "log/cursor.h"
#include "log/event.h"
#include "log/guarded.h"
#include "log/read.h"
#include "log/stream.h"
#include "log/word.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/projection.h"
#include "project/rebuild.h"
#include "project/refold.h"
#include "rules/category_list.h"
#include "storage/lmgr.h"
#include "trust/prune.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A projection that has folded events that go. */
typedef struct Share
{
	EsProjection *projection;
	int64		upto;			/* it has folded these */
	EsRefold   *shared;			/* rows that streams share; NULL: there are
								 * none */
} Share;

/* The part of a stream that goes. */
typedef struct Gone
{
	List	   *shares;
	Snapshot	snapshot;
	MemoryContext context;
	int64		stream_id;		/* 0: none */
	int64		first_version;
	int64		last_version;
	EsPrune    *prune;
} Gone;

static List *find_tables(const EsPrune *prune);
static bool reads_any(const EsDefinition *definition, const EsPrune *prune);
static void lock_first(void *arg);
static Share *open_share(Oid relid);
static void look_at_row(EsPrune *prune, HeapTuple row, void *arg);
static void end_stream(Gone *gone);
static void note_stream(const Gone *gone, const Share *share, const text *name, EsRefold *rows);
static void write_rows(const Gone *gone, const Share *share, const text *stream, EsRefold *rows);

List *
es_prune_refold(EsPrune *prune)
{
	List	   *tables = find_tables(prune);
	Gone		gone = {.prune = prune};
	ListCell   *lc;

	if (tables == NIL)
		return NIL;
	es_archive_briefly(lock_first, tables);
	foreach(lc, tables)
	{
		Share	   *share;

		es_archive_lock(lfirst_oid(lc), ShareRowExclusiveLock);
		share = open_share(lfirst_oid(lc));
		if (share != NULL)
			gone.shares = lappend(gone.shares, share);
	}
	CommandCounterIncrement();
	gone.snapshot = RegisterSnapshot(GetLatestSnapshot());
	gone.context = AllocSetContextCreate(CurrentMemoryContext, "eventsource prune rows", ALLOCSET_DEFAULT_SIZES);
	foreach(lc, prune->facts)
	{
		const EsSegmentFact *fact = lfirst(lc);

		if (fact->due > 0)
			es_prune_visit(prune, fact->category, look_at_row, &gone);
	}
	end_stream(&gone);
	foreach(lc, gone.shares)
	{
		const Share *share = lfirst(lc);

		if (share->shared != NULL)
			write_rows(&gone, share, NULL, share->shared);
	}
	MemoryContextDelete(gone.context);
	UnregisterSnapshot(gone.snapshot);
	CommandCounterIncrement();
	return tables;
}

/* ---- projections ---- */

/* In order of their OIDs. */
static List *
find_tables(const EsPrune *prune)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list("projection"))
	{
		EsDefinition *definition = lfirst(lc);
		Oid			relid;

		if (strcmp(definition->type, "projection_defined") != 0 || !reads_any(definition, prune))
			continue;
		relid = es_guarded_relid(definition->name);
		if (OidIsValid(relid))
			result = list_append_unique_oid(result, relid);
	}
	list_sort(result, list_oid_cmp);
	return result;
}

static bool
reads_any(const EsDefinition *definition, const EsPrune *prune)
{
	ListCell   *name;
	ListCell   *lc;

	foreach(name, es_category_list_read(definition->data))
		foreach(lc, prune->facts)
	{
		const EsSegmentFact *fact = lfirst(lc);

		if (fact->due > 0 && es_word_is(fact->category, lfirst(name)))
			return true;
	}
	return false;
}

/* What goes before the locks of tables. */
static void
lock_first(void *arg)
{
	List	   *tables = arg;
	ListCell   *lc;

	foreach(lc, tables)
		es_rebuild_lock(lfirst_oid(lc));
	foreach(lc, tables)
		es_apply_lock_table(lfirst_oid(lc));
}

/*
 * Under the locks; NULL: it was dropped meanwhile, or never ran.  A follower that
 * looked at the log before us must not go on by what it saw: its cursor is written,
 * where it stands, which tells it.
 */
static Share *
open_share(Oid relid)
{
	EsProjection *projection = es_projection_get(relid);
	Share	   *share;

	if (projection == NULL)
		return NULL;
	es_projection_expect_target(projection, false);
	share = palloc0(sizeof(Share));
	share->projection = projection;
	share->upto = PG_INT64_MAX;
	if (projection->is_async)
	{
		share->upto = es_apply_position(projection->name, SnapshotSelf);
		if (share->upto == 0)
			return NULL;
		es_cursor_set(es_cursor_name("projection", projection->name), share->upto);
	}
	if (projection->sharing == ES_ROW_SHARED)
		share->shared = es_refold_begin_one(projection);
	return share;
}

/* ---- rows ---- */

static bool
is_gone(void *arg, int64 position)
{
	const EsPrune *prune = arg;

	return position >= prune->segment->lower && position < prune->segment->upper &&
		es_prune_is_gone(prune, position);
}

static void
look_at_row(EsPrune *prune, HeapTuple row, void *arg)
{
	Gone	   *gone = arg;

	if (!es_prune_is_gone(prune, es_event_position(row)))
		return;
	if (gone->stream_id != es_event_stream_id(row))
	{
		end_stream(gone);
		gone->stream_id = es_event_stream_id(row);
		gone->first_version = es_event_version(row);
	}
	gone->last_version = es_event_version(row);
}

static void
end_stream(Gone *gone)
{
	MemoryContext caller;
	ListCell   *lc;

	if (gone->stream_id == 0)
		return;
	caller = MemoryContextSwitchTo(gone->context);
	foreach(lc, gone->shares)
	{
		const Share *share = lfirst(lc);
		const text *name;
		EsRefold   *rows;

		if (!es_projection_is_of(share->projection, gone->stream_id))
			continue;
		name = es_stream_name(gone->stream_id);
		name = cstring_to_text_with_len(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
		rows = share->shared != NULL ? share->shared : es_refold_begin_one(share->projection);
		note_stream(gone, share, name, rows);
		if (share->shared == NULL)
			write_rows(gone, share, name, rows);
		MemoryContextReset(gone->context);
	}
	MemoryContextSwitchTo(caller);
}

/* As the projection has folded them: as corrected up to there. */
static void
note_stream(const Gone *gone, const Share *share, const text *name, EsRefold *rows)
{
	EsCorrections *corrections = es_corrections_load_stream_upto(gone->stream_id, share->upto,
																 gone->snapshot);
	EsScan	   *scan = es_scan_stream(name, gone->first_version, false, gone->snapshot);
	EsEvent		event;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt64(event.value[ES_EVENT_VERSION]) > gone->last_version)
			break;
		if (es_corrections_apply(corrections, &event))
			es_refold_note(rows, &event);
	}
	es_scan_end(scan);
}

static void
write_rows(const Gone *gone, const Share *share, const text *stream, EsRefold *rows)
{
	EsRefoldHistory history = {.snapshot = gone->snapshot,.stream = stream,.upto = share->upto,
	.corrected_upto = share->upto,.is_gone = is_gone,.arg = gone->prune};

	(void) es_refold_write_from(rows, &history);
}
