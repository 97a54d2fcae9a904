\set ECHO none
\i test/helpers.sql
-- DDL on what is guarded is refused, for superusers too, until allow_maintenance() was called.
SELECT eventsource.append('ddl-1', 'x', '{"a": 1}') IS NULL AS done \gset
SELECT table_name AS segment FROM eventsource.segments WHERE lower_bound <= (SELECT max(position) FROM eventsource.events)
ORDER BY lower_bound DESC LIMIT 1 \gset
BEGIN;
SELECT plan(105);
SELECT set_config('test.segment', :'segment', true) AS done \gset

CREATE FUNCTION pg_temp.refuses_ddl(command text) RETURNS text LANGUAGE sql AS $$
	SELECT ok(pg_temp.refusal(replace(command, 'SEGMENT', current_setting('test.segment')))
			LIKE 'ZE001: % is not allowed%DETAIL: The event log is append-only.%', command)
$$;
CREATE FUNCTION pg_temp.allows(command text) RETURNS text LANGUAGE sql AS $$
	SELECT lives_ok(replace(command, 'SEGMENT', current_setting('test.segment')), command)
$$;
CREATE TABLE mine (id bigint PRIMARY KEY);
CREATE TABLE child (LIKE eventsource.word);
CREATE TABLE family (position bigint NOT NULL) PARTITION BY RANGE (position);
CREATE ROLE es_ddl_app;
CREATE ROLE es_ddl_owner;
CREATE TYPE made_up AS ENUM ('x');
CREATE FUNCTION pg_temp.lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';

SELECT pg_temp.refuses_ddl(command) FROM unnest(ARRAY[
	-- guards
	'ALTER TABLE eventsource.event DISABLE TRIGGER ALL',
	'ALTER TABLE eventsource.SEGMENT DISABLE TRIGGER USER',
	'ALTER TABLE eventsource.SEGMENT DISABLE TRIGGER guard_statement',
	'ALTER TABLE eventsource.word ENABLE TRIGGER guard_row',
	'ALTER TABLE eventsource.word ENABLE REPLICA TRIGGER guard_row',
	'DROP TRIGGER guard_row ON eventsource.word',
	'DROP TRIGGER guard_statement ON eventsource.SEGMENT',
	'ALTER TRIGGER guard_row ON eventsource.word RENAME TO other',
	'CREATE OR REPLACE FUNCTION eventsource.guard() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NULL; END''',
	'ALTER FUNCTION eventsource.guard() RENAME TO other',
	'ALTER FUNCTION eventsource.guard() OWNER TO es_ddl_owner',
	'ALTER FUNCTION eventsource.append_events(jsonb) SECURITY INVOKER',
	'CREATE FUNCTION eventsource.other() RETURNS int LANGUAGE sql AS ''SELECT 1''',
	'ALTER EVENT TRIGGER eventsource_guard_ddl DISABLE',
	'ALTER EVENT TRIGGER eventsource_guard_ddl ENABLE',
	'ALTER EVENT TRIGGER eventsource_guard_ddl RENAME TO other',
	-- what stands before or beside them
	'CREATE TRIGGER a BEFORE INSERT ON eventsource.event FOR EACH ROW EXECUTE FUNCTION pg_temp.lose()',
	'CREATE TRIGGER z BEFORE INSERT ON eventsource.SEGMENT FOR EACH ROW EXECUTE FUNCTION pg_temp.lose()',
	'CREATE CONSTRAINT TRIGGER z AFTER INSERT ON eventsource.SEGMENT FOR EACH ROW EXECUTE FUNCTION pg_temp.lose()',
	'CREATE RULE r AS ON INSERT TO eventsource.event DO INSTEAD NOTHING',
	'CREATE RULE r AS ON DELETE TO eventsource.SEGMENT DO INSTEAD NOTHING',
	'CREATE RULE r AS ON INSERT TO eventsource.events DO INSTEAD NOTHING',
	'ALTER TABLE eventsource.event ENABLE ROW LEVEL SECURITY',
	'ALTER TABLE eventsource.SEGMENT FORCE ROW LEVEL SECURITY',
	'CREATE POLICY p ON eventsource.SEGMENT USING (false)',
	'CREATE OR REPLACE VIEW eventsource.corrections AS SELECT * FROM eventsource.corrections WHERE false',
	'CREATE OR REPLACE VIEW eventsource.other AS SELECT 1 AS x',
	-- rows that are rewritten, or elsewhere
	'ALTER TABLE eventsource.event ALTER COLUMN data TYPE jsonb USING ''{}''',
	'ALTER TABLE eventsource.SEGMENT ALTER COLUMN data TYPE jsonb USING ''{}''',
	'ALTER TABLE eventsource.word ALTER COLUMN word TYPE varchar',
	'ALTER TABLE eventsource.event DROP COLUMN data',
	'ALTER TABLE eventsource.event ADD COLUMN more int DEFAULT 7',
	'ALTER TABLE eventsource.event RENAME COLUMN type TO actor_',
	'ALTER TABLE eventsource.SEGMENT SET ACCESS METHOD heap',
	'ALTER TABLE eventsource.word SET UNLOGGED',
	'ALTER TABLE eventsource.word SET TABLESPACE pg_default',
	'ALTER TABLE eventsource.event DETACH PARTITION eventsource.SEGMENT',
	'ALTER TABLE eventsource.event ATTACH PARTITION child FOR VALUES FROM (1e18) TO (2e18)',
	'ALTER TABLE eventsource.word NO INHERIT child',
	'ALTER TABLE eventsource.word INHERIT child',
	'ALTER TABLE child INHERIT eventsource.word',
	'CREATE TABLE more () INHERITS (eventsource.word)',
	'CREATE TABLE more PARTITION OF eventsource.event FOR VALUES FROM (1000000000000000000) TO (2000000000000000000)',
	'ALTER TABLE family ATTACH PARTITION eventsource.SEGMENT FOR VALUES FROM (1) TO (2)',
	-- names, owners, rights
	'ALTER TABLE eventsource.event RENAME TO other',
	'ALTER TABLE eventsource.SEGMENT SET SCHEMA public',
	'ALTER SCHEMA eventsource RENAME TO other',
	'ALTER SCHEMA eventsource OWNER TO es_ddl_owner',
	'ALTER TABLE eventsource.word OWNER TO es_ddl_owner',
	'GRANT ALL ON eventsource.word TO es_ddl_app',
	'GRANT TRIGGER ON eventsource.SEGMENT TO es_ddl_app',
	'GRANT UPDATE (word) ON eventsource.word TO es_ddl_app',
	'GRANT DELETE ON ALL TABLES IN SCHEMA eventsource TO es_ddl_app',
	'GRANT UPDATE ON SEQUENCE eventsource.position_seq TO es_ddl_app',
	'GRANT CREATE ON SCHEMA eventsource TO es_ddl_app',
	'ALTER DEFAULT PRIVILEGES IN SCHEMA eventsource GRANT INSERT ON TABLES TO es_ddl_app',
	-- what holds them together
	'ALTER TABLE eventsource.word DROP CONSTRAINT word_pkey',
	'ALTER TABLE eventsource.word ADD CHECK (false) NOT VALID',
	'ALTER TABLE eventsource.word ADD FOREIGN KEY (id) REFERENCES mine ON DELETE CASCADE',
	'ALTER TABLE mine ADD FOREIGN KEY (id) REFERENCES eventsource.stream',
	'ALTER TABLE eventsource.word ALTER COLUMN word SET DEFAULT ''forged''',
	'CREATE UNIQUE INDEX ON eventsource.word ((1))',
	'DROP INDEX eventsource.word_word_idx',
	'ALTER INDEX eventsource.word_word_idx RENAME TO other',
	'ALTER SEQUENCE eventsource.position_seq RESTART',
	-- all of it
	'DROP TABLE eventsource.SEGMENT',
	'DROP SCHEMA eventsource CASCADE',
	'DROP EXTENSION eventsource CASCADE',
	'ALTER EXTENSION eventsource DROP FUNCTION eventsource.guard()',
	'ALTER EXTENSION plpgsql ADD TABLE eventsource.SEGMENT',
	'DO $x$ BEGIN EXECUTE ''DROP TABLE eventsource.SEGMENT CASCADE''; END $x$']) AS command;
-- The server itself does not part an extension from its members.
SELECT is(split_part(pg_temp.refusal(command), ':', 1), '2BP01', command) FROM unnest(ARRAY[
	'DROP FUNCTION eventsource.guard() CASCADE',
	'DROP EVENT TRIGGER eventsource_guard_ddl',
	'DROP TABLE eventsource.event CASCADE',
	'DROP VIEW eventsource.events CASCADE']) AS command;

-- A superuser's DML in the catalogs, as far as it touches what is guarded.
SELECT pg_temp.refuses_ddl(command) FROM unnest(ARRAY[
	'UPDATE pg_trigger SET tgenabled = ''D'' WHERE tgrelid = ''eventsource.SEGMENT''::regclass',
	'DELETE FROM pg_trigger WHERE tgrelid = ''eventsource.word''::regclass',
	'WITH u AS (UPDATE pg_trigger SET tgenabled = ''D'' WHERE tgrelid = ''eventsource.word''::regclass) SELECT 1',
	'MERGE INTO pg_trigger t USING pg_class c ON t.tgrelid = c.oid AND c.relname = ''word'' WHEN MATCHED THEN UPDATE SET tgenabled = ''D''',
	'UPDATE pg_class SET relhastriggers = false WHERE oid = ''eventsource.SEGMENT''::regclass',
	'UPDATE pg_class SET relnamespace = ''public''::regnamespace WHERE oid = ''eventsource.SEGMENT''::regclass',
	'UPDATE pg_class SET relrowsecurity = true, relforcerowsecurity = true WHERE oid = ''eventsource.word''::regclass',
	'UPDATE pg_class SET relfilenode = 4711 WHERE oid = ''eventsource.SEGMENT''::regclass',
	'UPDATE pg_class SET relowner = ''es_ddl_owner''::regrole WHERE oid = ''eventsource.SEGMENT''::regclass',
	'UPDATE pg_attribute SET attname = ''x'' WHERE attrelid = ''eventsource.word''::regclass AND attname = ''word''',
	'UPDATE pg_proc SET prosrc = ''eventsource_health'' WHERE oid = ''eventsource.guard()''::regprocedure',
	'DELETE FROM pg_inherits WHERE inhrelid = ''eventsource.SEGMENT''::regclass',
	'UPDATE pg_index SET indisunique = false, indisprimary = false WHERE indexrelid = ''eventsource.word_pkey''::regclass',
	'UPDATE pg_event_trigger SET evtenabled = ''D'' WHERE evtname = ''eventsource_guard_ddl''',
	'DELETE FROM pg_event_trigger WHERE evtname LIKE ''eventsource%''',
	'DELETE FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = ''eventsource'')',
	'UPDATE pg_extension SET extname = ''other'' WHERE extname = ''eventsource''',
	'UPDATE pg_namespace SET nspname = ''other'' WHERE nspname = ''eventsource''',
	'UPDATE pg_sequence SET seqincrement = -1 WHERE seqrelid = ''eventsource.position_seq''::regclass',
	'COPY pg_catalog.pg_trigger FROM PROGRAM ''true''', 'CREATE EXTENSION pg_surgery']) AS command;
SELECT pg_temp.allows(command) FROM unnest(ARRAY[
	'UPDATE pg_class SET reltuples = 7 WHERE oid = ''mine''::regclass', 'UPDATE pg_trigger SET tgenabled = tgenabled']) AS command;

-- With rows in their tables as they are.
SELECT pg_temp.allows(command) FROM unnest(ARRAY[
	'REINDEX TABLE eventsource.word', 'ANALYZE eventsource.word', 'CLUSTER eventsource.word USING word_pkey',
	'GRANT SELECT ON eventsource.event TO es_ddl_app']) AS command;

-- Maintenance.
SAVEPOINT s;
SELECT pg_temp.refuses($$ SELECT eventsource.allow_maintenance(' ') $$, '22023', 'maintenance needs a reason', 'no reason');
SELECT eventsource.allow_maintenance('a test') \g /dev/null
SELECT lives_ok('ALTER TABLE eventsource.word DISABLE TRIGGER ALL', 'allowed');
ROLLBACK TO s;
SELECT pg_temp.refuses_ddl('ALTER TABLE eventsource.word DISABLE TRIGGER ALL');

SELECT * FROM finish();
ROLLBACK;
