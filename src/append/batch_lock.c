/*
 * batch_lock.c
 *		The order in which streams are locked: that of their hashes, for all that a call
 *		writes to, as far as it can be told before.
 *
 * That takes in what reactions will append to (react_foresee.c).  What shows only when an
 * event is decided is locked then, before the keys of projections (react.c).
 */
#include "append/batch.h"

#include "append/draft.h"
#include "append/react.h"
#include "miscadmin.h"

typedef struct LockOrder
{
	uint64		order;
	const text *name;
} LockOrder;

static int	compare_locks(const void *a, const void *b);

void
es_batch_lock(const EsDraft *drafts, int count)
{
	EsDraftContext context;
	List	   *all = NIL;
	List	   *streams = NIL;

	es_draft_begin_errors(&context);
	for (int i = 0; i < count; i++)
	{
		context.draft = &drafts[i];
		context.number = i + 1;
		(void) es_draft_check(&drafts[i]);
		all = lappend(all, unconstify(EsDraft *, &drafts[i]));
		streams = lappend(streams, unconstify(text *, drafts[i].stream));
	}
	es_draft_end_errors(&context);
	es_hall_open_log();
	streams = list_concat(streams, es_react_foresee(all));
	es_batch_lock_streams(streams);
	list_free(streams);
	list_free(all);
}

void
es_batch_lock_ahead(const EsDraft *draft)
{
	List	   *streams = es_react_foresee(list_make1(unconstify(EsDraft *, draft)));

	if (streams == NIL)
		return;
	es_hall_open_log();
	es_batch_lock_streams(lappend(streams, unconstify(text *, draft->stream)));
}

void
es_batch_lock_streams(const List *names)
{
	LockOrder  *locks;
	int			count = 0;
	int			distinct = 0;
	ListCell   *lc;

	if (names == NIL)
		return;
	locks = palloc(list_length(names) * sizeof(LockOrder));
	foreach(lc, names)
	{
		locks[count].name = lfirst(lc);
		locks[count].order = es_stream_lock_order(lfirst(lc));
		count++;
	}
	qsort(locks, count, sizeof(LockOrder), compare_locks);
	for (int i = 0; i < count; i++)
		if (i == 0 || locks[i].order != locks[i - 1].order)
			distinct++;
	es_stream_expect_distinct(distinct);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i == 0 || locks[i].order != locks[i - 1].order)
			es_stream_lock(locks[i].name);
	}
	pfree(locks);
}

static int
compare_locks(const void *a, const void *b)
{
	uint64		x = ((const LockOrder *) a)->order;
	uint64		y = ((const LockOrder *) b)->order;

	return x < y ? -1 : x > y ? 1 : 0;
}
