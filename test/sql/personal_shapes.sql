\set ECHO none
\set own_database personal_shapes
\i test/own_database.sql
-- Personal fields of all shapes, by all doors, in all kinds of transactions.
SELECT plan(17);

CREATE FUNCTION pg_temp.stored(n bigint) RETURNS jsonb LANGUAGE sql AS $$ SELECT data FROM eventsource.event WHERE position = n $$;
CREATE FUNCTION pg_temp.kept(n bigint) RETURNS jsonb LANGUAGE sql AS $$ SELECT fields FROM eventsource.vault WHERE position = n $$;
CREATE ROLE ps_reader;
SELECT eventsource.grant_reader('ps_reader') \g /dev/null

-- ---- shapes ----

SELECT eventsource.register_event_type('shaped', pii => '{"n": "null", "ok": "hash", "o": "redact", "list.*": "hash", "rows.*.deep.name": "hash", "only.one": "null"}') \g /dev/null
SELECT position AS p FROM eventsource.append('ps-1', 'shaped', '{"n": 1.50, "ok": false, "o": {"a": [1, {"b": null}]}, "list": ["x", null, 3, {"y": 1}], "rows": [{"deep": {"name": "Ann", "n": 1}}, {}, {"deep": null}, {"deep": {}}], "only": {"one": "x"}, "rest": true}') \gset
SELECT is(pg_temp.stored(:p), '{"list": [null, null, null, null], "only": {}, "rest": true, "rows": [{"deep": {"n": 1}}, {}, {"deep": null}, {"deep": {}}]}', 'what is left: an empty object, places in arrays');
SELECT is(pg_temp.kept(:p), '{"n": 1.50, "o": {"a": [1, {"b": null}]}, "ok": false, "list.0": "x", "list.2": 3, "list.3": {"y": 1}, "only.one": "x", "rows.0.deep.name": "Ann"}', 'what was cut; a null is no field');
SELECT is((SELECT data FROM eventsource.events WHERE position = :p), '{"n": 1.50, "ok": false, "o": {"a": [1, {"b": null}]}, "list": ["x", null, 3, {"y": 1}], "rows": [{"deep": {"name": "Ann", "n": 1}}, {}, {"deep": null}, {"deep": {}}], "only": {"one": "x"}, "rest": true}', 'put back, byte for byte');
SET ROLE ps_reader;
SELECT is((SELECT data FROM eventsource.events WHERE position = :p), '{"list": ["***", null, null, null], "only": {}, "rest": true, "rows": [{"deep": {"name": "***", "n": 1}}, {}, {"deep": null}, {"deep": {}}]}', 'masked: of strings alone something is seen');
RESET ROLE;
SELECT throws_ok($$SELECT eventsource.append('ps-1', 'shaped', '{"rows": [{"deep": "Ann"}]}')$$, 'ZE007', NULL, 'an obstacle is refused');
SELECT throws_ok($$SELECT eventsource.register_event_type('twice', pii => '{"a": "null", "a.b": "null"}')$$, 'ZE011', NULL, 'a path within another');
SELECT throws_ok($$SELECT eventsource.register_event_type('twice', pii => '{"a.*": "null", "a.0": "null"}')$$, 'ZE011', NULL, 'or beside it');

SELECT eventsource.register_event_type('many', pii => '{"f.*": "hash"}') \g /dev/null
SELECT position AS p FROM eventsource.append('ps-2', 'many', (SELECT jsonb_build_object('f', jsonb_agg('v' || i)) FROM generate_series(1, 1000) i)) \gset
SELECT is((SELECT count(*) || ' ' || count(*) FILTER (WHERE pg_temp.kept(:p) ->> ('f.' || i - 1) = 'v' || i) || ' ' || (SELECT count(DISTINCT substring(salts FROM n * 32 + 1 FOR 32)) FROM eventsource.vault, generate_series(0, 999) n WHERE position = :p) FROM generate_series(1, 1000) i), '1000 1000 1000', 'a thousand fields, each with a salt');
SELECT is((SELECT data -> 'f' ->> 999 FROM eventsource.events WHERE position = :p), 'v1000', 'put back in order');

-- ---- COPY, savepoints, isolation ----

COPY eventsource.events (stream, type, data) FROM stdin;
ps-3	shaped	{"n": 1, "rest": 1}
ps-3	shaped	{"rest": 2}
ps-4	shaped	{"n": 3, "list": ["a"]}
\.
SELECT is((SELECT string_agg(coalesce(v.fields::text, '-'), ' ' ORDER BY e.position) FROM eventsource.events e LEFT JOIN eventsource.vault v USING (position) WHERE e.stream IN ('ps-3', 'ps-4')), '{"n": 1} - {"n": 3, "list.0": "a"}', 'COPY cuts each row');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT eventsource.append('ps-5', 'shaped', '{"n": 1}') \g /dev/null
SAVEPOINT s;
SELECT eventsource.append('ps-5', 'shaped', '{"n": 2}') \g /dev/null
ROLLBACK TO s;
SELECT eventsource.append('ps-5', 'shaped', '{"n": 3}') \g /dev/null
SELECT is((SELECT string_agg(data::text, ' ' ORDER BY version) FROM eventsource.read_stream('ps-5')), '{"n": 1} {"n": 3}', 'SERIALIZABLE, its own events, what was rolled back is gone');
COMMIT;
SELECT is((SELECT count(*) FROM eventsource.vault v WHERE NOT EXISTS (SELECT FROM eventsource.event e WHERE e.position = v.position)), 0::bigint, 'no row is left without its event');
BEGIN;
SELECT eventsource.append('ps-6', 'shaped', '{"n": 1}') \g /dev/null
PREPARE TRANSACTION 'personal_shapes';
COMMIT PREPARED 'personal_shapes';
SELECT is((SELECT data FROM eventsource.events WHERE stream = 'ps-6'), '{"n": 1}', 'a prepared transaction');

-- ---- another version of the type ----

SELECT eventsource.register_event_type('changing', 'psv', '{"properties": {"a": {"type": "string"}}}', pii => '{"a": "hash"}') AS first \gset
SELECT eventsource.append('psv-1', 'changing', '{"a": "x", "b": "y"}') \g /dev/null
SELECT eventsource.register_event_type('changing', 'psv', '{"properties": {"a": {"type": "string"}, "c": {"type": "string"}}}', pii => '{"b": "mask_ip"}') AS second \gset
SELECT eventsource.append('psv-1', 'changing', '{"a": "x", "b": "10.1.2.3"}') \g /dev/null
SELECT is((SELECT string_agg(v.fields::text, ' ' ORDER BY v.position) FROM eventsource.vault v JOIN eventsource.events e USING (position) WHERE e.stream = 'psv-1'), '{"a": "x"} {"b": "10.1.2.3"}', 'each event by its version');
SET ROLE ps_reader;
SELECT is((SELECT string_agg(data::text, ' ' ORDER BY version) FROM eventsource.read_stream('psv-1')), '{"a": "***", "b": "y"} {"a": "x", "b": "10.1.0.0"}', 'and so its mask');
RESET ROLE;
SELECT is_empty($$SELECT * FROM eventsource.verify_chain()$$, 'the chain verifies');
SELECT is_empty($$SELECT * FROM eventsource.verify_log() WHERE status = 'tampered'$$, 'and the log');
\i test/own_database_end.sql
