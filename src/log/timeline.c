/*
 * timeline.c
 *		What eventsource.timeline() must know of a stream's events besides what
 *		the view eventsource.events shows: the machine that allowed each, whether
 *		it was captured or forbidden, and what became of it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "log/correction.h"
#include "log/read.h"
#include "log/rights.h"
#include "log/stream.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* Columns of eventsource.event_marks() */
#define MARK_COLUMNS	6

PG_FUNCTION_INFO_V1(eventsource_event_marks);

static void put_mark(ReturnSetInfo *result, const EsEvent *event, const EsCorrection *correction);

/* event_marks(stream text) */
Datum
eventsource_event_marks(PG_FUNCTION_ARGS)
{
	const text *stream = PG_GETARG_TEXT_PP(0);
	Snapshot	snapshot = RegisterSnapshot(GetActiveSnapshot());
	EsCorrections *corrections = NULL;
	EsScan	   *scan;
	EsEvent		event;

	(void) es_stream_category_length(stream);
	es_rights_expect_read_stream(stream);
	InitMaterializedSRF(fcinfo, 0);
	scan = es_scan_stream(stream, 1, false, snapshot);
	es_scan_pack(scan);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		if (corrections == NULL)
			corrections = es_corrections_load_stream(event.stream_id, DT_NOEND, snapshot);
		put_mark((ReturnSetInfo *) fcinfo->resultinfo, &event,
				 es_corrections_find(corrections, event.stream_id,
									 DatumGetInt64(event.value[ES_EVENT_POSITION])));
	}
	es_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

static void
put_mark(ReturnSetInfo *result, const EsEvent *event, const EsCorrection *correction)
{
	Datum		values[MARK_COLUMNS];
	bool		nulls[MARK_COLUMNS] = {0};

	values[0] = event->value[ES_EVENT_VERSION];
	values[1] = PointerGetDatum(event->machine);
	nulls[1] = event->machine == NULL;
	values[2] = BoolGetDatum((event->flags & ES_EVENT_CAPTURED) != 0);
	values[3] = BoolGetDatum((event->flags & ES_EVENT_VIOLATION) != 0);
	values[4] = Int64GetDatum(correction == NULL ? 0 : correction->position);
	nulls[4] = correction == NULL;
	values[5] = BoolGetDatum(correction != NULL && correction->is_void);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
