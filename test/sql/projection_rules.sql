\set ECHO none
\i test/helpers.sql
-- Rules as objects: key, each, where, missing, '*'.
BEGIN;
SELECT plan(28);

-- each: an item per row.
CREATE TABLE line (order_id text, pos int, sku text, qty int, PRIMARY KEY (order_id, pos));
SELECT eventsource.create_projection('line', '{order}', $$ {
	"placed": {"each": "jsonb_array_elements(event.data->'lines')",
		"key": {"order_id": "event.key", "pos": "(item->>'pos')::int"}, "set": "sku = item->>'sku', qty = (item->>'qty')::int"},
	"changed": {"key": {"order_id": "event.key", "pos": "(event.data->>'pos')::int"}, "missing": "error", "set": "qty = (event.data->>'qty')::int"},
	"nudged": {"key": {"order_id": "event.key", "pos": "(event.data->>'pos')::int"}, "missing": "skip", "set": "qty = row.qty + 1"},
	"removed": {"key": {"order_id": "event.key", "pos": "(event.data->>'pos')::int"}, "where": "row.qty < 10", "set": "DELETE"}
} $$) AS version \gset
SELECT is(keyed_by, 'stream', 'rows with the stream''s key in theirs are the stream''s') FROM eventsource.projections WHERE target = 'line'::regclass;
SELECT is(count(eventsource.append('order-1', 'placed', '{"lines": [{"pos": 1, "sku": "a", "qty": 3}, {"pos": 2, "sku": "b", "qty": 40}]}')), 1::bigint, 'an order of two lines');
SELECT pg_temp.same_rows('SELECT * FROM line ORDER BY pos', $$ VALUES ('1', 1, 'a', 3), ('1', 2, 'b', 40) $$, 'makes two rows');
SELECT is(count(eventsource.append('order-2', 'placed', '{"lines": []}')), 1::bigint, 'one without lines');
SELECT is(count(*), 2::bigint, 'makes none') FROM line;
SELECT is(count(eventsource.append('order-1', 'placed', '{"lines": [{"pos": 3, "qty": 1}, {"pos": 3, "qty": 2}]}')), 1::bigint, 'the same key twice in one event');
SELECT is(qty, 2, 'is one row, the later item after the first') FROM line WHERE pos = 3;

-- missing.
SELECT is(count(eventsource.append('order-1', 'nudged', '{"pos": 9}')), 1::bigint, 'missing: skip');
SELECT is(count(*), 0::bigint, 'makes no row') FROM line WHERE pos = 9;
SELECT pg_temp.refuses($$ SELECT eventsource.append('order-1', 'changed', '{"pos": 9, "qty": 1}') $$, 'P0002',
	'projection public.line has no row for event "changed" of stream "order-1"', 'missing: error refuses the event');
SELECT is(count(eventsource.append('order-1', 'changed', '{"pos": 1, "qty": 7}')), 1::bigint, 'with the row');
SELECT is(qty, 7, 'it is changed') FROM line WHERE pos = 1;

-- where.
SELECT is(count(eventsource.append('order-1', 'removed', jsonb_build_object('pos', pos))), 3::bigint, 'where decides') FROM line;
SELECT is(array_agg(pos), ARRAY[2], 'which rows are deleted') FROM line;
SELECT is(count(eventsource.append('order-1', 'removed', '{"pos": 77}')), 1::bigint, 'a missing row to delete is no error');
SELECT pg_temp.refuses($$ SELECT eventsource.append('order-1', 'removed', '{}') $$, '23502', 'event "removed" gives projection public.line no key',
	'an event without a key is refused');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('line') $$, 'all of it replays');

-- '*' is for the types without a rule of their own; defaults of all rules are said once.
CREATE TABLE tally (category text, type text, n int DEFAULT 0, PRIMARY KEY (category, type));
SELECT eventsource.create_projection('tally', '{red,blue}', '{"*": "n = row.n + 1", "quiet": {"set": "n = row.n", "missing": "skip"}}',
	key => '{"category": "event.category", "type": "event.type"}', mode => 'inline') AS version \gset
SELECT is(keyed_by, 'data', 'rows that streams share') FROM eventsource.projections WHERE target = 'tally'::regclass;
SELECT count(eventsource.append(stream, type)) AS n FROM (VALUES ('red-1', 'a'), ('red-2', 'a'), ('blue-1', 'a'), ('blue-1', 'quiet'), ('green-1', 'a')) e (stream, type) \gset
SELECT pg_temp.same_rows('SELECT * FROM tally ORDER BY category', $$ VALUES ('blue', 'a', 1), ('red', 'a', 2) $$, 'are counted over all streams');

-- Keys of one category cannot stand for streams of two.
CREATE TABLE both_sides (id text PRIMARY KEY, n int DEFAULT 0);
SELECT is(eventsource.create_projection('both_sides', '{red,blue}', '{"*": "n = row.n + 1"}'), 1::bigint, 'defined');
SELECT is(mode || ', ' || keyed_by, 'async, data', 'red-1 and blue-1 have the same key, so rows are shared') FROM eventsource.projections WHERE target = 'both_sides'::regclass;
SELECT is(eventsource.create_projection('both_sides', '{red,blue}', '{"*": "n = row.n + 1"}', key => '{"id": "event.stream"}'), 2::bigint, 'their streams'' names differ');

-- each over pairs; one row per event, keyed by its position.
CREATE TABLE pair (id bigint, name text, value text, PRIMARY KEY (id, name));
SELECT eventsource.create_projection('pair', '{form}', '{"sent": "value = item.value"}',
	key => '{"id": "event.position", "name": "item.key"}', each => 'jsonb_each_text(event.data)') AS version \gset
SELECT is(keyed_by, 'event', 'a row keyed by the position is the event''s') FROM eventsource.projections WHERE target = 'pair'::regclass;
SELECT is(count(eventsource.append('form-' || i, 'sent', '{"a": "1", "b": null}')), 2::bigint, 'two forms') FROM generate_series(1, 2) i;
SELECT is(count(DISTINCT id) || ' ' || string_agg(name || coalesce(value, '-'), ',' ORDER BY id, name), '2 a1,b-,a1,b-', 'columns of a record are item.column') FROM pair;

CREATE TYPE point3 AS (x int, y int, z text);
CREATE TABLE spot (x int PRIMARY KEY, y int, z text);
SELECT eventsource.create_projection('spot', '{map}', '{"drawn": "y = item.y, z = item.z || event.type"}',
	key => '{"x": "item.x"}', each => 'jsonb_populate_recordset(NULL::public.point3, event.data)', mode => 'inline') AS version \gset
SELECT is(count(eventsource.append('map-1', 'drawn', '[{"x": 1, "y": 2, "z": "a"}, {"x": 2, "y": 3, "z": "b"}]')), 1::bigint, 'items of a composite type');
SELECT pg_temp.same_rows('SELECT * FROM spot ORDER BY x', $$ VALUES (1, 2, 'adrawn'), (2, 3, 'bdrawn') $$, 'have columns too');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('tally') UNION ALL SELECT * FROM eventsource.verify_projection('pair')
	UNION ALL SELECT * FROM eventsource.verify_projection('spot') $$, 'all of it replays');
SELECT * FROM finish();
ROLLBACK;
