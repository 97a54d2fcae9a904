/*
 * follow.c
 *		Following the log, stretch by stretch.
 *
 * A stretch is dealt with in a subtransaction that also moves the cursor.  One
 * that fails is tried again in halves, so that what comes before the event to
 * blame is done, and the follower is parked at that one.  Stretches grow as long as
 * all is well: a row that many events meet in is written once in each.  What is nobody's fault
 * (a lost race, a lock not had, no memory) parks nothing: the next run tries
 * again.
 *
 * Locks: the follower's progress, to the end of the transaction; without waiting,
 * so that two who run all followers share them between themselves.
 *
 * Memory: a stretch's, reset with each.
 */
#include "project/follow.h"

#include "log/attempt.h"
#include "log/position.h"
#include "log/reading.h"
#include "miscadmin.h"
#include "rules/pii_use.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

typedef struct Attempt
{
	const EsFollower *follower;
	EsStretch	stretch;
} Attempt;

/* The lock is no protection against ourselves. */
static bool is_following = false;

static ErrorData *go_on(Attempt *attempt, MemoryContext work);
static ErrorData *try_stretch(Attempt *attempt);
static void apply_stretch(void *arg);
static bool is_survived(int sqlstate);
static bool is_to_blame(int sqlstate);
static char *error_text(const ErrorData *error, bool is_concealed);
static void conceal(ErrorData *error);

const char *
es_follow_status_name(EsFollowStatus status)
{
	static const char *const names[] = {
		[ES_FOLLOW_CURRENT] = "current",
		[ES_FOLLOW_BEHIND] = "behind",
		[ES_FOLLOW_PARKED] = "parked",
		[ES_FOLLOW_RETRY] = "retry",
		[ES_FOLLOW_BUSY] = "busy",
	};

	return names[status];
}

void
es_follow_run(const EsFollower *follower, const EsFinal *final, int64 max_events, EsFollowed *result)
{
	MemoryContext work;
	Attempt		attempt = {.follower = follower};
	EsCursor	cursor = {0};
	EsFailure	failure;
	int			size = follower->size;
	int			max_size = follower->max_size;

	*result = (EsFollowed)
	{
		.status = ES_FOLLOW_BUSY
	};
	if (is_following)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("projections cannot be run by a handler"),
				 errdetail("A handler is called by who runs them."),
				 errhint("Let it append an event instead; what follows the log comes by.")));
	if (!es_cursor_lock(follower->name, false))
		return;
	(void) es_cursor_read(follower->name, SnapshotSelf, &cursor);
	result->position = cursor.position;
	if (es_cursor_read_failure(follower->name, SnapshotSelf, &failure))
	{
		result->status = ES_FOLLOW_PARKED;
		result->error = failure.message;
		return;
	}

	/* What it builds on cannot be seen. */
	if (es_cursor_is_hidden(follower->name, es_final_snapshot(final)))
	{
		result->status = ES_FOLLOW_RETRY;
		result->error = pstrdup("could not serialize access due to another run");
		return;
	}

	if (result->position > es_final_upto(final))
		es_position_expect_drawn(result->position);
	work = AllocSetContextCreate(CurrentMemoryContext, "eventsource stretch", ALLOCSET_DEFAULT_SIZES);
	result->status = ES_FOLLOW_CURRENT;
	while (result->status == ES_FOLLOW_CURRENT && result->position < es_final_upto(final))
	{
		ErrorData  *error;
		bool		is_personal;

		if (max_events > 0 && result->events >= max_events)
		{
			result->status = ES_FOLLOW_BEHIND;
			break;
		}
		attempt.stretch = (EsStretch)
		{
			.snapshot = es_final_snapshot(final),
				.after = result->position,
				.upto = es_final_upto(final),
				.size = max_events > 0 ? (int) Min(size, max_events - result->events) : size
		};
		error = go_on(&attempt, work);
		if (error == NULL)
		{
			result->position = attempt.stretch.reached;
			result->events += attempt.stretch.events;
			size = (int) Min((int64) size * 2, max_size);
		}
		else if (is_to_blame(error->sqlerrcode) && attempt.stretch.events > 1)
			size = max_size = attempt.stretch.events / 2;
		else
		{
			result->status = is_to_blame(error->sqlerrcode) ? ES_FOLLOW_PARKED : ES_FOLLOW_RETRY;
			is_personal = follower->sees_personal(follower);
			result->error = error_text(error, is_personal && !es_reading_is_trusted(GetUserId()));
			if (is_personal)
				conceal(error);
			if (result->status == ES_FOLLOW_PARKED)
				es_cursor_fail(follower->name, attempt.stretch.at, error);
		}
	}
	MemoryContextDelete(work);
}

/* The error is the caller's to keep. */
static ErrorData *
go_on(Attempt *attempt, MemoryContext work)
{
	MemoryContext caller = MemoryContextSwitchTo(work);
	ErrorData  *error;
	ErrorData  *copy = NULL;

	CHECK_FOR_INTERRUPTS();
	error = try_stretch(attempt);
	MemoryContextSwitchTo(caller);
	if (error != NULL)
	{
		copy = palloc(sizeof(ErrorData));
		*copy = *error;
		copy->message = error->message == NULL ? NULL : es_error_clip(error->message);
		copy->detail = error->detail == NULL ? NULL : es_error_clip(error->detail);
	}
	MemoryContextReset(work);
	return copy;
}

static ErrorData *
try_stretch(Attempt *attempt)
{
	ErrorData  *volatile error = NULL;

	is_following = true;
	PG_TRY();
	{
		error = es_attempt(apply_stretch, attempt, is_survived);
	}
	PG_FINALLY();
	{
		is_following = false;
	}
	PG_END_TRY();
	return error;
}

static void
apply_stretch(void *arg)
{
	Attempt    *attempt = arg;

	attempt->follower->apply(attempt->follower, &attempt->stretch);
	Assert(attempt->stretch.reached > attempt->stretch.after);
	es_cursor_set(attempt->follower->name, attempt->stretch.reached);
}

/* One that fails takes no other along, whatever it says. */
static bool
is_survived(int sqlstate)
{
	return true;
}

static bool
is_to_blame(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return sqlstate != ERRCODE_T_R_SERIALIZATION_FAILURE && sqlstate != ERRCODE_T_R_DEADLOCK_DETECTED &&
		sqlstate != ERRCODE_LOCK_NOT_AVAILABLE &&
		category != ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) &&
		category != ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION);
}

static char *
error_text(const ErrorData *error, bool is_concealed)
{
	return pstrdup(is_concealed ? ES_PII_CONCEALED : error->message == NULL ? "" : error->message);
}

static void
conceal(ErrorData *error)
{
	error->message = pstrdup(ES_PII_CONCEALED);
	error->detail = pstrdup("Who may see personal data (grant_personal_data) is told it by eventsource.run_projections(), "
							"once this is to be tried again.");
}
