/*
 * due_decision.h
 *		What a called function decides about the run that it is a step of.
 */
#ifndef ES_WORK_DUE_DECISION_H
#define ES_WORK_DUE_DECISION_H

#include "append/job.h"
#include "utils/timestamp.h"

/* How the run goes on. */
typedef enum EsDecided
{
	ES_DECIDED_GO_ON,			/* with the next step, or another */
	ES_DECIDED_SKIP,			/* it ends, for a reason */
	ES_DECIDED_END,				/* it ends */
	ES_DECIDED_RETRY			/* the same step again, later */
} EsDecided;

typedef struct EsDecision
{
	EsDecided	verdict;
	char	   *reason;			/* of ES_DECIDED_SKIP */
	Interval   *retry;
	bool		sends;			/* send is to be enqueued before */
	EsJobDraft	send;
	int64		next;			/* 0: the step that follows */
	char	   *wait;			/* as the function said; NULL: as the step
								 * says */
} EsDecision;

/*
 * Reads what it returned; NULL: nothing.  n_steps: 0 for a compensation, which has nothing
 * after it.  Errors: 22023 for what is no decision.
 */
extern void es_decision_read(Jsonb *decision, int n_steps, EsDecision *result);

/* An interval that was said so; 22023 if it is none, or negative. */
extern Interval *es_decision_interval(const char *member, const char *value);

#endif							/* ES_WORK_DUE_DECISION_H */
