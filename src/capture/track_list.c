/*
 * track_list.c
 *		The tracked tables as rows of the view eventsource.tracked_tables.
 */
#include "postgres.h"

#include "capture/track.h"
#include "capture/track_text.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/catalog.h"
#include "log/config.h"
#include "miscadmin.h"
#include "rules/category.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(eventsource_list_tracked_tables);

#define LIST_COLUMNS	12

static void emit(ReturnSetInfo *rsinfo, const EsTracking *tracking);
static void put_column(const EsTracking *tracking, AttrNumber attno, Datum *value, bool *isnull);
static Datum array_of_names(Datum *names, int count);
static TimestampTz tracked_since(const EsTracking *tracking);

Datum
eventsource_list_tracked_tables(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_config_list(ES_TRACKING_KIND))
	{
		const EsTracking *tracking = es_tracking_of_category(((EsDefinition *) lfirst(lc))->name);

		CHECK_FOR_INTERRUPTS();
		if (tracking != NULL && tracking->is_active && OidIsValid(tracking->relid))
			emit((ReturnSetInfo *) fcinfo->resultinfo, tracking);
	}
	return (Datum) 0;
}

static void
emit(ReturnSetInfo *rsinfo, const EsTracking *tracking)
{
	Datum		values[LIST_COLUMNS] = {0};
	bool		nulls[LIST_COLUMNS] = {0};
	Datum	   *names = palloc(Max(1, tracking->ncolumns) * sizeof(Datum));
	EsDefinition *category = es_config_read("category", tracking->name, 0);
	EsCategoryText text = {0};
	char	   *owner;
	int			count = 0;

	values[0] = ObjectIdGetDatum(tracking->relid);
	values[1] = PointerGetDatum(tracking->category);
	for (int i = 0; i < tracking->nkeys; i++)
	{
		bool		isnull;

		put_column(tracking, tracking->keys[i], &names[count], &isnull);
		count += isnull ? 0 : 1;
	}
	values[2] = array_of_names(names, count);
	put_column(tracking, tracking->state_column, &values[3], &nulls[3]);
	if (category != NULL)
		es_category_read(category->data, &text);
	nulls[4] = text.state_machine == NULL;

	if (!nulls[4])
		values[4] = CStringGetTextDatum(text.state_machine);
	put_column(tracking, tracking->reason_column, &values[5], &nulls[5]);
	put_column(tracking, tracking->actor_column, &values[6], &nulls[6]);
	count = 0;
	for (int i = 0; i < tracking->ncolumns; i++)
		if (tracking->columns[i].captured)
			names[count++] = NameGetDatum(&tracking->columns[i].name);
	values[7] = array_of_names(names, count);
	values[8] = CStringGetTextDatum(tracking->records_violations ? "record" : "refuse");
	owner = GetUserNameFromId(es_catalog_relation_owner(tracking->relid), false);
	values[9] = DirectFunctionCall1(namein, CStringGetDatum(owner));
	values[10] = TimestampTzGetDatum(tracked_since(tracking));
	count = 0;
	for (int i = 0; i < tracking->ncolumns; i++)
		if (tracking->columns[i].captured && tracking->columns[i].is_personal)
			names[count++] = NameGetDatum(&tracking->columns[i].name);
	values[11] = array_of_names(names, count);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_column(const EsTracking *tracking, AttrNumber attno, Datum *value, bool *isnull)
{
	const EsTrackedColumn *column = es_tracking_column(tracking, attno);

	*isnull = column == NULL;
	if (column != NULL)
		*value = NameGetDatum(&column->name);
}

static Datum
array_of_names(Datum *names, int count)
{
	return PointerGetDatum(construct_array(names, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

static TimestampTz
tracked_since(const EsTracking *tracking)
{
	ListCell   *lc;

	foreach(lc, tracking->versions)
	{
		const EsTrackingVersion *version = lfirst(lc);

		if (version->position == tracking->since)
			return version->recorded_at;
	}
	return 0;
}
