/*
 * upcast_verify.c
 *		Upcasters tried on the events there are: all of them, or a sample.
 *
 * An event is tried as readers of history see it, corrected, in a subtransaction,
 * so that an expression that raises an error is one line among others.  Data must
 * match the schema of the version that it was brought to.
 */
#include "rules/upcast_verify.h"

#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "log/attempt.h"
#include "log/correction.h"
#include "log/json_walk.h"
#include "log/position.h"
#include "log/progress.h"
#include "log/read.h"
#include "log/rights.h"
#include "log/reading.h"
#include "miscadmin.h"
#include "rules/event_type.h"
#include "rules/known.h"
#include "rules/upcast.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

/*
 * A sample: events spread over the log; of a long one, which is not read whole,
 * over windows, and what is most recent.  What is so rare that no window has it is
 * looked for.
 */
#define SAMPLE_EVENTS	1000
#define WINDOWS			50
#define WINDOW			2000	/* positions */
#define RECENT			200		/* likewise */

/* Failures that a refused definition lists. */
#define MAX_LISTED		10

PG_FUNCTION_INFO_V1(eventsource_verify_upcasters);

typedef struct Trial
{
	const EsUpcasters *upcasters;
	const char *type;			/* NULL: of all types */
	const char *category;		/* NULL: of all categories */
	EsCorrections *corrections;
	Snapshot	snapshot;
	MemoryContext per_event;
	EsEvent    *event;
	EsEvent		veiled;			/* the same, without personal fields or with
								 * masked ones */
	const EsUpcastChain *chain;
	int32		from;			/* its stored version */
	char	   *problem;		/* of the event tried last; NULL: none */
	int64		tried;
} Trial;

typedef struct Sample
{
	Trial		trial;
	Snapshot	snapshot;
	List	   *problems;
	int			failed;
} Sample;

static void begin_trial(Trial *trial, Snapshot snapshot);
static bool is_candidate(Trial *trial, EsEvent *event);
static void try_event(Trial *trial);
static void try_veiled(Trial *trial, const EsEvent *stored);
static void try(Trial *trial, void (*work) (void *arg));
static void upcast_and_check(void *arg);
static void upcast_veiled(void *arg);
static char *mismatch(const EsUpcastChain *chain, const EsEvent *event);
static bool is_of_type(const EsEvent *event, const char *type);
static void put_problem(ReturnSetInfo *result, const Trial *trial);
static int64 take(Sample *sample, int64 after, int64 upto, int64 stride, int64 max);

/* verify_upcasters(type text, category text) */
Datum
eventsource_verify_upcasters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Trial		trial = {
		.type = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)),
		.category = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1))
	};
	Snapshot	snapshot;
	EsProgress	progress;
	EsScan	   *scan;
	EsEvent		event;
	int64		done = 0;

	if (trial.type != NULL)
		es_type_expect(trial.type);
	if (trial.category != NULL)
	{
		es_rights_expect_read(trial.category);
		es_category_expect(trial.category);
	}
	InitMaterializedSRF(fcinfo, 0);
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	begin_trial(&trial, snapshot);
	if (trial.upcasters != NULL)
	{
		scan = es_scan_log(0, PG_INT64_MAX, trial.category == NULL ? NIL :
						   list_make1(unconstify(char *, trial.category)), snapshot);
		if (trial.category == NULL)
			es_scan_for_reader(scan);
		es_scan_as_stored(scan);
		es_progress_begin(&progress, "verification of upcasters", es_position_last());
		while (es_scan_next(scan, &event))
		{
			int64		position = DatumGetInt64(event.value[ES_EVENT_POSITION]);

			CHECK_FOR_INTERRUPTS();
			if (is_candidate(&trial, &event))
				try_event(&trial);
			if (trial.problem != NULL)
				put_problem(result, &trial);
			trial.problem = NULL;
			es_progress_step(&progress, position - done);
			done = position;
		}
		es_progress_end(&progress);
		es_scan_end(scan);
	}
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/* type, from_version, event_position, problem */
static void
put_problem(ReturnSetInfo *result, const Trial *trial)
{
	const EsEvent *event = trial->event;
	Datum		values[4];
	bool		nulls[4] = {0};

	values[0] = event->value[ES_EVENT_TYPE];
	values[1] = Int32GetDatum(trial->from);
	values[2] = event->value[ES_EVENT_POSITION];
	values[3] = CStringGetTextDatum(trial->problem);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

List *
es_upcast_sample(const char *category, const char *type)
{
	Sample		sample = {.trial = {.type = type,.category = category}};
	int64		last = es_position_last();
	int64		slice = last / WINDOWS;

	sample.snapshot = RegisterSnapshot(GetLatestSnapshot());
	begin_trial(&sample.trial, sample.snapshot);
	if (slice <= WINDOW)
	{
		int64		count = take(&sample, 0, last, 0, PG_INT64_MAX);

		(void) take(&sample, 0, last, count / SAMPLE_EVENTS + 1, PG_INT64_MAX);
	}
	else
	{
		(void) take(&sample, last - RECENT, last, 1, PG_INT64_MAX);
		for (int i = 0; i < WINDOWS; i++)
			(void) take(&sample, i * slice, i * slice + WINDOW, 1, (SAMPLE_EVENTS - RECENT) / WINDOWS);
		if (sample.trial.tried == 0)
			(void) take(&sample, 0, last, 1, SAMPLE_EVENTS);
	}
	UnregisterSnapshot(sample.snapshot);
	if (sample.failed > MAX_LISTED)
		sample.problems = lappend(sample.problems, psprintf("... and %d more of " INT64_FORMAT " events tried",
															sample.failed - MAX_LISTED, sample.trial.tried));
	return sample.problems;
}

/*
 * Tries one event of so many (stride; 0: none), the first among them, up to max;
 * how many there are that upcasters are for, as far as it looked.
 */
static int64
take(Sample *sample, int64 after, int64 upto, int64 stride, int64 max)
{
	Trial	   *trial = &sample->trial;
	EsScan	   *scan = es_scan_log(after, upto, trial->category == NULL ? NIL :
								   list_make1(unconstify(char *, trial->category)), sample->snapshot);
	int64		count = 0;
	EsEvent		event;

	es_scan_as_stored(scan);
	while (count < max && es_scan_next(scan, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_candidate(trial, &event))
			continue;
		count++;
		if (stride == 0 || (count - 1) % stride != 0)
			continue;
		try_event(trial);
		if (trial->problem == NULL || sample->failed++ >= MAX_LISTED)
			continue;
		sample->problems = lappend(sample->problems,
								   psprintf("event at position " INT64_FORMAT ": %s",
											DatumGetInt64(event.value[ES_EVENT_POSITION]), trial->problem));
	}
	es_scan_end(scan);
	return count;
}

static void
begin_trial(Trial *trial, Snapshot snapshot)
{
	trial->upcasters = es_reading_begin();
	trial->corrections = es_corrections_load(DT_NOEND, snapshot);
	trial->snapshot = snapshot;
	trial->per_event = AllocSetContextCreate(CurrentMemoryContext, "eventsource upcast trial",
											 ALLOCSET_DEFAULT_SIZES);
}

/* Does the event go through upcasters? */
static bool
is_candidate(Trial *trial, EsEvent *event)
{
	MemoryContext caller;

	if (trial->type != NULL && !is_of_type(event, trial->type))
		return false;
	MemoryContextReset(trial->per_event);
	caller = MemoryContextSwitchTo(trial->per_event);
	trial->event = event;
	trial->from = DatumGetInt32(event->value[ES_EVENT_SCHEMA_VERSION]);
	trial->chain = es_upcast_chain_of(trial->upcasters, event);
	MemoryContextSwitchTo(caller);
	return trial->chain != NULL && es_upcast_first(trial->chain, trial->from) != NULL;
}

/* The problem lasts until the next candidate. */
static void
try_event(Trial *trial)
{
	MemoryContext caller = MemoryContextSwitchTo(trial->per_event);
	EsEvent		stored = *trial->event;

	trial->tried++;
	trial->problem = NULL;
	try(trial, upcast_and_check);
	if (trial->problem != NULL && trial->event->personal != NULL && !es_reading_is_trusted(GetUserId()))
		trial->problem = pstrdup("fails; what it says is for those who may see personal data");
	else if (trial->problem == NULL && trial->event->personal != NULL)
		try_veiled(trial, &stored);
	MemoryContextSwitchTo(caller);
}

/* As who decides on it sees it, and who may not see personal data: none may be kept from reading. */
static void
try_veiled(Trial *trial, const EsEvent *stored)
{
	trial->veiled = *stored;
	if (!es_corrections_apply_stored(trial->corrections, &trial->veiled))
		return;
	try(trial, upcast_veiled);
	if (trial->problem != NULL)
	{
		trial->problem = psprintf("without personal fields: %s", trial->problem);
		return;
	}
	trial->veiled = *stored;
	(void) es_corrections_apply_stored(trial->corrections, &trial->veiled);
	es_reading_restore_masked(&trial->veiled, trial->snapshot);
	try(trial, upcast_veiled);
	if (trial->problem != NULL)
		trial->problem = psprintf("with masked personal fields: %s", trial->problem);
}

static void
try(Trial *trial, void (*work) (void *arg))
{
	ErrorData  *error = es_attempt(work, trial, es_error_is_answer);

	if (error != NULL)
		trial->problem = es_error_clip(error->message);
}

static bool
is_of_type(const EsEvent *event, const char *type)
{
	const text *name = es_event_text(event, ES_EVENT_TYPE);

	return VARSIZE_ANY_EXHDR(name) == strlen(type) && memcmp(VARDATA_ANY(name), type, strlen(type)) == 0;
}

static void
upcast_and_check(void *arg)
{
	Trial	   *trial = arg;

	if (es_corrections_apply(trial->corrections, trial->event))
		trial->problem = mismatch(trial->chain, trial->event);
}

/* What it makes of them need not be as its schema says. */
static void
upcast_veiled(void *arg)
{
	Trial	   *trial = arg;

	es_reading_upcast(trial->upcasters, &trial->veiled);
}

/* Of the data and the schema of the version that the chain ends at; NULL: it matches. */
static char *
mismatch(const EsUpcastChain *chain, const EsEvent *event)
{
	int32		number = chain->step[chain->n_steps - 1].to;
	const EsEventType *type = es_event_type_get(es_event_text(event, ES_EVENT_CATEGORY),
												es_event_text(event, ES_EVENT_TYPE));
	EsTypeVersion *version = type == NULL ? NULL : es_event_type_version(type, number);
	EsSchema   *program = version == NULL ? NULL : es_event_type_program(type, version);
	JsonbValue	data;
	StringInfoData lines;
	ListCell   *lc;

	if (program == NULL)
		return NULL;
	es_json_root(DatumGetJsonbP(event->value[ES_EVENT_DATA]), &data);
	if (es_schema_valid(program, &data))
		return NULL;
	initStringInfo(&lines);
	appendStringInfo(&lines, "does not match version %d", number);
	foreach(lc, es_schema_errors(program, &data))
	{
		if (foreach_current_index(lc) == 5)
		{
			appendStringInfoString(&lines, "; ...");
			break;
		}
		appendStringInfo(&lines, "; %s", es_schema_error_line(lfirst(lc)));
	}
	return lines.data;
}
