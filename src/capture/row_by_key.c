/*
 * row_by_key.c
 *		The row of a tracked table that a key, as streams are named by it, belongs to.
 *
 * By a query, as the table may be partitioned, and has an index on its key in most
 * cases.  The types of the key may be anybody's: the caller says whose rights their
 * functions have.
 */
#include "postgres.h"

#include "capture/row_by_key.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static Oid	operator_namespace(Oid operator);
static void split_key(const text *key, int count, Datum *parts);

SPIPlanPtr
es_row_by_key_prepare(const EsTracking *tracking)
{
	StringInfoData sql;
	Oid			types[INDEX_MAX_KEYS];
	SPIPlanPtr	plan;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT t.* FROM %s t WHERE true",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(tracking->relid)),
												get_rel_name(tracking->relid)));
	for (int i = 0; i < tracking->nkeys; i++)
	{
		const EsTrackedColumn *column = es_tracking_column(tracking, tracking->keys[i]);
		Oid			operator = lookup_type_cache(column->type, TYPECACHE_EQ_OPR)->eq_opr;

		appendStringInfo(&sql, " AND t.%s OPERATOR(%s.%s) CAST($%d AS %s)",
						 quote_identifier(NameStr(column->name)),
						 quote_identifier(get_namespace_name(operator_namespace(operator))),
						 get_opname(operator),
						 i + 1, format_type_be_qualified(column->type));
		types[i] = TEXTOID;
	}
	plan = SPI_prepare(sql.data, tracking->nkeys, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql.data, SPI_result_code_string(SPI_result));
	return plan;
}

static Oid
operator_namespace(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	result = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace;
	ReleaseSysCache(tuple);
	return result;
}

HeapTuple
es_row_by_key_read(SPIPlanPtr plan, const EsTracking *tracking, const text *key, bool as_of_snapshot,
				   TupleDesc *desc)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		parts[INDEX_MAX_KEYS];
	HeapTuple	row = NULL;

	split_key(key, tracking->nkeys, parts);
	SPI_execute_plan(plan, parts, NULL, as_of_snapshot, 1);
	MemoryContextSwitchTo(caller);	/* SPI's own, else */
	if (SPI_processed > 0)
	{
		*desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
		row = heap_copytuple(SPI_tuptable->vals[0]);
	}
	SPI_freetuptable(SPI_tuptable);
	return row;
}

/* The parts of a key as its stream is named by it: see es_tracking_key(). */
static void
split_key(const text *key, int count, Datum *parts)
{
	const char *bytes = VARDATA_ANY(key);
	const char *end = bytes + VARSIZE_ANY_EXHDR(key);
	int			n = 0;
	StringInfoData part;

	if (count == 1)
	{
		parts[0] = PointerGetDatum(key);
		return;
	}
	initStringInfo(&part);
	for (; bytes < end; bytes++)
	{
		if (*bytes == ',' && n < count - 1)
		{
			parts[n++] = PointerGetDatum(cstring_to_text_with_len(part.data, part.len));
			resetStringInfo(&part);
			continue;
		}
		if (*bytes == '\\' && bytes + 1 < end)
			bytes++;
		appendStringInfoChar(&part, *bytes);
	}
	parts[n++] = PointerGetDatum(cstring_to_text_with_len(part.data, part.len));
	if (n < count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" of the history has %d parts", text_to_cstring(key), n),
				 errdetail("The key of the table has %d columns.", count),
				 errhint("Join them by commas, as in '7,42'; a comma within a part is written \"\\,\".")));
}
