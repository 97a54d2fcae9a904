-- Health: what to look at, and numbers to draw. All of it is read with the rights
-- of who asks, works on an empty store, and never fails: a check that cannot be
-- made says so.

-- What transactions and roles are kept from a plain reader's eyes in
-- pg_stat_activity; how long one has been open need not be.
CREATE FUNCTION eventsource.feed_lag(
	OUT watermark bigint, OUT last_position bigint, OUT appenders bigint, OUT seconds numeric, OUT holder text)
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH mark AS MATERIALIZED (SELECT eventsource.watermark() AS position)
SELECT m.position,
	   CASE WHEN pg_is_in_recovery() THEN m.position	-- a standby's sequence runs ahead
			ELSE greatest(m.position, (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM eventsource.position_seq s)) END,
	   (SELECT count(*) FROM eventsource.open_appenders),
	   coalesce(round(extract(epoch FROM clock_timestamp() - a.since), 3), 0),
	   coalesce('process ' || a.pid, 'prepared transaction ' || quote_literal(a.gid))
  FROM mark m
  LEFT JOIN LATERAL (SELECT * FROM eventsource.open_appenders o WHERE o.holds_watermark
					  ORDER BY o.since LIMIT 1) a ON true
$$;
COMMENT ON FUNCTION eventsource.feed_lag() IS
	'Private, for health(): the watermark, the last position that was given, how many transactions have appended and are open, and of the one that holds the watermark back how long (seconds) and which it is.';

CREATE FUNCTION eventsource.health_feed()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	feed record;
	longest numeric;
BEGIN
	IF pg_is_in_recovery() THEN
		RETURN QUERY
		SELECT 'feed lag', CASE WHEN f.published_at IS NULL THEN 'unknown' ELSE 'healthy' END,
			   round(extract(epoch FROM clock_timestamp() - f.published_at), 3), NULL::numeric,
			   CASE WHEN f.published_at IS NULL THEN 'the primary has published no watermark: nothing can be read here'
					ELSE format('standby: readers here go up to position %s', f.watermark) END
		  FROM eventsource.feed f;
		RETURN;
	END IF;
	SELECT * INTO feed FROM eventsource.feed_lag();
	longest := trim_scale(extract(epoch FROM current_setting('eventsource.max_feed_lag')::interval));
	RETURN QUERY
	SELECT 'feed lag', CASE WHEN feed.seconds > longest THEN 'degraded' ELSE 'healthy' END, feed.seconds, longest,
		   CASE WHEN feed.holder IS NULL THEN format('nothing is held back; the watermark is %s', feed.watermark)
				ELSE format('the watermark is %s position(s) behind, held by %s (see eventsource.open_appenders)',
							feed.last_position - feed.watermark, feed.holder) END;
END
$$;
COMMENT ON FUNCTION eventsource.health_feed() IS
	'Private, for health(): seconds that an open transaction has held the watermark back.';

CREATE FUNCTION eventsource.health_guards()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'guards', CASE WHEN count(*) FILTER (WHERE NOT g.is_intact) > 0 THEN 'degraded' ELSE 'healthy' END,
	   count(*) FILTER (WHERE NOT g.is_intact)::numeric, 0::numeric,
	   concat(coalesce(string_agg(format('%s, %s: %s', g.guard, g.protects, g.detail), '; ' ORDER BY g.guard, g.protects)
						   FILTER (WHERE NOT g.is_intact), format('all %s are in place', count(*))),
			  '; DDL is refused by ', CASE WHEN eventsource.is_preloaded() THEN 'the preloaded library'
										   ELSE 'event triggers, for the library is not preloaded' END)
  FROM eventsource.check_guards() g
$$;
COMMENT ON FUNCTION eventsource.health_guards() IS
	'Private, for health(): guards that are not in place.';

CREATE FUNCTION eventsource.health_segments()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'segments ahead',
	   CASE WHEN loose > 0 OR (total > 0 AND ahead = 0) THEN 'degraded' ELSE 'healthy' END,
	   ahead::numeric, 1::numeric,
	   CASE WHEN total = 0 THEN 'the log has no segment before its first event'
			WHEN loose > 0 THEN format('%s segment(s) are not attached to the log: their events are not seen', loose)
			WHEN ahead = 0 THEN 'no empty segment is ready: an appender will make the next one itself, and wait for it'
			ELSE format('%s segment(s), %s of them ready for what comes', total, ahead) END
  FROM (SELECT count(*) AS total, count(*) FILTER (WHERE s.is_attached AND s.lower_bound > f.last_position) AS ahead,
			   count(*) FILTER (WHERE NOT s.is_attached) AS loose
		  FROM eventsource.segments s, eventsource.feed_lag() f) n
$$;
COMMENT ON FUNCTION eventsource.health_segments() IS
	'Private, for health(): segments of the log that are ready before they are needed.';

-- A sample of rows against their events. Streams by their ids: that costs the same
-- in a log of any length, and every stream can come up.
CREATE FUNCTION eventsource.random_streams(category text[], max_count integer) RETURNS SETOF text
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH words AS (
	SELECT w.id::bigint << 40 AS low, q.last_value AS streams, ceil(least(max_count, 10000)::numeric / count(*) OVER ())::integer AS share
	  FROM eventsource.word w, eventsource.stream_seq q
	 WHERE w.word = ANY (category)),
start AS MATERIALIZED (
	SELECT low + floor(random() * (streams + 1))::bigint AS id, low + streams AS last
	  FROM words, generate_series(1, share))
SELECT DISTINCT s.name
  FROM start
 CROSS JOIN LATERAL (SELECT n.name FROM eventsource.stream n
					  WHERE n.id >= start.id AND n.id <= start.last ORDER BY n.id LIMIT 1) s
$$;
COMMENT ON FUNCTION eventsource.random_streams(text[], integer) IS
	'Private, for health(): some streams of some categories, at most 10,000.';

-- As the snapshot of the statement has it, rows being of the same.
CREATE FUNCTION eventsource.cursor_of_projection(name text) RETURNS bigint
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT c.position FROM eventsource.projection_cursor c WHERE c.name = 'projection.' || cursor_of_projection.name
$$;
COMMENT ON FUNCTION eventsource.cursor_of_projection(text) IS
	'Private, for health(): up to where an async projection has come; NULL for an inline one.';

-- Whoever asks may have more rights than the owner of the table, so no code of
-- that one is run: no checks of a domain, no casts of his types.
CREATE FUNCTION eventsource.sample_key_type(target regclass, OUT key_column name, OUT key_type text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
WITH RECURSIVE base AS (
	SELECT a.attname, t.oid, t.typtype, t.typbasetype, t.typowner
	  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
	  JOIN pg_type t ON t.oid = a.atttypid
	 WHERE i.indrelid = target AND i.indisprimary AND i.indnkeyatts = 1
	UNION ALL
	SELECT b.attname, t.oid, t.typtype, t.typbasetype, t.typowner
	  FROM base b JOIN pg_type t ON t.oid = b.typbasetype)
SELECT b.attname, format_type(b.oid, -1)
  FROM base b JOIN pg_roles r ON r.oid = b.typowner
 WHERE b.typtype <> 'd' AND (r.rolsuper OR r.rolname = current_user)
$$;
COMMENT ON FUNCTION eventsource.sample_key_type(regclass) IS
	'Private, for health(): the key column of a projection and the type below its domains; nulls if there are several, or if that type is of somebody whom one need not trust.';

CREATE FUNCTION eventsource.hold_log() RETURNS boolean
	AS 'MODULE_PATHNAME', 'eventsource_hold_log' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION eventsource.hold_log() IS
	'Private, for health(): nothing is taken out of the log to the end of the transaction. False: something was since its snapshot, which the next statement sees no better.';

-- Keys of the sample come from both sides, so that a row that is missing can be
-- found as well as one that should not be there. One statement, so that events
-- and rows are those of one snapshot. A row is left out if its stream is long, or
-- has events that an async projection has not come to.
CREATE FUNCTION eventsource.sample_projection(target regclass, max_count integer)
	RETURNS TABLE (row_key text, differs boolean)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	key_column name;
	key_type text;
	pages integer;
	projection record;
BEGIN
	SELECT p.name, p.category INTO STRICT projection FROM eventsource.projections p WHERE p.target = sample_projection.target;
	-- So that the column is what was looked at.
	EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', target);
	IF NOT eventsource.hold_log() THEN
		RETURN;
	END IF;
	SELECT k.key_column, k.key_type, c.relpages INTO STRICT key_column, key_type, pages
	  FROM pg_class c, eventsource.sample_key_type(target) k WHERE c.oid = target AND k.key_type IS NOT NULL;
	RETURN QUERY EXECUTE format($q$
		WITH streams AS MATERIALIZED (SELECT s FROM eventsource.random_streams($1, $2) s),
		keys AS MATERIALIZED (
			SELECT ((r.row_data ->> %1$L)::%2$s)::text AS k
			  FROM streams, eventsource.replay(s, target => %3$L) r WHERE r.row_data IS NOT NULL
			UNION
			(SELECT t.%4$I::%2$s::text FROM %3$s t TABLESAMPLE SYSTEM (%5$s) ORDER BY random() LIMIT $2))
		SELECT k, (SELECT format('%%s', a) FROM eventsource.as_of(NULL::%3$s, 'infinity', k) a)
				  IS DISTINCT FROM (SELECT format('%%s', t) FROM %3$s t WHERE t.%4$I = k::%2$s)
		  FROM keys
		 WHERE NOT EXISTS (SELECT FROM eventsource.streams s
							WHERE s.stream = ANY (ARRAY[k] || ARRAY(SELECT c || '-' || k FROM unnest($1) c))
							  AND (s.version > 10000 OR s.last_position > (SELECT eventsource.cursor_of_projection($3))))$q$,
		key_column, key_type, target, key_column, least(100, 500.0 / greatest(pages, 1)))
	USING projection.category, max_count, projection.name;
END
$$;
COMMENT ON FUNCTION eventsource.sample_projection(regclass, integer) IS
	'Private, for health(): some rows of a projection that has one per stream, folded anew from their streams: does the table differ?';

CREATE FUNCTION eventsource.health_sample()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	size integer := current_setting('eventsource.health_sample')::integer;
	projection regclass;
	definition bigint;
	is_open boolean;
	looked_at bigint := 0;
	differing bigint := 0;
	left_out bigint := 0;
	trouble text;
	code text;
	failed boolean := false;
	problems text[] := '{}';
	sample record;
BEGIN
	FOR projection, definition, is_open IN
		SELECT p.target, p.version, size > 0 AND eventsource.may_read_categories(NULL) AND p.keyed_by = 'stream'
						 AND has_table_privilege(p.target, 'SELECT')
						 AND NOT row_security_active(p.target)
						 AND (SELECT k.key_type IS NOT NULL FROM eventsource.sample_key_type(p.target) k)
		  FROM eventsource.projections p WHERE p.target IS NOT NULL LOOP
		left_out := left_out + (NOT is_open)::integer;
		CONTINUE WHEN NOT is_open;
		BEGIN
			SELECT count(*) AS n, count(*) FILTER (WHERE s.differs) AS bad, min(s.row_key) FILTER (WHERE s.differs) AS example
			  INTO sample FROM eventsource.sample_projection(projection, size) s;

			-- Rules are the newest, rows those of a snapshot before.
			CONTINUE WHEN sample.bad > 0 AND NOT EXISTS
				(SELECT FROM eventsource.projections p WHERE p.target = projection AND p.version = definition);
			looked_at := looked_at + sample.n;
			differing := differing + sample.bad;
			IF sample.bad > 0 THEN
				problems := problems || format('%s differs at %L and perhaps elsewhere: see eventsource.verify_projection',
											   projection, sample.example);
			END IF;
		EXCEPTION WHEN OTHERS THEN
			failed := true;
			-- It may quote what not everybody may see.
			trouble := SQLERRM;
			code := SQLSTATE;
			BEGIN
				IF NOT eventsource.sees_personal_data() AND EXISTS (SELECT FROM eventsource.personal_columns(projection)) THEN
					trouble := '(the error may quote personal fields)';
				END IF;
			EXCEPTION WHEN OTHERS THEN
				trouble := '(the error may quote personal fields)';
			END;
			problems := problems || format('%s could not be compared: %s (%s)', projection, trouble, code);
		END;
	END LOOP;
	RETURN QUERY SELECT 'sample of projections',
		CASE WHEN differing > 0 THEN 'degraded' WHEN failed THEN 'unknown' ELSE 'healthy' END,
		differing::numeric, 0::numeric,
		concat_ws('; ', format('%s row(s) folded anew', looked_at), nullif(array_to_string(problems, '; '), ''),
				  CASE
					WHEN left_out > 0 THEN format(
						'%s projection(s) left out: not keyed by stream, not yours to read (or not all categories are), with a key of several columns, or with one of somebody''s own type',
					left_out) END);
END
$$;
COMMENT ON FUNCTION eventsource.health_sample() IS
	'Private, for health(): rows of projections that differ from their events, in a sample.';

-- The worker of this database; no row where none is meant to be.
CREATE FUNCTION eventsource.health_worker()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'worker', CASE WHEN w.status = 'running' AND age <= longest THEN 'healthy' ELSE 'degraded' END,
	   age, longest,
	   concat_ws('; ', CASE WHEN w.status = 'waiting' THEN 'it has ended, and is started anew'
							WHEN w.pid IS NULL THEN 'there is no process: ' || w.status
							ELSE format('process %s is %s', w.pid, w.status) END,
				 CASE WHEN age > longest THEN 'it is at one pass for long' END, w.last_error)
  FROM (SELECT s.*, trim_scale(round(extract(epoch FROM clock_timestamp() - coalesce(s.last_pass_at, s.started_at)), 3)) AS age,
			   trim_scale(greatest(10 * extract(epoch FROM current_setting('eventsource.worker_interval')::interval), 60)) AS longest
		  FROM eventsource.workers s WHERE s.database = current_database()) w
 WHERE NOT pg_is_in_recovery()
$$;
COMMENT ON FUNCTION eventsource.health_worker() IS
	'Private, for health(): seconds since the background worker of this database last went over its duties.';

CREATE FUNCTION eventsource.health_projections()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT f.kind || ' ' || f.name, CASE f.status WHEN 'current' THEN 'healthy' ELSE 'degraded' END,
	   round(f.lag_seconds::numeric, 3), trim_scale(f.max_lag_seconds::numeric),
	   CASE WHEN f.status = 'parked'
			THEN concat_ws(' ', 'parked since ' || f.failed_at, 'at position ' || f.failed_position, '(' || f.sqlstate || ')', f.error)
			WHEN f.lag_seconds = 0 THEN 'nothing is waiting'
			ELSE format('%s position(s) behind', f.lag) END
  FROM (SELECT 'projection' AS kind, p.name, p.status, p.lag, p.lag_seconds, p.max_lag_seconds, p.failed_at,
			   p.failed_position, p.sqlstate, p.error
		  FROM eventsource.projections p WHERE p.target IS NOT NULL AND p.status IS NOT NULL
		UNION ALL
		SELECT 'handler', h.name, h.status, h.lag, h.lag_seconds, h.max_lag_seconds, h.failed_at,
			   h.failed_position, h.sqlstate, h.error
		  FROM eventsource.handlers h
		UNION ALL
		SELECT 'publication', n.prefix, n.status, n.lag, n.lag_seconds, n.max_lag_seconds, n.failed_at,
			   n.failed_position, n.sqlstate, n.error
		  FROM eventsource.publications n) f
$$;
COMMENT ON FUNCTION eventsource.health_projections() IS
	'Private, for health(): how long events have waited for async projections, handlers and publications.';

CREATE FUNCTION eventsource.health_subscriptions()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'subscription ' || s.name, CASE WHEN s.error IS NOT NULL OR age > longest THEN 'degraded' ELSE 'healthy' END,
	   age, longest,
	   concat_ws('; ', CASE WHEN s.lag = 0 THEN 'nothing is waiting' ELSE format('%s position(s) behind', s.lag) END,
				 CASE WHEN s.parked > 0 THEN format('%s event(s) parked', s.parked) END, s.error)
  FROM (SELECT n.*, round(n.lag_seconds::numeric, 3) AS age, trim_scale(extract(epoch FROM n.max_lag)) AS longest
		  FROM eventsource.subscriptions n) s
$$;
COMMENT ON FUNCTION eventsource.health_subscriptions() IS
	'Private, for health(): age in seconds of the oldest event that each subscription has not dealt with.';

CREATE FUNCTION eventsource.health_erasure()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'erasure requests', CASE WHEN count(*) FILTER (WHERE r.status = 'overdue') > 0 THEN 'degraded' ELSE 'healthy' END,
	   count(*) FILTER (WHERE r.status = 'overdue')::numeric, 0::numeric,
	   CASE WHEN count(*) > 0 THEN format('%s open, the next deadline is %s; see eventsource.erasure_requests', count(*), min(r.deadline))
			ELSE 'none is open' END
  FROM eventsource.erasure_requests r WHERE r.status IN ('open', 'overdue')
$$;
COMMENT ON FUNCTION eventsource.health_erasure() IS
	'Private, for health(): requests to erase a subject that are past their deadline.';

CREATE FUNCTION eventsource.health_parked()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'parked events', CASE WHEN count(*) > 0 THEN 'degraded' ELSE 'healthy' END, count(*)::numeric, 0::numeric,
	   CASE WHEN count(*) > 0 THEN format('since %s; see eventsource.parked_events', min(p.parked_at)) ELSE 'there are none' END
  FROM eventsource.parked_events p WHERE p.state = 'parked'
$$;
COMMENT ON FUNCTION eventsource.health_parked() IS
	'Private, for health(): events that subscriptions have parked.';

-- What the events that wait for a seal are, is for the rights of the owner.
CREATE FUNCTION eventsource.seal_lag(OUT size bigint, OUT last_position bigint, OUT waiting_since timestamptz)
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT s.size, s.position, (SELECT e.recorded_at FROM eventsource.event e WHERE e.position > s.position ORDER BY e.position LIMIT 1)
  FROM eventsource.seal s ORDER BY s.size DESC LIMIT 1
$$;
COMMENT ON FUNCTION eventsource.seal_lag() IS
	'Private, for health(): how many events are sealed, up to which position, and since when the first one after it has waited; nulls if nothing was sealed yet.';

CREATE FUNCTION eventsource.health_sealing()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'sealing', CASE WHEN age > longest THEN 'degraded' ELSE 'healthy' END, age, longest,
	   CASE WHEN l.size IS NULL THEN 'nothing was sealed yet: eventsource.seal(), or the worker, does it'
			ELSE format('%s event(s) are sealed, up to position %s', l.size, l.last_position) END
  FROM (SELECT s.*, coalesce(round(extract(epoch FROM clock_timestamp() - s.waiting_since), 3), 0) AS age,
			   trim_scale(extract(epoch FROM current_setting('eventsource.max_seal_lag')::interval)) AS longest
		  FROM eventsource.seal_lag() s) l
$$;
COMMENT ON FUNCTION eventsource.health_sealing() IS
	'Private, for health(): seconds for which an event has waited to be sealed.';

-- Segments that wait to be archived, and events that are past their total and there
-- still, each with the moment since when. What archive_due() has not looked at yet
-- waits for it since it came due. Times are those of the policies in force.
CREATE FUNCTION eventsource.retention_lag()
	RETURNS TABLE (who text, events numeric, since timestamptz, is_wanted boolean)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH policy AS MATERIALIZED (
	SELECT p.category, p.detail, CASE WHEN p.class <> 'kept' THEN p.total END AS total
	  FROM eventsource.retention_policies p WHERE p.is_current),
fact AS MATERIALIZED (
	SELECT f.*, p.detail, p.total
	  FROM eventsource.segment_category f
	  JOIN eventsource.word w ON w.id = f.category
	  LEFT JOIN policy p ON p.category = w.word),
due AS (
	SELECT 'archive_due()' AS who, sum(f.events) FILTER (WHERE f.detail IS NOT NULL) AS events,
		   max(f.last_recorded_at + f.detail) AS since, false AS is_wanted
	  FROM fact f
	 WHERE NOT EXISTS (SELECT FROM eventsource.archive a WHERE a.lower_bound = f.lower_bound AND a.archived_at IS NOT NULL)
	 GROUP BY f.lower_bound
	UNION ALL
	SELECT 'archive_due()', f.events, f.first_recorded_at + f.total, false
	  FROM fact f WHERE f.looked_at IS NULL AND f.total IS NOT NULL
	UNION ALL
	SELECT 'archive_due()', NULL, max(g.at) + min(p.term), false
	  FROM (SELECT least(p.detail, p.total) AS term FROM policy p) p,
		   (SELECT s.lower_bound, (SELECT e.recorded_at FROM eventsource.event e
									WHERE e.position < s.upper_bound ORDER BY e.position DESC LIMIT 1) AS at
			  FROM eventsource.segment s
			 WHERE s.upper_bound <= (SELECT eventsource.watermark() + 1)
			   AND NOT EXISTS (SELECT FROM eventsource.segment_category f WHERE f.lower_bound = s.lower_bound)
			   AND NOT EXISTS (SELECT FROM eventsource.archive a WHERE a.lower_bound = s.lower_bound)) g
	 GROUP BY g.lower_bound
	UNION ALL
	-- LEGAL_HOLD of src/trust/prune_choose.c
	SELECT h.who, h.events, h.since + f.total, h.who = 'a legal hold'
	  FROM fact f
	 CROSS JOIN LATERAL jsonb_to_recordset(f.held_up) h (who text, events bigint, since timestamptz)
	 WHERE f.total IS NOT NULL)
SELECT d.who, sum(d.events), min(d.since), d.is_wanted FROM due d WHERE d.since <= clock_timestamp() GROUP BY d.who, d.is_wanted
$$;
COMMENT ON FUNCTION eventsource.retention_lag() IS
	'Private, for health(): what is past its term, who keeps it, how many events that is (as far as known), since when, and whether it is meant to be kept (a legal hold).';

CREATE FUNCTION eventsource.health_retention()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'retention', CASE WHEN r.age > r.longest THEN 'degraded' ELSE 'healthy' END, coalesce(r.age, 0), r.longest,
	   coalesce(r.message, 'nothing is past its term')
  FROM (SELECT round(extract(epoch FROM clock_timestamp() - min(l.since) FILTER (WHERE NOT l.is_wanted)), 3) AS age,
			   trim_scale(extract(epoch FROM current_setting('eventsource.max_retention_lag')::interval)) AS longest,
			   string_agg(format('%s has %s event(s) wait since %s', l.who, coalesce(l.events::text, 'an unknown number of'),
								 date_trunc('second', l.since)), '; ' ORDER BY l.is_wanted, l.since) AS message
		  FROM eventsource.retention_lag() l) r
$$;
COMMENT ON FUNCTION eventsource.health_retention() IS
	'Private, for health(): seconds for which something has been past its term and there still, not counting legal holds.';

-- Jobs of every queue: how many, but not whose. Each number is one probe of an index for each queue, and what it counts.
CREATE FUNCTION eventsource.job_lag(
	OUT lost bigint, OUT lost_seconds numeric, OUT due_seconds numeric, OUT dead_letters_last_hour bigint, OUT alerts bigint)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH RECURSIVE queue (name) AS (
	SELECT min(j.queue) FROM eventsource.job j WHERE j.finished_at IS NOT NULL
	UNION ALL
	SELECT (SELECT min(j.queue) FROM eventsource.job j WHERE j.finished_at IS NOT NULL AND j.queue > q.name)
	  FROM queue q WHERE q.name IS NOT NULL)
SELECT l.lost, coalesce(round(extract(epoch FROM clock_timestamp() - l.since), 3), 0),
	   coalesce(round(extract(epoch FROM clock_timestamp() - d.since), 3), 0),
	   (SELECT coalesce(sum((SELECT count(*) FROM eventsource.job j
							  WHERE j.queue = q.name AND j.state = 'discarded' AND j.finished_at > clock_timestamp() - interval '1 hour')), 0)::bigint
		  FROM queue q WHERE q.name IS NOT NULL),
	   (SELECT count(*) FROM eventsource.alert a WHERE a.closed_at IS NULL)
  FROM (SELECT count(*) AS lost, min(j.lease_until) AS since FROM eventsource.job j
		 WHERE j.lease_until IS NOT NULL AND j.lease_until < clock_timestamp()) l,
	   (SELECT min(j.run_at) AS since FROM unnest('{$reaction,$timeout}'::text[]) own (queue),
			   eventsource.job j
		 WHERE j.queue = own.queue AND j.state IN ('scheduled', 'available') AND j.run_at < clock_timestamp()) d
$$;
COMMENT ON FUNCTION eventsource.job_lag() IS
	'Private, for health(): jobs whose lease has ended and after which nobody has looked, and for how many seconds; for how many seconds a step of a reaction or a timeout has been due; jobs that were given up in the last hour; open alerts.';

CREATE FUNCTION eventsource.health_jobs()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT c.name, CASE WHEN c.value > c.threshold THEN 'degraded' ELSE 'healthy' END, c.value, c.threshold, c.message
  FROM eventsource.job_lag() j
 CROSS JOIN LATERAL (VALUES
	('dead letters', j.alerts::numeric, 0::numeric,
	 format('%s job(s) given up within the last hour; %s', j.dead_letters_last_hour,
			CASE WHEN j.alerts = 0 THEN 'no alert is open' ELSE format('%s alert(s) open (see eventsource.alerts)', j.alerts) END)),
	('leases of jobs', j.lost_seconds, 300,
	 CASE WHEN j.lost = 0 THEN 'none has ended that nobody has looked after'
		  ELSE format('%s have ended, and neither a worker nor run_due() has looked after them', j.lost) END),
	('what is due', j.due_seconds, 300,
	 CASE WHEN j.due_seconds = 0 THEN 'no step of a reaction and no timeout waits'
		  ELSE 'steps of reactions, or timeouts, are due: the background worker does them, or run_due()' END)) c (name, value, threshold, message)
$$;
COMMENT ON FUNCTION eventsource.health_jobs() IS
	'Private, for health(): open alerts, leases of jobs that have ended, what is due.';

-- What is defined and does not hold any more, since what it needs was dropped or changed.
CREATE FUNCTION eventsource.check_definitions() RETURNS TABLE (kind text, name text, problem text)
	AS 'MODULE_PATHNAME', 'eventsource_check_definitions' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION eventsource.check_definitions() IS
	'What is defined and cannot be compiled any more, since something that it needs (a table, a column, a function, a role) was dropped or changed, one row each; none: all is well. kind: category (with its state machine and its context), event type (name: <category>-<type>), projection, reaction, upcaster, or personal fields (a definition reads some that it must not; name is NULL). Such a definition raises the problem where it is used: its events are refused. It is in the way of nothing else, and can be dropped or defined again.';

CREATE FUNCTION eventsource.health_definitions()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT 'definitions', CASE WHEN count(*) > 0 THEN 'degraded' ELSE 'healthy' END, count(*)::numeric, 0::numeric,
	   coalesce(string_agg(concat_ws(' ', d.kind, quote_ident(d.name)) || ': ' || d.problem, '; ' ORDER BY d.kind, d.name),
		'all of them can be compiled')
  FROM eventsource.check_definitions() d
$$;
COMMENT ON FUNCTION eventsource.health_definitions() IS
	'Private, for health(): definitions that cannot be compiled any more.';

CREATE FUNCTION eventsource.health()
	RETURNS TABLE ("check" text, status text, value numeric, threshold numeric, message text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	part text;
BEGIN
	-- Loads the library, and with it the settings.
	PERFORM eventsource.watermark();
	FOREACH part IN ARRAY ARRAY['feed', 'segments', 'guards', 'definitions', 'sealing', 'worker', 'projections', 'sample', 'subscriptions', 'parked',
		'retention', 'erasure', 'jobs'] LOOP
		BEGIN
			RETURN QUERY EXECUTE format('SELECT * FROM eventsource.health_%s()', part);
		EXCEPTION WHEN OTHERS THEN
			RETURN QUERY SELECT part, 'unknown', NULL::numeric, NULL::numeric,
				format('could not be checked: %s (%s)', SQLERRM, SQLSTATE);
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION eventsource.health() IS
	'How the store is, one row per check. status: healthy, degraded (value is beyond threshold), or unknown (message says why it could not be checked). "feed lag": seconds that an open transaction has held the watermark back; threshold eventsource.max_feed_lag. "segments ahead": empty segments that are ready. "guards": those of check_guards() that are not intact, and whether the preloaded library refuses DDL or, without preloading, event triggers do. "definitions": those of check_definitions(). "sealing": seconds for which an event has waited to be sealed, once any was; threshold eventsource.max_seal_lag. "sample of projections": rows that differ from their events among eventsource.health_sample of each projection that has a row per stream, chosen anew each time, and that you may read. "worker": seconds since the background worker of this database last went over its duties; no row where there is none meant to be. "projection <name>" and "handler <name>", of those that follow the log: seconds for which an event has waited for it; threshold its max_lag; degraded, too, when it is parked. "subscription <name>": age in seconds of the oldest event that it has not dealt with; threshold its max_lag. "parked events": how many there are. "erasure requests": how many are past their deadline, neither met nor closed. "retention": seconds for which something has been past its term and there still, and who keeps it: archive_due() if nobody has called it, a subscription or another follower of the log that has not dealt with it, a segment that is not full, an older snapshot; threshold eventsource.max_retention_lag; legal holds are told, and count for nothing. "dead letters": open alerts about jobs that were given up. "leases of jobs": seconds since a lease ended and nobody has looked after it; threshold 300. "what is due": seconds for which a step of a reaction or a timeout has been due and is not done; threshold 300. Never fails, on an empty store neither.';

CREATE VIEW eventsource.health_status AS
SELECT CASE WHEN bool_or(h.status = 'degraded') THEN 'degraded' ELSE 'healthy' END AS status,
	   count(*) AS checks,
	   count(*) FILTER (WHERE h.status = 'degraded') AS degraded,
	   count(*) FILTER (WHERE h.status = 'unknown') AS unknown,
	   coalesce(string_agg(h."check" || ': ' || h.message, E'\n' ORDER BY h."check") FILTER (WHERE h.status <> 'healthy'), '')
		   AS message
  FROM eventsource.health() h;
COMMENT ON VIEW eventsource.health_status IS
	'health() in one row, for a probe.';
COMMENT ON COLUMN eventsource.health_status.status IS 'degraded if a check is, else healthy.';
COMMENT ON COLUMN eventsource.health_status.checks IS 'How many checks were made.';
COMMENT ON COLUMN eventsource.health_status.degraded IS 'How many of them are degraded.';
COMMENT ON COLUMN eventsource.health_status.unknown IS 'How many could not be made.';
COMMENT ON COLUMN eventsource.health_status.message IS 'Those that are not healthy, one per line, with what they say.';

CREATE VIEW eventsource.metrics AS
SELECT statement_timestamp() AS time, m.metric, m.value::numeric AS value
  FROM (SELECT v.metric, v.value
		  FROM eventsource.feed_lag() f
		 CROSS JOIN LATERAL (VALUES ('watermark', f.watermark),
									('feed_lag_positions', f.last_position - f.watermark),
									('feed_lag_seconds', f.seconds),
									('open_appenders', f.appenders)) v (metric, value)
		UNION ALL
		SELECT v.metric, v.value
		  FROM (SELECT count(*) AS segments, coalesce(sum(s.bytes), 0) AS bytes FROM eventsource.segments s) g
		 CROSS JOIN LATERAL (VALUES ('segments', g.segments), ('log_bytes', g.bytes)) v (metric, value)
		UNION ALL
		SELECT format('%s{%s}', v.metric, f.name), v.value
		  FROM (SELECT 'projection' AS kind, p.name, p.lag, p.lag_seconds, p.status FROM eventsource.projections p
				 WHERE p.target IS NOT NULL AND p.status IS NOT NULL
				UNION ALL
				SELECT 'handler' AS kind, h.name, h.lag, h.lag_seconds, h.status FROM eventsource.handlers h
				UNION ALL
				SELECT 'publication' AS kind, n.prefix AS name, n.lag, n.lag_seconds, n.status FROM eventsource.publications n) f
		 CROSS JOIN LATERAL (VALUES (f.kind || '_lag_positions', f.lag::numeric),
									(f.kind || '_lag_seconds', round(f.lag_seconds::numeric, 3)),
									(f.kind || '_parked', (f.status = 'parked')::integer)) v (metric, value)
		UNION ALL
		SELECT format('%s{%s}', v.metric, s.name), v.value
		  FROM eventsource.subscriptions s
		 CROSS JOIN LATERAL (VALUES ('subscription_lag_positions', s.lag::numeric),
									('subscription_lag_seconds', round(s.lag_seconds::numeric, 3)),
									('subscription_parked', s.parked)) v (metric, value)
		UNION ALL
		SELECT v.metric, v.value
		  FROM eventsource.job_lag() j
		 CROSS JOIN LATERAL (VALUES ('jobs_lost', j.lost), ('due_lag_seconds', j.due_seconds),
									('dead_letters_last_hour', j.dead_letters_last_hour), ('job_alerts', j.alerts)) v (metric, value)
		UNION ALL
		SELECT 'worker_passes' AS metric, w.passes FROM eventsource.workers w WHERE w.database = current_database()) m;
COMMENT ON VIEW eventsource.metrics IS
	'Numbers to draw over time (time, metric, value), cheap to ask for often. Those of one projection or subscription carry its name: metric{name}.';
COMMENT ON COLUMN eventsource.metrics.time IS 'Now.';
COMMENT ON COLUMN eventsource.metrics.metric IS 'What is measured.';
COMMENT ON COLUMN eventsource.metrics.value IS 'The number.';
