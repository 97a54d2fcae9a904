/*
 * value_type.c
 *		What is known of the types of values, kept for this backend.
 *
 * An invalidation of types marks all of it stale; what is stale is handed to the
 * transaction, as it may be in use further up.
 */
#include "capture/value_type.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "capture/value.h"
#include "catalog/pg_type.h"
#include "log/cache.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static HTAB *types;
static MemoryContext types_context;
static bool types_stale;

static void describe_type(EsValueType *entry);
static EsValueKind kind_of(Oid base);
static void forget_types(Datum arg, int cacheid, uint32 hashvalue);

EsValueType *
es_value_type(Oid type)
{
	EsValueType *entry;
	EsValueType built;
	MemoryContext caller;

	if (types == NULL || types_stale)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(EsValueType)};

		/* An entry may be in use further up. */
		types = NULL;
		es_cache_put_aside(&types_context);
		types_context = AllocSetContextCreate(CacheMemoryContext, "eventsource types", ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = types_context;
		types = hash_create("eventsource types", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		types_stale = false;
	}
	entry = hash_search(types, &type, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;
	memset(&built, 0, sizeof(built));
	built.type = type;
	caller = MemoryContextSwitchTo(types_context);
	describe_type(&built);
	MemoryContextSwitchTo(caller);
	if (types_stale)
		return es_value_type(type);
	entry = hash_search(types, &type, HASH_ENTER, NULL);
	*entry = built;
	return entry;
}

static void
describe_type(EsValueType *entry)
{
	HeapTuple	tuple;
	Form_pg_type form;
	Oid			function;
	bool		is_varlena;

	entry->base = getBaseType(entry->type);
	entry->kind = kind_of(entry->base);
	entry->element = entry->kind == ES_VALUE_ARRAY ? get_element_type(entry->base) : InvalidOid;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(entry->base));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", entry->base);
	form = (Form_pg_type) GETSTRUCT(tuple);
	entry->length = form->typlen;
	entry->by_value = form->typbyval;
	entry->align = form->typalign;
	if (entry->base >= FirstNormalObjectId && form->typtype != TYPTYPE_ENUM)
		entry->owner = form->typowner;
	ReleaseSysCache(tuple);
	switch (entry->base)
	{
		case REGCLASSOID:
		case REGTYPEOID:
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCOLLATIONOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
			entry->names_objects = true;
			break;
		default:
			break;
	}
	getTypeOutputInfo(entry->base, &function, &is_varlena);
	fmgr_info_cxt(function, &entry->print, types_context);
	getTypeInputInfo(entry->base, &function, &entry->read_param);
	fmgr_info_cxt(function, &entry->read, types_context);
}

static EsValueKind
kind_of(Oid base)
{
	switch (base)
	{
		case BOOLOID:
			return ES_VALUE_BOOL;
		case INT2OID:
			return ES_VALUE_INT2;
		case INT4OID:
			return ES_VALUE_INT4;
		case INT8OID:
			return ES_VALUE_INT8;
		case FLOAT4OID:
			return ES_VALUE_FLOAT4;
		case FLOAT8OID:
			return ES_VALUE_FLOAT8;
		case NUMERICOID:
			return ES_VALUE_NUMERIC;
		case MONEYOID:
			return ES_VALUE_MONEY;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
		case XMLOID:
			return ES_VALUE_TEXT;
		case JSONBOID:
			return ES_VALUE_JSONB;
		default:
			if (OidIsValid(get_element_type(base)))
				return ES_VALUE_ARRAY;
			return get_typtype(base) == TYPTYPE_COMPOSITE ? ES_VALUE_ROW : ES_VALUE_OTHER;
	}
}

static void
forget_types(Datum arg, int cacheid, uint32 hashvalue)
{
	types_stale = true;
}

void
es_value_init(void)
{
	CacheRegisterSyscacheCallback(TYPEOID, forget_types, (Datum) 0);
}
