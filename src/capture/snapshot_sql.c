/*
 * snapshot_sql.c
 *		set_snapshot_policy and drop_snapshots.
 *
 * Snapshots are deleted under SHARE UPDATE EXCLUSIVE, which keeps other deletions
 * out and lets appends take new ones.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "append/define.h"
#include "errors.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "log/stream.h"
#include "log/word.h"
#include "miscadmin.h"
#include "rules/category.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_set_snapshot_policy);
PG_FUNCTION_INFO_V1(eventsource_drop_snapshots);

static char *get_category(FunctionCallInfo fcinfo);
static Jsonb *policy(bool is_off, int32 every);

/* set_snapshot_policy(category text, every integer): version of the policy */
Datum
eventsource_set_snapshot_policy(PG_FUNCTION_ARGS)
{
	bool		is_off = PG_ARGISNULL(1) || PG_GETARG_INT32(1) == 0;

	PreventCommandIfReadOnly("eventsource.set_snapshot_policy()");
	if (!is_off && PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a snapshot cannot be taken every %d events", PG_GETARG_INT32(1)),
				 errdetail("Argument \"every\" is a number of events."),
				 errhint("Give a positive number, such as 100; 0 takes none.")));
	PG_RETURN_INT64(es_define(ES_SNAPSHOT_POLICY_KIND, get_category(fcinfo), "snapshot_policy_set",
							  policy(is_off, is_off ? 0 : PG_GETARG_INT32(1))));
}

/* drop_snapshots(category text): how many there were */
Datum
eventsource_drop_snapshots(PG_FUNCTION_ARGS)
{
	char	   *category = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Relation	rel;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		count = 0;

	PreventCommandIfReadOnly("eventsource.drop_snapshots()");
	rel = table_open(es_catalog_oid(ES_REL_SNAPSHOT), ShareUpdateExclusiveLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		int64		stream = DatumGetInt64(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));

		CHECK_FOR_INTERRUPTS();
		if (category != NULL && !es_word_is(ES_STREAM_CATEGORY(stream), category))
			continue;
		es_catalog_delete(rel, tuple);
		count++;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	PG_RETURN_INT64(count);
}

/* A category need not be declared to have a policy. */
static char *
get_category(FunctionCallInfo fcinfo)
{
	char	   *category = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *problem = category == NULL ? "it is null" : es_machine_name_problem(category, strlen(category));

	if (problem == NULL && (category[0] == '$' || strchr(category, '-') != NULL))
		problem = "a category has no hyphen, and does not begin with $";
	if (problem != NULL)
		ereport(ERROR,
				(errcode(category == NULL ? ERRCODE_NULL_VALUE_NOT_ALLOWED : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this is no name of a category"),
				 errdetail("Argument \"category\": %s.", problem),
				 errhint("Name what stands before the hyphen in the names of the streams.")));
	return category;
}

static Jsonb *
policy(bool is_off, int32 every)
{
	char	   *text = is_off ? pstrdup("{\"every\": null}") : psprintf("{\"every\": %d}", every);

	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}
