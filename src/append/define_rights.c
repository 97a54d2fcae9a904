/*
 * define_rights.c
 *		Which categories limited roles may read and write: set_category_rights,
 *		category_rights_list.
 *
 * The model is in log/rights.h.  A definition says all that a role was given; what a
 * role is given or loses by one call is worked out in SQL (99_privileges.sql), whose
 * functions are the doors.
 */
#include "postgres.h"

#include "append/define.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/config.h"
#include "log/json.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "rules/category_list.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(eventsource_set_category_rights);
PG_FUNCTION_INFO_V1(eventsource_category_rights_list);

static char *definition_name(Oid role);
static void expect_categories(ArrayType *categories);
static void push_categories(JsonbParseState **state, const char *member, ArrayType *categories);
static void put_rights(ReturnSetInfo *result, const EsDefinition *definition, Oid role, const char *member,
					   bool is_write);

/* set_category_rights(role regrole, reads text[], writes text[]) */
Datum
eventsource_set_category_rights(PG_FUNCTION_ARGS)
{
	Oid			role = PG_GETARG_OID(0);
	ArrayType  *reads = PG_GETARG_ARRAYTYPE_P(1);
	ArrayType  *writes = PG_GETARG_ARRAYTYPE_P(2);
	JsonbParseState *state = NULL;

	expect_categories(reads);
	expect_categories(writes);

	/* One at a time finds the definition of a role, or a name for it. */
	es_define_lock(ES_RIGHTS_KIND, "");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	es_json_push_string(&state, "role", GetUserNameFromId(role, false));
	es_json_push_number(&state, "role_oid", role);
	push_categories(&state, "read", reads);
	push_categories(&state, "write", writes);
	(void) es_define(ES_RIGHTS_KIND, definition_name(role), "category_rights_defined",
					 JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	PG_RETURN_VOID();
}

/*
 * The name of its definition: that which it has, else its own, if that is not in use
 * by a role that was called so before.
 */
static char *
definition_name(Oid role)
{
	List	   *definitions = es_config_list(ES_RIGHTS_KIND);
	char	   *name = GetUserNameFromId(role, false);
	ListCell   *lc;
	bool		is_taken;

	foreach(lc, definitions)
	{
		EsDefinition *definition = lfirst(lc);

		if (es_config_role(definition->data, "role") == role)
			return definition->name;
	}
	do
	{
		is_taken = false;
		foreach(lc, definitions)
		{
			EsDefinition *definition = lfirst(lc);

			is_taken |= strcmp(definition->name, name) == 0 &&
				OidIsValid(es_config_role(definition->data, "role"));
		}
		if (is_taken)
			name = psprintf("%s'", name);
	} while (is_taken);
	return name;
}

static void
expect_categories(ArrayType *categories)
{
	Datum	   *names;
	bool	   *nulls;
	int			count;

	deconstruct_array(categories, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *problem = nulls[i] ? pstrdup("a category must not be null") :
			es_category_name_problem(VARDATA_ANY(DatumGetPointer(names[i])),
									 VARSIZE_ANY_EXHDR(DatumGetPointer(names[i])));

		if (problem != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("categories cannot be named so"),
					 errdetail_internal("%s", problem),
					 errhint("A category is what stands before the first hyphen of a stream's name; it need not exist yet.")));
	}
}

static void
push_categories(JsonbParseState **state, const char *member, ArrayType *categories)
{
	Datum	   *names;
	int			count;

	deconstruct_array(categories, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	es_json_push_key(state, member);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		es_json_push_element(state, TextDatumGetCString(names[i]));
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* category_rights_list(): role, category, is_write */
Datum
eventsource_category_rights_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_config_list(ES_RIGHTS_KIND))
	{
		EsDefinition *definition = lfirst(lc);
		Oid			role = es_config_role(definition->data, "role");

		if (!OidIsValid(role))
			continue;
		put_rights(result, definition, role, "read", false);
		put_rights(result, definition, role, "write", true);
	}
	return (Datum) 0;
}

static void
put_rights(ReturnSetInfo *result, const EsDefinition *definition, Oid role, const char *member, bool is_write)
{
	JsonbValue	buffer;
	JsonbValue *array = es_json_find(&definition->data->root, member, &buffer);
	JsonbValue *elements;
	int			count = array == NULL || !es_json_is_array(array) ? 0 : es_json_elements(array, &elements);

	for (int i = 0; i < count; i++)
	{
		Datum		values[3] = {ObjectIdGetDatum(role), CStringGetTextDatum(es_json_string(&elements[i])),
		BoolGetDatum(is_write)};
		bool		nulls[3] = {false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
