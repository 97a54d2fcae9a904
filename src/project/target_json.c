/*
 * target_json.c
 *		Rows of a target as jsonb, for reports.
 *
 * Types of the table may have casts to json of their own: they run with the
 * rights of the table's owner, like all code that belongs to it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "log/json.h"
#include "project/target.h"
#include "rules/expr_parts.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

Jsonb *
es_target_row_to_jsonb(const EsTarget *target, HeapTuple row)
{
	EsExprTraits traits = {.foreign = true};
	EsRoom		room;
	Jsonb	   *result;
	text	   *json;

	es_expr_enter_room(&room, target->owner, false, &traits);
	json = DatumGetTextPP(DirectFunctionCall1(row_to_json, heap_copy_tuple_as_datum(row, target->desc)));
	result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(json))));
	es_expr_leave_room(&room);
	return result;
}

Jsonb *
es_target_key_to_jsonb(const EsTarget *target, Jsonb *row)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < target->nkeys; i++)
	{
		char	   *name = NameStr(TupleDescAttr(target->desc, target->keys[i].attno - 1)->attname);

		es_json_push_value(&state, name, es_json_find(&row->root, name, NULL));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
