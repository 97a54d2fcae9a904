/*
 * category_list.c
 *		Categories that a definition names.
 */
#include "rules/category_list.h"

#include "catalog/pg_type.h"
#include "log/json.h"
#include "utils/builtins.h"

List *
es_category_list_check(ArrayType *category)
{
	List	   *problems = NIL;
	Datum	   *names;
	bool	   *nulls;
	int			count;

	deconstruct_array(category, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
	if (ARR_NDIM(category) > 1)
		problems = lappend(problems, pstrdup("category: must be a plain list"));
	if (count == 0)
		problems = lappend(problems, pstrdup("category: must name at least one"));
	for (int i = 0; i < count; i++)
	{
		char	   *problem;

		if (nulls[i])
			problem = pstrdup("a category must not be null");
		else
			problem = es_category_name_problem(VARDATA_ANY(DatumGetPointer(names[i])),
											   VARSIZE_ANY_EXHDR(DatumGetPointer(names[i])));
		for (int k = 0; problem == NULL && k < i; k++)
			if (!nulls[k] && strcmp(TextDatumGetCString(names[k]), TextDatumGetCString(names[i])) == 0)
				problem = psprintf("\"%s\" is named twice", TextDatumGetCString(names[i]));
		if (problem != NULL)
			problems = lappend(problems, psprintf("category: %s", problem));
	}
	return problems;
}

void
es_category_list_push(JsonbParseState **state, ArrayType *category)
{
	Datum	   *names;
	bool	   *nulls;
	int			count;

	es_json_push_key(state, "category");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	deconstruct_array(category, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	name = {.type = jbvNull};

		if (!nulls[i])
		{
			name.type = jbvString;
			name.val.string.val = VARDATA_ANY(DatumGetPointer(names[i]));
			name.val.string.len = VARSIZE_ANY_EXHDR(DatumGetPointer(names[i]));
		}
		pushJsonbValue(state, WJB_ELEM, &name);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

List *
es_category_list_read(Jsonb *definition)
{
	return es_json_find_strings(definition, "category");
}

char *
es_category_name_problem(const char *name, int length)
{
	if (length == 0)
		return pstrdup("a name must not be empty");
	if (length > ES_MAX_WORD)
		return psprintf("a name has at most %d bytes", ES_MAX_WORD);
	if (memchr(name, '-', length) != NULL)
		return psprintf("\"%.*s\" has a hyphen; a category is what stands before it", length, name);
	if (name[0] == '$')
		return psprintf("\"%.*s\" is eventsource's own", length, name);
	return NULL;
}
