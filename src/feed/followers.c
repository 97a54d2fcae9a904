/*
 * followers.c
 *		Where those stand who follow the log by themselves, for views.
 */
#include "postgres.h"

#include "feed/handler.h"
#include "feed/publish.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/position.h"
#include "log/read.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* Columns of follower_states() */
enum
{
	COL_NAME,
	COL_POSITION,
	COL_APPLIED_AT,
	COL_LAG,
	COL_LAG_SECONDS,
	COL_MAX_LAG,
	COL_STATUS,
	COL_FAILED_POSITION,
	COL_FAILED_AT,
	COL_SQLSTATE,
	COL_ERROR,
	COL_DETAIL,
	STATE_COLUMNS
};

PG_FUNCTION_INFO_V1(eventsource_follower_states);

static void put_state(ReturnSetInfo *result, const char *follower, const EsPace *pace, int64 watermark,
					  bool may_see_error);
static bool has_rights_of(Oid definer);
static double waiting_seconds(int64 after, int64 upto);
static void put_failure(const EsFailure *failure, bool may_see_error, Datum *values, bool *nulls);

/* follower_states(): the cursor and the failure as the snapshot shows them */
Datum
eventsource_follower_states(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		watermark = es_position_watermark();
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_projection_list_async())
	{
		EsAsync    *async = lfirst(lc);

		put_state(result, es_cursor_name("projection", async->name), &async->pace, watermark,
				  es_rights_reads_all() &&
				  pg_class_aclcheck(async->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK);
	}
	foreach(lc, es_handler_list())
	{
		EsHandler  *handler = lfirst(lc);

		put_state(result, handler->follower, &handler->pace, watermark, has_rights_of(handler->definer));
	}
	foreach(lc, es_publication_list())
	{
		EsPublication *publication = lfirst(lc);

		put_state(result, publication->follower, &publication->pace, watermark,
				  has_rights_of(publication->definer));
	}
	return (Datum) 0;
}

/* Those of a role that is gone are the owner's. */
static bool
has_rights_of(Oid definer)
{
	return has_privs_of_role(GetUserId(), OidIsValid(definer) ? definer : es_catalog_owner());
}

/* An error may tell what is in a row. */
static void
put_state(ReturnSetInfo *result, const char *follower, const EsPace *pace, int64 watermark,
		  bool may_see_error)
{
	Datum		values[STATE_COLUMNS];
	bool		nulls[STATE_COLUMNS];
	EsCursor	cursor = {0};
	EsFailure	failure;
	bool		is_parked;
	double		seconds;

	memset(nulls, false, sizeof(nulls));
	nulls[COL_APPLIED_AT] = !es_cursor_read(follower, GetActiveSnapshot(), &cursor);
	is_parked = es_cursor_read_failure(follower, GetActiveSnapshot(), &failure);
	seconds = waiting_seconds(cursor.position, watermark);
	values[COL_NAME] = CStringGetTextDatum(follower);
	values[COL_POSITION] = Int64GetDatum(cursor.position);
	values[COL_APPLIED_AT] = TimestampTzGetDatum(cursor.applied_at);
	values[COL_LAG] = Int64GetDatum(Max(0, watermark - cursor.position));
	values[COL_LAG_SECONDS] = Float8GetDatum(seconds);
	values[COL_MAX_LAG] = Float8GetDatum((double) pace->max_lag / USECS_PER_SEC);
	values[COL_STATUS] = CStringGetTextDatum(is_parked ? "parked" :
											 seconds * USECS_PER_SEC > pace->max_lag ? "behind" : "current");
	put_failure(is_parked ? &failure : NULL, may_see_error, values, nulls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* For how long the first event after a position has been there. */
static double
waiting_seconds(int64 after, int64 upto)
{
	EsScan	   *scan;
	EsEvent		event;
	double		seconds = 0;

	if (after >= upto)
		return 0;
	scan = es_scan_whole_log(after, upto, GetActiveSnapshot());
	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (es_scan_next(scan, &event))
		seconds = (double) (GetCurrentTimestamp() -
							DatumGetTimestampTz(event.value[ES_EVENT_RECORDED_AT])) / USECS_PER_SEC;
	es_scan_end(scan);
	return Max(seconds, 0);
}

static void
put_failure(const EsFailure *failure, bool may_see_error, Datum *values, bool *nulls)
{
	if (failure == NULL)
	{
		for (int i = COL_FAILED_POSITION; i < STATE_COLUMNS; i++)
			nulls[i] = true;
		return;
	}
	values[COL_FAILED_POSITION] = Int64GetDatum(failure->position);
	nulls[COL_FAILED_POSITION] = failure->position == 0;
	values[COL_FAILED_AT] = TimestampTzGetDatum(failure->failed_at);
	values[COL_SQLSTATE] = CStringGetTextDatum(failure->sqlstate);
	values[COL_ERROR] = CStringGetTextDatum(failure->message);
	nulls[COL_ERROR] = !may_see_error;
	nulls[COL_DETAIL] = failure->detail == NULL || !may_see_error;
	values[COL_DETAIL] = failure->detail == NULL ? (Datum) 0 : CStringGetTextDatum(failure->detail);
}
