/*
 * json_walk.c
 *		Comparing values in binary jsonb.
 *
 * The server's own comparison orders strings by the database's collation, which
 * costs much and helps nobody who wants to know whether two are equal.
 */
#include "log/json_walk.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"

static int	rank(const JsonbValue *value);
static int	compare_containers(JsonbContainer *a, JsonbContainer *b);

int
es_json_compare(const JsonbValue *a, const JsonbValue *b)
{
	int			a_rank = rank(a);
	int			b_rank = rank(b);

	if (a_rank != b_rank)
		return a_rank < b_rank ? -1 : 1;
	switch (a->type)
	{
		case jbvNull:
			return 0;
		case jbvBool:
			return (int) a->val.boolean - (int) b->val.boolean;
		case jbvString:
			return es_json_compare_keys(a->val.string.val, a->val.string.len,
										b->val.string.val, b->val.string.len);
		case jbvNumeric:
			return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a->val.numeric),
													 NumericGetDatum(b->val.numeric)));
		default:
			return compare_containers(a->val.binary.data, b->val.binary.data);
	}
}

static int
rank(const JsonbValue *value)
{
	return value->type != jbvBinary ? (int) value->type
		: JsonContainerIsObject(value->val.binary.data) ? jbvObject : jbvArray;
}

/* Both are objects, or both arrays. */
static int
compare_containers(JsonbContainer *a, JsonbContainer *b)
{
	EsJsonWalk	a_walk;
	EsJsonWalk	b_walk;
	JsonbValue	a_value;
	JsonbValue	b_value;
	JsonbValue	a_key;
	JsonbValue	b_key;
	int			result = 0;

	check_stack_depth();
	if (JsonContainerSize(a) != JsonContainerSize(b))
		return JsonContainerSize(a) < JsonContainerSize(b) ? -1 : 1;
	es_json_walk_begin(&a_walk, a);
	es_json_walk_begin(&b_walk, b);
	if (JsonContainerIsObject(a))
	{
		while (result == 0 && es_json_walk_member(&a_walk, &a_key, &a_value) &&
			   es_json_walk_member(&b_walk, &b_key, &b_value))
		{
			CHECK_FOR_INTERRUPTS();
			result = es_json_compare(&a_key, &b_key);
			if (result == 0)
				result = es_json_compare(&a_value, &b_value);
		}
		return result;
	}
	while (result == 0 && es_json_walk_element(&a_walk, &a_value) &&
		   es_json_walk_element(&b_walk, &b_value))
	{
		CHECK_FOR_INTERRUPTS();
		result = es_json_compare(&a_value, &b_value);
	}
	return result;
}
