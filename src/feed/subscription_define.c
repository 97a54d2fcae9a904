/*
 * subscription_define.c
 *		create_subscription, drop_subscription, reset_subscription, and the list of
 *		definitions for views.
 *
 * Definitions are serialised by the lock of their stream, taken first; then come
 * the locks of the partitions, in order.
 */
#include "feed/definition.h"
#include "feed/subscription.h"

#include "append/define.h"
#include "errors.h"
#include "fmgr.h"
#include "log/json.h"
#include "log/position.h"
#include "log/stream.h"
#include "miscadmin.h"
#include "project/rebuild.h"
#include "rules/category_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(eventsource_create_subscription);
PG_FUNCTION_INFO_V1(eventsource_drop_subscription);
PG_FUNCTION_INFO_V1(eventsource_reset_subscription);
PG_FUNCTION_INFO_V1(eventsource_subscription_definitions);

/* The arguments of create_subscription; pointers are NULL for null. */
typedef struct Proposal
{
	char	   *name;
	ArrayType  *category;
	char	   *filter;
	int64		from_position;	/* -1: now */
	int32		partitions;
	int32		max_attempts;
	int64		retry_delay;
	char	   *on_poison;
	Oid			consumers;
	int64		max_lag;
} Proposal;

static void read_proposal(FunctionCallInfo fcinfo, Proposal *proposal);
static void check_proposal(const Proposal *proposal);
static Jsonb *proposal_to_jsonb(const Proposal *proposal);
static void lock_definition(const char *name);
static void begin_partitions(const Proposal *proposal);
static void forget_lanes(const EsSubscription *subscription, int32 partition);
static void expect_position(int64 position);

/* create_subscription(name, category, filter, from_position, ...): version of the definition */
Datum
eventsource_create_subscription(PG_FUNCTION_ARGS)
{
	Proposal	proposal;
	const EsSubscription *before;
	bool		is_new;
	int64		version;

	PreventCommandIfReadOnly("eventsource.create_subscription()");
	read_proposal(fcinfo, &proposal);
	es_rebuild_lock_reading(false);
	check_proposal(&proposal);
	lock_definition(proposal.name);
	before = es_subscription_find(proposal.name);
	is_new = before == NULL;
	if (!is_new)
	{
		(void) es_subscription_of_owner(before->name_text);
		if (before->partitions != proposal.partitions)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg_plural("subscription \"%s\" has %d partition", "subscription \"%s\" has %d partitions",
								   before->partitions, proposal.name, before->partitions),
					 errdetail("Each has its own position, so they cannot become %d.", proposal.partitions),
					 errhint("Drop it and create it again, or create another one beside it.")));
	}
	version = es_define(ES_SUBSCRIPTION_KIND, proposal.name, ES_SUBSCRIPTION_DEFINED,
						proposal_to_jsonb(&proposal));
	if (is_new)
		begin_partitions(&proposal);
	PG_RETURN_INT64(version);
}

/* drop_subscription(name) */
Datum
eventsource_drop_subscription(PG_FUNCTION_ARGS)
{
	const EsSubscription *subscription;
	JsonbParseState *state = NULL;

	PreventCommandIfReadOnly("eventsource.drop_subscription()");
	subscription = es_subscription_of_owner(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	lock_definition(subscription->name);
	subscription = es_subscription_of_owner(PG_GETARG_TEXT_PP(0));
	for (int i = 0; i < subscription->partitions; i++)
	{
		es_partition_lock(subscription, i);
		es_partition_delete(subscription, i);
		forget_lanes(subscription, i);
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) es_define(ES_SUBSCRIPTION_KIND, subscription->name, ES_SUBSCRIPTION_DROPPED,
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* reset_subscription(name, event_position) */
Datum
eventsource_reset_subscription(PG_FUNCTION_ARGS)
{
	const EsSubscription *subscription;
	JsonbParseState *state = NULL;
	int64		position;

	PreventCommandIfReadOnly("eventsource.reset_subscription()");
	subscription = es_subscription_of_owner(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	position = PG_ARGISNULL(1) ? es_position_watermark() : PG_GETARG_INT64(1);
	expect_position(position);
	lock_definition(subscription->name);
	subscription = es_subscription_of_owner(PG_GETARG_TEXT_PP(0));
	for (int i = 0; i < subscription->partitions; i++)
	{
		EsPartition part;

		es_partition_lock(subscription, i);
		es_partition_read(subscription, i, SnapshotSelf, &part);
		es_partition_end_lease(&part);
		es_line_forgive(&part.line);
		part.line.position = position;
		part.line.single_upto = 0;
		es_partition_write(subscription, &part);
		forget_lanes(subscription, i);
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(&state, "position", position);
	(void) es_define(ES_PARKING_KIND, subscription->name, "subscription_reset",
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/* What the view eventsource.subscriptions shows. */
Datum
eventsource_subscription_definitions(PG_FUNCTION_ARGS)
{
	es_definition_list(fcinfo, ES_SUBSCRIPTION_KIND, ES_SUBSCRIPTION_DEFINED);
	return (Datum) 0;
}

/* ---- what was asked for ---- */

static void
refuse_null(const char *argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", argument),
			 errdetail("Every subscription has one."),
			 errhint("Leave the argument out for its default; the name has none.")));
}

static void
read_proposal(FunctionCallInfo fcinfo, Proposal *proposal)
{
	static const char *const names[] = {
		"name", NULL, NULL, NULL, "partitions", "max_attempts", "retry_delay", "on_poison", NULL, "max_lag"
	};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (names[i] != NULL && PG_ARGISNULL(i))
			refuse_null(names[i]);
	proposal->name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	proposal->category = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	proposal->filter = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	proposal->from_position = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT64(3);
	if (!PG_ARGISNULL(3))
		expect_position(proposal->from_position);
	proposal->partitions = PG_GETARG_INT32(4);
	proposal->max_attempts = PG_GETARG_INT32(5);
	proposal->retry_delay = es_interval_length(PG_GETARG_INTERVAL_P(6), "retry_delay", 0);
	proposal->on_poison = text_to_cstring(PG_GETARG_TEXT_PP(7));
	proposal->consumers = PG_ARGISNULL(8) ? InvalidOid : PG_GETARG_OID(8);
	proposal->max_lag = es_interval_length(PG_GETARG_INTERVAL_P(9), "max_lag", 1);
}

/* Lists all that is wrong in one error. */
static void
check_proposal(const Proposal *proposal)
{
	List	   *problems = NIL;

	es_definition_check(proposal->name, proposal->category, proposal->filter, &problems);
	if (proposal->partitions < 1 || proposal->partitions > ES_MAX_PARTITIONS)
		problems = lappend(problems, psprintf("partitions: must be 1 to %d, not %d", ES_MAX_PARTITIONS, proposal->partitions));
	if (proposal->max_attempts < 1)
		problems = lappend(problems, psprintf("max_attempts: must be at least 1, not %d", proposal->max_attempts));
	if (strcmp(proposal->on_poison, "hold") != 0 && strcmp(proposal->on_poison, "pass") != 0)
		problems = lappend(problems, psprintf("on_poison: must be hold or pass, not \"%s\"", proposal->on_poison));
	if (OidIsValid(proposal->consumers) &&
		!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(proposal->consumers)))
		problems = lappend(problems, psprintf("consumers: no role has OID %u", proposal->consumers));
	es_definition_refuse(problems, psprintf("subscription \"%s\"", proposal->name),
						 "For example: SELECT eventsource.create_subscription('mailer', ARRAY['order'], $$event.type = 'placed'$$).");
}

static Jsonb *
proposal_to_jsonb(const Proposal *proposal)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (proposal->category != NULL)
		es_category_list_push(&state, proposal->category);
	es_json_push_string(&state, "filter", proposal->filter);
	es_json_push_number(&state, "partitions", proposal->partitions);
	es_json_push_number(&state, "max_attempts", proposal->max_attempts);
	es_json_push_number(&state, "retry_delay", proposal->retry_delay);
	es_json_push_string(&state, "on_poison", proposal->on_poison);
	if (OidIsValid(proposal->consumers))
	{
		es_json_push_string(&state, "consumers", GetUserNameFromId(proposal->consumers, false));
		es_json_push_number(&state, "consumers_oid", proposal->consumers);
	}
	es_json_push_number(&state, "max_lag", proposal->max_lag);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---- progress ---- */

static void
lock_definition(const char *name)
{
	es_stream_lock(cstring_to_text(psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, ES_SUBSCRIPTION_KIND, name)));
}

static void
begin_partitions(const Proposal *proposal)
{
	const EsSubscription *subscription = es_subscription_find(proposal->name);
	int64		position = proposal->from_position >= 0 ? proposal->from_position : es_position_watermark();

	for (int i = 0; i < proposal->partitions; i++)
		es_partition_create(subscription, i, position);
}

static void
forget_lanes(const EsSubscription *subscription, int32 partition)
{
	ListCell   *lc;

	foreach(lc, es_lane_list(subscription, partition, true, SnapshotSelf))
		es_lane_delete(lfirst(lc));
}

static void
expect_position(int64 position)
{
	if (position < 0 || position > es_position_last())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position " INT64_FORMAT " is out of range", position),
				 errdetail("It must be at least 0, and at most the last one there is, " INT64_FORMAT ".",
						   es_position_last()),
				 errhint("0 begins with the first event, NULL with the next.")));
}
