-- The watermark as standby servers know it, and the background worker.

-- One row at most; written by the worker, or by publish_watermark().
CREATE TABLE eventsource.published_watermark (
	position     bigint      NOT NULL,
	published_at timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE eventsource.published_watermark IS
	'Private: up to where readers on a standby may read. Not dumped. Read the view eventsource.feed.';

CREATE FUNCTION eventsource.publish_watermark() RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_publish_watermark' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.publish_watermark() IS
	'Writes the watermark down for readers on standby servers, if it moved; returns the position that is published when this transaction commits. The worker calls it; without the worker call it now and then. Does nothing while another transaction is at it. Errors: 25006 on a standby.';

CREATE FUNCTION eventsource.published_row(OUT event_position bigint, OUT published_at timestamptz)
	AS 'MODULE_PATHNAME', 'eventsource_published_row' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.published_row() IS
	'Private, for views: the published watermark; nulls if there is none.';

CREATE VIEW eventsource.feed AS
SELECT eventsource.watermark() AS watermark,
	   p.event_position AS published_watermark,
	   p.published_at,
	   pg_catalog.pg_is_in_recovery() AS is_standby
  FROM eventsource.published_row() p;
COMMENT ON VIEW eventsource.feed IS
	'How far the feed can be read, one row. On a standby that is what the primary published.';
COMMENT ON COLUMN eventsource.feed.watermark IS 'As eventsource.watermark().';
COMMENT ON COLUMN eventsource.feed.published_watermark IS 'What readers on standby servers go by; NULL if nothing was published yet.';
COMMENT ON COLUMN eventsource.feed.published_at IS 'When that was published.';
COMMENT ON COLUMN eventsource.feed.is_standby IS 'Whether this server is a standby.';

CREATE FUNCTION eventsource.worker_slots()
	RETURNS TABLE (database oid, status text, pid integer, started_at timestamptz, last_pass_at timestamptz,
				   passes bigint, failures integer, last_error text, last_error_at timestamptz)
	AS 'MODULE_PATHNAME', 'eventsource_worker_slots' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 5;
COMMENT ON FUNCTION eventsource.worker_slots() IS
	'Private, for views: what the launcher and the workers know of each database; no rows unless the library is preloaded. The error of this database alone, and to admins.';

CREATE VIEW eventsource.workers AS
SELECT d.datname AS database, w.status, w.pid, w.started_at, w.last_pass_at, w.passes, w.failures,
	   w.last_error, w.last_error_at
  FROM eventsource.worker_slots() w
  JOIN pg_catalog.pg_database d ON d.oid = w.database;
COMMENT ON VIEW eventsource.workers IS
	'Background workers, one row for each database that could have one: none if the library is not preloaded or eventsource.worker_enabled is off.';
COMMENT ON COLUMN eventsource.workers.database IS 'Database.';
COMMENT ON COLUMN eventsource.workers.status IS
	'running; starting; waiting (it ended by itself, and is started anew after a while); held (a command on the whole database keeps it out); no extension.';
COMMENT ON COLUMN eventsource.workers.pid IS 'Its process, as in pg_stat_activity; NULL if it does not run.';
COMMENT ON COLUMN eventsource.workers.started_at IS 'When it was started last.';
COMMENT ON COLUMN eventsource.workers.last_pass_at IS 'When it last went over all its duties.';
COMMENT ON COLUMN eventsource.workers.passes IS 'How often it did since it was started.';
COMMENT ON COLUMN eventsource.workers.failures IS 'How often in a row it ended by itself.';
COMMENT ON COLUMN eventsource.workers.last_error IS 'What it was at and the error it met last; shown to admins (grant_admin) in its own database.';
COMMENT ON COLUMN eventsource.workers.last_error_at IS 'When that was.';
