/*
 * track_text.c
 *		The definition of a tracked table as it is written in the log.
 *
 * A column has an id that stays with it.  Its number holds as long as the table
 * is the one that was defined, in the same incarnation of the log; else its name
 * tells which it is.
 */
#include "capture/track_text.h"

#include "log/json.h"
#include "utils/builtins.h"

static void read_column(JsonbValue *value, EsColumnText *column);
static bool to_flag(const JsonbValue *value);
static Jsonb *to_object(JsonbValue *value);
static void put_column(JsonbParseState **state, const EsColumnText *column);
static EsColumnText *find_column(const EsTrackingText *definition, Form_pg_attribute att, bool by_name);

void
es_tracking_read(Jsonb *data, EsTrackingText *definition)
{
	JsonbValue	root;
	EsJsonPair *pairs;
	int			count;

	memset(definition, 0, sizeof(*definition));
	es_json_value(data, &root);
	count = es_json_pairs(&root, &pairs);
	for (int i = 0; i < count; i++)
	{
		char	   *key = es_json_string(&pairs[i].key);
		JsonbValue *value = &pairs[i].value;

		if (strcmp(key, "table") == 0)
			definition->table = es_json_string(value);
		else if (strcmp(key, "relid") == 0)
			definition->relid = (Oid) es_json_number(value);
		else if (strcmp(key, "owner_opened") == 0)
			definition->opened = es_json_number(value);
		else if (strcmp(key, "only_listed") == 0)
			definition->only_listed = to_flag(value);
		else if (strcmp(key, "on_violation") == 0)
			definition->records_violations = strcmp(es_json_string(value), "record") == 0;
		else if (strcmp(key, "states") == 0)
			definition->states = to_object(value);
		else if (strcmp(key, "edges") == 0)
			definition->edges = to_object(value);
		else if (strcmp(key, "subject") == 0)
			definition->subject = es_json_string(value);
		else if (strcmp(key, "columns") == 0)
		{
			JsonbValue *elements;
			int			n = es_json_elements(value, &elements);

			for (int k = 0; k < n; k++)
			{
				EsColumnText *column = palloc0(sizeof(EsColumnText));

				read_column(&elements[k], column);
				definition->columns = lappend(definition->columns, column);
			}
		}
	}
}

static void
read_column(JsonbValue *value, EsColumnText *column)
{
	EsJsonPair *pairs;
	int			count = es_json_pairs(value, &pairs);

	for (int i = 0; i < count; i++)
	{
		char	   *key = es_json_string(&pairs[i].key);
		JsonbValue *member = &pairs[i].value;

		if (strcmp(key, "id") == 0)
			column->id = (int) es_json_number(member);
		else if (strcmp(key, "name") == 0)
			column->name = es_json_string(member);
		else if (strcmp(key, "attno") == 0)
			column->attno = (AttrNumber) es_json_number(member);
		else if (strcmp(key, "key") == 0)
			column->key = (int) es_json_number(member);
		else if (strcmp(key, "state") == 0)
			column->is_state = to_flag(member);
		else if (strcmp(key, "reason") == 0)
			column->is_reason = to_flag(member);
		else if (strcmp(key, "actor") == 0)
			column->is_actor = to_flag(member);
		else if (strcmp(key, "ignored") == 0)
			column->is_ignored = to_flag(member);
		else if (strcmp(key, "event") == 0)
			column->event = es_json_string(member);
		else if (strcmp(key, "pii") == 0)
			column->pii = es_json_string(member);
	}
}

static bool
to_flag(const JsonbValue *value)
{
	return value->type == jbvBool && value->val.boolean;
}

static Jsonb *
to_object(JsonbValue *value)
{
	return es_json_is_object(value) ? JsonbValueToJsonb(value) : NULL;
}

Jsonb *
es_tracking_write(const char *category, const EsTrackingText *definition)
{
	JsonbParseState *state = NULL;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "category", category);
	es_json_push_string(&state, "table", definition->table);
	es_json_push_number(&state, "relid", definition->relid);
	es_json_push_key(&state, "columns");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, definition->columns)
		put_column(&state, lfirst(lc));
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	if (definition->only_listed)
		es_json_push_bool(&state, "only_listed", true);
	es_json_push_string(&state, "on_violation", definition->records_violations ? "record" : "refuse");
	if (definition->states != NULL)
		es_json_push_jsonb(&state, "states", definition->states);
	if (definition->edges != NULL)
		es_json_push_jsonb(&state, "edges", definition->edges);
	if (definition->subject != NULL)
		es_json_push_string(&state, "subject", definition->subject);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
put_column(JsonbParseState **state, const EsColumnText *column)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_number(state, "id", column->id);
	es_json_push_string(state, "name", column->name);
	es_json_push_number(state, "attno", column->attno);
	if (column->key > 0)
		es_json_push_number(state, "key", column->key);
	if (column->is_state)
		es_json_push_bool(state, "state", true);
	if (column->is_reason)
		es_json_push_bool(state, "reason", true);
	if (column->is_actor)
		es_json_push_bool(state, "actor", true);
	if (column->is_ignored)
		es_json_push_bool(state, "ignored", true);
	if (column->event != NULL)
		es_json_push_string(state, "event", column->event);
	if (column->pii != NULL)
		es_json_push_string(state, "pii", column->pii);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

List *
es_tracking_renew(const EsTrackingText *definition, TupleDesc table, bool by_name, int next_id, bool *differs)
{
	List	   *result = NIL;

	*differs = by_name;
	for (int i = 0; i < table->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(table, i);
		EsColumnText *stored;
		EsColumnText *column;

		if (att->attisdropped)
			continue;
		stored = find_column(definition, att, by_name);
		column = palloc0(sizeof(EsColumnText));
		if (stored != NULL)
			*column = *stored;
		else
		{
			column->id = next_id++;
			column->is_ignored = definition->only_listed;
		}
		*differs |= stored == NULL || stored->attno != att->attnum ||
			strcmp(stored->name, NameStr(att->attname)) != 0;
		column->attno = att->attnum;
		column->name = pstrdup(NameStr(att->attname));
		result = lappend(result, column);
	}
	*differs |= list_length(result) != list_length(definition->columns);
	return result;
}

static EsColumnText *
find_column(const EsTrackingText *definition, Form_pg_attribute att, bool by_name)
{
	ListCell   *lc;

	foreach(lc, definition->columns)
	{
		EsColumnText *column = lfirst(lc);

		if (by_name ? strcmp(column->name, NameStr(att->attname)) == 0 : column->attno == att->attnum)
			return column;
	}
	return NULL;
}
