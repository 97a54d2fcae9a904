\set ECHO none
\i test/helpers.sql
-- ROLLBACK leaves nothing, COMMIT all; each isolation level; read-only transactions.
BEGIN;
SELECT eventsource.append('tx-rolled', 'rolled type', actor => 'rolled actor', idempotency_key => 'k') IS NULL AS done \gset
INSERT INTO eventsource.events (stream, type) SELECT 'tx-rolled.' || n, 'rolled type' FROM generate_series(1, 400) AS n;
SELECT count(*) AS done FROM eventsource.append_events('[{"stream": "txrolled-1", "type": "x"}]') \gset
ROLLBACK;
BEGIN ISOLATION LEVEL READ UNCOMMITTED;
SELECT eventsource.append('tx-1', 'read uncommitted') IS NULL AS done \gset
COMMIT;
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT eventsource.append('tx-1', 'read committed') IS NULL AS done \gset
INSERT INTO eventsource.events (stream, type) VALUES ('tx-1', 'read committed, inserted');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT eventsource.append('tx-1', 'repeatable read') IS NULL AS done \gset
INSERT INTO eventsource.events (stream, type) VALUES ('tx-1', 'repeatable read, inserted');
SELECT eventsource.append('tx-new.rr', 'repeatable read') IS NULL AS done \gset
SELECT version AS rr FROM eventsource.append('tx-new.rr', 'repeatable read again') \gset
SELECT count(*) AS rr_seen FROM eventsource.events WHERE stream = 'tx-new.rr' AND type LIKE 'repeatable read%' \gset
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) AS done FROM eventsource.read_stream('tx-1') \gset
SELECT eventsource.append('tx-1', 'serializable') IS NULL AS done \gset
SELECT eventsource.append('tx-new.ser', 'serializable') IS NULL AS done \gset
SELECT version AS ser FROM eventsource.append('tx-new.ser', 'serializable again') \gset
SAVEPOINT s;
SELECT eventsource.append('tx-new.ser', 'undone') IS NULL AS done \gset
ROLLBACK TO s;
SELECT count(*) AS ser_seen FROM eventsource.events WHERE stream = 'tx-new.ser' \gset
COMMIT;
-- Outside a transaction block, and in a procedure that commits.
SELECT eventsource.append('tx-1', 'on its own') IS NULL AS done \gset
DO $$
BEGIN
	FOR i IN 1..5 LOOP
		PERFORM eventsource.append('tx-do', 'loop ' || i);
		IF i % 2 = 0 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
END
$$;
-- An error ends the transaction, and what was in it.
\set ON_ERROR_STOP off
\set VERBOSITY terse
\o /dev/null
BEGIN;
SELECT eventsource.append('tx-error', 'x');
DO $$ BEGIN PERFORM eventsource.append('tx-error', 'y'); RAISE EXCEPTION USING ERRCODE = 'ZZ999', MESSAGE = 'wanted'; END $$;
COMMIT;
\o
\set ON_ERROR_STOP on
SELECT version AS after_error FROM eventsource.append('tx-error', 'after', expected_version => 0) \gset

BEGIN;
SELECT plan(18);
SELECT is_empty($$ SELECT FROM eventsource.events WHERE stream LIKE 'tx-rolled%' OR category = 'txrolled' $$, 'ROLLBACK leaves no event');
SELECT is_empty($$ SELECT FROM eventsource.stream WHERE name LIKE 'tx-rolled%' OR name LIKE 'txrolled%' $$, 'no stream');
SELECT is_empty($$ SELECT FROM eventsource.word WHERE word IN ('rolled type', 'rolled actor', 'txrolled') $$, 'no word');
SELECT is_empty($$ SELECT FROM eventsource.idempotency i WHERE NOT EXISTS (SELECT FROM eventsource.stream s WHERE s.id = i.stream) $$, 'no idempotency key');
SELECT is_empty($$ SELECT FROM eventsource.stream_segment i WHERE NOT EXISTS (SELECT FROM eventsource.stream s WHERE s.id = i.stream) $$, 'no other row');
SELECT is(version, 1::bigint, 'and what was rolled back can be made') FROM eventsource.append('tx-rolled', 'rolled type', idempotency_key => 'k');
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'tx-1' ORDER BY version $$,
	$$ VALUES (1, 'read uncommitted'), (2, 'read committed'), (3, 'read committed, inserted'), (4, 'repeatable read'),
		(5, 'repeatable read, inserted'), (6, 'serializable'), (7, 'on its own') $$, 'every isolation level appends');
SELECT is(:rr || '/' || :rr_seen, '2/2', 'REPEATABLE READ sees what it wrote, words included');
SELECT is(:ser || '/' || :ser_seen, '2/2', 'SERIALIZABLE too, without what it undid');
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'tx-do' ORDER BY version $$,
	$$ VALUES (1, 'loop 1'), (2, 'loop 3'), (3, 'loop 5') $$, 'a procedure that commits and rolls back');
SELECT pg_temp.same_rows($$ SELECT version, type FROM eventsource.events WHERE stream = 'tx-error' ORDER BY version $$,
	$$ VALUES (1, 'after') $$, 'an error leaves nothing of its transaction');
SELECT is(:after_error, 1, 'and the session goes on');

-- Read-only.
SELECT throws_ok('SET LOCAL transaction_read_only = on; ' || command, '25006', message, 'read-only: ' || command)
FROM (VALUES ($$ SELECT eventsource.append('tx-1', 'x') $$, 'cannot execute eventsource.append() in a read-only transaction'),
	($$ SELECT eventsource.append_events('[]') $$, 'cannot execute eventsource.append() in a read-only transaction'),
	($$ INSERT INTO eventsource.events (stream, type) VALUES ('tx-1', 'x') $$, 'cannot execute INSERT in a read-only transaction'),
	($$ COPY eventsource.events (stream, type) FROM PROGRAM 'true' $$, 'cannot execute COPY FROM in a read-only transaction')) AS v (command, message);
SELECT is(eventsource.stream_version('tx-1'), 7::bigint, 'nothing came of that');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() WHERE stream_name LIKE 'tx%' $$, 'the chain verifies');

SELECT * FROM finish();
ROLLBACK;
