/*
 * subject_rows.c
 *		subject_rows: rows of projections that come from the events of a subject.
 *
 * Known by the same means as an erasure knows them: the keys that the rules give the
 * subject's events, by the rules of now.  A row is the subject's own if its key is the
 * stream and all of the stream is about the subject, or if its key is the event.  One
 * that others' events may be in as well is named by its key, and not shown: it would
 * tell about them.
 *
 * Nothing is written, and no lock taken but ACCESS SHARE on the tables.
 *
 * Memory: the keys.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/correction.h"
#include "log/json.h"
#include "log/read.h"
#include "log/reading.h"
#include "log/rights.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/personal_columns.h"
#include "project/refold.h"
#include "project/subject_rows.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#define MASK			"***"

enum
{
	COL_TARGET,
	COL_KEY,
	COL_IS_SHARED,
	COL_ROW_DATA,
	COL_WITHHELD,
	COLUMNS
};

/* Rows of one projection that events of one stream are in. */
typedef struct Part
{
	EsProjection *projection;
	EsFold	   *rows;
} Part;

typedef struct Asking
{
	ReturnSetInfo *result;
	const text *subject;
	Snapshot	snapshot;
	MemoryContext work;			/* reset after each stream */
	MemoryContext scratch;
} Asking;

PG_FUNCTION_INFO_V1(eventsource_subject_rows);

static void put_stream(Asking *asking, const text *stream);
static List *open_projections(const char *category);
static bool note_events(Asking *asking, const text *stream, int64 stream_id, List *parts);
static void put_part(Asking *asking, const Part *part, bool is_mixed);

/* subject_rows(subject, streams): target, row_key, is_shared, row_data, withheld */
Datum
eventsource_subject_rows(PG_FUNCTION_ARGS)
{
	Asking		asking = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	Datum	   *streams;
	bool	   *nulls;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	asking.subject = PG_GETARG_TEXT_PP(0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &streams, &nulls, &count);
	asking.snapshot = RegisterSnapshot(GetActiveSnapshot());
	asking.work = AllocSetContextCreate(CurrentMemoryContext, "eventsource subject's rows",
										ALLOCSET_DEFAULT_SIZES);
	asking.scratch = AllocSetContextCreate(CurrentMemoryContext, "eventsource subject's event",
										   ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < count; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(asking.work);

		CHECK_FOR_INTERRUPTS();
		if (!nulls[i])
			put_stream(&asking, DatumGetTextPP(streams[i]));
		MemoryContextSwitchTo(caller);
		MemoryContextReset(asking.work);
	}
	UnregisterSnapshot(asking.snapshot);
	return (Datum) 0;
}

static void
put_stream(Asking *asking, const text *stream)
{
	char	   *category = pnstrdup(VARDATA_ANY(stream), es_stream_category_length(stream));
	List	   *parts = NIL;
	EsStream	known;
	bool		is_mixed;
	ListCell   *lc;

	if (!es_stream_find(stream, &known))
		return;
	foreach(lc, open_projections(category))
	{
		Part	   *part = palloc(sizeof(Part));

		part->projection = lfirst(lc);
		part->rows = es_fold_begin_replay(asking->work, part->projection);
		parts = lappend(parts, part);
	}
	if (parts == NIL)
		return;
	is_mixed = note_events(asking, stream, known.id, parts);
	foreach(lc, parts)
		put_part(asking, lfirst(lc), is_mixed);
}

/* Each is looked up once its table is locked. */
static List *
open_projections(const char *category)
{
	List	   *tables = NIL;
	List	   *projections = NIL;
	ListCell   *lc;

	foreach(lc, es_projection_list(cstring_to_text(category)))
		tables = lappend_oid(tables, ((EsProjection *) lfirst(lc))->target->relid);
	foreach(lc, es_projection_list_async())
		tables = lappend_oid(tables, ((EsAsync *) lfirst(lc))->relid);
	foreach(lc, tables)
	{
		EsProjection *projection;
		ListCell   *inner;

		LockRelationOid(lfirst_oid(lc), AccessShareLock);
		projection = es_projection_get(lfirst_oid(lc));
		foreach(inner, projection == NULL ? NIL : projection->categories)
		{
			if (strcmp(lfirst(inner), category) != 0)
				continue;
			projections = lappend(projections, projection);
			break;
		}
	}
	return projections;
}

/* As corrected, which is what rows are made of.  Returns whether the stream is about others, too. */
static bool
note_events(Asking *asking, const text *stream, int64 stream_id, List *parts)
{
	EsCorrections *corrections = es_corrections_load_stream(stream_id, DT_NOEND, asking->snapshot);
	EsScan	   *scan = es_scan_stream(stream, 1, false, asking->snapshot);
	bool		is_mixed = false;
	EsEvent		event;
	ListCell   *lc;

	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (!es_text_same(es_event_text(&event, ES_EVENT_SUBJECT), asking->subject))
		{
			is_mixed = true;
			continue;
		}
		if (!es_corrections_apply(corrections, &event))
			continue;
		foreach(lc, parts)
		{
			Part	   *part = lfirst(lc);

			MemoryContextReset(asking->scratch);
			es_refold_enter_rows(part->rows, part->projection, &event, asking->scratch);
		}
	}
	es_scan_end(scan);
	return is_mixed;
}

static void
put_part(Asking *asking, const Part *part, bool is_mixed)
{
	const EsTarget *target = part->projection->target;
	bool		is_shared = part->projection->sharing == ES_ROW_SHARED ||
		(part->projection->sharing == ES_ROW_OF_STREAM && is_mixed);
	const char *withheld = es_subject_withheld(target->relid);
	EsPersonalColumns personal = {0};
	EsRowScan	rows = {0};
	EsRow	   *row;

	if (withheld == NULL && !es_rights_reads_each(part->projection->categories))
		withheld = "permission denied for its categories";
	if (!es_reading_is_trusted(GetUserId()))
		es_personal_columns_find(part->projection, &personal);
	while ((row = es_fold_next_row(part->rows, &rows)) != NULL)
	{
		Datum		values[COLUMNS] = {0};
		bool		nulls[COLUMNS] = {0};
		HeapTuple	found = es_target_read_seen(target, row->key, asking->snapshot);
		Jsonb	   *data;

		if (found == NULL)
			continue;
		nulls[COL_KEY] = nulls[COL_ROW_DATA] = true;
		if (withheld == NULL)
		{
			data = es_target_row_to_jsonb(target, found);
			nulls[COL_KEY] = false;
			values[COL_KEY] = JsonbPGetDatum(es_target_key_to_jsonb(target, data));
			nulls[COL_ROW_DATA] = is_shared;
			values[COL_ROW_DATA] = JsonbPGetDatum(es_subject_mask(data, target->desc, personal.columns));
		}
		values[COL_TARGET] = ObjectIdGetDatum(target->relid);
		values[COL_IS_SHARED] = BoolGetDatum(is_shared);
		nulls[COL_WITHHELD] = withheld == NULL && !is_shared;
		if (!nulls[COL_WITHHELD])
			values[COL_WITHHELD] = CStringGetTextDatum(withheld != NULL ? withheld :
													   "others' events may be in it");
		tuplestore_putvalues(asking->result->setResult, asking->result->setDesc, values, nulls);
	}
}

/* That there is a row is said all the same: who hands out what is held must know. */
const char *
es_subject_withheld(Oid relid)
{
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		return "permission denied for the table";
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		return "row security of the table applies to you";
	return NULL;
}

Jsonb *
es_subject_mask(Jsonb *row, TupleDesc desc, const Bitmapset *columns)
{
	JsonbParseState *state = NULL;

	if (columns == NULL)
		return row;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		JsonbValue	null = {.type = jbvNull};
		JsonbValue *value;
		char		category;
		bool		is_preferred;

		if (att->attisdropped)
			continue;
		value = es_json_find(&row->root, NameStr(att->attname), NULL);
		get_type_category_preferred(att->atttypid, &category, &is_preferred);
		if (!bms_is_member(att->attnum, columns) || value->type == jbvNull)
			es_json_push_value(&state, NameStr(att->attname), value);
		else if (category == TYPCATEGORY_STRING && get_typtype(att->atttypid) == TYPTYPE_BASE)
			es_json_push_string(&state, NameStr(att->attname), MASK);
		else
			es_json_push_value(&state, NameStr(att->attname), &null);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
