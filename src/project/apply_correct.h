/*
 * apply_correct.h
 *		Corrections on the way of a projection in mode async.
 */
#ifndef ES_PROJECT_APPLY_CORRECT_H
#define ES_PROJECT_APPLY_CORRECT_H

#include "project/follow.h"
#include "project/projection.h"

/* Position of the first correction of its events in a stretch; stretch->upto + 1 if there is none. */
extern int64 es_apply_next_correction(const EsProjection *projection, const EsStretch *stretch);

/*
 * Rows that the corrections of the stretch up to "end" touch become the fold of the
 * events before the stretch, as they are with these corrections.
 */
extern void es_apply_corrections(EsProjection *projection, const EsStretch *stretch, int64 end);

#endif							/* ES_PROJECT_APPLY_CORRECT_H */
