\set ECHO none
\i test/helpers.sql
-- Nothing for PUBLIC; a reader reads, a writer appends, neither touches a table; recorded_by cannot be forged.
BEGIN;
SELECT plan(91);

CREATE ROLE "es nobody";
CREATE ROLE es_reader;
CREATE ROLE "es ""writer""";
CREATE ROLE es_admin;
CREATE ROLE es_heir IN ROLE "es ""writer""";
GRANT USAGE ON SCHEMA public TO PUBLIC;
SELECT eventsource.append('priv-1', 'x', idempotency_key => 'k') IS NULL AS done \gset
SELECT eventsource.grant_reader('es_reader') IS NULL AS done \gset
SELECT eventsource.grant_writer('"es ""writer"""') IS NULL AS done \gset
SELECT eventsource.grant_admin('es_admin') IS NULL AS done \gset

-- What a role gets to hear for a command: its SQLSTATE, or "done".
CREATE FUNCTION pg_temp.as_role(role text, command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	BEGIN
		EXECUTE command;
		RAISE 'undo' USING ERRCODE = 'ZZ999';
	EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
		RESET ROLE;
		RETURN 'done';
	WHEN OTHERS THEN
		RESET ROLE;
		RETURN SQLSTATE;
	END;
END
$$;

CREATE TEMP TABLE command (kind text, command text);
INSERT INTO command VALUES
	('read', $$ SELECT count(*) FROM eventsource.events $$),
	('read', $$ SELECT count(*) FROM eventsource.streams $$),
	('read', $$ SELECT count(*) FROM eventsource.segments $$),
	('read', $$ SELECT count(*) FROM eventsource.correlations $$),
	('read', $$ SELECT count(*) FROM eventsource.causations $$),
	('read', $$ SELECT * FROM eventsource.read_stream('priv-1') $$),
	('read', $$ SELECT * FROM eventsource.read_category('priv') $$),
	('read', $$ SELECT * FROM eventsource.read_all(0, 1) $$),
	('read', $$ SELECT eventsource.stream_version('priv-1') $$),
	('read', $$ SELECT eventsource.watermark() $$),
	('read', $$ SELECT eventsource.log_id() $$),
	('read', $$ SELECT * FROM eventsource.verify_chain('priv-1') $$),
	('read', $$ SELECT count(*) FROM eventsource.corrections $$),
	('read', $$ SELECT count(*) FROM eventsource.transitions $$),
	('write', $$ SELECT eventsource.append('priv-1', 'x') $$),
	('write', $$ SELECT eventsource.correct_event((SELECT min(position) FROM eventsource.events WHERE stream = 'priv-1'), '{}', 'r', 'a') $$),
	('write', $$ SELECT eventsource.void_event((SELECT min(position) FROM eventsource.events WHERE stream = 'priv-1'), 'r', 'a') $$),
	('write', $$ SELECT eventsource.append_events('[{"stream": "priv-2", "type": "x"}]') $$),
	('write', $$ INSERT INTO eventsource.events (stream, type) VALUES ('priv-1', 'x') $$),
	('write', $$ INSERT INTO eventsource.events (stream, type, idempotency_key) VALUES ('privnew-1', 'x', 'k') RETURNING position $$),
	('write', $$ COPY eventsource.events (stream, type) FROM STDIN $$),
	('write', $$ SELECT eventsource.lock_stream('priv-1') $$);
DELETE FROM command WHERE command LIKE '%COPY%';
INSERT INTO command
SELECT 'touch', format(c, t)
FROM unnest(ARRAY['event', 'word', 'stream', 'stream_segment', 'segment', 'idempotency', 'correction', 'snapshot', 'log', 'local']) AS t,
	unnest(ARRAY['SELECT count(*) FROM eventsource.%I', 'TRUNCATE eventsource.%I', 'DELETE FROM eventsource.%I',
		'ALTER TABLE eventsource.%I DISABLE TRIGGER ALL', 'DROP TABLE eventsource.%I']) AS c;
INSERT INTO command
SELECT 'touch', format('SELECT count(*) FROM eventsource.%I', table_name) FROM eventsource.segments
UNION ALL SELECT 'touch', c FROM unnest(ARRAY['SELECT nextval(''eventsource.position_seq'')', 'SELECT setval(''eventsource.word_seq'', 1)',
	'SELECT last_value FROM eventsource.stream_seq', 'UPDATE eventsource.events SET data = ''{}''', 'DELETE FROM eventsource.events',
	'ALTER VIEW eventsource.events RENAME TO e', 'SET LOCAL session_replication_role = replica', 'SET LOCAL eventsource.segment_size = 100',
	'CREATE TABLE eventsource.mine ()', 'CREATE OR REPLACE VIEW eventsource.mine AS SELECT 1', 'SELECT eventsource.grant_reader(''es_reader'')',
	'SELECT eventsource.grant_writer(''es_reader'')', 'SELECT eventsource.grant_admin(''es_reader'')',
	'SELECT eventsource.writer_functions()', 'SELECT eventsource.admin_functions()', 'SELECT eventsource.owner_functions()', 'DROP EXTENSION eventsource']) AS c;

SELECT is(pg_temp.as_role('es nobody', command), '42501', 'nobody:' || command) FROM command WHERE kind <> 'touch';
SELECT is_empty($$ SELECT command FROM command WHERE kind = 'touch' AND pg_temp.as_role('es nobody', command) NOT IN ('42501') $$, 'nobody: nothing at all');
SELECT is(pg_temp.as_role('es_reader', command), CASE kind WHEN 'read' THEN 'done' ELSE '42501' END, 'a reader:' || command) FROM command WHERE kind <> 'touch';
SELECT is_empty($$ SELECT command FROM command WHERE kind = 'touch' AND pg_temp.as_role('es_reader', command) NOT IN ('42501') $$, 'a reader: no table');
SELECT is(pg_temp.as_role('es "writer"', command), 'done', 'a writer:' || command) FROM command WHERE kind <> 'touch';
SELECT is_empty($$ SELECT command FROM command WHERE kind = 'touch' AND pg_temp.as_role('es "writer"', command) NOT IN ('42501') $$, 'a writer: no table');
SELECT is(pg_temp.as_role('es_heir', $$ SELECT eventsource.append('priv-1', 'x') $$), 'done', 'a member of the writers writes');
SELECT is_empty($$ SELECT command FROM command WHERE kind <> 'touch' AND pg_temp.as_role('es_admin', command) <> 'done' $$, 'an administrator reads and appends');
SELECT is_empty($$ SELECT command FROM command WHERE kind = 'touch'
	AND pg_temp.as_role('es_admin', command) NOT IN ('42501') $$, 'an administrator: no table');

-- Who may call these functions but owns nothing gets one error, not a heap of warnings.
GRANT EXECUTE ON FUNCTION eventsource.grant_reader(regrole, text[]), eventsource.grant_writer(regrole, text[]), eventsource.grant_admin(regrole) TO es_admin;
CREATE FUNCTION pg_temp.refusal_as(role text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	refusal text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	refusal := pg_temp.refusal(command);
	RESET ROLE;
	RETURN refusal;
END
$$;
SELECT is(pg_temp.refusal_as('es_admin', format('SELECT eventsource.%I(''es_reader'')', f)),
	format(E'42501: permission denied to grant rights on the event store\nDETAIL: Role es_admin does not have the rights of %s, the owner of the extension.\nHINT: Let the owner or a superuser call this function.',
		(SELECT e.extowner::regrole FROM pg_extension e WHERE e.extname = 'eventsource')), f || ' is for the owner of the extension')
FROM unnest(ARRAY['grant_reader', 'grant_writer', 'grant_admin']) AS f;
CREATE ROLE es_deputy;
CREATE ROLE es_new;
DO $$ BEGIN EXECUTE format('GRANT %I TO es_deputy', (SELECT e.extowner::regrole::text FROM pg_extension e WHERE e.extname = 'eventsource')); END $$;
SELECT is(pg_temp.refusal_as('es_deputy', $$ SELECT eventsource.grant_writer('es_new') $$), 'not refused', 'and for those who have the owner''s rights');
SELECT is_empty($$ SELECT command FROM command WHERE kind <> 'touch' AND pg_temp.as_role('es_new', command) <> 'done' $$, 'whose grants are good');

-- recorded_by is the role of the session, not the one it acts as.
SET LOCAL ROLE "es ""writer""";
SELECT eventsource.append('priv-2', 'x') IS NULL AS done \gset
INSERT INTO eventsource.events (stream, type, actor) VALUES ('priv-2', 'y', 'es_admin');
RESET ROLE;
SELECT pg_temp.same_rows($$ SELECT recorded_by, actor FROM eventsource.events WHERE stream = 'priv-2' ORDER BY version $$,
	$$ VALUES (session_user, session_user), (session_user, 'es_admin') $$, 'SET ROLE does not change recorded_by');
SELECT session_user AS me \gset
SET LOCAL SESSION AUTHORIZATION "es ""writer""";
SELECT eventsource.append('priv-3', 'x') IS NULL AS done \gset
SET LOCAL eventsource.actor = 'es_admin';
SELECT eventsource.append('priv-3', 'y') IS NULL AS done \gset
RESET eventsource.actor;
RESET SESSION AUTHORIZATION;
SELECT pg_temp.same_rows($$ SELECT recorded_by, actor FROM eventsource.events WHERE stream = 'priv-3' ORDER BY version $$,
	$$ VALUES ('es "writer"', 'es "writer"'), ('es "writer"', 'es_admin') $$, 'a session of the writer''s is recorded as the writer''s');
CREATE FUNCTION pg_temp.definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT version FROM eventsource.append('priv-3', 'z') $$;
GRANT EXECUTE ON FUNCTION pg_temp.definer() TO PUBLIC;
SET LOCAL SESSION AUTHORIZATION es_reader;
SELECT pg_temp.definer() IS NULL AS done \gset
RESET SESSION AUTHORIZATION;
SELECT is(recorded_by, 'es_reader', 'in a SECURITY DEFINER function too') FROM eventsource.events WHERE stream = 'priv-3' AND version = 3;

-- A role that is renamed is recorded under its new name from then on.
SET LOCAL SESSION AUTHORIZATION "es ""writer""";
SELECT eventsource.append('priv-4', 'x') IS NULL AS done \gset
RESET SESSION AUTHORIZATION;
ALTER ROLE "es ""writer""" RENAME TO es_scribe;
SET LOCAL SESSION AUTHORIZATION es_scribe;
SELECT eventsource.append('priv-4', 'y') IS NULL AS done \gset
RESET SESSION AUTHORIZATION;
SELECT pg_temp.same_rows($$ SELECT recorded_by, actor FROM eventsource.events WHERE stream = 'priv-4' ORDER BY version $$,
	$$ VALUES ('es "writer"', 'es "writer"'), ('es_scribe', 'es_scribe') $$, 'a renamed role');

SELECT is_empty($$ SELECT * FROM eventsource.verify_chain() WHERE stream_name LIKE 'priv%' $$, 'the chain verifies');
-- ---- what is no role ----

SELECT throws_ok(format('SELECT eventsource.%s', call), '22004', 'role must not be null', call) FROM unnest('{grant_reader(NULL),"grant_writer(NULL, ''{a}'')",grant_admin(NULL),
	"grant_eraser(NULL, ''{soft}'')",grant_personal_data(NULL),revoke_reader(NULL),revoke_writer(NULL),revoke_admin(NULL),revoke_eraser(NULL),revoke_personal_data(NULL)}'::text[]) call;
SELECT throws_ok($$ SELECT eventsource.grant_reader('-'::regrole) $$, '42704', 'there is no role -', 'nor is it none');
SELECT isnt(obj_description('eventsource'::regnamespace, 'pg_namespace'), NULL, 'the schema says what it is');

SELECT * FROM finish();
ROLLBACK;
