/*
 * json_schema_compat.h
 *		Whether one JSON Schema takes all that another one takes: what a new version
 *		of an event type's schema must do.
 *
 * Sound, not complete: what cannot be shown to be compatible is refused.
 */
#ifndef ES_RULES_JSON_SCHEMA_COMPAT_H
#define ES_RULES_JSON_SCHEMA_COMPAT_H

#include "rules/json_schema.h"

typedef enum EsCompatMode
{
	ES_COMPAT_NONE,
	ES_COMPAT_BACKWARD,			/* the newer takes all that the older takes */
	ES_COMPAT_FORWARD,			/* the reverse */
	ES_COMPAT_FULL,				/* both */
	ES_COMPAT_BACKWARD_TRANSITIVE,	/* the same with all earlier versions: the
									 * caller's loop */
	ES_COMPAT_FORWARD_TRANSITIVE,
	ES_COMPAT_FULL_TRANSITIVE
} EsCompatMode;

/* "backward", "full_transitive" ...; an error if it is none of them. */
extern EsCompatMode es_compat_mode(const char *name);
extern const char *es_compat_mode_name(EsCompatMode mode);

/* Must it hold with all earlier versions, not only with the last? */
extern bool es_compat_mode_is_transitive(EsCompatMode mode);

/*
 * Why the newer schema is not compatible with the older one: lines (char *) in the
 * current context, each with a JSON pointer; NIL: it is.  NULL is a schema that takes
 * anything, as the data of an event may be: it need not be an object.  Errors: cancelled.
 */
extern List *es_schema_compat_problems(const EsSchema *older, const EsSchema *newer, EsCompatMode mode);

#endif							/* ES_RULES_JSON_SCHEMA_COMPAT_H */
