-- The watermark as standby servers know it, and the background worker.

-- One row at most; written by the worker, or by publish_watermark().
CREATE TABLE eventsource.published_watermark (
	position     bigint      NOT NULL,
	published_at timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE eventsource.published_watermark IS
	'Private: up to where readers on a standby may read. Not dumped. Read the view eventsource.feed.';

CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON eventsource.published_watermark
	FOR EACH ROW EXECUTE FUNCTION eventsource.guard();
CREATE TRIGGER guard_statement BEFORE UPDATE OR DELETE OR TRUNCATE ON eventsource.published_watermark
	FOR EACH STATEMENT EXECUTE FUNCTION eventsource.guard();
ALTER TABLE eventsource.published_watermark ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE eventsource.published_watermark ENABLE ALWAYS TRIGGER guard_statement;

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
