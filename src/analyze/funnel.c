/*
 * funnel.c
 *		The aggregate eventsource.window_funnel(period, mode, ts, conditions ...):
 *		how deep into a funnel the events of a group come.
 *
 * The state holds what matters of each row, a time and the conditions that hold,
 * in the aggregate's memory context, where a hash aggregate counts it; the result
 * sorts it and walks it once (funnel_level.c).  States of parallel workers are
 * put together, their order being of no meaning.
 */
#include "postgres.h"

#include "analyze/aggregate.h"
#include "analyze/funnel.h"
#include "catalog/pg_type.h"
#include "eventsource.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define MAX_EVENTS		5000000 /* of a group, in memory */

typedef struct Funnel
{
	MemoryContext context;
	EsFunnelRules rules;
	text	   *mode;			/* as it was given; NULL if it was NULL */
	bool		is_sorted;
	int			count;
	int			room;
	EsFunnelEvent *events;
} Funnel;

static const struct
{
	const char *name;
	int			bit;
}			mode_names[] =

{
	{"strict_deduplication", ES_FUNNEL_DEDUPLICATION},
	{"strict_order", ES_FUNNEL_ORDER},
	{"strict_increase", ES_FUNNEL_INCREASE},
	{"strict_once", ES_FUNNEL_ONCE},
	{"allow_reentry", ES_FUNNEL_REENTRY}
};

PG_FUNCTION_INFO_V1(eventsource_window_funnel_step);
PG_FUNCTION_INFO_V1(eventsource_window_funnel_combine);
PG_FUNCTION_INFO_V1(eventsource_window_funnel_serialize);
PG_FUNCTION_INFO_V1(eventsource_window_funnel_deserialize);
PG_FUNCTION_INFO_V1(eventsource_window_funnel_result);

static Funnel *start_funnel(MemoryContext context, const Interval *period, const text *mode, int depth);
static void expect_same_rules(const Funnel *funnel, const Interval *period, const text *mode, int depth);
static int	parse_modes(const text *mode);
static int	parse_mode(const char *name, int len, const text *mode);
static uint64 conditions_that_hold(const ArrayType *conditions, int depth);
static void make_room(Funnel *funnel, int more);
static int	compare_events(const void *a, const void *b, void *arg);

/* window_funnel_step(state, period interval, mode text, ts timestamptz, VARIADIC conditions boolean[]) */
Datum
eventsource_window_funnel_step(PG_FUNCTION_ARGS)
{
	MemoryContext context = es_expect_aggregate(fcinfo);
	const Interval *period = PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1);
	const text *mode = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	const ArrayType *conditions;
	Funnel	   *funnel;
	TimestampTz ts;
	uint64		holds;
	int			depth;

	if (PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the conditions of a funnel must not be null"),
				 errdetail("window_funnel() got NULL instead of an array of conditions."),
				 errhint("Give conditions one by one, or an array as VARIADIC. One that is NULL does not hold.")));
	conditions = PG_GETARG_ARRAYTYPE_P(4);
	depth = ArrayGetNItems(ARR_NDIM(conditions), ARR_DIMS(conditions));
	if (PG_ARGISNULL(0))
		funnel = start_funnel(context, period, mode, depth);
	else
	{
		funnel = (Funnel *) PG_GETARG_POINTER(0);
		expect_same_rules(funnel, period, mode, depth);
	}
	if (PG_ARGISNULL(3))
		PG_RETURN_POINTER(funnel);

	/* What is in no stage matters to strict_order alone. */
	holds = conditions_that_hold(conditions, depth);
	if (holds == 0 && !(funnel->rules.modes & ES_FUNNEL_ORDER))
		PG_RETURN_POINTER(funnel);
	ts = PG_GETARG_TIMESTAMPTZ(3);
	make_room(funnel, 1);
	if (funnel->count > 0 && funnel->events[funnel->count - 1].ts > ts)
		funnel->is_sorted = false;
	funnel->events[funnel->count++] = (EsFunnelEvent)
	{
		.ts = ts,.holds = holds
	};
	PG_RETURN_POINTER(funnel);
}

/* window_funnel_combine(state internal, other internal) */
Datum
eventsource_window_funnel_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = es_expect_aggregate(fcinfo);
	Funnel	   *funnel = PG_ARGISNULL(0) ? NULL : (Funnel *) PG_GETARG_POINTER(0);
	const Funnel *other = PG_ARGISNULL(1) ? NULL : (const Funnel *) PG_GETARG_POINTER(1);
	const EsFunnelRules *rules;

	if (other == NULL)
	{
		if (funnel == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(funnel);
	}
	rules = &other->rules;
	if (funnel == NULL)
		funnel = start_funnel(context, rules->has_limit ? &rules->period : NULL, other->mode, rules->depth);
	else
		expect_same_rules(funnel, rules->has_limit ? &rules->period : NULL, other->mode, rules->depth);
	if (other->count > 0)
	{
		make_room(funnel, other->count);
		funnel->is_sorted = funnel->is_sorted && other->is_sorted &&
			(funnel->count == 0 || funnel->events[funnel->count - 1].ts <= other->events[0].ts);
		memcpy(funnel->events + funnel->count, other->events, other->count * sizeof(EsFunnelEvent));
		funnel->count += other->count;
	}
	PG_RETURN_POINTER(funnel);
}

/* window_funnel_serialize(state internal): for a process of the same server. */
Datum
eventsource_window_funnel_serialize(PG_FUNCTION_ARGS)
{
	const Funnel *funnel;
	StringInfoData out;

	es_expect_aggregate(fcinfo);
	funnel = (const Funnel *) PG_GETARG_POINTER(0);
	pq_begintypsend(&out);
	pq_sendbytes(&out, (const char *) &funnel->rules.period, sizeof(Interval));
	pq_sendbyte(&out, funnel->rules.has_limit);
	pq_sendint32(&out, funnel->rules.depth);
	pq_sendint32(&out, funnel->mode == NULL ? -1 : (int) VARSIZE_ANY_EXHDR(funnel->mode));
	if (funnel->mode != NULL)
		pq_sendbytes(&out, VARDATA_ANY(funnel->mode), VARSIZE_ANY_EXHDR(funnel->mode));
	pq_sendbyte(&out, funnel->is_sorted);
	pq_sendint32(&out, funnel->count);
	if (funnel->count > 0)
		pq_sendbytes(&out, (const char *) funnel->events, funnel->count * sizeof(EsFunnelEvent));
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

/* window_funnel_deserialize(bytes bytea, state internal) */
Datum
eventsource_window_funnel_deserialize(PG_FUNCTION_ARGS)
{
	const bytea *bytes;
	StringInfoData in;
	Funnel	   *funnel;
	Interval	period;
	bool		has_limit;
	int			depth;
	int			len;
	text	   *mode = NULL;
	int			count;

	es_expect_aggregate(fcinfo);
	bytes = PG_GETARG_BYTEA_PP(0);
	in = (StringInfoData)
	{
		.data = (char *) VARDATA_ANY(bytes),.len = VARSIZE_ANY_EXHDR(bytes)
	};
	pq_copymsgbytes(&in, (char *) &period, sizeof(Interval));
	has_limit = pq_getmsgbyte(&in);
	depth = pq_getmsgint(&in, 4);
	len = (int) pq_getmsgint(&in, 4);
	if (len >= 0)
		mode = cstring_to_text_with_len(pq_getmsgbytes(&in, len), len);

	/*
	 * Combining copies it, so it may live as short as the call's other
	 * memory.
	 */
	funnel = start_funnel(CurrentMemoryContext, has_limit ? &period : NULL, mode, depth);
	funnel->is_sorted = pq_getmsgbyte(&in);
	count = pq_getmsgint(&in, 4);
	make_room(funnel, count);
	if (count > 0)
		pq_copymsgbytes(&in, (char *) funnel->events, count * sizeof(EsFunnelEvent));
	funnel->count = count;
	pq_getmsgend(&in);
	PG_RETURN_POINTER(funnel);
}

/* window_funnel_result(state internal): rows may follow, as for a window. */
Datum
eventsource_window_funnel_result(PG_FUNCTION_ARGS)
{
	Funnel	   *funnel;

	es_expect_aggregate(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_INT32(0);
	funnel = (Funnel *) PG_GETARG_POINTER(0);
	if (!funnel->is_sorted)
	{
		qsort_interruptible(funnel->events, funnel->count, sizeof(EsFunnelEvent), compare_events, NULL);
		funnel->is_sorted = true;
	}
	PG_RETURN_INT32(es_funnel_level(&funnel->rules, funnel->events, funnel->count));
}

static Funnel *
start_funnel(MemoryContext context, const Interval *period, const text *mode, int depth)
{
	Funnel	   *funnel;
	MemoryContext caller;
	const Interval none = {0};

	if (depth > ES_FUNNEL_MAX_CONDITIONS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a funnel of %d conditions is too deep", depth),
				 errdetail("window_funnel() takes up to %d conditions.", ES_FUNNEL_MAX_CONDITIONS),
				 errhint("Put stages together, or ask for the later ones by themselves.")));
	if (period != NULL &&
		DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(period), IntervalPGetDatum(&none))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the period of a funnel is negative"),
				 errdetail("All stages are to come within %s from the first one.",
						   DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(period)))),
				 errhint("Give zero or more, or NULL for no limit.")));

	caller = MemoryContextSwitchTo(context);
	funnel = palloc0(sizeof(Funnel));
	funnel->context = context;
	funnel->rules.has_limit = period != NULL;
	if (period != NULL)
		funnel->rules.period = *period;
	funnel->rules.modes = mode == NULL ? 0 : parse_modes(mode);
	funnel->rules.depth = depth;
	if (mode != NULL)
		funnel->mode = cstring_to_text_with_len(VARDATA_ANY(mode), VARSIZE_ANY_EXHDR(mode));
	funnel->is_sorted = true;
	MemoryContextSwitchTo(caller);
	return funnel;
}

/* A funnel is one for all rows of a group. */
static void
expect_same_rules(const Funnel *funnel, const Interval *period, const text *mode, int depth)
{
	const EsFunnelRules *rules = &funnel->rules;
	const char *what;

	if (depth != rules->depth)
		what = "the number of conditions";
	else if ((period != NULL) != rules->has_limit ||
			 (period != NULL && (period->time != rules->period.time || period->day != rules->period.day ||
								 period->month != rules->period.month)))
		what = "the period";
	else if (!es_text_same(mode, funnel->mode))
		what = "the mode";
	else
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s of a funnel changes from row to row", what),
			 errdetail("Period, mode and number of conditions are the same for all rows of a group."),
			 errhint("Group by what they depend on.")));
}

/* Names joined by commas; spaces around them do not matter. */
static int
parse_modes(const text *mode)
{
	const char *at = VARDATA_ANY(mode);
	const char *end = at + VARSIZE_ANY_EXHDR(mode);
	int			modes = 0;
	bool		is_blank = true;

	for (const char *c = at; c < end; c++)
		is_blank &= *c == ' ';
	while (!is_blank && at <= end)
	{
		const char *comma = memchr(at, ',', end - at);
		const char *stop = comma == NULL ? end : comma;
		const char *next = stop + 1;

		while (at < stop && *at == ' ')
			at++;
		while (stop > at && stop[-1] == ' ')
			stop--;
		modes |= parse_mode(at, stop - at, mode);
		at = next;
	}
	return modes;
}

static int
parse_mode(const char *name, int len, const text *mode)
{
	for (size_t i = 0; i < lengthof(mode_names); i++)
		if (strlen(mode_names[i].name) == (size_t) len && memcmp(mode_names[i].name, name, len) == 0)
			return mode_names[i].bit;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("mode \"%s\" is unknown", text_to_cstring(mode)),
			 errdetail("Modes are those of ClickHouse's windowFunnel, joined by commas."),
			 errhint("Give strict_deduplication, strict_order, strict_increase, strict_once or allow_reentry.")));
}

/* NULL does not hold. */
static uint64
conditions_that_hold(const ArrayType *conditions, int depth)
{
	const bool *value = (const bool *) ARR_DATA_PTR(conditions);
	const bits8 *nulls = ARR_NULLBITMAP(conditions);
	uint64		holds = 0;

	if (ARR_ELEMTYPE(conditions) != BOOLOID)
		elog(ERROR, "conditions are not boolean");
	for (int i = 0; i < depth; i++)
	{
		if (nulls != NULL && !(nulls[i / 8] & (1 << (i % 8))))
			continue;
		if (*value++)
			holds |= UINT64CONST(1) << i;
	}
	return holds;
}

static void
make_room(Funnel *funnel, int more)
{
	int			needed = funnel->count + more;

	if (needed <= funnel->room)
		return;
	if (needed > MAX_EVENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a funnel of more than %d events is too large", MAX_EVENTS),
				 errdetail("window_funnel() keeps the events of a group in memory."),
				 errhint("Group by customer or session, or let WHERE leave out what is in no stage.")));
	funnel->events = es_grow(funnel->context, funnel->events, &funnel->room, needed, MAX_EVENTS,
							 sizeof(EsFunnelEvent));
}

static int
compare_events(const void *a, const void *b, void *arg)
{
	TimestampTz x = ((const EsFunnelEvent *) a)->ts;
	TimestampTz y = ((const EsFunnelEvent *) b)->ts;

	return x < y ? -1 : x > y;
}
