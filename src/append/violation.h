/*
 * violation.h
 *		Events that the rules forbid, and that are recorded all the same.
 */
#ifndef ES_APPEND_VIOLATION_H
#define ES_APPEND_VIOLATION_H

#include "append/hall.h"
#include "rules/machine.h"

/* Metadata with {"violation": {"sqlstate", "message"}} added. */
extern Jsonb *es_violation_note(Jsonb *metadata, int sqlstate, const char *message);

/*
 * Judges a step by the draft.  False: it is a violation to be recorded, noted in
 * the event, which goes to the draft's to_state.  Raises where violations are
 * refused.
 */
extern bool es_violation_judge(EsMachine *machine, const EsStep *step, const EsDraft *draft, EsEvent *event);

#endif							/* ES_APPEND_VIOLATION_H */
