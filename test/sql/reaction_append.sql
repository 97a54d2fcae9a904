\set ECHO none
\i test/helpers.sql
BEGIN;
SELECT no_plan();

-- ---- append ----

SELECT eventsource.create_reaction('rca_note', 'rca', 'sold', action => $$
	{"append": "to_ship", "stream": "'rcaship-' || event.key", "data": "jsonb_build_object('n', event.data->'n', 'pos', event.position)"} $$) AS version \gset
SELECT position AS cause FROM eventsource.append('rca-1', 'sold', '{"n": 3}', metadata => '{"correlation_id": "c7", "mine": 1}') \gset
SELECT pg_temp.same_rows($$ SELECT version, type, data - 'pos', actor, recorded_by, reason FROM eventsource.events WHERE stream = 'rcaship-1' $$,
	$$ VALUES (1::bigint, 'to_ship', '{"n": 3}'::jsonb, 'reaction:rca_note', session_user::text, NULL::text) $$, 'appended, and said by whom');
SELECT is(metadata, jsonb_build_object('causation_id', :'cause', 'correlation_id', 'c7', 'reactions', '["rca_note"]'::jsonb), 'with cause and correlation') FROM eventsource.events WHERE stream = 'rcaship-1';
SELECT is(data->>'pos', :'cause', 'the position is known to expressions') FROM eventsource.events WHERE stream = 'rcaship-1';
SELECT is(idempotency_key, 'reaction:rca_note:' || :'cause' || '.1', 'with a key of its own') FROM eventsource.events WHERE stream = 'rcaship-1';
SELECT is((SELECT effect_stream FROM eventsource.causations WHERE cause_position = :cause), 'rcaship-1', 'causations shows it');

-- What the session says by its settings is not said of what follows.
SET LOCAL eventsource.actor = 'me';
SET LOCAL eventsource.reason = 'why';
SET LOCAL eventsource.correlation_id = 'c8';
SET LOCAL eventsource.causation_id = '5';
SELECT * FROM eventsource.append('rca-2', 'sold', '{"n": 4}') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT actor, reason, metadata->>'correlation_id', metadata->>'causation_id' = (SELECT position::text FROM eventsource.events WHERE stream = 'rca-2') FROM eventsource.events WHERE stream = 'rcaship-2' $$,
	$$ VALUES ('reaction:rca_note', NULL::text, 'c8', true) $$, 'settings are of the first event alone');
RESET eventsource.actor; RESET eventsource.reason; RESET eventsource.correlation_id; RESET eventsource.causation_id;

-- Into a stream that the batch goes on with.
SELECT eventsource.create_reaction('rca_echo', 'rcb', 'ping', action => '{"append": "pong", "stream": "event.stream"}') AS version \gset
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'rcb-' || i % 3, 'type', 'ping')) FROM generate_series(1, 4500) i)) \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'rcb'), 9000::bigint, 'in streams that the batch goes on with');
SELECT is((SELECT count(DISTINCT metadata->>'causation_id') FROM eventsource.events WHERE category = 'rcb' AND type = 'pong'), 4500::bigint, 'one for each');
INSERT INTO eventsource.events (stream, type) SELECT 'rcb-' || i % 3, 'ping' FROM generate_series(1, 4500) i;
SELECT is((SELECT count(*) FROM eventsource.events WHERE category = 'rcb'), 18000::bigint, 'in the streams of an INSERT');
SELECT is((SELECT max(version) FROM eventsource.events WHERE stream = 'rcb-1'), 6000::bigint, 'versions without gaps');

-- In its order: what follows comes after all of a batch, and chains go on.
SELECT eventsource.create_reaction('rca_1', 'rcc', 'a', action => '{"append": "b", "stream": "event.stream"}') AS v1,
	eventsource.create_reaction('rca_2', 'rcc', 'b', action => '{"append": "c", "stream": "event.stream"}') AS v2,
	eventsource.create_reaction('rca_3', 'rcc', 'c', action => '{"enqueue": "rca_q"}') AS v3 \gset
SELECT * FROM eventsource.append('rcc-1', 'a') \g /dev/null
SELECT is((SELECT string_agg(type, ',' ORDER BY version) FROM eventsource.events WHERE stream = 'rcc-1'), 'a,b,c', 'a chain');
SELECT is((SELECT metadata->'reactions' FROM eventsource.events WHERE stream = 'rcc-1' AND type = 'c'), '["rca_1", "rca_2"]'::jsonb, 'which says how it came about');
SELECT is((SELECT event_position FROM eventsource.job WHERE reaction = 'rca_3'), (SELECT position FROM eventsource.events WHERE stream = 'rcc-1' AND type = 'c'), 'and enqueues at its end');

-- ---- state and row ----

CREATE TABLE rca_acc (key text PRIMARY KEY, balance int NOT NULL DEFAULT 0, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('rca_acc', '{rcd}', jsonb_build_object('*', $$ balance = row.balance + (event.data->>'x')::int, n = row.n + 1 $$)) AS version \gset
SELECT eventsource.create_state_machine('rca_m', '{"initial": "OPEN", "states": {"OPEN": {"on": {"moved": {}, "over": "CLOSED"}}, "CLOSED": {"type": "final"}}}') AS version \gset
SELECT eventsource.create_category('rcd', 'rca_m', 'rca_acc') AS version \gset
SELECT eventsource.create_reaction('rca_row', 'rcd', '*', $$ coalesce(row.balance, 0) < 10 $$,
	$$ {"enqueue": "rca_q", "payload": "jsonb_build_object('before', row.balance, 'state', state, 'now', row.balance + (event.data->>'x')::int)"} $$) AS version \gset
SELECT count(*) FROM eventsource.append_events('[{"stream": "rcd-1", "type": "moved", "data": {"x": 4}}, {"stream": "rcd-1", "type": "moved", "data": {"x": 7}}, {"stream": "rcd-1", "type": "over", "data": {"x": 1}}]') \g /dev/null
SELECT pg_temp.same_rows($$ SELECT payload FROM eventsource.job WHERE reaction = 'rca_row' ORDER BY id $$,
	$$ VALUES ('{"before": null, "state": "OPEN", "now": null}'::jsonb), ('{"before": 4, "state": "OPEN", "now": 11}') $$, 'row is the one before the event, also within a batch; state the one after it');
SELECT * FROM eventsource.append('rcd-2', 'over', '{"x": 1}') \g /dev/null
SELECT is((SELECT payload->>'state' FROM eventsource.job WHERE stream = 'rcd-2'), 'CLOSED', 'state after the event');

-- ---- rules hold for what follows ----

SELECT eventsource.create_reaction('rca_bad', 'rce', 'go', action => $$ {"append": "moved", "stream": "'rcd-' || event.key", "data": "'{\"x\": 1}'"} $$) AS version \gset
SELECT * FROM eventsource.append('rce-3', 'go') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'rcd-3'), 1::bigint, 'legal');
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('rce-2', 'go') $$), '^ZE002', 'what is illegal fails the append that leads to it');
SELECT is((SELECT count(*) FROM eventsource.events WHERE stream = 'rce-2'), 0::bigint, 'nothing is left of it');

CREATE FUNCTION pg_temp.context(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE context text;
BEGIN
	EXECUTE command;
	RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN split_part(regexp_replace(context, '\d+', 'N', 'g'), E'\n', 1);
END
$$;
SELECT eventsource.create_reaction('rca_div', 'rcf', 'go', $$ 1 / (event.data->>'x')::int > 0 $$, '{"enqueue": "rca_q"}') AS version \gset
SELECT matches(pg_temp.refusal($$ SELECT eventsource.append('rcf-1', 'go', '{"x": 0}') $$), '^22012', 'an expression''s error is the append''s');
SELECT is(pg_temp.context($$ SELECT eventsource.append('rcf-1', 'go', '{"x": 0}') $$), 'condition of reaction "rca_div", on the event at position N', 'and names the reaction');
SELECT is(pg_temp.context($$ SELECT eventsource.append('rce-2', 'go') $$), 'reaction "rca_bad", on the event at position N', 'of an append as well');

-- Machines, projections: a rebuild repeats nothing.
SELECT count(*) AS jobs FROM eventsource.job WHERE reaction LIKE 'rca%' \gset
SELECT count(*) AS events FROM eventsource.events \gset
SELECT count(*) FROM eventsource.rebuild_projection('rca_acc') \g /dev/null
SELECT count(*) FROM eventsource.verify_projection('rca_acc') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction LIKE 'rca%'), :jobs::bigint, 'a rebuild does not react');

-- Corrections and voids do not react.
SELECT eventsource.create_reaction('rca_cor', 'rcg', '*', action => '{"enqueue": "rca_q"}') AS version \gset
SELECT position AS event FROM eventsource.append('rcg-1', 'x', '{"a": 1}') \gset
SELECT eventsource.correct_event(event_position => :event, data => '{"a": 2}', reason => 'typo', actor => 'me') \g /dev/null
SELECT eventsource.void_event(event_position => :event, reason => 'typo', actor => 'me') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction = 'rca_cor'), 1::bigint, 'corrections do not react');

-- Imports.
SELECT * FROM eventsource.append('rcg-2', 'x', metadata => '{"import": true}') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.job WHERE stream = 'rcg-2'), 0::bigint, 'imports do not');
SELECT eventsource.create_reaction('rca_cor', 'rcg', '*', action => '{"enqueue": "rca_q"}', settings => '{"imports": true}') AS version \gset
SELECT * FROM eventsource.append('rcg-2', 'x', metadata => '{"import": true}') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.job WHERE stream = 'rcg-2'), 1::bigint, 'but where the reaction says so');
SELECT eventsource.create_reaction('rca_copied', 'rcgcopy', '*', action => '{"enqueue": "rca_q"}') AS version \gset

-- Captured changes react, what a table held before does not.
CREATE TABLE rca_t (id int PRIMARY KEY, v text);
INSERT INTO rca_t VALUES (1, 'old');
SELECT eventsource.track_table('rca_t', 'rcatab') \g /dev/null
SELECT eventsource.create_reaction('rca_tab', 'rcatab', '*', action => '{"enqueue": "rca_q", "payload": "jsonb_build_object(''type'', event.type)"}') AS version \gset
SELECT eventsource.backfill('rca_t') \g /dev/null
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction = 'rca_tab'), 0::bigint, 'a backfill does not react');
INSERT INTO rca_t VALUES (2, 'new');
UPDATE rca_t SET v = 'newer' WHERE id = 1;
SELECT is((SELECT count(*) FROM eventsource.job WHERE reaction = 'rca_tab'), 2::bigint, 'changes do');

-- ---- when it occurred ----

SELECT eventsource.create_reaction('rca_when', 'rcawhen', 'told', action => $$
	{"append": "heard", "stream": "'rcaheard-' || event.key", "occurred_at": "(event.data->>'at')::timestamptz"} $$) AS version \gset
SELECT eventsource.append('rcawhen-1', 'told', '{"at": "2026-01-01 10:00Z"}'), eventsource.append('rcawhen-2', 'told') \g /dev/null
SELECT is((SELECT occurred_at FROM eventsource.events WHERE stream = 'rcaheard-1'), '2026-01-01 10:00Z'::timestamptz, 'what is appended can have occurred when the event says');
SELECT ok((SELECT occurred_at >= now() FROM eventsource.events WHERE stream = 'rcaheard-2'), 'null: now');
SELECT throws_ok($$ SELECT eventsource.append('rcawhen-3', 'told', '{"at": "infinity"}') $$, '22008', NULL, 'and never is no time');
SELECT throws_ok($$ SELECT eventsource.create_reaction('rca_when2', 'rcawhen', 'told', action => '{"append": "heard", "stream": "event.stream", "occurred_at": "event.key"}') $$, 'ZE011', NULL, 'it is a time');

SELECT * FROM finish();
ROLLBACK;
