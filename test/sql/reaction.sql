\set ECHO none
\i test/helpers.sql
BEGIN;
SELECT no_plan();

-- The jobs of this file's reactions, as its tests look at them.
CREATE VIEW pg_temp.rct_jobs AS
SELECT j.* FROM eventsource.job j WHERE j.reaction LIKE 'rct%';

-- ---- enqueue ----

SELECT is(eventsource.create_reaction('rct_mail', 'rct', 'signed_up', action => '{"enqueue": "rct_mail"}'), 1::bigint, 'defined');
SELECT * FROM eventsource.append('rct-1', 'signed_up', '{"n": 1}') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT queue, state, payload, job_key, order_key, priority, max_attempts, reaction, reaction_version, step, stream, subject FROM pg_temp.rct_jobs $$,
	$$ VALUES ('rct_mail', 'available', '{"n": 1}'::jsonb, NULL::text, NULL::text, 0, NULL::int, 'rct_mail', 1::bigint, 1, 'rct-1', 'rct-1') $$, 'enqueued in the transaction of the event');
SELECT is((SELECT event_position FROM pg_temp.rct_jobs), (SELECT position FROM eventsource.events WHERE stream = 'rct-1'), 'with the position of its cause');
SELECT * FROM eventsource.append('rct-1', 'left') \g /dev/null
SELECT * FROM eventsource.append('rct_other-1', 'signed_up') \g /dev/null
SELECT is((SELECT count(*) FROM pg_temp.rct_jobs), 1::bigint, 'no other type, no other category');

SELECT is(eventsource.create_reaction('rct_mail', 'rct', 'signed_up', $$ (event.data->>'n')::int > 1 $$,
	'{"enqueue": "rct_mail", "payload": "jsonb_build_object(''to'', event.key, ''n'', event.data->''n'')", "order_key": "event.key", "priority": 5, "max_attempts": 7}',
	key => $$ event.data->>'n' $$), 2::bigint, 'defined anew');
SELECT * FROM eventsource.append('rct-2', 'signed_up', '{"n": 1}') \g /dev/null
SELECT is((SELECT count(*) FROM pg_temp.rct_jobs), 1::bigint, 'not where the condition does not hold');
SELECT * FROM eventsource.append('rct-2', 'signed_up', '{"n": 2}') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT payload, job_key, order_key, priority, max_attempts, reaction_version FROM pg_temp.rct_jobs WHERE stream = 'rct-2' $$,
	$$ VALUES ('{"to": "2", "n": 2}'::jsonb, 'reaction:rct_mail:2', '2', 5, 7, 2::bigint) $$, 'with what expressions say');
SELECT * FROM eventsource.append('rct-3', 'signed_up', '{"n": 2}') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT payload, stream FROM pg_temp.rct_jobs WHERE job_key = 'reaction:rct_mail:2' $$,
	$$ VALUES ('{"to": "3", "n": 2}'::jsonb, 'rct-3') $$, 'a later one with the same key replaces it');
SELECT eventsource.create_reaction('rct_mail', 'rct', 'signed_up', action => '{"enqueue": "rct_mail"}', key => $$ event.data->>'n' $$, settings => '{"on_conflict": "keep"}') \g /dev/null
SELECT * FROM eventsource.append('rct-4', 'signed_up', '{"n": 2}') \g /dev/null
SELECT is((SELECT stream FROM pg_temp.rct_jobs WHERE job_key = 'reaction:rct_mail:2'), 'rct-3', 'or is not enqueued, if it says so');

-- Every way in: batches, INSERT, COPY; each event once.
SELECT eventsource.create_reaction('rct_all', 'rctall', '*', action => '{"enqueue": "rct_all"}') \g /dev/null
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'rctall-' || i % 7, 'type', 'a', 'data', jsonb_build_object('i', i))) FROM generate_series(1, 5000) i)) \g /dev/null
SELECT is((SELECT count(DISTINCT event_position) FROM pg_temp.rct_jobs WHERE reaction = 'rct_all'), 5000::bigint, 'append_events');
INSERT INTO eventsource.events (stream, type, data) SELECT 'rctall-' || i % 7, 'b', jsonb_build_object('i', i) FROM generate_series(1, 5000) i;
SELECT is((SELECT count(DISTINCT event_position) FROM pg_temp.rct_jobs WHERE reaction = 'rct_all'), 10000::bigint, 'INSERT into the view');
COPY eventsource.events (stream, type) FROM PROGRAM 'for i in $(seq 3000); do printf "rctall-%s\\tc\\n" $((i % 5)); done';
SELECT is((SELECT count(DISTINCT event_position) FROM pg_temp.rct_jobs WHERE reaction = 'rct_all'), 13000::bigint, 'COPY into the view');
SELECT is((SELECT count(*) FROM pg_temp.rct_jobs WHERE reaction = 'rct_all'), 13000::bigint, 'each once');
SELECT is((SELECT count(*) FROM (SELECT event_position < lag(event_position) OVER (ORDER BY id) AS wrong FROM pg_temp.rct_jobs WHERE reaction = 'rct_all') x WHERE wrong), 0::bigint, 'in their order');

-- Not twice for an event that is told again.
SELECT * FROM eventsource.append('rctall-k', 'a', idempotency_key => 'k1') \g /dev/null
SELECT * FROM eventsource.append('rctall-k', 'a', idempotency_key => 'k1') \g /dev/null
SELECT is((SELECT count(*) FROM pg_temp.rct_jobs WHERE stream = 'rctall-k'), 1::bigint, 'an event told again does not react again');
-- Nor for one that is taken back.
SAVEPOINT s;
SELECT * FROM eventsource.append('rctall-s', 'a') \g /dev/null
ROLLBACK TO s;
SELECT is((SELECT count(*) FROM pg_temp.rct_jobs WHERE stream = 'rctall-s'), 0::bigint, 'nor does one that is rolled back');

SELECT * FROM finish();
ROLLBACK;
