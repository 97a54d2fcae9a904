/*
 * work.c
 *		What is asked of the database: jobs, leases, and that it takes outcomes down.
 *
 * An outcome stays here until the database has it, or says that the job is lent to
 * somebody else by now: then it is delivered again, with the same id, and recorded by
 * that one.  record_delivery() may be called again where nobody knows whether it was
 * done: an attempt is one event.  An outcome that is refused for a reason of its own
 * (the category takes no such event, say) keeps its slot and is offered again for some
 * time, so that what cannot be recorded is not done in numbers; then its lease ends.
 */
#include "work.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"
#include "delivery.h"
#include "options.h"

#define LEAST_RETRY		200
#define MOST_RETRY		30000

/* So often it is offered an outcome that it refuses, some two minutes long. */
#define MOST_REFUSALS	12

/* So often the connection may be lost while a payload is read. */
#define MOST_LOST_READS	3

/* What a payload may hold besides a body: where to, headers. */
#define MOST_BESIDE_BODY	65536

/* Characters of why something is not to be sent. */
#define MAX_REASON		200

typedef struct Work
{
	char		worker[160];	/* no other process, of this machine or
								 * another, goes by it */
	char		lease[32];
	char		max_part[24];	/* bytes */
	char		max_payload[24];
	const char *form;			/* of what is sent: parts of it, or all as the
								 * body */
	int64_t		claim_at;
	int64_t		claim_failures;
	int			claim_count;	/* what was asked for */
	bool		is_claiming;
	bool		is_stopped;
	const char *refusal;
} Work;

static Work work;

/* ---- what became of a statement ---- */

/* The job is not lent to us any more, or is gone; or this attempt is on record, and not as we know it. */
static bool
is_lost(const DbResult *result)
{
	return result->sqlstate != NULL &&
		(strcmp(result->sqlstate, "55000") == 0 || strcmp(result->sqlstate, "P0002") == 0 ||
		 strcmp(result->sqlstate, "ZE008") == 0);
}

static bool
is_of(const DbResult *result, const char *const *classes)
{
	for (; *classes != NULL; classes++)
		if (result->sqlstate == NULL || strncmp(result->sqlstate, *classes, 2) == 0)
			return true;
	return false;
}

/* Nothing is wrong with what was asked: it may go well another time. */
static bool
is_passing(const DbResult *result)
{
	static const char *const classes[] = {"08", "40", "53", "55", "57", "58", NULL};

	return is_of(result, classes);
}

/* Nothing is wrong with the payload: something is missing, or not allowed to this role. */
static bool
is_of_operator(const DbResult *result)
{
	static const char *const classes[] = {"0A", "25", "26", "42", "XX", NULL};

	return is_of(result, classes);
}

static int64_t
retry_delay(int64_t failures)
{
	int64_t		delay = LEAST_RETRY << (failures > 10 ? 10 : failures);

	return delay > MOST_RETRY ? MOST_RETRY : delay;
}

/* ---- outcomes ---- */

static void
after_record(const DbResult *result, void *arg)
{
	Delivery   *d = arg;

	bool		is_over;

	if (result->rows != NULL)
	{
		delivery_forget(d);
		return;
	}
	d->record_refusals += !is_passing(result);
	is_over = is_lost(result) || d->record_refusals == MOST_REFUSALS;
	if (result->sqlstate != NULL)
		say("job %s, attempt %s is not recorded%s: %s", d->job_id, d->attempt,
			is_over ? ", and not ours any more" : " yet", result->message);
	d->record_at = now_ms() + retry_delay(d->record_failures++);
	if (is_over)
		delivery_forget(d);
}

static void
record(Delivery *d)
{
	char		retry_after[24];
	const char *const values[] = {
		d->job_id, d->skip != NULL ? "skipped" : d->error_code == NULL ? "sent" : "failed", d->error_code, d->details.data,
		work.worker, d->attempt, d->message.len > 0 ? d->message.data : NULL,
		d->retry_after >= 0 ? retry_after : NULL, options.queue,
		d->event_position[0] != '\0' ? d->event_position : NULL, options.category,
	};

	snprintf(retry_after, sizeof(retry_after), "%lld ms", (long long) d->retry_after);
	db_execute("record_outcome", (int) (sizeof(values) / sizeof(values[0])), values, after_record, d);
}

/* ---- leases ---- */

static void
after_heartbeat(const DbResult *result, void *arg)
{
	Delivery   *d = arg;

	if (is_lost(result) && d->state == DELIVERY_SENDING)
		atomic_store(&d->is_aborted, true);
	else if (is_lost(result) && d->state == DELIVERY_UNREAD)
		delivery_forget(d);
	else if (result->rows == NULL)
		d->heartbeat_at = now_ms() + options.lease / 10;
}

static void
heartbeat(Delivery *d, int64_t now)
{
	const char *const values[] = {d->job_id, work.lease, work.worker, d->attempt};

	d->heartbeat_at = now + options.lease / 3;
	db_send("SELECT eventsource.heartbeat(job_id => $1, lease => $2, worker => $3, attempt => $4)", 4, values,
			after_heartbeat, d);
}

/* ---- jobs ---- */

static void
begin_all(const PGresult *rows, int64_t now)
{
	for (int i = 0; i < PQntuples(rows); i++)
	{
		Delivery   *d = delivery_take_slot();

		if (d == NULL)
			return;
		snprintf(d->job_id, sizeof(d->job_id), "%s", PQgetvalue(rows, i, 0));
		snprintf(d->attempt, sizeof(d->attempt), "%s", PQgetvalue(rows, i, 1));
		snprintf(d->event_position, sizeof(d->event_position), "%s", PQgetvalue(rows, i, 2));
		snprintf(d->id, sizeof(d->id), "%s-%s", db_log_id(), d->job_id);
		d->heartbeat_at = now + options.lease / 3;
		d->state = DELIVERY_UNREAD;
		work.claim_count--;
	}
}

static void
after_claim(const DbResult *result, void *arg)
{
	int64_t		now = now_ms();

	work.is_claiming = false;
	if (result->rows != NULL)
	{
		work.claim_failures = 0;
		begin_all(result->rows, now);
		if (work.claim_count > 0)
		{
			work.claim_at = now + options.poll;
			/* What is under way may be what others wait for. */
			if (options.drain && delivery_count(DELIVERY_NONE) == options.concurrency)
				work.is_stopped = true;
		}
		return;
	}
	if (result->sqlstate != NULL)
	{
		say("nothing is claimed: %s", result->message);
		if (strcmp(result->sqlstate, "42501") == 0 || strcmp(result->sqlstate, "42883") == 0 ||
			strcmp(result->sqlstate, "22023") == 0)
		{
			work.refusal = "this role may not work the queue, or there can be none of that name";
			work.is_stopped = true;
		}
	}
	work.claim_at = now + retry_delay(work.claim_failures++);
}

/* Nothing is done with payloads here: what one of them can break must cost it an attempt. */
static void
claim(int64_t now)
{
	char		count[16];
	const char *const values[] = {options.queue, count, work.lease, work.worker};

	work.claim_count = delivery_count(DELIVERY_NONE);
	snprintf(count, sizeof(count), "%d", work.claim_count);
	work.is_claiming = true;
	db_send("SELECT job_id, attempt, event_position "
			"FROM eventsource.claim(queue => $1, max_jobs => $2, lease => $3, worker => $4)",
			4, values, after_claim, NULL);
}

/* ---- what is sent ---- */

#define STRING(macro)	STRING_OF(macro)
#define STRING_OF(text)	#text

/*
 * The payload, or what the operator's function makes of it, as a row for each part that
 * is of use: it is taken apart where there is a JSON parser.  No row: the job is not
 * lent to us any more.  $1: bytes of a part, $2: of a payload, $3: is it parts, or a
 * whole?  A value in the binary form takes less than eight times what it takes in
 * writing, so much of it need not be written out.
 */
#define READ_FROM \
	"SELECT p.part, p.name, CASE WHEN octet_length(p.value) <= $1::bigint THEN p.value END, l.is_long " \
	"FROM eventsource.jobs j " \
	"CROSS JOIN LATERAL (SELECT CASE WHEN pg_column_size(j.payload) > 8 * $2::bigint THEN true " \
	"ELSE octet_length(j.payload::text) > $2::bigint END OFFSET 0) l (is_long) "

#define READ_PARTS \
	"CROSS JOIN LATERAL (SELECT CASE WHEN jsonb_typeof(s.payload) = 'object' THEN s.payload ELSE '{}' END) o (payload) " \
	"LEFT JOIN LATERAL (" \
	"SELECT 'whole', '', s.payload::text WHERE $3 = 'whole' AND s.payload IS NOT NULL " \
	"UNION ALL " \
	"SELECT 'field', f.key, CASE f.key WHEN 'body' THEN f.value::text ELSE f.value #>> '{}' END " \
	"FROM jsonb_each(o.payload) f " \
	"WHERE $3 = 'parts' AND (f.key = 'body' OR (jsonb_typeof(f.value) = 'string' " \
	"AND f.key IN ('url', 'to', 'subject', 'text', 'from'))) " \
	"UNION ALL " \
	"SELECT 'skip', '', left(o.payload ->> 'skip', " STRING(MAX_REASON) ") " \
	"WHERE $7 AND jsonb_typeof(o.payload -> 'skip') = 'string' " \
	"UNION ALL " \
	"(SELECT 'header', h.key, h.value FROM jsonb_each_text(CASE WHEN jsonb_typeof(o.payload -> 'headers') = 'object' " \
	"THEN o.payload -> 'headers' ELSE '{}' END) h WHERE $3 = 'parts' LIMIT 1 + " STRING(MAX_HEADERS) ")" \
	") p (part, name, value) ON true " \
	"WHERE j.job_id = $4 AND j.state = 'claimed' AND j.worker = $5 AND j.attempt = $6"

static void
take_field(Delivery *d, const char *name, const char *value)
{
	struct
	{
		const char *name;
		char	  **field;
	}			fields[] = {
		{"url", &d->url}, {"body", &d->body}, {"to", &d->to}, {"subject", &d->subject}, {"text", &d->text},
		{"from", &d->from},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (strcmp(fields[i].name, name) == 0)
			*fields[i].field = text_copy(value);
}

static void
take_part(Delivery *d, const char *part, const char *name, const char *value)
{
	if (value == NULL)
		d->problem = "something in the payload is too long";
	else if (strcmp(part, "whole") == 0)
		d->body = text_copy(value);
	else if (strcmp(part, "field") == 0)
		take_field(d, name, value);
	else if (strcmp(part, "skip") == 0)
		d->skip = text_copy(value);
	else if (d->header_count == MAX_HEADERS)
		d->problem = "too many headers";
	else
	{
		Header	   *header = &d->headers[d->header_count++];

		header->name = text_copy(name);
		header->value = text_copy(value);
	}
}

static void
take_row(Delivery *d, const PGresult *rows, int row)
{
	if (PQgetvalue(rows, row, 3)[0] == 't')
		d->problem = "the payload is too long";
	else if (!PQgetisnull(rows, row, 0))
		take_part(d, PQgetvalue(rows, row, 0), PQgetvalue(rows, row, 1),
				  PQgetisnull(rows, row, 2) ? NULL : PQgetvalue(rows, row, 2));
}

/* Without a word of what was wrong: that may quote what is to be kept nowhere. */
static void
take_failure(Delivery *d, const DbResult *result)
{
	say("job %s, attempt %s: to make the message failed with SQLSTATE %s", d->job_id, d->attempt,
		result->sqlstate != NULL ? result->sqlstate : "unknown, the connection was lost");
	d->problem = options.render != NULL ? "the function that makes the message failed" :
		"the payload could not be read";
	d->error_code = is_passing(result) || is_of_operator(result) ? "SERVICE_UNAVAILABLE" : NULL;
}

static void
after_read(const DbResult *result, void *arg)
{
	Delivery   *d = arg;
	bool		is_ended = result->rows == NULL &&
		(result->sqlstate == NULL || strncmp(result->sqlstate, "57P", 3) == 0);

	/*
	 * The server went away by itself, or was made to: that costs an attempt,
	 * too.
	 */
	if (is_ended && ++d->lost_reads < MOST_LOST_READS)
		return;
	if (result->rows != NULL && PQntuples(result->rows) == 0)
	{
		delivery_forget(d);
		return;
	}
	if (result->rows == NULL)
		take_failure(d, result);
	else
		for (int i = 0; i < PQntuples(result->rows); i++)
			take_row(d, result->rows, i);
	if (d->skip != NULL)
		delivery_end_unsent(d);
	else
		delivery_start(d);
}

static void
read_content(Delivery *d)
{
	const char *const values[] = {
		work.max_part, work.max_payload, work.form, d->job_id, work.worker, d->attempt,
		options.render != NULL ? "t" : "f",
	};

	db_execute("read_content", 7, values, after_read, d);
}

/* Only the operator's function has a say in whether something is sent at all. */
static void
prepare_statements(void)
{
	Text		sql = {0};

	work.form = options.smtp == NULL && options.url != NULL ? "whole" : "parts";
	text_printf(&sql, "PREPARE read_content (bigint, bigint, text, bigint, text, integer, boolean) AS "
				READ_FROM "CROSS JOIN LATERAL (SELECT CASE WHEN NOT l.is_long THEN %s%s END OFFSET 0) s (payload) "
				READ_PARTS,
				options.render != NULL ? options.render : "j.payload",
				options.render != NULL ? "(j.payload, j.event_position)::jsonb" : "");
	text_printf(&sql, "; PREPARE record_outcome (bigint, text, text, jsonb, text, integer, text, interval, text, bigint, text) AS "
				"SELECT %s(job_id => $1, outcome => $2, error_code => $3, details => $4, worker => $5, attempt => $6, "
				"message => $7, retry_after => $8, queue => $9, event_position => $10, category => $11)", options.record);
	db_prepare(sql.data);
	snprintf(work.max_part, sizeof(work.max_part), "%lld", (long long) options.max_body);
	snprintf(work.max_payload, sizeof(work.max_payload), "%lld", (long long) options.max_body + MOST_BESIDE_BODY);
}

/* ---- what is next ---- */

void
work_begin(void)
{
	char		host[64] = "";
	unsigned char noise[8] = {0};
	int			file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	gethostname(host, sizeof(host) - 1);
	if (file < 0 || read(file, noise, sizeof(noise)) != sizeof(noise))
	{
		say("cannot read /dev/urandom");
		exit(EXIT_UNRECORDED);
	}
	close(file);
	snprintf(work.worker, sizeof(work.worker), "relay %s %d %02x%02x%02x%02x%02x%02x%02x%02x", host, (int) getpid(),
			 noise[0], noise[1], noise[2], noise[3], noise[4], noise[5], noise[6], noise[7]);
	snprintf(work.lease, sizeof(work.lease), "%lld ms", (long long) options.lease);
	prepare_statements();
}

void
work_stop_claiming(void)
{
	work.is_stopped = true;
}

bool
work_is_done(void)
{
	return work.is_stopped && !work.is_claiming && delivery_count(DELIVERY_NONE) == options.concurrency;
}

const char *
work_refusal(void)
{
	return work.refusal;
}

/* Leases first: they are soon renewed, and what is behind them may wait for locks. */
int64_t
work_step(int64_t now)
{
	int64_t		wake_at = INT64_MAX;
	Delivery   *next = NULL;
	Delivery   *unread = NULL;

	for (int i = 0; i < options.concurrency; i++)
	{
		Delivery   *d = delivery_slot(i);

		if (d->state == DELIVERY_NONE)
			continue;
		if (now >= d->heartbeat_at && db_is_free())
			heartbeat(d, now);
		wake_at = d->heartbeat_at < wake_at ? d->heartbeat_at : wake_at;
		if (d->state == DELIVERY_UNRECORDED && (next == NULL || d->record_at < next->record_at))
			next = d;
		if (d->state == DELIVERY_UNREAD)
			unread = d;
	}
	if (next != NULL)
	{
		if (now >= next->record_at && db_is_free())
			record(next);
		wake_at = next->record_at < wake_at ? next->record_at : wake_at;
	}
	if (unread != NULL && db_is_free())
		read_content(unread);
	if (!work.is_stopped && delivery_count(DELIVERY_NONE) > 0)
	{
		if (now >= work.claim_at && db_is_free())
			claim(now);
		wake_at = work.claim_at < wake_at ? work.claim_at : wake_at;
	}
	/* While a statement is under way, its answer wakes us. */
	return db_is_free() ? wake_at : INT64_MAX;
}
