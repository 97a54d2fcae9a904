-- Reading, always in order.

CREATE FUNCTION eventsource.read_stream(
	stream text, from_version bigint DEFAULT 1, max_count bigint DEFAULT NULL, backward boolean DEFAULT false)
	RETURNS SETOF eventsource.events
	AS 'MODULE_PATHNAME', 'eventsource_read_stream' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 20;
COMMENT ON FUNCTION eventsource.read_stream(text, bigint, bigint, boolean) IS
	'Events of one stream in order of version, none below from_version, at most max_count (NULL: all); backward: from the end down, so that max_count => 10, backward => true gives the last ten. No rows for a stream that does not exist.';

CREATE FUNCTION eventsource.read_category(
	category text, after_position bigint DEFAULT 0, max_count bigint DEFAULT 1000)
	RETURNS SETOF eventsource.events
	AS 'MODULE_PATHNAME', 'eventsource_read_category' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.read_category(text, bigint, bigint) IS
	'Final events of one category after a position, in order of position, at most max_count (NULL: all). Stops at the watermark, so that nothing can appear later below what was returned. Reads the newest state in every isolation level.';

CREATE FUNCTION eventsource.read_all(
	after_position bigint DEFAULT 0, max_count bigint DEFAULT 1000)
	RETURNS SETOF eventsource.events
	AS 'MODULE_PATHNAME', 'eventsource_read_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.read_all(bigint, bigint) IS
	'Final events of the whole log after a position, in order of position, at most max_count (NULL: all). Stops at the watermark, so that nothing can appear later below what was returned. Reads the newest state in every isolation level.';

CREATE FUNCTION eventsource.stream_version(stream text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_stream_version' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION eventsource.stream_version(text) IS
	'Version of the stream''s last event; 0 if the stream does not exist.';

CREATE FUNCTION eventsource.watermark() RETURNS bigint
	AS 'MODULE_PATHNAME', 'eventsource_watermark' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.watermark() IS
	'Position up to which the log is final: no transaction still open can add anything at or below it. On a standby: as the primary published it last, 0 if it never did. In a WHERE of your own it is older than the statement''s snapshot needs: read with read_all or read_category.';

-- Lock class 4 is a published bound: see src/log/position.c.
-- A prepared transaction keeps the virtual transaction of its session; its lock on
-- its own id tells which it is.
CREATE VIEW eventsource.open_appenders AS
WITH locks AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE granted)
SELECT l.pid,
	   p.gid,
	   b.lower_bound,
	   b.lower_bound = min(b.lower_bound) OVER () AS holds_watermark,
	   coalesce(p.prepared, a.xact_start) AS since,
	   coalesce(p.owner, a.usename) AS role,
	   a.application_name,
	   a.state,
	   a.query
  FROM locks l
 CROSS JOIN LATERAL (SELECT (l.classid::bigint << 32) | l.objid::bigint AS lower_bound) b
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
  LEFT JOIN locks x
	ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction
  LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
 WHERE l.locktype = 'advisory' AND l.objsubid = 4
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());
COMMENT ON VIEW eventsource.open_appenders IS
	'Transactions that have appended and are not ended: what keeps the watermark back. Others do not, however long they are open.';
COMMENT ON COLUMN eventsource.open_appenders.pid IS 'Backend; NULL for a prepared transaction.';
COMMENT ON COLUMN eventsource.open_appenders.gid IS 'Name of the prepared transaction; NULL for a running one.';
COMMENT ON COLUMN eventsource.open_appenders.lower_bound IS 'Position below which it has no event; the watermark is lower.';
COMMENT ON COLUMN eventsource.open_appenders.holds_watermark IS 'True for the one (or those) with the lowest bound.';
COMMENT ON COLUMN eventsource.open_appenders.since IS 'When the transaction began, or was prepared.';
COMMENT ON COLUMN eventsource.open_appenders.role IS 'Role of the session, or owner of the prepared transaction.';
COMMENT ON COLUMN eventsource.open_appenders.application_name IS 'As in pg_stat_activity; NULL for a prepared transaction.';
COMMENT ON COLUMN eventsource.open_appenders.state IS 'As in pg_stat_activity.';
COMMENT ON COLUMN eventsource.open_appenders.query IS 'Its last statement, for those who may see it in pg_stat_activity.';

CREATE FUNCTION eventsource.verify_chain(stream text DEFAULT NULL)
	RETURNS TABLE (stream_name text, version bigint, event_position bigint, problem text)
	AS 'MODULE_PATHNAME', 'eventsource_verify_chain' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION eventsource.verify_chain(text) IS
	'Recomputes the chain hash of every event of a stream (NULL: of all streams) and checks that versions are 1..n and that personal fields, where they are not erased, are those that were recorded: one row per problem, none when all is well. A NOTICE tells of a stream that does not exist.';

CREATE FUNCTION eventsource.log_id() RETURNS uuid
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	BEGIN ATOMIC SELECT l.id FROM eventsource.log l; END;
COMMENT ON FUNCTION eventsource.log_id() IS
	'Identity of this log; NULL before its first event.';
