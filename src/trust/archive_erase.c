/*
 * archive_erase.c
 *		Summaries of archived events when their subject is erased.
 *
 * They hold no personal fields, for these were cut out of the events' data; but the
 * payload of some events, which goes where theirs does.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "log/catalog.h"
#include "log/erasing.h"
#include "miscadmin.h"
#include "trust/archive.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

enum
{
	COL_SUBJECT = 3,
	COL_CONSENT_HISTORY = 8,
	COL_AUDIT_TRAIL = 9,
	COL_COUNT = 9
};

static int64 erase(const EsErasing *erasing, void *state);
static bool strip(Datum *entries);

void
es_archive_erase_init(void)
{
	static const EsEraser eraser = {"event summaries", NULL, erase};

	es_eraser_register(&eraser);
}

static int64
erase(const EsErasing *erasing, void *state)
{
	Relation	rel;
	Snapshot	snapshot;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	row;
	int64		count = 0;

	if (!es_erasing_is_hard(erasing))
		return 0;
	rel = table_open(es_catalog_oid(ES_REL_SUMMARY), RowExclusiveLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyInit(&key, COL_SUBJECT, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(erasing->subject));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, es_catalog_oid(ES_REL_SUMMARY_SUBJECT_IDX), true, snapshot, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Datum		values[COL_COUNT];
		bool		nulls[COL_COUNT];
		bool		has_payload;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		has_payload = strip(&values[COL_CONSENT_HISTORY - 1]);
		has_payload |= strip(&values[COL_AUDIT_TRAIL - 1]);
		if (!has_payload)
			continue;
		es_catalog_update(rel, row, values, nulls);
		count++;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	if (count > 0)
		es_erasing_touch(erasing, es_catalog_oid(ES_REL_SUMMARY));
	return count;
}

/* Takes the payload out of each entry; false if none had one. */
static bool
strip(Datum *entries)
{
	Jsonb	   *list = DatumGetJsonbP(*entries);
	JsonbIterator *iterator = JsonbIteratorInit(&list->root);
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbValue	value;
	JsonbIteratorToken token;
	bool		has_payload = false;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
		{
			Datum		entry = JsonbPGetDatum(JsonbValueToJsonb(&value));
			Datum		data = CStringGetTextDatum("data");

			has_payload |= DatumGetBool(DirectFunctionCall2(jsonb_exists, entry, data));
			entry = DirectFunctionCall2(jsonb_delete, entry, data);
			value.type = jbvBinary;
			value.val.binary.data = &DatumGetJsonbP(entry)->root;
			value.val.binary.len = VARSIZE(DatumGetPointer(entry)) - VARHDRSZ;
		}
		result = pushJsonbValue(&state, token, token == WJB_ELEM ? &value : NULL);
	}
	if (has_payload)
		*entries = JsonbPGetDatum(JsonbValueToJsonb(result));
	return has_payload;
}
