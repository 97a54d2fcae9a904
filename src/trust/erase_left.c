/*
 * erase_left.c
 *		What an erasure leaves of events, bound by what it records.
 *
 * The hash of an event is of all that it was.  Once some of that is gone, nothing but
 * the erasure's own event, which is hashed itself, can say what the rest was: type,
 * states, times, actor, what personal fields were replaced with.  See log/accounts.h.
 * What one event cannot hold is recorded before it, in events of their own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "log/accounts.h"
#include "log/chain.h"
#include "log/json.h"
#include "log/read.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "trust/erase.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* False: all of it is there. */
static bool
digest_of(const EsAbout *about, Snapshot snapshot, uint8 *digest)
{
	EsScan	   *scan = es_scan_whole_log(about->position - 1, about->position, snapshot);
	bool		is_less = false;
	EsEvent		event;
	EsVaultRow	row;

	es_scan_expect(scan, 1);
	es_scan_as_stored(scan);
	if (!es_scan_next(scan, &event))
		elog(ERROR, "no event at position " INT64_FORMAT, about->position);
	if (event.commitment != NULL || (event.flags & ES_EVENT_ERASED) != 0)
	{
		/*
		 * Where the vault is not what it should be, it will be told, erased
		 * or not.
		 */
		EsVaultVerdict verdict = event.commitment == NULL ? ES_VAULT_MISSING :
			es_vault_verify(&event, snapshot, &row);

		es_chain_left(&event,
					  verdict == ES_VAULT_MISSING || verdict == ES_VAULT_STRAY ? NULL : &row.personal,
					  digest);
		is_less = true;
	}
	es_scan_end(scan);
	return is_less;
}

/*
 * Digests of events from *next on, as many as an event may hold: strings in hexadecimal
 * digits, StringInfo.
 */
static List *
collect_some(const EsErasing *erasing, Snapshot snapshot, MemoryContext work, int64 *next)
{
	List	   *strings = NIL;
	StringInfo	hex = NULL;
	int			count = 0;

	for (; *next < erasing->count && count < ES_ERASURE_LEFT_IN_EVENT; (*next)++)
	{
		MemoryContext caller = MemoryContextSwitchTo(work);
		uint8		digest[ES_HASH_SIZE];
		bool		is_less;

		CHECK_FOR_INTERRUPTS();
		is_less = digest_of(&erasing->events[*next], snapshot, digest);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
		if (!is_less)
			continue;
		if (count++ % ES_ERASURE_LEFT_AT_ONCE == 0)
		{
			hex = makeStringInfo();
			strings = lappend(strings, hex);
		}
		enlargeStringInfo(hex, 2 * ES_HASH_SIZE);
		hex->len += hex_encode((const char *) digest, ES_HASH_SIZE, hex->data + hex->len);
	}
	return strings;
}

/* The strings stay as long as the object is built. */
static void
push_strings(JsonbParseState **state, List *strings)
{
	ListCell   *lc;

	es_json_push_key(state, ES_ERASURE_LEFT);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, strings)
	{
		StringInfo	hex = lfirst(lc);
		JsonbValue	value = {.type = jbvString};

		value.val.string.val = hex->data;
		value.val.string.len = hex->len;
		pushJsonbValue(state, WJB_ELEM, &value);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
append_part(const EsErasing *erasing, List *strings, const text *reason, const text *actor)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, ES_ERASURE_MODE, es_erased_mode_name(erasing->mode));
	push_strings(&state, strings);
	(void) es_erasure_append(erasing->subject, ES_ERASURE_PART,
							 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)), reason, actor);
}

void
es_erasure_push_left(JsonbParseState **state, const EsErasing *erasing, const text *reason, const text *actor)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource erased event",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext parts = AllocSetContextCreate(CurrentMemoryContext, "eventsource erasure's part",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(parts);
	Snapshot	snapshot;
	List	   *strings;
	int64		next = 0;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	strings = collect_some(erasing, snapshot, work, &next);
	while (next < erasing->count)
	{
		append_part(erasing, strings, reason, actor);
		MemoryContextReset(parts);
		strings = collect_some(erasing, snapshot, work, &next);
	}
	UnregisterSnapshot(snapshot);
	MemoryContextSwitchTo(caller);
	push_strings(state, strings);
	MemoryContextDelete(work);
}
