/*
 * track_text.c
 *		The definition of a tracked table as it is written in the log.
 *
 * A column has an id that stays with it.  Its number holds as long as the table
 * is the one that was defined, in the same incarnation of the log; else its name
 * tells which it is.
 */
#include "capture/track_text.h"

#include "capture/track.h"
#include "fmgr.h"
#include "rules/machine_json.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

static void read_column(JsonbValue *value, EsColumnText *column);
static int64 to_number(const JsonbValue *value);
static bool to_flag(const JsonbValue *value);
static Jsonb *to_object(JsonbValue *value);
static void put_key(JsonbParseState **state, const char *key);
static void put_string(JsonbParseState **state, const char *key, const char *string);
static void put_number(JsonbParseState **state, const char *key, int64 number);
static void put_flag(JsonbParseState **state, const char *key, bool flag);
static void put_object(JsonbParseState **state, const char *key, Jsonb *object);
static void put_column(JsonbParseState **state, const EsColumnText *column);
static EsColumnText *find_column(const EsTrackingText *definition, Form_pg_attribute att, bool by_name);

void
es_tracking_read(Jsonb *data, EsTrackingText *definition)
{
	JsonbValue	root = {.type = jbvBinary};
	EsJsonPair *pairs;
	int			count;

	memset(definition, 0, sizeof(*definition));
	root.val.binary.data = &data->root;
	root.val.binary.len = VARSIZE(data) - VARHDRSZ;
	count = es_json_pairs(&root, &pairs);
	for (int i = 0; i < count; i++)
	{
		char	   *key = es_json_string(&pairs[i].key);
		JsonbValue *value = &pairs[i].value;

		if (strcmp(key, "table") == 0)
			definition->table = es_json_string(value);
		else if (strcmp(key, "relid") == 0)
			definition->relid = (Oid) to_number(value);
		else if (strcmp(key, "owner_opened") == 0)
			definition->opened = to_number(value);
		else if (strcmp(key, "only_listed") == 0)
			definition->only_listed = to_flag(value);
		else if (strcmp(key, "on_violation") == 0)
			definition->records_violations = strcmp(es_json_string(value), "record") == 0;
		else if (strcmp(key, "states") == 0)
			definition->states = to_object(value);
		else if (strcmp(key, "edges") == 0)
			definition->edges = to_object(value);
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
			column->id = (int) to_number(member);
		else if (strcmp(key, "name") == 0)
			column->name = es_json_string(member);
		else if (strcmp(key, "attno") == 0)
			column->attno = (AttrNumber) to_number(member);
		else if (strcmp(key, "key") == 0)
			column->key = (int) to_number(member);
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
	}
}

static int64
to_number(const JsonbValue *value)
{
	return value->type != jbvNumeric ? 0 :
		DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
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
	put_string(&state, "category", category);
	put_string(&state, "table", definition->table);
	put_number(&state, "relid", definition->relid);
	put_key(&state, "columns");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, definition->columns)
		put_column(&state, lfirst(lc));
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	put_flag(&state, "only_listed", definition->only_listed);
	put_string(&state, "on_violation", definition->records_violations ? "record" : "refuse");
	put_object(&state, "states", definition->states);
	put_object(&state, "edges", definition->edges);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
put_key(JsonbParseState **state, const char *key)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
put_string(JsonbParseState **state, const char *key, const char *string)
{
	JsonbValue	v = {.type = jbvString};

	if (string == NULL)
		return;
	put_key(state, key);
	v.val.string.val = unconstify(char *, string);
	v.val.string.len = strlen(string);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
put_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	v = {.type = jbvNumeric};

	put_key(state, key);
	v.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
put_flag(JsonbParseState **state, const char *key, bool flag)
{
	JsonbValue	v = {.type = jbvBool};

	if (!flag)
		return;
	put_key(state, key);
	v.val.boolean = true;
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
put_object(JsonbParseState **state, const char *key, Jsonb *object)
{
	JsonbValue	v;

	if (object == NULL)
		return;
	put_key(state, key);
	JsonbToJsonbValue(object, &v);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
put_column(JsonbParseState **state, const EsColumnText *column)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	put_number(state, "id", column->id);
	put_string(state, "name", column->name);
	put_number(state, "attno", column->attno);
	if (column->key > 0)
		put_number(state, "key", column->key);
	put_flag(state, "state", column->is_state);
	put_flag(state, "reason", column->is_reason);
	put_flag(state, "actor", column->is_actor);
	put_flag(state, "ignored", column->is_ignored);
	put_string(state, "event", column->event);
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
