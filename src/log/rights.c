/*
 * rights.c
 *		Who may read, and who may append to, which categories.
 *
 * Sets of answers, for the users who asked last: a query and the SECURITY DEFINER
 * functions in it may take turns with each row.  Callbacks only mark them stale, and
 * have plans made anew that went by them.
 */
#include "log/rights.h"

#include "compat.h"
#include "errors.h"
#include "log/cache.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/json.h"
#include "log/stream.h"
#include "log/word.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/syscache.h"

/* What is known of categories by their words, at once. */
#define MAX_VERDICTS	64

typedef struct Verdict
{
	int32		category;
	bool		reads;
} Verdict;

/* Users of whom something is known at once. */
#define MAX_USERS	4

typedef struct Rights
{
	Oid			user;
	bool		reads_all;
	bool		writes_all;
	MemoryContext context;		/* NULL: the rest is not known */
	uint64		generation;		/* that it is of */
	List	   *readable;		/* of char * */
	List	   *writable;
	Verdict		verdicts[MAX_VERDICTS];
	int			n_verdicts;
} Rights;

static bool is_fresh;
static uint64 n_changes;		/* that callbacks told of */
static Oid	function;			/* whose EXECUTE is the right to read all */
static Oid	write_function;
static Rights users[MAX_USERS];
static int	n_users;
static int	next_to_go;
static Rights *current;			/* of the current user, once it was looked for */

static void find_rights(void);
static Rights *enter_user(void);
static void find_categories(void);
static void add_categories(List **list, Jsonb *data, const char *member);
static bool is_among(List *categories, const char *category, int length);
static bool is_open_definition(const text *stream, int category_length);
static bool allows(const text *stream, bool to_write);
ES_NORETURN static void refuse(const char *what, const char *right, const char *grant);

static void
mark_stale(Datum arg, int cache, uint32 hash)
{
	is_fresh = false;
	n_changes++;
	if (cache != PROCOID)
		ResetPlanCache();
}

/* Is what is known that of the current user, and still so? */
static inline void
look(void)
{
	if (unlikely(!is_fresh || current->user != GetUserId()))
		find_rights();
}

static void
find_rights(void)
{
	Oid			role = GetUserId();
	uint64		before = n_changes;
	bool		reads_all;
	bool		writes_all;

	if (!is_fresh)
	{
		while (n_users > 0)
			es_cache_put_aside(&users[--n_users].context);
		function = es_catalog_trigger_function(ES_RIGHTS_READ_ALL);
		write_function = es_catalog_trigger_function(ES_RIGHTS_WRITE_ALL);
	}
	for (int i = 0; i < n_users; i++)
	{
		current = &users[i];
		if (current->user == role)
			return;
	}
	reads_all = OidIsValid(function) && es_compat_may_execute(function, role);
	writes_all = OidIsValid(write_function) && es_compat_may_execute(write_function, role);
	current = enter_user();
	current->user = role;
	current->reads_all = reads_all;
	current->writes_all = writes_all;
	/* What was looked up first may have changed meanwhile. */
	is_fresh = n_changes == before;
}

/* In the place of another if there are many. */
static Rights *
enter_user(void)
{
	if (n_users < MAX_USERS)
		return &users[n_users++];
	next_to_go = (next_to_go + 1) % MAX_USERS;
	es_cache_put_aside(&users[next_to_go].context);
	return &users[next_to_go];
}

/* Definitions of all roles are read: they are few. */
static void
find_categories(void)
{
	uint64		generation = es_config_generation();
	MemoryContext caller;
	MemoryContext building;
	List	   *reads = NIL;
	List	   *writes = NIL;
	ListCell   *lc;

	look();
	if (current->context != NULL && current->generation == generation)
		return;
	es_cache_put_aside(&current->context);
	building = AllocSetContextCreate(CurrentMemoryContext, "eventsource rights", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(building);
	foreach(lc, es_config_list(ES_RIGHTS_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		Oid			role = es_config_role(definition->data, "role");

		if (!OidIsValid(role) || !has_privs_of_role(current->user, role))
			continue;
		add_categories(&reads, definition->data, "read");
		add_categories(&writes, definition->data, "write");
	}
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(building, CacheMemoryContext);
	current->context = building;
	current->generation = generation;
	current->readable = reads;
	current->writable = writes;
	current->n_verdicts = 0;
}

static void
add_categories(List **list, Jsonb *data, const char *member)
{
	JsonbValue	buffer;
	JsonbValue *array = es_json_find(&data->root, member, &buffer);
	JsonbValue *elements;
	int			count;

	if (array == NULL || !es_json_is_array(array))
		return;
	count = es_json_elements(array, &elements);
	for (int i = 0; i < count; i++)
	{
		char	   *category = es_json_string(&elements[i]);

		if (!is_among(*list, category, strlen(category)))
			*list = lappend(*list, category);
	}
}

static bool
is_among(List *categories, const char *category, int length)
{
	ListCell   *lc;

	foreach(lc, categories)
	{
		const char *each = lfirst(lc);

		if (strncmp(each, category, length) == 0 && each[length] == '\0')
			return true;
	}
	return false;
}

bool
es_rights_reads_all(void)
{
	look();
	return current->reads_all;
}

bool
es_rights_writes_all(void)
{
	look();
	return current->writes_all;
}

Oid
es_rights_function(void)
{
	look();
	return function;
}

bool
es_rights_reads(const char *category)
{
	if (es_rights_reads_all())
		return true;
	find_categories();
	return is_among(current->readable, category, strlen(category));
}

bool
es_rights_reads_word(int32 category)
{
	const text *word;
	Verdict    *verdict;

	if (es_rights_reads_all())
		return true;
	find_categories();
	for (int i = 0; i < current->n_verdicts; i++)
		if (current->verdicts[i].category == category)
			return current->verdicts[i].reads;
	word = es_word_text(category);
	if (current->n_verdicts == MAX_VERDICTS)
		current->n_verdicts = 0;
	verdict = &current->verdicts[current->n_verdicts];
	verdict->category = category;
	verdict->reads = word != NULL && is_among(current->readable, VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word));
	current->n_verdicts++;
	return verdict->reads;
}

/* Definitions that views show by reading their streams; none that names a stream or a subject. */
static bool
is_open_definition(const text *stream, int category_length)
{
	static const char *const open[] = {"-state_machine.", "-category.", "-event_type.", "-retention."};
	const char *name = VARDATA_ANY(stream);
	int			length = VARSIZE_ANY_EXHDR(stream);

	if (category_length != (int) strlen(ES_CONFIG_CATEGORY) ||
		memcmp(name, ES_CONFIG_CATEGORY, category_length) != 0)
		return false;
	for (int i = 0; i < (int) lengthof(open); i++)
	{
		int			n = strlen(open[i]);

		if (length - category_length > n && memcmp(name + category_length, open[i], n) == 0)
			return true;
	}
	return false;
}

static bool
allows(const text *stream, bool to_write)
{
	int			length = es_stream_category_length(stream);

	find_categories();
	return is_among(to_write ? current->writable : current->readable, VARDATA_ANY(stream), length) ||
		(!to_write && is_open_definition(stream, length));
}

bool
es_rights_reads_stream(const text *stream)
{
	return es_rights_reads_all() || allows(stream, false);
}

List *
es_rights_categories(void)
{
	find_categories();
	return current->readable;
}

bool
es_rights_reads_each(List *categories)
{
	ListCell   *lc;

	if (es_rights_reads_all())
		return true;
	if (categories == NIL)
		return false;
	foreach(lc, categories)
		if (!es_rights_reads(lfirst(lc)))
		return false;
	return true;
}

static void
refuse(const char *what, const char *right, const char *grant)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for %s", what),
			 errdetail("Role \"%s\" %s.", GetUserNameFromId(GetUserId(), false), right),
			 errhint("The owner of the extension gives such rights with eventsource.%s.", grant)));
}

void
es_rights_expect_read(const char *category)
{
	if (!es_rights_reads(category))
		refuse(psprintf("category \"%s\"", category), "may read certain categories only, and this is none of them",
			   psprintf("grant_reader('role', '{%s}')", category));
}

void
es_rights_expect_read_each(List *categories, const char *what)
{
	if (!es_rights_reads_each(categories))
		refuse(what, "may not read all categories that it is made of",
			   "grant_reader('role', '{category, ...}')");
}

static char *
category_of(const text *stream)
{
	return pnstrdup(VARDATA_ANY(stream), es_stream_category_length(stream));
}

void
es_rights_expect_read_stream(const text *stream)
{
	if (!es_rights_reads_stream(stream))
		es_rights_expect_read(category_of(stream));
}

void
es_rights_expect_write_stream(const text *stream)
{
	look();
	if (likely(current->writes_all) || allows(stream, true))
		return;
	refuse(psprintf("category \"%s\"", category_of(stream)), "may append to certain categories only, and this is none of them",
		   psprintf("grant_writer('role', '{%s}')", category_of(stream)));
}

void
es_rights_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, mark_stale, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, mark_stale, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, mark_stale, (Datum) 0);
}
