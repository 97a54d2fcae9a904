# 036_upcast.pl: upcasters are defined anew again and again while eight clients append and
# followers run: projections agree with a replay each time. Dumped and restored, events are
# read as before.

use strict;
use warnings;

use EventLog;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('upcast', 'fsync = off');

$node->safe_psql('log', <<'SQL');
CREATE TABLE own (key text PRIMARY KEY, total bigint NOT NULL DEFAULT 0);
CREATE TABLE shared (id int PRIMARY KEY, total bigint NOT NULL DEFAULT 0);
CREATE TABLE late (id int PRIMARY KEY, total bigint NOT NULL DEFAULT 0);
CREATE FUNCTION rules() RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('set', 'total = row.total + (event.data->>''v'')::int') $$;
SELECT eventsource.create_projection('own', '{up}', rules());
SELECT eventsource.create_projection('shared', '{up}', rules(), key => '{"id": "(event.data->>''id'')::int"}', mode => 'inline');
SELECT eventsource.create_projection('late', '{up}', rules(), key => '{"id": "(event.data->>''id'')::int"}');
SQL

my $script = $node->basedir . '/append.sql';
append_to_file($script, <<'SQL');
\set k random(1, 20)
\set n random(1, 3)
SELECT count(*) FROM eventsource.append_events((SELECT jsonb_agg(jsonb_build_object('stream', 'up-' || :k, 'type', 'set', 'schema_version', 1 + i % 2,
	'data', jsonb_build_object('v', i, 'id', i % 3))) FROM generate_series(1, :n) i));
SQL
my ($in, $out, $err) = ('', '', '');
my $bench = IPC::Run::start(
	[ 'pgbench', '-n', '-c', 8, '-T', 3, '--max-tries', 20, '-f', $script, '-h', $node->host, '-p', $node->port, '-U', 'postgres', 'log' ],
	\$in, \$out, \$err);
for my $i (1 .. 5)
{
	$node->safe_psql('log', qq{SELECT eventsource.create_upcaster('set', 1, 2, \$\$ event.data || jsonb_build_object('v', (event.data->>'v')::int + $i, 'id', ((event.data->>'id')::int + $i) % 4) \$\$)});
	$node->safe_psql('log', 'SELECT count(*) FROM eventsource.run_projections()');
}
$bench->finish;
is($bench->result(0), 0, 'no append failed') or diag($err);

sub differences
{
	my ($database) = @_;
	$node->safe_psql($database, 'SELECT count(*) FROM eventsource.run_projections()');
	return $node->safe_psql($database, <<'SQL');
SELECT (SELECT count(*) FROM eventsource.verify_projection('own')), (SELECT count(*) FROM eventsource.verify_projection('shared')),
	(SELECT count(*) FROM eventsource.verify_projection('late')), (SELECT count(*) FROM (TABLE shared EXCEPT TABLE late) x),
	(SELECT count(*) FROM eventsource.verify_chain()), (SELECT count(*) FROM eventsource.verify_upcasters())
SQL
}
is(differences('log'), '0|0|0|0|0|0', 'projections are what a replay says');
cmp_ok($node->safe_psql('log', 'SELECT count(*) FROM eventsource.events WHERE is_upcast'), '>', 100, 'of many events');

my $fingerprint = 'SELECT md5(string_agg(position || data::text || is_upcast, chr(10) ORDER BY position)) FROM eventsource.events WHERE category = $$up$$';
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-f', $dump, 'log' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-o', '/dev/null', '-f', $dump, 'restored' ], 'restored');
is($node->safe_psql('restored', $fingerprint), $node->safe_psql('log', $fingerprint), 'events are read as before');
$node->safe_psql('restored', q{SELECT eventsource.append('up-1', 'set', '{"v": 1, "id": 1}')});
is(differences('restored'), '0|0|0|0|0|0', 'and appended');
is(problems_of($node, 'restored'), '', 'the log is whole');
$node->stop;
done_testing();
