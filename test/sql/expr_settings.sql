\set ECHO none
\i test/helpers.sql
-- A value is the same whatever the session that appends has set, and so at every replay.
BEGIN;
SELECT plan(18);

CREATE SCHEMA shop;
CREATE FUNCTION shop.shown(t timestamptz, i interval) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RETURN t::text || ' ' || i::text;
END
$$;
-- Sets what the evaluation has pinned, for itself.
CREATE FUNCTION shop.elsewhere(t timestamptz) RETURNS text IMMUTABLE LANGUAGE plpgsql SET timezone = 'Asia/Tokyo' AS $$
BEGIN
	RETURN t::text;
END
$$;
CREATE TABLE printed (id text PRIMARY KEY, value text);
SELECT eventsource.create_projection('printed', '{print}', jsonb_build_object('printed', $$value = concat_ws(' | ',
	(event.data->>'at')::timestamptz,
	(event.data->>'local')::timestamptz,
	(event.data->>'us')::date,
	to_char((event.data->>'at')::timestamptz, 'YYYY-MM-DD HH24:MI TZ'),
	to_char((event.data->>'at')::timestamptz, 'TMMonth'),
	(event.data->>'span')::interval,
	date_trunc('day', (event.data->>'at')::timestamptz),
	extract(hour FROM (event.data->>'at')::timestamptz),
	1.1::float8 / 3, '\x6162'::bytea,
	to_jsonb((event.data->>'at')::timestamptz),
	'{NULL,x}'::text[],
	quote_ident('plain'),
	'back\slash',
	to_char(1234.5, 'FM9G999D9'),
	(NULL = (event.data->>'none')) IS NULL)$$)) AS version \gset
CREATE TABLE printed_by_function (id text PRIMARY KEY, value text, again text);
SELECT eventsource.create_projection('printed_by_function', '{print}', jsonb_build_object('printed', $$
	value = shop.shown((event.data->>'at')::timestamptz, (event.data->>'span')::interval),
	again = shop.elsewhere((event.data->>'at')::timestamptz) || ' ' || (event.data->>'at')::timestamptz$$)) AS version \gset

CREATE FUNCTION pg_temp.print(key text) RETURNS void LANGUAGE sql AS $$
	SELECT eventsource.append('print-' || key, 'printed',
		'{"at": "2026-03-04 23:30:00.5+00", "local": "2026-03-04 10:00 EST", "us": "03/04/2026", "span": "1 year 2 mons 3 days 04:05:06"}')
$$;

SELECT pg_temp.print('plain') AS printed \gset
SELECT is(value, '2026-03-04 23:30:00.5+00 | 2026-03-04 15:00:00+00 | 2026-03-04 | 2026-03-04 23:30 UTC | March | 1 year 2 mons 3 days 04:05:06 | '
	'2026-03-04 00:00:00+00 | 23 | 0.3666666666666667 | \x6162 | "2026-03-04T23:30:00.5+00:00" | {NULL,x} | plain | back\slash | 1,234.5 | t',
	'values are printed and read under UTC, ISO, MDY')
FROM printed WHERE id = 'plain';
SELECT is(value || ' | ' || again, '2026-03-04 23:30:00.5+00 1 year 2 mons 3 days 04:05:06 | 2026-03-05 08:30:00.5+09 2026-03-04 23:30:00.5+00',
	'also inside a user''s function, and after one that has its own setting')
FROM printed_by_function WHERE id = 'plain';

CREATE FUNCTION pg_temp.same(setting text, other text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	kept boolean;
BEGIN
	PERFORM set_config(setting, other, true);
	PERFORM pg_temp.print(setting || other);
	kept := current_setting(setting) = other;
	PERFORM set_config(setting, current_setting('start.' || setting), true);
	RETURN is((SELECT count(DISTINCT p.value) || ' ' || count(DISTINCT (f.value, f.again))
			FROM printed p JOIN printed_by_function f USING (id) WHERE id IN ('plain', setting || other)) || ' ' || kept,
		'1 1 true', 'the same under ' || setting || ' = ' || other);
END
$$;
SELECT count(set_config('start.' || name, current_setting(name), true)) AS settings FROM pg_settings \gset

SELECT pg_temp.same('timezone', 'America/New_York');
SELECT pg_temp.same('datestyle', 'German, DMY');
SELECT pg_temp.same('datestyle', 'SQL, YMD');
SELECT pg_temp.same('intervalstyle', 'iso_8601');
SELECT pg_temp.same('extra_float_digits', '-5');
SELECT pg_temp.same('bytea_output', 'escape');
SELECT pg_temp.same('array_nulls', 'off');
SELECT pg_temp.same('quote_all_identifiers', 'on');
SELECT pg_temp.same('transform_null_equals', 'on');
SELECT pg_temp.same('standard_conforming_strings', 'off');
SELECT pg_temp.same('timezone_abbreviations', 'Australia');
SELECT pg_temp.same('search_path', 'pg_temp');

SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('printed') $$, 'a replay gives the same');
SET LOCAL timezone = 'Asia/Kolkata';
SET LOCAL datestyle = 'Postgres, DMY';
SET LOCAL intervalstyle = 'sql_standard';
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('printed') $$, 'also one under other settings');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('printed_by_function') $$, 'also through functions');

-- An event that says "now" would mean another moment at every replay.
CREATE TABLE dated (id text PRIMARY KEY, at timestamptz, day date);
SELECT eventsource.create_projection('dated', '{date}', jsonb_build_object('dated',
	$$at = (event.data->>'at')::timestamptz, day = (event.data->>'day')::date$$)) AS version \gset
SELECT pg_temp.refuses($$ SELECT eventsource.append('date-1', 'dated', '{"at": " NOW"}') $$,
	'22007', '" NOW" is not a date or time of its own', 'a date that is read off the clock is refused');
SELECT * FROM finish();
ROLLBACK;
