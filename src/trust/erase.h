/*
 * erase.h
 *		Erasing subjects: events about it, and functions of users that take part.
 */
#ifndef ES_TRUST_ERASE_H
#define ES_TRUST_ERASE_H

#include "log/erasing.h"

/* What was cleared where. */
typedef struct EsErasedCount
{
	const char *target;
	int64		count;
} EsErasedCount;

/* ---- erase_event.c: what is recorded ---- */

/*
 * Appends to the stream that tells about a subject.  data: an object; actor: NULL
 * for the default.  Returns the position.
 */
extern int64 es_erasure_append(const text *subject, const char *type, Jsonb *data,
							   const text *reason, const text *actor);

/* ---- erase_left.c ---- */

/*
 * Digests of what is left of the events, as a member of the object that is built; those
 * that it could not hold are appended first.
 */
extern void es_erasure_push_left(JsonbParseState **state, const EsErasing *erasing, const text *reason,
								 const text *actor);

/* ---- erase_event.c: cases ---- */

/* A request that is neither met nor closed yet. */
typedef struct EsErasureRequest
{
	int64		position;
	EsErasedMode mode;
} EsErasureRequest;

/* The subject is locked. */
extern bool es_erasure_find_request(const text *subject, EsErasureRequest *request);

/* ---- eraser.c: functions of users ---- */

/* Calls all of them; list of EsErasedCount. */
extern List *es_eraser_call_all(const text *subject, EsErasedMode mode);

#endif							/* ES_TRUST_ERASE_H */
