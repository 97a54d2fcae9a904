\set ECHO none
\i test/helpers.sql
-- What an INSERT or COPY into the view needs does not grow with its events: those with a business time of their own,
-- and those whose data is moved out of line.
BEGIN;
SELECT plan(4);

CREATE FUNCTION pg_temp.used() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name = 'eventsource batch');
END
$$;
INSERT INTO eventsource.events (stream, type, data, occurred_at)
SELECT 'memory-' || n % 10, 't', jsonb_build_object('n', n,
		'bytes', CASE WHEN n % 2000 = 0 THEN pg_temp.used() END,
		'long', CASE WHEN n % 10 = 0 THEN (SELECT string_agg(md5(n || '/' || i), '') FROM generate_series(1, 100) AS i) END), '2020-01-01'
  FROM generate_series(1, 24000) AS n;
CREATE TEMP TABLE measured AS SELECT (data->>'n')::int AS n, (data->>'bytes')::int AS bytes
  FROM eventsource.events WHERE category = 'memory' AND data->>'bytes' IS NOT NULL;
SELECT is(count(*), 12::bigint, 'measured') FROM measured;
-- It rises and falls between flushes, which need not fall together with what is measured: the highest of each half.
SELECT cmp_ok(max(bytes) FILTER (WHERE n > 12000), '<', max(bytes) FILTER (WHERE n <= 12000) + 100000, 'and it did not grow') FROM measured;

-- Nor does what append_events() needs, where each event schedules a timeout.
CREATE FUNCTION public.memory_used(key text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN CASE WHEN key::int % 2000 = 0 THEN (SELECT sum(used_bytes) FROM pg_backend_memory_contexts) END;
END
$$;
SELECT eventsource.create_state_machine('memtimer', '{"create": {"opened": {"target": "OPEN", "fill": {"bytes": "public.memory_used(event.key)"}}},
	"states": {"OPEN": {"on": {"closed": "CLOSED"}, "after": {"1 day": "closed"}}, "CLOSED": {"type": "final"}}}') IS NULL AS done \gset
SELECT eventsource.create_category('memtimer', 'memtimer') IS NULL AS done \gset
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'memtimer-' || n, 'type', 'opened')) FROM generate_series(1, 12000) AS n)) \gset
CREATE TEMP TABLE measured_timers AS SELECT key::int AS n, (data->>'bytes')::bigint AS bytes
  FROM eventsource.events WHERE category = 'memtimer' AND data->>'bytes' IS NOT NULL;
SELECT cmp_ok(max(bytes) - min(bytes), '<', 6000000::bigint, 'timeouts of many streams are forgotten as they are written') FROM measured_timers;
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'all is well');

SELECT * FROM finish();
ROLLBACK;
