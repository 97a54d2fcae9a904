/*
 * final.c
 *		Reading final events: whoever hands out events of the feed, or follows
 *		it, reads under one of these.
 *
 * The order matters: first the watermark, then the snapshot, whatever the
 * isolation level (log/position.c says why).  What is to be acted on must be
 * flushed first, since commits can be asynchronous.
 *
 * Memory: the current context.  An error leaves nothing behind, as the snapshot
 * belongs to the resource owner.
 */
#include "log/final.h"

#include "access/xlog.h"
#include "log/position.h"
#include "utils/snapmgr.h"

struct EsFinal
{
	int64		upto;
	Snapshot	snapshot;
	XLogRecPtr	flush;
};

EsFinal *
es_final_begin(void)
{
	EsFinal    *final = palloc(sizeof(EsFinal));

	final->upto = es_position_watermark();
	final->snapshot = RegisterSnapshot(GetLatestSnapshot());
	final->flush = InvalidXLogRecPtr;
	return final;
}

int64
es_final_upto(const EsFinal *final)
{
	return final->upto;
}

Snapshot
es_final_snapshot(const EsFinal *final)
{
	return final->snapshot;
}

void
es_final_note(EsFinal *final, const EsScan *scan)
{
	final->flush = Max(final->flush, es_scan_commit_lsn(scan));
}

void
es_final_end(EsFinal *final)
{
	UnregisterSnapshot(final->snapshot);
	/* What a standby replayed was flushed before it came. */
	if (!XLogRecPtrIsInvalid(final->flush) && !RecoveryInProgress())
		XLogFlush(final->flush);
	pfree(final);
}
