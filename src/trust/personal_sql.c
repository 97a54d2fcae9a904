/*
 * personal_sql.c
 *		SQL functions about personal fields: sees_personal_data, personal_columns.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "log/reading.h"
#include "miscadmin.h"
#include "project/personal_columns.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(eventsource_sees_personal_data);
PG_FUNCTION_INFO_V1(eventsource_personal_columns);

/* sees_personal_data(): may who asks see personal fields? */
Datum
eventsource_sees_personal_data(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(es_reading_is_trusted(GetUserId()));
}

/* personal_columns(target regclass): column_name, data_type */
Datum
eventsource_personal_columns(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EsProjection *projection = es_projection_expect(PG_GETARG_OID(0));
	EsPersonalColumns found;
	int			attno = -1;

	InitMaterializedSRF(fcinfo, 0);
	es_personal_columns_find(projection, &found);
	while ((attno = bms_next_member(found.columns, attno)) >= 0)
	{
		Form_pg_attribute column = TupleDescAttr(projection->target->desc, attno - 1);
		Datum		values[2] = {NameGetDatum(&column->attname), ObjectIdGetDatum(column->atttypid)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
