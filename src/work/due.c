/*
 * due.c
 *		run_due(): everything time-driven, in one call and one transaction.
 *
 * Jobs are performed in the order in which they were due, whatever is due by the clock as it
 * goes on; so steps without a wait between them are performed by the same call.  What is
 * skipped, for others are at it, waits for the next call.
 *
 * Locks: those of all its steps, to the end; but see be_impatient().
 */
#include "work/due.h"

#include "access/xact.h"
#include "append/hall.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "log/open.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"
#include "work/due_run.h"
#include "work/due_step.h"

PG_FUNCTION_INFO_V1(eventsource_run_due);

/* Jobs that are picked at once. */
#define PICK			100

/* Finished jobs that are forgotten of each queue, if max_rows is less: that is cheap. */
#define FORGET			10000

/* After a pass over so many that others were at there is no other. */
#define MAX_SKIPPED		1000

/* How long locks are waited for while there are some; less than deadlock_timeout. */
#define PATIENCE_MS		100

static const char *const work_names[ES_DUE_NWORKS] = {
	[ES_DUE_STEPS] = "steps",
	[ES_DUE_TIMEOUTS] = "timeouts",
	[ES_DUE_FAILED] = "failed",
	[ES_DUE_POSTPONED] = "postponed",
	[ES_DUE_LEASES] = "leases",
	[ES_DUE_ALERTS] = "alerts",
	[ES_DUE_FORGOTTEN] = "forgotten"
};

/* A call of run_due(). */
typedef struct EsDueTurn
{
	EsDueCounts *counts;
	int			left;			/* that may be performed */
	int64		skipped;		/* others were at them */
	bool		has_locks;		/* of what was performed, or of the caller */
	bool		is_impatient;
} EsDueTurn;

static void run(int max_rows, EsDueCounts *counts);
static void perform_all(EsDueTurn *turn);
static void perform_pass(EsDueTurn *turn);
static void perform_one(EsDueTurn *turn, const EsDueItem *item, MemoryContext context);
static void be_impatient(EsDueTurn *turn);
static void return_counts(ReturnSetInfo *result, const EsDueCounts *counts);

/* run_due(max_rows): what was done, a row for each kind of work that there was */
Datum
eventsource_run_due(PG_FUNCTION_ARGS)
{
	int32		max_rows = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	EsDueCounts counts = {0};

	PreventCommandIfReadOnly("eventsource.run_due()");
	es_hall_refuse_nested();
	if (max_rows < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be 1 or more"),
				 errdetail("It is %s.", PG_ARGISNULL(0) ? "null" : psprintf("%d", max_rows)),
				 errhint("SELECT * FROM eventsource.run_due(100).")));
	if (es_due_is_performing())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run_due() is running"),
				 errdetail("What it calls cannot call it."),
				 errhint("Return {\"next\": n} to go on with another step.")));
	InitMaterializedSRF(fcinfo, 0);
	run(max_rows, &counts);
	return_counts((ReturnSetInfo *) fcinfo->resultinfo, &counts);
	return (Datum) 0;
}

static void
run(int max_rows, EsDueCounts *counts)
{
	EsDueTurn	turn = {
		.counts = counts,
		.left = max_rows,
		.has_locks = TransactionIdIsValid(GetTopTransactionIdIfAny())
	};
	int			nest_level = NewGUCNestLevel();

	(void) es_due_keep_house(max_rows, Max(max_rows, FORGET), counts);
	CommandCounterIncrement();
	/* Jobs need no event; what we do ourselves is due to one. */
	if (es_log_is_open())
		perform_all(&turn);
	AtEOXact_GUC(true, nest_level);
}

/*
 * Pass by pass: what a pass left behind itself, as the next step of a run that is late, is for the
 * next one; what it skipped, too.  A pass in which nothing was done is the last.
 */
static void
perform_all(EsDueTurn *turn)
{
	int			left;

	do
	{
		left = turn->left;
		perform_pass(turn);
	}
	while (turn->left > 0 && turn->left < left && turn->skipped < MAX_SKIPPED);
}

static void
perform_pass(EsDueTurn *turn)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventsource due", ALLOCSET_DEFAULT_SIZES);
	EsDueItem	last;
	bool		is_first = true;
	List	   *items;
	ListCell   *lc;

	do
	{
		(void) es_run_tell(PICK);
		CommandCounterIncrement();
		items = es_due_pick(is_first ? NULL : &last, PICK);
		is_first = false;
		foreach(lc, items)
		{
			if (turn->left == 0)
				break;
			last = *(EsDueItem *) lfirst(lc);
			perform_one(turn, &last, context);
			MemoryContextReset(context);
		}
	}
	while (items != NIL && turn->left > 0);
	MemoryContextDelete(context);
}

/* What others are at does not count: however much it is, what is behind it is done. */
static void
perform_one(EsDueTurn *turn, const EsDueItem *item, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);

	CHECK_FOR_INTERRUPTS();
	if (turn->has_locks && !turn->is_impatient)
		be_impatient(turn);
	if (es_due_perform(item, 0, 0, turn->counts))
	{
		turn->left--;
		turn->has_locks = true;
	}
	else
		turn->skipped++;
	CommandCounterIncrement();
	MemoryContextSwitchTo(caller);
}

/*
 * Who waits for a lock while he has those of other steps may be waited for by who has it.  So it is waited
 * for more briefly than PostgreSQL takes to look for such a thing; the step is put off then.
 */
static void
be_impatient(EsDueTurn *turn)
{
	turn->is_impatient = true;
	if (LockTimeout == 0 || LockTimeout > PATIENCE_MS)
		(void) set_config_option("lock_timeout", CppAsString2(PATIENCE_MS), PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
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
