\set ECHO none
\i test/helpers.sql
-- Rebuilds, definitions and verification in little memory, against plain SQL.
BEGIN;
SELECT plan(27);

SET LOCAL work_mem = '64kB';
SET LOCAL hash_mem_multiplier = 1;

-- Rows of streams, rows that streams share (two for an event), and rows that are deleted and come again.
CREATE TABLE entry (id text PRIMARY KEY, n int NOT NULL DEFAULT 0, trail text DEFAULT '', doc jsonb);
CREATE TABLE posting (account int PRIMARY KEY, n int NOT NULL DEFAULT 0, trail text DEFAULT '', seat int UNIQUE);
CREATE FUNCTION pg_temp.make(streams int, events int) RETURNS bigint AS $$
	SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'rebuildbig-' || s, 'type',
			CASE WHEN e % 5 = 3 AND s % 7 = 0 THEN 'closed' ELSE 'moved' END,
			'data', jsonb_build_object('from', s % 700, 'to', (s * 7 + e) % 700, 'seat', (s * 11 + e) % 700, 'text', repeat('x', s % 50))) ORDER BY e, s)
		FROM generate_series(1, streams) s, generate_series(1, events) e))
$$ LANGUAGE sql;
SELECT is(pg_temp.make(900, 3), 2700::bigint, 'events');

CREATE FUNCTION pg_temp.define(factor int) RETURNS void AS $$
	SELECT eventsource.create_projection('entry', '{rebuildbig}', jsonb_build_object(
		'moved', format($r$n = row.n + %s, trail = right(row.trail || '.' || event.version, 40), doc = event.data$r$, factor), 'closed', 'DELETE'));
	SELECT eventsource.create_projection('posting', '{rebuildbig}', jsonb_build_object(
		'*', format($r$n = row.n + %s, trail = right(row.trail || ',' || event.key || '/' || event.version, 60)$r$, factor)),
		key => '{"account": "item::int"}', each => $r$unnest(ARRAY[event.data->>'from', event.data->>'to'])$r$, mode => 'inline');
$$ LANGUAGE sql;

-- The same in SQL.
CREATE FUNCTION pg_temp.entries(factor int) RETURNS TABLE (id text, n int, trail text, doc jsonb) AS $$
	SELECT e.key, (count(*) * factor)::int, right(string_agg('.' || e.version, '' ORDER BY e.version), 40), (array_agg(e.data ORDER BY e.version DESC))[1]
	  FROM eventsource.events e
	 WHERE e.category = 'rebuildbig' AND e.type = 'moved'
	   AND e.version > coalesce((SELECT max(c.version) FROM eventsource.events c WHERE c.stream = e.stream AND c.type = 'closed'), 0)
	 GROUP BY e.key
$$ LANGUAGE sql;
CREATE FUNCTION pg_temp.postings(factor int) RETURNS TABLE (account int, n int, trail text) AS $$
	SELECT item::int, (count(*) * factor)::int, right(string_agg(',' || e.key || '/' || e.version, '' ORDER BY e.position), 60)
	  FROM eventsource.events e, unnest(ARRAY[e.data->>'from', e.data->>'to']) item
	 WHERE e.category = 'rebuildbig' GROUP BY item
$$ LANGUAGE sql;
CREATE FUNCTION pg_temp.unlike(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM (((%1$s) EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL (%1$s))) d', a, b) INTO n;
	RETURN n;
END
$$;
CREATE FUNCTION pg_temp.check_tables(factor int, why text) RETURNS SETOF text AS $$
	SELECT is(pg_temp.unlike('SELECT id, n, trail, doc FROM entry', format('SELECT * FROM pg_temp.entries(%s)', factor)), 0::bigint, why || ': rows of streams')
	UNION ALL
	SELECT is(pg_temp.unlike('SELECT account, n, trail FROM posting', format('SELECT * FROM pg_temp.postings(%s)', factor)), 0::bigint, why || ': shared rows')
$$ LANGUAGE sql;

SELECT pg_temp.define(1) AS done \gset
SELECT pg_temp.check_tables(1, 'a table that is new');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('entry') $$, 'verified');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('posting') $$, 'these too');

SELECT pg_temp.define(10) AS done \gset
SELECT pg_temp.check_tables(10, 'other rules');
SELECT is(pg_temp.make(500, 2), 1000::bigint, 'more events');
SELECT pg_temp.check_tables(10, 'are folded by them');

-- Rows changed past the guard: all, some, too many, too few.
ALTER TABLE entry DISABLE TRIGGER ALL;
ALTER TABLE posting DISABLE TRIGGER ALL;
UPDATE entry SET n = n + 1;
UPDATE posting SET trail = 'wrong' WHERE account % 3 = 0;
DELETE FROM posting WHERE account % 3 = 1;
INSERT INTO posting SELECT 100000 + i FROM generate_series(1, 2000) i;
SELECT is((SELECT count(*) FROM eventsource.verify_projection('entry')), (SELECT count(*) FROM entry), 'all rows differ');
SELECT is(pg_temp.unlike($$ SELECT (key->>'account')::int, expected IS NULL, found IS NULL FROM eventsource.verify_projection('posting') $$,
	$$ SELECT account, false, account % 3 = 1 FROM pg_temp.postings(1) WHERE account % 3 <> 2 UNION ALL SELECT 100000 + i, true, false FROM generate_series(1, 2000) i $$),
	0::bigint, 'some do');
SELECT is(pg_temp.unlike($$ SELECT (key->>'id'), event_position FROM eventsource.verify_projection('entry') $$,
	$$ SELECT key, max(position) FROM eventsource.events e JOIN entry t ON t.id = e.key WHERE category = 'rebuildbig' AND type = 'moved' GROUP BY key $$),
	0::bigint, 'since when');
SELECT is(eventsource.rebuild_projection('entry'), (SELECT count(*) FROM entry), 'all are rewritten');
SELECT is(eventsource.rebuild_projection('posting'), (SELECT 2000 + count(*) FROM pg_temp.postings(1) WHERE account % 3 <> 2), 'only those that differ');
SELECT pg_temp.check_tables(10, 'rebuilt');
SELECT is(eventsource.rebuild_projection('entry'), 0::bigint, 'nothing is left');
UPDATE entry SET n = -1 WHERE id = '12';
UPDATE posting SET n = -1 WHERE account = 12;
UPDATE posting SET n = -1 WHERE account = 13;
SELECT is(eventsource.rebuild_projection('entry', '{"id": 12}'), 1::bigint, 'one row of a stream');
SELECT is(eventsource.rebuild_projection('posting', '{"account": 12}'), 1::bigint, 'one that streams share');
SELECT is((SELECT count(*) FROM eventsource.verify_projection('posting')), 1::bigint, 'and no other');
SELECT is(eventsource.rebuild_projection('posting', '{"account": 13}'), 1::bigint, 'the other one');
SELECT is(eventsource.rebuild_projection('posting', '{"account": 777777}'), 0::bigint, 'one that is not there');
SELECT pg_temp.check_tables(10, 'and again');

-- Rows exchange unique values, in parts that are written one after the other.
SELECT eventsource.create_projection('posting', '{rebuildbig}', $r${"*": "n = row.n + 1, seat = 699 - row.account"}$r$::jsonb, key => $r${"account": "(event.data->>'from')::int"}$r$, mode => 'inline') AS version \gset
SELECT eventsource.create_projection('posting', '{rebuildbig}', $r${"*": "n = row.n + 1, seat = row.account"}$r$::jsonb, key => $r${"account": "(event.data->>'from')::int"}$r$, mode => 'inline') AS version \gset
SELECT is((SELECT count(*) FROM posting WHERE seat = account), 700::bigint, 'unique values are exchanged');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('posting') $$, 'as history has it');

SELECT * FROM finish();
ROLLBACK;
