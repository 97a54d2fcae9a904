/*
 * open.h
 *		Whether the log was opened in this database, and which log it is.
 */
#ifndef ES_LOG_OPEN_H
#define ES_LOG_OPEN_H

#include "eventsource.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Until it is, the owner and superusers may load raw rows: a restore. */
extern bool es_log_is_open(void);

/* The same, without an error where the extension is not there, or just going. */
extern bool es_log_was_opened(void);

/* The moment, which no other log or database shares; false if it is not open. */
extern bool es_log_opened_at(TimestampTz *opened_at);

/* Opens the log in this transaction: checks what was restored, heals guards. */
extern void es_log_open(void);

/* Identity of the log; an error if it is not open. */
extern const pg_uuid_t *es_log_id(void);

#endif							/* ES_LOG_OPEN_H */
