\set ECHO none
\i test/helpers.sql
-- Rolled back savepoints take their events with them, and nothing is remembered of what was made in them.
BEGIN;
SELECT plan(47);

CREATE FUNCTION pg_temp.events(category text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s/%s %s', stream, version, type), ', ' ORDER BY position) FROM eventsource.events WHERE category = $1
$$;

-- Versions go on without a gap.
SELECT eventsource.append('save-1', 'a') IS NULL AS done \gset
SAVEPOINT s;
SELECT is(version, 2::bigint, 'version 2 in a savepoint') FROM eventsource.append('save-1', 'b');
SELECT is(version, 3::bigint, 'version 3') FROM eventsource.append('save-1', 'c');
ROLLBACK TO s;
SELECT is(eventsource.stream_version('save-1'), 1::bigint, 'are gone after ROLLBACK TO');
SELECT is(version, 2::bigint, 'and version 2 comes again') FROM eventsource.append('save-1', 'd', expected_version => 1);
SAVEPOINT s;
SELECT is(version, 3::bigint, 'version 3 in a savepoint') FROM eventsource.append('save-1', 'e');
RELEASE s;
SELECT is(version, 4::bigint, 'stays when it is released') FROM eventsource.append('save-1', 'f');
SELECT is(pg_temp.events('save'), 'save-1/1 a, save-1/2 d, save-1/3 e, save-1/4 f', 'the events that are left');

-- New streams, words and categories made in a savepoint can be made again.
SAVEPOINT s;
SELECT is(version, 1::bigint, 'a new stream in a new category, with new words')
FROM eventsource.append('savenew-1', 'new type', reason => 'new reason', actor => 'new actor', idempotency_key => 'new key');
ROLLBACK TO s;
SELECT is_empty($$ SELECT FROM eventsource.streams WHERE category = 'savenew' $$, 'no such stream after ROLLBACK TO');
SELECT is_empty($$ SELECT FROM eventsource.word WHERE word IN ('savenew', 'new type', 'new reason', 'new actor') $$, 'no such words');
SELECT is_empty($$ SELECT FROM eventsource.idempotency WHERE key = 'new key' $$, 'no such key');
SELECT pg_temp.same_rows($$ SELECT version FROM eventsource.lock_stream('savenew-1') $$, 'VALUES (0)', 'version 0 for who locks it');
SELECT is(version || '/' || is_duplicate, '1/false', 'all of it can be made again')
FROM eventsource.append('savenew-1', 'new type', reason => 'new reason', actor => 'new actor', expected_version => 0, idempotency_key => 'new key');
SELECT pg_temp.same_rows(
	$$ SELECT stream, category, key, version, type, reason, actor, idempotency_key FROM eventsource.events WHERE category = 'savenew' $$,
	$$ VALUES ('savenew-1', 'savenew', '1', 1, 'new type', 'new reason', 'new actor', 'new key') $$, 'and reads back');
SELECT is_empty($$ SELECT word FROM eventsource.word WHERE word IN ('savenew', 'new type', 'new reason', 'new actor') GROUP BY word HAVING count(*) > 1 $$,
	'with one id per word');

-- The same through the view and in a batch.
SAVEPOINT s;
INSERT INTO eventsource.events (stream, type) SELECT 'saveview-' || n % 3, 'view type ' || n % 5 FROM generate_series(1, 20) AS n;
ROLLBACK TO s;
INSERT INTO eventsource.events (stream, type) SELECT 'saveview-' || n % 3, 'view type ' || n % 5 FROM generate_series(1, 10) AS n;
SELECT is(count(*) || '/' || sum(version), '10/' || 10 + 6 + 6, 'an INSERT again') FROM eventsource.events WHERE category = 'saveview';
SAVEPOINT s;
SELECT count(*) AS done FROM eventsource.append_events('[{"stream": "savebatch-1", "type": "batch type"}, {"stream": "savebatch-2", "type": "batch type"}]') \gset
ROLLBACK TO s;
SELECT pg_temp.same_rows($$ SELECT stream, version FROM eventsource.append_events('[{"stream": "savebatch-2", "type": "batch type"},
	{"stream": "savebatch-1", "type": "batch type"}, {"stream": "savebatch-2", "type": "batch type"}]') $$,
	$$ VALUES ('savebatch-2', 1), ('savebatch-1', 1), ('savebatch-2', 2) $$, 'a batch again');

-- A savepoint that fails in the middle of a batch.
SAVEPOINT s;
SELECT pg_temp.refuses($$ SELECT eventsource.append_events('[{"stream": "savefail-1", "type": "fail type"}, {"stream": "savefail-2", "type": ""}]') $$,
	'22023', 'type must not be empty', 'a batch that fails in an exception block');
SELECT is(version, 1::bigint, 'leaves the stream to be made') FROM eventsource.append('savefail-1', 'fail type', expected_version => 0);
ROLLBACK TO s;
SELECT is(version, 1::bigint, 'twice') FROM eventsource.append('savefail-1', 'fail type', expected_version => 0);

-- Nested, with what is read in between.
SAVEPOINT a;
SELECT eventsource.append('nest-1', 'in a') IS NULL AS done \gset
SAVEPOINT b;
SELECT eventsource.append('nest-1', 'in b') IS NULL AS done \gset
SAVEPOINT c;
SELECT eventsource.append('nest-1', 'in c') IS NULL AS done \gset
SELECT eventsource.append('nest-2', 'in c') IS NULL AS done \gset
SELECT is(pg_temp.events('nest'), 'nest-1/1 in a, nest-1/2 in b, nest-1/3 in c, nest-2/1 in c', 'three levels');
RELEASE c;
ROLLBACK TO b;
SELECT is(pg_temp.events('nest'), 'nest-1/1 in a', 'a released savepoint goes with the one around it');
SELECT is(version, 1::bigint, 'its stream too') FROM eventsource.append('nest-2', 'in c');
SELECT is(version, 2::bigint, 'and its versions') FROM eventsource.append('nest-1', 'in c');
ROLLBACK TO a;
SELECT is(pg_temp.events('nest'), NULL, 'and all with the outermost');
SELECT is(version, 1::bigint, 'which is made again') FROM eventsource.append('nest-1', 'after');

-- Many levels: more than a backend keeps subtransactions in shared memory.
CREATE FUNCTION pg_temp.dive(depth integer, fail_at integer) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventsource.append('dive-1', 'type ' || depth);
	PERFORM eventsource.append('dive-' || depth + 1, 'type ' || depth);
	IF depth = fail_at THEN
		RAISE division_by_zero;
	END IF;
	IF depth = 80 THEN
		RETURN depth;
	END IF;
	BEGIN
		RETURN pg_temp.dive(depth + 1, fail_at);
	EXCEPTION WHEN division_by_zero THEN
		IF depth > 40 THEN
			RAISE;
		END IF;
		RETURN depth;
	END;
END
$$;
SELECT is(pg_temp.dive(1, 80), 40::bigint, '80 levels, of which the inner 40 fail');
SELECT is(eventsource.stream_version('dive-1'), 40::bigint, 'leave 40 events in one stream');
SELECT is(count(*), 41::bigint, 'and 41 streams') FROM eventsource.streams WHERE category = 'dive';
SELECT is(pg_temp.dive(1, 0), 80::bigint, '80 levels that all succeed');
SELECT is(eventsource.stream_version('dive-1'), 120::bigint, 'go on at version 41');
SELECT is(count(*) || '/' || sum(version), '81/' || 120 + 40 * 2 + 40, 'and make the streams that were not left') FROM eventsource.streams WHERE category = 'dive';

-- What a savepoint read is right after it, too.
SELECT eventsource.append('cache-1', 'kept word') IS NULL AS done \gset
SAVEPOINT s;
SELECT eventsource.append('cache-2', 'lost word') IS NULL AS done \gset
SELECT is(count(*), 1::bigint, 'read in the savepoint') FROM eventsource.read_stream('cache-2') WHERE type = 'lost word';
ROLLBACK TO s;
SELECT is_empty($$ SELECT FROM eventsource.read_stream('cache-2') $$, 'not after it');
SELECT eventsource.append('cache-3', 'other word') IS NULL AS done \gset
SELECT eventsource.append('cache-4', 'lost word') IS NULL AS done \gset
SELECT pg_temp.same_rows($$ SELECT r.stream, r.type FROM unnest(ARRAY['cache-1', 'cache-2', 'cache-3', 'cache-4']) AS s, eventsource.read_stream(s) AS r $$,
	$$ VALUES ('cache-1', 'kept word'), ('cache-3', 'other word'), ('cache-4', 'lost word') $$, 'ids that were given meanwhile are not mixed up');
SELECT set_eq($$ SELECT r FROM eventsource.streams s, eventsource.read_stream(s.stream) AS r WHERE s.category IN ('cache', 'dive', 'save', 'savenew') $$,
	$$ SELECT e FROM eventsource.events e WHERE e.category IN ('cache', 'dive', 'save', 'savenew') $$, 'the functions agree with the view');

-- The bound that readers stop at is the transaction's, not the savepoint's.
SELECT pg_temp.same_rows($$ SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ShareLock' $$, 'VALUES (1)',
	'one bound, whatever was rolled back');

-- Locks taken in a savepoint: the wide one too.
SAVEPOINT s;
SELECT count(*) AS done FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'savewide-' || n, 'type', 'x')) FROM generate_series(1, 1200) AS n)) \gset
SELECT ok(EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'eventsource.event'::regclass AND mode = 'ShareRowExclusiveLock'),
	'a batch of many streams locks the log');
ROLLBACK TO s;
SELECT ok(NOT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'eventsource.event'::regclass AND mode = 'ShareRowExclusiveLock'),
	'until it is rolled back');
SELECT count(*) AS before FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ExclusiveLock' \gset
SELECT is(version, 1::bigint, 'a single append after that') FROM eventsource.append('savewide-1', 'x');
SELECT is(count(*) - :before, 1::bigint, 'locks its stream') FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ExclusiveLock';

-- COPY.
SAVEPOINT s;
COPY eventsource.events (stream, type) FROM STDIN;
savecopy-1	copied
savecopy-2	copied
\.
ROLLBACK TO s;
COPY eventsource.events (stream, type, version) FROM STDIN;
savecopy-1	copied	1
savecopy-2	copied	1
\.
SELECT is(pg_temp.events('savecopy'), 'savecopy-1/1 copied, savecopy-2/1 copied', 'COPY again');

-- An error that is not an answer goes through can_append() and leaves the block that catches it whole.
CREATE TABLE public.save_seen (what text);
CREATE FUNCTION public.save_stop(data jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RAISE query_canceled USING MESSAGE = 'stopped'; END $$;
SELECT eventsource.create_state_machine('savestop', '{"initial": "A", "states": {"A": {"on": {"go": {"target": "B", "guard": "public.save_stop(event.data)"}}}, "B": {"type": "final"}}}') AS done \gset
SELECT eventsource.create_category('savestop', 'savestop') AS done \gset
DO $$
BEGIN
	INSERT INTO save_seen VALUES ('before');
	BEGIN
		INSERT INTO save_seen VALUES ('in the block');
		PERFORM eventsource.can_append('savestop-1', 'go');
	EXCEPTION WHEN query_canceled THEN
		INSERT INTO save_seen VALUES (SQLERRM);
	END;
END
$$;
SELECT set_eq('SELECT what FROM save_seen', ARRAY['before', 'stopped'], 'what the block did is undone, and nothing else');
SELECT is(eventsource.stream_version('savestop-1'), 0::bigint, 'and nothing was appended');

SELECT is_empty('SELECT * FROM eventsource.verify_chain()', 'the chain verifies');
SELECT is_empty($$ SELECT stream FROM eventsource.events GROUP BY stream HAVING min(version) <> 1 OR max(version) <> count(*) OR count(DISTINCT version) <> count(*) $$,
	'no stream has a gap or a fork');
SELECT is_empty($$ SELECT FROM eventsource.events WHERE stream IS NULL OR category IS NULL OR type IS NULL OR actor IS NULL OR recorded_by IS NULL $$,
	'no event lacks a word');

SELECT * FROM finish();
ROLLBACK;
