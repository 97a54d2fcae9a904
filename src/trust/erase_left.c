/*
 * erase_left.c
 *		What an erasure leaves of events, bound by what it records.
 *
 * The hash of an event is of all that it was.  Once some of that is gone, nothing but
 * the erasure's own event, which is hashed itself, can say what the rest was: type,
 * states, times, actor, what personal fields were replaced with.  See log/accounts.h.
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

/* Of a string that is full, or the last one; its bytes stay. */
static void
push_digests(JsonbParseState **state, StringInfo hex)
{
	JsonbValue	value = {.type = jbvString};

	if (hex->len == 0)
		return;
	value.val.string.val = pnstrdup(hex->data, hex->len);
	value.val.string.len = hex->len;
	pushJsonbValue(state, WJB_ELEM, &value);
	resetStringInfo(hex);
}

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

void
es_erasure_push_left(JsonbParseState **state, const EsErasing *erasing)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "eventsource erased event",
											   ALLOCSET_DEFAULT_SIZES);
	Snapshot	snapshot;
	StringInfoData hex;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	initStringInfo(&hex);
	es_json_push_key(state, ES_ERASURE_LEFT);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int64 i = 0; i < erasing->count; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(work);
		uint8		digest[ES_HASH_SIZE];
		bool		is_less;

		CHECK_FOR_INTERRUPTS();
		is_less = digest_of(&erasing->events[i], snapshot, digest);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
		if (!is_less)
			continue;
		enlargeStringInfo(&hex, 2 * ES_HASH_SIZE);
		hex.len += hex_encode((const char *) digest, ES_HASH_SIZE, hex.data + hex.len);
		if (hex.len == ES_ERASURE_LEFT_AT_ONCE * 2 * ES_HASH_SIZE)
			push_digests(state, &hex);
	}
	push_digests(state, &hex);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(work);
}
