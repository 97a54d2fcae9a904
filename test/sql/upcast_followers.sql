\set ECHO none
\set own_database upcast_followers
\i test/own_database.sql
-- Upcasters, and who follows the log: async projections, handlers, subscriptions; snapshots; parallel plans; rights.
SELECT plan(30);

CREATE TABLE late (key text PRIMARY KEY, v int);
CREATE TABLE sums (key text PRIMARY KEY, total bigint NOT NULL DEFAULT 0);
CREATE TABLE seen (data jsonb, is_upcast boolean);
CREATE FUNCTION note(e eventsource.events) RETURNS void LANGUAGE sql AS 'INSERT INTO public.seen VALUES (e.data, e.is_upcast)';
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'up-' || i % 10, 'type', 'set',
	'data', jsonb_build_object('v', i)) ORDER BY i) FROM generate_series(1, 400) i)) \gset
SELECT eventsource.create_projection('late', '{up}', '{"set": "v = (event.data->>''v'')::int"}', mode => 'async') AS n \gset
SELECT eventsource.create_projection('sums', '{up}', '{"set": "total = row.total + (event.data->>''v'')::int"}') AS n \gset
SELECT eventsource.set_snapshot_policy('up', 5) AS n \gset
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'up-' || i % 10, 'type', 'set',
	'data', jsonb_build_object('v', i)) ORDER BY i) FROM generate_series(401, 500) i)) \gset
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT isnt_empty($$ SELECT * FROM eventsource.snapshot WHERE target = 'public.sums' $$, 'there are snapshots');

SELECT is(eventsource.create_upcaster('set', 1, 2, $$ jsonb_build_object('v', (event.data->>'v')::int + 1000) $$), 1::bigint, 'an upcaster');
SELECT is(v, 1500, 'an async projection is folded anew at once') FROM late WHERE key = '0';
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('late') $$, 'as a replay');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('sums') $$, 'an inline one, too');
SELECT is(row_data->>'total', (SELECT total::text FROM sums WHERE key = '3'), 'replay does not start from snapshots of before') FROM eventsource.replay('up-3', target => 'sums');
SELECT is(a.total, s.total, 'nor as_of') FROM eventsource.as_of(NULL::sums, now() + interval '1 hour', key => '3') a, sums s WHERE s.key = '3';

SELECT count(*) AS n FROM eventsource.append('up-0', 'set', '{"v": 7}') \gset
SELECT count(*) AS n FROM eventsource.append('up-1', 'set', '{"v": 8}', schema_version => 2) \gset
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT pg_temp.same_rows($$ SELECT key, v FROM late WHERE key < '2' ORDER BY key $$, $$ VALUES ('0'::text, 1007), ('1', 8) $$, 'and goes on');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('late') $$, 'as a replay');

SELECT eventsource.create_handler('noter', '{up}', 'note(eventsource.events)', $$ (event.data->>'v')::int = 1007 OR (event.data->>'v')::int = 8 $$) AS n \gset
SELECT count(*) AS n FROM eventsource.run_projections() \gset
SELECT is((SELECT count(*) FROM seen WHERE is_upcast), 2::bigint, 'a handler and its filter see upcast data');
SELECT is((SELECT count(*) FROM seen WHERE NOT is_upcast), 1::bigint, 'and data of the latest version as it is');

SELECT eventsource.create_subscription('subup', '{up}', $$ (event.data->>'v')::int IN (1001, 1500) $$, from_position => 0) AS n \gset
CREATE TABLE polled AS SELECT data, is_upcast, schema_version FROM eventsource.poll('subup');
SELECT pg_temp.same_rows('SELECT data->>''v'', is_upcast, schema_version FROM polled ORDER BY 1', $$ VALUES ('1001'::text, true, 1), ('1500', true, 1) $$, 'a subscription and its filter');
SELECT is((SELECT count(*) FROM eventsource.read_all(0, 10000) WHERE is_upcast), 501::bigint, 'read_all');

-- Of a type alone, where the planner shares the work out.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT set_config(name, 'on', false) AS parallel FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset
SELECT is((SELECT sum((data->>'v')::int) FROM eventsource.events WHERE type = 'set'), (SELECT sum(n) + 501 * 1000 + 7 + 8 FROM generate_series(1, 500) n)::bigint, 'parallel workers');
RESET ALL;

-- What a newer version of it says counts for all.
SELECT is(eventsource.create_upcaster('set', 1, 2, $$ jsonb_build_object('v', (event.data->>'v')::int + 2000) $$), 2::bigint, 'defined anew');
SELECT is(v, 2007, 'projections follow') FROM late WHERE key = '0';
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('sums') $$, 'all of them');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'the chain stays');

-- What could not be read is not appended; what is there, and no sample found, is told of.
SELECT throws_ok($$ SELECT eventsource.append('odd-1', 'set', '{"v": "x"}') $$, '22P02', NULL, 'data that its upcaster cannot do with');
SELECT eventsource.drop_upcaster('set', 1) IS NULL AS n \gset
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'odd-1', 'type', 'set',
	'data', jsonb_build_object('v', CASE i WHEN 2 THEN 'x' ELSE i::text END)) ORDER BY i) FROM generate_series(1, 2000) i)) \gset
SELECT is(eventsource.create_upcaster('set', 1, 2, $$ jsonb_build_object('v', (event.data->>'v')::int + 2000) $$), 4::bigint, 'a sample has not all events');
SELECT pg_temp.same_rows('SELECT event_type, from_version, problem FROM eventsource.verify_upcasters()',
	$$ VALUES ('set'::text, 1, 'invalid input syntax for type integer: "x"'::text) $$, 'verify_upcasters has');
SELECT throws_ok('SELECT data FROM eventsource.read_stream(''odd-1'')', '22P02', NULL, 'who reads the event is told');
SELECT is((SELECT a.version FROM eventsource.append('odd-1', 'note') a), 2001::bigint, 'who appends to its stream is not hindered');
SELECT is(eventsource.stored_data((SELECT position FROM eventsource.events WHERE stream = 'odd-1' AND version = 2)), '{"v": "x"}'::jsonb, 'what is stored can be read');
SELECT is((SELECT a.version FROM eventsource.correct_event((SELECT position FROM eventsource.events WHERE stream = 'odd-1' AND version = 2), '{"v": "2"}', 'typo', 'joe') a), 2002::bigint, 'and corrected');
SELECT is_empty('SELECT * FROM eventsource.verify_upcasters()', 'then all is well for who reads it as corrected');

-- Rights.
CREATE ROLE upcast_reader;
SELECT eventsource.grant_reader('upcast_reader') AS n \gset
SET ROLE upcast_reader;
SELECT is((SELECT data->>'v' FROM eventsource.events WHERE stream = 'up-0' ORDER BY version DESC LIMIT 1), '2007', 'a reader reads upcast data');
SELECT is((SELECT count(*) FROM eventsource.upcasters), 1::bigint, 'and the upcasters');
SELECT throws_ok($$ SELECT eventsource.create_upcaster('set', 2, 3, 'event.data') $$, '42501', NULL, 'but defines none');
SELECT throws_ok($$ SELECT eventsource.drop_upcaster('set', 1) $$, '42501', NULL, 'and drops none');
RESET ROLE;
DROP OWNED BY upcast_reader;
DROP ROLE upcast_reader;
\i test/own_database_end.sql
