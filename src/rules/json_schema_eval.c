/*
 * json_schema_eval.c
 *		Walks a program over a value: the entry, and what applies to scalars.
 *
 * Without a list of errors the first failure ends it, and nothing is allocated but
 * for patterns, unevaluated and unique items, which give it back.  With one, all
 * failures are noted.  Values are read where they lie in the jsonb.
 */
#include "postgres.h"

#include "log/json.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rules/json_schema_parts.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* Steps that any value may take, and those that each of its bytes may: no more than small schemas need. */
#define PATIENCE			10000
#define PATIENCE_PER_BYTE	8

static void begin(EsEval *eval, EsSchema *schema, const JsonbValue *value);
static bool eval_leaf(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place);
static bool eval_choice(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place);
static bool eval_branch(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place,
						EsSeen *seen);
static bool eval_node(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place,
					  EsSeen *seen);
static bool eval_scalar(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place);
static bool eval_values(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place);
static bool eval_number(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place);
static bool eval_string(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place);
static bool eval_rest(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place,
					  EsSeen *seen);
static int	compare_values(const void *a, const void *b);

bool
es_schema_valid(EsSchema *schema, const JsonbValue *value)
{
	EsEval		eval;
	bool		valid;

	begin(&eval, schema, value);
	valid = es_schema_eval(&eval, schema->root, value, NULL, NULL);
	if (eval.context != NULL)
		MemoryContextDelete(eval.context);
	return valid;
}

List *
es_schema_errors(EsSchema *schema, const JsonbValue *value)
{
	EsEval		eval;

	begin(&eval, schema, value);
	eval.is_listing = true;
	(void) es_schema_eval(&eval, schema->root, value, NULL, NULL);
	if (eval.context != NULL)
		MemoryContextDelete(eval.context);
	return eval.errors;
}

static void
begin(EsEval *eval, EsSchema *schema, const JsonbValue *value)
{
	memset(eval, 0, sizeof(EsEval));
	eval->schema = schema;
	eval->patience = PATIENCE;
	if (value->type == jbvBinary)
		eval->patience += (uint64) value->val.binary.len * PATIENCE_PER_BYTE;
	if (schema->is_dynamic)
		eval->scope = es_schema_enter_scope(eval, schema->root->resource);
}

/*
 * Does a value match a node?  seen, if it is asked for, receives which members or
 * elements were looked at, which counts only if it does.
 */
bool
es_schema_eval(EsEval *eval, const EsNode *node, const JsonbValue *value,
			   const EsPlace *place, EsSeen *seen)
{
	if (node->is_always)
		return true;
	/* There may be millions of leaves, and a number may take long. */
	CHECK_FOR_INTERRUPTS();
	eval->steps++;
	if (node->is_leaf)
		return eval_leaf(eval, node, value, place);
	return eval_branch(eval, node, value, place, seen);
}

/* Not inlined: leaves, of which there are most, need none of it. */
static pg_noinline bool
eval_branch(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place, EsSeen *seen)
{
	EsScope    *scope = eval->scope;
	bool		valid;

	check_stack_depth();
	if (!eval->schema->is_dynamic || node->resource->root != node)
		return eval_node(eval, node, value, place, seen);
	eval->scope = es_schema_enter_scope(eval, node->resource);
	valid = eval_node(eval, node, value, place, seen);
	eval->scope = scope;
	return valid;
}

bool
es_schema_try(EsEval *eval, const EsNode *node, const JsonbValue *value,
			  const EsPlace *place, EsSeen *seen)
{
	bool		was_listing = eval->is_listing;
	bool		valid;

	eval->is_listing = false;
	valid = es_schema_eval(eval, node, value, place, seen);
	eval->is_listing = was_listing;
	return valid;
}

/* What most schemas are: those of a string, a number, a boolean. */
static inline bool
eval_leaf(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place)
{
	if (!node->is_never && node->constant == NULL && node->values == NULL &&
		es_schema_has_type(node->types, value))
		return eval_scalar(eval, node, value, place);
	return eval_choice(eval, node, value, place);
}

/* A leaf that names its values, or that the value does not match. */
static pg_noinline bool
eval_choice(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place)
{
	bool		valid = true;

	if (node->is_never)
	{
		ES_REFUSE(eval, place, node->keyword != NULL ? node->keyword : "false", "is not allowed");
		return false;
	}
	if (node->types != ES_TYPE_ANY && !es_schema_has_type(node->types, value))
		ES_REFUSE(eval, place, "type", "must be %s, not %s", es_schema_types_text(node->types),
				  es_json_kind(value));
	if ((node->constant != NULL || node->values != NULL) && !eval_values(eval, node, value, place))
		ES_REFUSE_SILENTLY(eval);
	valid &= eval_scalar(eval, node, value, place);
	return valid;
}

static inline bool
eval_scalar(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place)
{
	if (value->type == jbvString && node->string != NULL)
		return eval_string(eval, node, value, place);
	if (value->type == jbvNumeric && node->number != NULL)
		return eval_number(eval, node, value, place);
	return true;
}

static bool
eval_node(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place, EsSeen *seen)
{
	bool		valid = true;

	if (!eval_leaf(eval, node, value, place))
		ES_REFUSE_SILENTLY(eval);
	if (!eval_rest(eval, node, value, place, seen))
		ES_REFUSE_SILENTLY(eval);
	return valid;
}

/* What concerns the value's parts, or is applied to it in turn. */
static bool
eval_rest(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place, EsSeen *seen)
{
	bool		is_object = es_json_is_object(value);
	bool		is_array = value->type == jbvBinary && !is_object;
	bool		is_last_seen = (is_object && node->object != NULL && node->object->unevaluated != NULL) ||
		(is_array && node->array != NULL && node->array->unevaluated != NULL);
	EsSeen		own;
	EsSeen	   *here = seen;
	bool		valid = true;

	/* What stands beside this node is not seen by what is unevaluated in it. */
	if (is_last_seen)
	{
		here = &own;
		es_seen_init(here, value);
	}
	if (node->object != NULL && is_object)
	{
		valid = es_schema_eval_object(eval, node, value, place, here);
		if (node->object->ndependents > 0 && (valid || eval->is_listing))
			valid &= es_schema_eval_dependents(eval, node, value, place, here);
	}
	else if (node->array != NULL && is_array)
		valid = es_schema_eval_array(eval, node, value, place, here);
	if (node->in_place != NULL && (valid || eval->is_listing))
		valid &= es_schema_eval_in_place(eval, node, value, place, here);
	if (is_last_seen)
	{
		/* After a failure nobody knows what would have been seen. */
		valid = valid && (is_object ? es_schema_eval_rest_object(eval, node, value, place, here)
						  : es_schema_eval_rest_array(eval, node, value, place, here));
		if (seen != NULL)
			seen->all = true;
		es_seen_free(here);
	}
	return valid;
}

/* const and enum */
static bool
eval_values(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place)
{
	bool		valid = true;

	if (node->constant != NULL && es_json_compare(node->constant, value) != 0)
		ES_REFUSE(eval, place, "const", "must be the value that the schema names");
	if (node->values != NULL &&
		bsearch(value, node->values->value, node->values->count, sizeof(JsonbValue), compare_values) == NULL)
		ES_REFUSE(eval, place, "enum", "must be one of %s", es_schema_values_text(node->values));
	return valid;
}

static bool
eval_number(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place)
{
	const EsNumberRules *rules = node->number;
	Numeric		number = value->val.numeric;
	bool		valid = true;

	if (rules->minimum != NULL && es_json_compare_numbers(number, rules->minimum) < 0)
		ES_REFUSE(eval, place, "minimum", "must be at least %s", es_schema_number_text(rules->minimum));
	if (rules->maximum != NULL && es_json_compare_numbers(number, rules->maximum) > 0)
		ES_REFUSE(eval, place, "maximum", "must be at most %s", es_schema_number_text(rules->maximum));
	if (rules->exclusive_minimum != NULL && es_json_compare_numbers(number, rules->exclusive_minimum) <= 0)
		ES_REFUSE(eval, place, "exclusiveMinimum", "must be more than %s",
				  es_schema_number_text(rules->exclusive_minimum));
	if (rules->exclusive_maximum != NULL && es_json_compare_numbers(number, rules->exclusive_maximum) >= 0)
		ES_REFUSE(eval, place, "exclusiveMaximum", "must be less than %s",
				  es_schema_number_text(rules->exclusive_maximum));
	if (rules->multiple_of != NULL)
	{
		Datum		rest = DirectFunctionCall2(numeric_mod, NumericGetDatum(number),
											   NumericGetDatum(rules->multiple_of));
		bool		is_multiple = es_json_compare_numbers(DatumGetNumeric(rest), rules->zero) == 0;

		pfree(DatumGetPointer(rest));
		if (!is_multiple)
			ES_REFUSE(eval, place, "multipleOf", "must be a multiple of %s",
					  es_schema_number_text(rules->multiple_of));
	}
	return valid;
}

static bool
eval_string(EsEval *eval, const EsNode *node, const JsonbValue *value, const EsPlace *place)
{
	const EsStringRules *rules = node->string;
	const char *bytes = value->val.string.val;
	int			length = value->val.string.len;
	bool		valid = true;

	/* Characters are counted where the number of bytes does not tell already. */
	if (length < rules->min_length ||
		(length <= (rules->min_length - 1) * MAX_MULTIBYTE_CHAR_LEN &&
		 pg_mbstrlen_with_len(bytes, length) < rules->min_length))
		ES_REFUSE(eval, place, "minLength", "must have at least %lld characters",
				  (long long) rules->min_length);
	if (length > rules->max_length && pg_mbstrlen_with_len(bytes, length) > rules->max_length)
		ES_REFUSE(eval, place, "maxLength", "must have at most %lld characters",
				  (long long) rules->max_length);
	if (rules->pattern != NULL && !es_pattern_matches(rules->pattern, bytes, length))
		ES_REFUSE(eval, place, "pattern", "must match the pattern \"%s\"", es_pattern_text(rules->pattern));
	if (rules->check_format != NULL && !rules->check_format(bytes, length))
		ES_REFUSE(eval, place, "format", "must be of the format \"%s\"", rules->format);
	return valid;
}

static int
compare_values(const void *a, const void *b)
{
	return es_json_compare(a, b);
}
