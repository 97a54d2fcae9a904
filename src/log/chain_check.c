/*
 * chain_check.c
 *		Whether events are what their hashes say, and whole from the first on.
 *
 * Who goes through the log by position meets all streams at once: the end of each
 * one's chain stands in a hash table.  An event is held against the hash that is
 * stored with the one before, so that one that was changed spoils no other.
 *
 * A tombstone's payload is gone; its hash is what it was, which the next event and
 * the sealed tree are held against.  Personal fields may be gone, or replaced, beside
 * their commitments.  Either is lawful only if an erasure of the subject that the log
 * tells of came after the event.
 */
#include "log/chain_check.h"

#include "log/chain.h"
#include "log/erased.h"
#include "log/event.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/vault.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

struct EsChainCheck
{
	HTAB	   *ends;
	Snapshot	snapshot;

	/* The subject asked for last: those of one come together, most often. */
	MemoryContext context;
	const text *subject;
	EsErasedUpto erased;
};

typedef struct ChainEnd
{
	int64		stream_id;		/* key */
	int64		version;
	uint8		hash[ES_HASH_SIZE];
} ChainEnd;

EsChainCheck *
es_chain_check_begin(Snapshot snapshot)
{
	EsChainCheck *check = palloc0(sizeof(EsChainCheck));
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(ChainEnd);
	ctl.hcxt = CurrentMemoryContext;
	check->snapshot = snapshot;
	check->ends = hash_create("eventsource chain ends", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	check->context = AllocSetContextCreate(CurrentMemoryContext, "eventsource erased subject",
										   ALLOCSET_SMALL_SIZES);
	return check;
}

/* What a stream's first event that is met follows. */
static void
begin_chain(const EsChainCheck *check, const EsEvent *event, ChainEnd *end)
{
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	EsHead		head;
	EsScan	   *scan;
	HeapTuple	row;

	end->version = 0;
	memset(end->hash, 0, ES_HASH_SIZE);
	if (version == 1)
		return;
	if (!es_pruned_head(event->stream_id, &head) || head.version != version - 1)
	{
		scan = es_scan_stream(es_event_text(event, ES_EVENT_STREAM), version - 1, false, check->snapshot);
		row = es_scan_next_tuple(scan);
		if (row != NULL)
			es_event_read_head(row, &head);
		es_scan_end(scan);
		if (row == NULL || head.version != version - 1)
			return;
	}
	end->version = head.version;
	memcpy(end->hash, head.hash, ES_HASH_SIZE);
}

static const EsErasedUpto *
find_erased(EsChainCheck *check, const EsEvent *event)
{
	const text *subject = es_event_text(event, ES_EVENT_SUBJECT);

	if (!es_text_same(check->subject, subject))
	{
		MemoryContext caller = MemoryContextSwitchTo(check->context);

		check->subject = NULL;
		MemoryContextReset(check->context);
		es_erased_upto(subject, check->snapshot, &check->erased);
		check->subject = cstring_to_text_with_len(VARDATA_ANY(subject), VARSIZE_ANY_EXHDR(subject));
		MemoryContextSwitchTo(caller);
	}
	return &check->erased;
}

static const char *
check_hash(EsChainCheck *check, const EsEvent *event, const ChainEnd *end, bool *is_redacted)
{
	bytea	   *stored = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);
	uint8		hash[ES_HASH_SIZE];

	if (VARSIZE_ANY_EXHDR(stored) == ES_HASH_SIZE && (event->flags & ES_EVENT_ERASED) != 0)
	{
		*is_redacted = true;
		if (DatumGetInt64(event->value[ES_EVENT_POSITION]) > find_erased(check, event)->payload)
			return "it is a tombstone, but no erasure of its subject accounts for it";
		return NULL;
	}
	es_chain_hash(event, end->hash, hash);
	if (VARSIZE_ANY_EXHDR(stored) != ES_HASH_SIZE || memcmp(VARDATA_ANY(stored), hash, ES_HASH_SIZE) != 0)
		return "hash does not match the event and the one before it";
	return NULL;
}

static const char *
check_personal(EsChainCheck *check, const EsEvent *event, bool *is_redacted)
{
	switch (es_vault_verify(event, check->snapshot))
	{
		case ES_VAULT_MISSING:
			return "its personal fields are missing";
		case ES_VAULT_STRAY:
			return "its personal fields are kept as those of another stream or subject";
		case ES_VAULT_TAMPERED:
			return "personal fields are not those that were recorded";
		case ES_VAULT_REDACTED:
			*is_redacted = true;
			if (DatumGetInt64(event->value[ES_EVENT_POSITION]) > find_erased(check, event)->personal)
				return "personal fields were taken away, but no erasure of its subject accounts for it";
			return NULL;
		case ES_VAULT_INTACT:
			break;
	}
	return NULL;
}

void
es_chain_check_event(EsChainCheck *check, const EsEvent *event, EsChainVerdict *verdict)
{
	bool		found;
	ChainEnd   *end = hash_search(check->ends, &event->stream_id, HASH_ENTER, &found);
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	bytea	   *stored = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);

	if (!found)
		begin_chain(check, event, end);
	verdict->after = end->version;
	verdict->follows = version == end->version + 1;
	verdict->is_redacted = false;
	verdict->problem = check_hash(check, event, end, &verdict->is_redacted);
	if (verdict->problem == NULL && event->commitment != NULL)
		verdict->problem = check_personal(check, event, &verdict->is_redacted);
	verdict->matches = verdict->problem == NULL;
	memcpy(end->hash, VARDATA_ANY(stored), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(stored)));
	end->version = version;
}

const char *
es_chain_gap(const EsChainVerdict *verdict, const EsEvent *event)
{
	return verdict->follows ? NULL :
		psprintf("version " INT64_FORMAT " does not follow version " INT64_FORMAT,
				 DatumGetInt64(event->value[ES_EVENT_VERSION]), verdict->after);
}

void
es_chain_check_end(EsChainCheck *check)
{
	MemoryContextDelete(check->context);
	hash_destroy(check->ends);
	pfree(check);
}
