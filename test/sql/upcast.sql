\set ECHO none
\i test/helpers.sql
-- Upcasters: what events of older schema versions say, wherever they are read.
BEGIN;
SELECT no_plan();

SELECT eventsource.append('order-1', 'order_placed', '{"amount": 10}') \g /dev/null
SELECT eventsource.append('order-1', 'order_noted', '{"text": "a"}') \g /dev/null
SELECT eventsource.append('order-2', 'order_placed', '{"amount": 20}') \g /dev/null
SELECT position AS p1 FROM eventsource.events WHERE stream = 'order-1' AND version = 1 \gset

CREATE TABLE totals (key text PRIMARY KEY, cents bigint NOT NULL DEFAULT 0);
CREATE TABLE by_currency (currency text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('totals', '{order}',
	'{"order_placed": "cents = coalesce((event.data->>''cents'')::bigint, (event.data->>''amount'')::bigint)"}') \g /dev/null
SELECT eventsource.create_projection('by_currency', '{order}', '{"order_placed": "n = row.n + 1"}',
	key => '{"currency": "coalesce(event.data->>''currency'', ''?'')"}', mode => 'inline') \g /dev/null
SELECT results_eq('SELECT * FROM totals ORDER BY key', $$ VALUES ('1', 10::bigint), ('2', 20) $$, 'what is stored, to begin with');

-- Defining.
SELECT throws_ok($$ SELECT eventsource.create_upcaster('order_placed', 1, 3, 'event.data') $$, 'ZE011', NULL, 'one step at a time');
SELECT throws_ok($$ SELECT eventsource.create_upcaster('order_placed', 2, 1, 'event.data') $$, 'ZE011', NULL, 'forward');
SELECT throws_ok($$ SELECT eventsource.create_upcaster('order_placed', 1, 2, 'now()') $$, 'ZE011', NULL, 'deterministic');
SELECT throws_ok($$ SELECT eventsource.create_upcaster('order_placed', 1, 2, 'jsonb_build_object(''p'', event.position)') $$,
	'ZE011', NULL, 'and of what is known when the event is decided');
SELECT throws_ok($$ SELECT eventsource.create_upcaster('order_placed', 1, 2, 'NULL::jsonb') $$, 'ZE011', NULL, 'to an object');
SELECT throws_ok($$ SELECT eventsource.create_upcaster('order_placed', 1, 2, '''[]''::jsonb') $$, 'ZE011', NULL, 'no array');
SELECT is(eventsource.create_upcaster('order_placed', 1, 2,
	$$ jsonb_build_object('cents', (event.data->>'amount')::numeric * 100) $$), 1::bigint, 'the first step');
SELECT is(eventsource.create_upcaster('order_placed', 2, 3, $$ event.data || '{"currency": "EUR"}' $$), 1::bigint, 'the second');
SELECT is(eventsource.create_upcaster('order_placed', 2, 3, $$ event.data || '{"currency": "EUR"}' $$), 1::bigint, 'said again, it is the same');
SELECT throws_ok($$ SELECT eventsource.create_upcaster('order_placed', 4, 5, 'event.data') $$, 'ZE011', NULL, 'no gap');

-- Reading.
SELECT results_eq($$ SELECT version, data, schema_version, is_upcast FROM eventsource.events WHERE stream = 'order-1' ORDER BY version $$,
	$$ VALUES (1::bigint, '{"cents": 1000, "currency": "EUR"}'::jsonb, 1, true), (2, '{"text": "a"}', 1, false) $$, 'the view events');
SELECT results_eq($$ SELECT version, data, is_upcast FROM eventsource.read_stream('order-1') $$,
	$$ VALUES (1::bigint, '{"cents": 1000, "currency": "EUR"}'::jsonb, true), (2, '{"text": "a"}', false) $$, 'read_stream');
SELECT is((SELECT data FROM eventsource.event WHERE position = :p1), '{"amount": 10}'::jsonb, 'what is stored stays');
SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'and so does the chain');
SELECT results_eq('SELECT * FROM totals ORDER BY key', $$ VALUES ('1', 1000::bigint), ('2', 2000) $$, 'a projection is folded anew');
SELECT results_eq('SELECT * FROM by_currency', $$ VALUES ('EUR', 2::bigint) $$, 'one whose keys change, too');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('totals') $$, 'as a replay says');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('by_currency') $$, 'of both');

-- Appending.
SELECT eventsource.append('order-3', 'order_placed', '{"amount": 30}') \g /dev/null
SELECT eventsource.append('order-4', 'order_placed', '{"cents": 4000}', schema_version => 2) \g /dev/null
SELECT eventsource.append('order-5', 'order_placed', '{"cents": 5000, "currency": "USD"}', schema_version => 3) \g /dev/null
SELECT results_eq($$ SELECT * FROM totals ORDER BY key $$,
	$$ VALUES ('1', 1000::bigint), ('2', 2000), ('3', 3000), ('4', 4000), ('5', 5000) $$, 'projections see new events upcast');
SELECT results_eq('SELECT * FROM by_currency ORDER BY 1', $$ VALUES ('EUR', 4::bigint), ('USD', 1) $$, 'by the version that they have');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('totals') $$, 'so that a replay agrees');
SELECT results_eq($$ SELECT schema_version, is_upcast FROM eventsource.events WHERE category = 'order' AND type = 'order_placed' ORDER BY position $$,
	$$ VALUES (1, true), (1, true), (1, true), (2, true), (3, false) $$, 'is_upcast');

-- Corrections come first.
SELECT eventsource.correct_event(:p1, '{"amount": 11}', 'typo', 'joe') \g /dev/null
SELECT is((SELECT cents FROM totals WHERE key = '1'), 1100::bigint, 'corrected data is of the version of its event');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('totals') $$, 'as a replay says');
SELECT is((SELECT cents FROM eventsource.as_of(NULL::totals, now() + interval '1 hour') WHERE key = '1'), 1100::bigint, 'as_of');

-- The view upcasters.
SELECT results_eq('SELECT type, category, from_version, to_version, reaches_version, is_complete, version FROM eventsource.upcasters ORDER BY 1, 2, 3',
	$$ VALUES ('order_placed', NULL::text, 1, 2, 3, true, 1::bigint), ('order_placed', NULL, 2, 3, 3, true, 1) $$, 'the view upcasters');
SELECT is_empty('SELECT * FROM eventsource.verify_upcasters()', 'verify_upcasters');

-- What is registered later does not take events away from them.
SELECT throws_ok($$ SELECT eventsource.register_event_type('order_placed', 'order') $$, 'ZE011', NULL, 'a registration of one category alone');
SELECT is(eventsource.create_upcaster('parcel_sent', 1, 2, 'event.data', 'parcel'), 1::bigint, 'of one category');
SELECT throws_ok($$ SELECT eventsource.register_event_type('parcel_sent') $$, 'ZE011', NULL, 'or of all but it');
SELECT is(eventsource.register_event_type('parcel_sent', 'parcel'), 1, 'its own is welcome');
SELECT lives_ok($$ SELECT eventsource.drop_upcaster('parcel_sent', 1, 'parcel') $$, 'dropped');

-- Dropping.
SELECT throws_ok($$ SELECT eventsource.drop_upcaster('order_placed', 7) $$, '42704', NULL, 'what there is not');
SELECT lives_ok($$ SELECT eventsource.drop_upcaster('order_placed', 2) $$, 'the last of a chain is dropped');
SELECT results_eq('SELECT * FROM by_currency ORDER BY 1', $$ VALUES ('?', 4::bigint), ('USD', 1) $$, 'and rows are folded anew');
SELECT lives_ok($$ SELECT eventsource.drop_upcaster('order_placed', 1) $$, 'and the first');
SELECT is((SELECT data FROM eventsource.events WHERE position = :p1), '{"amount": 10}'::jsonb, 'then data is as stored');
SELECT results_eq('SELECT * FROM totals ORDER BY key', $$ VALUES ('1', 11::bigint), ('2', 20), ('3', 30), ('4', 4000), ('5', 5000) $$, 'in projections, too');
SELECT is_empty('SELECT * FROM eventsource.upcasters', 'none is left');

SELECT * FROM finish();
ROLLBACK;
