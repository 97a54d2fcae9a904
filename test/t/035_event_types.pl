# 035_event_types.pl: event types are registered while others append, in every
# isolation level: each event in the log matches the schema of the version that it
# has. A dump holds what is registered, and a restored log goes on with it.

use strict;
use warnings;

use EventLog;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('event_types', 'eventsource.segment_size = 500');
my $dir = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql('log', $_[0]) }

# ---- at once ----

# A version asks for a field of its own number: what fits one fits no other.
sql(<<'SQL');
CREATE FUNCTION schema_of(n int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_object('required', jsonb_build_array('v' || n), 'maxProperties', 1) $$;
CREATE TABLE tally (outcome text, n bigint);
-- Of a type that others register new versions of: in the latest version, guessed, or in one that is said.
CREATE PROCEDURE add(type text, key int, guess int, says boolean) LANGUAGE plpgsql AS $$
DECLARE
	outcome text := 'appended';
	latest int := (SELECT count(*) FROM eventsource.read_stream('$config-event_type.-' || type));
BEGIN
	BEGIN
		PERFORM eventsource.append('busy-' || key, type, jsonb_build_object('v' || greatest(latest - guess, 1), 1),
			schema_version => CASE WHEN says THEN greatest(latest - guess, 1) END);
	EXCEPTION WHEN SQLSTATE 'ZE006' OR SQLSTATE 'ZE007' THEN
		outcome := SQLSTATE;
	END;
	INSERT INTO tally VALUES (outcome, 1);
END
$$;
CREATE PROCEDURE new_version(type text, keep boolean) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(1);
	PERFORM eventsource.register_event_type(type,
		schema => schema_of((SELECT count(*)::int FROM eventsource.read_stream('$config-event_type.-' || type)) + 1), compatibility => 'none');
	IF NOT keep THEN
		ROLLBACK;
	END IF;
END
$$;
SELECT eventsource.register_event_type(t, schema => schema_of(1)) FROM unnest('{a,b,c}'::text[]) t;
SQL

sub script
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name", $text);
	return "$dir/$name";
}
my $add = script('add', <<'SQL');
\set t random(0, 2)
\set key random(1, 20)
\set guess random(0, 1)
\set says random(0, 1)
\if :t = 0
CALL add('a', :key, :guess, :says = 1);
\elif :t = 1
CALL add('b', :key, :guess, :says = 1);
\else
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL add('c', :key + 100 + 20 * :client_id, :guess, :says = 1);
COMMIT;
\endif
SQL
my $register = script('register', <<'SQL');
\set t random(0, 2)
\set keep random(0, 3)
\if :t = 0
CALL new_version('a', :keep > 0);
\elif :t = 1
CALL new_version('b', :keep > 0);
\else
CALL new_version('c', :keep > 0);
\endif
SQL
$node->command_ok(
	[ 'pgbench', '-n', '-c', '4', '-t', '150', '-f', "$add\@9", '-f', "$register\@1", 'log' ],
	'types are registered while others append');

my $misfits = <<'SQL';
SELECT count(*) FROM eventsource.events e
LEFT JOIN eventsource.event_type_versions v ON v.type = e.type AND v.category IS NULL AND v.version = e.schema_version
WHERE e.category = 'busy' AND (v.version IS NULL OR NOT eventsource.jsonb_matches_schema(v.schema, e.data))
SQL
is(sql($misfits), '0', 'every event matches the schema of its version');
is(sql(<<'SQL'), 't', 'versions are numbered without gaps');
SELECT bool_and(first = 1 AND latest = n) FROM (SELECT min(version) AS first, max(version) AS latest, count(*) AS n
	FROM eventsource.event_type_versions GROUP BY type) x
SQL
is(sql('SELECT count(*) = (SELECT sum(n) FROM tally WHERE outcome = $$appended$$) FROM eventsource.events WHERE category = $$busy$$'),
	't', 'all that was appended is there');
my $tally = sql('SELECT outcome, sum(n) FROM tally GROUP BY 1 ORDER BY 1');
note($tally);
like($tally, qr/ZE007\|\d/, 'some were refused');
like($tally, qr/appended\|\d{3}/, 'most were not');
is(problems_of($node, 'log'), '', 'the log is whole');

# ---- dump and restore ----

sql(<<'SQL');
CREATE ROLE registrar;
SELECT eventsource.grant_admin('registrar');
SET ROLE registrar;
SELECT eventsource.register_event_type('sold', 'shop', '{"properties": {"to": {"format": "email"}}}', subject => $$ event.data->>'customer' $$,
	description => 'Étwas', phase => 'sale');
RESET ROLE;
SET eventsource.assert_formats = on;
SELECT eventsource.register_event_type('mailed', 'shop', '{"properties": {"to": {"format": "email"}}}');
SELECT eventsource.create_category('shop', strict => true);
SELECT eventsource.append('shop-1', 'sold', '{"customer": "joe"}');
SQL
my $views = 'SELECT md5(string_agg(v::text, E\'\n\' ORDER BY position)) FROM eventsource.event_type_versions v';
my $registered = sql("SET TimeZone = 'UTC'; $views");
$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", 'log' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/dump.sql", 'restored' ], 'restored');
is($node->safe_psql('restored', "SET TimeZone = 'UTC'; $views"), $registered, 'what is registered is there');
is($node->safe_psql('restored', <<'SQL'), 'joe', 'appends go by it');
SELECT eventsource.append('shop-2', 'sold', '{"to": "nobody", "customer": "joe"}') \g /dev/null
SELECT subject FROM eventsource.events WHERE stream = 'shop-2';
SQL
like(error_of($node, 'restored', q{SELECT eventsource.append('shop-2', 'mailed', '{"to": "nobody"}')}),
	qr/data does not match version 1/, 'asserted formats are asserted');
like(error_of($node, 'restored', q{SELECT eventsource.append('shop-2', 'stolen')}), qr/"stolen" is not registered/, 'strict is strict');
is($node->safe_psql('restored', q{SELECT eventsource.register_event_type('sold', 'shop', '{}', compatibility => 'none')}), '2', 'versions go on');
is($node->safe_psql('restored', $misfits), '0', 'every event matches the schema of its version');
is(problems_of($node, 'restored'), '', 'the log is whole');

$node->stop;
done_testing();
