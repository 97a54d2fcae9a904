/*
 * chain_check.c
 *		Whether events are what their hashes say, and whole from the first on.
 *
 * Who goes through the log by position meets all streams at once: the end of each
 * one's chain stands in a hash table.  An event is held against the hash that is
 * stored with the one before, so that one that was changed spoils no other.  The table
 * takes maintenance_work_mem at most; then it is begun anew, and what a stream that was
 * in it goes on from is looked up in the log.
 *
 * A tombstone's payload is gone; its hash is what it was, which the next event and
 * the sealed tree are held against.  Personal fields may be gone, or replaced, beside
 * their commitments.  Either is lawful only if an erasure of the subject that the log
 * tells of came after the event, and has left just that (log/accounts.h).
 */
#include "log/chain_check.h"

#include "log/accounts.h"
#include "log/chain.h"
#include "log/event.h"
#include "log/pruned.h"
#include "log/read.h"
#include "log/vault.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct ChainEnd
{
	int64		stream_id;		/* key */
	int64		version;
	uint8		hash[ES_HASH_SIZE];
} ChainEnd;

/* An entry of the table, with what it costs there. */
#define END_BYTES	(sizeof(ChainEnd) + 32)

struct EsChainCheck
{
	MemoryContext context;		/* of the table */
	HTAB	   *ends;
	long		max_ends;
	bool		has_forgotten;	/* the table was begun anew */
	Snapshot	snapshot;

	EsAccounts *accounts;
};

static void
begin_table(EsChainCheck *check)
{
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(ChainEnd),.hcxt = check->context};

	check->ends = hash_create("eventsource chain ends", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

EsChainCheck *
es_chain_check_begin(Snapshot snapshot)
{
	EsChainCheck *check = palloc0(sizeof(EsChainCheck));

	check->context = CurrentMemoryContext;
	check->max_ends = maintenance_work_mem * (Size) 1024 / END_BYTES;
	check->snapshot = snapshot;
	check->accounts = es_accounts_begin(snapshot);
	begin_table(check);
	return check;
}

/*
 * The last event of its stream before this one, if it has the version before this or, as
 * none may, a later one; else that with the version before, wherever it is.
 */
static bool
find_before(const EsChainCheck *check, const EsEvent *event, EsHead *head)
{
	int64		position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	int64		before = DatumGetInt64(event->value[ES_EVENT_VERSION]) - 1;
	const text *stream = es_event_text(event, ES_EVENT_STREAM);
	EsScan	   *scan = es_scan_stream(stream, Max(before, 1), false, check->snapshot);
	bool		found = false;
	HeapTuple	row;

	while ((row = es_scan_next_tuple(scan)) != NULL)
	{
		EsHead		candidate;

		es_event_read_head(row, &candidate);
		if (candidate.version != before && es_event_position(row) >= position)
			break;
		*head = candidate;
		found = true;
	}
	es_scan_end(scan);
	return found;
}

/* What the first event that is met of a stream, or met again, follows. */
static void
begin_chain(const EsChainCheck *check, const EsEvent *event, ChainEnd *end)
{
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	EsHead		head;

	end->version = 0;
	memset(end->hash, 0, ES_HASH_SIZE);
	if (version == 1 && !check->has_forgotten)
		return;
	if (!find_before(check, event, &head) &&
		(!es_pruned_head(event->stream_id, &head) || head.version != version - 1))
		return;
	end->version = head.version;
	memcpy(end->hash, head.hash, ES_HASH_SIZE);
}

/* The end of an event's stream, before the event. */
static ChainEnd *
find_end(EsChainCheck *check, const EsEvent *event)
{
	ChainEnd   *end = hash_search(check->ends, &event->stream_id, HASH_FIND, NULL);

	if (end != NULL)
		return end;
	if (hash_get_num_entries(check->ends) >= check->max_ends)
	{
		hash_destroy(check->ends);
		begin_table(check);
		check->has_forgotten = true;
	}
	end = hash_search(check->ends, &event->stream_id, HASH_ENTER, NULL);
	begin_chain(check, event, end);
	return end;
}

/* A tombstone's is not of what is there. */
static const char *
check_hash(const EsEvent *event, const ChainEnd *end)
{
	bytea	   *stored = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);
	uint8		hash[ES_HASH_SIZE];

	if (VARSIZE_ANY_EXHDR(stored) == ES_HASH_SIZE && (event->flags & ES_EVENT_ERASED) != 0)
		return NULL;
	es_chain_hash(event, end->hash, hash);
	if (VARSIZE_ANY_EXHDR(stored) != ES_HASH_SIZE || memcmp(VARDATA_ANY(stored), hash, ES_HASH_SIZE) != 0)
		return "hash does not match the event and the one before it";
	return NULL;
}

static const char *
check_personal(EsVaultVerdict verdict)
{
	switch (verdict)
	{
		case ES_VAULT_MISSING:
			return "its personal fields are missing";
		case ES_VAULT_STRAY:
			return "its personal fields are kept as those of another stream or subject";
		case ES_VAULT_TAMPERED:
			return "personal fields are not those that were recorded";
		case ES_VAULT_REDACTED:
		case ES_VAULT_INTACT:
			break;
	}
	return NULL;
}

/* What was erased of it, and only that, is what an erasure of its subject says. */
static const char *
check_erasure(EsChainCheck *check, const EsEvent *event, EsVaultVerdict verdict, const EsVaultRow *vault)
{
	const text *stream = es_event_text(event, ES_EVENT_STREAM);
	bool		is_own = stream != NULL && VARDATA_ANY(stream)[0] == '$';
	EsAccount  *account = is_own ? NULL :
		es_accounts_find(check->accounts, es_event_text(event, ES_EVENT_SUBJECT));
	int64		position = DatumGetInt64(event->value[ES_EVENT_POSITION]);
	bool		is_erased = (event->flags & ES_EVENT_ERASED) != 0;
	bool		is_final = account != NULL && account->mode != ES_ERASED_NOT;
	bool		is_hidden = vault != NULL && vault->state == ES_VAULT_HIDDEN;
	bool		shall_be_hidden = account != NULL && position <= account->hidden_upto;
	uint8		digest[ES_HASH_SIZE];

	if (is_erased && !(is_final && account->mode == ES_ERASED_HARD && position <= account->upto))
		return "it is a tombstone, but no erasure of its subject accounts for it";
	if (verdict == ES_VAULT_REDACTED && !(is_final && position <= account->upto))
		return "personal fields were taken away, but no erasure of its subject accounts for it";
	if (is_hidden && !shall_be_hidden)
		return "personal fields are hidden, but no erasure of its subject accounts for it";
	if (vault != NULL && !is_hidden && shall_be_hidden)
		return "personal fields are shown, though an erasure of its subject has hidden them";
	if (!is_final)
		return NULL;
	if (position > account->upto)
		return "it is about a subject that was erased before";
	if (!is_erased && account->mode == ES_ERASED_HARD)
		return "its data is there, though an erasure of its subject has taken it away";
	if (!is_erased && vault == NULL)
		return NULL;
	account->met++;
	es_chain_left(event, vault == NULL ? NULL : &vault->personal, digest);
	return es_accounts_has_left(check->accounts, account, digest) ? NULL :
		"it is not what the erasure of its subject has left";
}

void
es_chain_check_event(EsChainCheck *check, const EsEvent *event, EsChainVerdict *verdict)
{
	ChainEnd   *end = find_end(check, event);
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	bytea	   *stored = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);
	EsVaultVerdict vault = ES_VAULT_INTACT;
	EsVaultRow	row;

	verdict->after = end->version;
	verdict->follows = version == end->version + 1;
	verdict->problem = check_hash(event, end);
	if (verdict->problem == NULL && event->commitment != NULL)
		vault = es_vault_verify(event, check->snapshot, &row);
	if (verdict->problem == NULL)
		verdict->problem = check_personal(vault);
	if (verdict->problem == NULL)
		verdict->problem = check_erasure(check, event, vault, event->commitment != NULL ? &row : NULL);
	verdict->is_redacted = (event->flags & ES_EVENT_ERASED) != 0 || vault == ES_VAULT_REDACTED;
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

EsAccounts *
es_chain_check_accounts(const EsChainCheck *check)
{
	return check->accounts;
}

void
es_chain_check_end(EsChainCheck *check)
{
	es_accounts_end(check->accounts);
	hash_destroy(check->ends);
	pfree(check);
}
