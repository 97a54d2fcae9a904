\set ECHO none
\i test/helpers.sql
-- Keys of rows that streams share are locked one by one, up to a thousand; then the table is.
SELECT plan(6);
CREATE TABLE counted (type text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('counted', '{counting}', '{"*": "n = row.n + 1"}',
	key => '{"type": "event.type"}', mode => 'inline') AS version \gset
CREATE FUNCTION pg_temp.locks() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s keys, %s whole', count(*) FILTER (WHERE locktype = 'advisory' AND objsubid = 5),
		count(*) FILTER (WHERE relation = 'counted'::regclass AND mode = 'ShareRowExclusiveLock'))
	FROM pg_locks WHERE pid = pg_backend_pid()
$$;

BEGIN;
INSERT INTO eventsource.events (stream, type) SELECT 'counting-1', 'type ' || i % 300 FROM generate_series(1, 600) i;
SELECT is(pg_temp.locks(), '300 keys, 0 whole', 'a lock per key');
SAVEPOINT more;
INSERT INTO eventsource.events (stream, type) SELECT 'counting-1', 'more ' || i FROM generate_series(1, 900) i;
SELECT is(pg_temp.locks(), '1000 keys, 1 whole', 'past a thousand the whole table');
ROLLBACK TO more;
SELECT is(pg_temp.locks(), '300 keys, 0 whole', 'a savepoint gives them back');
INSERT INTO eventsource.events (stream, type) VALUES ('counting-1', 'after');
SELECT is(pg_temp.locks(), '300 keys, 1 whole', 'the count is not taken back, which costs others a wait at most');
COMMIT;
SELECT is(pg_temp.locks(), '0 keys, 0 whole', 'none outlives the transaction');
SELECT is_empty($$ SELECT * FROM eventsource.verify_projection('counted') $$, 'and all is well');
SELECT eventsource.drop_projection('counted') IS NULL AS dropped \gset
DROP TABLE counted;
SELECT * FROM finish();
