\set ECHO none
\i test/helpers.sql
-- The private tables are append-only, whoever writes, and whatever session_replication_role says.
SELECT eventsource.append('guards-1', 'x', '{"a": 1}', idempotency_key => 'k') IS NULL AS done \gset
BEGIN;
SELECT plan(113);

CREATE TEMP TABLE guarded AS
SELECT c.relname::text AS name FROM pg_class c WHERE c.relnamespace = 'eventsource'::regnamespace AND c.relkind IN ('r', 'p')
	AND c.relname IN ('event', 'word', 'stream', 'stream_segment', 'segment', 'idempotency', 'correction', 'snapshot', 'log', 'local')
ORDER BY name;
INSERT INTO guarded SELECT 'SEGMENT';
SELECT is(count(*), 11::bigint, 'ten tables and a segment') FROM guarded;

-- How PostgreSQL writes what is compared is no change of it.
SET LOCAL intervalstyle = 'iso_8601';
SET LOCAL datestyle = 'German';
SET LOCAL quote_all_identifiers = on;
SET LOCAL extra_float_digits = -5;
SET LOCAL bytea_output = 'escape';
SELECT is((SELECT is_intact FROM eventsource.check_guards() WHERE guard = 'functions and views'), true, 'the check does not depend on how a session writes values');
RESET intervalstyle; RESET datestyle; RESET quote_all_identifiers; RESET extra_float_digits; RESET bytea_output;

-- The newest segment has a name that depends on where the log is: it is called SEGMENT here.
SELECT table_name FROM eventsource.segments WHERE lower_bound <= (SELECT max(position) FROM eventsource.events)
ORDER BY lower_bound DESC LIMIT 1 \gset
CREATE FUNCTION pg_temp.on_table(command text, name text) RETURNS text LANGUAGE sql AS $$
	SELECT format(command, CASE name WHEN 'SEGMENT' THEN current_setting('test.segment') ELSE name END)
$$;
SELECT set_config('test.segment', :'table_name', true) AS done \gset
CREATE FUNCTION pg_temp.refuses_on(command text, name text, role text) RETURNS text LANGUAGE sql AS $$
	SELECT is(replace(split_part(pg_temp.refusal(pg_temp.on_table(command, name)), E'\nHINT', 1), current_setting('test.segment'), 'SEGMENT'),
		format(E'ZE001: %s on "eventsource.%s" is not allowed\nDETAIL: The event log is append-only.', split_part(command, ' ', 1), name),
		format(command, name) || ' as ' || role)
$$;

CREATE FUNCTION pg_temp.columns(name text) RETURNS text LANGUAGE sql AS $$
	SELECT quote_ident(attname) FROM pg_attribute
	WHERE attrelid = pg_temp.on_table('eventsource.%I', name)::regclass AND attnum = 1
$$;
SELECT pg_temp.refuses_on(format('UPDATE eventsource.%%I SET %s = %1$s', pg_temp.columns(name)), name, 'origin') FROM guarded;
SELECT pg_temp.refuses_on(format('UPDATE eventsource.%%I SET %s = %1$s WHERE false', pg_temp.columns(name)), name, 'origin') FROM guarded;
SELECT pg_temp.refuses_on('DELETE FROM eventsource.%I', name, 'origin') FROM guarded;
SELECT pg_temp.refuses_on('TRUNCATE eventsource.%I', name, 'origin') FROM guarded;

-- Forged rows, right in every column.
CREATE FUNCTION pg_temp.forge(name text) RETURNS text LANGUAGE sql AS $$
	SELECT 'INSERT INTO eventsource.%I ' || CASE name
		WHEN 'event' THEN 'SELECT position + 1, stream, version + 1, recorded_at, type, actor, recorded_by, from_state, to_state, reason, machine, schema_version, flags, hash, data, metadata, subject, extra FROM eventsource.event ORDER BY position DESC LIMIT 1'
		WHEN 'SEGMENT' THEN 'SELECT position + 1, stream, version + 1, recorded_at, type, actor, recorded_by, from_state, to_state, reason, machine, schema_version, flags, hash, data, metadata, subject, extra FROM eventsource.event ORDER BY position DESC LIMIT 1'
		WHEN 'word' THEN $v$VALUES (2000000000, 'forged')$v$
		WHEN 'stream' THEN $v$VALUES (1, 1, 'forged-1')$v$
		WHEN 'stream_segment' THEN 'VALUES (1, 1, 1)'
		WHEN 'segment' THEN $v$VALUES (9000000000000000000, 9000000000000000001, 'event_x')$v$
		WHEN 'idempotency' THEN $v$VALUES (1, 1, '\x00', 'forged')$v$
		WHEN 'correction' THEN 'VALUES (1, 1, 1, 1, now(), 0, true)'
		WHEN 'snapshot' THEN $v$VALUES (1, '', 1, 1, now(), now(), 1, 0, 0, NULL)$v$
		WHEN 'log' THEN 'VALUES (gen_random_uuid(), 1, now())'
		WHEN 'local' THEN 'VALUES (now())' END
$$;
CREATE FUNCTION pg_temp.refuses_forgery(name text, role text) RETURNS text LANGUAGE sql AS $$
	SELECT ok(pg_temp.refusal(pg_temp.on_table(pg_temp.forge(name), name)) LIKE
		'ZE001: INSERT on "eventsource.%" is not allowed%Append with eventsource.append(), or INSERT into eventsource.events.',
		'a forged row in ' || name || ' as ' || role)
$$;
SELECT pg_temp.refuses_forgery(name, 'origin') FROM guarded;

-- As a replication worker would.
SET LOCAL session_replication_role = replica;
SELECT pg_temp.refuses_on(format('UPDATE eventsource.%%I SET %s = %1$s', pg_temp.columns(name)), name, 'replica') FROM guarded;
SELECT pg_temp.refuses_on('DELETE FROM eventsource.%I', name, 'replica') FROM guarded;
SELECT pg_temp.refuses_on('TRUNCATE eventsource.%I', name, 'replica') FROM guarded;
SELECT pg_temp.refuses_forgery(name, 'replica') FROM guarded;
SELECT pg_temp.refuses($$ INSERT INTO eventsource.events (stream, type) VALUES ('guards-1', 'y') $$,
	'ZE001', 'INSERT on "eventsource.events" is not possible under session_replication_role = replica',
	'an INSERT into the view under replica, where its triggers do not fire');
SELECT lives_ok($$ SELECT eventsource.append('guards-1', 'z') $$, 'append() under replica');
SELECT pg_temp.refuses($$ UPDATE eventsource.events SET data = '{}' WHERE false $$,
	'ZE001', 'UPDATE on "eventsource.events" is not allowed', 'an UPDATE of the view under replica');
SELECT pg_temp.refuses($$ DELETE FROM eventsource.events WHERE false $$,
	'ZE001', 'DELETE on "eventsource.events" is not allowed', 'a DELETE from the view under replica');
SET LOCAL session_replication_role = origin;

-- Other ways to the same.
SELECT ok(pg_temp.refusal('TRUNCATE eventsource.event, eventsource.stream CASCADE') LIKE 'ZE001: TRUNCATE on %', 'TRUNCATE of several, CASCADE');
SELECT ok(pg_temp.refusal($$ INSERT INTO eventsource.stream SELECT * FROM eventsource.stream ON CONFLICT DO NOTHING $$) LIKE 'ZE001: INSERT on %',
	'INSERT ... ON CONFLICT DO NOTHING');
SELECT ok(pg_temp.refusal($$ INSERT INTO eventsource.stream SELECT * FROM eventsource.stream ON CONFLICT (id) DO UPDATE SET name = 'x' $$) LIKE 'ZE001: %',
	'INSERT ... ON CONFLICT DO UPDATE');
SELECT ok(pg_temp.refusal($$ COPY eventsource.word FROM PROGRAM 'printf "2000000000\tforged\n"' $$) LIKE 'ZE001: INSERT on %', 'COPY');
SELECT ok(pg_temp.refusal($$ WITH d AS (DELETE FROM eventsource.idempotency RETURNING *) SELECT FROM d $$) LIKE 'ZE001: DELETE on %', 'DELETE in a CTE');
SELECT ok(pg_temp.refusal($$ MERGE INTO eventsource.word w USING (VALUES (1)) AS v (id) ON w.id = v.id WHEN MATCHED THEN UPDATE SET word = 'x' $$)
	LIKE 'ZE001: UPDATE on %', 'MERGE');

-- The sequence of positions, moved back.
SELECT last_value FROM eventsource.position_seq \gset
SELECT setval('eventsource.position_seq', 1) AS done \gset
SELECT pg_temp.refuses($$ SELECT eventsource.append('guards-1', 'x') $$, 'ZE001', 'the sequence of positions was moved backwards',
	'positions that were given already are not given again');
SELECT setval('eventsource.position_seq', :last_value) AS done \gset
SELECT is(version, 3::bigint, 'once it is right again, appending goes on') FROM eventsource.append('guards-1', 'x');

SELECT * FROM finish();
ROLLBACK;
