\set ECHO none
\i test/helpers.sql
-- Streams and their heads: the view streams, stream_version(), lock_stream(); the view segments; log_id().
BEGIN;
SELECT plan(36);

SELECT is(eventsource.stream_version('streams-1'), 0::bigint, 'a stream that does not exist has version 0');
SELECT pg_temp.same_rows($$ SELECT version, state FROM eventsource.lock_stream('streams-1') $$, $$ VALUES (0, NULL::text) $$,
	'lock_stream says the same');
SELECT is_empty($$ SELECT FROM eventsource.streams WHERE stream = 'streams-1' $$, 'and makes no stream');
SELECT is(eventsource.stream_version(NULL), NULL, 'the version of NULL is NULL');
SELECT pg_temp.refuses('SELECT eventsource.lock_stream(NULL)', '22004', 'stream must not be null', 'but there is nothing to lock');
SELECT pg_temp.refuses($$ SELECT eventsource.lock_stream('$config-machine.x') $$, '42939', 'category "$config" is reserved', 'nor may a writer keep definitions from being made');

SELECT count(*) AS done FROM eventsource.append_events('[{"stream": "streams-1", "type": "x"}, {"stream": "streams-2", "type": "x"},
	{"stream": "streams-1", "type": "x"}, {"stream": "streams-1", "type": "x"}, {"stream": "streams-a-b", "type": "x"}]') \gset
SELECT is(eventsource.stream_version('streams-1'), 3::bigint, 'stream_version counts');
SELECT pg_temp.same_rows($$ SELECT version, state FROM eventsource.lock_stream('streams-1') $$, $$ VALUES (3, NULL::text) $$, 'lock_stream too');
SELECT lives_ok($$ SELECT eventsource.lock_stream('streams-1') $$, 'a lock can be taken twice');
SELECT is(version, 4::bigint, 'and its holder appends') FROM eventsource.append('streams-1', 'x', expected_version => 3);
SELECT pg_temp.same_rows($$ SELECT stream, category, key, version, state FROM eventsource.streams WHERE category = 'streams' ORDER BY stream $$,
	$$ VALUES ('streams-1', 'streams', '1', 4, NULL::text), ('streams-2', 'streams', '2', 1, NULL), ('streams-a-b', 'streams', 'a-b', 1, NULL) $$,
	'streams: one row per stream');
SELECT set_eq($$ SELECT stream, version, first_position, last_position, last_recorded_at FROM eventsource.streams WHERE category = 'streams' $$,
	$$ SELECT stream, count(*) AS n, min(position) AS first, max(position) AS last, max(recorded_at) AS at FROM eventsource.events WHERE category = 'streams' GROUP BY stream $$,
	'as the events say');
SELECT set_eq($$ SELECT stream, version FROM eventsource.streams WHERE category NOT LIKE '$%' $$,
	$$ SELECT stream, max(version) FROM eventsource.events WHERE category NOT LIKE '$%' GROUP BY stream $$, 'which holds for all streams');
SELECT throws_ok($$ SET LOCAL transaction_read_only = on; SELECT eventsource.lock_stream('streams-1') $$,
	'25006', 'cannot execute eventsource.lock_stream() in a read-only transaction', 'no lock in a read-only transaction');
SELECT throws_ok($$ SET LOCAL transaction_read_only = on; SELECT 1 / eventsource.stream_version('streams-nowhere') $$,
	'22012', 'division by zero', 'but reading is allowed there');

-- The lock is a heavyweight one, gone with the savepoint in which it was taken.
CREATE FUNCTION pg_temp.locks() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted
$$;
SELECT pg_temp.locks() AS n \gset before_
SAVEPOINT locking;
SELECT eventsource.lock_stream('streams-3') IS NULL AS done \gset
SELECT is(pg_temp.locks() - :before_n, 1::bigint, 'a lock on a stream');
SELECT eventsource.lock_stream('streams-3') IS NULL AS done \gset
SELECT eventsource.append('streams-3', 'x') IS NULL AS done \gset
SELECT is(pg_temp.locks() - :before_n, 1::bigint, 'is one lock, however often it is taken');
ROLLBACK TO locking;
SELECT is(pg_temp.locks() - :before_n, 0::bigint, 'and is released by ROLLBACK TO');
SELECT pg_temp.same_rows($$ SELECT objsubid, mode, count(*) FROM pg_locks
	WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ShareLock' GROUP BY 1, 2 $$,
	$$ SELECT DISTINCT objsubid, 'ShareLock', 1 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ShareLock' $$,
	'one bound is published, however many events');
SELECT ok(EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'eventsource.event'::regclass AND mode = 'RowExclusiveLock'),
	'an appender holds ROW EXCLUSIVE on the log');
SELECT ok(NOT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'eventsource.event'::regclass
		AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')),
	'and nothing stronger');

-- Segments.
SELECT ok(count(*) > 0 AND bool_and(is_attached) AND bool_and(bytes > 0), 'segments are there, attached, with a size') FROM eventsource.segments;
SELECT is_empty($$ SELECT FROM eventsource.segments WHERE lower_bound >= upper_bound $$, 'none is empty by its bounds');
SELECT is_empty($$ SELECT FROM (SELECT lower_bound, lag(upper_bound) OVER (ORDER BY lower_bound) AS before FROM eventsource.segments) AS s
	WHERE lower_bound < before $$, 'none overlaps another');
SELECT is_empty($$ SELECT FROM eventsource.events e WHERE NOT EXISTS
	(SELECT FROM eventsource.segments s WHERE e.position >= s.lower_bound AND e.position < s.upper_bound) $$, 'each event is in one');
SELECT is_empty($$ SELECT FROM eventsource.segments s WHERE pg_get_expr(
		(SELECT relpartbound FROM pg_class WHERE oid = ('eventsource.' || s.table_name)::regclass), ('eventsource.' || s.table_name)::regclass)
	<> format('FOR VALUES FROM (''%s'') TO (''%s'')', s.lower_bound, s.upper_bound) $$, 'the bounds are those of the partitions');
SELECT set_eq($$ SELECT table_name::text FROM eventsource.segments $$,
	$$ SELECT relname::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'eventsource.event'::regclass $$,
	'every partition is listed');
SELECT is_empty($$ SELECT table_name FROM eventsource.segments s WHERE (
		SELECT array_agg(tgname || tgenabled::text ORDER BY tgname) FROM pg_trigger WHERE tgrelid = ('eventsource.' || s.table_name)::regclass)
	IS DISTINCT FROM ARRAY['guard_rowA', 'guard_statementA'] $$, 'every segment has both guards, ALWAYS on');
SELECT is_empty($$ SELECT table_name FROM eventsource.segments s WHERE EXISTS (
		SELECT FROM pg_depend WHERE objid = ('eventsource.' || s.table_name)::regclass AND deptype = 'e') $$,
	'no segment is a member of the extension, or pg_dump would leave it out');
SELECT is_empty($$ SELECT s.table_name FROM eventsource.segments s JOIN pg_class c ON c.oid = ('eventsource.' || s.table_name)::regclass
	JOIN pg_class p ON p.oid = 'eventsource.event'::regclass WHERE c.relowner <> p.relowner OR c.relacl IS NOT NULL $$,
	'every segment belongs to the owner of the log, and to nobody else');

-- Identity.
SELECT isnt(eventsource.log_id(), NULL, 'the log has an id');
SELECT is(eventsource.log_id(), eventsource.log_id(), 'which stays');
SELECT is(count(*), 1::bigint, 'and is the only one') FROM eventsource.log;
SELECT is(format, 1, 'of the first format') FROM eventsource.log;
SELECT ok(eventsource.watermark() >= 0, 'watermark() answers in a transaction that has appended');
SELECT is((SELECT (holds_watermark, lower_bound > eventsource.watermark(), since = now(), role = session_user, gid IS NULL)::text
			 FROM eventsource.open_appenders WHERE pid = pg_backend_pid()), '(t,t,t,t,t)', 'and is what holds it back');

SELECT * FROM finish();
ROLLBACK;
