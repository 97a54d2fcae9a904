\set ECHO none
\i test/helpers.sql
-- A category that is a small part of the log is read by another way than the rest: whatever became of its rows, each
-- comes once and in order.
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', CASE WHEN n % 40 = 0 THEN 'rare-' || n % 7 ELSE 'common-' || n % 90 END,
		'type', 't', 'data', jsonb_build_object('n', n)) ORDER BY n) FROM generate_series(1, 2000) AS n)) \gset
BEGIN;
SELECT plan(10);

CREATE FUNCTION pg_temp.rare() RETURNS SETOF int LANGUAGE sql AS $$
	SELECT (data->>'n')::int FROM eventsource.read_category('rare', 0, NULL) WITH ORDINALITY ORDER BY ordinality
$$;
CREATE TEMP TABLE scanned ON COMMIT DROP AS
SELECT s.lower_bound, s.upper_bound, ('eventsource.' || s.table_name || '_stream_idx')::regclass::oid AS index, 0::bigint AS before FROM eventsource.segments s;
UPDATE scanned SET before = coalesce(pg_stat_get_xact_numscans(index), 0);
SELECT results_eq('SELECT pg_temp.rare()', 'SELECT generate_series(40, 2000, 40)', 'all of it, in order');
SELECT is_empty($$ SELECT lower_bound FROM scanned WHERE pg_stat_get_xact_numscans(index) IS NOT DISTINCT FROM before
		AND EXISTS (SELECT FROM eventsource.events WHERE category = 'rare' AND position >= lower_bound AND position < upper_bound) $$,
	'each segment by its index of streams');
SELECT results_eq($$ SELECT (data->>'n')::int FROM eventsource.read_category('rare', 0, 20) WITH ORDINALITY ORDER BY ordinality $$,
	'SELECT generate_series(40, 800, 40)', 'so is a part of it');
SELECT is_empty($$ SELECT * FROM eventsource.read_category('rarest', 0, NULL) $$, 'a category that nobody has named');

-- The guards off: what a superuser could do.
SELECT eventsource.allow_maintenance('test') \g /dev/null
SELECT format('ALTER TABLE ONLY eventsource.%I DISABLE TRIGGER USER', name) FROM (
	SELECT table_name::text FROM eventsource.segments WHERE lower_bound <= (SELECT max(position) FROM eventsource.events)
	UNION ALL VALUES ('event'), ('word'), ('stream')) AS s (name) \gexec
CREATE TEMP TABLE rare_id ON COMMIT DROP AS SELECT id FROM eventsource.stream WHERE name LIKE 'rare-%';

UPDATE eventsource.event SET data = '{"n": 1}' WHERE stream IN (SELECT id FROM rare_id) AND data->>'n' IN ('400', '1200');
UPDATE eventsource.event SET data = jsonb_build_object('n', CASE ordinal WHEN 1 THEN 400 ELSE 1200 END)
  FROM (SELECT position AS place, row_number() OVER (ORDER BY position) AS ordinal FROM eventsource.event
		 WHERE stream IN (SELECT id FROM rare_id) AND data->>'n' = '1') AS changed WHERE position = place;
SELECT results_eq('SELECT pg_temp.rare()', 'SELECT generate_series(40, 2000, 40)', 'rows that were changed twice');

-- At the end of the heap, with an old position.
WITH taken AS (DELETE FROM eventsource.event WHERE stream IN (SELECT id FROM rare_id) AND data->>'n' IN ('80', '1600') RETURNING *)
INSERT INTO eventsource.event SELECT * FROM taken;
SELECT results_eq('SELECT pg_temp.rare()', 'SELECT generate_series(40, 2000, 40)', 'rows that lie out of order');

DELETE FROM eventsource.event WHERE stream IN (SELECT id FROM rare_id) AND data->>'n' = '120';
SELECT results_eq('SELECT pg_temp.rare()', 'SELECT n FROM generate_series(40, 2000, 40) n WHERE n <> 120', 'a row that is gone');

-- Two sessions that met the category at the same time gave its word two ids.
INSERT INTO eventsource.word SELECT nextval('eventsource.word_seq'), 'rare';
CREATE TEMP TABLE moved ON COMMIT DROP AS
SELECT id, (currval('eventsource.word_seq') << 40) | (id & ((1::bigint << 40) - 1)) AS new_id FROM rare_id ORDER BY id LIMIT 3;
UPDATE eventsource.stream s SET id = new_id FROM moved m WHERE s.id = m.id;
UPDATE eventsource.event e SET stream = new_id FROM moved m WHERE e.stream = m.id;
SELECT results_eq('SELECT pg_temp.rare()', 'SELECT n FROM generate_series(40, 2000, 40) n WHERE n <> 120', 'a category with two ids');
SELECT is(count(DISTINCT stream), 7::bigint, 'and all its streams by name') FROM eventsource.read_category('rare', 0, NULL);

SET LOCAL work_mem = 64;
SELECT results_eq('SELECT pg_temp.rare()', 'SELECT n FROM generate_series(40, 2000, 40) n WHERE n <> 120', 'with little memory');

SELECT * FROM finish();
ROLLBACK;
