\set ECHO none
\i test/helpers.sql
-- What guards let pass, and what they do not: DDL that leaves rows as they are, and event triggers of others.
SELECT eventsource.append('harmless-1', 'x') IS NULL AS done \gset
SELECT 'eventsource.' || table_name AS segment FROM eventsource.segments ORDER BY lower_bound LIMIT 1 \gset
BEGIN;
SELECT plan(55);
CREATE ROLE harmless_owner;
SELECT eventsource.grant_admin('harmless_owner') IS NULL AS done \gset
CREATE SCHEMA harmless AUTHORIZATION harmless_owner;
GRANT CREATE ON SCHEMA harmless TO harmless_owner;
SET LOCAL ROLE harmless_owner;
CREATE TABLE harmless.audit (id bigint PRIMARY KEY, what text);
CREATE TABLE harmless.parted (day date NOT NULL, what text) PARTITION BY RANGE (day);
CREATE TABLE harmless.parted_1 PARTITION OF harmless.parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE harmless.other (id bigint PRIMARY KEY);
ALTER TABLE harmless.audit ADD CONSTRAINT late CHECK (id > 0) NOT VALID;
INSERT INTO harmless.audit VALUES (1, 'a');
SELECT eventsource.make_append_only('harmless.audit') = 1 AND eventsource.make_append_only('harmless.parted') = 1 AS done \gset

-- A table that is append-only.
SELECT lives_ok(command, command) FROM unnest(ARRAY[
	'ALTER TABLE harmless.audit ALTER what SET STATISTICS 500', 'ALTER TABLE harmless.parted ALTER what SET STATISTICS 500',
	'ALTER TABLE harmless.audit ALTER what SET STORAGE EXTERNAL', 'ALTER TABLE harmless.audit ALTER what SET COMPRESSION pglz',
	'ALTER TABLE harmless.audit ALTER what SET (n_distinct = 5)', 'ALTER TABLE harmless.audit ALTER what RESET (n_distinct)',
	'ALTER TABLE harmless.audit SET (autovacuum_enabled = off, fillfactor = 90)', 'ALTER TABLE harmless.audit RESET (autovacuum_enabled)',
	'CREATE INDEX audit_what ON harmless.audit (what)', 'ALTER INDEX harmless.audit_what SET (fillfactor = 80)',
	'ALTER INDEX harmless.audit_what RENAME TO audit_by_what', 'ALTER TABLE harmless.audit CLUSTER ON audit_by_what', 'CLUSTER harmless.audit',
	'ALTER TABLE harmless.audit SET WITHOUT CLUSTER', 'REINDEX TABLE harmless.audit', 'DROP INDEX harmless.audit_by_what', 'ANALYZE harmless.audit',
	'COMMENT ON TABLE harmless.audit IS ''x''', 'COMMENT ON COLUMN harmless.audit.what IS ''x''',
	'ALTER TABLE harmless.audit VALIDATE CONSTRAINT late', 'ALTER TABLE harmless.audit ADD COLUMN more text',
	'ALTER TABLE harmless.audit REPLICA IDENTITY FULL', 'CREATE STATISTICS harmless.s ON id, what FROM harmless.audit',
	'GRANT SELECT, INSERT ON harmless.audit TO PUBLIC', 'REVOKE ALL ON harmless.audit FROM PUBLIC',
	'CREATE VIEW harmless.seen AS SELECT * FROM harmless.audit', 'ALTER TABLE harmless.other ADD FOREIGN KEY (id) REFERENCES harmless.audit',
	'LOCK TABLE harmless.audit IN SHARE MODE']) AS command;
SELECT ok(pg_temp.refusal(command) LIKE 'ZE001: % is not allowed%DETAIL: The table is append-only%HINT%allow_maintenance%', command) FROM unnest(ARRAY[
	'ALTER TABLE harmless.audit SET (fillfactor = 90), DISABLE TRIGGER ALL', 'ALTER TABLE harmless.audit ADD FOREIGN KEY (id) REFERENCES harmless.other',
	'CREATE POLICY p ON harmless.audit USING (false)', 'ALTER TABLE harmless.audit ADD CONSTRAINT u UNIQUE (what)']) AS command;
RESET ROLE;

-- The log.
SELECT lives_ok(format(command, :'segment'), command) FROM unnest(ARRAY[
	'ALTER TABLE %s ALTER data SET STATISTICS 0', 'ALTER TABLE eventsource.event ALTER data SET STATISTICS 10', 'ALTER TABLE %s SET (autovacuum_enabled = off)',
	'ALTER TABLE %s RESET (autovacuum_enabled)', 'ANALYZE %s', 'COMMENT ON TABLE %s IS ''x''', 'GRANT SELECT ON %s TO harmless_owner', 'REINDEX TABLE %s',
	'CREATE STATISTICS harmless.t ON stream, version FROM %s']) AS command;
SELECT ok(pg_temp.refusal(format(command, :'segment')) LIKE 'ZE001: % is not allowed%DETAIL: The event log is append-only%HINT%allow_maintenance%', command) FROM unnest(ARRAY[
	'ALTER TABLE %s SET (fillfactor = 90), DISABLE TRIGGER ALL', 'ALTER TABLE %s ALTER data SET STORAGE PLAIN', 'CREATE INDEX ON %s (actor)',
	'ALTER VIEW eventsource.events SET (security_barrier)', 'CREATE PUBLICATION harmless FOR TABLE %s']) AS command;
SELECT is((SELECT count(*) FROM eventsource.check_guards() WHERE NOT is_intact), 0::bigint, 'nothing is wrong after all this');

-- What event triggers of others do while a statement of ours runs is not ours.
CREATE TEMP TABLE tried (command text, refusal text);
GRANT ALL ON tried TO PUBLIC;
CREATE FUNCTION harmless.tries() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	command text;
BEGIN
	FOREACH command IN ARRAY ARRAY['ALTER TABLE eventsource.word DISABLE TRIGGER ALL', 'CREATE RULE r AS ON INSERT TO eventsource.word DO INSTEAD NOTHING',
		'UPDATE pg_trigger SET tgenabled = ''D'' WHERE tgrelid = ''eventsource.word''::regclass', 'DROP TRIGGER guard_row ON eventsource.word'] LOOP
		BEGIN
			EXECUTE command;
			INSERT INTO tried VALUES (command, 'none');
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO tried VALUES (command, sqlstate);
		END;
	END LOOP;
END
$$;
CREATE EVENT TRIGGER harmless_tries ON ddl_command_end WHEN TAG IN ('GRANT') EXECUTE FUNCTION harmless.tries();
CREATE ROLE harmless_other;
SELECT eventsource.grant_admin('harmless_other') IS NULL AS done \gset
TRUNCATE tried;
GRANT harmless_other TO harmless_owner;
ALTER SCHEMA harmless OWNER TO harmless_other;
SET LOCAL ROLE harmless_other;
CREATE TABLE harmless.later (day date NOT NULL) PARTITION BY RANGE (day);
SELECT eventsource.make_append_only('harmless.later') = 1 AS done \gset
RESET ROLE;
SELECT is((SELECT count(*) FROM tried), 4::bigint, 'an event trigger ran while the extension granted a right');
SELECT is(refusal, 'ZE001', command) FROM tried;
DROP EVENT TRIGGER harmless_tries;

-- Who sees personal fields, and who took a name.
GRANT SELECT ON eventsource.vault TO harmless_owner;
SELECT is((SELECT detail FROM eventsource.check_guards() WHERE NOT is_intact), 'SELECT for harmless_owner on eventsource.vault', 'personal fields are nobody''s to read');
REVOKE SELECT ON eventsource.vault FROM harmless_owner;
ALTER TABLE harmless.audit RENAME TO audit_before;
SELECT is((SELECT count(*) FROM eventsource.check_guards() WHERE NOT is_intact), 0::bigint, 'a table may have another name');
CREATE TABLE harmless.audit (LIKE harmless.audit_before);
SELECT is((SELECT detail FROM eventsource.check_guards() WHERE NOT is_intact), 'the table is harmless.audit_before, and what has its name now is not append-only', 'but no other may have its own');

SELECT * FROM finish();
ROLLBACK;
