/*
 * chain_check.c
 *		Whether events are what their hashes say, and whole from the first on.
 *
 * Who goes through the log by position meets all streams at once: the end of each
 * one's chain stands in a hash table.  An event is held against the hash that is
 * stored with the one before, so that one that was changed spoils no other.
 */
#include "log/chain_check.h"

#include "log/chain.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

struct EsChainCheck
{
	HTAB	   *ends;
};

typedef struct ChainEnd
{
	int64		stream_id;		/* key */
	int64		version;
	uint8		hash[ES_HASH_SIZE];
} ChainEnd;

EsChainCheck *
es_chain_check_begin(void)
{
	EsChainCheck *check = palloc(sizeof(EsChainCheck));
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(ChainEnd);
	ctl.hcxt = CurrentMemoryContext;
	check->ends = hash_create("eventsource chain ends", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return check;
}

void
es_chain_check_event(EsChainCheck *check, const EsEvent *event, EsChainVerdict *verdict)
{
	uint8		hash[ES_HASH_SIZE];
	bool		found;
	ChainEnd   *end = hash_search(check->ends, &event->stream_id, HASH_ENTER, &found);
	int64		version = DatumGetInt64(event->value[ES_EVENT_VERSION]);
	bytea	   *stored = (bytea *) DatumGetPointer(event->value[ES_EVENT_HASH]);

	if (!found)
	{
		end->version = 0;
		memset(end->hash, 0, ES_HASH_SIZE);
	}
	es_chain_hash(event, end->hash, hash);
	verdict->after = end->version;
	verdict->follows = version == end->version + 1;
	verdict->matches = VARSIZE_ANY_EXHDR(stored) == ES_HASH_SIZE &&
		memcmp(VARDATA_ANY(stored), hash, ES_HASH_SIZE) == 0;
	memcpy(end->hash, VARDATA_ANY(stored), Min(ES_HASH_SIZE, VARSIZE_ANY_EXHDR(stored)));
	end->version = version;
}

void
es_chain_check_end(EsChainCheck *check)
{
	hash_destroy(check->ends);
	pfree(check);
}
