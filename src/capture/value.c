/*
 * value.c
 *		Values of columns as JSON, and back.
 *
 * Whatever JSON can hold exactly is written in its own way: booleans, numbers,
 * texts, jsonb, arrays and composites of such.  All else is a string: what the
 * type's output function prints under the settings that rules/expr_room.c pins.
 *
 * Reading calls no code of users, but where a type of theirs is read from a
 * string: then as the type's owner, under SECURITY_RESTRICTED_OPERATION.
 *
 * Values are palloc'd in the current memory context.
 */
#include "capture/value.h"

#include "access/htup_details.h"
#include "capture/value_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "log/json.h"
#include "miscadmin.h"
#include "rules/expr_parts.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/cash.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

static Datum read_value(const JsonbValue *value, Oid type_oid, bool *isnull);
static bool fits(const EsValueType *type, Datum value);
static bool is_null_jsonb(const EsValueType *type, Datum value);
static void push_float(JsonbParseState **state, JsonbIteratorToken token,
					   const EsValueType *type, Datum value);
static void push_numeric(JsonbParseState **state, JsonbIteratorToken token, Numeric number);
static void push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string, int length);
static void push_array(JsonbParseState **state, const EsValueType *type, Datum value);
static void push_row(JsonbParseState **state, Datum value);
static char *print(EsValueType *type, Datum value);
static Datum read_number(const EsValueType *type, Numeric number);
static Datum read_array(const EsValueType *type, JsonbContainer *container);
static Datum read_row(const EsValueType *type, JsonbContainer *container);
static Datum read_string(EsValueType *type, char *string);
static char *json_to_string(const JsonbValue *value);

void
es_value_push(JsonbParseState **state, JsonbIteratorToken token, Datum value, bool isnull, Oid type_oid)
{
	JsonbValue	v = {.type = jbvNull};
	EsValueType *type;

	if (isnull)
	{
		pushJsonbValue(state, token, &v);
		return;
	}
	check_stack_depth();
	type = es_value_type(type_oid);
	switch (type->kind)
	{
		case ES_VALUE_BOOL:
			v.type = jbvBool;
			v.val.boolean = DatumGetBool(value);
			pushJsonbValue(state, token, &v);
			return;
		case ES_VALUE_INT2:
			push_numeric(state, token, int64_to_numeric(DatumGetInt16(value)));
			return;
		case ES_VALUE_INT4:
			push_numeric(state, token, int64_to_numeric(DatumGetInt32(value)));
			return;
		case ES_VALUE_INT8:
			push_numeric(state, token, int64_to_numeric(DatumGetInt64(value)));
			return;
		case ES_VALUE_MONEY:
			push_numeric(state, token, int64_div_fast_to_numeric(DatumGetCash(value), 2));
			return;
		case ES_VALUE_NUMERIC:
			push_numeric(state, token, DatumGetNumeric(value));
			return;
		case ES_VALUE_FLOAT4:
		case ES_VALUE_FLOAT8:
			push_float(state, token, type, value);
			return;
		case ES_VALUE_TEXT:
			{
				text	   *string = DatumGetTextPP(value);

				push_string(state, token, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
				return;
			}
		case ES_VALUE_JSONB:
			{
				es_json_value(DatumGetJsonbP(value), &v);
				pushJsonbValue(state, token, &v);
				return;
			}
		case ES_VALUE_ARRAY:
			value = PointerGetDatum(PG_DETOAST_DATUM(value));
			if (!fits(type, value))
				break;
			push_array(state, type, value);
			return;
		case ES_VALUE_ROW:
			if (!fits(type, value))
				break;
			push_row(state, value);
			return;
		case ES_VALUE_OTHER:
			break;
	}
	{
		char	   *string = print(type, value);

		push_string(state, token, string, strlen(string));
	}
}

bool
es_value_is_json_null(Datum value, bool isnull, Oid type)
{
	return !isnull && is_null_jsonb(es_value_type(type), value);
}

text *
es_value_text(Datum value, Oid type_oid)
{
	EsValueType *type = es_value_type(type_oid);

	if (type->kind == ES_VALUE_TEXT)
	{
		text	   *string = DatumGetTextPP(value);

		return cstring_to_text_with_len(VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
	}
	return cstring_to_text(print(type, value));
}

static Datum
read_value(const JsonbValue *value, Oid type_oid, bool *isnull)
{
	EsValueType *type = es_value_type(type_oid);

	check_stack_depth();
	*isnull = value->type == jbvNull;
	if (*isnull)
		return (Datum) 0;
	switch (type->kind)
	{
		case ES_VALUE_BOOL:
			if (value->type == jbvBool)
				return BoolGetDatum(value->val.boolean);
			break;
		case ES_VALUE_INT2:
		case ES_VALUE_INT4:
		case ES_VALUE_INT8:
		case ES_VALUE_FLOAT4:
		case ES_VALUE_FLOAT8:
		case ES_VALUE_NUMERIC:
		case ES_VALUE_MONEY:
			if (value->type == jbvNumeric)
				return read_number(type, value->val.numeric);
			break;
		case ES_VALUE_TEXT:
			return PointerGetDatum(cstring_to_text(json_to_string(value)));
		case ES_VALUE_JSONB:
			return JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, value)));
		case ES_VALUE_ARRAY:
			if (es_json_is_array(value))
				return read_array(type, value->val.binary.data);
			break;
		case ES_VALUE_ROW:
			if (es_json_is_object(value))
				return read_row(type, value->val.binary.data);
			break;
		case ES_VALUE_OTHER:
			break;
	}
	return read_string(type, json_to_string(value));
}

bool
es_value_read_member(JsonbContainer *column, const char *member, Oid type, Datum *value, bool *isnull)
{
	JsonbValue	buffer;
	JsonbValue	marks;
	JsonbValue	mark = {.type = jbvString};
	JsonbValue *found = es_json_find(column, member, &buffer);

	if (found == NULL)
		return false;
	if (found->type == jbvNull && es_value_type(type)->kind == ES_VALUE_JSONB &&
		es_json_find(column, "json_null", &marks) != NULL && es_json_is_array(&marks))
	{
		mark.val.string.val = unconstify(char *, member);
		mark.val.string.len = strlen(member);
		if (findJsonbValueFromContainer(marks.val.binary.data, JB_FARRAY, &mark) != NULL)
		{
			*isnull = false;
			*value = JsonbPGetDatum(JsonbValueToJsonb(found));
			return true;
		}
	}
	*value = read_value(found, type, isnull);
	return true;
}

/* ---- to JSON ---- */

/* Would JSON hold all of an array or row? */
static bool
fits(const EsValueType *type, Datum value)
{
	check_stack_depth();
	if (is_null_jsonb(type, value))
		return false;
	if (type->kind == ES_VALUE_ARRAY)
	{
		ArrayType  *array = DatumGetArrayTypeP(value);
		const EsValueType *element = es_value_type(type->element);
		ArrayIterator it;
		Datum		item;
		bool		isnull;

		if (ARR_NDIM(array) > 1 || (ARR_NDIM(array) == 1 && ARR_LBOUND(array)[0] != 1))
			return false;
		if (element->kind < ES_VALUE_JSONB)
			return true;
		it = array_create_iterator(array, 0, NULL);
		while (array_iterate(it, &item, &isnull))
			if (!isnull && !fits(element, item))
				return false;
		array_free_iterator(it);
	}
	else if (type->kind == ES_VALUE_ROW)
	{
		HeapTupleHeader header = DatumGetHeapTupleHeader(value);
		TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
													   HeapTupleHeaderGetTypMod(header));
		HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};

		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);
			bool		isnull;
			Datum		field;

			if (att->attisdropped)
				continue;
			field = heap_getattr(&tuple, i + 1, desc, &isnull);
			if (!isnull && !fits(es_value_type(att->atttypid), field))
				return false;
		}
	}
	return true;
}

static bool
is_null_jsonb(const EsValueType *type, Datum value)
{
	JsonbValue	v;

	return type->kind == ES_VALUE_JSONB &&
		JsonbExtractScalar(&DatumGetJsonbP(value)->root, &v) && v.type == jbvNull;
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string, int length)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, string);
	v.val.string.len = length;
	pushJsonbValue(state, token, &v);
}

static void
push_numeric(JsonbParseState **state, JsonbIteratorToken token, Numeric number)
{
	JsonbValue	v = {.type = jbvNumeric};

	if (numeric_is_nan(number) || numeric_is_inf(number))
	{
		char	   *string = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));

		push_string(state, token, string, strlen(string));
		return;
	}
	v.val.numeric = number;
	pushJsonbValue(state, token, &v);
}

static Numeric
parse_numeric(const char *digits)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* The shortest digits that read back as the same number; JSON has no -0. */
static void
push_float(JsonbParseState **state, JsonbIteratorToken token,
		   const EsValueType *type, Datum value)
{
	double		number = type->kind == ES_VALUE_FLOAT4 ? DatumGetFloat4(value) : DatumGetFloat8(value);
	char	   *string = print(es_value_type(type->type), value);

	if (isnan(number) || isinf(number) || (number == 0 && signbit(number)))
		push_string(state, token, string, strlen(string));
	else
		push_numeric(state, token,
					 parse_numeric(string));
}

static void
push_array(JsonbParseState **state, const EsValueType *type, Datum value)
{
	Oid			element = type->element;
	ArrayIterator it = array_create_iterator(DatumGetArrayTypeP(value), 0, NULL);
	Datum		item;
	bool		isnull;

	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	while (array_iterate(it, &item, &isnull))
		es_value_push(state, WJB_ELEM, item, isnull, element);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	array_free_iterator(it);
}

static void
push_row(JsonbParseState **state, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												   HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		field;

		if (att->attisdropped)
			continue;
		field = heap_getattr(&tuple, i + 1, desc, &isnull);
		push_string(state, WJB_KEY, NameStr(att->attname), strlen(NameStr(att->attname)));
		es_value_push(state, WJB_VALUE, field, isnull, att->atttypid);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static char *
print(EsValueType *type, Datum value)
{
	EsPins		saved;
	char	   *volatile result = NULL;

	if (type->names_objects)
	{
		EsRoom		room;
		EsExprTraits traits = {.foreign = true};

		es_expr_enter_room(&room, InvalidOid, false, &traits);
		result = OutputFunctionCall(&type->print, value);
		es_expr_leave_room(&room);
		return result;
	}
	es_expr_pin(&saved);
	PG_TRY();
	{
		result = OutputFunctionCall(&type->print, value);
	}
	PG_FINALLY();
	{
		es_expr_unpin(&saved);
	}
	PG_END_TRY();
	return result;
}

/* ---- from JSON ---- */

static Datum
read_number(const EsValueType *type, Numeric number)
{
	Datum		datum = NumericGetDatum(number);

	switch (type->kind)
	{
		case ES_VALUE_INT2:
			return DirectFunctionCall1(numeric_int2, datum);
		case ES_VALUE_INT4:
			return DirectFunctionCall1(numeric_int4, datum);
		case ES_VALUE_INT8:
			return DirectFunctionCall1(numeric_int8, datum);
		case ES_VALUE_FLOAT4:
			return DirectFunctionCall1(numeric_float4, datum);
		case ES_VALUE_FLOAT8:
			return DirectFunctionCall1(numeric_float8, datum);
		case ES_VALUE_MONEY:
			datum = DirectFunctionCall2(numeric_mul, datum, NumericGetDatum(int64_to_numeric(100)));
			return DirectFunctionCall1(numeric_int8, datum);
		default:
			return datumCopy(datum, false, -1);
	}
}

static Datum
read_array(const EsValueType *type, JsonbContainer *container)
{
	Oid			element = type->element;
	const EsValueType *item = es_value_type(element);
	int			count = JsonContainerSize(container);
	Datum	   *values = palloc(Max(1, count) * sizeof(Datum));
	bool	   *nulls = palloc(Max(1, count) * sizeof(bool));
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	v;
	int			dims[1] = {count};
	int			bounds[1] = {1};
	int			n = 0;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		values[n] = read_value(&v, element, &nulls[n]);
		n++;
	}
	if (count == 0)
		return PointerGetDatum(construct_empty_array(element));
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, bounds, element,
											  item->length, item->by_value, item->align));
}

/* Attributes that came later are NULL. */
static Datum
read_row(const EsValueType *type, JsonbContainer *container)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type->base, -1);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		JsonbValue	buffer;
		JsonbValue *field = NULL;

		if (!att->attisdropped)
			field = es_json_find(container, NameStr(att->attname), &buffer);
		nulls[i] = true;
		if (field != NULL)
			values[i] = read_value(field, att->atttypid, &nulls[i]);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Datum
read_string(EsValueType *type, char *string)
{
	EsRoom		room;
	EsExprTraits traits = {.foreign = true};
	volatile Datum result;

	if (!OidIsValid(type->owner) && !type->names_objects)
	{
		EsPins		saved;

		es_expr_pin(&saved);
		PG_TRY();
		{
			result = InputFunctionCall(&type->read, string, type->read_param, -1);
		}
		PG_FINALLY();
		{
			es_expr_unpin(&saved);
		}
		PG_END_TRY();
		return result;
	}
	es_expr_enter_room(&room, type->owner, false, &traits);
	result = InputFunctionCall(&type->read, string, type->read_param, -1);
	es_expr_leave_room(&room);
	return result;
}

static char *
json_to_string(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
			elog(ERROR, "unexpected kind of jsonb value: %d", (int) value->type);
	}
	return NULL;
}
