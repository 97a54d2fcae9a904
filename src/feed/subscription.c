/*
 * subscription.c
 *		What subscriptions are defined as, compiled for this backend; whose they
 *		are; arguments of their functions.
 *
 * Kept like categories are: one memory context, handed to the transaction when
 * the generation of definitions is over.
 */
#include "feed/subscription.h"

#include "catalog/pg_type.h"
#include "errors.h"
#include "log/cache.h"
#include "log/config.h"
#include "log/json.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define LONGEST_INTERVAL	(INT64CONST(36525) * USECS_PER_DAY)

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static uint64 cache_generation = 0;

static const EsSubscription *find_argument(const text *name);
static void refresh_cache(void);
static bool build(EsSubscription *subscription);
static void compile(EsSubscription *subscription, const EsDefinition *definition);
static List *read_categories(Jsonb *data);

const EsSubscription *
es_subscription_find(const char *name)
{
	EsSubscription built;
	EsSubscription *entry;

	if (strlen(name) > ES_MAX_WORD)
		return NULL;
	refresh_cache();
	entry = hash_search(cache, name, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;

	/* Building may fail. */
	memset(&built, 0, sizeof(built));
	strcpy(built.name, name);
	if (!build(&built))
		return NULL;
	entry = hash_search(cache, name, HASH_ENTER, NULL);
	*entry = built;
	return entry;
}

const EsSubscription *
es_subscription_of_consumer(const text *name)
{
	const EsSubscription *subscription = find_argument(name);
	Oid			user = GetUserId();

	if ((OidIsValid(subscription->owner) ? !has_privs_of_role(user, subscription->owner) : !superuser()) &&
		!(OidIsValid(subscription->consumers) && has_privs_of_role(user, subscription->consumers)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for subscription \"%s\"", subscription->name),
				 errdetail("It is for members of its owner and of its role of consumers."),
				 errhint("Let its owner name you: eventsource.create_subscription(..., consumers => ...).")));
	es_rights_expect_read_each(subscription->categories, psprintf("subscription \"%s\"", subscription->name));
	return subscription;
}

const EsSubscription *
es_subscription_of_owner(const text *name)
{
	const EsSubscription *subscription = find_argument(name);

	if (OidIsValid(subscription->owner) && !has_privs_of_role(GetUserId(), subscription->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of subscription \"%s\"", subscription->name),
				 errdetail("It belongs to role \"%s\".", GetUserNameFromId(subscription->owner, false)),
				 errhint("Let that role, or a member of it, do it.")));
	es_rights_expect_read_each(subscription->categories, psprintf("subscription \"%s\"", subscription->name));
	return subscription;
}

static const EsSubscription *
find_argument(const text *name)
{
	const EsSubscription *subscription;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a subscription must not be null"),
				 errdetail("The argument says which subscription is meant."),
				 errhint("The view eventsource.subscriptions lists them.")));
	subscription = es_subscription_find(text_to_cstring(name));
	if (subscription == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("subscription \"%s\" does not exist", text_to_cstring(name)),
				 errdetail("No definition has this name, or it was dropped."),
				 errhint("Create it with eventsource.create_subscription(); the view eventsource.subscriptions lists them.")));
	return subscription;
}

bool
es_subscription_wants(const EsSubscription *subscription, const EsEvent *event)
{
	EsBinding	binding = {.event = event};
	EsExprUse	use = {.what = "filter",.owner_kind = "subscription",.owner = subscription->name_text};
	bool		result = subscription->categories == NIL;
	ListCell   *lc;

	foreach(lc, subscription->categories)
	{
		const text *category = es_event_text(event, ES_EVENT_CATEGORY);
		const char *name = lfirst(lc);

		result |= VARSIZE_ANY_EXHDR(category) == strlen(name) &&
			memcmp(VARDATA_ANY(category), name, strlen(name)) == 0;
	}
	if (!result || subscription->filter_source == NULL)
		return result;
	if (subscription->filter == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("owner of subscription \"%s\" does not exist any more", subscription->name),
				 errdetail("Its filter had the rights of that role."),
				 errhint("Define it again with eventsource.create_subscription(); it goes on where it is.")));
	es_expr_begin_use(&use, event);
	result = es_expr_eval_bool(subscription->filter, &binding);
	es_expr_end_use(&use);
	return result;
}

/* ---- the cache ---- */

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	HASHCTL		ctl = {.keysize = ES_MAX_WORD + 1,.entrysize = sizeof(EsSubscription)};
	MemoryContext context;

	if (cache != NULL && cache_generation == generation)
		return;
	cache = NULL;
	es_cache_put_aside(&cache_context);
	context = AllocSetContextCreate(CacheMemoryContext, "eventsource subscriptions",
									ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = context;
	cache = hash_create("eventsource subscriptions", 16, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	cache_context = context;
	cache_generation = generation;
}

static bool
build(EsSubscription *subscription)
{
	EsDefinition *definition = es_config_read(ES_SUBSCRIPTION_KIND, subscription->name, 0);
	MemoryContext context;
	MemoryContext caller;

	if (definition == NULL || strcmp(definition->type, ES_SUBSCRIPTION_DEFINED) != 0)
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "eventsource subscription",
									ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	compile(subscription, definition);
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, cache_context);
	return true;
}

static int64
read_number(Jsonb *data, const char *member)
{
	int64		number;

	if (!es_json_find_number(&data->root, member, &number))
		elog(ERROR, "definition of a subscription lacks \"%s\"", member);
	return number;
}

static void
compile(EsSubscription *subscription, const EsDefinition *definition)
{
	Jsonb	   *data = definition->data;
	char	   *on_poison = es_json_find_string(&data->root, "on_poison");
	EsExprScope scope = {.owner = definition->owner};

	subscription->name_text = cstring_to_text(subscription->name);
	subscription->categories = read_categories(data);
	subscription->filter_source = es_json_find_string(&data->root, "filter");
	subscription->partitions = (int32) read_number(data, "partitions");
	subscription->max_attempts = (int32) read_number(data, "max_attempts");
	subscription->retry_delay = read_number(data, "retry_delay");
	subscription->holds = on_poison == NULL || strcmp(on_poison, "pass") != 0;
	subscription->owner = definition->owner;
	subscription->consumers = es_config_role(data, "consumers");
	if (subscription->filter_source != NULL && OidIsValid(definition->owner))
		subscription->filter = es_expr_compile(&scope, subscription->filter_source, BOOLOID, -1);
}

static List *
read_categories(Jsonb *data)
{
	JsonbValue	buffer;
	JsonbValue *member = es_json_find(&data->root, "category", &buffer);
	JsonbValue *elements;
	int			count;
	List	   *result = NIL;

	if (member == NULL || !es_json_is_array(member))
		return NIL;
	count = es_json_elements(member, &elements);
	for (int i = 0; i < count; i++)
		result = lappend(result, es_json_string(&elements[i]));
	return result;
}

/* ---- arguments ---- */

const text *
es_consumer_name(const text *argument)
{
	if (argument == NULL)
		return cstring_to_text(psprintf("%d." INT64_FORMAT, MyProcPid, MyStartTimestamp));
	if (VARSIZE_ANY_EXHDR(argument) == 0 || VARSIZE_ANY_EXHDR(argument) > ES_MAX_WORD)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a consumer must have 1 to %d bytes", ES_MAX_WORD),
				 errdetail("It has %d.", (int) VARSIZE_ANY_EXHDR(argument)),
				 errhint("NULL stands for this session.")));
	return argument;
}

int64
es_consumer_session(void)
{
	return (int64) MyStartTimestamp ^ ((int64) MyProcPid << 40);
}

int64
es_interval_length(const Interval *interval, const char *what, int64 least)
{
	double		length = (double) interval->month * DAYS_PER_MONTH * USECS_PER_DAY +
		(double) interval->day * USECS_PER_DAY + (double) interval->time;

	if (length < least || length > LONGEST_INTERVAL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", what),
				 errdetail("It must be %s and at most a century.", least > 0 ? "more than nothing" : "at least nothing"),
				 errhint("For example '30 seconds'.")));
	return (int64) length;
}
