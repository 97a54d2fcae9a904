/*
 * database.c
 *		The one connection to the database: one statement at a time, never waited for.
 *
 * A state machine that db_step() moves on.  Whatever fails (the server stops, a
 * statement takes longer than the session's limits, nobody answers at all) ends in
 * DB_DOWN, from where it connects anew, waiting longer each time.  A statement whose
 * answer did not come may have been done: its handler must be able to live with both.
 */
#include "database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

#define LEAST_BACKOFF	100
#define MOST_BACKOFF	5000

/* How much longer than the server's own limit an answer is waited for. */
#define SERVER_GRACE	2000

typedef enum DbState
{
	DB_DOWN,					/* no connection until wake_at */
	DB_CONNECTING,
	DB_SETTING_UP,				/* the session's settings are under way */
	DB_FREE,
	DB_BUSY,					/* a statement of db_send is under way */
} DbState;

typedef struct Database
{
	DbState		state;
	PGconn	   *conn;
	int64_t		wake_at;		/* DB_DOWN: connect then; else: no longer than
								 * that */
	int64_t		backoff;
	bool		is_complaining; /* the operator knows that it is down */
	short		events;			/* what is polled for */
	PGresult   *result;			/* of the statement under way: its error, else
								 * its last rows */
	DbHandler	handler;
	void	   *arg;
	char		log_id[64];
	const char *prepare;		/* what each session has prepared */
	const char *refusal;
} Database;

static Database db;

bool
db_is_free(void)
{
	return db.state == DB_FREE;
}

const char *
db_refusal(void)
{
	return db.refusal;
}

const char *
db_log_id(void)
{
	return db.log_id;
}

void
db_set_poll(struct pollfd *fd)
{
	fd->fd = db.conn != NULL ? PQsocket(db.conn) : -1;
	fd->events = db.events;

	fd->revents = 0;
}

void
db_close(void)
{
	PQclear(db.result);
	PQfinish(db.conn);
	db.result = NULL;
	db.conn = NULL;
	db.state = DB_DOWN;
}

/* The first line of a message. */
static const char *
headline(const char *message)
{
	static char line[400];

	snprintf(line, sizeof(line), "%s", message);
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* The connection is no good.  Nobody knows of the statement under way. */
static void
give_up(const char *message)
{
	DbHandler	handler = db.state == DB_BUSY ? db.handler : NULL;
	DbResult	nothing = {0};

	/* A refusal is told at the end, once. */
	if (db.refusal == NULL && (!db.is_complaining || options.verbose))
		say("no database: %s", headline(message));
	db.is_complaining = true;

	db_close();
	db.backoff = db.backoff == 0 ? LEAST_BACKOFF : db.backoff * 2;
	if (db.backoff > MOST_BACKOFF)
		db.backoff = MOST_BACKOFF;
	db.wake_at = now_ms() + db.backoff;

	if (handler != NULL)
		handler(&nothing, db.arg);
}

static void
connect_now(int64_t now)
{
	const char *const keywords[] = {
		"fallback_application_name", "keepalives_idle", "dbname", "client_encoding", NULL
	};
	const char *const values[] = {"eventsource-relay", "30", options.dbname, "UTF8", NULL};

	db.conn = PQconnectStartParams(keywords, values, 1);

	if (db.conn == NULL || PQstatus(db.conn) == CONNECTION_BAD)
	{
		give_up(db.conn != NULL ? PQerrorMessage(db.conn) : "out of memory");
		return;
	}
	db.state = DB_CONNECTING;
	db.events = POLLOUT;
	db.wake_at = now + options.db_timeout;
}

static void
after_sending(bool was_sent)
{
	int			left = was_sent ? PQflush(db.conn) : -1;

	db.events = left > 0 ? POLLIN | POLLOUT : POLLIN;
	db.wake_at = now_ms() + options.db_timeout + SERVER_GRACE;

	if (left < 0)
		give_up(PQerrorMessage(db.conn));
}

/*
 * One lock or statement must not hold up all that wait behind it.  What functions warn of
 * may quote payloads, which standard error is not for.
 */
static void
set_up(void)
{
	Text		sql = {0};

	PQsetnonblocking(db.conn, 1);
	text_printf(&sql, "SET search_path = pg_catalog; SET synchronous_commit = on; SET client_min_messages = error; "
				"SET statement_timeout = %lld; SET lock_timeout = %lld; SET default_transaction_isolation = 'read committed'; %s; "
				"SELECT eventsource.log_id(), count(*) + has_table_privilege('eventsource.jobs', 'SELECT')::int FROM pg_proc p "
				"WHERE has_function_privilege(p.oid, 'EXECUTE') AND (p.oid = to_regproc('%s') "
				"OR p.pronamespace = 'eventsource'::regnamespace AND p.proname IN ('claim', 'heartbeat'))",
				(long long) options.db_timeout, (long long) options.db_timeout / 5, db.prepare,
				options.record);
	db.state = DB_SETTING_UP;

	after_sending(PQsendQuery(db.conn, sql.data));
	text_free(&sql);
}

static void
poll_connection(void)
{
	switch (PQconnectPoll(db.conn))
	{
		case PGRES_POLLING_OK:
			set_up();
			break;
		case PGRES_POLLING_READING:
			db.events = POLLIN;

			break;
		case PGRES_POLLING_WRITING:
			db.events = POLLOUT;

			break;
		default:
			give_up(PQerrorMessage(db.conn));
	}
}

static const char *
sqlstate_of(const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return sqlstate != NULL ? sqlstate : "";
}

/* Errors of the set-up that will be the same next time. */
static bool
is_lasting(const char *sqlstate)
{
	static const char *const lasting[] = {"3F000", "42883", "42501", "42P01"};

	for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++)
		if (strcmp(sqlstate, lasting[i]) == 0)
			return true;
	return false;
}

static void
end_set_up(void)
{
	if (PQresultStatus(db.result) != PGRES_TUPLES_OK)
	{
		if (is_lasting(sqlstate_of(db.result)))
			db.refusal = text_copy(headline(PQresultErrorMessage(db.result)));

		give_up(PQresultErrorMessage(db.result));
	}
	else if (strcmp(PQgetvalue(db.result, 0, 1), "4") != 0)
	{
		db.refusal = "claim, heartbeat, the function of --record and the view jobs are not there, or not for this role";

		give_up(db.refusal);
	}
	else if (PQgetisnull(db.result, 0, 0))
		give_up("the log is empty: it has its id, which receivers are told, from its first event on");
	else
	{
		snprintf(db.log_id, sizeof(db.log_id), "%s", PQgetvalue(db.result, 0, 0));
		if (db.is_complaining)
			say("connected");
		db.is_complaining = false;
		db.backoff = 0;
		db.state = DB_FREE;
	}
	PQclear(db.result);
	db.result = NULL;
}

static void
end_statement(void)
{
	PGresult   *result = db.result;
	DbResult	answer = {0};

	db.result = NULL;

	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		answer.rows = result;
	else
	{
		answer.sqlstate = sqlstate_of(result);
		answer.message = headline(PQresultErrorMessage(result));
	}

	/* An error without a code is libpq's own, of a connection that was lost. */
	if (answer.sqlstate != NULL && (answer.sqlstate[0] == '\0' || PQstatus(db.conn) == CONNECTION_BAD))
		give_up(answer.message);
	else
	{
		db.state = DB_FREE;
		db.handler(&answer, db.arg);
	}
	PQclear(result);
}

static bool
is_error(const PGresult *result)
{
	return PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK;
}

/* Takes what has come of the answer; the end of it ends the statement. */
static void
read_answer(void)
{
	PGresult   *result;

	if (!PQconsumeInput(db.conn) || PQflush(db.conn) < 0)
	{
		give_up(PQerrorMessage(db.conn));
		return;
	}
	db.events = PQflush(db.conn) > 0 ? POLLIN | POLLOUT : POLLIN;

	while (!PQisBusy(db.conn))
	{
		result = PQgetResult(db.conn);
		if (result == NULL)
		{
			if (db.state == DB_SETTING_UP)
				end_set_up();
			else
				end_statement();
			return;
		}
		if (db.result != NULL && is_error(db.result))
			PQclear(result);
		else
		{
			PQclear(db.result);
			db.result = result;
		}
	}
}

/* Between statements there is nothing to read but the end of the connection. */
static void
listen_idly(void)
{
	if (!PQconsumeInput(db.conn) || PQstatus(db.conn) == CONNECTION_BAD)
		give_up(PQerrorMessage(db.conn));
}

static void
begin_statement(DbHandler handler, void *arg)
{
	db.state = DB_BUSY;
	db.handler = handler;
	db.arg = arg;
}

void
db_send(const char *sql, int count, const char *const *values, DbHandler handler, void *arg)
{
	begin_statement(handler, arg);
	after_sending(PQsendQueryParams(db.conn, sql, count, NULL, values, NULL, NULL, 0));
}

void
db_execute(const char *name, int count, const char *const *values, DbHandler handler, void *arg)
{
	begin_statement(handler, arg);
	after_sending(PQsendQueryPrepared(db.conn, name, count, values, NULL, NULL, 0));
}

void
db_prepare(const char *prepare)
{
	db.prepare = prepare;
}

int64_t
db_step(int64_t now)
{
	struct pollfd fd;
	bool		is_ready;

	db_set_poll(&fd);
	is_ready = fd.fd >= 0 && poll(&fd, 1, 0) > 0;
	switch (db.state)
	{
		case DB_DOWN:
			if (now >= db.wake_at)
				connect_now(now);
			break;
		case DB_CONNECTING:
			if (is_ready)
				poll_connection();
			break;
		case DB_FREE:
			if (is_ready)
				listen_idly();
			break;
		case DB_SETTING_UP:
		case DB_BUSY:
			if (is_ready)
				read_answer();
			break;
	}
	if (db.state != DB_DOWN && db.state != DB_FREE && now >= db.wake_at)
		give_up("no answer in time");
	return db.state == DB_FREE ? INT64_MAX : db.wake_at;
}
