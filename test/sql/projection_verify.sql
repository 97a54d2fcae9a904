\set ECHO none
\i test/helpers.sql
-- The guard on a target, verify_projection and rebuild_projection.
BEGIN;
SELECT plan(39);

CREATE TABLE account (id int PRIMARY KEY, balance numeric NOT NULL DEFAULT 0, note text, doc jsonb, owner text UNIQUE);
SELECT eventsource.create_projection('account', '{account}', jsonb_build_object(
	'moved', $$balance = row.balance + (event.data->>'amount')::numeric, doc = jsonb_build_object('last', event.data->'amount')$$,
	'named', $$owner = event.data->>'owner'$$,
	'closed', 'DELETE')) AS version \gset
SELECT position AS first FROM eventsource.append('account-1', 'moved', '{"amount": 1}') \gset
SELECT position AS second FROM eventsource.append('account-1', 'moved', '{"amount": 2}') \gset
SELECT position AS third FROM eventsource.append('account-1', 'moved', '{"amount": 3}') \gset
SELECT position AS other FROM eventsource.append('account-2', 'moved', '{"amount": 10}') \gset
SELECT position AS gone FROM eventsource.append('account-3', 'moved', '{"amount": 10}') \gset
SELECT position AS closed FROM eventsource.append('account-3', 'closed') \gset

-- Direct writes.
SELECT pg_temp.refuses('UPDATE account SET balance = 0', 'ZE010', 'projection "account" is written by events alone', 'UPDATE is refused');
SELECT pg_temp.refuses('DELETE FROM account', 'ZE010', 'projection "account" is written by events alone', 'DELETE is refused');
SELECT pg_temp.refuses('INSERT INTO account (id) VALUES (7)', 'ZE010', 'projection "account" is written by events alone', 'INSERT is refused');
SELECT pg_temp.refuses('TRUNCATE account', 'ZE010', 'projection "account" is written by events alone', 'TRUNCATE is refused');
SELECT pg_temp.refuses('INSERT INTO account (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET balance = 5', 'ZE010',
	'projection "account" is written by events alone', 'an upsert is refused');
SELECT pg_temp.refuses('MERGE INTO account a USING (VALUES (1)) v (id) ON a.id = v.id WHEN MATCHED THEN DELETE', 'ZE010',
	'projection "account" is written by events alone', 'MERGE is refused');
SET LOCAL session_replication_role = replica;
SELECT pg_temp.refuses('UPDATE account SET balance = 0', 'ZE010', 'projection "account" is written by events alone', 'also for a replica');
SELECT pg_temp.refuses('TRUNCATE account', 'ZE010', 'projection "account" is written by events alone', 'TRUNCATE too');
RESET session_replication_role;
SELECT is(sum(balance), 16::numeric, 'nothing was written') FROM account;
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('account') $$, 'and all is well');

-- Rows changed past the guard.
ALTER TABLE account DISABLE TRIGGER ALL;
UPDATE account SET balance = 3, doc = '{"last": 2}' WHERE id = 1;
SELECT pg_temp.same_rows($$ SELECT key, expected->'balance', found->'balance', event_position FROM eventsource.verify_projection('account') $$,
	format($$ VALUES ('{"id": 1}'::jsonb, '6'::jsonb, '3'::jsonb, %s::bigint) $$, :third), 'a row that lacks an event: the event it lacks');
UPDATE account SET balance = 1, doc = '{"last": 1}' WHERE id = 1;
SELECT is(event_position, :second::bigint, 'that lacks two: the first of them') FROM eventsource.verify_projection('account');
UPDATE account SET balance = 77 WHERE id = 1;
SELECT is(event_position, :third::bigint, 'that never was so: the last event of the row') FROM eventsource.verify_projection('account');
UPDATE account SET balance = 6.00, doc = '{"last": 3}' WHERE id = 1;
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('account') $$, '6.00 is 6');
DELETE FROM account WHERE id = 2;
SELECT pg_temp.same_rows($$ SELECT key, expected->'balance', found, event_position FROM eventsource.verify_projection('account') $$,
	format($$ VALUES ('{"id": 2}'::jsonb, '10'::jsonb, NULL::jsonb, %s::bigint) $$, :other), 'a row that is missing: the event that made it');
INSERT INTO account (id, balance, doc) VALUES (3, 10, '{"last": 10}'), (4, 0, NULL);
SELECT pg_temp.same_rows($$ SELECT key, expected, found->'balance', event_position FROM eventsource.verify_projection('account') ORDER BY key->'id' OFFSET 1 $$,
	format($$ VALUES ('{"id": 3}'::jsonb, NULL::jsonb, '10'::jsonb, %s::bigint), ('{"id": 4}', NULL, '0', NULL) $$, :closed),
	'a row too many: the event that deleted it, or none');
SELECT is(count(*), 3::bigint, 'one row per difference') FROM eventsource.verify_projection('account');

-- Rebuilding.
SELECT is(eventsource.rebuild_projection('account', '{"id": 2}'), 1::bigint, 'one row');
SELECT is(count(*), 2::bigint, 'leaves the others') FROM eventsource.verify_projection('account');
SELECT is(eventsource.rebuild_projection('account', '{"id": 2}'), 0::bigint, 'nothing to do the second time');
SELECT is(eventsource.rebuild_projection('account', '{"id": "4"}'), 1::bigint, 'one that no event made');
SELECT is(count(*), 0::bigint, 'goes') FROM account WHERE id = 4;
SELECT is(eventsource.rebuild_projection('account'), 1::bigint, 'all of it');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('account') $$, 'mends what is left');
DELETE FROM account;
SELECT is(eventsource.rebuild_projection('account'), 2::bigint, 'an empty table');
SELECT pg_temp.same_rows('SELECT id, balance FROM account ORDER BY id', 'VALUES (1, 6), (2, 10)', 'is filled');
ALTER TABLE account ENABLE ALWAYS TRIGGER eventsource_guard;
ALTER TABLE account ENABLE ALWAYS TRIGGER eventsource_guard_truncate;
SELECT is(count(eventsource.append('account-2', 'moved', '{"amount": 5}')), 1::bigint, 'appends go on');
SELECT is(balance, 15::numeric, 'from there') FROM account WHERE id = 2;

-- Unique values that rows have exchanged.
SELECT count(eventsource.append('account-' || i, 'named', jsonb_build_object('owner', 'owner ' || i))) AS n FROM generate_series(1, 2) i \gset
ALTER TABLE account DISABLE TRIGGER ALL;
UPDATE account SET owner = 'x' WHERE id = 1;
UPDATE account SET owner = 'owner 1' WHERE id = 2;
UPDATE account SET owner = 'owner 2' WHERE id = 1;
SELECT is(eventsource.rebuild_projection('account'), 2::bigint, 'two rows that exchanged a unique value');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('account') $$, 'exchange it back');

-- What is refused.
SELECT pg_temp.refuses($$ SELECT eventsource.rebuild_projection('account', '5') $$, '22023', 'key of projection public.account must be an object with its 1 key column(s)', 'a key that is no object');
SELECT pg_temp.refuses($$ SELECT eventsource.rebuild_projection('account', '{"nothing": 1}') $$, '22023', 'key of projection public.account has no value for column "id"', 'a key of another column');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.rebuild_projection('account', '{"id": "x"}') $$), 5), '22P02', 'a value of another type');
SELECT pg_temp.refuses($$ SELECT eventsource.rebuild_projection(NULL) $$, '22004', 'rebuild_projection needs a table', 'no table');
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.verify_projection('pg_class') $$, '42809', 'pg_class is not a projection', 'a table that is none');
SELECT pg_temp.refuses($$ SELECT eventsource.rebuild_projection('pg_class') $$, '42809', 'pg_class is not a projection', 'nor can it be rebuilt');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection(NULL) $$, 'NULL verifies nothing');

-- What it shows are rows of the table.
CREATE TABLE verify_hidden (key text PRIMARY KEY, n int);
SELECT eventsource.create_projection('verify_hidden', '{verifyhidden}', '{"made": "n = 1"}') AS version \gset
CREATE ROLE verify_reader;
SELECT eventsource.grant_reader('verify_reader') IS NULL AS granted \gset
GRANT SELECT ON verify_hidden TO verify_reader;
ALTER TABLE verify_hidden ENABLE ROW LEVEL SECURITY;
SET LOCAL ROLE verify_reader;
SELECT pg_temp.refuses($$ SELECT * FROM eventsource.verify_projection('verify_hidden') $$, '42501', 'row security of table verify_hidden applies to you', 'row security refuses');
RESET ROLE;
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('verify_hidden') $$, 'but not those to whom it does not apply');
SELECT * FROM finish();
ROLLBACK;
