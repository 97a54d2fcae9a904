/*
 * queue.c
 *		Queues of jobs: what they are defined as, and who may send and work there.
 *
 * What was read is kept in one memory context, handed to the transaction when the
 * generation of definitions is over.
 */
#include "append/queue.h"

#include "common/pg_prng.h"
#include "compat.h"
#include "log/cache.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/json.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#define LONGEST		(INT64CONST(36525) * USECS_PER_DAY)

/* Names that are not defined are remembered, too, and anybody can think of one. */
#define MAX_QUEUES	1000

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static uint64 cache_generation = 0;

static void refresh_cache(void);
static void build(EsQueue *queue);
static void read_definition(EsQueue *queue, const EsDefinition *definition);
static int64 read_number(const EsDefinition *definition, const char *member);
static bool owns(const EsQueue *queue);
static void expect_name(const text *name);
ES_NORETURN static void refuse(const EsQueue *queue, const char *what, const char *who,
							   const char *argument);

const EsQueue *
es_queue_get(const text *name)
{
	EsQueue		built = {0};
	EsQueue    *entry;

	text_to_cstring_buffer(name, built.name, sizeof(built.name));
	refresh_cache();
	entry = hash_search(cache, built.name, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;

	/* Building may fail. */
	build(&built);
	entry = hash_search(cache, built.name, HASH_ENTER, NULL);
	*entry = built;
	return entry;
}

List *
es_queue_list(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, es_config_list(ES_QUEUE_KIND))
	{
		const EsQueue *queue = es_queue_get(cstring_to_text(((EsDefinition *) lfirst(lc))->name));

		if (queue->version != 0)
			result = lappend(result, unconstify(EsQueue *, queue));
	}
	return result;
}

static void
refresh_cache(void)
{
	uint64		generation = es_config_generation();
	HASHCTL		ctl = {.keysize = ES_MAX_WORD + 1,.entrysize = sizeof(EsQueue)};

	if (cache != NULL && cache_generation == generation && hash_get_num_entries(cache) < MAX_QUEUES)
		return;
	cache = NULL;
	es_cache_put_aside(&cache_context);
	cache_context = AllocSetContextCreate(CacheMemoryContext, "eventsource queues", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = cache_context;
	cache = hash_create("eventsource queues", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	cache_generation = generation;
}

static void
build(EsQueue *queue)
{
	EsDefinition *definition;

	queue->max_attempts = ES_QUEUE_MAX_ATTEMPTS;
	queue->backoff = ES_QUEUE_BACKOFF;
	queue->jitter = ES_QUEUE_JITTER;
	queue->max_backoff = ES_QUEUE_MAX_BACKOFF;
	queue->lease = ES_QUEUE_LEASE;
	queue->keep = ES_QUEUE_KEEP;
	queue->max_dead_per_hour = ES_QUEUE_MAX_DEAD;
	if (queue->name[0] == '$')
	{
		queue->owner = es_catalog_owner();
		return;
	}
	definition = es_config_read(ES_QUEUE_KIND, queue->name, 0);
	if (definition != NULL && strcmp(definition->type, ES_QUEUE_DEFINED) == 0)
		read_definition(queue, definition);
}

static void
read_definition(EsQueue *queue, const EsDefinition *definition)
{
	JsonbValue	buffer;
	JsonbValue *jitter = es_json_find(&definition->data->root, "jitter", &buffer);
	char	   *strategy = es_json_find_string(&definition->data->root, "strategy");

	queue->version = definition->version;
	queue->owner = definition->owner;
	queue->workers = es_config_role(definition->data, "workers");
	queue->senders = es_config_role(definition->data, "senders");
	queue->max_attempts = (int32) read_number(definition, "max_attempts");
	queue->backoff = read_number(definition, "backoff");
	queue->is_fixed = strategy != NULL && strcmp(strategy, "fixed") == 0;
	if (jitter != NULL && jitter->type == jbvNumeric)
		queue->jitter = DatumGetFloat8(DirectFunctionCall1(numeric_float8,
														   NumericGetDatum(jitter->val.numeric)));
	queue->max_backoff = read_number(definition, "max_backoff");
	queue->lease = read_number(definition, "lease");
	queue->keep = read_number(definition, "keep");
	queue->max_dead_per_hour = (int32) read_number(definition, "max_dead_per_hour");
}

static int64
read_number(const EsDefinition *definition, const char *member)
{
	int64		number;

	if (!es_json_find_number(&definition->data->root, member, &number))
		elog(ERROR, "definition of queue \"%s\" lacks \"%s\"", definition->name, member);
	return number;
}

/* ---- who may ---- */

const char *
es_queue_name_problem(const char *name)
{
	size_t		length = strlen(name);

	if (length == 0 || length > ES_MAX_WORD)
		return psprintf("must have 1 to %d bytes", ES_MAX_WORD);
	if (name[0] == '$')
		return "names that begin with $ are the database's own";
	for (const char *byte = name; *byte != '\0'; byte++)
		if ((unsigned char) *byte < ' ' || *byte == 0x7f)
			return "must not contain control characters";
	return NULL;
}

/* Its own jobs are for who has the rights of the log's owner. */
static bool
owns(const EsQueue *queue)
{
	if (queue->version == 0 && queue->name[0] != '$')
		return es_rights_writes_all();
	return OidIsValid(queue->owner) ? has_privs_of_role(GetUserId(), queue->owner) : superuser();
}

bool
es_queue_may_work(const text *name)
{
	const EsQueue *queue = es_queue_get(name);

	return owns(queue) || (OidIsValid(queue->workers) && has_privs_of_role(GetUserId(), queue->workers));
}

void
es_queue_expect_worker(const text *name)
{
	if (!es_queue_may_work(name))
		refuse(es_queue_get(name), "work in", "workers", "workers");
}

void
es_queue_expect_sender(const text *name)
{
	const EsQueue *queue;

	expect_name(name);
	queue = es_queue_get(name);
	if (!es_rights_writes_all() && !owns(queue) &&
		!(OidIsValid(queue->senders) && has_privs_of_role(GetUserId(), queue->senders)))
		refuse(queue, "send to", "senders, and for who appends to every category", "senders");
}

static void
expect_name(const text *name)
{
	const char *problem = es_queue_name_problem(text_to_cstring(name));

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no queue can be named so"),
				 errdetail_internal("The name %s.", problem[0] == 'm' ? problem : "begins with $, as those of the database's own do"),
				 errhint("A queue need not be created before: eventsource.enqueue('mail', '{}').")));
}

static void
refuse(const EsQueue *queue, const char *what, const char *who, const char *argument)
{
	if (queue->version == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for queue \"%s\"", queue->name),
				 queue->name[0] == '$' ? errdetail("It is the database's own.") :
				 errdetail("It was not created, and is for roles that append to every category."),
				 queue->name[0] == '$' ? errhint("Let the owner of the extension do it.") :
				 errhint("Have it created: eventsource.create_queue(%s, %s => ...).", quote_literal_cstr(queue->name), argument)));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for queue \"%s\"", queue->name),
			 errdetail("To %s it is for members of its owner and of its role of %s.", what, who),
			 errhint("Become a member of that role. If it has none, its owner can define it anew, with all of its settings: "
					 "eventsource.create_queue(%s, ..., %s => ...).", quote_literal_cstr(queue->name), argument)));
}

/* ---- times ---- */

int64
es_queue_delay(const EsQueue *queue, int failures)
{
	double		delay = (double) queue->backoff;
	double		dice = pg_prng_double(&pg_global_prng_state) * 2 - 1;

	for (int i = 1; !queue->is_fixed && i < failures && delay < (double) queue->max_backoff; i++)
		delay *= 2;
	delay = Min(delay, (double) queue->max_backoff);
	return (int64) Max(delay + delay * queue->jitter * dice, 0);
}

int64
es_queue_length(const Interval *interval, const char *what, int64 least)
{
	double		length = (double) interval->month * DAYS_PER_MONTH * USECS_PER_DAY +
		(double) interval->day * USECS_PER_DAY + (double) interval->time;

	if (!(length >= least && length <= LONGEST))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", what),
				 errdetail("It must be %s and at most a century.", least > 0 ? "more than nothing" : "at least nothing"),
				 errhint("For example '30 seconds'.")));
	return (int64) length;
}
