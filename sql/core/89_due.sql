-- What is due: run_due(), and alerts. src/work/due.h.

-- Jobs that steps of reactions enqueued, until run_due() has told the run that they are finished.
ALTER TABLE eventsource.job ADD COLUMN run bigint;
CREATE INDEX job_run_idx ON eventsource.job (finished_at) WHERE run IS NOT NULL AND finished_at IS NOT NULL;

CREATE SEQUENCE eventsource.alert_seq;
COMMENT ON SEQUENCE eventsource.alert_seq IS 'Private: ids of alerts.';

CREATE TABLE eventsource.alert (
	id           bigint      NOT NULL CONSTRAINT alert_pkey PRIMARY KEY,
	queue        text        COLLATE "C" NOT NULL,
	opened_at    timestamptz NOT NULL,
	dead_letters bigint      NOT NULL,
	sample       bigint[]    NOT NULL,
	closed_at    timestamptz,
	closed_by    text        COLLATE "C"
) USING heap;
COMMENT ON TABLE eventsource.alert IS 'Private: alerts. Read the view eventsource.alerts.';
CREATE UNIQUE INDEX alert_open_idx ON eventsource.alert (queue) WHERE closed_at IS NULL;
CREATE INDEX alert_closed_idx ON eventsource.alert (queue, closed_at);
SELECT pg_catalog.pg_extension_config_dump('eventsource.alert', '');
SELECT pg_catalog.pg_extension_config_dump('eventsource.alert_seq', '');

CREATE FUNCTION eventsource.run_due(max_rows integer DEFAULT 100) RETURNS TABLE (work text, count bigint)
	AS 'MODULE_PATHNAME', 'eventsource_run_due' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 5;
COMMENT ON FUNCTION eventsource.run_due(integer) IS
	'Does what is due: steps of reactions and timeouts of state machines, in the order in which they were due, at most max_rows of them; ends leases, raises and closes alerts, forgets finished jobs that were kept long enough. A row for each kind of work that there was: steps, timeouts, failed (to be tried again, or given up), postponed (a race was lost), leases, alerts, forgotten. All of it is one transaction, which should do nothing else: it keeps the locks of all its steps, so it waits 0.1 s at most for one as soon as it has some, and puts the step off. What others are at, and calls while deferred triggers of the transaction wait, is left for the next time, and does not count. Callers beside each other do nothing twice. For admins (grant_admin), from a scheduler; the background worker does the same by itself. Errors: 22023; 55000 if a step calls it.';

CREATE FUNCTION eventsource.close_alert(id bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_close_alert' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.close_alert(bigint) IS
	'Closes an alert: was it open? Dead letters before that raise no other. For who may work in its queue. Errors: 42704 if there is no such alert, 42501.';

CREATE VIEW eventsource.alerts WITH (security_barrier) AS
SELECT a.id, a.queue, a.opened_at, a.dead_letters, a.sample, a.closed_at, a.closed_by
  FROM eventsource.alert a
 WHERE eventsource.reads_everything() OR eventsource.may_work_in(a.queue);
COMMENT ON VIEW eventsource.alerts IS
	'Queues in which more jobs were given up within an hour than max_dead_per_hour of the queue: one open alert each, until it is less again, or close_alert(). Closed ones are forgotten when the queue''s finished jobs of that age are. Of the queues that you work in, or all, if you read everything.';
COMMENT ON COLUMN eventsource.alerts.id IS 'Number of the alert.';
COMMENT ON COLUMN eventsource.alerts.queue IS 'The queue.';
COMMENT ON COLUMN eventsource.alerts.opened_at IS 'When it was raised.';
COMMENT ON COLUMN eventsource.alerts.dead_letters IS 'How many it takes to raise it; there may be more by now: see eventsource.dead_letters.';
COMMENT ON COLUMN eventsource.alerts.sample IS 'The ten newest of them, as it was raised: ids of jobs.';
COMMENT ON COLUMN eventsource.alerts.closed_at IS 'When it was closed; NULL: it is open.';
COMMENT ON COLUMN eventsource.alerts.closed_by IS 'The role that closed it; NULL: it closed by itself.';
