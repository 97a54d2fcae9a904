/*
 * database.h
 *		The one connection to the database: one statement at a time, never waited for.
 */
#ifndef RELAY_DATABASE_H
#define RELAY_DATABASE_H

#include <libpq-fe.h>
#include <poll.h>

#include "text.h"

/*
 * What a statement came to: its rows, or the SQLSTATE of its error with one line about it; or
 * neither, if the connection was lost and nobody knows.
 */
typedef struct DbResult
{
	const PGresult *rows;
	const char *sqlstate;
	const char *message;
} DbResult;

typedef void (*DbHandler) (const DbResult *result, void *arg);

/* True while a statement can be sent. */
extern bool db_is_free(void);

/* The handler is called by a later db_step, exactly once. */
extern void db_send(const char *sql, int count, const char *const *values, DbHandler handler, void *arg);
extern void db_execute(const char *name, int count, const char *const *values, DbHandler handler, void *arg);

/* The PREPARE of what db_execute() is for; said before the first db_step, and kept. */
extern void db_prepare(const char *prepare);

/* Connects, again and again, and reads what has come; when to call it again at the latest. */
extern int64_t db_step(int64_t now);

/* What to poll for it; the descriptor is -1 while there is nothing. */
extern void db_set_poll(struct pollfd *fd);

/* The database lacks something that no waiting will bring: the reason, else NULL. */
extern const char *db_refusal(void);

/* The log's id, of the connection that is there. */
extern const char *db_log_id(void);

extern void db_close(void);

#endif							/* RELAY_DATABASE_H */
