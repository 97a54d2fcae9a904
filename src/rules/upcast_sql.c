/*
 * upcast_sql.c
 *		Upcasters in views: is there one for a row of the log, what it makes of the
 *		row, and which there are.
 *
 * While there is none, the planner replaces the question by its answer, so that
 * the view eventsource.events costs what it would without them; a definition
 * invalidates the view, and so every plan that goes by it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "log/event.h"
#include "log/read.h"
#include "log/rights.h"
#include "log/stream_name.h"
#include "log/word.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/supportnodes.h"
#include "rules/event_type.h"
#include "rules/upcast.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#define LIST_COLUMNS	8

PG_FUNCTION_INFO_V1(eventsource_has_upcaster);
PG_FUNCTION_INFO_V1(eventsource_has_upcaster_support);
PG_FUNCTION_INFO_V1(eventsource_read_data);
PG_FUNCTION_INFO_V1(eventsource_upcaster_list);

static Datum data_at(int64 position, Datum given);
static void set_text(EsEvent *event, EsEventColumn column, const text *value);
static void put_step(ReturnSetInfo *result, const EsUpcastChain *chain, const EsUpcaster *step);

/* has_upcaster(stream bigint, type integer, schema_version smallint, flags smallint) */
Datum
eventsource_has_upcaster(PG_FUNCTION_ARGS)
{
	const EsUpcasters *upcasters = es_upcasters_known();
	const EsUpcastChain *chain;
	EsEvent		event;

	if (upcasters == NULL)
		PG_RETURN_BOOL(false);
	event.stream_id = PG_GETARG_INT64(0);
	event.type_id = PG_GETARG_INT32(1);
	event.flags = PG_GETARG_INT16(3);
	event.isnull[ES_EVENT_CATEGORY] = event.isnull[ES_EVENT_TYPE] = true;
	chain = es_upcast_chain_of(upcasters, &event);
	PG_RETURN_BOOL(chain != NULL && es_upcast_first(chain, PG_GETARG_INT16(2)) != NULL);
}

/* The planner's question; while there are no upcasters, the answer is known. */
Datum
eventsource_has_upcaster_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify) && es_reading_begin() == NULL)
		PG_RETURN_POINTER(makeBoolConst(false, false));
	PG_RETURN_POINTER(NULL);
}

/*
 * read_data(event_position bigint, stream bigint, version bigint, type integer,
 * schema_version smallint, flags smallint, data jsonb, metadata jsonb, actor integer,
 * recorded_by integer, recorded_at timestamptz, extra bytea)
 *
 * The event has what an upcaster may ask for.
 */
Datum
eventsource_read_data(PG_FUNCTION_ARGS)
{
	const EsUpcasters *upcasters = es_upcasters_known();
	const bytea *extra = PG_GETARG_BYTEA_PP(11);
	EsEvent		event;
	const text *name;

	memset(&event, 0, sizeof(event));
	memset(event.isnull, true, sizeof(event.isnull));
	event.stream_id = PG_GETARG_INT64(1);
	event.type_id = PG_GETARG_INT32(3);
	event.flags = PG_GETARG_INT16(5);
	event.commitment = es_event_commitment(extra);
	event.vault = event.commitment != NULL ? PG_GETARG_INT64(0) : 0;
	if (!es_rights_reads_all() || (event.vault != 0 && !es_reading_is_trusted(GetUserId())))
		PG_RETURN_DATUM(data_at(PG_GETARG_INT64(0), PG_GETARG_DATUM(6)));
	name = es_stream_name(event.stream_id);
	set_text(&event, ES_EVENT_STREAM, name);
	set_text(&event, ES_EVENT_KEY, es_stream_name_key(name));
	set_text(&event, ES_EVENT_CATEGORY, es_word_text(ES_STREAM_CATEGORY(event.stream_id)));
	set_text(&event, ES_EVENT_TYPE, es_word_text(event.type_id));
	set_text(&event, ES_EVENT_ACTOR, es_word_text(PG_GETARG_INT32(8)));
	set_text(&event, ES_EVENT_RECORDED_BY, es_word_text(PG_GETARG_INT32(9)));
	es_event_set(&event, ES_EVENT_VERSION, PG_GETARG_DATUM(2));
	es_event_set(&event, ES_EVENT_SCHEMA_VERSION, Int32GetDatum(PG_GETARG_INT16(4)));
	es_event_set(&event, ES_EVENT_IS_SYNTHETIC, BoolGetDatum((event.flags & ES_EVENT_SYNTHETIC) != 0));
	es_event_set(&event, ES_EVENT_DATA, JsonbPGetDatum(PG_GETARG_JSONB_P(6)));
	es_event_set(&event, ES_EVENT_METADATA, PG_GETARG_DATUM(7));
	es_event_set(&event, ES_EVENT_RECORDED_AT, PG_GETARG_DATUM(10));
	es_event_set(&event, ES_EVENT_OCCURRED_AT,
				 TimestampTzGetDatum(es_event_occurred_at(PG_GETARG_TIMESTAMPTZ(10), extra)));
	es_reading_restore(&event, GetUserId(), GetActiveSnapshot());
	if (!event.isnull[ES_EVENT_CATEGORY] && !event.isnull[ES_EVENT_TYPE])
		es_reading_upcast(upcasters, &event);
	PG_RETURN_DATUM(event.value[ES_EVENT_DATA]);
}

/*
 * Whoever calls us by hand can say what he likes of the row.  For who does not see all
 * there is, it is read from the log; where it is not there, what he said stays.
 */
static Datum
data_at(int64 position, Datum given)
{
	EsScan	   *scan;
	EsEvent		event;
	Datum		data = given;

	if (position < 1)
		return given;
	scan = es_scan_whole_log(position - 1, position, GetActiveSnapshot());
	es_scan_for_reader(scan);
	es_scan_expect(scan, 1);
	if (es_scan_next(scan, &event))
		data = datumCopy(event.value[ES_EVENT_DATA], false, -1);
	es_scan_end(scan);
	return data;
}

static void
set_text(EsEvent *event, EsEventColumn column, const text *value)
{
	event->value[column] = PointerGetDatum(value);
	event->isnull[column] = value == NULL;
}

/* upcaster_list() */
Datum
eventsource_upcaster_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, es_upcast_chains(es_reading_begin()))
	{
		const EsUpcastChain *chain = lfirst(lc);

		for (int i = 0; i < chain->n_steps; i++)
			put_step(result, chain, &chain->step[i]);
	}
	return (Datum) 0;
}

/* type, category, from_version, to_version, expression, owner, version, position */
static void
put_step(ReturnSetInfo *result, const EsUpcastChain *chain, const EsUpcaster *step)
{
	Datum		values[LIST_COLUMNS];
	bool		nulls[LIST_COLUMNS] = {0};

	values[0] = CStringGetTextDatum(chain->type);
	nulls[1] = chain->category == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(chain->category);
	values[2] = Int32GetDatum(step->from);
	values[3] = Int32GetDatum(step->to);
	values[4] = CStringGetTextDatum(step->source);
	nulls[5] = step->owner_name == NULL;
	values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(step->owner_name);
	values[6] = Int64GetDatum(step->version);
	values[7] = Int64GetDatum(step->position);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
