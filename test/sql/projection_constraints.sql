\set ECHO none
\i test/helpers.sql
-- Constraints of the target hold on the append, under their own names and SQLSTATEs.
BEGIN;
SELECT plan(27);

CREATE FUNCTION pg_temp.violation(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	name text;
	schema_name text;
	table_name text;
	column_name text;
BEGIN
	EXECUTE command;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, name = CONSTRAINT_NAME, schema_name = SCHEMA_NAME,
		table_name = TABLE_NAME, column_name = COLUMN_NAME;
	RETURN concat_ws(' ', state, nullif(schema_name, ''), nullif(table_name, ''), nullif(column_name, ''), nullif(name, ''));
END
$$;

CREATE TABLE account (id text PRIMARY KEY, balance int NOT NULL DEFAULT 0 CONSTRAINT not_overdrawn CHECK (balance >= 0),
	owner text CONSTRAINT one_each UNIQUE, code varchar(3), total int GENERATED ALWAYS AS (balance * 10) STORED CONSTRAINT small CHECK (total < 1000),
	room int, during int4range, CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&) WHERE (room IS NOT NULL));
CREATE INDEX ON account (lower(owner)) WHERE balance > 5;
CREATE INDEX ON account USING brin (code, total);
SELECT eventsource.create_projection('account', '{account}', jsonb_build_object(
	'moved', $$balance = row.balance + (event.data->>'amount')::int$$,
	'cleared', 'balance = NULL',
	'named', $$owner = event.data->>'owner'$$,
	'coded', $$code = event.data->>'code'$$,
	'booked', $$room = 1, during = int4range((event.data->>'from')::int, (event.data->>'to')::int)$$,
	'closed', 'DELETE')) AS version \gset

SELECT is(pg_temp.violation($$ SELECT eventsource.append('account-1', 'moved', '{"amount": -1}') $$), '23514 public account not_overdrawn', 'CHECK');
SELECT is(pg_temp.violation($$ SELECT eventsource.append('account-1', 'cleared') $$), '23502 public account balance', 'NOT NULL');
SELECT is(pg_temp.violation($$ SELECT eventsource.append('account-1', 'moved', '{"amount": 100}') $$), '23514 public account small', 'CHECK of a generated column');
SELECT is(pg_temp.violation($$ SELECT eventsource.append('account-1', 'coded', '{"code": "abcd"}') $$), '22001', 'length of a varchar');
SELECT is(eventsource.stream_version('account-1'), 0::bigint, 'nothing is left behind');

SELECT is(count(eventsource.append('account-' || i, 'named', jsonb_build_object('owner', 'owner ' || i))), 3::bigint, 'three owners') FROM generate_series(1, 3) i;
SELECT is(pg_temp.violation($$ SELECT eventsource.append('account-4', 'named', '{"owner": "owner 1"}') $$), '23505 public account one_each', 'UNIQUE');
SELECT is(pg_temp.violation($$ SELECT eventsource.append_events('[
	{"stream": "account-5", "type": "named", "data": {"owner": "same"}}, {"stream": "account-6", "type": "named", "data": {"owner": "same"}}]') $$),
	'23505 public account one_each', 'UNIQUE within a batch');
SELECT is(count(*), 2::bigint, 'a name that is freed') FROM eventsource.append_events('[
	{"stream": "account-7", "type": "named", "data": {"owner": "owner 3"}}, {"stream": "account-3", "type": "closed"}]');
SELECT is(owner, 'owner 3', 'can be taken in the same batch') FROM account WHERE id = '7';
SELECT is(count(eventsource.append('account-1', 'booked', '{"from": 1, "to": 5}')), 1::bigint, 'a booking');
SELECT is(pg_temp.violation($$ SELECT eventsource.append('account-2', 'booked', '{"from": 4, "to": 6}') $$), '23P01 public account no_overlap', 'EXCLUDE');

-- Each event is checked, not only what a batch ends with.
SELECT is(pg_temp.violation($$ SELECT eventsource.append_events('[
	{"stream": "account-8", "type": "moved", "data": {"amount": -1}}, {"stream": "account-8", "type": "moved", "data": {"amount": 5}}]') $$),
	'23514 public account not_overdrawn', 'no event may leave the row bad');

-- Domains, of columns that are set and of those that are not.
CREATE DOMAIN named AS text NOT NULL CONSTRAINT short CHECK (length(value) < 5);
CREATE DOMAIN maybe AS int CONSTRAINT even CHECK (value % 2 = 0);
CREATE TABLE person (id text PRIMARY KEY, name named, n maybe);
SELECT eventsource.create_projection('person', '{person}', jsonb_build_object(
	'named', $$name = event.data->>'name'$$, 'counted', $$n = (event.data->>'n')::int$$)) AS version \gset
SELECT is(pg_temp.violation($$ SELECT eventsource.append('person-1', 'counted', '{"n": 2}') $$), '23502 public', 'a domain that takes no null');
SELECT is(pg_temp.violation($$ SELECT eventsource.append('person-1', 'named', '{"name": "too long"}') $$), '23514 public short', 'a domain''s CHECK');
SELECT is(pg_temp.violation($$ SELECT eventsource.append('person-1', 'named', '{"name": "joe"}') $$), 'none', 'a good value');
SELECT is(pg_temp.violation($$ SELECT eventsource.append('person-1', 'counted', '{"n": 3}') $$), '23514 public even', 'of another column');

-- The table changes in the middle of a statement that appends to it.
CREATE FUNCTION pg_temp.meanwhile(command text, key text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN key;
END
$$;
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, data) SELECT 'person-' || CASE i WHEN 3 THEN
	pg_temp.meanwhile('ALTER TABLE person ADD COLUMN extra int', '3') ELSE i::text END, 'named', '{"name": "x"}' FROM generate_series(1, 4) i $$,
	'55006', 'projection public.person was changed by the statement that appends to it', 'a column that comes meanwhile');
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type, data) SELECT 'person-' || CASE i WHEN 3 THEN
	pg_temp.meanwhile('DROP TABLE person', '3') ELSE i::text END, 'named', '{"name": "x"}' FROM generate_series(1, 4) i $$,
	'55006', 'projection public.person was changed by the statement that appends to it', 'a table that goes');

-- Index entries follow the rows.
SELECT is(count(eventsource.append('account-1', 'moved', '{"amount": 1}')), 50::bigint, 'fifty updates') FROM generate_series(1, 50);
SET LOCAL enable_seqscan = off;
SELECT is((SELECT id FROM account WHERE lower(owner) = 'owner 1' AND balance > 5), '1', 'found by the partial index');
SELECT is((SELECT id FROM account WHERE owner = 'owner 2'), '2', 'and by the unique one');
RESET enable_seqscan;

-- A constraint that history breaks is found by a rebuild, at its end.
SELECT is(count(eventsource.append('account-9', 'moved', '{"amount": 70}')), 1::bigint, 'up');
SELECT is(count(eventsource.append('account-9', 'moved', '{"amount": -60}')), 1::bigint, 'and down');
ALTER TABLE account ADD CONSTRAINT later CHECK (balance < 60) NOT VALID;
ALTER TABLE account DISABLE TRIGGER ALL;
DELETE FROM account;
ALTER TABLE account ENABLE ALWAYS TRIGGER eventsource_guard;
ALTER TABLE account ENABLE ALWAYS TRIGGER eventsource_guard_truncate;
SELECT is(eventsource.rebuild_projection('account'), 4::bigint, 'a rebuild looks at the rows as they are in the end');
ALTER TABLE account ADD CONSTRAINT even_later CHECK (balance <> 10) NOT VALID;
SELECT is(eventsource.rebuild_projection('account'), 0::bigint, 'rows that do not differ are not written');
ALTER TABLE account DISABLE TRIGGER ALL;
DELETE FROM account WHERE id = '9';
SELECT is(pg_temp.violation($$ SELECT eventsource.rebuild_projection('account') $$), '23514 public account even_later', 'those that are, are checked');
SELECT * FROM finish();
ROLLBACK;
