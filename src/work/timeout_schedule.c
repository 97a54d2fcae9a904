/*
 * timeout_schedule.c
 *		schedule_timeouts: timeouts that a state got while streams stood in it.
 *
 * A state that was entered under a machine with the timeout has it already, be it done or
 * cancelled since.  No stream is locked: one that moves meanwhile is found to have left
 * the state when its timeout is due.
 *
 * Locks: the log, as who appends: an erasure waits for it, and then takes away what was
 * written here; subjects that are erased already, or about to be, are left out.
 *
 * Memory: a context that is reset after each page of streams.
 */
#include "postgres.h"

#include "access/xact.h"
#include "append/timer.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "log/catalog.h"
#include "log/erased.h"
#include "log/own_sql.h"
#include "log/read.h"
#include "log/rights.h"
#include "miscadmin.h"
#include "rules/category.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Streams that are looked at in one go. */
#define PAGE	1000

PG_FUNCTION_INFO_V1(eventsource_schedule_timeouts);

static const EsMachine *expect_machine(const char *category);
static List *read_page(const char *category, const text *after);
static void keep_name(HeapTuple row, TupleDesc desc, void *arg);
static List *find_visits(const EsMachine *machine, List *streams);
static EsVisit *find_visit(const EsMachine *machine, const text *stream);

/* schedule_timeouts(category text): how many */
Datum
eventsource_schedule_timeouts(PG_FUNCTION_ARGS)
{
	char	   *category = text_to_cstring(PG_GETARG_TEXT_PP(0));
	MemoryContext page = AllocSetContextCreate(CurrentMemoryContext, "eventsource timeouts of a page",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(page);
	const EsMachine *machine;
	text	   *after = NULL;
	int64		count = 0;

	PreventCommandIfReadOnly("eventsource.schedule_timeouts()");
	es_rights_expect_read(category);
	machine = expect_machine(category);
	LockRelationOid(es_catalog_oid(ES_REL_EVENT), RowExclusiveLock);
	for (;;)
	{
		List	   *streams = read_page(category, after);
		int			n = list_length(streams);

		CHECK_FOR_INTERRUPTS();
		count += es_timer_schedule(find_visits(machine, streams), NIL, 0, true);
		if (n < PAGE)
			break;
		MemoryContextSwitchTo(caller);
		after = (text *) DatumGetPointer(datumCopy(PointerGetDatum(llast(streams)), false, -1));
		MemoryContextSwitchTo(page);
		MemoryContextReset(page);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(page);
	PG_RETURN_INT64(count);
}

static const EsMachine *
expect_machine(const char *category)
{
	const EsMachine *machine = es_category_get(category)->machine;

	if (machine == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("category \"%s\" has no state machine", category),
				 errdetail("Timeouts are those of the states of a machine."),
				 errhint("Bind one to it with eventsource.create_category().")));
	return machine;
}

/* The next streams of the category, in order of name.  List of text *. */
static List *
read_page(const char *category, const text *after)
{
	static EsOwnSql next = {
		.text = "SELECT name FROM eventsource.stream WHERE name > $1 AND name < $2 ORDER BY name LIMIT 1000",
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}
	};
	List	   *names = NIL;
	Datum		values[2];

	StaticAssertStmt(PAGE == 1000, "as in the statement");
	/* The full stop comes after the hyphen. */
	values[0] = after != NULL ? PointerGetDatum(after) : CStringGetTextDatum(psprintf("%s-", category));
	values[1] = CStringGetTextDatum(psprintf("%s.", category));
	(void) es_own_sql(&next, values, NULL, keep_name, &names);
	return names;
}

static void
keep_name(HeapTuple row, TupleDesc desc, void *arg)
{
	*(List **) arg = lappend(*(List **) arg, es_own_sql_text(row, desc, 1));
}

static List *
find_visits(const EsMachine *machine, List *streams)
{
	List	   *visits = NIL;
	ListCell   *lc;

	foreach(lc, streams)
	{
		EsVisit    *visit = find_visit(machine, lfirst(lc));

		CHECK_FOR_INTERRUPTS();
		if (visit != NULL && es_erased_expect(visit->subject) == ES_ERASED_NOT)
			visits = lappend(visits, visit);
	}
	return visits;
}

/*
 * Backwards to the event that entered the state, and one further, for its time.  Timeouts that
 * happened without leaving the state are told by their events, as their jobs are forgotten some day.
 */
static EsVisit *
find_visit(const EsMachine *machine, const text *stream)
{
	EsScan	   *scan = es_scan_stream(stream, PG_INT64_MAX, true, SnapshotSelf);
	EsVisit    *visit = NULL;
	List	   *happened = NIL;
	EsEvent		event;

	es_scan_expect(scan, 2);
	es_scan_as_stored(scan);
	while (es_scan_next(scan, &event))
	{
		const text *state = es_event_text(&event, ES_EVENT_TO_STATE);
		TimestampTz occurred_at = DatumGetTimestampTz(event.value[ES_EVENT_OCCURRED_AT]);

		CHECK_FOR_INTERRUPTS();
		if (visit != NULL)
		{
			visit->entered = Max(visit->entered, occurred_at);
			break;
		}
		if (state == NULL || !es_machine_state_times(machine, state))
			break;
		if (!es_machine_reenters(&event))
		{
			char	   *after = es_timer_happened(&event);

			if (after != NULL)
				happened = lappend(happened, after);
			continue;
		}
		visit = palloc0(sizeof(EsVisit));
		visit->happened = happened;
		visit->stream = stream;
		visit->subject = (text *) DatumGetPointer(datumCopy(event.value[ES_EVENT_SUBJECT], false, -1));
		visit->state = (text *) DatumGetPointer(datumCopy(PointerGetDatum(state), false, -1));
		visit->version = DatumGetInt64(event.value[ES_EVENT_VERSION]);
		visit->position = DatumGetInt64(event.value[ES_EVENT_POSITION]);
		visit->entered = occurred_at;
		visit->machine = machine;
		visit->known_to = event.machine == NULL ? NULL : es_machine_named(event.machine);
	}
	es_scan_end(scan);
	return visit;
}
