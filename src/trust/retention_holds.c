/*
 * retention_holds.c
 *		What keeps events that have expired: legal holds, and those who have not dealt
 *		with them yet.
 *
 * Read anew for each use; memory is the caller's.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "log/config.h"
#include "log/json.h"
#include "log/needs.h"
#include "log/stream.h"
#include "log/word.h"
#include "trust/retention.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static void load_needs(EsHolds *holds);
static HTAB *new_names(const char *what);
static void add_name(HTAB *names, const text *name);
static bool has_name(HTAB *names, const text *name);

EsHolds *
es_holds_load(void)
{
	EsHolds    *holds = palloc(sizeof(EsHolds));
	ListCell   *lc;

	holds->streams = new_names("eventsource held streams");
	holds->subjects = new_names("eventsource held subjects");
	load_needs(holds);
	foreach(lc, es_config_list(ES_HOLD_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		char	   *stream = es_json_find_string(&definition->data->root, "stream");
		char	   *subject = es_json_find_string(&definition->data->root, "subject");

		if (strcmp(definition->type, ES_HOLD_PLACED) != 0)
			continue;
		if (stream != NULL)
			add_name(holds->streams, cstring_to_text(stream));
		if (subject != NULL)
			add_name(holds->subjects, cstring_to_text(subject));
	}
	return holds;
}

typedef struct Owed
{
	int64		stream_id;
	const char *who;
} Owed;

static void
load_needs(EsHolds *holds)
{
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(Owed),.hcxt = CurrentMemoryContext};
	ListCell   *lc;

	holds->needs = NIL;
	holds->owed = hash_create("eventsource owed streams", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach(lc, es_needs_list())
	{
		const EsNeed *need = lfirst(lc);

		if (need->stream_id == 0)
			holds->needs = lappend(holds->needs, unconstify(EsNeed *, need));
		else
			((Owed *) hash_search(holds->owed, &need->stream_id, HASH_ENTER, NULL))->who = need->who;
	}
}

const char *
es_holds_owed(const EsHolds *holds, int64 stream_id)
{
	const Owed *owed = hash_get_num_entries(holds->owed) == 0 ? NULL :
		hash_search(holds->owed, &stream_id, HASH_FIND, NULL);

	return owed == NULL ? NULL : owed->who;
}

static bool
reads_category(const EsNeed *need, int32 category)
{
	ListCell   *lc;

	foreach(lc, need->categories)
		if (es_word_is(category, lfirst(lc)))
		return true;
	return need->categories == NIL;
}

int64
es_holds_upto(const EsHolds *holds, int32 category, const char **who)
{
	int64		result = PG_INT64_MAX;
	ListCell   *lc;

	*who = NULL;
	foreach(lc, holds->needs)
	{
		const EsNeed *need = lfirst(lc);

		if (need->after >= result || !reads_category(need, category))
			continue;
		result = need->after;
		*who = need->who;
	}
	return result;
}

static HTAB *
new_names(const char *what)
{
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(uint64),.hcxt = CurrentMemoryContext};

	return hash_create(what, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static uint64
hash_name(const text *name)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), 0);
}

static void
add_name(HTAB *names, const text *name)
{
	uint64		hash = hash_name(name);

	(void) hash_search(names, &hash, HASH_ENTER, NULL);
}

static bool
has_name(HTAB *names, const text *name)
{
	uint64		hash = hash_name(name);

	return hash_get_num_entries(names) > 0 && hash_search(names, &hash, HASH_FIND, NULL) != NULL;
}

bool
es_holds_any_subject(const EsHolds *holds)
{
	return hash_get_num_entries(holds->subjects) > 0;
}

bool
es_holds_stream(const EsHolds *holds, const text *stream)
{
	return has_name(holds->streams, stream);
}

bool
es_holds_subject(const EsHolds *holds, const text *subject)
{
	return has_name(holds->subjects, subject);
}

static void
refuse_held(const char *what, const text *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s \"%s\" is under legal hold", what, text_to_cstring(name)),
			 errdetail("What is recorded about it must stay as it is while the hold lasts: see eventsource.holds."),
			 errhint("eventsource.release_hold() ends it; mode soft hides the personal data meanwhile.")));
}

void
es_holds_expect_none(const text *subject, const int64 *streams, int64 n_streams)
{
	EsHolds    *holds = es_holds_load();

	if (es_holds_subject(holds, subject))
		refuse_held("subject", subject);
	if (hash_get_num_entries(holds->streams) == 0)
		return;
	for (int64 i = 0; i < n_streams; i++)
	{
		const text *name = es_stream_name(streams[i]);

		if (es_holds_stream(holds, name))
			refuse_held("stream", name);
	}
}
