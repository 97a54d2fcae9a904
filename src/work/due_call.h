/*
 * due_call.h
 *		Calling the function of a step, which decides how its run goes on.
 */
#ifndef ES_WORK_DUE_CALL_H
#define ES_WORK_DUE_CALL_H

#include "append/react.h"
#include "work/due_decision.h"
#include "work/due_run.h"

/*
 * Calls it with the event and what there is to know of the run, in its definer's room, and
 * reads its decision.
 */
extern void es_due_call(const EsReactOccasion *occasion, const char *function, const EsRun *run,
						EsDecision *decision);

#endif							/* ES_WORK_DUE_CALL_H */
