/*
 * repeat.c
 *		Events that are told again: by their idempotency keys, whose scope is the stream.
 *
 * The stream is locked, so what has the key is written, or waits in the batch.
 */
#include "append/batch.h"

#include "append/personal.h"
#include "errors.h"
#include "log/idempotency.h"
#include "log/read.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* An event that is decided and not written. */
static bool
find_pending(EsBatch *batch, int64 stream_id, int64 version, EsEvent *event)
{
	for (int i = batch->n_events - 1; i >= 0; i--)
	{
		*event = batch->events[i];
		if (event->stream_id == stream_id && DatumGetInt64(event->value[ES_EVENT_VERSION]) == version)
			return true;
	}
	return false;
}

bool
es_batch_find_duplicate(EsBatch *batch, const EsDraft *draft, EsAppended *result)
{
	uint8		digest[ES_HASH_SIZE];
	uint8		stored[ES_HASH_SIZE];
	EsScan	   *scan;
	EsEvent		event;

	result->version = batch->last.stream.id == 0 ? 0 :
		es_idempotency_find(batch->last.stream.id, draft->idempotency_key, stored);
	if (result->version == 0)
		return false;
	scan = es_scan_stream(draft->stream, result->version, false, SnapshotSelf);
	es_scan_as_stored(scan);
	if ((!es_scan_next(scan, &event) || DatumGetInt64(event.value[ES_EVENT_VERSION]) != result->version) &&
		!find_pending(batch, batch->last.stream.id, result->version, &event))
		memset(&event, 0, sizeof(event));
	es_personal_digest(draft, &event, digest);
	if (memcmp(digest, stored, ES_HASH_SIZE) != 0)
		ereport(ERROR,
				(errcode(ES_ERRCODE_IDEMPOTENCY_CONFLICT),
				 errmsg("idempotency key \"%s\" was used for another event",
						text_to_cstring(draft->idempotency_key)),
				 errdetail("Version " INT64_FORMAT " of stream \"%s\" has this key, with other content.",
						   result->version, text_to_cstring(draft->stream)),
				 errhint("Use a new key for a new event; repeat the event unchanged to get its first result.")));
	result->position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
	result->state = es_event_text(&event, ES_EVENT_TO_STATE);	/* lasts: a word */
	es_scan_end(scan);
	result->stream = draft->stream;
	result->is_duplicate = true;
	return true;
}
