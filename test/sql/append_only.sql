\set ECHO none
\i test/helpers.sql
-- make_append_only(): the protection of the log for a table of the user's, partitioned ones too.
SELECT eventsource.append('appendonly-1', 'x') IS NULL AS done \gset
BEGIN;
SELECT plan(89);
CREATE ROLE ao_owner;
CREATE ROLE ao_app;
CREATE FOREIGN DATA WRAPPER ao_wrapper;
CREATE SERVER ao_server FOREIGN DATA WRAPPER ao_wrapper;
GRANT USAGE ON FOREIGN SERVER ao_server TO ao_owner;
SELECT eventsource.grant_admin('ao_owner') IS NULL AS done \gset
CREATE SCHEMA ao AUTHORIZATION ao_owner;
GRANT USAGE ON SCHEMA ao TO ao_app;
SET LOCAL ROLE ao_owner;
CREATE TABLE ao.audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), what text NOT NULL);
INSERT INTO ao.audit (what) VALUES ('a'), ('b');
CREATE TABLE ao.parted (day date NOT NULL, what text) PARTITION BY RANGE (day);
CREATE TABLE ao.parted_1 PARTITION OF ao.parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO ao.parted VALUES ('2020-02-02', 'a');
CREATE TABLE ao.other (id bigint REFERENCES ao.audit, what text);
CREATE TABLE ao.full_part (LIKE ao.parted);
INSERT INTO ao.full_part VALUES ('2023-02-02', 'forged');
CREATE TABLE ao.empty_part (LIKE ao.parted);
CREATE TABLE ao.heir () INHERITS (ao.audit);
CREATE TYPE ao.mood AS ENUM ('paid', 'open');
CREATE TYPE ao.unused AS ENUM ('x');
CREATE TYPE ao.pair AS (a int, b int);
CREATE TABLE ao.row_of (a int, b ao.mood);
CREATE DOMAIN ao.pairs AS ao.pair[];
CREATE TABLE ao.typed (moods ao.mood[], pairs ao.pairs, whole ao.row_of);
CREATE FUNCTION ao.lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA ao TO ao_app;

-- What cannot be.
SELECT pg_temp.refuses($$ SELECT eventsource.make_append_only('ao.audit') $$, '42809', 'table "audit" cannot be made append-only', 'children');
DROP TABLE ao.heir;
CREATE TEMP TABLE brief (x int);
CREATE UNLOGGED TABLE ao.brief (x int);
CREATE TABLE ao.ruled (x int);
CREATE RULE r AS ON INSERT TO ao.ruled DO INSTEAD NOTHING;
CREATE VIEW ao.seen AS SELECT 1 AS x;
SELECT pg_temp.refuses(format('SELECT eventsource.make_append_only(%L)', t), '42809', format('table "%s" cannot be made append-only', split_part(t, '.', 2)), t)
FROM unnest(ARRAY['pg_temp.brief', 'ao.brief', 'ao.ruled', 'ao.seen']) AS t;
SELECT pg_temp.refuses($$ SELECT eventsource.make_append_only('pg_catalog.pg_class') $$, '42501', 'must be owner of table pg_class', 'not his own');
SELECT pg_temp.refuses($$ SELECT eventsource.make_append_only(NULL) $$, '22004', 'table must not be null', 'NULL');

SELECT is(eventsource.make_append_only('ao.audit'), 1::bigint, 'a table');
SELECT is(eventsource.make_append_only('ao.audit'), 1::bigint, 'once more: the same');
SELECT is(eventsource.make_append_only('ao.parted'), 1::bigint, 'a partitioned one');
SELECT is(eventsource.make_append_only('ao.typed'), 1::bigint, 'with types of one''s own');

CREATE FUNCTION pg_temp.refused(command text) RETURNS text LANGUAGE sql AS $$
	SELECT ok(pg_temp.refusal(command) LIKE 'ZE001: % is not allowed%DETAIL: The table is append-only%HINT%', command)
$$;
CREATE TEMP TABLE attack (n serial, command text);
INSERT INTO attack (command) SELECT * FROM unnest(ARRAY[
	$$UPDATE ao.audit SET what = 'forged'$$, $$UPDATE ao.audit SET what = 'forged' WHERE false$$, 'DELETE FROM ao.audit', 'TRUNCATE ao.audit CASCADE',
	$$UPDATE ao.parted SET what = 'forged'$$, $$UPDATE ao.parted_1 SET what = 'forged'$$, 'DELETE FROM ONLY ao.parted_1', 'TRUNCATE ao.parted_1', 'TRUNCATE ao.parted',
	$$INSERT INTO ao.audit OVERRIDING SYSTEM VALUE VALUES (1, now(), 'x') ON CONFLICT (id) DO UPDATE SET what = 'forged'$$,
	$$MERGE INTO ao.audit a USING (VALUES (1)) v (x) ON a.id = v.x WHEN MATCHED THEN DELETE$$,
	$$WITH d AS (DELETE FROM ao.audit RETURNING *) SELECT * FROM d$$]);
GRANT SELECT ON attack TO ao_app;
SELECT pg_temp.refused(command) FROM attack ORDER BY n;
SET LOCAL ROLE ao_app;
SELECT pg_temp.refused(command) FROM attack WHERE command NOT LIKE '%CASCADE%' ORDER BY n;
SET LOCAL ROLE ao_owner;
SELECT pg_temp.refused(command) FROM unnest(ARRAY[
	'ALTER TABLE ao.audit DISABLE TRIGGER ALL', 'ALTER TABLE ao.parted_1 DISABLE TRIGGER USER', 'ALTER TABLE ao.audit ENABLE TRIGGER eventsource_append_only',
	'DROP TRIGGER eventsource_append_only ON ao.audit', 'DROP TRIGGER eventsource_append_only_row ON ao.parted', 'ALTER TRIGGER eventsource_append_only ON ao.audit RENAME TO x',
	'CREATE TRIGGER t BEFORE INSERT ON ao.audit FOR EACH ROW EXECUTE FUNCTION ao.lose()',
	'CREATE RULE r AS ON INSERT TO ao.audit DO INSTEAD NOTHING', 'ALTER TABLE ao.audit ENABLE ROW LEVEL SECURITY', 'CREATE POLICY p ON ao.audit USING (false)',
	$$ALTER TABLE ao.audit ALTER what TYPE text USING 'forged'$$, 'ALTER TABLE ao.audit DROP COLUMN what', 'ALTER TABLE ao.audit RENAME COLUMN what TO who',
	$$ALTER TABLE ao.audit ALTER at SET DEFAULT '2001-01-01'$$, 'ALTER TABLE ao.audit SET UNLOGGED', 'ALTER TABLE ao.audit DROP CONSTRAINT audit_pkey CASCADE',
	'ALTER TABLE ao.parted DETACH PARTITION ao.parted_1', 'ALTER TABLE ao.audit INHERIT ao.other', 'CREATE TABLE ao.child () INHERITS (ao.audit)',
	'ALTER TABLE ao.parted ATTACH PARTITION ao.full_part FOR VALUES FROM (''2023-01-01'') TO (''2024-01-01'')',
	'DROP TABLE ao.audit CASCADE', 'DROP TABLE ao.parted_1', 'DROP SCHEMA ao CASCADE', 'ALTER TABLE ao.audit ADD CHECK (false) NOT VALID']) AS command;

-- Nor what its columns mean, by way of their types; nor partitions that a crash would empty, or of another server.
SELECT pg_temp.refused(command) FROM unnest(ARRAY[
	'ALTER TYPE ao.mood RENAME VALUE ''paid'' TO ''refunded''', 'ALTER TYPE ao.pair DROP ATTRIBUTE b CASCADE', 'ALTER TYPE ao.pair RENAME ATTRIBUTE b TO c',
	'ALTER TABLE ao.row_of DROP COLUMN b', 'ALTER TABLE ao.row_of RENAME COLUMN b TO c', 'DROP TYPE ao.mood CASCADE']) AS command;
SELECT pg_temp.refuses(command, '42809', refusal, command) FROM (VALUES
	('CREATE UNLOGGED TABLE ao.fleeting PARTITION OF ao.parted FOR VALUES FROM (''2030-01-01'') TO (''2031-01-01'')', 'table "fleeting" cannot be made append-only'),
	('CREATE FOREIGN TABLE ao.elsewhere PARTITION OF ao.parted FOR VALUES FROM (''2030-01-01'') TO (''2031-01-01'') SERVER ao_server', 'table "elsewhere" cannot be made append-only')) v (command, refusal);
SELECT lives_ok(command, command) FROM unnest(ARRAY['ALTER TYPE ao.mood ADD VALUE ''late''', 'ALTER TYPE ao.unused RENAME VALUE ''x'' TO ''y''',
	'ALTER TYPE ao.pair ADD ATTRIBUTE d int', 'ALTER TABLE ao.audit ENABLE ALWAYS TRIGGER eventsource_append_only']) AS command;
CREATE TYPE pg_temp.mood AS ENUM ('x');
CREATE DOMAIN ao.moods AS pg_temp.mood[];
CREATE TYPE ao.brief_pair AS (a int, b ao.moods);
CREATE TABLE ao.brief_typed (c ao.brief_pair);
SELECT pg_temp.refused(command) FROM unnest(ARRAY['ALTER TABLE ao.audit ADD m pg_temp.mood', 'ALTER TABLE ao.audit ADD m ao.brief_pair']) AS command;
SELECT pg_temp.refuses($$ SELECT eventsource.make_append_only('ao.brief_typed') $$, '42809', 'table "brief_typed" cannot be made append-only', 'a column that goes');
RESET ROLE;
SELECT is(split_part(pg_temp.refusal($$ UPDATE pg_enum SET enumlabel = 'refunded' WHERE enumlabel = 'paid' $$), ':', 1), 'ZE001', 'labels, in the catalog');
SET LOCAL ROLE ao_owner;

-- What one may do.
SELECT lives_ok(command, command) FROM unnest(ARRAY['INSERT INTO ao.audit (what) VALUES (''c'')',
	'ALTER TABLE ao.audit ADD COLUMN more text', 'CREATE INDEX ON ao.audit (at)', 'ALTER TABLE ao.audit RENAME TO audit_log',
	'CREATE TABLE ao.parted_2 PARTITION OF ao.parted FOR VALUES FROM (''2021-01-01'') TO (''2022-01-01'')',
	'ALTER TABLE ao.parted ATTACH PARTITION ao.empty_part FOR VALUES FROM (''2022-01-01'') TO (''2023-01-01'')']) AS command;
SELECT pg_temp.refused(command) FROM unnest(ARRAY['UPDATE ao.parted_2 SET what = ''x''', 'TRUNCATE ao.parted_2', 'TRUNCATE ao.empty_part', 'DELETE FROM ao.audit_log']) AS command;

SELECT pg_temp.refuses($$ SELECT eventsource.make_append_only('eventsource.word') $$, '42501', 'must be owner of table word', 'ours are not his');
RESET ROLE;
SELECT pg_temp.refused($$ SELECT eventsource.drop_append_only('ao.parted') $$);
SELECT eventsource.allow_maintenance('test') \g /dev/null
SELECT pg_temp.refuses($$ SELECT eventsource.drop_append_only('ao.none') $$, '42704', 'no table "ao.none" was made append-only', 'one that is none');
SELECT eventsource.drop_append_only('ao.parted') \g /dev/null
SELECT lives_ok('DELETE FROM ao.parted', 'after maintenance it is a table like any other');
SET search_path = ao, public;
SELECT eventsource.drop_append_only('audit_log') \g /dev/null
RESET search_path;
SELECT lives_ok('DELETE FROM ao.audit_log', 'so is one that goes by another name now, without its schema');

SELECT * FROM finish();
ROLLBACK;
