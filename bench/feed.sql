-- feed.sql: for the rows about readers. The plain side is a table of events with
-- the id of the writing transaction, as those keep it who read by it; readers
-- keep a checkpoint and note what they got, and when.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;

CREATE TABLE bench.feed_event (
	position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
	stream      text        NOT NULL,
	version     bigint      NOT NULL,
	type        text        NOT NULL,
	data        jsonb       NOT NULL,
	metadata    jsonb       NOT NULL,
	recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	UNIQUE (stream, version)
);
CREATE INDEX ON bench.feed_event (xid, position);

CREATE UNLOGGED TABLE bench.checkpoint (
	reader   text PRIMARY KEY,
	position bigint NOT NULL,
	xid      xid8   NOT NULL DEFAULT '0'
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE bench.delivered (position bigint, recorded_at timestamptz, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE bench.unrelated (n int);

-- One page; the number of events in it. The index on (xid, position) is there for
-- the one reader, the primary key for the other.
CREATE FUNCTION bench.take_position() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	got bigint;
BEGIN
	WITH page AS (
		INSERT INTO bench.delivered
		SELECT e.position, e.recorded_at FROM bench.feed_event e
		 WHERE e.position > (SELECT c.position FROM bench.checkpoint c WHERE c.reader = 'position')
		 ORDER BY e.position LIMIT 1000
		RETURNING position),
	moved AS (
		UPDATE bench.checkpoint SET position = p.last
		  FROM (SELECT max(position) AS last FROM page) p WHERE reader = 'position' AND p.last IS NOT NULL)
	SELECT count(*) INTO got FROM page;
	RETURN got;
END
$$;

CREATE FUNCTION bench.take_xid() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	got bigint;
	c bench.checkpoint;
BEGIN
	SELECT * INTO c FROM bench.checkpoint k WHERE k.reader = 'xid';
	WITH next AS MATERIALIZED (
		SELECT e.xid, e.position, e.recorded_at FROM bench.feed_event e
		 WHERE (e.xid, e.position) > (c.xid, c.position) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
		 ORDER BY e.xid, e.position LIMIT 1000),
	page AS (
		INSERT INTO bench.delivered SELECT position, recorded_at FROM next),
	moved AS (
		UPDATE bench.checkpoint k SET xid = n.xid, position = n.position
		  FROM (SELECT * FROM next ORDER BY xid DESC, position DESC LIMIT 1) n WHERE k.reader = 'xid')
	SELECT count(*) INTO got FROM next;
	RETURN got;
END
$$;

SELECT eventsource.create_subscription('reader', '{order}', from_position => NULL);
CREATE FUNCTION bench.take_eventsource() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	got bigint;
	last bigint;
BEGIN
	WITH page AS (
		INSERT INTO bench.delivered SELECT e.position, e.recorded_at FROM eventsource.poll('reader', 1000) e
		RETURNING position)
	SELECT count(*), max(position) INTO got, last FROM page;
	IF got > 0 THEN
		PERFORM eventsource.ack('reader', last);
	END IF;
	RETURN got;
END
$$;
