\set ECHO none
\set own_database upcast_failures
\i test/own_database.sql
-- Upcasters that fail on one event: who is to blame for it, and what followers do; what corrections store; parallel readers; roles that are gone.
SELECT plan(34);

-- It works while it is created, and fails by 0 from then on.
CREATE FUNCTION share(v int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT v';
CREATE TABLE seen (v int, data jsonb);
CREATE FUNCTION note(e eventsource.events) RETURNS void LANGUAGE sql AS 'INSERT INTO public.seen VALUES (e.version, e.data)';
SELECT count(*) AS n FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'part-1', 'type', 'set',
	'data', jsonb_build_object('v', v)) ORDER BY i) FROM unnest(ARRAY[1, 0, 2]) WITH ORDINALITY u (v, i))) \gset
SELECT eventsource.create_handler('noter', '{part}', 'note(eventsource.events)') AS n \gset
SELECT eventsource.create_subscription('takes', '{part}') AS n \gset
SELECT eventsource.create_subscription('filters', '{part}', $$ event.data ? 'share' $$) AS n \gset
SELECT is(eventsource.create_upcaster('set', 1, 2, $$ jsonb_build_object('share', public.share((event.data->>'v')::int)) $$), 1::bigint, 'a good one');
CREATE OR REPLACE FUNCTION share(v int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 100 / v';

SELECT pg_temp.same_rows('SELECT events, status, error FROM eventsource.run_projections()', $$ VALUES (1::bigint, 'parked'::text, 'division by zero'::text) $$, 'a handler is parked');
SELECT pg_temp.same_rows('SELECT v, data FROM seen', $$ VALUES (1, '{"share": 100}'::jsonb) $$, 'what came before is done');
SELECT is((SELECT failed_position FROM eventsource.handlers), (SELECT position FROM eventsource.events WHERE version = 2 AND stream = 'part-1'), 'at the event that fails');
SELECT is(eventsource.resume_handler('noter', skip => true), true, 'which is skipped');
SELECT pg_temp.same_rows('SELECT events, status FROM eventsource.run_projections()', $$ VALUES (1::bigint, 'current'::text) $$, 'and on it goes');
SELECT pg_temp.same_rows('SELECT v FROM seen ORDER BY v', $$ VALUES (1), (3) $$, 'with all others');

SELECT pg_temp.same_rows($$ SELECT data FROM eventsource.poll('takes', consumer => 'joe') $$, $$ VALUES ('{"share": 100}'::jsonb) $$, 'a subscription delivers what comes before');
SELECT eventsource.ack('takes', position, 'joe') AS n FROM eventsource.events WHERE version = 1 AND stream = 'part-1' \gset
SELECT throws_ok($$ SELECT * FROM eventsource.poll('takes', consumer => 'joe') $$, '22012', NULL, 'then tells why it cannot go on');
SELECT pg_temp.same_rows($$ SELECT version FROM eventsource.poll('filters', consumer => 'joe') $$, $$ VALUES (1::bigint) $$, 'so does one whose filter goes by upcast data');
SELECT lives_ok($$ SELECT eventsource.nack('filters', position, 'no', 'joe') FROM eventsource.events WHERE version = 1 AND stream = 'part-1' $$, 'what it delivered can be given back');

-- What the machine filled in is kept as stored: it is upcast when it is read.
SELECT eventsource.create_state_machine('bill', '{"initial": "NEW", "states": {"NEW": {"on": {"sent": {"target": "SENT", "fill": {"rate": "2"}}}}, "SENT": {"type": "final"}}}') AS n \gset
SELECT eventsource.create_category('bill', state_machine => 'bill') AS n \gset
SELECT position AS sent FROM eventsource.append('bill-1', 'sent', '{"amount": 1}') \gset
SELECT eventsource.create_upcaster('sent', 1, 2, $$ event.data || jsonb_build_object('rate', (event.data->>'rate')::int * 100) $$) AS n \gset
SELECT count(*) AS n FROM eventsource.correct_event(:sent, '{"amount": 5}', 'typo', 'joe') \gset
SELECT count(*) AS n FROM eventsource.correct_event(:sent, '{"amount": 6}', 'typo', 'joe') \gset
SELECT pg_temp.same_rows($$ SELECT data FROM eventsource.events WHERE type = 'event_corrected' ORDER BY version $$,
	$$ VALUES ('{"rate": 2, "amount": 5}'::jsonb), ('{"rate": 2, "amount": 6}') $$, 'corrections are not upcast twice');
CREATE TABLE bill (key text PRIMARY KEY, said jsonb);
SELECT eventsource.create_projection('bill', '{bill}', '{"sent": "said = event.data"}') AS n \gset
SELECT pg_temp.same_rows('SELECT said FROM bill', $$ VALUES ('{"rate": 200, "amount": 6}'::jsonb) $$, 'who reads them has them upcast once');

-- What the guards would have said to it cannot be told; what they say to its correction can.
SELECT eventsource.create_state_machine('item', '{"initial": "NEW", "states": {"NEW": {"on": {"set": {"guard": "(event.data->>''share'')::int < 60"}, "ended": "END"}}, "END": {"type": "final"}}}') AS n \gset
SELECT eventsource.create_category('item', state_machine => 'item') AS n \gset
CREATE OR REPLACE FUNCTION share(v int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT v';
SELECT count(*) AS n FROM eventsource.append('item-1', 'set', '{"v": 0}') \gset
CREATE OR REPLACE FUNCTION share(v int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 100 / v';
SELECT pg_temp.same_rows('SELECT stream_name, problem FROM eventsource.verify_transitions()', $$ VALUES ('item-1'::text, 'an upcaster fails: division by zero'::text) $$, 'verify_transitions goes on, too');
SELECT lives_ok($$ SELECT eventsource.correct_event(position, '{"v": 2}', 'typo', 'joe') FROM eventsource.events WHERE stream = 'item-1' AND version = 1 $$, 'corrected');
SELECT is_empty('SELECT * FROM eventsource.verify_transitions()', 'all is well');
SELECT pg_temp.same_rows($$ SELECT data_before, data_after FROM eventsource.corrections WHERE stream = 'item-1' $$, $$ VALUES ('{"v": 0}'::jsonb, '{"v": 2}'::jsonb) $$, 'corrections are listed, and nothing is upcast for it');

-- Who reads the view may do it with parallel workers, whatever the planner knows of upcasters.
CREATE FUNCTION serial(v jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN v; EXCEPTION WHEN others THEN RETURN NULL; END';
SELECT throws_like($$ SELECT eventsource.create_upcaster('noted', 1, 2, 'public.serial(event.data)') $$, '%is not valid', 'a function that is not parallel safe is refused');
ALTER FUNCTION serial(jsonb) PARALLEL SAFE;
SELECT lives_ok($$ SELECT eventsource.create_upcaster('noted', 1, 2, 'public.serial(event.data)') $$, 'its owner may say that it is');

-- An append that is repeated shows what was given.
SELECT pg_temp.same_rows($$ INSERT INTO eventsource.events (stream, type, data, schema_version, idempotency_key) VALUES ('part-2', 'set', '{"v": 5}', 1, 'k') RETURNING version, data, is_upcast $$, $$ VALUES (1::bigint, '{"share": 20}'::jsonb, true) $$, 'an append');
SELECT pg_temp.same_rows($$ INSERT INTO eventsource.events (stream, type, data, schema_version, idempotency_key) VALUES ('part-2', 'set', '{"v": 5}', 1, 'k') RETURNING version, data, is_upcast $$, $$ VALUES (1::bigint, '{"v": 5}'::jsonb, false) $$, 'again');

-- A role that defined a chain is gone: what calls no code of users goes on, and can be mended step by step.
CREATE TABLE kept (key text PRIMARY KEY, v int);
SELECT eventsource.create_projection('kept', '{kept}', '{"put": "v = (event.data->>''v'')::int"}') AS n \gset
SELECT count(*) AS n FROM eventsource.append('kept-1', 'put', '{"v": 1}', schema_version => 1) \gset
SELECT count(*) AS n FROM eventsource.append('kept-2', 'put', '{"v": 2}', schema_version => 2) \gset
CREATE ROLE upcast_gone;
SELECT eventsource.grant_admin('upcast_gone') AS n \gset
ALTER TABLE kept OWNER TO upcast_gone;
SET ROLE upcast_gone;
SELECT eventsource.create_upcaster('put', 1, 2, $$ jsonb_build_object('v', (event.data->>'v')::int + 10) $$) AS n \gset
SELECT eventsource.create_upcaster('put', 2, 3, $$ jsonb_build_object('v', (event.data->>'v')::int + 100) $$) AS n \gset
RESET ROLE;
REASSIGN OWNED BY upcast_gone TO CURRENT_USER;
DROP OWNED BY upcast_gone;
DROP ROLE upcast_gone;
SELECT pg_temp.same_rows($$ SELECT data->>'v' FROM eventsource.events WHERE type = 'put' ORDER BY position $$, $$ VALUES ('111'), ('102') $$, 'events are read');
SELECT is(eventsource.create_upcaster('put', 1, 2, $$ jsonb_build_object('v', (event.data->>'v')::int + 20) $$), 2::bigint, 'the first step is defined again');
SELECT is(eventsource.create_upcaster('put', 2, 3, $$ jsonb_build_object('v', (event.data->>'v')::int + 200) $$), 2::bigint, 'and the second');
SELECT pg_temp.same_rows('SELECT key, v FROM kept ORDER BY key', $$ VALUES ('1'::text, 221), ('2', 202) $$, 'the projection follows');
SELECT lives_ok($$ SELECT eventsource.drop_upcaster('put', 2) $$, 'dropped again');
SELECT pg_temp.same_rows('SELECT key, v FROM kept ORDER BY key', $$ VALUES ('1'::text, 21), ('2', 2) $$, 'down to what is stored');

-- Names that are mistyped.
SELECT eventsource.register_event_type('order_placed', 'shop', '{"type": "object"}') AS n \gset
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.verify_upcasters('order_plaed') $$, '42704', 'there is no event type "order_plaed"', 'a type that is not there');
SELECT matches(pg_temp.refusal($$ SELECT * FROM eventsource.verify_upcasters('order_plaed') $$), 'HINT: Registered are: "order_placed"', 'one that is spelled alike is named');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.verify_upcasters(category => 'shpo') $$, '42704', 'there is no category "shpo"', 'a category that is not there');
SELECT is_empty($$ SELECT * FROM eventsource.verify_upcasters('order_placed', 'shop') $$, 'both are there');
BEGIN;
SET client_min_messages = notice;
SELECT is(eventsource.create_upcaster('order_plaed', 1, 2, 'event.data', 'shpo'), 1::bigint, 'what may come to be is only asked about');
SET client_min_messages = warning;
ROLLBACK;

SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain is as it was');
SELECT is((SELECT count(*) FROM eventsource.upcasters), 4::bigint, 'all are there');
\i test/own_database_end.sql
