/*
 * publish_sql.c
 *		start_publishing, stop_publishing, publish, and the list of publications for
 *		views.
 *
 * Locks: the progress of the publication, so that nobody publishes meanwhile.
 */
#include "feed/publish.h"

#include "append/define.h"
#include "feed/definition.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/json.h"
#include "log/position.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "project/rebuild.h"
#include "replication/slot.h"
#include "rules/category_list.h"
#include "storage/lwlock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* Columns of publish() */
#define RUN_COLUMNS	4

PG_FUNCTION_INFO_V1(eventsource_start_publishing);
PG_FUNCTION_INFO_V1(eventsource_stop_publishing);
PG_FUNCTION_INFO_V1(eventsource_publish);
PG_FUNCTION_INFO_V1(eventsource_publication_definitions);

/* The arguments of start_publishing; pointers are NULL for null. */
typedef struct Proposal
{
	ArrayType  *category;
	char	   *filter;
	int64		from;			/* where it begins if it is new */
	char	   *prefix;
} Proposal;

static void read_proposal(FunctionCallInfo fcinfo, Proposal *proposal);
static int64 read_from(FunctionCallInfo fcinfo, int arg);
static void check_proposal(const Proposal *proposal, Jsonb *definition);
static Jsonb *proposal_to_jsonb(const Proposal *proposal);
static char *read_prefix(FunctionCallInfo fcinfo, int arg);
static EsPublication *expect_publication(const char *prefix);
static void expect_owner(const EsPublication *publication);
static void mention_slots(const char *prefix);

/* start_publishing(category, filter, from_position, prefix): version of the definition */
Datum
eventsource_start_publishing(PG_FUNCTION_ARGS)
{
	Proposal	proposal;
	Jsonb	   *definition;
	EsPublication *before;
	char	   *follower;
	EsCursor	cursor;
	int64		version;

	PreventCommandIfReadOnly("eventsource.start_publishing()");
	read_proposal(fcinfo, &proposal);
	definition = proposal_to_jsonb(&proposal);
	es_rebuild_lock_reading(false);
	check_proposal(&proposal, definition);
	es_publication_expect_decoding();

	follower = es_cursor_name(ES_PUBLICATION_KIND, proposal.prefix);
	(void) es_cursor_lock(follower, true);
	before = es_publication_find(proposal.prefix);
	if (before != NULL)
		expect_owner(before);
	version = es_define(ES_PUBLICATION_KIND, proposal.prefix, ES_PUBLICATION_DEFINED, definition);
	if (before == NULL || !es_cursor_read(follower, SnapshotSelf, &cursor))
		es_cursor_set(follower, proposal.from);
	(void) es_cursor_mend(follower);
	mention_slots(proposal.prefix);
	PG_RETURN_INT64(version);
}

/* stop_publishing(prefix) */
Datum
eventsource_stop_publishing(PG_FUNCTION_ARGS)
{
	char	   *prefix = read_prefix(fcinfo, 0);
	EsPublication *publication;
	JsonbParseState *state = NULL;

	PreventCommandIfReadOnly("eventsource.stop_publishing()");
	(void) es_cursor_lock(es_cursor_name(ES_PUBLICATION_KIND, prefix), true);
	publication = expect_publication(prefix);
	expect_owner(publication);
	es_cursor_drop(publication->follower);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) es_define(ES_PUBLICATION_KIND, prefix, ES_PUBLICATION_DROPPED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* publish(max_events, prefix): events, event_position, status, error */
Datum
eventsource_publish(PG_FUNCTION_ARGS)
{
	int64		max_events = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	char	   *prefix = read_prefix(fcinfo, 1);
	TupleDesc	desc;
	EsFollowed	followed;
	EsFinal    *final;
	Datum		values[RUN_COLUMNS];
	bool		nulls[RUN_COLUMNS] = {false};

	PreventCommandIfReadOnly("eventsource.publish()");
	if (!PG_ARGISNULL(0) && max_events < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be 1 at least"),
				 errdetail("Given is " INT64_FORMAT ".", max_events),
				 errhint("NULL goes on to the watermark.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	final = es_final_begin();
	es_publication_run(expect_publication(prefix), final, max_events, &followed);
	es_final_end(final);
	values[0] = Int64GetDatum(followed.events);
	values[1] = Int64GetDatum(followed.position);
	nulls[1] = followed.status == ES_FOLLOW_BUSY;
	values[2] = CStringGetTextDatum(es_follow_status_name(followed.status));
	nulls[3] = followed.error == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(followed.error);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* What the view eventsource.publications shows. */
Datum
eventsource_publication_definitions(PG_FUNCTION_ARGS)
{
	es_definition_list(fcinfo, ES_PUBLICATION_KIND, ES_PUBLICATION_DEFINED);
	return (Datum) 0;
}

static void
read_proposal(FunctionCallInfo fcinfo, Proposal *proposal)
{
	proposal->category = PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0);
	proposal->filter = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	proposal->from = read_from(fcinfo, 2);
	proposal->prefix = read_prefix(fcinfo, 3);
}

/* NULL: the watermark. */
static int64
read_from(FunctionCallInfo fcinfo, int arg)
{
	int64		watermark = es_position_watermark();
	int64		from = PG_ARGISNULL(arg) ? watermark : PG_GETARG_INT64(arg);

	if (from < 0 || from > watermark)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position " INT64_FORMAT " is out of range", from),
				 errdetail("Publishing begins after a position from 0 to the watermark, which is " INT64_FORMAT ".", watermark),
				 errhint("NULL is the watermark: what comes from now on.")));
	return from;
}

/* Lists all that is wrong in one error. */
static void
check_proposal(const Proposal *proposal, Jsonb *definition)
{
	List	   *problems = NIL;
	char	   *what = psprintf("publication \"%s\"", proposal->prefix);

	es_definition_check(proposal->prefix, proposal->category, proposal->filter, &problems);
	es_definition_refuse(problems, what, "Nothing was changed. Mend all of it and try again.");
	es_rights_expect_read_each(es_category_list_read(definition), what);
}

static Jsonb *
proposal_to_jsonb(const Proposal *proposal)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (proposal->category != NULL)
		es_category_list_push(&state, proposal->category);
	if (proposal->filter != NULL)
		es_json_push_string(&state, "filter", proposal->filter);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static char *
read_prefix(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("prefix must not be null"),
				 errdetail("The messages of a publication are told from others by it."),
				 errhint("Leave the argument out for its default.")));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static EsPublication *
expect_publication(const char *prefix)
{
	EsPublication *publication = es_publication_find(prefix);

	if (publication == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no publication \"%s\"", prefix),
				 errdetail("It was never started, or was stopped."),
				 errhint("eventsource.publications lists them; start_publishing makes one.")));
	return publication;
}

/* Of one whose role is gone, whoever may start one is. */
static void
expect_owner(const EsPublication *publication)
{
	if (OidIsValid(publication->definer) && !has_privs_of_role(GetUserId(), publication->definer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of publication \"%s\"", publication->prefix),
				 errdetail("It belongs to role \"%s\".", GetUserNameFromId(publication->definer, false)),
				 errhint("Let that role, or a member of it, do it.")));
}

/* A message that is written before a slot is there is in no slot's stream. */
static void
mention_slots(const char *prefix)
{
	bool		found = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
		found = ReplicationSlotCtl->replication_slots[i].in_use &&
			ReplicationSlotCtl->replication_slots[i].data.database == MyDatabaseId;
	LWLockRelease(ReplicationSlotControlLock);
	if (!found)
		ereport(NOTICE,
				(errmsg("no replication slot of this database is there to decode publication \"%s\"", prefix),
				 errdetail("What is published before a slot is made is not in its stream."),
				 errhint("SELECT pg_create_logical_replication_slot('events', 'wal2json') first; stop_publishing() and start_publishing() publish from the beginning again.")));
}
