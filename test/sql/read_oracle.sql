\set ECHO none
\i test/helpers.sql
-- The reading functions against the view, which is the same log in plain SQL: no row may differ either way.
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('stream', 'oracle' || n % 5 || '-' || n % 37, 'type', 't' || n % 11,
		'data', jsonb_build_object('n', n, 'text', repeat('x', n % 50 * 100)), 'reason', CASE WHEN n % 3 = 0 THEN 'r' || n % 7 END,
		'actor', CASE WHEN n % 2 = 0 THEN 'agent:' || n % 13 END, 'metadata', jsonb_build_object('correlation_id', n % 17),
		'occurred_at', timestamptz '2020-01-01 00:00+00' + n * interval '1 minute',
		'idempotency_key', CASE WHEN n % 4 = 0 THEN 'key ' || n END, 'schema_version', 1 + n % 3)) ORDER BY n)
	FROM generate_series(1, 1400) AS n)) \gset
-- A savepoint rolled back in between: gaps in the positions, dead rows in the segments.
BEGIN;
SELECT count(eventsource.append('oracle1-1', 'kept', to_jsonb(n))) AS done FROM generate_series(1, 20) AS n \gset
SAVEPOINT s;
SELECT count(eventsource.append('oracle1-1', 'undone', to_jsonb(n))) AS done FROM generate_series(1, 700) AS n \gset
ROLLBACK TO s;
SELECT count(eventsource.append('oracle1-1', 'kept', to_jsonb(n))) AS done FROM generate_series(21, 40) AS n \gset
COMMIT;
INSERT INTO eventsource.events (stream, type, data) SELECT 'oracle2-' || n % 3, 'inserted', to_jsonb(n) FROM generate_series(1, 400) AS n;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT plan(19);

CREATE FUNCTION pg_temp.differences(have text, want text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH have AS MATERIALIZED (SELECT r::text FROM (%s) AS r), want AS MATERIALIZED (SELECT r::text FROM (%s) AS r)
		(SELECT 'too many: ' || left(r, 300) FROM (SELECT * FROM have EXCEPT ALL SELECT * FROM want) AS d)
		UNION ALL
		(SELECT 'missing: ' || left(r, 300) FROM (SELECT * FROM want EXCEPT ALL SELECT * FROM have) AS d)
	$q$, have, want);
END
$$;
CREATE FUNCTION pg_temp.agree(have text, want text, description text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT is_empty(format('SELECT pg_temp.differences(%L, %L)', have, want), description)
$$;

SELECT isnt_empty($$ SELECT pg_temp.differences('SELECT 1', 'SELECT 2') $$, 'the comparison sees a difference');
SELECT is(count(*), 1840::bigint, 'this file''s events') FROM eventsource.events WHERE category LIKE 'oracle_';
SELECT pg_temp.agree('SELECT * FROM eventsource.read_all(0, NULL)', 'SELECT * FROM eventsource.events', 'read_all is the view');
SELECT pg_temp.agree('SELECT * FROM eventsource.read_all(0, NULL) WITH ORDINALITY',
	'SELECT e.*, row_number() OVER (ORDER BY e.position) FROM eventsource.events e', 'in order of position');
SELECT pg_temp.agree(format('SELECT * FROM eventsource.read_category(%L, 0, NULL) WITH ORDINALITY', category),
	format('SELECT e.*, row_number() OVER (ORDER BY e.position) FROM eventsource.events e WHERE category = %L', category), 'read_category ' || category)
FROM unnest(ARRAY['oracle0', 'oracle1', 'oracle2', 'oracle3', 'oracle4']) AS category;
SELECT pg_temp.agree(
	$$ SELECT r.* FROM eventsource.streams s, LATERAL eventsource.read_stream(s.stream) AS r WHERE s.category LIKE 'oracle_' $$,
	$$ SELECT * FROM eventsource.events WHERE category LIKE 'oracle_' $$, 'read_stream of every stream');
SELECT pg_temp.agree(
	$$ SELECT r.* FROM eventsource.streams s, LATERAL eventsource.read_stream(s.stream) WITH ORDINALITY AS r WHERE s.category LIKE 'oracle_' $$,
	$$ SELECT e.*, e.version FROM eventsource.events e WHERE category LIKE 'oracle_' $$, 'in order of version');
SELECT pg_temp.agree(
	$$ SELECT r.* FROM eventsource.streams s, LATERAL eventsource.read_stream(s.stream, NULL, NULL, true) WITH ORDINALITY AS r WHERE s.category LIKE 'oracle_' $$,
	$$ SELECT e.*, s.version - e.version + 1 FROM eventsource.events e JOIN eventsource.streams s USING (stream) WHERE e.category LIKE 'oracle_' $$, 'backward');
SELECT pg_temp.agree(
	$$ SELECT r.* FROM eventsource.streams s, generate_series(1, 40, 3) AS f, LATERAL eventsource.read_stream(s.stream, f, 4) AS r WHERE s.category = 'oracle1' $$,
	$$ SELECT e.* FROM eventsource.events e, generate_series(1, 40, 3) AS f WHERE category = 'oracle1' AND version BETWEEN f AND f + 3 $$,
	'slices of four');
SELECT pg_temp.agree(
	$$ SELECT r.* FROM eventsource.streams s, generate_series(1, 40, 3) AS f, LATERAL eventsource.read_stream(s.stream, f, 4, true) AS r WHERE s.category = 'oracle1' $$,
	$$ SELECT e.* FROM eventsource.streams s, generate_series(1, 40, 3) AS f, LATERAL (
			SELECT * FROM eventsource.events WHERE stream = s.stream AND version >= f ORDER BY version DESC LIMIT 4) AS e
		WHERE s.category = 'oracle1' $$,
	'slices of four backward');
SELECT pg_temp.agree('SELECT stream, eventsource.stream_version(stream), version FROM eventsource.streams',
	'SELECT stream, max(version), count(*) FROM eventsource.events GROUP BY stream', 'stream_version and the view streams');
SELECT pg_temp.agree('SELECT stream, first_position, last_position, last_recorded_at FROM eventsource.streams',
	'SELECT DISTINCT stream, min(position) OVER w, last_value(position) OVER w, last_value(recorded_at) OVER w FROM eventsource.events
	 WINDOW w AS (PARTITION BY stream ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)', 'and where streams begin and end');
SELECT is_empty($$ SELECT FROM eventsource.events WHERE type = 'undone' $$, 'nothing that was rolled back');
SELECT is_empty($$ SELECT stream FROM eventsource.events GROUP BY stream
	HAVING min(version) <> 1 OR max(version) <> count(*) OR count(DISTINCT version) <> count(*) $$, 'no stream has a gap or a fork');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');

SELECT * FROM finish();
ROLLBACK;
