/*
 * define.c
 *		Definitions enter the log through the hall like any event.
 */
#include "append/define.h"

#include "append/draft.h"
#include "append/hall.h"
#include "errors.h"
#include "log/json.h"
#include "log/open.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/*
 * The definition with its owner: the current user, whose rights it will have.
 * The OID holds in this database alone, which the moment of opening tells.
 */
static Jsonb *
with_owner(Jsonb *data)
{
	JsonbParseState *state = NULL;
	TimestampTz opened_at;

	if (!es_log_opened_at(&opened_at))
	{
		es_segment_open_log();
		if (!es_log_opened_at(&opened_at))
			elog(ERROR, "could not open the log");
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_members(&state, data);
	es_json_push_string(&state, "owner", GetUserNameFromId(GetUserId(), false));
	es_json_push_number(&state, "owner_oid", GetUserId());
	es_json_push_number(&state, "owner_opened", opened_at);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
es_define_lock(const char *kind, const char *name)
{
	es_stream_lock(cstring_to_text(psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, kind, name)));
}

int64
es_define(const char *kind, const char *name, const char *type, Jsonb *data)
{
	EsDraft		draft;
	EsAppended	result;
	EsBatch    *batch;

	es_draft_init(&draft);
	draft.stream = cstring_to_text(psprintf("%s-%s.%s", ES_CONFIG_CATEGORY, kind, name));
	draft.type = cstring_to_text(type);
	draft.data = with_owner(data);
	draft.is_definition = true;

	batch = es_batch_begin();
	es_batch_add(batch, &draft, &result);
	es_batch_flush(batch);
	es_batch_end(batch);
	return result.version;
}
