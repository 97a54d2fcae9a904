/*
 * archive_survey.c
 *		What is written down of segments: what full ones hold, by category,
 *		found once, as nothing is written into them any more, and again when events
 *		went; what was seen when they were last looked at for what has expired; and
 *		which are archived or pruned (eventsource.archive).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "log/catalog.h"
#include "log/json.h"
#include "miscadmin.h"
#include "trust/archive.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define FACT_COLUMNS		7	/* lower_bound, category, events,
								 * first_recorded_at, last_recorded_at,
								 * looked_at, held_up */
#define FACTS_FOUND			5
#define ARCHIVE_COLUMNS		6	/* lower_bound, events, pruned, digest,
								 * archived_at, pruned_at */

static List *read_facts(const EsSegment *segment);
static void find_facts(void *arg);
static SysScanDesc begin_scan(Relation rel, const EsSegment *segment, const int32 *category);

typedef struct Survey
{
	const EsSegment *segment;
	Oid			table;			/* its own, or what takes its place */
} Survey;

List *
es_archive_survey(EsArchiveRun *run, const EsSegment *segment)
{
	List	   *facts = read_facts(segment);
	Survey		survey = {segment, segment->table};

	if (facts != NIL)
		return facts;
	es_catalog_as_owner(find_facts, &survey);
	facts = read_facts(segment);
	run->has_surveyed |= facts != NIL;
	return facts;
}

void
es_archive_survey_anew(const EsSegment *segment, Oid table)
{
	Survey		survey = {segment, table};

	es_archive_forget_survey(segment);
	es_catalog_as_owner(find_facts, &survey);
}

static void
write_fact(Relation rel, const EsSegment *segment, const EsSegmentFact *fact)
{
	Datum		values[FACT_COLUMNS] = {Int64GetDatum(segment->lower), Int32GetDatum(fact->category),
		Int64GetDatum(fact->events), TimestampTzGetDatum(fact->first_recorded_at),
	TimestampTzGetDatum(fact->last_recorded_at)};
	bool		nulls[FACT_COLUMNS] = {[FACTS_FOUND] = true, true};

	es_catalog_insert(rel, values, nulls);
}

/* In SQL, since a large segment is better gone through by several. */
static void
find_facts(void *arg)
{
	Survey	   *survey = arg;
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT_CATEGORY), RowExclusiveLock);
	char	   *query = psprintf("SELECT (stream >> 40)::pg_catalog.int4, pg_catalog.count(*),"
								 " pg_catalog.min(recorded_at), pg_catalog.max(recorded_at) FROM %s.%s GROUP BY 1",
								 ES_SCHEMA, quote_identifier(get_rel_name(survey->table)));

	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[FACTS_FOUND];
		bool		isnull;
		EsSegmentFact fact = {0};

		for (int k = 1; k < FACTS_FOUND; k++)
			values[k] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, k, &isnull);
		fact.category = DatumGetInt32(values[1]);
		fact.events = DatumGetInt64(values[2]);
		fact.first_recorded_at = DatumGetTimestampTz(values[3]);
		fact.last_recorded_at = DatumGetTimestampTz(values[4]);
		write_fact(rel, survey->segment, &fact);
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static EsSegmentFact *
find_fact(List *facts, int32 category)
{
	ListCell   *lc;

	foreach(lc, facts)
		if (((EsSegmentFact *) lfirst(lc))->category == category)
		return lfirst(lc);
	return NULL;
}

/* It is looked through for what has expired soon enough: that is not joined. */
void
es_archive_join_surveys(const EsSegment *members, int count)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT_CATEGORY), RowExclusiveLock);
	List	   *joined = NIL;
	ListCell   *lc;

	for (int i = 0; i < count; i++)
	{
		foreach(lc, read_facts(&members[i]))
		{
			EsSegmentFact *fact = lfirst(lc);
			EsSegmentFact *all = find_fact(joined, fact->category);

			if (all == NULL)
			{
				joined = lappend(joined, fact);
				continue;
			}
			all->events += fact->events;
			all->first_recorded_at = Min(all->first_recorded_at, fact->first_recorded_at);
			all->last_recorded_at = Max(all->last_recorded_at, fact->last_recorded_at);
		}
		es_archive_forget_survey(&members[i]);
	}
	foreach(lc, joined)
		write_fact(rel, &members[0], lfirst(lc));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* The rows of a segment, or of one category in it. */
static SysScanDesc
begin_scan(Relation rel, const EsSegment *segment, const int32 *category)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(segment->lower));
	if (category != NULL)
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(*category));
	return systable_beginscan(rel, es_catalog_oid(ES_REL_SEGMENT_CATEGORY_PKEY), true, SnapshotSelf,
							  category == NULL ? 1 : 2, keys);
}

static List *
read_facts(const EsSegment *segment)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT_CATEGORY), AccessShareLock);
	List	   *facts = NIL;
	SysScanDesc scan = begin_scan(rel, segment, NULL);
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		EsSegmentFact *fact = palloc0(sizeof(EsSegmentFact));
		Datum		values[FACT_COLUMNS];
		bool		nulls[FACT_COLUMNS];

		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		fact->category = DatumGetInt32(values[1]);
		fact->events = DatumGetInt64(values[2]);
		fact->first_recorded_at = DatumGetTimestampTz(values[3]);
		fact->last_recorded_at = DatumGetTimestampTz(values[4]);
		fact->is_held_up = !nulls[6];
		fact->looked_at = nulls[5] ? 0 : DatumGetTimestampTz(values[5]);
		facts = lappend(facts, fact);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return facts;
}

void
es_archive_forget_survey(const EsSegment *segment)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT_CATEGORY), RowExclusiveLock);
	SysScanDesc scan = begin_scan(rel, segment, NULL);
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
		es_catalog_delete(rel, row);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static Datum
form_held_up(const List *held_up)
{
	JsonbParseState *state = NULL;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, held_up)
	{
		const EsHeldUp *held = lfirst(lc);
		char		since[MAXDATELEN + 1];
		int			utc = 0;

		JsonEncodeDateTime(since, TimestampTzGetDatum(held->since), TIMESTAMPTZOID, &utc);
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		es_json_push_string(&state, "who", held->who);
		es_json_push_number(&state, "events", held->events);
		es_json_push_string(&state, "since", pstrdup(since));
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

void
es_archive_note_look(const EsArchiveRun *run, const EsSegment *segment, const EsSegmentFact *fact)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_SEGMENT_CATEGORY), RowExclusiveLock);
	SysScanDesc scan = begin_scan(rel, segment, &fact->category);
	HeapTuple	row = systable_getnext(scan);

	/* None: all of the category has gone. */
	if (HeapTupleIsValid(row))
	{
		Datum		values[FACT_COLUMNS];
		bool		nulls[FACT_COLUMNS];

		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		values[5] = TimestampTzGetDatum(run->now);
		nulls[5] = false;
		nulls[6] = fact->held_up == NIL;
		values[6] = nulls[6] ? (Datum) 0 : form_held_up(fact->held_up);
		es_catalog_update(rel, row, values, nulls);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* ---- eventsource.archive ---- */

bool
es_archive_read(const EsSegment *segment, EsArchived *archived)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ARCHIVE), AccessShareLock);
	HeapTuple	row = es_catalog_find(rel, ES_REL_ARCHIVE_PKEY, segment->lower, SnapshotSelf);
	Datum		values[ARCHIVE_COLUMNS];
	bool		nulls[ARCHIVE_COLUMNS];

	memset(archived, 0, sizeof(*archived));
	if (row != NULL)
	{
		bytea	   *digest;

		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		archived->events = DatumGetInt64(values[1]);
		archived->pruned = DatumGetInt64(values[2]);
		digest = DatumGetByteaPP(values[3]);
		memcpy(archived->digest, VARDATA_ANY(digest), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(digest)));
		archived->archived_at = nulls[4] ? 0 : DatumGetTimestampTz(values[4]);
		archived->pruned_at = nulls[5] ? 0 : DatumGetTimestampTz(values[5]);
	}
	table_close(rel, AccessShareLock);
	return row != NULL;
}

void
es_archive_write(const EsSegment *segment, const EsArchived *archived)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ARCHIVE), RowExclusiveLock);
	HeapTuple	old = es_catalog_find(rel, ES_REL_ARCHIVE_PKEY, segment->lower, SnapshotSelf);
	bytea	   *digest = palloc(VARHDRSZ + ES_HASH_SIZE);
	Datum		values[ARCHIVE_COLUMNS] = {Int64GetDatum(segment->lower), Int64GetDatum(archived->events),
		Int64GetDatum(archived->pruned), PointerGetDatum(digest), TimestampTzGetDatum(archived->archived_at),
	TimestampTzGetDatum(archived->pruned_at)};
	bool		nulls[ARCHIVE_COLUMNS] = {false, false, false, false, archived->archived_at == 0,
	archived->pruned_at == 0};

	SET_VARSIZE(digest, VARHDRSZ + ES_HASH_SIZE);
	memcpy(VARDATA(digest), archived->digest, ES_HASH_SIZE);
	if (old == NULL)
		es_catalog_insert(rel, values, nulls);
	else
		es_catalog_update(rel, old, values, nulls);
	table_close(rel, NoLock);
}

void
es_archive_forget(const EsSegment *segment)
{
	Relation	rel = table_open(es_catalog_oid(ES_REL_ARCHIVE), RowExclusiveLock);
	HeapTuple	row = es_catalog_find(rel, ES_REL_ARCHIVE_PKEY, segment->lower, SnapshotSelf);

	if (row != NULL)
		es_catalog_delete(rel, row);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}
