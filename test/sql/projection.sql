\set ECHO none
\i test/helpers.sql
-- A table that follows its events: created, changed, deleted, in the appending transaction.
BEGIN;
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO, MDY';
SELECT plan(40);

CREATE TABLE account (
	id bigint PRIMARY KEY,
	balance numeric NOT NULL DEFAULT 0,
	steps int NOT NULL DEFAULT 0,
	opened date DEFAULT '2000-01-01',
	closing text,
	seen timestamptz,
	doubled numeric GENERATED ALWAYS AS (balance * 2) STORED);
SELECT is(eventsource.create_projection('account', '{account}', jsonb_build_object(
		'deposited', $$balance = row.balance + (event.data->>'amount')::numeric, steps = row.steps + 1, seen = event.occurred_at$$,
		'withdrawn', $$balance = row.balance - (event.data->>'amount')::numeric, steps = row.steps + 1,
			closing = CASE WHEN row.balance - (event.data->>'amount')::numeric = 0 THEN 'empty' END$$,
		'closed', 'DELETE')), 1::bigint, 'create_projection returns the version of the definition');
SELECT is((keyed_by, mode, version, owner, category)::text, format('(stream,inline,1,%s,{account})', current_user), 'eventsource.projections shows it')
FROM eventsource.projections WHERE target = 'account'::regclass;

-- One event after the other.
SELECT is(version, 1::bigint, 'a first event') FROM eventsource.append('account-1', 'deposited', '{"amount": 10.50}', occurred_at => '2026-01-02 03:04:05+00');
SELECT is(account::text, '(1,10.50,1,2000-01-01,,"2026-01-02 03:04:05+00",21.00)', 'makes a row from the defaults') FROM account;
SELECT is(version, 2::bigint, 'a second') FROM eventsource.append('account-1', 'withdrawn', '{"amount": 10.50}');
SELECT is((balance, steps, closing, doubled)::text, '(0.00,2,empty,0.00)', 'changes it; right sides see the old row, generated columns follow') FROM account;
SELECT is(version, 3::bigint, 'one without a rule') FROM eventsource.append('account-1', 'noted', '{"amount": 1}');
SELECT is((balance, steps)::text, '(0.00,2)', 'leaves it') FROM account;
SELECT is(version, 1::bigint, 'one of another category') FROM eventsource.append('accounts-1', 'deposited', '{"amount": 1}');
SELECT is(count(*), 1::bigint, 'too') FROM account;
SELECT is(version, 4::bigint, 'a closing one') FROM eventsource.append('account-1', 'closed');
SELECT is(count(*), 0::bigint, 'deletes it') FROM account;
SELECT is(version, 5::bigint, 'deleting again') FROM eventsource.append('account-1', 'closed');
SELECT is(count(*), 0::bigint, 'does nothing') FROM account;
SELECT is(version, 6::bigint, 'and the next deposit') FROM eventsource.append('account-1', 'deposited', '{"amount": 3}');
SELECT is((balance, steps)::text, '(3,1)', 'begins anew') FROM account;

-- Several events of one command see each other.
SELECT is(count(*), 4::bigint, 'a batch on two streams') FROM eventsource.append_events('[
	{"stream": "account-1", "type": "deposited", "data": {"amount": 4}},
	{"stream": "account-2", "type": "deposited", "data": {"amount": 1}},
	{"stream": "account-1", "type": "deposited", "data": {"amount": 5}},
	{"stream": "account-2", "type": "deposited", "data": {"amount": 2}}]');
SELECT pg_temp.same_rows('SELECT id, balance, steps FROM account ORDER BY id', 'VALUES (1, 12, 3), (2, 3, 2)', 'folds all of them');
SELECT is(count(*), 3::bigint, 'made and deleted in one batch') FROM eventsource.append_events('[
	{"stream": "account-3", "type": "deposited", "data": {"amount": 4}},
	{"stream": "account-3", "type": "closed"},
	{"stream": "account-1", "type": "closed"}]');
SELECT is(array_agg(id), ARRAY[2::bigint], 'a row is never written') FROM account;
SELECT is(count(*), 2::bigint, 'deleted and made again in one batch') FROM eventsource.append_events('[
	{"stream": "account-2", "type": "closed"},
	{"stream": "account-2", "type": "deposited", "data": {"amount": 9}}]');
SELECT is((id, balance, steps)::text, '(2,9,1)', 'is a new row') FROM account;
INSERT INTO eventsource.events (stream, type, data)
SELECT 'account-' || i % 3, 'deposited', '{"amount": 1}' FROM generate_series(1, 30) i;
SELECT pg_temp.same_rows('SELECT id, balance, steps FROM account ORDER BY id', 'VALUES (0, 10, 10), (1, 10, 10), (2, 19, 11)',
	'INSERT into the view folds too');
SELECT is(sum(version), 6::numeric, 'several calls in one command') FROM generate_series(1, 3) i,
	LATERAL (SELECT (a).version - 0 AS version FROM (SELECT eventsource.append('account-5', 'deposited', jsonb_build_object('amount', i)) AS a) x) y;
SELECT is((balance, steps)::text, '(6,3)', 'see each other''s rows') FROM account WHERE id = 5;

-- Savepoints.
SAVEPOINT before;
SELECT is(version, 4::bigint, 'in a savepoint') FROM eventsource.append('account-5', 'deposited', '{"amount": 100}');
ROLLBACK TO before;
SELECT is((balance, steps)::text, '(6,3)', 'rolled back with it') FROM account WHERE id = 5;
SELECT is(version, 4::bigint, 'and then') FROM eventsource.append('account-5', 'deposited', '{"amount": 1}');
SELECT is((balance, steps)::text, '(7,4)', 'all is well') FROM account WHERE id = 5;
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('account') $$, 'the table is what its events make of it');

-- The key of a stream must be written the way the key column prints it: "05" would be the same row.
SELECT pg_temp.refuses($$ SELECT eventsource.append('account-05', 'deposited', '{"amount": 1}') $$, '22P02',
	'stream "account-05" cannot have a row in projection public.account', 'another spelling of a key is refused');
SELECT is(left(pg_temp.refusal($$ SELECT eventsource.append('account-five', 'deposited', '{"amount": 1}') $$), 5), '22P02', 'as is what cannot be a key');
SELECT is(eventsource.stream_version('account-five'), 0::bigint, 'with nothing left behind');

-- TOASTed values, kept and changed.
CREATE TABLE doc (id text PRIMARY KEY, body text, copy text, n int DEFAULT 0);
SELECT eventsource.create_projection('doc', '{doc}', jsonb_build_object('written', $$body = event.data->>'body', n = row.n + 1$$,
	'counted', 'n = row.n + 1', 'copied', 'copy = row.body, body = NULL')) AS version \gset
SELECT count(eventsource.append('doc-1', 'written', jsonb_build_object('body', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i)))) AS n \gset
SELECT count(eventsource.append('doc-1', 'counted')) AS n FROM generate_series(1, 20) \gset
SELECT is((length(body), n)::text, '(32000,21)', 'a long value is kept while others change') FROM doc;
SELECT count(eventsource.append('doc-1', 'copied')) AS n \gset
SELECT is((body, length(copy), n)::text, '(,32000,21)', 'and can move to another column') FROM doc;
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('doc') $$, 'and compare with a replay');

-- A table that is dropped takes its projection out of force, but not out of sight.
DROP TABLE doc;
SELECT is(version, 1::bigint, 'nothing is folded into a table that is gone') FROM eventsource.append('doc-2', 'written');
SELECT is(name || ' ' || (target IS NULL), 'public.doc true', 'the view shows that') FROM eventsource.projections WHERE name LIKE '%doc';
CREATE TABLE doc (id text PRIMARY KEY, n int DEFAULT 0);
SELECT eventsource.create_projection('doc', '{doc}', '{"counted": "n = row.n + 1"}') AS version \gset
SELECT is(name || ' ' || target, 'public.doc doc', 'until another table has the name') FROM eventsource.projections WHERE name LIKE '%doc';
SELECT eventsource.drop_projection('doc') IS NULL AS done \gset
SELECT is_empty($$ SELECT FROM eventsource.projections WHERE name LIKE '%doc' $$, 'and is dropped in order');
SELECT * FROM finish();
ROLLBACK;
