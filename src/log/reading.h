/*
 * reading.h
 *		What an event says to those who read it today: its data, as stored, with its
 *		personal fields put back (log/vault.h), made what the latest version of its
 *		type has, by upcasters (rules/upcast.h), which are registered here at load.
 *
 *		es_scan_next() and es_corrections_apply() see to it.  Stored bytes are read
 *		by who hashes or compares them, or looks at other columns alone.
 *
 *		Folds, upcasters and schemas see personal fields as they are; a role that
 *		reads sees them if it may (grant_personal_data), else masked.  Rules that
 *		decide on events (guards, fill, subjects) see data as stored, so that they
 *		say the same after something was erased.
 */
#ifndef ES_LOG_READING_H
#define ES_LOG_READING_H

#include "eventsource.h"
#include "log/personal.h"
#include "utils/snapshot.h"

/* Who reads; else a role. */
#define ES_READER_ITSELF	InvalidOid	/* the database: sees everything */

/*
 * Puts the personal fields back into the event's data, if it lacks any; before
 * anything else is made of it.  What is computed is palloc'd.
 */
extern void es_reading_restore(EsEvent *event, Oid reader, Snapshot snapshot);

/* The same for who may not see them, whoever asks. */
extern void es_reading_restore_masked(EsEvent *event, Snapshot snapshot);

/* May the role see personal fields? */
extern bool es_reading_is_trusted(Oid role);

/* The upcasters in force; what one look at the definitions found. */
typedef struct EsUpcasters EsUpcasters;

/* NULL: there are none.  Valid until the end of the transaction. */
extern const EsUpcasters *es_reading_begin(void);

/*
 * Replaces the event's data where upcasters are for it, and marks it; what is
 * computed is palloc'd.  An event that is marked is left as it is.
 */
extern void es_reading_upcast(const EsUpcasters *upcasters, EsEvent *event);

/* What is shown of a field to who may not see it; from rules/, at load. */
extern void es_reading_register_mask(void (*mask) (const EsEvent *event, EsPersonalField *field));

/* Likewise. */
extern void es_reading_register(const EsUpcasters *(*begin) (void),
								void (*upcast) (const EsUpcasters *upcasters, EsEvent *event));

#endif							/* ES_LOG_READING_H */
