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

/*
 * A number as it lies on disk: a word, and digits to the base of 10,000.  In all but
 * large ones these bits of the word say: short, its sign, and where the first digit
 * stands; what is 0 there is positive, and its first digit stands before the point.
 */
#define NUMBER_MASK		0xE07F
#define NUMBER_SMALL	0x8000

static int	rank(const JsonbValue *value);
static inline bool is_small(Numeric number, int *whole, bool *is_integer);
static int	compare_containers(JsonbContainer *a, JsonbContainer *b);

int
es_json_compare(const JsonbValue *a, const JsonbValue *b)
{
	int			a_rank;
	int			b_rank;

	if (a->type == jbvString && b->type == jbvString)
		return es_json_compare_keys(a->val.string.val, a->val.string.len,
									b->val.string.val, b->val.string.len);
	a_rank = rank(a);
	b_rank = rank(b);
	if (a_rank != b_rank)
		return a_rank < b_rank ? -1 : 1;
	switch (a->type)
	{
		case jbvNull:
			return 0;
		case jbvBool:
			return (int) a->val.boolean - (int) b->val.boolean;
		case jbvNumeric:
			return es_json_compare_numbers(a->val.numeric, b->val.numeric);
		default:
			return compare_containers(a->val.binary.data, b->val.binary.data);
	}
}

int
es_json_compare_numbers(Numeric a, Numeric b)
{
	int			a_whole;
	int			b_whole;
	bool		a_is_integer;
	bool		b_is_integer;

	if (is_small(a, &a_whole, &a_is_integer) && is_small(b, &b_whole, &b_is_integer))
	{
		if (a_whole != b_whole)
			return a_whole < b_whole ? -1 : 1;
		if (a_is_integer && b_is_integer)
			return 0;
	}
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

bool
es_json_is_integer(Numeric number)
{
	int			whole;
	bool		result;

	if (is_small(number, &whole, &result))
		return result;
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number))) == 0 ||
		DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(number))) == 0;
}

/*
 * Most numbers are positive and less than 10,000: what stands before the point of such
 * a one, and whether nothing stands behind it.  False for others.
 */
static inline bool
is_small(Numeric number, int *whole, bool *is_integer)
{
	const uint16 *word = (const uint16 *) VARDATA(number);
	int			digits = (VARSIZE(number) - VARHDRSZ) / sizeof(uint16) - 1;

	if ((word[0] & NUMBER_MASK) != NUMBER_SMALL)
		return false;
	*whole = digits > 0 ? word[1] : 0;
	*is_integer = digits <= 1;
	return true;
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
