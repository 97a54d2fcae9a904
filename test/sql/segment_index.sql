\set ECHO none
-- A segment may have more indexes than its own two: each append keeps them all.
\i test/helpers.sql
BEGIN;
SELECT plan(7);

SELECT eventsource.append('indexed-1', 'before', '{"n": 1}') AS done \gset
SELECT table_name AS segment FROM eventsource.segments
 WHERE (SELECT max(position) FROM eventsource.events) + 10 BETWEEN lower_bound AND upper_bound - 1 \gset
SELECT eventsource.allow_maintenance('test') \g /dev/null
CREATE INDEX extra_column ON eventsource.:segment (type);
CREATE INDEX extra_expression ON eventsource.:segment ((data ->> 'n'));
CREATE INDEX extra_partial ON eventsource.:segment (stream) WHERE data ? 'wanted';
CREATE INDEX extra_include ON eventsource.:segment (version) INCLUDE (stream, data);
CREATE INDEX extra_gin ON eventsource.:segment USING gin (data);

SELECT eventsource.append('indexed-1', 'after', '{"n": 2, "wanted": true}') AS done \gset
SELECT count(*) AS done FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object(
	'stream', 'indexed-' || i % 3, 'type', 'after', 'data', jsonb_build_object('n', i, CASE WHEN i % 2 = 0 THEN 'wanted' ELSE 'other' END, 1)))
	FROM generate_series(3, 9) i)) \gset

-- How many rows a condition finds by an index, and by reading the table.
CREATE FUNCTION pg_temp.found(segment text, condition text, by_index boolean) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	result bigint;
BEGIN
	PERFORM set_config('enable_seqscan', (NOT by_index)::text, true), set_config('enable_indexscan', by_index::text, true),
		set_config('enable_bitmapscan', by_index::text, true), set_config('enable_indexonlyscan', by_index::text, true);
	EXECUTE format('SELECT count(*) FROM eventsource.%I WHERE %s', segment, condition) INTO result;
	RETURN result;
END
$$;
SELECT is(pg_temp.found(:'segment', c, true), pg_temp.found(:'segment', c, false), c)
  FROM (SELECT condition AS c FROM (VALUES
		(1, 'type = (SELECT max(id) FROM eventsource.word WHERE word = ''after'')'),
		(2, 'data ->> ''n'' = ''5'''),
		(3, 'data ? ''wanted'' AND stream > 0'),
		(4, 'version = 2'),
		(5, 'data @> ''{"n": 6}''')) v (place, condition) ORDER BY place) x;
SELECT is(pg_temp.found(:'segment', 'data ? ''wanted'' AND stream > 0 AND version > 0', true) >= 4, true, 'and there is something to find');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain('indexed-1') $$, 'the chain holds');

SELECT * FROM finish();
ROLLBACK;
