/*
 * due_step.h
 *		Performing the step that a run is at.
 */
#ifndef ES_WORK_DUE_STEP_H
#define ES_WORK_DUE_STEP_H

#include "work/due_run.h"

/*
 * Performs it and says in the run's row how it goes on, in the current (sub)transaction:
 * either all of that stands, or nothing; or says run->is_left.  Errors: whatever the step raises; 40001 as
 * es_run_hold() does.
 */
extern void es_due_step(EsRun *run);

/* Registers what is done about runs that are given up; at load. */
extern void es_due_step_init(void);

#endif							/* ES_WORK_DUE_STEP_H */
