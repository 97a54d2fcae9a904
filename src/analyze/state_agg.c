/*
 * state_agg.c
 *		The aggregate eventsource.state_agg(ts, state): when each state held, as
 *		an array of eventsource.state_period.
 *
 * The result is a value like any other: it can be stored, dumped, unnested, and
 * read by functions in SQL.  The aggregate's own state holds a row in 16 bytes,
 * and each text once, in its memory context.  Of several states at one time the
 * one that came last counts, so rows keep their number; and as parallel workers
 * know no order, there is no combining.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "analyze/aggregate.h"
#include "common/hashfn.h"
#include "eventsource.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#define MAX_ROWS		5000000 /* of a group, in memory */
#define MAX_RESULT		(256 * 1024 * 1024) /* bytes */
#define FEW_STATES		8		/* that are found without hashing */

/* Columns of type eventsource.state_period */
#define PERIOD_COLUMNS	3

typedef struct Row
{
	TimestampTz ts;
	uint32		number;			/* in the input */
	uint32		state;			/* index in states */
} Row;

typedef struct StateEntry
{
	const text *state;			/* key */
	uint32		number;
	uint32		hash;
	char		status;
} StateEntry;

#define SH_PREFIX		statetable
#define SH_ELEMENT_TYPE	StateEntry
#define SH_KEY_TYPE		const text *
#define SH_KEY			state
#define SH_HASH_KEY(tb, key)	hash_bytes((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key))
#define SH_EQUAL(tb, a, b)		es_text_same(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)		(a)->hash
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct States
{
	MemoryContext context;
	bool		is_sorted;
	int			count;
	int			room;
	Row		   *rows;
	int			nstates;
	int			state_room;
	const text **states;
	statetable_hash *by_state;	/* NULL while they are few */
} States;

PG_FUNCTION_INFO_V1(eventsource_state_agg_step);
PG_FUNCTION_INFO_V1(eventsource_state_agg_result);

static States *start_states(MemoryContext context);
static void add_row(States *all, TimestampTz ts, uint32 state);
static uint32 number_of_state(States *all, const text *state);
static uint32 add_state(States *all, const text *state);
static int	compare_rows(const void *a, const void *b, void *arg);
static int	merge_rows(const States *all, Row *merged);
static ArrayType *make_periods(const States *all, const Row *rows, int count, Oid element);
static void expect_size(const States *all, const Row *rows, int count);

/* state_agg_step(states internal, ts timestamptz, state text): skips a row of which either is NULL. */
Datum
eventsource_state_agg_step(PG_FUNCTION_ARGS)
{
	MemoryContext context = es_expect_aggregate(fcinfo);
	States	   *all = PG_ARGISNULL(0) ? NULL : (States *) PG_GETARG_POINTER(0);
	TimestampTz ts;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (all == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(all);
	}
	ts = PG_GETARG_TIMESTAMPTZ(1);
	if (TIMESTAMP_NOT_FINITE(ts))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a state cannot begin at an infinite time"),
				 errdetail("state_agg() got state \"%s\" at %s.", text_to_cstring(PG_GETARG_TEXT_PP(2)),
						   TIMESTAMP_IS_NOBEGIN(ts) ? "-infinity" : "infinity"),
				 errhint("Leave such rows out, or give the time from when it is of interest.")));
	if (all == NULL)
		all = start_states(context);
	add_row(all, ts, number_of_state(all, PG_GETARG_TEXT_PP(2)));
	PG_RETURN_POINTER(all);
}

/* state_agg_result(states internal): NULL if there were no rows.  More may follow, as for a window. */
Datum
eventsource_state_agg_result(PG_FUNCTION_ARGS)
{
	States	   *all;
	Row		   *merged;
	int			count;

	es_expect_aggregate(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	all = (States *) PG_GETARG_POINTER(0);
	if (!all->is_sorted)
	{
		qsort_interruptible(all->rows, all->count, sizeof(Row), compare_rows, NULL);
		all->is_sorted = true;
	}
	merged = palloc(all->count * sizeof(Row));
	count = merge_rows(all, merged);
	PG_RETURN_ARRAYTYPE_P(make_periods(all, merged, count,
									   get_element_type(get_fn_expr_rettype(fcinfo->flinfo))));
}

static States *
start_states(MemoryContext context)
{
	States	   *all = MemoryContextAllocZero(context, sizeof(States));

	all->context = context;
	all->is_sorted = true;
	return all;
}

static void
add_row(States *all, TimestampTz ts, uint32 state)
{
	if (all->count == all->room)
	{
		if (all->count >= MAX_ROWS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("more than %d states of one group are too many", MAX_ROWS),
					 errdetail("state_agg() keeps the rows of a group in memory."),
					 errhint("Group by the thing that has the state, or by day.")));
		all->rows = es_grow(all->context, all->rows, &all->room, all->count + 1, MAX_ROWS, sizeof(Row));
	}
	if (all->count > 0 && all->rows[all->count - 1].ts > ts)
		all->is_sorted = false;
	all->rows[all->count] = (Row)
	{
		.ts = ts,.number = all->count,.state = state
	};
	all->count++;
}

static uint32
number_of_state(States *all, const text *state)
{
	StateEntry *entry;

	if (all->by_state != NULL)
	{
		entry = statetable_lookup(all->by_state, state);
		return entry != NULL ? entry->number : add_state(all, state);
	}
	for (int i = 0; i < all->nstates; i++)
		if (es_text_same(all->states[i], state))
			return i;
	return add_state(all, state);
}

static uint32
add_state(States *all, const text *state)
{
	MemoryContext caller = MemoryContextSwitchTo(all->context);
	StateEntry *entry;
	bool		found;

	if (all->nstates == all->state_room)
	{
		all->state_room = Max(FEW_STATES, all->state_room * 2);
		if (all->states == NULL)
			all->states = palloc(all->state_room * sizeof(text *));
		else
			all->states = repalloc(all->states, all->state_room * sizeof(text *));
	}
	all->states[all->nstates++] = cstring_to_text_with_len(VARDATA_ANY(state), VARSIZE_ANY_EXHDR(state));
	if (all->nstates > FEW_STATES)
	{
		int			first = all->nstates - 1;

		if (all->by_state == NULL)
		{
			all->by_state = statetable_create(all->context, all->nstates, NULL);
			first = 0;
		}
		for (int i = first; i < all->nstates; i++)
		{
			entry = statetable_insert(all->by_state, all->states[i], &found);
			entry->number = i;
		}
	}
	MemoryContextSwitchTo(caller);
	return all->nstates - 1;
}

/* By time, and as they came. */
static int
compare_rows(const void *a, const void *b, void *arg)
{
	const Row  *x = a;
	const Row  *y = b;

	if (x->ts != y->ts)
		return x->ts < y->ts ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* One row for each time at which the state became another. */
static int
merge_rows(const States *all, Row *merged)
{
	int			n = 0;

	for (int i = 0; i < all->count; i++)
	{
		if (i + 1 < all->count && all->rows[i + 1].ts == all->rows[i].ts)
			continue;
		if (n == 0 || merged[n - 1].state != all->rows[i].state)
			merged[n++] = all->rows[i];
	}
	return n;
}

/* A period ends where the next begins; the last one with the last row. */
static ArrayType *
make_periods(const States *all, const Row *rows, int count, Oid element)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(element, -1);
	Datum	   *periods;

	if (desc->natts != PERIOD_COLUMNS)
		elog(ERROR, "type of state_agg has %d columns", desc->natts);
	expect_size(all, rows, count);
	periods = palloc(count * sizeof(Datum));
	BlessTupleDesc(desc);
	for (int i = 0; i < count; i++)
	{
		bool		nulls[PERIOD_COLUMNS] = {0};
		Datum		values[PERIOD_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		values[0] = PointerGetDatum(all->states[rows[i].state]);
		values[1] = TimestampTzGetDatum(rows[i].ts);
		values[2] = TimestampTzGetDatum(i + 1 < count ? rows[i + 1].ts : all->rows[all->count - 1].ts);
		periods[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	return construct_array(periods, count, element, -1, false, TYPALIGN_DOUBLE);
}

static void
expect_size(const States *all, const Row *rows, int count)
{
	int64		size = 0;

	for (int i = 0; i < count; i++)
		size += MAXALIGN(SizeofHeapTupleHeader + 2 * sizeof(TimestampTz) + MAXIMUM_ALIGNOF +
						 VARSIZE_ANY(all->states[rows[i].state]));
	if (size > MAX_RESULT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d periods of states are too many for one value", count),
				 errdetail("They take more than %d bytes.", MAX_RESULT),
				 errhint("Group by the thing that has the state, or by day.")));
}
