\set ECHO none
\i test/helpers.sql
-- verify_chain() finds what was changed behind the guards' back.
BEGIN;
SELECT plan(53);

SELECT count(*) AS done FROM eventsource.append_events((
	SELECT jsonb_agg(jsonb_build_object('stream', 'chain-' || n % 2, 'type', 't' || n, 'data', jsonb_build_object('n', n), 'reason', 'r' || n,
		'actor', 'a' || n, 'metadata', jsonb_build_object('m', n), 'occurred_at', timestamptz '2020-01-01' + n * interval '1 day',
		'schema_version', n) ORDER BY n) FROM generate_series(1, 12) AS n)) \gset
SELECT eventsource.append('chain-keyed', 'x', idempotency_key => 'k') IS NULL AS done \gset
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'nobody touched anything');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain('chain-1') $$, 'one stream by itself');
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain('chain-nowhere') $$, 'a stream that does not exist has no problem');
SELECT is_empty($$ SELECT hash FROM eventsource.events GROUP BY hash HAVING count(*) > 1 $$, 'no two events have the same hash');

-- The guards of every segment off: what a superuser could do.
SELECT eventsource.allow_maintenance('test') \g /dev/null
SELECT format('ALTER TABLE ONLY eventsource.%I DISABLE TRIGGER USER', name) FROM (
	SELECT table_name::text FROM eventsource.segments WHERE lower_bound <= (SELECT max(position) + 5 FROM eventsource.events)
	UNION ALL VALUES ('event'), ('word'), ('stream'), ('idempotency')) AS s (name) \gexec
SELECT id AS s1 FROM eventsource.stream WHERE name = 'chain-1' \gset
SELECT id AS s0 FROM eventsource.stream WHERE name = 'chain-0' \gset
SELECT set_config('test.s1', :'s1', true), set_config('test.s0', :'s0', true) \g /dev/null

-- What verify_chain finds in this file's streams after some statements, which are undone again.
CREATE FUNCTION pg_temp.found(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	BEGIN
		EXECUTE replace(replace(command, ':s1', current_setting('test.s1')), ':s0', current_setting('test.s0'));
		SELECT string_agg(format('%s %s: %s', stream_name, version, problem), '; ' ORDER BY stream_name, version, problem)
		INTO result FROM eventsource.verify_chain() WHERE stream_name LIKE 'chain%';
		RAISE 'undo' USING ERRCODE = 'ZZ999';
	EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
		RETURN coalesce(result, 'nothing');
	END;
END
$$;
SELECT is(pg_temp.found('SELECT 1'), 'nothing', 'with the guards off nothing is wrong yet');

-- Each column, of version 3 of chain-1: position, stream and version have their own lines below.
SELECT is(pg_temp.found(format('UPDATE eventsource.event SET %s WHERE stream = :s1 AND version = 3', change)),
	'chain-1 3: hash does not match the event and the one before it', change)
FROM (VALUES
	('recorded_at = recorded_at + interval ''1 microsecond'''),
	('extra = ''\x0001000000000000'''),
	('type = actor'), ('actor = type'), ('actor = 0'), ('recorded_by = type'), ('from_state = type'), ('to_state = type'),
	('reason = type'), ('reason = 0'), ('machine = type'), ('schema_version = 6'), ('flags = 1'),
	('data = ''{"n": 6}'''), ('data = ''{"n": 5.0}'''), ('data = ''{"n": "5"}'''), ('data = ''{"N": 5}'''), ('data = ''{"n": 5, "m": null}'''), ('data = ''{}'''),
	('data = ''[]'''), ('data = ''null'''), ('metadata = ''{}'''), ('metadata = data, data = metadata'),
	('subject = ''chain-0'''), ('subject = ''someone else'''), ('type = reason, reason = type'), ('from_state = reason, to_state = reason')) AS v (change);
SELECT is(pg_temp.found('UPDATE eventsource.event SET hash = sha256(hash) WHERE stream = :s1 AND version = 3'),
	'chain-1 3: hash does not match the event and the one before it; chain-1 4: hash does not match the event and the one before it',
	'a hash breaks its event and the next');
SELECT is(pg_temp.found('UPDATE eventsource.event SET hash = substr(hash, 1, 31) WHERE stream = :s1 AND version = 6'),
	'chain-1 6: hash does not match the event and the one before it', 'a short hash');
SELECT is(pg_temp.found('UPDATE eventsource.event SET hash = hash || ''\x00'' WHERE stream = :s1 AND version = 6'),
	'chain-1 6: hash does not match the event and the one before it', 'a long hash');
SELECT is(pg_temp.found('UPDATE eventsource.event SET hash = '''' WHERE stream = :s1 AND version = 6'),
	'chain-1 6: hash does not match the event and the one before it', 'no hash');
SELECT is(pg_temp.found('UPDATE eventsource.event SET subject = ''chain-1'' WHERE stream = :s1 AND version = 3'), 'nothing',
	'the default subject spelled out is the same subject');

-- Places.
SELECT is(pg_temp.found($$ UPDATE eventsource.event e SET data = o.data FROM eventsource.event o
		WHERE e.stream = :s1 AND o.stream = :s1 AND e.version IN (2, 4) AND o.version = 6 - e.version $$),
	'chain-1 2: hash does not match the event and the one before it; chain-1 4: hash does not match the event and the one before it',
	'the data of two events swapped');
SELECT isnt(pg_temp.found($$ UPDATE eventsource.event SET version = -version WHERE stream = :s1 AND version IN (2, 4);
		UPDATE eventsource.event SET version = 6 + version WHERE stream = :s1 AND version < 0 $$), 'nothing', 'two events swapped');
SELECT isnt(pg_temp.found('DELETE FROM eventsource.event WHERE stream = :s1 AND version = 3'), 'nothing', 'one deleted in the middle');
SELECT isnt(pg_temp.found('DELETE FROM eventsource.event WHERE stream = :s1 AND version = 1'), 'nothing', 'the first deleted');
SELECT isnt(pg_temp.found($$ DELETE FROM eventsource.event WHERE stream = :s1 AND version = 3;
		UPDATE eventsource.event SET version = version - 1 WHERE stream = :s1 AND version > 3 $$), 'nothing', 'one deleted and the gap closed');
SELECT isnt(pg_temp.found($$ UPDATE eventsource.event SET stream = :s0, version = 7 WHERE stream = :s1 AND version = 6 $$), 'nothing',
	'the last event of one stream moved to the end of another');
SELECT isnt(pg_temp.found($$ UPDATE eventsource.event SET position = (SELECT max(position) + 1 FROM eventsource.event) WHERE stream = :s1 AND version = 6 $$),
	'nothing', 'a position moved');
SELECT isnt(pg_temp.found($$ INSERT INTO eventsource.event
		SELECT position + 5, stream, 7, recorded_at, type, actor, recorded_by, from_state, to_state, reason, machine, schema_version, flags,
			hash, data, metadata, subject, extra FROM eventsource.event WHERE stream = :s1 AND version = 6 $$), 'nothing', 'an event added');
SELECT isnt(pg_temp.found($$ UPDATE eventsource.event SET version = version + 1 WHERE stream = :s0 AND version = 6 $$), 'nothing', 'a gap before the last');

-- One stream at a time.
SELECT is(pg_temp.found($$ UPDATE eventsource.event SET data = '{}' WHERE (stream, version) IN ((:s1, 3), (:s0, 5)) $$),
	'chain-0 5: hash does not match the event and the one before it; chain-1 3: hash does not match the event and the one before it',
	'two streams, each with its own problem');
SAVEPOINT tampered;
UPDATE eventsource.event SET data = '{}' WHERE stream = :s1 AND version = 3;
SELECT pg_temp.same_rows($$ SELECT stream_name, version, problem FROM eventsource.verify_chain('chain-1') $$,
	$$ VALUES ('chain-1', 3, 'hash does not match the event and the one before it') $$, 'asked for one stream');
SELECT is(v.event_position, e.position, 'with its position') FROM eventsource.verify_chain('chain-1') v, eventsource.events e WHERE e.stream = 'chain-1' AND e.version = 3;
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain('chain-0') $$, 'and for the other');
ROLLBACK TO tampered;

-- What events share. A rollback that takes a new word with it empties this session's cache of words.
CREATE FUNCTION pg_temp.forget() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventsource.append('chainforget-1', 'forget ' || clock_timestamp());
	RAISE 'undo' USING ERRCODE = 'ZZ999';
EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
	NULL;
END
$$;
SELECT pg_temp.forget() \g /dev/null
SELECT is(pg_temp.found($$ UPDATE eventsource.word SET word = 'another' WHERE word = 't5' $$),
	'chain-1 3: hash does not match the event and the one before it', 'a word of the dictionary');
SELECT pg_temp.forget() \g /dev/null
SELECT is(pg_temp.found($$ UPDATE eventsource.stream SET name = 'chain-9' WHERE name = 'chain-keyed' $$),
	'chain-9 1: hash does not match the event and the one before it', 'the name of a stream');
SELECT pg_temp.forget() \g /dev/null
SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() $$, 'after all that, all is well');

SELECT * FROM finish();
ROLLBACK;
-- A position that was forged and rolled back is not one that was given.
\c
\pset tuples_only on
BEGIN;
SELECT plan(1);
SELECT lives_ok($$ SELECT eventsource.append('chain-1', 'x') $$, 'another session appends');
SELECT * FROM finish();
ROLLBACK;
