/*
 * define.h
 *		Definitions enter the log through the hall like any event.
 */
#ifndef ES_APPEND_DEFINE_H
#define ES_APPEND_DEFINE_H

#include "eventsource.h"

/* So that of two who define it one waits until the other's transaction has ended. */
extern void es_define_lock(const char *kind, const char *name);

/*
 * Appends an event of this type to stream "$config-<kind>.<name>" and returns
 * its version.  "data" must be an object; the current user is added to it, as
 * "owner", with "owner_oid" and "owner_opened".  Every cache built from definitions is rebuilt afterwards.
 */
extern int64 es_define(const char *kind, const char *name, const char *type, Jsonb *data);

#endif							/* ES_APPEND_DEFINE_H */
