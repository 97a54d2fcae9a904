/*
 * define.c
 *		Definitions enter the log through the hall like any event.
 */
#include "append/define.h"

#include "append/draft.h"
#include "append/hall.h"
#include "errors.h"
#include "log/open.h"
#include "log/segment.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

static void
put_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
	v.type = jbvNumeric;
	v.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_VALUE, &v);
}

/*
 * The definition with its owner: the current user, whose rights it will have.
 * The OID holds in this database alone, which the moment of opening tells.
 */
static Jsonb *
with_owner(Jsonb *data)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&data->root);
	JsonbValue	v;
	JsonbIteratorToken token = JsonbIteratorNext(&it, &v, true);
	char	   *owner = GetUserNameFromId(GetUserId(), false);
	TimestampTz opened_at;

	if (!es_log_opened_at(&opened_at))
	{
		es_segment_open_log();
		if (!es_log_opened_at(&opened_at))
			elog(ERROR, "could not open the log");
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_END_OBJECT)
		pushJsonbValue(&state, token, &v);
	v.type = jbvString;
	v.val.string.val = "owner";
	v.val.string.len = strlen("owner");
	pushJsonbValue(&state, WJB_KEY, &v);
	v.val.string.val = owner;
	v.val.string.len = strlen(owner);
	pushJsonbValue(&state, WJB_VALUE, &v);
	put_number(&state, "owner_oid", GetUserId());
	put_number(&state, "owner_opened", opened_at);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
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
