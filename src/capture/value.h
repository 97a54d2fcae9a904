/*
 * value.h
 *		Values of columns as JSON, and back: what a captured event says about a
 *		row.
 */
#ifndef ES_CAPTURE_VALUE_H
#define ES_CAPTURE_VALUE_H

#include "eventsource.h"

/*
 * Pushes a value with this token (WJB_VALUE or WJB_ELEM); SQL's NULL becomes a
 * JSON null.  It must stay where it is until the jsonb is made.
 */
extern void es_value_push(JsonbParseState **state, JsonbIteratorToken token,
						  Datum value, bool isnull, Oid type);

/* A jsonb that is JSON's null, which es_value_push() makes look like SQL's. */
extern bool es_value_is_json_null(Datum value, bool isnull, Oid type);

/*
 * The value of a member ("old" or "new") of a column's object in data.changed, as
 * it was; false if the object has no such member.  It is read as a type (its base
 * type, if that is a domain: neither checks nor lengths of today judge it), with
 * an error where it cannot be, as it was of another type.
 */
extern bool es_value_read_member(JsonbContainer *column, const char *member, Oid type,
								 Datum *value, bool *isnull);

/* The value as text, the same in every session; not for NULL. */
extern text *es_value_text(Datum value, Oid type);

extern void es_value_init(void);

#endif							/* ES_CAPTURE_VALUE_H */
