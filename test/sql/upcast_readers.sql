\set ECHO none
\i test/helpers.sql
-- Upcasters: whoever reads an event, and whoever decides one, sees the same data.
BEGIN;
SELECT no_plan();

SELECT eventsource.register_event_type('paid', 'invoice', '{"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}, "additionalProperties": false}') \g /dev/null
SELECT eventsource.create_state_machine('invoice', '{"initial": "OPEN",
	"states": {"OPEN": {"on": {"paid": {"target": "PAID", "guard": "(event.data->>''cents'')::bigint > 0"}}}, "PAID": {"on": {"paid": {"target": "PAID", "guard": "(event.data->>''cents'')::bigint > row.cents"}, "closed": "DONE"}}, "DONE": {"type": "final"}}}') \g /dev/null
SELECT eventsource.append('invoice-1', 'paid', '{"amount": 1.5}', occurred_at => '2020-01-01 12:00+00') \g /dev/null
SELECT eventsource.append('invoice-2', 'paid', '{"amount": 2}') \g /dev/null
SELECT eventsource.append('other-1', 'paid', '{"amount": 3}') \g /dev/null
SELECT position AS p1 FROM eventsource.events WHERE stream = 'invoice-1' \gset

-- Beside the registration.
SELECT throws_ok($$ SELECT eventsource.create_upcaster('paid', 1, 2, 'event.data', 'invoice') $$, 'ZE011', NULL, 'a version that is not registered');
SELECT is(eventsource.register_event_type('paid', 'invoice', '{"type": "object", "required": ["cents"], "properties": {"cents": {"type": "integer"}}, "additionalProperties": false}', compatibility => 'none'),
	2, 'the next version');
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_upcaster('paid', 1, 2, 'jsonb_build_object(''cents'', event.data->>''amount'')', 'invoice') $$),
	format(E'ZE011: upcaster of event type "paid" from version 1 is not valid\nDETAIL: event at position %s: does not match version 2; /cents: must be an integer, not a string (type)\nevent at position %s: does not match version 2; /cents: must be an integer, not a string (type)\nHINT: Nothing was changed. Correct what is listed and define it again.', :p1, :p1 + 1),
	'it is tried on the events there are');
SELECT is(pg_temp.refusal($$ SELECT eventsource.create_upcaster('paid', 1, 2, 'jsonb_build_object(''cents'', 1 / ((event.data->>''amount'')::numeric - 2) - 0.5)', 'invoice') $$),
	format(E'ZE011: upcaster of event type "paid" from version 1 is not valid\nDETAIL: event at position %s: does not match version 2; /cents: must be an integer, not a number (type)\nevent at position %s: division by zero\nHINT: Nothing was changed. Correct what is listed and define it again.', :p1, :p1 + 1),
	'an error is one line among others');
SELECT is((SELECT data FROM eventsource.events WHERE position = :p1), '{"amount": 1.5}'::jsonb, 'a refused one changes nothing');

PREPARE look AS SELECT data, is_upcast FROM eventsource.events WHERE position = $1;
SET LOCAL plan_cache_mode = force_generic_plan;
CREATE TEMP TABLE plan (line text);
DO $$ DECLARE r text; BEGIN FOR r IN EXPLAIN (COSTS OFF, VERBOSE) SELECT data, is_upcast FROM eventsource.events LOOP INSERT INTO plan VALUES (r); END LOOP; END $$;
SELECT is_empty($$ SELECT * FROM plan WHERE line LIKE '%upcast%(%' $$, 'without upcasters the planner leaves the question out');
SELECT results_eq(format('EXECUTE look(%s)', :p1), $$ VALUES ('{"amount": 1.5}'::jsonb, false) $$, 'a prepared statement, before');
SAVEPOINT a;
SELECT lives_ok($$ SELECT eventsource.create_upcaster('paid', 1, 2, 'jsonb_build_object(''cents'', ((event.data->>''amount'')::numeric * 100)::bigint)', 'invoice') $$, 'a good one');
ROLLBACK TO a;
SELECT results_eq(format('EXECUTE look(%s)', :p1), $$ VALUES ('{"amount": 1.5}'::jsonb, false) $$, 'rolled back');
SELECT is((SELECT data FROM eventsource.read_stream('invoice-1')), '{"amount": 1.5}'::jsonb, 'for every reader');
SELECT lives_ok($$ SELECT eventsource.create_upcaster('paid', 1, 2, 'jsonb_build_object(''cents'', ((event.data->>''amount'')::numeric * 100)::bigint)', 'invoice') $$, 'again');
SELECT results_eq(format('EXECUTE look(%s)', :p1), $$ VALUES ('{"cents": 150}'::jsonb, true) $$, 'a prepared statement, after');
SELECT is((SELECT data FROM eventsource.events WHERE stream = 'other-1'), '{"amount": 3}'::jsonb, 'other categories are left alone');

-- Deciding.
CREATE TABLE paid (key text PRIMARY KEY, cents bigint NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('paid', '{invoice}', '{"paid": "cents = (event.data->>''cents'')::bigint"}') \g /dev/null
SELECT eventsource.create_category('invoice', state_machine => 'invoice', context => 'paid', subject => $$ 'cents-' || (event.data->>'cents') $$) \g /dev/null
SELECT throws_ok($$ SELECT eventsource.append('invoice-3', 'paid', '{"amount": 0}', schema_version => 1) $$, 'ZE005', NULL, 'guards see upcast data');
SELECT is((SELECT a.state FROM eventsource.append('invoice-3', 'paid', '{"amount": 5}', schema_version => 1) a), 'PAID', 'and hold by it');
SELECT is((SELECT subject FROM eventsource.events WHERE stream = 'invoice-3'), 'cents-500', 'subjects follow from it');
SELECT throws_ok($$ SELECT eventsource.append('invoice-3', 'paid', '{"amount": 4}', schema_version => 1) $$, 'ZE005', NULL, 'so does the context row');
SELECT throws_ok($$ SELECT eventsource.append('invoice-3', 'paid', '{"amount": "6"}', schema_version => 1) $$, 'ZE007', NULL, 'what is stored is judged by its own version');
SELECT is((SELECT allowed FROM eventsource.can_append('invoice-3', 'paid', '{"cents": 600}')), true, 'can_append');
SELECT results_eq($$ INSERT INTO eventsource.events (stream, type, data, schema_version) VALUES ('invoice-3', 'paid', '{"amount": 6}', 1) RETURNING data, is_upcast $$,
	$$ VALUES ('{"cents": 600}'::jsonb, true) $$, 'RETURNING shows what a SELECT will');
SELECT throws_ok($$ INSERT INTO eventsource.events (stream, type, data, is_upcast) VALUES ('invoice-3', 'paid', '{"cents": 700}', true) $$, 'ZE001', NULL, 'is_upcast is not written');
SELECT is((SELECT cents FROM paid WHERE key = '3'), 600::bigint, 'inline projections');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('paid') $$, 'as a replay');
SELECT is_empty($$ SELECT * FROM eventsource.verify_transitions() $$, 'verify_transitions');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'verify_chain');
SELECT is_empty($$ SELECT * FROM eventsource.verify_upcasters() $$, 'verify_upcasters');

-- Correcting.
SELECT position AS p3 FROM eventsource.events WHERE stream = 'invoice-3' AND version = 1 \gset
SELECT throws_ok(format($$ SELECT eventsource.correct_event(%s, '{"cents": 510}', 'typo', 'joe') $$, :p3), 'ZE005', NULL, 'a correction has the version of its event');
SELECT lives_ok(format($$ SELECT eventsource.correct_event(%s, '{"amount": 5.1}', 'typo', 'joe') $$, :p3), 'and is stored as it is');
SELECT is((SELECT data FROM eventsource.events WHERE type = 'event_corrected'), '{"amount": 5.1}'::jsonb, 'under its own type');
SELECT throws_ok(format($$ SELECT eventsource.correct_event(%s, '{"amount": 7}', 'typo', 'joe') $$, :p3), 'ZE005', NULL, 'what follows is decided by what it says upcast');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('paid') $$, 'the projection agrees');

-- Reading.
SELECT is((SELECT cents FROM eventsource.as_of(NULL::paid, '2020-01-02', basis => 'occurred')), 150::bigint, 'as_of');
SELECT results_eq($$ SELECT row_data->>'cents' FROM eventsource.row_history('paid', '3') ORDER BY version $$, $$ VALUES ('510'), ('600') $$, 'row_history');
SELECT is((SELECT row_data->>'cents' FROM eventsource.replay('invoice-3', target => 'paid')), '600', 'replay');
SELECT is_empty($$ SELECT * FROM eventsource.compare_projection('paid', '{"paid": "cents = (event.data->>''cents'')::bigint"}') $$, 'compare_projection: the same rules, no difference');
SELECT results_eq($$ SELECT stream, sqlstate FROM eventsource.compare_machine('invoice', '{"initial": "OPEN", "states": {"OPEN": {"on": {"paid": {"target": "PAID", "guard": "(event.data->>''cents'')::bigint > 150"}}}, "PAID": {"on": {"paid": {}, "closed": "DONE"}}, "DONE": {"type": "final"}}}') $$,
	$$ VALUES ('invoice-1'::text, 'ZE005'::text) $$, 'compare_machine');
SELECT is((SELECT data FROM eventsource.timeline('invoice-1')), '{"cents": 150}'::jsonb, 'timeline');

SELECT * FROM finish();
ROLLBACK;
