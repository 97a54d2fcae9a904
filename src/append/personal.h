/*
 * personal.h
 *		Personal fields of an event on its way into the log.
 */
#ifndef ES_APPEND_PERSONAL_H
#define ES_APPEND_PERSONAL_H

#include "append/hall.h"
#include "rules/event_type.h"

/*
 * Cuts the personal fields out of the event's data, by its type and as the draft says,
 * and commits to them.  Errors: ZE007 where they cannot be told from the rest.
 */
extern void es_personal_take(EsEvent *event, const EsEventType *type, const EsDraft *draft);

/* For who cuts by more than a type: more paths, palloc'd; either may be NULL. */
extern EsPersonalPath *es_personal_add_paths(EsPersonalPath *paths, int *n, const EsPii *pii);
extern EsPersonalPath *es_personal_add_fields(EsPersonalPath *paths, int *n, const EsPersonal *fields);

/* Of a captured event (ES_EVENT_*) they leave nulls behind. */
extern void es_personal_keep_places(EsPersonalPath *paths, int n, int flags);

/* Error (ZE011) if what the machine filled in is such a field. */
extern void es_personal_refuse_filled(const EsEvent *event, const EsEventType *type);

/* The event as it was told: it, or a copy of it whose data has its personal fields. */
extern EsEvent *es_personal_told(EsEvent *event, EsEvent *copy);

/* Digest of a draft that became the event, or repeats it, for its idempotency key. */
extern void es_personal_digest(const EsDraft *draft, const EsEvent *event, uint8 *digest);

#endif							/* ES_APPEND_PERSONAL_H */
