\set ECHO none
\i test/helpers.sql
-- read_stream(), read_category(), read_all(): in order, from, at most, backward, up to the watermark.
-- The last two return only what is committed by transactions that ended.
SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'read' || n % 2 || '-' || n % 3, 'type', 't' || n, 'data', n) ORDER BY n)
	FROM generate_series(1, 24) AS n)) \gset
SELECT eventsource.append('read2-1', 'full', '{"a": 1}', 'why', 'me', '{"m": 1}', occurred_at => '2001-01-01', idempotency_key => 'k', schema_version => 3) IS NULL AS done \gset
BEGIN;
SELECT plan(63);

-- read_stream: read1-1 has the events 1, 7, 13, 19.
SELECT pg_temp.same_rows($$ SELECT version, data FROM eventsource.read_stream('read1-1') $$,
	$$ VALUES (1, '1'::jsonb), (2, '7'), (3, '13'), (4, '19') $$, 'a stream in order');
SELECT pg_temp.same_rows(format('SELECT version FROM eventsource.read_stream(%s)', arguments),
	CASE wanted WHEN '{}' THEN 'SELECT 1 WHERE false' ELSE format('SELECT unnest(%L::bigint[])', wanted) END, 'read_stream(' || arguments || ')')
FROM (VALUES
	('''read1-1'', 2', '{2,3,4}'), ('''read1-1'', 4', '{4}'), ('''read1-1'', 5', '{}'),
	('''read1-1'', 0', '{1,2,3,4}'), ('''read1-1'', -9223372036854775808', '{1,2,3,4}'), ('''read1-1'', NULL', '{1,2,3,4}'),
	('''read1-1'', 9223372036854775807', '{}'),
	('''read1-1'', 1, 2', '{1,2}'), ('''read1-1'', 2, 2', '{2,3}'), ('''read1-1'', 1, 0', '{}'),
	('''read1-1'', 1, 9223372036854775807', '{1,2,3,4}'), ('''read1-1'', 1, NULL', '{1,2,3,4}'),
	('''read1-1'', backward => true', '{4,3,2,1}'), ('''read1-1'', NULL, backward => true', '{4,3,2,1}'),
	('''read1-1'', max_count => 2, backward => true', '{4,3}'), ('''read1-1'', max_count => 9, backward => true', '{4,3,2,1}'),
	('''read1-1'', 3, backward => true', '{4,3}'), ('''read1-1'', 2, 2, true', '{4,3}'), ('''read1-1'', 4, 2, true', '{4}'),
	('''read1-1'', NULL, 1, true', '{4}'), ('''read1-1'', 1, 0, true', '{}'), ('''read1-1'', 5, backward => true', '{}'),
	('''read1-1'', 0, backward => true', '{4,3,2,1}'), ('''read1-1'', -9223372036854775808, backward => true', '{4,3,2,1}'),
	('''read1-1'', 9223372036854775807, backward => true', '{}'),
	('''read1-1'', 1, NULL, NULL', '{1,2,3,4}'), ('''read1-nowhere''', '{}'), ('''readnowhere-1''', '{}'),
	('''read1-nowhere'', NULL, NULL, true', '{}')) AS v (arguments, wanted);
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.read_stream(NULL) $$, '22004', 'stream must not be null', 'no stream');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.read_stream('read1-1', 1, -1) $$, '22023', 'max_count must not be negative', 'read_stream of -1 events');
SELECT set_eq($$ SELECT r FROM eventsource.read_stream('read2-1') AS r $$,
	$$ SELECT e FROM eventsource.events e WHERE stream = 'read2-1' $$, 'all columns, as in the view');
SELECT is(pg_typeof(r)::text, 'eventsource.events', 'rows of the view''s type') FROM eventsource.read_stream('read2-1') AS r;

-- read_stream follows the statement's snapshot, read_category and read_all the watermark.
SELECT version FROM eventsource.append('read1-1', 'mine') \gset mine_
SELECT pg_temp.same_rows($$ SELECT version FROM eventsource.read_stream('read1-1', NULL, 1, true) $$, $$ VALUES (5) $$,
	'read_stream: one''s own events');
SELECT pg_temp.same_rows($$ SELECT (eventsource.append('read1-1', 'mine')).version, count(*) FROM eventsource.read_stream('read1-1') $$,
	$$ VALUES (6, 5) $$, 'but not those of the same statement');
SELECT pg_temp.same_rows($$ SELECT max(version) FROM eventsource.read_category('read1') WHERE stream = 'read1-1' $$, $$ VALUES (4) $$,
	'read_category: nothing of an open transaction, not even one''s own');
SELECT pg_temp.same_rows($$ SELECT max(version) FROM eventsource.read_all(0, NULL) WHERE stream = 'read1-1' $$, $$ VALUES (4) $$, 'nor read_all');
SELECT ok(eventsource.watermark() < (SELECT min(position) FROM eventsource.events WHERE type = 'mine'), 'they are above the watermark');
SELECT ok(eventsource.watermark() >= (SELECT max(position) FROM eventsource.events WHERE type <> 'mine' AND category ~ '^read[0-9]$'),
	'and all others at or below it');

-- read_category.
SELECT pg_temp.same_rows($$ SELECT data FROM eventsource.read_category('read1') $$,
	$$ SELECT to_jsonb(n) FROM generate_series(1, 23, 2) AS n $$, 'a category in order of position');
SELECT is_empty($$ SELECT FROM (SELECT position, lag(position) OVER () AS before FROM eventsource.read_category('read1')) AS s WHERE position <= before $$,
	'which grows');
SELECT pg_temp.same_rows($$ SELECT data FROM eventsource.read_category('read0', NULL, NULL) $$,
	$$ SELECT to_jsonb(n) FROM generate_series(2, 24, 2) AS n $$, 'NULL: from the start, all');
SELECT position FROM eventsource.events WHERE stream = 'read1-1' AND version = 2 \gset seventh_
SELECT pg_temp.same_rows(format($$ SELECT data FROM eventsource.read_category('read1', %s) $$, :seventh_position),
	$$ SELECT to_jsonb(n) FROM generate_series(9, 23, 2) AS n $$, 'after a position');
SELECT pg_temp.same_rows(format($$ SELECT data FROM eventsource.read_category('read1', %s, 3) $$, :seventh_position),
	$$ VALUES ('9'::jsonb), ('11'), ('13') $$, 'at most three');
SELECT pg_temp.same_rows(format($$ SELECT data FROM eventsource.read_category('read0', %s, 1) $$, :seventh_position),
	$$ VALUES ('8'::jsonb) $$, 'the position need not be of the category');
SELECT is_empty($$ SELECT FROM eventsource.read_category('read1', 0, 0) $$, 'none of none');
SELECT is_empty(format('SELECT FROM eventsource.read_category(%L)', category), 'nothing in ' || category)
FROM unnest(ARRAY['read', 'read1-1', 'READ1', '', 'read%', repeat('r', 2000)]) AS category;
SELECT is_empty($$ SELECT FROM eventsource.read_category('read1', 9223372036854775807) $$, 'nothing after the end');
SELECT pg_temp.same_rows($$ SELECT count(*) FROM eventsource.read_category('read1', -9223372036854775808) $$, $$ VALUES (12) $$,
	'everything after anything negative');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.read_category(NULL) $$, '22004', 'category must not be null', 'no category');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.read_category('read1', 0, -1) $$, '22023', 'max_count must not be negative', 'read_category of -1 events');

-- read_all.
SELECT pg_temp.same_rows(format('SELECT data FROM eventsource.read_all(%s, 4)', :seventh_position),
	$$ VALUES ('8'::jsonb), ('9'), ('10'), ('11') $$, 'the whole log after a position');
SELECT pg_temp.same_rows($$ SELECT count(*) <= 1000, count(DISTINCT position) = count(*) FROM eventsource.read_all() $$, $$ VALUES (true, true) $$,
	'a thousand by default');
SELECT is_empty($$ SELECT FROM eventsource.read_all(9223372036854775807) $$, 'nothing after the end');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.read_all(0, -1) $$, '22023', 'max_count must not be negative', 'read_all of -1 events');

-- Page by page nothing is lost and nothing comes twice.
CREATE FUNCTION pg_temp.pages(size bigint) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
	mark bigint := 0;
	page bigint[];
BEGIN
	LOOP
		SELECT array_agg(e.position) INTO page FROM eventsource.read_all(mark, size) AS e;
		EXIT WHEN page IS NULL;
		RETURN QUERY SELECT unnest(page);
		mark := page[cardinality(page)];
	END LOOP;
END
$$;
SELECT pg_temp.same_rows('SELECT pg_temp.pages(7)',
	format('SELECT position FROM eventsource.events WHERE position <= %s ORDER BY position', eventsource.watermark()), 'pages of seven make up the log');

-- In every isolation level, and where nothing may be written.
SELECT throws_ok($$ SET LOCAL transaction_read_only = on;
	SELECT 1 / (count(*) - 12) FROM eventsource.read_category('read1') $$, '22012', 'division by zero', 'a read-only transaction can read');

SELECT * FROM finish();
ROLLBACK;
