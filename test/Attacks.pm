# Attacks.pm: ways around an append-only log, for test/t/040_attacks.pl. The numbers
# are those of the list of threats that the project began with; those without are
# their siblings. What a table of the verdicts says about one is its name.
package Attacks;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(attacks);

# Each: heading, name, sql; before: what a superuser does first, in the same transaction;
# after: what mends what no rollback undoes; min: the first major that knows the syntax. Each is run in a session of its own, which
# has not used the log. SEGMENT stands for the first segment.
sub attacks
{
	my $forge = 'SELECT position + 500, stream, version + 1000, recorded_at, type, actor, recorded_by, from_state,'
	  . ' to_state, reason, machine, schema_version, flags, hash, data, metadata, subject, extra FROM SEGMENT LIMIT 1';
	my @all = (
		'Rows',
		[ 'UPDATE of an event (1)', q{UPDATE eventsource.event SET data = '{"forged": 1}'} ],
		[ 'UPDATE of a segment (1)', q{UPDATE SEGMENT SET data = '{"forged": 1}'} ],
		[ 'DELETE in a CTE (1)', 'WITH d AS (DELETE FROM eventsource.event RETURNING *) SELECT count(*) FROM d' ],
		[ 'MERGE (1)', 'MERGE INTO SEGMENT s USING (VALUES (1)) v (x) ON true WHEN MATCHED THEN DELETE' ],
		[ 'UPDATE through the view (1)', q{UPDATE eventsource.events SET data = '{}'} ],
		[ 'TRUNCATE of the log (4)', 'TRUNCATE eventsource.event CASCADE' ],
		[ 'TRUNCATE of a segment (5)', 'TRUNCATE SEGMENT' ],
		[
			'TRUNCATE CASCADE over a foreign key (6)',
			'CREATE TEMP TABLE t (id int PRIMARY KEY); ALTER TABLE eventsource.word ADD FOREIGN KEY (id) REFERENCES t NOT VALID; TRUNCATE t CASCADE'
		],
		[ 'DELETE as a replica (9)', 'SET LOCAL session_replication_role = replica; DELETE FROM SEGMENT' ],
		[
			'DELETE as a replica, by grant (9)',
			'SET LOCAL session_replication_role = replica; DELETE FROM SEGMENT',
			before => 'GRANT SET ON PARAMETER session_replication_role TO PUBLIC; GRANT pg_write_all_data TO es_app'
		],
		[
			'all rights by pg_write_all_data (12)', q{UPDATE SEGMENT SET data = '{}'},
			before => 'GRANT pg_write_all_data TO es_app'
		],
		[ 'INSERT of a forged row (13)', "INSERT INTO eventsource.event $forge" ],
		[ 'INSERT of a forged row into a segment (13)', "INSERT INTO SEGMENT $forge" ],
		[ 'COPY of a forged row (14)', q{COPY eventsource.word FROM PROGRAM 'printf "2000000000\tforged\n"'} ],
		[ 'COPY FREEZE after TRUNCATE (14)', q{TRUNCATE eventsource.word; COPY eventsource.word FROM PROGRAM 'true' WITH (FREEZE)} ],
		[
			'DELETE from its TOAST table (17)',
			q{DO $$ BEGIN EXECUTE format('DELETE FROM %s', (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'SEGMENT'::regclass)); END $$}
		],
		[ 'INSERT with OVERRIDING (13)', "INSERT INTO eventsource.event OVERRIDING SYSTEM VALUE $forge" ],
		[
			'INSERT of what is not said but found (13)',
			q{INSERT INTO eventsource.events (stream, type, position, recorded_at, recorded_by) VALUES ('a-1', 'happened', 7, '2001-01-01', 'eve')}
		],
		[
			'a foreign key that deletes (8)',
			'CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE eventsource.word ADD FOREIGN KEY (id) REFERENCES t ON DELETE CASCADE NOT VALID'
		],
		[ 'a row of a projection (16)', q{UPDATE shown SET n = n + 1} ],
		[ 'a setting that says so (25)', q{SET LOCAL eventsource.allow_maintenance = on; SET LOCAL eventsource.is_own = on; DELETE FROM SEGMENT} ],
		[ 'a word of the registry (39)', q{UPDATE eventsource.word SET word = 'forged' WHERE word = 'happened'} ],
		[ 'progress of a projection (74)', 'UPDATE eventsource.projection_cursor SET position = 0' ],
		[ 'a head', 'UPDATE eventsource.stream SET name = name' ],
		[ 'an erasable field', 'DELETE FROM eventsource.vault' ],
		'Triggers, rules, row security',
		[ 'DISABLE TRIGGER of the log (19)', 'ALTER TABLE eventsource.event DISABLE TRIGGER ALL; DELETE FROM eventsource.event' ],
		[ 'DISABLE TRIGGER of a segment (19)', 'ALTER TABLE SEGMENT DISABLE TRIGGER USER; DELETE FROM SEGMENT' ],
		[ 'DROP TRIGGER (20)', 'DROP TRIGGER guard_statement ON SEGMENT' ],
		[ 'DROP FUNCTION of the guard (20)', 'DROP FUNCTION eventsource.guard() CASCADE' ],
		[
			'the guard another function (20)',
			q{CREATE OR REPLACE FUNCTION eventsource.guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'}
		],
		[ 'ALTER FUNCTION SET (20)', q{ALTER FUNCTION eventsource.append_events(jsonb) SET eventsource.actor = 'x'} ],
		[ 'ENABLE TRIGGER, no more ALWAYS (21)', 'ALTER TABLE SEGMENT ENABLE TRIGGER guard_statement' ],
		[
			'a trigger that loses rows (22)',
			q{CREATE FUNCTION pg_temp.lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER z BEFORE INSERT ON SEGMENT FOR EACH ROW EXECUTE FUNCTION pg_temp.lose()}
		],
		[
			'a trigger with a transition table (22)',
			q{CREATE FUNCTION pg_temp.see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER z AFTER INSERT ON eventsource.word REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.see()}
		],
		[
			'a trigger on the view (22)',
			q{CREATE FUNCTION pg_temp.lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER a INSTEAD OF INSERT ON eventsource.events FOR EACH ROW EXECUTE FUNCTION pg_temp.lose()}
		],
		[ 'CREATE RULE DO INSTEAD NOTHING (23)', 'CREATE RULE r AS ON INSERT TO SEGMENT DO INSTEAD NOTHING' ],
		[ 'CREATE RULE on the view (23)', 'CREATE RULE r AS ON INSERT TO eventsource.events DO INSTEAD NOTHING' ],
		[ 'ENABLE ROW LEVEL SECURITY (24)', 'ALTER TABLE SEGMENT ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY' ],
		[ 'CREATE POLICY (24)', 'CREATE POLICY p ON eventsource.event USING (false)' ],
		[ 'another view of events', 'CREATE OR REPLACE VIEW eventsource.snapshots AS SELECT * FROM eventsource.snapshots WHERE false' ],
		[ 'the guard called by hand (26)', 'SELECT eventsource.guard()' ],
		[
			'the guard on a table of one\'s own (26)',
			'CREATE TEMP TABLE t (x int); CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION eventsource.guard(); INSERT INTO t VALUES (1)'
		],
		'DDL',
		[ 'ALTER COLUMN TYPE USING (28)', q{ALTER TABLE eventsource.event ALTER data TYPE jsonb USING '{"forged": 1}'} ],
		[ 'ALTER COLUMN TYPE USING, words (28)', q{ALTER TABLE eventsource.word ALTER word TYPE varchar USING 'forged'} ],
		[ 'DROP COLUMN (30)', 'ALTER TABLE eventsource.event DROP COLUMN data' ],
		[ 'RENAME COLUMN (30)', 'ALTER TABLE eventsource.event RENAME data TO d' ],
		[ 'ADD COLUMN', 'ALTER TABLE eventsource.event ADD COLUMN more int DEFAULT 1' ],
		[ 'DROP TABLE of a segment (31)', 'DROP TABLE SEGMENT CASCADE' ],
		[ 'DROP SCHEMA CASCADE (31)', 'DROP SCHEMA eventsource CASCADE' ],
		[ 'DROP OWNED (31)', 'DROP OWNED BY es_owner CASCADE' ],
		[ 'DROP EXTENSION CASCADE (31)', 'DROP EXTENSION eventsource CASCADE' ],
		[ 'SET ACCESS METHOD (32)', 'ALTER TABLE SEGMENT SET ACCESS METHOD heap' ],
		[ 'SET UNLOGGED', 'ALTER TABLE eventsource.word SET UNLOGGED' ],
		[ 'SET TABLESPACE', 'ALTER TABLE SEGMENT SET TABLESPACE pg_default' ],
		[ 'DETACH PARTITION (34)', 'ALTER TABLE eventsource.event DETACH PARTITION SEGMENT' ],
		[
			'ATTACH of forged rows (35)',
			'CREATE TABLE forged (LIKE SEGMENT); ALTER TABLE eventsource.event ATTACH PARTITION forged FOR VALUES FROM (1000000000000000000) TO (2000000000000000000)'
		],
		[ 'PARTITION OF the log (35)', 'CREATE TABLE forged PARTITION OF eventsource.event FOR VALUES FROM (1000000000000000000) TO (2000000000000000000)' ],
		[ 'a child of a table', 'CREATE TABLE forged () INHERITS (eventsource.word)' ],
		[ 'a child of a table, by INHERIT', 'CREATE TABLE forged (LIKE eventsource.word); ALTER TABLE forged INHERIT eventsource.word' ],
		[ 'DROP CONSTRAINT (36)', 'ALTER TABLE SEGMENT DROP CONSTRAINT IF EXISTS event_1_pkey' ],
		[ 'DROP INDEX (36)', 'DROP INDEX eventsource.event_1_stream_idx' ],
		[ 'SET DEFAULT (37)', q{ALTER TABLE eventsource.event ALTER recorded_at SET DEFAULT '2001-01-01'} ],
		[ 'ALTER SEQUENCE RESTART (37)', 'ALTER SEQUENCE eventsource.position_seq RESTART' ],
		[ 'setval(), backwards (37)', q{SELECT setval('eventsource.position_seq', 1)}, after => q{SELECT setval('eventsource.position_seq', 300)} ],
		[ 'ALTER TABLE OWNER (41)', 'ALTER TABLE SEGMENT OWNER TO es_app' ],
		[ 'REASSIGN OWNED (41)', 'REASSIGN OWNED BY es_owner TO es_app' ],
		[ 'GRANT of rights on a table (41)', 'GRANT TRIGGER, UPDATE, TRUNCATE ON SEGMENT TO es_app' ],
		[ 'GRANT ALL on all tables (41)', 'GRANT ALL ON ALL TABLES IN SCHEMA eventsource TO es_app' ],
		[ 'GRANT on a sequence (41)', 'GRANT UPDATE ON SEQUENCE eventsource.position_seq TO es_app' ],
		[ 'GRANT CREATE on the schema (41)', 'GRANT CREATE ON SCHEMA eventsource TO es_app' ],
		[ 'GRANT MAINTAIN (41)', 'GRANT MAINTAIN ON SEGMENT TO es_app', min => 17 ],
		[ 'ALTER DEFAULT PRIVILEGES (41)', 'ALTER DEFAULT PRIVILEGES IN SCHEMA eventsource GRANT ALL ON TABLES TO es_app' ],
		[ 'ALTER EXTENSION DROP FUNCTION (42)', 'ALTER EXTENSION eventsource DROP FUNCTION eventsource.guard()' ],
		[ 'ALTER EXTENSION ADD TABLE, out of the dump', 'ALTER EXTENSION plpgsql ADD TABLE SEGMENT' ],
		[ 'ALTER EXTENSION UPDATE (42)', q{ALTER EXTENSION eventsource UPDATE TO 'hostile'} ],
		[
			'an index with a function (43)',
			q{CREATE FUNCTION pg_temp.f(jsonb) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'; CREATE INDEX ON SEGMENT (pg_temp.f(data))}
		],
		[ 'ADD CHECK (false) NOT VALID (44)', 'ALTER TABLE eventsource.event ADD CHECK (false) NOT VALID' ],
		[ 'CONSTRAINT NOT ENFORCED (36)', 'ALTER TABLE eventsource.word ADD CHECK (id > 0) NOT ENFORCED', min => 18 ],
		[ 'the same in CREATE SCHEMA', 'CREATE SCHEMA s CREATE TABLE forged () INHERITS (eventsource.word)' ],
		[ 'the same in DO', q{DO $$ BEGIN EXECUTE 'ALTER TABLE SEGMENT DISABLE TRIGGER ALL'; END $$} ],
		[ 'SET SCHEMA', 'ALTER TABLE SEGMENT SET SCHEMA public' ],
		[ 'RENAME of the schema', 'ALTER SCHEMA eventsource RENAME TO s' ],
		[ 'ALTER CONSTRAINT NOT ENFORCED (36)', 'CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE eventsource.word ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES t NOT ENFORCED', min => 18 ],
		[ 'GRANT MAINTAIN on the schema (41)', 'GRANT MAINTAIN ON ALL TABLES IN SCHEMA eventsource TO es_app', min => 17 ],
		[ 'the role pg_maintain (41)', 'REINDEX TABLE SEGMENT; DELETE FROM SEGMENT', min => 17, before => 'GRANT pg_maintain TO es_app' ],
		[ 'NOT NULL away (36)', 'ALTER TABLE eventsource.event ALTER type DROP NOT NULL' ],
		[
			'ATTACH of a foreign table (35)',
			'CREATE FOREIGN TABLE forged (x int) SERVER elsewhere; ALTER TABLE eventsource.event ATTACH PARTITION forged FOR VALUES FROM (1000000000000000000) TO (2000000000000000000)'
		],
		[ 'GRANT SELECT on personal fields', 'GRANT SELECT ON eventsource.vault TO es_app' ],
		[ 'GRANT of all rights, by column (41)', 'GRANT UPDATE (data) ON SEGMENT TO es_app' ],

		[ 'a publication of a table', 'CREATE PUBLICATION p FOR TABLE eventsource.word' ],
		[ 'a publication of some rows', 'CREATE PUBLICATION p FOR TABLE eventsource.word WHERE (id > 5)' ],
		[ 'a publication of the schema', 'CREATE PUBLICATION p FOR TABLES IN SCHEMA eventsource' ],
		[ 'a publication of the current schema', 'SET LOCAL search_path = eventsource; CREATE PUBLICATION p FOR TABLES IN SCHEMA CURRENT_SCHEMA' ],
		[ 'a publication that gets a table', 'CREATE PUBLICATION p; ALTER PUBLICATION p ADD TABLE SEGMENT' ],
		[ 'ALTER EXTENSION DROP TABLE (42)', 'ALTER EXTENSION eventsource DROP TABLE eventsource.word' ],
		[ 'ALTER EXTENSION ADD FUNCTION (42)', q{CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION eventsource ADD FUNCTION f()} ],
		[ 'ALTER EXTENSION DROP EVENT TRIGGER (42)', 'ALTER EXTENSION eventsource DROP EVENT TRIGGER eventsource_guard_ddl' ],
		[ 'ALTER EXTENSION SET SCHEMA (42)', 'ALTER EXTENSION eventsource SET SCHEMA public' ],
		'Catalogs, event triggers, libraries',
		[ 'UPDATE pg_trigger (45)', q{UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'SEGMENT'::regclass} ],
		[ 'DELETE FROM pg_trigger (45)', q{DELETE FROM pg_trigger WHERE tgrelid = 'SEGMENT'::regclass} ],
		[ 'UPDATE pg_class, no triggers (46)', q{UPDATE pg_class SET relhastriggers = false WHERE oid = 'SEGMENT'::regclass} ],
		[ 'UPDATE pg_class, row security (46)', q{UPDATE pg_class SET relrowsecurity = true WHERE oid = 'SEGMENT'::regclass} ],
		[ 'UPDATE pg_class, owner (46)', q{UPDATE pg_class SET relowner = 'es_app'::regrole WHERE oid = 'SEGMENT'::regclass} ],
		[ 'UPDATE pg_proc, the guard (45)', q{UPDATE pg_proc SET prosrc = 'eventsource_is_preloaded' WHERE oid = 'eventsource.guard()'::regprocedure} ],
		[ 'UPDATE pg_index (36)', q{UPDATE pg_index SET indisvalid = false WHERE indrelid = 'SEGMENT'::regclass} ],
		[ 'DELETE FROM pg_inherits (34)', q{DELETE FROM pg_inherits WHERE inhrelid = 'SEGMENT'::regclass} ],
		[ 'DELETE FROM pg_depend (42)', q{DELETE FROM pg_depend WHERE deptype = 'e' AND objid = 'eventsource.guard()'::regprocedure} ],
		[ 'ALTER EVENT TRIGGER DISABLE (48)', 'ALTER EVENT TRIGGER eventsource_guard_ddl DISABLE' ],
		[ 'DROP EVENT TRIGGER (48)', 'DROP EVENT TRIGGER eventsource_guard_ddl' ],
		[ 'event_triggers = off (49)', 'SET LOCAL event_triggers = off; DROP TRIGGER guard_statement ON SEGMENT', min => 17 ],
		[ 'event triggers as a replica (48)', 'SET LOCAL session_replication_role = replica; DROP TRIGGER guard_statement ON SEGMENT' ],
		[ 'pg_surgery (52)', 'CREATE EXTENSION pg_surgery' ],
		[ 'GRANT SET ON PARAMETER (9)', 'GRANT SET ON PARAMETER session_replication_role TO es_app' ],
		[ 'a setting of a role (9)', q{ALTER ROLE es_app SET session_replication_role = replica} ],
		[
			'maintenance, and an event changed (55)',
			q{SELECT eventsource.allow_maintenance('x'); ALTER TABLE SEGMENT DISABLE TRIGGER ALL; ALTER TABLE eventsource.event DISABLE TRIGGER ALL; UPDATE SEGMENT SET data = '{"forged": 1}' WHERE position = 1; ALTER TABLE SEGMENT ENABLE ALWAYS TRIGGER guard_statement, ENABLE ALWAYS TRIGGER guard_row}
		],
		[
			'maintenance, and the last event of a stream gone (56)',
			q{SELECT eventsource.allow_maintenance('x'); ALTER TABLE SEGMENT DISABLE TRIGGER ALL; ALTER TABLE eventsource.event DISABLE TRIGGER ALL; DELETE FROM SEGMENT e WHERE version = (SELECT max(version) FROM SEGMENT s WHERE s.stream = e.stream) AND position IN (SELECT max(position) FROM eventsource.events WHERE stream = 'a-1'); ALTER TABLE SEGMENT ENABLE ALWAYS TRIGGER guard_statement, ENABLE ALWAYS TRIGGER guard_row; ALTER TABLE eventsource.event ENABLE ALWAYS TRIGGER guard_statement, ENABLE ALWAYS TRIGGER guard_row}
		],
		[
			'a built-in function, another (40)',
			q{CREATE OR REPLACE FUNCTION pg_catalog.md5(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS 'SELECT ''x'''}
		],
		[
			'an operator that is nearer (40)',
			q{CREATE FUNCTION public.ne("char", text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false'; CREATE OPERATOR pg_catalog.<> (LEFTARG = "char", RIGHTARG = text, FUNCTION = public.ne)}
		],
		[ 'a function that is nearer (40)', q{CREATE FUNCTION pg_catalog.format(text, name, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''x'''} ],
		[ 'a cast that is nearer (40)', 'CREATE CAST (oid AS boolean) WITH INOUT AS IMPLICIT' ],
		[ 'UPDATE pg_class, another access method (32)', q{UPDATE pg_class SET relam = 0 WHERE oid = 'SEGMENT'::regclass} ],
		[ 'UPDATE pg_class, another file (46)', q{UPDATE pg_class SET relfilenode = 1 WHERE oid = 'SEGMENT'::regclass} ],
		[ 'UPDATE pg_attribute (45)', q{UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'SEGMENT'::regclass} ],
		[ 'UPDATE pg_attribute, names swapped (30)', q{UPDATE pg_attribute SET attname = CASE attname WHEN 'from_state' THEN 'to_state_' ELSE attname END WHERE attrelid = 'SEGMENT'::regclass} ],
		[ 'INSERT INTO pg_rewrite (45)', q{INSERT INTO pg_rewrite SELECT 99999, 'r', 'SEGMENT'::regclass, ev_type, ev_enabled, is_instead, ev_qual, ev_action FROM pg_rewrite LIMIT 1} ],
		[ 'UPDATE pg_event_trigger (48)', q{UPDATE pg_event_trigger SET evtenabled = 'D'} ],
		[ 'a setting of the database (9)', 'ALTER DATABASE log SET session_replication_role = replica' ],
		[ 'a setting of all roles (9)', 'ALTER ROLE ALL SET session_replication_role = replica' ],
		[ 'event_triggers of the database (49)', 'ALTER DATABASE log SET event_triggers = off', min => 17 ],
		[ 'row_security of the database (24)', 'ALTER DATABASE log SET row_security = off; ALTER TABLE eventsource.event ENABLE ROW LEVEL SECURITY' ],
		'A table that is append-only',
		[ 'its rows: UPDATE', q{UPDATE audit SET what = 'forged'} ],
		[ 'its rows: DELETE of a partition', 'DELETE FROM audit_1' ],
		[ 'its rows: TRUNCATE of a partition', 'TRUNCATE audit_1' ],
		[ 'its rows: as a replica', 'SET LOCAL session_replication_role = replica; DELETE FROM audit' ],
		[ 'its guards: DISABLE TRIGGER', 'ALTER TABLE audit_1 DISABLE TRIGGER ALL' ],
		[ 'its guards: DROP TRIGGER', 'DROP TRIGGER eventsource_append_only ON audit' ],
		[ 'its guards: a rule', 'CREATE RULE r AS ON INSERT TO audit_1 DO INSTEAD NOTHING' ],
		[ 'its columns: TYPE USING', q{ALTER TABLE audit ALTER what TYPE text USING 'forged'} ],
		[ 'its partitions: DETACH', 'ALTER TABLE audit DETACH PARTITION audit_1' ],
		[
			'its partitions: ATTACH of rows',
			q{CREATE TABLE forged (LIKE audit); INSERT INTO forged VALUES ('2022-02-02', 'forged'); ALTER TABLE audit ATTACH PARTITION forged FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')}
		],
		[ 'the table: DROP', 'DROP TABLE audit CASCADE' ],
		[
			'the types of its columns: ALTER TYPE RENAME VALUE (38)', q{ALTER TYPE outcome RENAME VALUE 'paid' TO 'refunded'},
			before => 'ALTER TABLE audit ADD outcome outcome DEFAULT \'paid\''
		],
		[
			'the types of its columns: UPDATE pg_enum (38)', q{UPDATE pg_enum SET enumlabel = 'refunded' WHERE enumlabel = 'paid'},
			before => 'ALTER TABLE audit ADD outcome outcome DEFAULT \'paid\''
		],
		[
			'the types of its columns: DROP ATTRIBUTE', 'ALTER TYPE pair DROP ATTRIBUTE b',
			before => 'ALTER TABLE audit ADD pair pair DEFAULT (1, 2)'
		],
		[
			'its partitions: UNLOGGED',
			q{CREATE UNLOGGED TABLE forged PARTITION OF audit FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')}
		],
		[
			'its partitions: a foreign table',
			q{CREATE FOREIGN TABLE forged PARTITION OF audit FOR VALUES FROM ('2022-01-01') TO ('2023-01-01') SERVER elsewhere}
		],
		[ 'its columns: ADD COLUMN that deletes', 'CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE audit ADD u int REFERENCES t ON DELETE CASCADE, DISABLE TRIGGER ALL' ],
		[ 'its columns: DROP DEFAULT', 'ALTER TABLE audit ALTER what DROP DEFAULT' ],
		[ 'its columns: RENAME', 'ALTER TABLE audit RENAME what TO w' ],
		[ 'its rows: row security', 'ALTER TABLE audit ENABLE ROW LEVEL SECURITY' ],
		[
			'its name for another table',
			'ALTER TABLE audit RENAME TO audit_before; CREATE TABLE audit (LIKE audit_before)'
		],
		[
			'its name for a view',
			'ALTER TABLE audit RENAME TO audit_before; CREATE VIEW audit AS SELECT * FROM audit_before WHERE false'
		],
		[
			'its name for a table, by SET SCHEMA',
			'CREATE SCHEMA s AUTHORIZATION es_owner; ALTER TABLE audit SET SCHEMA s; CREATE TABLE public.audit (LIKE s.audit)'
		],
		[
			'the types of its columns: DROP TYPE CASCADE (31)', 'DROP TYPE outcome CASCADE',
			before => 'ALTER TABLE audit ADD outcome outcome DEFAULT \'paid\''
		],
		[
			'the types of its columns: UPDATE pg_attribute (45)',
			q{UPDATE pg_attribute SET attname = attname || '_' WHERE attrelid = (SELECT typrelid FROM pg_type WHERE typname = 'pair')},
			before => 'ALTER TABLE audit ADD pair pair DEFAULT (1, 2)'
		],
		[
			'the types of its columns: UPDATE pg_type (45)', q{UPDATE pg_type SET typnotnull = true WHERE typname = 'outcome'},
			before => 'ALTER TABLE audit ADD outcome outcome DEFAULT \'paid\''
		],
		[
			'its partitions: ATTACH of a foreign table',
			q{CREATE FOREIGN TABLE forged (day date NOT NULL, what text) SERVER elsewhere; ALTER TABLE audit ATTACH PARTITION forged FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')}
		],
		[ 'catalogs: UPDATE pg_trigger', q{UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'audit_1'::regclass} ]);
	my $heading = '';
	my @result;

	for my $entry (@all)
	{
		if (!ref $entry)
		{
			$heading = $entry;
			next;
		}
		my ($name, $sql, %more) = @$entry;
		push @result, { heading => $heading, name => $name, sql => $sql, %more };
	}
	return @result;
}

1;
