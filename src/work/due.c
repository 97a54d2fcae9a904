/*
 * due.c
 *		run_due(): everything time-driven, in one call and one transaction.
 *
 * Jobs are performed in the order in which they were due, whatever is due by the clock as it
 * goes on; so steps without a wait between them are performed by the same call.  What is
 * skipped, for others are at it, waits for the next call.
 */
#include "work/due.h"

#include "access/xact.h"
#include "append/hall.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/open.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"
#include "work/due_run.h"
#include "work/due_step.h"

PG_FUNCTION_INFO_V1(eventsource_run_due);

/* Jobs that are picked at once. */
#define PICK	100

static const char *const work_names[ES_DUE_NWORKS] = {
	[ES_DUE_STEPS] = "steps",
	[ES_DUE_TIMEOUTS] = "timeouts",
	[ES_DUE_FAILED] = "failed",
	[ES_DUE_POSTPONED] = "postponed",
	[ES_DUE_LEASES] = "leases",
	[ES_DUE_ALERTS] = "alerts",
	[ES_DUE_FORGOTTEN] = "forgotten"
};

/* A call that a call makes would perform the same job again. */
static bool is_running = false;

static void run(int max_rows, EsDueCounts *counts);
static void perform_all(int max_rows, EsDueCounts *counts);
static int	perform_pass(int max_rows, EsDueCounts *counts);
static void return_counts(ReturnSetInfo *result, const EsDueCounts *counts);

/* run_due(max_rows): what was done, a row for each kind of work that there was */
Datum
eventsource_run_due(PG_FUNCTION_ARGS)
{
	volatile int32 max_rows = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	EsDueCounts counts = {0};

	PreventCommandIfReadOnly("eventsource.run_due()");
	es_hall_refuse_nested();
	if (max_rows < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be 1 or more"),
				 errdetail("It is %s.", PG_ARGISNULL(0) ? "null" : psprintf("%d", max_rows)),
				 errhint("SELECT * FROM eventsource.run_due(100).")));
	if (is_running)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run_due() is running"),
				 errdetail("What it calls cannot call it."),
				 errhint("Return {\"next\": n} to go on with another step.")));
	InitMaterializedSRF(fcinfo, 0);
	if (es_log_is_open())
		run(max_rows, &counts);
	return_counts((ReturnSetInfo *) fcinfo->resultinfo, &counts);
	return (Datum) 0;
}

static void
run(int max_rows, EsDueCounts *counts)
{
	is_running = true;
	PG_TRY();
	{
		es_due_keep_house(max_rows, counts);
		CommandCounterIncrement();
		perform_all(max_rows, counts);
	}
	PG_FINALLY();
	{
		is_running = false;
	}
	PG_END_TRY();
}

/*
 * Pass by pass: what a pass left behind itself, as the next step of a run that is late, is for the
 * next one; what it skipped, too.  A pass in which nothing was done is the last.
 */
static void
perform_all(int max_rows, EsDueCounts *counts)
{
	int			left = max_rows;
	int64		done;

	do
	{
		done = counts->count[ES_DUE_STEPS] + counts->count[ES_DUE_TIMEOUTS];
		left = perform_pass(left, counts);
	}
	while (left > 0 && counts->count[ES_DUE_STEPS] + counts->count[ES_DUE_TIMEOUTS] > done);
}

/* Returns how many more may be performed. */
static int
perform_pass(int max_rows, EsDueCounts *counts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource due", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	EsDueItem	last;
	bool		is_first = true;
	List	   *items;
	ListCell   *lc;

	do
	{
		(void) es_run_tell(PICK);
		CommandCounterIncrement();
		items = es_due_pick(is_first ? NULL : &last, Min(PICK, max_rows));
		is_first = false;
		foreach(lc, items)
		{
			CHECK_FOR_INTERRUPTS();
			last = *(EsDueItem *) lfirst(lc);
			MemoryContextSwitchTo(context);
			es_due_perform(&last, 0, 0, counts);
			CommandCounterIncrement();
			MemoryContextSwitchTo(caller);
			MemoryContextReset(context);
		}
		max_rows -= list_length(items);
	}
	while (items != NIL && max_rows > 0);
	MemoryContextDelete(context);
	return max_rows;
}

static void
return_counts(ReturnSetInfo *result, const EsDueCounts *counts)
{
	for (int i = 0; i < ES_DUE_NWORKS; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if (counts->count[i] == 0)
			continue;
		values[0] = CStringGetTextDatum(work_names[i]);
		values[1] = Int64GetDatum(counts->count[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

void
es_due_init(void)
{
	es_due_step_init();
	es_due_duty_init();
}
