\set ECHO none
\i test/helpers.sql
-- The hash, computed a second time in SQL from the format that src/log/chain.c documents.
BEGIN;
SELECT plan(16);

CREATE FUNCTION pg_temp.string(value bytea) RETURNS bytea LANGUAGE sql AS 'SELECT int4send(length(value)) || value';
CREATE FUNCTION pg_temp.byte(value integer) RETURNS bytea LANGUAGE sql AS 'SELECT substr(int4send(value), 4)';
CREATE FUNCTION pg_temp.field(number integer, tag text, value bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.byte(number) || CASE WHEN value IS NULL THEN '\x0000000000' ELSE tag::bytea || pg_temp.string(value) END
$$;
CREATE FUNCTION pg_temp.field(number integer, value text) RETURNS bytea LANGUAGE sql AS
	$$ SELECT pg_temp.field(number, 't', convert_to(value, 'UTF8')) $$;
CREATE FUNCTION pg_temp.field(number integer, value bigint) RETURNS bytea LANGUAGE sql AS
	$$ SELECT pg_temp.field(number, 'i', int8send(value)) $$;
CREATE FUNCTION pg_temp.field(number integer, value timestamptz) RETURNS bytea LANGUAGE sql AS
	$$ SELECT pg_temp.field(number, 'z', int8send(((extract(epoch FROM value) - 946684800) * 1000000)::bigint)) $$;
CREATE FUNCTION pg_temp.json(value jsonb) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	result bytea;
	item record;
BEGIN
	CASE jsonb_typeof(value)
		WHEN 'null' THEN RETURN 'n'::bytea;
		WHEN 'boolean' THEN RETURN CASE value::text WHEN 'true' THEN 't'::bytea ELSE 'f'::bytea END;
		WHEN 'number' THEN RETURN '#'::bytea || pg_temp.string(convert_to(value::text, 'UTF8'));
		WHEN 'string' THEN RETURN '"'::bytea || pg_temp.string(convert_to(value #>> '{}', 'UTF8'));
		WHEN 'array' THEN
			result := '['::bytea || int4send(jsonb_array_length(value));
			FOR item IN SELECT a.value FROM jsonb_array_elements(value) AS a LOOP
				result := result || pg_temp.json(item.value);
			END LOOP;
		WHEN 'object' THEN
			result := '{'::bytea || int4send((SELECT count(*)::integer FROM jsonb_object_keys(value)));
			FOR item IN SELECT o.key, o.value FROM jsonb_each(value) AS o ORDER BY octet_length(o.key), o.key COLLATE "C" LOOP
				result := result || pg_temp.string(convert_to(item.key, 'UTF8')) || pg_temp.json(item.value);
			END LOOP;
	END CASE;
	RETURN result;
END
$$;
CREATE FUNCTION pg_temp.golden(e eventsource.events, machine text, previous bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT sha256('\x455301'::bytea || uuid_send(eventsource.log_id()) || coalesce(previous, decode(repeat('00', 32), 'hex'))
		|| pg_temp.field(1, e.position)
		|| pg_temp.field(2, e.stream)
		|| pg_temp.field(5, e.subject)
		|| pg_temp.field(6, e.version)
		|| pg_temp.field(7, e.type)
		|| pg_temp.field(8, e.schema_version::bigint)
		|| pg_temp.field(9, 'j', pg_temp.json(e.data))
		|| pg_temp.field(10, 'j', pg_temp.json(e.metadata))
		|| pg_temp.field(11, e.actor)
		|| pg_temp.field(12, e.recorded_by)
		|| pg_temp.field(13, e.reason)
		|| pg_temp.field(14, e.from_state)
		|| pg_temp.field(15, e.to_state)
		|| pg_temp.field(16, 'b', CASE WHEN e.is_synthetic THEN '\x01' ELSE '\x00' END::bytea)
		|| pg_temp.field(17, e.occurred_at)
		|| pg_temp.field(18, e.recorded_at)
		|| pg_temp.field(32, machine))
$$;
CREATE FUNCTION pg_temp.wrong() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT e.stream || ' ' || e.version
	FROM (SELECT v AS event, v.*, m.word AS machine, lag(v.hash) OVER (PARTITION BY v.stream ORDER BY v.version) AS previous
		  FROM eventsource.events v
		  JOIN eventsource.event r ON r.position = v.position
		  LEFT JOIN eventsource.word m ON m.id = r.machine) AS e
	WHERE e.hash IS DISTINCT FROM pg_temp.golden(e.event, e.machine, e.previous)
$$;

SELECT lives_ok($$ SELECT eventsource.append('golden-1', 'bare') $$, 'a bare event');
SELECT lives_ok($$ SELECT eventsource.append('golden-1', 'tÿpe', data, reason => 'raison d''être', actor => 'agent:名前', metadata => '{"correlation_id": "c"}',
		occurred_at => '1969-12-31 23:59:59.999999+00', idempotency_key => data::text, schema_version => 32767)
	FROM unnest(ARRAY['null', 'true', 'false', '""', '"text"', '"ключ \" \\ \n \u0001"', '0', '-0', '-0.00', '1e300', '1.50', '0.000000000000000000000000001',
		'123456789012345678901234567890.123456789', '[]', '[[]]', '[{}]', '{}', '{"a": {}}', '[1, [2, [3, [4]]], null, true]',
		'{"b": 1, "a": 2, "aa": 3, "B": 4, "é": 5, "z": {"": [{"k": "v"}]}}']::jsonb[]) AS data $$, 'JSON of every kind');
SELECT lives_ok($$ SELECT eventsource.append('golden-1', 'past', occurred_at => '4713-01-01 00:00:00+00 BC') $$, 'a time long ago');
SELECT lives_ok($$ SELECT eventsource.append('golden-1', 'future', occurred_at => '100000-12-31 23:59:59.999999+00') $$, 'a time far away');
SELECT lives_ok($$ SELECT eventsource.append('golden-2', 'large', jsonb_build_object('t', repeat('ü', 100000), 'l', to_jsonb(ARRAY(SELECT generate_series(1, 500))))) $$,
	'a large payload');
SELECT lives_ok($$ INSERT INTO eventsource.events (stream, type, data) SELECT 'golden-' || n % 5, 'x', to_jsonb(n) FROM generate_series(1, 350) AS n $$, 'an INSERT');
SELECT lives_ok($$ SELECT count(*) FROM eventsource.append_events('[{"stream": "golden-1", "type": "x"}, {"stream": "golden-new", "type": "x"},
	{"stream": "golden-1", "type": "x"}]') $$, 'a batch');
SELECT is_empty('SELECT pg_temp.wrong()', 'every event of the log has the documented hash');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'and verify_chain agrees');

-- No setting has a part in it.
CREATE FUNCTION pg_temp.under(settings text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE settings;
	PERFORM eventsource.append('golden-set', 'x', jsonb_build_object('time', now(), 'float', 0.1::float8 + 0.2::float8, 'interval', interval '1 day 2 hours'),
		occurred_at => '2020-02-03 04:05:06.789+00');
	RETURN NEXT is((SELECT count(*) FROM eventsource.verify_chain()), 0::bigint, 'verified under ' || settings);
END
$$;
SELECT pg_temp.under($$ SET LOCAL datestyle = 'SQL, DMY'; SET LOCAL timezone = 'Asia/Kathmandu' $$);
SELECT pg_temp.under($$ SET LOCAL extra_float_digits = -15; SET LOCAL bytea_output = 'escape' $$);
SELECT pg_temp.under($$ SET LOCAL intervalstyle = 'sql_standard'; SET LOCAL standard_conforming_strings = off $$);
SELECT pg_temp.under($$ SET LOCAL search_path = pg_temp, public; SET LOCAL row_security = off $$);
RESET datestyle;
RESET timezone;
RESET extra_float_digits;
RESET bytea_output;
RESET intervalstyle;
RESET standard_conforming_strings;
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'and under the defaults');
SELECT is_empty('SELECT pg_temp.wrong()', 'the documented hash again');
SELECT is(count(*), 4::bigint, 'four events under four settings') FROM eventsource.events WHERE stream = 'golden-set';

SELECT * FROM finish();
ROLLBACK;
