/*
 * own_event.c
 *		Events that the log records of its own doings.
 */
#include "append/own_event.h"

#include "append/draft.h"
#include "append/hall.h"
#include "utils/builtins.h"

int64
es_own_event_append(const text *stream, const char *type, const text *subject, Jsonb *data,
					const text *reason, const text *actor)
{
	EsBatch    *batch = es_batch_begin();
	EsDraft		draft;
	EsAppended	result;

	es_draft_init(&draft);
	draft.stream = stream;
	draft.type = cstring_to_text(type);
	draft.subject = subject != NULL ? subject : stream;
	draft.data = data;
	draft.reason = reason;
	draft.actor = actor;
	draft.is_own = true;
	es_batch_add(batch, &draft, &result);
	es_batch_flush(batch);
	es_batch_end(batch);
	return result.position;
}
