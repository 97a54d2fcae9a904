/*
 * archive_summary.c
 *		What is written down of events before they are archived or go: a digest of a
 *		segment, and a summary for each subject.
 *
 * The summary of a segment is written once and never changed; the view
 * eventsource.event_summaries adds up those of all segments.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "log/catalog.h"
#include "log/chain_check.h"
#include "log/event.h"
#include "log/read.h"
#include "log/rows.h"
#include "log/word.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "trust/archive.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define SUMMARY_COLUMNS		9
#define ROWS_AT_ONCE		1000

/* ---- digests ---- */

static pg_cryptohash_ctx *
begin_digest(EsArchived *archived)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (pg_cryptohash_init(ctx) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	archived->events = 0;
	return ctx;
}

static void
digest_row(pg_cryptohash_ctx *ctx, HeapTuple row, EsArchived *archived)
{
	uint64		position = pg_hton64((uint64) es_event_position(row));
	uint8		hash[ES_HASH_SIZE];

	es_event_hash(row, hash);
	if (pg_cryptohash_update(ctx, (const uint8 *) &position, sizeof(position)) < 0 ||
		pg_cryptohash_update(ctx, hash, sizeof(hash)) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	archived->events++;
}

static void
end_digest(pg_cryptohash_ctx *ctx, EsArchived *archived)
{
	if (pg_cryptohash_final(ctx, archived->digest, ES_HASH_SIZE) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
}

static void
check_event(EsChainCheck *check, const EsEvent *event)
{
	EsChainVerdict verdict;

	es_chain_check_event(check, event, &verdict);
	if (!verdict.follows || !verdict.matches)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a segment of the log does not verify"),
				 errdetail("Version " INT64_FORMAT " of stream \"%s\", position " INT64_FORMAT ", is not what it was.",
						   DatumGetInt64(event->value[ES_EVENT_VERSION]),
						   text_to_cstring(es_event_text(event, ES_EVENT_STREAM)),
						   DatumGetInt64(event->value[ES_EVENT_POSITION])),
				 errhint("Nothing is archived or taken away before it does: see eventsource.verify_log().")));
}

void
es_archive_digest(const EsArchiveRun *run, const EsSegment *segment, EsArchived *archived)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource digest", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	EsChainCheck *check = es_chain_check_begin(es_final_snapshot(run->final));
	MemoryContext per_event = AllocSetContextCreate(work, "eventsource digest event", ALLOCSET_DEFAULT_SIZES);
	EsScan	   *scan = es_scan_whole_log(segment->lower - 1, segment->upper - 1,
										 es_final_snapshot(run->final));
	pg_cryptohash_ctx *ctx = begin_digest(archived);
	EsEvent		event;

	es_scan_as_stored(scan);
	MemoryContextSwitchTo(per_event);
	while (es_scan_next(scan, &event))
	{
		digest_row(ctx, es_scan_row(scan), archived);
		check_event(check, &event);
		MemoryContextReset(per_event);
	}
	es_scan_end(scan);
	end_digest(ctx, archived);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

void
es_archive_digest_table(const EsArchiveRun *run, Oid table, EsArchived *archived)
{
	Relation	rel = table_open(table, AccessShareLock);
	Relation	index = es_event_open_index(rel, ES_INDEX_POSITION, AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, index, es_final_snapshot(run->final), 0, NULL);
	pg_cryptohash_ctx *ctx = begin_digest(archived);
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		CHECK_FOR_INTERRUPTS();
		digest_row(ctx, row, archived);
	}
	end_digest(ctx, archived);
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/* ---- summaries ---- */

typedef struct Summary
{
	const EsSegment *segment;
	ArrayType  *categories;		/* words */
	ArrayType  *kept[4];		/* consent types: categories, types; audit
								 * types */
	int64		expected;		/* events */
	int64		summarised;
	EsRows		rows;
} Summary;

typedef struct Words
{
	Datum	   *ids;
	int			count;
	int			max;
} Words;

static void
add_word(Words *words, int32 id)
{
	if (words->count == words->max)
	{
		words->max = Max(16, words->max * 2);
		words->ids = words->ids == NULL ? palloc(words->max * sizeof(Datum)) :
			repalloc(words->ids, words->max * sizeof(Datum));
	}
	words->ids[words->count++] = Int32GetDatum(id);
}

static ArrayType *
make_array(const Words *words)
{
	return construct_array(words->ids, words->count, INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

/* Pairs of category and type. */
static void
add_types(Words *categories, Words *types, int32 category, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		int			count;
		int32	   *ids = es_word_all_ids(lfirst(lc), &count);

		for (int i = 0; i < count; i++)
		{
			add_word(categories, category);
			add_word(types, ids[i]);
		}
	}
}

/* Of the segment, or of one that became part of it. */
static bool
has_summary(const EsSegment *segment, int32 category)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SUMMARY), AccessShareLock);
	Relation	index = index_open(es_catalog_oid(ES_REL_SUMMARY_PKEY), AccessShareLock);
	int64		lower = segment->lower;
	bool		found = false;
	bool		any = true;

	/* From one lower bound to the next that has summaries. */
	while (any && !found)
	{
		ScanKeyData keys[2];
		SysScanDesc scan;
		HeapTuple	row;
		bool		isnull;

		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(lower));
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(category));
		scan = systable_beginscan_ordered(rel, index, SnapshotSelf, 2, keys);
		found = HeapTupleIsValid(systable_getnext_ordered(scan, ForwardScanDirection));
		systable_endscan_ordered(scan);
		ScanKeyInit(&keys[0], 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(lower));
		ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(segment->upper));
		scan = systable_beginscan_ordered(rel, index, SnapshotSelf, 2, keys);
		row = systable_getnext_ordered(scan, ForwardScanDirection);
		any = HeapTupleIsValid(row);
		if (any)
			lower = DatumGetInt64(heap_getattr(row, 1, RelationGetDescr(rel), &isnull));
		systable_endscan_ordered(scan);
	}
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * $1 categories; $2, $3 pairs of category and type that consent_history is made of;
 * $4, $5 those of gdpr_audit_trail.
 */
static const char *const summary_query =
"WITH e AS (SELECT (v.stream >> 40)::int4 AS category, v.position, s.name AS stream, v.version,"
" CASE v.subject WHEN '' THEN s.name ELSE v.subject END AS subject,"
" v.type AS type_id, w.word AS type, v.actor, v.reason, v.data,"
" eventsource.occurred_at(v.recorded_at, v.extra) AS occurred_at"
" FROM eventsource.%s v JOIN eventsource.stream s ON s.id = v.stream"
" JOIN eventsource.word w ON w.id = v.type"
" WHERE (v.stream >> 40)::int4 = ANY ($1)),"
" counted AS (SELECT category, subject, sum(n)::int8 AS total, jsonb_object_agg(type, n) AS types,"
" min(first) AS first, max(last) AS last"
" FROM (SELECT category, subject, type, count(*) AS n, min(occurred_at) AS first,"
" max(occurred_at) AS last FROM e GROUP BY category, subject, type) t GROUP BY category, subject),"
" entries AS (SELECT e.category, e.subject, e.position,"
" (e.category, e.type_id) IN (SELECT * FROM unnest($2, $3)) AS is_consent,"
" (e.category, e.type_id) IN (SELECT * FROM unnest($4, $5)) AS is_audit,"
" jsonb_build_object('position', e.position, 'stream', e.stream, 'version', e.version,"
" 'type', e.type, 'occurred_at', e.occurred_at, 'actor', a.word, 'reason', r.word,"
" 'data', e.data) AS entry"
" FROM e LEFT JOIN eventsource.word a ON a.id = e.actor"
" LEFT JOIN eventsource.word r ON r.id = e.reason"
" WHERE (e.category, e.type_id) IN (SELECT * FROM unnest($2 || $4, $3 || $5))),"
" kept AS (SELECT category, subject,"
" jsonb_agg(entry ORDER BY position) FILTER (WHERE is_consent) AS consent,"
" jsonb_agg(entry ORDER BY position) FILTER (WHERE is_audit) AS audit"
" FROM entries GROUP BY category, subject)"
" SELECT c.category, c.subject, c.total, c.types, c.first, c.last,"
" coalesce(k.consent, '[]'), coalesce(k.audit, '[]')"
" FROM counted c LEFT JOIN kept k USING (category, subject)";

static void
put_summaries(Summary *summary, SPITupleTable *table, uint64 count)
{
	TupleTableSlot **slots = es_rows_slots(&summary->rows, (int) count);

	for (uint64 i = 0; i < count; i++)
	{
		TupleTableSlot *slot = slots[i];

		ExecClearTuple(slot);
		slot->tts_values[0] = Int64GetDatum(summary->segment->lower);
		slot->tts_isnull[0] = false;
		for (int k = 1; k < SUMMARY_COLUMNS; k++)
			slot->tts_values[k] = SPI_getbinval(table->vals[i], table->tupdesc, k, &slot->tts_isnull[k]);
		summary->summarised += DatumGetInt64(slot->tts_values[3]);
		ExecStoreVirtualTuple(slot);
	}
	es_rows_insert(&summary->rows, (int) count, -1, NULL);
}

static void
summarise_as_owner(void *arg)
{
	Summary    *summary = arg;
	Oid			types[5] = {INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID};
	Datum		values[5] = {PointerGetDatum(summary->categories)};
	char	   *query = psprintf(summary_query, quote_identifier(get_rel_name(summary->segment->table)));
	Portal		portal;

	for (int i = 0; i < 4; i++)
		values[i + 1] = PointerGetDatum(summary->kept[i]);
	es_rows_open(&summary->rows, es_catalog_oid(ES_REL_SUMMARY));
	/* Times in the entries are spelled the same, whoever runs it. */
	(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	portal = SPI_cursor_open_with_args(NULL, query, 5, types, values, NULL, true, 0);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
		if (SPI_processed == 0)
			break;
		put_summaries(summary, SPI_tuptable, SPI_processed);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	es_rows_close(&summary->rows);
}

void
es_archive_summarise(EsArchiveRun *run, const EsSegment *segment)
{
	Summary		summary = {.segment = segment};
	Words		categories = {0};
	Words		kept[4] = {{0}};
	ListCell   *lc;

	foreach(lc, es_archive_survey(run, segment))
	{
		const EsSegmentFact *fact = lfirst(lc);
		const EsRetention *retention = es_archive_retention(run, fact->category);

		if (retention == NULL || has_summary(segment, fact->category))
			continue;
		add_word(&categories, fact->category);
		add_types(&kept[0], &kept[1], fact->category, es_retention_now(retention)->consent_types);
		add_types(&kept[2], &kept[3], fact->category, es_retention_now(retention)->audit_types);
		summary.expected += fact->events;
	}
	if (categories.count == 0)
		return;
	summary.categories = make_array(&categories);
	for (int i = 0; i < 4; i++)
		summary.kept[i] = make_array(&kept[i]);
	es_catalog_as_owner(summarise_as_owner, &summary);
	CommandCounterIncrement();
	if (summary.summarised != summary.expected)
		elog(ERROR, "summaries of the segment at position " INT64_FORMAT " count " INT64_FORMAT " events, not " INT64_FORMAT,
			 segment->lower, summary.summarised, summary.expected);
}
