# 055_guards.pl: check_guards() names every guard there is, and each that is broken; and
# the ways around the log that take more than a session (docs/threats.md).

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('guards', 'eventsource.segment_size = 1000', 'wal_level = logical');
my $broken = q{SELECT string_agg(concat(guard, ', ', protects), '; ' ORDER BY guard, protects) FROM eventsource.check_guards() WHERE NOT is_intact};

$node->safe_psql('log', <<'SQL');
CREATE ROLE es_app LOGIN;
CREATE ROLE es_owner LOGIN;
SELECT eventsource.grant_writer('es_app');
SELECT count(eventsource.append('a-' || i % 5, 'happened', jsonb_build_object('mark', 'unforged' || i))) FROM generate_series(1, 2500) i;
CREATE TABLE shown (key text PRIMARY KEY, n int NOT NULL DEFAULT 0);
SELECT eventsource.create_projection('shown', '{a}', '{"happened": "n = row.n + 1"}');
CREATE TABLE audit (day date NOT NULL, what text) PARTITION BY RANGE (day);
CREATE TABLE audit_1 PARTITION OF audit FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO audit VALUES ('2020-02-02', 'a');
SELECT eventsource.make_append_only('audit');
GRANT ALL ON audit, audit_1 TO es_app;
GRANT pg_write_all_data TO es_owner;
SQL
my $segment = 'eventsource.' . $node->safe_psql('log', 'SELECT table_name FROM eventsource.segments ORDER BY lower_bound LIMIT 1');

# ---- every guard is listed ----

is($node->safe_psql('log', <<'SQL'), '', 'every table has its guards in the list, and the list no other');
WITH expected AS (
	SELECT k.guard, format('%s.%s', t.relnamespace::regnamespace, t.relname) AS protects
	  FROM pg_class t, (VALUES ('row guard'), ('statement guard')) k (guard)
	 WHERE t.relkind IN ('r', 'p') AND (t.relnamespace = 'eventsource'::regnamespace OR t.oid IN ('audit'::regclass, 'audit_1'::regclass))),
listed AS (SELECT guard, protects FROM eventsource.check_guards() WHERE guard IN ('row guard', 'statement guard'))
(TABLE expected EXCEPT TABLE listed) UNION ALL (TABLE listed EXCEPT TABLE expected)
SQL
is($node->safe_psql('log', $broken), '', 'all are intact');

# ---- each that is broken is found, and no other ----

# In a session without the library, with the event triggers away: nothing refuses.
sub broken_by
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');

	$sql =~ s/\bSEGMENT\b/$segment/g;
	$node->psql(
		'log', "BEGIN; UPDATE pg_event_trigger SET evtenabled = 'D' WHERE evtname LIKE 'eventsource%';\n$sql;\n"
		  . "UPDATE pg_event_trigger SET evtenabled = 'A' WHERE evtname LIKE 'eventsource%' AND evtfoid = 'eventsource.guard_ddl'::regproc;\n"
		  . "SET LOCAL session_replication_role = origin; $broken; ROLLBACK;",
		stdout => \$out,
		stderr => \$err);
	return $err =~ /ERROR/ ? $err : $out =~ s/^origin\n//r;
}

my @guarded = split /\n/, $node->safe_psql('log', q{SELECT protects FROM eventsource.check_guards() WHERE guard = 'row guard' ORDER BY protects});
for my $kind ([ 'row guard', 1 ], [ 'statement guard', 0 ])
{
	my ($guard, $bit) = @$kind;
	is(broken_by("UPDATE pg_trigger t SET tgenabled = 'O' FROM pg_proc p WHERE p.oid = tgfoid AND proname IN ('guard', 'append_only_guard') AND tgtype & 1 = $bit"),
		join('; ', map { "$guard, $_" } @guarded), "$guard: that of each table");
}
my $function = 'functions and views, the log';
my @mutations = (
	[ "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'SEGMENT'::regclass AND tgtype & 1 = 1", "row guard, $segment" ],
	[ "UPDATE pg_trigger SET tgtype = tgtype - 16 WHERE tgrelid = 'SEGMENT'::regclass AND tgtype & 1 = 0", "statement guard, $segment" ],
	[ "DROP TRIGGER eventsource_append_only ON audit_1", 'statement guard, public.audit_1' ],
	[ "UPDATE pg_trigger SET tgqual = (SELECT adbin FROM pg_attrdef LIMIT 1) WHERE tgrelid = 'audit'::regclass AND tgtype & 1 = 0", 'statement guard, public.audit' ],
	[ 'DROP TABLE audit', 'append-only table, public.audit' ],
	[ 'ALTER TABLE audit RENAME TO was_audit; CREATE VIEW audit AS SELECT 1', 'append-only table, public.audit' ],
	[ "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'shown'::regclass AND tgname LIKE 'eventsource%'", 'trigger eventsource_guard, public.shown; trigger eventsource_guard_truncate, public.shown' ],
	[ 'DROP TRIGGER eventsource_guard ON shown; DROP TRIGGER eventsource_guard_truncate ON shown', 'projection guard, public.shown' ],
	[ q{CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON SEGMENT FOR EACH ROW EXECUTE FUNCTION f()}, 'no trigger of others, the log' ],
	[ 'CREATE RULE r AS ON INSERT TO SEGMENT DO INSTEAD NOTHING', 'no rule, the log' ],
	[ 'ALTER TABLE SEGMENT ENABLE ROW LEVEL SECURITY', 'no row security, the log' ],
	[ 'CREATE POLICY p ON eventsource.word USING (false)', 'no row security, the log' ],
	[ 'CREATE TABLE child () INHERITS (eventsource.word)', 'no table of others in the tree, the log' ],
	[ 'ALTER TABLE eventsource.word SET UNLOGGED', 'tables as they were made, the log' ],
	[ "UPDATE pg_class SET relhastriggers = false WHERE oid = 'eventsource.word'::regclass", 'tables as they were made, the log' ],
	[ "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'eventsource.word_pkey'::regclass", 'indexes, the log' ],
	[ "ALTER TABLE eventsource.stream OWNER TO es_owner", 'ownership, the log' ],
	[ "ALTER FUNCTION eventsource.guard() OWNER TO es_owner", 'ownership, the log' ],
	[ "GRANT UPDATE ON SEGMENT TO es_app", 'rights, the log' ],
	[ "GRANT UPDATE (data) ON SEGMENT TO es_app", 'rights, the log' ],
	[ "GRANT SELECT ON eventsource.vault TO es_app", 'rights, the log' ],
	[ "GRANT CREATE ON SCHEMA eventsource TO es_app", 'rights, the log' ],
	[ "DELETE FROM pg_depend WHERE objid = 'eventsource.stream'::regclass AND deptype = 'e'", 'members of the extension, the log' ],
	[ "UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'eventsource.word'::regclass", 'columns, the log' ],
	[ "UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'SEGMENT'::regclass", 'columns, the log' ],
	[ "UPDATE pg_event_trigger SET evtname = 'x' WHERE evtname = 'eventsource_guard_ddl'", 'event triggers, the log' ],
	[ "GRANT SET ON PARAMETER session_replication_role TO es_app", 'parameters, the log' ],
	[ "ALTER ROLE es_app SET session_replication_role = replica", 'parameters, the log' ],
	[ "CREATE PUBLICATION p FOR TABLE eventsource.word", 'no publication of the log, the log' ],
	[ "CREATE OR REPLACE FUNCTION pg_catalog.md5(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''x'''", 'what is built in, the log' ],
	[ "CREATE EXTENSION pg_surgery", 'no pg_surgery, the log' ],
	[ "CREATE FUNCTION eventsource.more() RETURNS int LANGUAGE sql AS 'SELECT 1'", "$function; members of the extension, the log" ],
	[ "CREATE OR REPLACE VIEW eventsource.segments AS SELECT * FROM eventsource.segments WHERE false", qr/functions and views|ERROR/ ]);
for my $mutation (@mutations)
{
	my ($sql, $expected) = @$mutation;
	my $got = broken_by($sql);

	ref $expected ? like($got, $expected, $sql) : is($got, $expected, $sql);
}
is($node->safe_psql('log', <<'SQL') =~ s/.*\n//sr, '', 'every function is compared with what it was');
BEGIN;
UPDATE pg_event_trigger SET evtenabled = 'D' WHERE evtname LIKE 'eventsource%';
CREATE TEMP TABLE ours AS SELECT oid::regprocedure::text AS name FROM pg_proc WHERE pronamespace = 'eventsource'::regnamespace;
UPDATE pg_proc SET procost = procost, proleakproof = NOT proleakproof WHERE pronamespace = 'eventsource'::regnamespace;
SELECT name FROM ours o WHERE NOT EXISTS (SELECT FROM eventsource.guards_of_the_log() g WHERE g.problem = format('function %s is another', o.name));
ROLLBACK;
SQL

# ---- an upgrade renews the manifest by itself ----

is($node->safe_psql('log', "BEGIN; SELECT eventsource.allow_maintenance('test'); ALTER FUNCTION eventsource.log_id() COST 5 LEAKPROOF;"
	  . " $broken; ALTER EXTENSION eventsource UPDATE; $broken; ROLLBACK;"), "\n$function\n", 'after an upgrade all is as it is meant to be');

# ---- no setting opens anything ----

for my $role ('es_app', 'es_owner', 'postgres')
{
	is($node->safe_psql('log', <<"SQL") =~ s/^\n//r, '', "no setting lets $role change anything");
SET client_min_messages = error;
SET ROLE $role;
CREATE TEMP TABLE opened (what text);
DO \$\$
DECLARE
	s record;
	v text;
	command text;
BEGIN
	FOR s IN SELECT name, CASE vartype WHEN 'bool' THEN ARRAY['on', 'off'] WHEN 'enum' THEN enumvals WHEN 'string' THEN ARRAY['', 'x', '*']
								  ELSE ARRAY[min_val, max_val] END AS extremes
			   FROM pg_settings WHERE context IN ('user', 'superuser') AND name NOT IN ('role', 'session_authorization', 'client_min_messages', 'log_min_messages', 'exit_on_error')
				AND name !~ '^(log_|debug_print|transaction_|default_transaction|jit)' LOOP
		FOREACH v IN ARRAY s.extremes LOOP
			BEGIN
				PERFORM set_config(s.name, v, true);
				FOREACH command IN ARRAY ARRAY['DELETE FROM $segment', 'UPDATE audit SET what = ''forged''', 'TRUNCATE audit_1',
					'ALTER TABLE $segment DISABLE TRIGGER ALL', 'DROP TABLE eventsource.word CASCADE'] LOOP
					BEGIN
						EXECUTE command;
						INSERT INTO opened VALUES (concat_ws(' ', s.name, v, command));
					EXCEPTION WHEN raise_exception THEN RAISE; WHEN OTHERS THEN NULL;
					END;
				END LOOP;
				RAISE 'back';
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
	END LOOP;
END
\$\$;
SELECT * FROM opened;
SQL
}
is($node->safe_psql('log', $broken), '', 'and all guards are intact');
$node->stop;
done_testing();
