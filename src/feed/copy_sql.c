/*
 * copy_sql.c
 *		copy_category, copy_category_in_batches, drop_category_copy, and the list
 *		of copies for views.
 *
 * A copy is defined by its first call and kept with its cursor, under the name of
 * the new category: that is written by one copy at most.  Later calls go on.
 *
 * Locks: the copy's progress, to the end of the transaction.
 */
#include "feed/copy.h"

#include "append/define.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/spi.h"
#include "feed/copy_mapping.h"
#include "feed/definition.h"
#include "fmgr.h"
#include "log/cursor.h"
#include "log/json.h"
#include "log/progress.h"
#include "log/read.h"
#include "miscadmin.h"
#include "rules/category_list.h"
#include "rules/known.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(eventsource_copy_category);
PG_FUNCTION_INFO_V1(eventsource_copy_category_in_batches);
PG_FUNCTION_INFO_V1(eventsource_drop_category_copy);
PG_FUNCTION_INFO_V1(eventsource_category_copy_definitions);

/* What a call asks for. */
typedef struct Request
{
	char	   *from;
	char	   *to;
	Jsonb	   *mapping;		/* or NULL: as it is kept, or none */
	int64		limit;			/* events of the old category */
} Request;

static void read_request(FunctionCallInfo fcinfo, Request *request);
static EsCopy *lock_copy(const Request *request);
static void begin_copy(const Request *request);
static void check_request(const Request *request);
static void expect_same(const Request *request, const EsCopy *copy);
static void expect_own_transactions(FunctionCallInfo fcinfo);

/* copy_category(from_category, to_category, mapping, max_events): events appended */
Datum
eventsource_copy_category(PG_FUNCTION_ARGS)
{
	Request		request;
	EsCopy	   *copy;
	EsCopied	copied = {.began = -1};

	PreventCommandIfReadOnly("eventsource.copy_category()");
	read_request(fcinfo, &request);
	copy = lock_copy(&request);
	es_copy_run(copy, request.limit, false, &copied);
	PG_RETURN_INT64(copied.appended);
}

/*
 * CALL copy_category_in_batches(from_category, to_category, mapping, batch): what
 * lasts beyond a batch is in the procedure's memory
 */
Datum
eventsource_copy_category_in_batches(PG_FUNCTION_ARGS)
{
	Request		request;
	EsCopied	copied = {.began = -1};
	int64		appended = 0;

	PreventCommandIfReadOnly("eventsource.copy_category_in_batches()");
	expect_own_transactions(fcinfo);
	read_request(fcinfo, &request);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	do
	{
		MemoryContext procedure = CurrentMemoryContext;
		MemoryContext batch = AllocSetContextCreate(procedure, "eventsource copy batch", ALLOCSET_DEFAULT_SIZES);

		EnsurePortalSnapshotExists();
		MemoryContextSwitchTo(batch);
		es_copy_run(lock_copy(&request), request.limit, true, &copied);
		appended += copied.appended;
		MemoryContextSwitchTo(procedure);
		MemoryContextDelete(batch);
		SPI_commit();
	} while (copied.position < copied.upto);
	SPI_finish();
	ereport(NOTICE, (errmsg("copy of %s to %s: " INT64_FORMAT " events appended", request.from, request.to, appended)));
	PG_RETURN_NULL();
}

/* drop_category_copy(to_category) */
Datum
eventsource_drop_category_copy(PG_FUNCTION_ARGS)
{
	char	   *to = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *follower = es_cursor_name(ES_COPY_KIND, to);
	JsonbParseState *state = NULL;

	PreventCommandIfReadOnly("eventsource.drop_category_copy()");
	(void) es_cursor_lock(follower, true);
	if (es_copy_find(to) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no copy to category \"%s\"", to),
				 errdetail("It was never begun, or was dropped."),
				 errhint("eventsource.category_copies lists them; copy_category begins one.")));
	es_cursor_drop(follower);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) es_define(ES_COPY_KIND, to, ES_COPY_DROPPED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* What the view eventsource.category_copies shows. */
Datum
eventsource_category_copy_definitions(PG_FUNCTION_ARGS)
{
	es_definition_list(fcinfo, ES_COPY_KIND, ES_COPY_DEFINED);
	return (Datum) 0;
}

static void
read_request(FunctionCallInfo fcinfo, Request *request)
{
	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "from_category" : "to_category"),
					 errdetail("A copy reads one category and writes another."),
					 errhint("SELECT eventsource.copy_category('order', 'order2').")));
	request->from = text_to_cstring(PG_GETARG_TEXT_PP(0));
	request->to = text_to_cstring(PG_GETARG_TEXT_PP(1));
	request->mapping = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P_COPY(2);
	request->limit = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT64(3);
	if (request->limit < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a copy must be allowed one event at least"),
				 errdetail("Given is " INT64_FORMAT ".", request->limit),
				 errhint("Leave the number out for all events.")));
}

/* The copy that is asked for, begun if there is none, and run by nobody else. */
static EsCopy *
lock_copy(const Request *request)
{
	EsCopy	   *copy;

	(void) es_cursor_lock(es_cursor_name(ES_COPY_KIND, request->to), true);
	copy = es_copy_find(request->to);
	if (copy == NULL)
	{
		begin_copy(request);
		copy = es_copy_find(request->to);
	}
	else
		expect_same(request, copy);
	return copy;
}

static void
begin_copy(const Request *request)
{
	JsonbParseState *state = NULL;

	check_request(request);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "from", request->from);
	if (request->mapping != NULL)
		es_json_push_jsonb(&state, "mapping", request->mapping);
	(void) es_define(ES_COPY_KIND, request->to, ES_COPY_DEFINED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	es_cursor_set(es_cursor_name(ES_COPY_KIND, request->to), 0);
}

/* Lists all that is wrong in one error. */
static void
check_request(const Request *request)
{
	Datum		names[2] = {CStringGetTextDatum(request->from), CStringGetTextDatum(request->to)};
	ArrayType  *categories = construct_array(names, 2, TEXTOID, -1, false, TYPALIGN_INT);
	List	   *problems = es_category_list_check(categories);

	if (request->mapping != NULL)
		problems = list_concat(problems, es_mapping_check(request->mapping));
	es_definition_refuse(problems, psprintf("copy of category \"%s\" to \"%s\"", request->from, request->to),
						 "Nothing was copied. Mend all of it and try again.");
	es_category_expect(request->from);
	if (es_category_has_events(request->to))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("category \"%s\" is not empty", request->to),
				 errdetail("A copy begins with an empty category, and is the only one to write it."),
				 errhint("Copy into a category that has no events yet.")));
}

/* A copy that has begun stays what it is. */
static void
expect_same(const Request *request, const EsCopy *copy)
{
	const char *what = NULL;

	if (strcmp(request->from, copy->from) != 0)
		what = psprintf("It copies category \"%s\".", copy->from);
	else if (request->mapping != NULL && copy->mapping == NULL)
		what = "It has no mapping.";
	else if (request->mapping != NULL &&
			 compareJsonbContainers(&request->mapping->root, &copy->mapping->root) != 0)
		what = "It has another mapping.";
	if (what != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the copy to category \"%s\" has begun already", request->to),
				 errdetail_internal("%s", what),
				 errhint("Leave the mapping out to go on with it, or copy into another category. eventsource.drop_category_copy() ends it.")));
}

/* A procedure that commits must have been called outside a transaction block. */
static void
expect_own_transactions(FunctionCallInfo fcinfo)
{
	CallContext *call = (CallContext *) fcinfo->context;

	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("copy_category_in_batches cannot run inside a transaction block"),
				 errdetail("It commits after each batch."),
				 errhint("CALL it by itself, or SELECT eventsource.copy_category() for one transaction.")));
}
